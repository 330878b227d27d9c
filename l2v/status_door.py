"""`l2v status`."""

from __future__ import annotations


def status_verb(arguments: list[str]) -> int:
    """Not there yet."""
    raise NotImplementedError
