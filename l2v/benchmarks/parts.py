"""Two parts of one split: one to choose settings on, the rest to report on. Items of one problem stay together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from l2v.benchmarks.base import Benchmark, Item
from l2v.errors import UserError, unknown

PARTS = ("select", "report")


@dataclass(frozen=True)
class Part:
    """One of the two parts: `name` "select" or "report", the share of problems that select has (0 to 1), and the seed."""

    name: str
    share: float
    seed: int

    def describe(self) -> str:
        """In tables: which part of what division."""
        return f"{self.name}, {100 * self.share:g} % select, seed {self.seed}"


def selected_problems(problems: Iterable[str], share: float, seed: int) -> set[str]:
    """The problems of the part "select": `share` of them, rounded, in an order that depends on the seed alone.

    The order comes from a hash of each problem's name, so that a problem's rank does not change when others are added.
    """
    ranked = sorted(set(problems), key=lambda problem: hashlib.sha256(f"{seed}:{problem}".encode()).hexdigest())
    return set(ranked[: round(share * len(ranked))])


def take_part(items: Sequence[Item], docs: Benchmark, part: Part) -> list[Item]:
    """The items of one part, in their order. Raises UserError for an unknown part or one that has no items."""
    check_part(part)
    problems = [docs.problem(item.doc) for item in items]
    chosen = selected_problems(problems, part.share, part.seed)
    kept = [item for item, problem in zip(items, problems, strict=True) if (problem in chosen) == (part.name == "select")]
    if not kept:
        raise UserError(f"The part '{part.name}' of this benchmark has no items; change benchmark.part_share ({part.share}).")
    return kept


def check_part(part: Part) -> None:
    """Raise UserError for an unknown name or a share that leaves one part empty."""
    if part.name not in PARTS:
        raise unknown("benchmark.part", part.name, PARTS)
    if not 0 < part.share < 1:
        raise UserError(f"benchmark.part_share={part.share} must be above 0 and below 1.")
