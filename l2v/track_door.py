"""`l2v track`."""

from __future__ import annotations


def track_verb(arguments: list[str]) -> int:
    """Not there yet."""
    raise NotImplementedError
