"""Checkpoints in formats that transformers does not read, rewritten once into the one it does; no code of theirs is run."""
