"""results.csv: one row per cell, metric and scorer; rebuilt from the cells, never edited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import itemgetter
from typing import Any, TypeVar

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.study.cells import Cell
from l2v.study.checkup import whole_study
from l2v.study.marks import Marks
from l2v.study.statistics.paired import holm, paired_scores
from l2v.study.statistics.searches import ARM, add_searches
from l2v.study.statistics.searches import COLUMNS as SEARCHED
from l2v.study.store import Record, Store, write_atomically

SETTINGS = [
    "study",
    "source",
    "contrast",
    "per_domain",
    "contrast_seed",
    "target",
    "benchmark",
    "task",
    "split",
    "part",
    "prompt",
    "limit",
    "method",
    "weights",
    "layer",
    "source_layer",
]
SETTINGS += ["alpha", "cutoff", "positions", "scale", "seed", "source_revision", "target_revision", "benchmark_revision"]
FIGURES = ["metric", "scorer", "value", "n", "problems", "low", "high"]
COMPARED = ["diff", "diff_low", "diff_high", "flips_right", "flips_wrong", "p"]
OUTPUT = ["tokens", "steps_share", "no_answer_share", "unresolved_share", "guessed_share", "truncated_share"]
OUTPUT += ["min_new_tokens", "max_new_tokens", "temperature", "seconds"]
COLUMNS = ["cell", *SETTINGS, *FIGURES, *COMPARED, "p_holm", "selected", *SEARCHED, *OUTPUT]

# Rows that answer the same questions on the same model: compared with one baseline and corrected together.
FAMILY = [
    "target",
    "target_revision",
    "benchmark",
    "task",
    "benchmark_revision",
    "split",
    "part",
    "limit",
    "max_new_tokens",
    "temperature",
    "metric",
    "scorer",
]


def build_results(store: Store) -> pd.DataFrame:
    """The table of a study, from its finished cells; also written to results.csv.

    diff: paired difference to `direct` on the same target and items, with a 95 % bootstrap interval; p: exact McNemar, or a
    sign-flip test over problems where problems have several items; p_holm: Holm over all compared cells of one target,
    benchmark, split, score and scorer. selected: what the cell's layer, alpha and k were chosen on: another split ("dev"),
    another part of the problems, or "test" for the best of several cells on the very items it is told on. budget,
    p_best_of_grid, p_best_of_seeds: see `searches.add_searches`.
    """
    arms = [arm for arm in read_selection(store).get("arms", []) if arm["steered"]]
    selected = {arm["report"]: arm["chosen_on"] for arm in arms}
    rows: list[Record] = []
    marks = Marks(store)
    for folder in whole_study(store):
        cell = marks.cell(folder.id)
        settings = _settings(cell) | {"study": store.study, "selected": selected.get(cell.id)}
        rows += [settings | metric for metric in folder.metrics()]
    _mark_best(rows, set(selected.values()))
    _compare(rows, marks)
    add_searches(rows, marks, FAMILY, {arm["select"]: arm["report"] for arm in arms})
    table = pd.DataFrame(rows, columns=COLUMNS)
    if rows:
        headline_first = table["metric"].where(table["metric"] != HEADLINE, "")
        order = [*FAMILY, *ARM, "cutoff", "layer", "alpha", "min_new_tokens", "cell"]
        table = (
            table.assign(metric=headline_first)
            .sort_values(order, key=_sortable, ignore_index=True)
            .assign(metric=lambda t: t["metric"].replace("", HEADLINE))
        )
    write_atomically(store.path / "results.csv", table.to_csv(index=False, float_format="%.6g"))
    return table


def _sortable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers by size, everything else by text, gaps last."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.map(lambda v: "~" if pd.isna(v) else f"{v:012.4f}" if isinstance(v, (int, float)) else str(v))


def _settings(cell: Cell) -> Record:
    own = {field.name: getattr(cell, field.name) for field in fields(cell) if field.name in COLUMNS}
    return own | {
        "cell": cell.id,
        "source": cell.source.name if cell.source else None,
        "target": cell.target.name,
        "benchmark": cell.benchmark.name,
        "contrast": cell.contrast.name if cell.contrast else None,
        "per_domain": cell.contrast.per_domain if cell.contrast else None,
        "contrast_seed": cell.contrast.seed if cell.contrast else None,
        "task": cell.benchmark.task,
        "weights": cell.weights.kind if cell.weights else None,
        "temperature": cell.sampling.temperature if cell.sampling else 0.0,
        "split": cell.benchmark.split,
        "part": _part(cell),
        "prompt": cell.benchmark.prompt,
        "limit": cell.benchmark.limit,
        "source_revision": cell.source.revision if cell.source else None,
        "target_revision": cell.target.revision,
        "benchmark_revision": cell.benchmark.revision,
    }


def _mark_best(rows: list[Record], searched: set[str]) -> None:
    """Of an arm with several cells on the same items, mark the best as selected there: "test" in column `selected`.

    `searched`: the items that a selection protocol chose on; nothing is reported there.
    """
    arms: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        if row["selected"] is None and row["metric"] == HEADLINE and row["layer"] is not None and _items(row) not in searched:
            arms.setdefault(tuple(row.get(name) for name in (*FAMILY, *ARM)), []).append(row)
    best = {max(arm, key=lambda row: row["value"])["cell"] for arm in arms.values() if len({r["cell"] for r in arm}) > 1}
    for row in rows:
        if row["cell"] in best:
            row["selected"] = "test"


def _items(row: Record) -> str:
    """The items of a row in the words of selection.json."""
    return str(row["split"] if row["part"] is None else row["part"])


def _part(cell: Cell) -> str | None:
    part = cell.benchmark.part
    return None if part is None else part.describe()


def _compare(rows: list[Record], marks: Marks) -> None:
    """Fill in the paired columns, family by family; without one baseline to compare with they stay empty."""
    families: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        families.setdefault(tuple(row.get(name) for name in FAMILY), []).append(row)
    baselines = {key: [row for row in family if row["method"] == "direct"] for key, family in families.items()}
    compared: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in FAMILY)
        baseline = own_baseline(baselines[key], row["prompt"], itemgetter("prompt"))
        # An lm-eval task's own figures have no verdicts behind them.
        if row["method"] == "direct" or baseline is None or "problems" not in row:
            continue
        result = paired_scores(marks.score(row), marks.score(baseline))
        values = (result.diff, result.low, result.high, result.right, result.wrong, result.p)
        row.update(zip(COMPARED, values, strict=True))
        compared.setdefault(key, []).append(row)
    for family in compared.values():
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p


Baseline = TypeVar("Baseline")


def own_baseline(baselines: Sequence[Baseline], prompt: str, prompt_of: Callable[[Baseline], str]) -> Baseline | None:
    """Of the `direct` cells on the same items and model, the one that a cell with this prompt style is compared with.

    The one with the same style, or the only one there is; None where none or several are left.
    """
    same = [one for one in baselines if prompt_of(one) == prompt] or baselines
    return same[0] if len(same) == 1 else None


def read_selection(store: Store) -> dict[str, Any]:
    """selection.json: which cell of each arm was chosen on which split; empty for a plain sweep."""
    return store.selection()
