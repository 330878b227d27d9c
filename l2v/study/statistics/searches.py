"""What being the best of many cells is worth: every arm's search against its baseline and against the null arms' searches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l2v.benchmarks.metrics import HEADLINE
from l2v.disk import Record
from l2v.study.columns import ARM_COLUMNS, FAMILY, OWN, SETTINGS, Value, key, preferred
from l2v.study.marks import Marks
from l2v.study.statistics.best_of_grid import Grid, best_of_grid, best_of_grid_seeds, grid
from l2v.transfer.arms import is_null


@dataclass(frozen=True)
class Search:
    """One arm's cells on the same items: their headline rows by one scorer, and their verdicts."""

    rows: list[Record]
    grid: Grid

    @property
    def best(self) -> Record:
        return best_row(self.rows)


def best_row(rows: Sequence[Record]) -> Record:
    """The row of the highest value, of equal ones as a protocol chooses; one without a value comes last."""
    return min(rows, key=lambda row: (1.0 if row["value"] is None else -row["value"], *preferred(row.get), row["cell"]))


def own_baseline(baselines: Sequence[Record], row: Mapping[Any, Any]) -> Record | None:
    """Of the `direct` cells on the same items and model, the one that a row is compared with.

    The one with its own prompt style, then with its own seed of decoding; where no `direct` has them, the only one there is.
    None where none or several are left.
    """
    left = list(baselines)
    for name in OWN:
        left = [one for one in left if key(one, [name]) == key(row, [name])] or left
    return left[0] if len(left) == 1 else None


def add_searches(
    rows: Sequence[Record], marks: Marks, reported: Mapping[str, str], apart: Mapping[str, tuple[Value, ...]]
) -> None:
    """Fill the columns of a search for the best cell of every arm that has several, and for the cell that reports it.

    budget: cells searched. p_best_of_grid: max-T permutation test of the best cell against `direct` on the same items, adjusted
    for the search; of a best cell below direct its own p. p_best_of_seeds: its rank among the best cells of the null arms'
    seeds that were searched alike (null_seeds of them). null_cells: the cells that such null arms report, also of an arm of one
    cell. `reported`: searched cell -> cell on the held-out items. apart: by cell, the settings that were swept and not chosen,
    as k along a figure: each of their values is a search of its own.
    """
    by_cell = {(row["cell"], row["scorer"]): row for row in rows if row["metric"] == HEADLINE and "problems" in row}
    families = []
    for members in grouped(by_cell.values(), FAMILY).values():
        by_arm: dict[tuple[Value, ...], list[Record]] = {}
        for row in members:
            by_arm.setdefault(key(row, ARM_COLUMNS) + apart.get(row["cell"], ()), []).append(row)
        families.append((members, list(by_arm.values())))
    for _, arms in families:
        for (row,) in (arm for arm in arms if len(arm) == 1):
            row["null_cells"] = _null_cells([row], arms, {})
    for members, arms in families:
        baselines = [row for row in members if row["method"] == "direct"]
        searches = [Search(arm, grid([marks.score(row) for row in arm])) for arm in arms if len(arm) > 1]
        for search in searches:
            found = _found(search, own_baseline(baselines, search.best), searches, marks)
            found["null_cells"] = _null_cells(search.rows, arms, reported)
            for cell in (search.best["cell"], *(reported[r["cell"]] for r in search.rows if r["cell"] in reported)):
                if (cell, search.best["scorer"]) in by_cell:
                    by_cell[cell, search.best["scorer"]].update(found)


def _null_cells(arm: list[Record], arms: Sequence[list[Record]], reported: Mapping[str, str]) -> str | None:
    """What the null arms that stand against an arm report: the best cell of each, and the one on the held-out items."""
    nulls = [other for other in arms if other[0] is not arm[0] and stands_against(other, arm)]
    cells = [[best_row(null)["cell"], *(reported[r["cell"]] for r in null if r["cell"] in reported)] for null in nulls]
    return " ".join(dict.fromkeys(cell for one in cells for cell in one)) or None


