"""What the page knows of a study: its rows with readable names, the cells it reports, and what was run, in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE, Score
from l2v.errors import UserError
from l2v.study.columns import ARM, ITEMS, SETTINGS, Column, short
from l2v.study.marks import Marks
from l2v.study.results import Selection, build_results, read_selection
from l2v.study.score import items_key
from l2v.study.store import Store
from l2v.transfer.arms import is_null

# What tells two arms of one method apart; a name that speaks for itself first.
MODIFIERS = sorted((c for c in SETTINGS if c.role == ARM and c.name != "method"), key=lambda column: column.word != "")
# What tells two sets of items on one benchmark apart.
ASKED = [c for c in SETTINGS if c.role == ITEMS and {c.name, c.behind}.isdisjoint(("target", "benchmark", "task"))]


@dataclass(frozen=True)
class Study:
    """One study as the page shows it. `rows`: results.csv with the columns of `named`."""

    store: Store
    scorer: str
    rows: pd.DataFrame
    selection: Selection

    @property
    def name(self) -> str:
        """The study's name."""
        return self.store.study

    @cached_property
    def reported(self) -> pd.DataFrame:
        """The headline rows that verdicts, examples and the table are about."""
        rows = self.rows
        return rows[(rows["scorer"] == self.scorer) & (rows["metric"] == HEADLINE) & rows["reported"].astype(bool)]

    @cached_property
    def marks(self) -> Marks:
        """The study's cells, items and verdicts, each read once."""
        return Marks(self.store)

    def score(self, cell_id: str) -> Score | None:
        """A cell's headline score with its items; None where no verdicts or items are stored."""
        metrics = self.store.folder(cell_id).metrics()
        own = [m for m in metrics if m["metric"] == HEADLINE and m["scorer"] == self.scorer and "problems" in m]
        if not own or not self.marks.items(items_key(self.marks.cell(cell_id).benchmark)):
            return None
        score = self.marks.score(own[0] | {"cell": cell_id})
        return score if score.items else None


def read_study(outputs: str, study: str, scorer: str, results: pd.DataFrame | None = None) -> Study:
    """A study's rows, named. Raises UserError for an unknown study, or a scorer that was not applied to it."""
    store = Store(outputs, study).existing()
    rows = build_results(store) if results is None else results
    if len(rows) and scorer not in set(rows["scorer"]):
        there = ", ".join(sorted(set(rows["scorer"])))
        raise UserError(
            f"Scorer '{scorer}' was not applied to study '{study}' (there: {there}); run "
            f"`l2v score study={study} scorer={scorer}` first."
        )
    return Study(store, scorer, named(rows), read_selection(store))


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with columns for a reader.

    where: the target; bench: the benchmark or the lm-eval task; items: the split, part or limit; arm: the method and what
    tells it from other arms of its method; panel: what else varies within the arm; role: baseline, null, arm (a vector) or
    other (prompts, weights).
    """
    if not len(rows):
        return rows.assign(**dict.fromkeys(("where", "bench", "items", "arm", "panel", "role"), ""))
    rows = rows.assign(
        where=_with_revision(rows, "target"),
        bench=_with_revision(rows.assign(bench=rows["task"].where(rows["task"].notna(), rows["benchmark"])), "bench"),
        items=_joined(rows, ASKED, _varying(rows, ASKED) | {"split", "part"}),
    )
    rows["arm"] = arm_names(rows)
    rows["panel"] = _panels(rows)
    steered = rows["layer"].notna()
    rows["role"] = [_role(method, vector) for method, vector in zip(rows["method"], steered, strict=True)]
    return rows


def _role(method: str, vector: bool) -> str:
    return "baseline" if method == "direct" else "null" if is_null(method) else "arm" if vector else "other"


def arm_names(rows: pd.DataFrame, without: str = "") -> list[str]:
    """The arm of each row in words; `without` leaves one modifier out, for a curve along it."""
    names = dict.fromkeys(rows.index, "")
    for method, group in rows.groupby("method", sort=False):
        varying: set[str] = set()
        for _, family in group.groupby(["where", "bench"], sort=False, dropna=False):
            varying |= _varying(family, MODIFIERS)
        # Whose direction it is stands in every name of a study with several sources.
        if group["source"].nunique() > 1:
            varying.add("source")
        # The target itself is the source of its own direction.
        varying -= {without} | ({"source"} if method in ("own_direction", "own_high_pass") else set())
        if is_null(str(method)) and without != "seed":
            varying.add("seed")
        for index, words in zip(group.index, _joined(group, MODIFIERS, varying), strict=True):
            names[index] = f"{method} {words}".strip()
    return list(names.values())


def _varying(rows: pd.DataFrame, columns: Iterable[Column]) -> set[str]:
    """Which of these take several values; what stands behind a name does where one name stands for several."""

    def several(column: Column) -> bool:
        if column.behind:
            return bool((rows.groupby(column.behind, dropna=False)[column.name].nunique(dropna=False) > 1).any())
        return bool(rows[column.name].nunique(dropna=False) > 1)

    return {column.name for column in columns if several(column)}


def _joined(rows: pd.DataFrame, columns: Iterable[Column], shown: set[str]) -> list[str]:
    told = [(column.word, rows[column.name].map(short).tolist()) for column in columns if column.name in shown]
    return [" · ".join(f"{word} {values[i]}".strip() for word, values in told if values[i] != "") for i in range(len(rows))]


def _with_revision(rows: pd.DataFrame, name: str) -> pd.Series[Any]:
    """The name, with the beginning of its revision where one name stands for several."""
    revision = "benchmark_revision" if name == "bench" else f"{name}_revision"
    several = rows.groupby(name)[revision].transform("nunique") > 1
    return rows[name].where(~several, rows[name] + " @" + rows[revision].astype(str).str.removeprefix("local:").str[:7])


def _panels(rows: pd.DataFrame) -> list[str]:
    """The source's layer, where one layer of an arm was filled from several."""
    several = rows.groupby(["where", "bench", "items", "arm", "layer"], dropna=False)["source_layer"].transform("nunique") > 1
    return [f"source layer {short(v)}" if s else "" for v, s in zip(rows["source_layer"], several, strict=True)]


