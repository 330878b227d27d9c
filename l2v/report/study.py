"""The handle of a study that every report takes: its rows, what was chosen, and the cells that it tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE, Score
from l2v.errors import UserError
from l2v.study.columns import ARM, ITEMS, SETTINGS, Column, key, short
from l2v.study.marks import Marks
from l2v.study.results import Selection, build_results, read_selection
from l2v.study.score import items_key
from l2v.study.store import Store
from l2v.transfer.arms import ARMS, is_null, title

MOST_OPEN = 0.5  # share of answers that a scorer may leave open without a word
# What tells two arms of one method apart; a name that speaks for itself first.
MODIFIERS = sorted((c for c in SETTINGS if c.role == ARM and c.name != "method"), key=lambda column: column.word != "")
# What rows have in common that are held against each other; and what tells two sets of items on one benchmark apart.
ASKED_ALIKE = [column for column in SETTINGS if column.role == ITEMS]
ASKED = [c for c in ASKED_ALIKE if {c.name, c.behind}.isdisjoint(("target", "benchmark", "task"))]


@dataclass(frozen=True)
class Study:
    """One study, seen by one scorer.

    results: its table by every scorer (see `build_results`). beside: those of studies that are shown beside it, from whose
    arms the names of its own tell them apart.
    """

    store: Store
    scorer: str
    results: pd.DataFrame
    selection: Selection
    beside: tuple[pd.DataFrame, ...] = ()

    @property
    def name(self) -> str:
        return self.store.study

    @cached_property
    def _own(self) -> pd.DataFrame:
        return named(self.results)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The table with the columns of `named`."""
        return self._own.assign(arm=self.arms()) if self.beside else self._own

    def arms(self, without: str = "") -> list[str]:
        """The arm of each row, as `arm_names` tells it among the rows of this study and of those beside it."""
        tables = [self._own, *(named(table) for table in self.beside)]
        tables = [table for table in tables if len(table)]
        return arm_names(pd.concat(tables, ignore_index=True), without)[: len(self.results)] if tables else []

    @cached_property
    def reported(self) -> pd.DataFrame:
        """The headline rows that verdicts, examples and the table are about."""
        rows = self.rows
        return rows[(rows["scorer"] == self.scorer) & (rows["metric"] == HEADLINE) & rows["reported"].astype(bool)]

    def of_split(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of a split that was chosen on: the chosen cell stands for its arm, marked where it is the best of several."""
        arms = self.selection.arms
        chosen = table["cell"].isin({arm.select for arm in arms}) | (table["role"] == "baseline")
        best = table["cell"].isin({arm.select for arm in arms if arm.budget > 1})
        return table.assign(reported=table["reported"].astype(bool) | chosen, selected=table["selected"].mask(best, "test"))

    @cached_property
    def marks(self) -> Marks:
        """The study's cells, items and verdicts, each read once."""
        return Marks(self.store)

    @property
    def scorers(self) -> list[str]:
        """The scorers that were applied, in the order of the results."""
        return [str(name) for name in dict.fromkeys(self.results["scorer"])] if len(self.results) else []

    def seen_by(self, scorer: str) -> Study:
        """The same study by another scorer. Raises UserError for one that was not applied."""
        if len(self.results) and scorer not in self.scorers:
            raise UserError(
                f"Scorer '{scorer}' was not applied to study '{self.name}' (there: {', '.join(sorted(self.scorers))}); run "
                f"`l2v score study={self.name} scorer={scorer}` first."
            )
        return replace(self, scorer=scorer)

    def score(self, cell_id: str) -> Score | None:
        """A cell's headline score with its items; None where no verdicts or items are stored."""
        metrics = self.store.folder(cell_id).metrics()
        own = [m for m in metrics if m["metric"] == HEADLINE and m["scorer"] == self.scorer and "problems" in m]
        if not own or not self.marks.items(items_key(self.marks.cell(cell_id).benchmark)):
            return None
        score = self.marks.score(own[0] | {"cell": cell_id})
        return score if score.items else None

    def warnings(self) -> list[str]:
        """What a reader must know before any figure."""
        rows, found = self.rows, []
        if not len(rows):
            return []
        for role in ("target", "source", "benchmark"):
            # The tasks of lm-eval are one benchmark by name, and a revision is of one of them.
            name = [role, "task"] if role == "benchmark" else role
            if (rows.groupby(name, dropna=False)[f"{role}_revision"].nunique() > 1).any():
                found.append(
                    f"One {role} name stands for several revisions in this study (column {role}_revision of results.csv); they "
                    "are kept and compared apart. A new study=… name gives a clean table."
                )
        if not (rows["method"] == "direct").any():
            found.append("No baseline: the arm direct was not run, so nothing here can be called better or worse than it.")
        if (self.reported["role"] == "arm").any() and not (rows["role"] == "null").any():
            found.append("No null arm was run (method=random,permuted): whether a random direction does as well is open.")
        found += abstaining(self.reported, self.name)
        # What lm-eval scored itself has no verdicts to compare.
        told = self.reported
        alone = told[(told["role"] != "baseline") & told["diff"].isna() & told["problems"].notna()]
        if len(alone) and (rows["method"] == "direct").any():
            found.append(
                f"{len(alone)} of {len(told)} reported cells have no difference to direct: on their items and with their "
                "decoding it was not run, or several times and never with their own prompt style and decoding.seed."
            )
        return found


def abstaining(rows: pd.DataFrame, study: str) -> list[str]:
    """That the scorer robust left most answers of these rows open, and what that means; empty where it did not."""
    own = rows[rows["scorer"] == "robust"]
    share = own["unresolved_share"].fillna(0).mul(own["n"]).sum() / own["n"].sum() if len(own) else 0.0
    if share < MOST_OPEN:
        return []
    return [
        f"robust abstains on {100 * share:.0f} % of the answers: they claim no final result in words that it knows (a box, "
        f"'the answer is …', a bare answer), and it never guesses; an abstention counts as not right. "
        f"`l2v agreement study={study}` shows them beside the other scorers' verdicts."
    ]


def read_study(outputs: str, study: str, scorer: str = "official") -> Study:
    """A study as a scorer saw it; nothing is written.

    Raises UserError for an unknown study, or a scorer that was not applied to it.
    """
    return open_study(Store(outputs, study).existing(), scorer)


def open_study(store: Store, scorer: str | None = None, results: pd.DataFrame | None = None) -> Study:
    """As `read_study`; a study that was never run has no rows. scorer: None is official, or the first there is. results: its
    table where it was just built."""
    if results is None:
        results = build_results(store) if (store.path / "study.json").exists() else pd.DataFrame()
    study = Study(store, "official", results, read_selection(store))
    if scorer is None:
        scorer = "official" if "official" in (there := study.scorers) else [*there, "official"][0]
    return study.seen_by(scorer)


def told_apart(first: Study, second: Study) -> tuple[Study, Study]:
    """Two studies that are shown together: equal names of arms mean equal arms."""
    return replace(first, beside=(second.results,)), replace(second, beside=(first.results,))


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
    )
    rows["items"] = ""
    for _, of in rows.groupby(["where", "bench"], sort=False):
        rows.loc[of.index, "items"] = _joined(of, ASKED, _varying(of, ASKED) | {"split", "part"})
    rows["arm"] = arm_names(rows)
    rows["panel"] = _panels(rows)
    steered = rows["layer"].notna()
    rows["role"] = [_role(method, vector) for method, vector in zip(rows["method"], steered, strict=True)]
    return rows


