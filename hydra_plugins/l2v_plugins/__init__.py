"""Hydra plug-ins of l2v: the launcher that turns a multirun into one study, and the sweeper that knows blocks."""