def sweeps(rows: pd.DataFrame) -> list[str]:
    """The settings that a curve can be drawn along: those with two values or more among steered cells."""
    steered = rows[rows["layer"].notna()]
    return [column.name for column in SETTINGS if column.axis and steered[column.name].nunique() > 1]


def packed(columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Columns of text for the page: one value, a dictionary with an index, or the values, whichever is smallest."""
    return {name: _packed(values) for name, values in columns.items()}


def _packed(values: Sequence[str]) -> dict[str, Any]:
    distinct = {value: i for i, value in enumerate(dict.fromkeys(values))}
    if len(distinct) == 1:
        return {"one": values[0]}
    if 2 * len(distinct) > len(values):
        return {"values": list(values)}
    return {"words": list(distinct), "index": [distinct[value] for value in values]}


def table_for_page(study: Study, results_columns: Sequence[str]) -> dict[str, Any]:
    """A study's rows as the page reads them: the text of results.csv by column, and the names of `named`."""
    rows = study.rows
    text = rows[list(results_columns)].to_csv(index=False, float_format="%.6g")
    lines = list(csv.reader(io.StringIO(text, newline="")))
    columns = {name: [line[i] for line in lines[1:]] for i, name in enumerate(lines[0])}
    told = set(study.reported["cell"]) if len(rows) else set()
    extra = {name: rows[name].astype(str).tolist() for name in ("where", "bench", "items", "arm", "panel", "role")}
    extra["reported"] = ["1" if cell in told else "" for cell in rows["cell"]]
    chosen = set(study.selection.reports)
    best = rows["selected"] == "test"
    extra["chosen"] = ["1" if cell in chosen or b else "" for cell, b in zip(rows["cell"], best, strict=True)]
    along = sweeps(rows) if len(rows) else []
    for name in set(along) & {column.name for column in MODIFIERS}:
        extra[f"arm~{name}"] = arm_names(rows, without=name)
    return {
        "study": study.name,
        "rows": len(rows),
        "order": list(results_columns),
        "columns": packed(columns),
        "extra": packed(extra),
        "sweeps": along,
    }
