"""The index: every study, and the reported cells of all of them as a table of arms by target and benchmark."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.errors import UserError
from l2v.report.figures import figure
from l2v.report.serve.shelf import Shelf, address
from l2v.report.study import named
from l2v.study.store import Store
from l2v.study.workers.run import runs_of

ROLES = {"baseline": 0, "arm": 1, "other": 1, "null": 2}


@dataclass(frozen=True)
class LeaderboardEntry:
    """An arm's score on some items in one study; shares."""

    study: str
    address: str
    value: float
    low: float | None
    high: float | None
    n: int
    on_test: bool  # the best of several cells on these very items


@dataclass(frozen=True)
class StudyLine:
    """A study in the list: how many of its cells are done, when the last of them was, and why it cannot be read."""

    name: str
    address: str
    done: int
    cells: int
    last: str
    trouble: str = ""


@dataclass(frozen=True)
class Leaderboard:
    """columns: (target, benchmark, items); rows: (arm, its entries by column), `direct` first and null arms last."""

    studies: list[StudyLine] = field(default_factory=list)
    columns: list[tuple[str, str, str]] = field(default_factory=list)
    rows: list[tuple[str, list[list[LeaderboardEntry]]]] = field(default_factory=list)


def leaderboard(shelf: Shelf) -> Leaderboard:
    """What all studies report, by the scorer that the shelf prefers or the official one."""
    studies, found = [], []
    for name in shelf.names():
        trouble = ""
        try:
            found.append(_reported(named(shelf.table(name)), shelf.scorer).assign(study=name))
        except (UserError, OSError, ValueError, KeyError) as error:
            trouble = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: it could not be read"
        studies.append(_line(shelf, name, trouble))
    found = [rows for rows in found if len(rows)]
    if not found:
        return Leaderboard(studies)
    # Named all together: equal names mean equal arms, models and items, whichever study they are of.
    rows = named(pd.concat(found, ignore_index=True))
    keys = ["where", "bench", "items"]
    columns = sorted({(str(where), str(bench), str(items)) for where, bench, items in rows[keys].itertuples(index=False)})
    table = []
    for arm, of in rows.groupby("arm", sort=False):
        entries = [[_entry(row) for row in of[(of[keys] == list(key)).all(axis=1)].to_dict("records")] for key in columns]
        table.append(((ROLES.get(str(of["role"].iloc[0]), 1), -of["value"].mean(), str(arm)), (str(arm), entries)))
    return Leaderboard(studies, columns, [line for _, line in sorted(table, key=lambda one: one[0])])


def _reported(rows: pd.DataFrame, scorer: str | None) -> pd.DataFrame:
    if not len(rows):
        return rows
    there = [str(name) for name in dict.fromkeys(rows["scorer"])]
    chosen = next((name for name in (scorer, "official") if name in there), there[0])
    own = (rows["scorer"] == chosen) & (rows["metric"] == HEADLINE) & rows["reported"].astype(bool) & rows["value"].notna()
    return rows[own]


def _entry(row: dict[Any, Any]) -> LeaderboardEntry:
    n = figure(row, "n")
    return LeaderboardEntry(
        str(row["study"]), address(str(row["study"])), float(row["value"]), figure(row, "low"), figure(row, "high"),
        0 if n is None else int(n), row["selected"] == "test",
    )  # fmt: skip


def _line(shelf: Shelf, name: str, trouble: str) -> StudyLine:
    store = Store(shelf.outputs, name)
    asked = {path.name for path in store.path.glob("cells/*") if path.is_dir()}
    with suppress(UserError):
        asked.update(cell for run in runs_of(store) for cell in run.cells)
    return StudyLine(name, address(name), len(store.finished()), len(asked), store.last_finished(), trouble)
