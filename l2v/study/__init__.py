"""From settings to results: cells, their store, the plan, the runner and the statistics."""
