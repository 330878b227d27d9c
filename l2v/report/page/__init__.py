"""The page of a study: one file for a browser without a network."""