def grouped(rows: Any, columns: Sequence[str]) -> dict[tuple[Value, ...], list[Record]]:
    """The rows by their values in these columns, in order."""
    found: dict[tuple[Value, ...], list[Record]] = {}
    for row in rows:
        found.setdefault(key(row, columns), []).append(row)
    return found


def _found(search: Search, baseline: Record | None, searches: Sequence[Search], marks: Marks) -> Record:
    """The columns of one search; without a baseline only what needs none."""
    nulls = [
        float(other.best["value"]) for other in searches if other is not search and stands_against(other.rows, search.rows)
    ]
    return {
        "budget": len(search.rows),
        "p_best_of_grid": _p_of_search(search, baseline, marks),
        "p_best_of_seeds": best_of_grid_seeds(float(search.best["value"]), nulls) if nulls else None,
        "null_seeds": len(nulls),
    }


def add_races(rows: Sequence[Record], searched: Mapping[str, Sequence[str]], chosen: Collection[str]) -> None:
    """Fill the columns of a search for arms that raced, whose searched cells have no rows of their own.

    searched: what a reporting cell was chosen from, in words that tell the settings `chosen`. A null arm's race over the same
    cells, alike in what was not chosen, stands against an arm's; the rank (p_best_of_seeds) is that of the held-out accuracy.
    """
    told = [row for row in rows if searched.get(row["cell"]) and row["metric"] == HEADLINE and "problems" in row]
    for members in grouped(told, FAMILY).values():
        for row in members:
            nulls = [null for null in members if null is not row and _raced_alike(null, row, searched, chosen)]
            values = [float(null["value"]) for null in nulls]
            row["null_cells"] = " ".join(null["cell"] for null in nulls) or None
            row["null_seeds"] = len(nulls)
            row["p_best_of_seeds"] = best_of_grid_seeds(float(row["value"]), values) if nulls else None


def _raced_alike(null: Record, arm: Record, searched: Mapping[str, Sequence[str]], chosen: Collection[str]) -> bool:
    names = [name for name in _alike(null, arm) if name not in chosen]
    alike = all(null.get(name) == arm.get(name) for name in names)
    return is_null(null["method"]) and alike and sorted(searched[null["cell"]]) == sorted(searched[arm["cell"]])


def _p_of_search(search: Search, baseline: Record | None, marks: Marks) -> float | None:
    """p of the best cell, allowing for the search. Below direct it needs no allowance: being the best works against it."""
    if baseline is None:
        return None
    if (search.best.get("diff") or 0.0) < 0:
        p: float | None = search.best["p"]
        return p
    return best_of_grid(search.grid, grid([marks.score(baseline)]))


# What two searches must have gone over alike, besides the items and the model, for one to stand against the other.
ALIKE = tuple(column.name for column in SETTINGS if column.choosable or column.own)


def stands_against(null: Sequence[Mapping[str, Any]], arm: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the cells of `null` are a search by luck alone over the same settings as those of `arm`.

    Nulls of another layer or strength say nothing of what luck gives where the arm was searched. The cutoff of an arm that has
    none is any; the source's layer counts where both read the same source.
    """
    if not is_null(null[0]["method"]) or len(null) != len(arm):
        return False
    names = _alike(null[0], arm[0])
    went_over = [sorted(str([row.get(name) for name in names]) for row in rows) for rows in (null, arm)]
    return went_over[0] == went_over[1]


def _alike(null: Mapping[str, Any], arm: Mapping[str, Any]) -> list[str]:
    """The columns in which a null must be as an arm: the cutoff where the arm has one, the layer of the same source."""
    needed = {"cutoff": arm.get("cutoff") is not None, "source_layer": null.get("source") == arm.get("source")}
    return [name for name in ALIKE if needed.get(name, True)]
