"""results.csv: one row per cell, metric and scorer; rebuilt from the cells, never edited."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from l2v.benchmarks.metrics import HEADLINE
from l2v.disk import Record
from l2v.study.cells import Cell
from l2v.study.checkup import whole_study
from l2v.study.columns import ARM_COLUMNS, CHOOSABLE, COLUMNS, COMPARED, FAMILY, ITEMS, SWEPT, Value, key, names, settings
from l2v.study.digests import tell_once
from l2v.study.marks import Marks
from l2v.study.race import Promise, Round
from l2v.study.score import unjudged
from l2v.study.statistics.paired import holm, paired_scores
from l2v.study.statistics.searches import add_races, add_searches, best_row, grouped, own_baseline
from l2v.study.store import Store
from l2v.transfer.arms import is_bound

if TYPE_CHECKING:
    import pandas as pd

# The family of tests, in the words of every table, page and document.
HOLM = (
    "p (Holm): corrected over the reported cells of one target, benchmark, score and scorer, one per arm, where a cell that is "
    "the best of several on its own items enters with its p (best of grid)"
)


@dataclass(frozen=True)
class ChosenArm:
    """An arm as a protocol chose it. `select`, `report`: ids of the chosen cell and of the one that reports it.

    cells: what was chosen from in words, by the ids that rounds and prior name, where there was a race.

    budget: how many cells it was chosen from. Of a race: the problems that were chosen on, what happened at each look, and
    what was known of its cells beforehand, where that was asked for.
    """

    arm: str
    steered: bool
    chosen_on: str
    select: str
    report: str
    budget: int = 1
    problems: int = 0
    rounds: tuple[Round, ...] = ()
    prior: tuple[Promise, ...] = ()
    cells: Mapping[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Problems x cells that its race answered; 0 without a race."""
        return sum(len(round.cells) * round.problems for round in self.rounds)


@dataclass(frozen=True)
class Selection:
    """selection.json: what a protocol chose; without arms before it has chosen, and without `choose` for a plain sweep.

    select, report: the splits that were chosen and reported on, None for the two parts of one split. choose: what was chosen.
    """

    select: str | None = None
    report: str | None = None
    choose: tuple[str, ...] = ()
    arms: tuple[ChosenArm, ...] = ()

    def told(self) -> str:
        """What was chosen on which items and reported on which, in words."""
        what = ", ".join(CHOOSABLE[name].word for name in self.choose)
        where, then = ("one part of the problems", "the rest")
        if self.select is not None:
            where, then = f"split {self.select}", f"split {self.report}"
        if not self.arms:
            return f"per arm, {what} are still to be chosen on {where}, and to be reported on {then}; repeat `l2v run` to go on"
        told = f"per arm, {what} were chosen on {where}; every figure is reported on {then}"
        if self.raced:
            rows, full = self.raced_rows
            told += f"; raced: {rows:,} of {full:,} rows x cells ({100 * rows / full:.0f} %), selection.json tells how"
        return told

    @property
    def raced(self) -> list[ChosenArm]:
        """The arms whose cell was chosen by a race."""
        return [arm for arm in self.arms if arm.rounds]

    @property
    def raced_rows(self) -> tuple[int, int]:
        """Problems x cells that the races answered, and those of their full grids."""
        return sum(arm.rows for arm in self.raced), sum(arm.budget * arm.problems for arm in self.raced)

    @property
    def reports(self) -> dict[str, str]:
        """Chosen cell -> the cell that reports it."""
        return {arm.select: arm.report for arm in self.arms}


def build_results(store: Store, known: Mapping[str, Cell] | None = None) -> pd.DataFrame:
    """The table of a study, from its finished cells. known: cells by id that need not be read from their folders.

    diff: paired difference to `direct` on the same target and items (see `own_baseline`), with a 95 % bootstrap interval; p:
    exact McNemar, or a sign-flip test over problems where problems have several items. selected: what the cell's settings were
    chosen on: another split ("dev"), another part of the problems, or "test" for the best of several cells on the very items
    it is reported on. reported: one cell per arm: the one that a protocol chose, the only one, or the best. budget,
    p_best_of_grid, p_best_of_seeds: see `searches.add_searches`. p_holm: see `_correct`. bound: "upper" for an arm that has
    seen the target's own contrast.
    """
    import pandas as pd

    selection = read_selection(store)
    # What was chosen from one cell alone, as a prompt, was not selected.
    selected = {arm.report: arm.chosen_on for arm in selection.arms if arm.steered or arm.budget > 1}
    rows: list[Record] = []
    marks = Marks(store, known)
    for folder in whole_study(store):
        cell = marks.cell(folder.id)
        if cell.benchmark.part is not None and cell.benchmark.part.block:
            # A look of a race; what it says stands in selection.json.
            continue
        own = settings(cell)
        own |= {"study": store.study, "selected": selected.get(folder.id), "reported": False}
        own |= {"bound": "upper" if is_bound(cell.method) else None}
        # What a judge left unjudged has no value: no figure may be made of it.
        metrics = folder.metrics()
        rows += [own | metric for metric in metrics if metric["value"] is not None]
        if gaps := unjudged(folder, ["judge"], metrics):
            tell_once(f"Cell {folder.id}: {gaps}.")
    _report(rows, selection)
    _compare(rows, marks)
    chosen = {CHOOSABLE[name].name for name in selection.choose}
    add_searches(rows, marks, selection.reports, _apart(rows, selection, chosen))
    add_races(rows, {arm.report: list(arm.cells.values()) for arm in selection.raced}, chosen)
    raced = {arm.report: arm.budget for arm in selection.raced}
    for row in rows:
        row |= {"budget": raced[row["cell"]]} if row["cell"] in raced else {}
    _correct(rows)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return _ordered(table, rows) if rows else table


