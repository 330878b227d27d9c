"""What being the best of many cells is worth: every arm's search against its baseline and against the null arms' searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l2v.benchmarks.metrics import HEADLINE
from l2v.study.marks import Marks
from l2v.study.statistics.best_of_grid import BestOfGrid, Grid, best_of_grid, grid
from l2v.study.store import Record

# Arms whose vector has nothing to do with the source's direction: their searches say what luck gives.
NULLS = ("random", "random_low_pass", "permuted", "rotated", "random_bins", "shuffled_labels")
COLUMNS = ["budget", "p_best_of_grid", "p_best_of_seeds", "null_seeds"]
# What makes an arm, besides what the rows of one family share.
ARM = ("method", "source", "source_revision", "contrast", "per_domain", "contrast_seed", "seed", "positions", "scale", "prompt")


@dataclass(frozen=True)
class _Search:
    """One arm's cells on the same items."""

    rows: list[Record]
    grid: Grid


def add_searches(rows: Sequence[Record], marks: Marks, family: Sequence[str], reported: Mapping[str, str]) -> None:
    """Fill COLUMNS for the best cell of every arm that was searched over several cells, and for the cell that reports it.

    budget: cells searched. p_best_of_grid: max-T permutation test of the best cell against `direct` on the same items, adjusted
    for the search. p_best_of_seeds: its rank among the best cells of the null arms' seeds with the same budget (null_seeds of
    them). `family`: columns that rows on the same items share; `reported`: searched cell -> cell on the held-out items.
    """
    by_cell = {(row["cell"], row["scorer"]): row for row in rows if row["metric"] == HEADLINE}
    families: dict[tuple[Any, ...], list[Record]] = {}
    for row in by_cell.values():
        families.setdefault(tuple(row.get(name) for name in family), []).append(row)
    for members in families.values():
        baseline = [row for row in members if row["method"] == "direct"]
        searches = _searches(members, marks)
        if len(baseline) != 1 or not searches:
            continue
        base = grid([marks.score(baseline[0])])
        for search in searches:
            found = best_of_grid(search.grid, base, [other.grid for other in searches if _stands_against(other, search)])
            # Of equal values the first, as the mark "selected on test" and the reader's eye take it.
            best = max(search.rows, key=lambda row: row["value"])
            for cell in (best["cell"], *(reported[r["cell"]] for r in search.rows if r["cell"] in reported)):
                if (cell, best["scorer"]) in by_cell:
                    by_cell[cell, best["scorer"]].update(_columns(found))


def _searches(members: Sequence[Record], marks: Marks) -> list[_Search]:
    arms: dict[tuple[Any, ...], list[Record]] = {}
    for row in members:
        if row["layer"] is not None:
            arms.setdefault(tuple(row[name] for name in ARM), []).append(row)
    return [_Search(arm, grid([marks.score(row) for row in arm])) for arm in arms.values() if len(arm) > 1]


def _stands_against(null: _Search, arm: _Search) -> bool:
    """Whether `null` is a search by luck alone, as long as that of `arm`."""
    return null is not arm and null.rows[0]["method"] in NULLS and len(null.rows) == len(arm.rows)


def _columns(found: BestOfGrid) -> Record:
    values = (found.budget, found.p, found.p_seeds, found.seeds)
    return dict(zip(COLUMNS, values, strict=True))
