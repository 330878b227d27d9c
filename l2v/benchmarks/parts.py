"""Two parts of one split: one to choose settings on, the rest to report on. Items of one problem stay together.

A part may be cut into blocks that a race asks one after the other (l2v/study/race.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from l2v.benchmarks.base import Benchmark, Item
from l2v.errors import UserError, unknown

PARTS = ("select", "report")
WHOLE = "whole"  # of a split that is not divided; only blocks of it are parts


@dataclass(frozen=True)
class Part:
    """One of the two parts: `name` "select" or "report", the share of problems that select has (0 to 1), and the seed.

    first, last: only the block of its problems from rank `first` to before rank `last`, in an order that the seed draws.
    """

    name: str
    share: float
    seed: int
    first: int | None = None
    last: int | None = None

    @property
    def block(self) -> bool:
        """Whether this is a block of a part and not the whole of it."""
        return self.last is not None

    def describe(self) -> str:
        """In tables: which part of what division."""
        whole = self.name if self.name == WHOLE else f"{self.name}, {100 * self.share:g} % select"
        block = f", problems {self.first} to {self.last}" if self.block else ""
        return f"{whole}, seed {self.seed}{block}"


def ranked_problems(problems: Iterable[str], seed: int) -> list[str]:
    """Distinct problems in an order that depends on the seed alone.

    The order comes from a hash of each problem's name, so that two problems keep their order when others are added.
    """
    return sorted(set(problems), key=lambda problem: hashlib.sha256(f"{seed}:{problem}".encode()).hexdigest())


def selected_problems(problems: Iterable[str], share: float, seed: int) -> set[str]:
    """The problems of the part "select": `share` of them, rounded, the first of `ranked_problems`."""
    ranked = ranked_problems(problems, seed)
    return set(ranked[: round(share * len(ranked))])


def take_part(items: Sequence[Item], docs: Benchmark, part: Part) -> list[Item]:
    """The items of one part, in their order. Raises UserError for an unknown part or one that has no items."""
    check_part(part)
    if part.name == WHOLE:
        return list(items)
    problems = [docs.problem(item.doc) for item in items]
    chosen = selected_problems(problems, part.share, part.seed)
    kept = [item for item, problem in zip(items, problems, strict=True) if (problem in chosen) == (part.name == "select")]
    if not kept:
        raise UserError(f"The part '{part.name}' of this benchmark has no items; change benchmark.part_share ({part.share}).")
    return kept


def take_block(items: Sequence[Item], docs: Benchmark, part: Part) -> list[Item]:
    """The items of one block of a part, problem by problem in the order of the ranks; of a part that is no block, all items."""
    if not part.block:
        return list(items)
    by_problem: dict[str, list[Item]] = {}
    for item in items:
        by_problem.setdefault(docs.problem(item.doc), []).append(item)
    return [item for problem in ranked_problems(by_problem, part.seed)[part.first : part.last] for item in by_problem[problem]]


def check_part(part: Part) -> None:
    """Raise UserError for an unknown name, a share that leaves one part empty, or a block without problems."""
    if part.name not in (WHOLE, *PARTS):
        raise unknown("benchmark.part", part.name, PARTS)
    if part.name != WHOLE and not 0 < part.share < 1:
        raise UserError(f"benchmark.part_share={part.share} must be above 0 and below 1.")
    if (part.first is None) != (part.last is None) or (part.first is not None and not 0 <= part.first < (part.last or 0)):
        raise UserError(f"benchmark.part_first={part.first} and part_last={part.last} name no block of problems.")
    if part.name == WHOLE and not part.block:
        raise UserError("benchmark.part=whole is all of a split; leave it out.")
