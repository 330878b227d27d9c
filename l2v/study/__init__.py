"""From settings to results: cells, their store, the plan, the workers and the statistics."""