def write_results(store: Store, known: Mapping[str, Cell] | None = None) -> pd.DataFrame:
    """`build_results`, also written to results.csv."""
    table = build_results(store, known)
    store.write_results(table.to_csv(index=False, float_format="%.6g"))
    return table


def _ordered(table: pd.DataFrame, rows: Sequence[Record]) -> pd.DataFrame:
    headline_first = table["metric"].where(table["metric"] != HEADLINE, "")
    order = [*FAMILY, *ARM_COLUMNS, "cutoff", *(name for name in names(SWEPT) if name != "cutoff"), "cell"]
    # Most of these sixty are the same all over a study.
    differ = [name for name in order if name == "cell" or len({row.get(name) for row in rows}) > 1]
    # pandas' own sort by many columns takes many times as long on the tables of a study.
    keys = zip(*(_sortable(headline_first if name == "metric" else table[name]) for name in differ), strict=True)
    return table.iloc[[i for _, i in sorted(zip(keys, range(len(table)), strict=True))]].reset_index(drop=True)


def _sortable(column: pd.Series[Any]) -> list[Any]:
    """Numbers by size, everything else by text, gaps last."""
    import pandas as pd

    gaps = column.isna().tolist()
    if pd.api.types.is_numeric_dtype(column):
        return [(gap, 0 if gap else v) for gap, v in zip(gaps, column.tolist(), strict=True)]
    return [
        "~" if gap else f"{v:012.4f}" if isinstance(v, (int, float)) else str(v)
        for gap, v in zip(gaps, column.tolist(), strict=True)
    ]


def _report(rows: list[Record], selection: Selection) -> None:
    """Fill `reported`, per scorer; the best of several cells on the items it is reported on is also `selected` there: "test".

    On items that a protocol chose on nothing is reported.
    """
    searched = {arm.chosen_on for arm in selection.arms}
    chosen = set(selection.reports.values())
    told: dict[tuple[str, str], str | None] = {}
    headlines = [row for row in rows if row["metric"] == HEADLINE or "problems" not in row]
    for arm in grouped(headlines, (*names(ITEMS), "scorer", *ARM_COLUMNS)).values():
        # A task of lm-eval may have several scores and no headline: then the first decides.
        arm = [row for row in arm if row["metric"] == arm[0]["metric"]]
        reported = [row for row in arm if row["cell"] in chosen]
        if not reported and _items(arm[0]) not in searched:
            reported = [best_row(arm)]
        for row in reported:
            best = len(arm) > 1 and row["cell"] not in chosen
            told[row["cell"], row["scorer"]] = "test" if best else row["selected"]
    for row in rows:
        if (row["cell"], row["scorer"]) in told:
            row |= {"reported": True, "selected": told[row["cell"], row["scorer"]]}


def _items(row: Record) -> str:
    """The items of a row in the words of selection.json."""
    return str(row["split"] if row["part"] is None else row["part"])


def _apart(rows: Sequence[Record], selection: Selection, chosen: Collection[str]) -> dict[str, tuple[Value, ...]]:
    """The settings that were swept and not chosen, of every cell that a protocol chose from or reports."""
    searched, reports = {arm.chosen_on for arm in selection.arms}, set(selection.reports.values())
    beside = [name for name in names(SWEPT) if name not in chosen]
    return {row["cell"]: key(row, beside) for row in rows if row["cell"] in reports or _items(row) in searched}


def _compare(rows: list[Record], marks: Marks) -> None:
    """Fill in the paired columns, family by family; without one baseline to compare with they stay empty."""
    for family in grouped(rows, FAMILY).values():
        baselines = [row for row in family if row["method"] == "direct"]
        for row in family:
            baseline = own_baseline(baselines, row)
            # A task's own figures of lm-eval have no verdicts behind them.
            if row["method"] == "direct" or baseline is None or "problems" not in row:
                continue
            result = paired_scores(marks.score(row), marks.score(baseline))
            values = (result.diff, result.low, result.high, result.right, result.wrong, result.p)
            row.update(zip(names(COMPARED), values, strict=True))


def _correct(rows: list[Record]) -> None:
    """Fill p_holm: Holm over the reported cells, one per arm, of one target, benchmark, score and scorer.

    A cell that is the best of several on its own items enters with p (best of grid), which allows for that search; every other
    one with its p. What was only searched has no p_holm.
    """
    for family in grouped((row for row in rows if row["reported"]), FAMILY).values():
        found = [(row, row.get("p_best_of_grid" if row["selected"] == "test" else "p")) for row in family]
        tested = [(row, p) for row, p in found if p is not None]
        for (row, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
            row["p_holm"] = p


def read_selection(store: Store) -> Selection:
    """What a study's protocol chose; empty for a plain sweep. Raises UserError as `Store.selection`."""
    content = store.selection()
    if not content:
        return Selection()
    told = content["protocol"]
    plain = {one.name for one in fields(ChosenArm)} - {"rounds", "prior"}
    arms = tuple(
        ChosenArm(
            **{name: value for name, value in arm.items() if name in plain},
            rounds=tuple(Round.of(one) for one in arm.get("rounds", ())),
            prior=tuple(Promise(**one) for one in arm.get("prior", ())),
        )
        for arm in content["arms"]
    )
    return Selection(told["select"], told["report"], tuple(told["choose"]), arms)
