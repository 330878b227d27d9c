"""Who computes a study's cells: workers, their signs of life and claims, and the executors that start them."""
