"""From verdicts of items to the scores a benchmark prints: shares, unweighted means of shares, and all-right shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l2v.benchmarks.base import Benchmark, Verdict

HEADLINE = "accuracy"


@dataclass(frozen=True)
class Marked:
    """An item with its verdict, reduced to what scores are made of: its id, its problem, its subsets, right or not."""

    id: str
    problem: str
    subsets: tuple[str, ...]
    right: bool


@dataclass(frozen=True)
class Score:
    """One score of one run: `value` in [0, 1] over `items`; `parts` are the scores that a mean is taken of."""

    name: str
    value: float
    items: tuple[Marked, ...]
    parts: tuple[str, ...] = ()
    all_right: bool = False


def scores(docs: Benchmark, marked: Sequence[Marked]) -> list[Score]:
    """Every score that these items give, the headline first.

    A mean is taken of those of its parts that have items. Where the items give no headline of their own (a split that a
    benchmark keeps apart), it is the share of all of them.
    """
    subsets: dict[str, list[Marked]] = {}
    for item in marked:
        for name in item.subsets:
            subsets.setdefault(name, []).append(item)
    found = [Score(name, share(items), tuple(items)) for name, items in subsets.items()]
    for name, parts in docs.MEANS.items():
        there = [part for part in parts if part in subsets]
        if there:
            items = tuple(item for part in there for item in subsets[part])
            found.append(Score(name, sum(share(subsets[part]) for part in there) / len(there), items, tuple(there)))
    for name, base in docs.ALL_RIGHT.items():
        if base in subsets:
            value = all_right((item.problem, item.right) for item in subsets[base])
            found.append(Score(name, value, tuple(subsets[base]), all_right=True))
    if not any(score.name == HEADLINE for score in found):
        found.append(Score(HEADLINE, share(marked), tuple(marked)))
    return sorted(found, key=lambda score: (score.name != HEADLINE, score.name))


def share(items: Sequence[Marked]) -> float:
    return sum(item.right for item in items) / len(items)


def mean_of_means(values: Iterable[tuple[str, float]]) -> float:
    """The unweighted mean over subsets of each subset's mean; values are (subset, 0 or 1)."""
    by_subset: dict[str, list[float]] = {}
    for subset, value in values:
        by_subset.setdefault(subset, []).append(float(value))
    return sum(sum(v) / len(v) for v in by_subset.values()) / len(by_subset)


def by_problem(values: Iterable[tuple[str, float | bool]]) -> dict[str, bool]:
    """Per problem, whether all its items are right; values are (problem, right)."""
    found: dict[str, bool] = {}
    for problem, right in values:
        found[problem] = found.get(problem, True) and bool(right)
    return found


def all_right(values: Iterable[tuple[str, float | bool]]) -> float:
    """The share of problems all of whose items are right; values are (problem, right)."""
    found = by_problem(values)
    return sum(found.values()) / len(found)


def mark(docs: Benchmark, rows: Mapping[str, dict[str, Any]], verdicts: Mapping[str, Verdict]) -> list[Marked]:
    """Items (rows by id) joined with their verdicts; a scorer's abstention counts as not right."""
    return [
        Marked(id, docs.problem(rows[id]), docs.subsets(rows[id]), verdict.correct is True) for id, verdict in verdicts.items()
    ]
