"""What a run is asked for, row by row, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from l2v.steering.engine.entries import Entry
from l2v.steering.engine.rows import Response


@dataclass
class Work:
    """A distinct row: the indices of its request and steering (None: unsteered), and its places among the caller's rows."""

    request: int
    write: int | None
    rows: list[int]


@dataclass(frozen=True)
class Unanswered:
    """Rows that the engine leaves to another way, and why."""

    works: list[Work]
    reason: str


@dataclass(frozen=True)
class Unfit:
    """Rows that do not fit the memory even alone, and what they ask for."""

    works: list[Work]
    reason: str


Outcome = tuple[Work, Response] | Unanswered | Unfit


@dataclass
class WorkRow(Entry):
    """A row in the batch with its work and what it has generated."""

    work: Work = field(default_factory=lambda: Work(0, None, []))
    tokens: list[int] = field(default_factory=list)
    prompt_tail: list[int] = field(default_factory=list)


def by_request(works: Sequence[Work]) -> list[list[Work]]:
    """Works of one request together, in the order in which requests first appear."""
    groups: dict[int, list[Work]] = {}
    for work in works:
        groups.setdefault(work.request, []).append(work)
    return list(groups.values())
