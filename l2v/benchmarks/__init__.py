"""Questions, official prompts and scorers. Knows nothing of steering."""
