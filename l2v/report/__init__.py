"""Tables of a study. Reads what is on disk, never a model."""
