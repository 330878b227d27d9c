"""`l2v analyze`."""

from __future__ import annotations


def analyze_verb(arguments: list[str]) -> int:
    """Not there yet."""
    raise NotImplementedError