def on_same_items(ours: pd.DataFrame, theirs: pd.DataFrame, apart: Iterable[str] = ()) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of both tables the rows that asked alike, and of several such kinds, as a pilot's, those of the most items; none where no
    row of the one has its like in the other. apart: columns in which they differ on purpose."""
    shared = [column.name for column in ASKED_ALIKE if {column.name, column.behind}.isdisjoint(apart)]
    asked = [[key(row, shared) for row in rows.to_dict("records")] for rows in (ours, theirs)]
    sizes = {kind: n for kind, n in zip(asked[0], ours["n"], strict=True) if kind in set(asked[1])}
    most = max(sizes, key=lambda kind: sizes[kind], default=None)
    mine, other = ([kind == most for kind in kinds] for kinds in asked)
    return ours[mine], theirs[other]


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
        varying -= {without} | ({"source"} if str(method) in ARMS and ARMS[str(method)].reads == "target" else set())
        if is_null(str(method)) and without != "seed":
            varying.add("seed")
        for index, words in zip(group.index, _joined(group, MODIFIERS, varying), strict=True):
            names[index] = f"{title(str(method))} {words}".strip()
    return list(names.values())


def _varying(rows: pd.DataFrame, columns: Iterable[Column]) -> set[str]:
    """Which of these take several values; what stands behind a name does where one name stands for several."""

    def values(name: str) -> list[Any]:
        return [None if pd.isna(value) else value for value in rows[name].tolist()]

    def several(column: Column) -> bool:
        found = values(column.name)
        if len(set(found)) < 2 or not column.behind:
            return len(set(found)) > 1
        names = values(column.behind)
        return len(set(zip(names, found, strict=True))) > len(set(names))

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
