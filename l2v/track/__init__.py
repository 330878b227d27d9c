"""Trackers: what a dashboard is shown of a study, once. Reads what is on disk, never a model."""
