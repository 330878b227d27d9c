"""results.csv: one row per cell, metric and scorer; rebuilt from the cells, never edited."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pandas as pd

from l2v.study.cells import Cell
from l2v.study.stats import holm, paired
from l2v.study.store import Record, Store, write_atomically

SETTINGS = ["study", "source", "target", "benchmark", "split", "prompt", "limit", "method", "layer", "source_layer", "alpha"]
SETTINGS += ["cutoff", "positions", "scale", "seed", "source_revision", "target_revision", "benchmark_revision"]
FIGURES = ["metric", "scorer", "value", "n", "low", "high"]
COMPARED = ["diff", "diff_low", "diff_high", "flips_right", "flips_wrong", "p"]
OUTPUT = ["tokens", "steps_share", "no_answer_share", "truncated_share", "max_new_tokens", "seconds"]
COLUMNS = ["cell", *SETTINGS, *FIGURES, *COMPARED, "p_holm", "selected", *OUTPUT]

# Rows that answer the same questions on the same model: compared with one baseline and corrected together.
FAMILY = [
    "target",
    "target_revision",
    "benchmark",
    "benchmark_revision",
    "split",
    "limit",
    "max_new_tokens",
    "metric",
    "scorer",
]


def build_results(store: Store) -> pd.DataFrame:
    """The table of a study, from its finished cells; also written to results.csv.

    diff: paired difference of accuracy to `direct` on the same target and items, with a 95 % bootstrap interval; p: exact
    McNemar; p_holm: Holm over all compared cells of one target, benchmark, split and scorer. selected: "dev" where the
    cell's layer, alpha and k were chosen on another split.
    """
    selected = {arm["report"]: arm["chosen_on"] for arm in read_selection(store).get("arms", []) if arm["steered"]}
    rows: list[Record] = []
    verdicts: dict[tuple[str, str], dict[str, bool]] = {}
    for folder in store.finished():
        cell = folder.cell()
        for metric in folder.metrics():
            rows.append({**_settings(cell), "study": store.study, "selected": selected.get(cell.id), **metric})
            scores = folder.scores(metric["scorer"])
            verdicts[cell.id, metric["scorer"]] = {v["id"]: v["correct"] is True for v in scores}
    _compare(rows, verdicts)
    table = pd.DataFrame(rows, columns=COLUMNS)
    if rows:
        table = table.sort_values(
            [*FAMILY, "method", "source", "seed", "cutoff", "layer", "alpha", "cell"], key=_sortable, ignore_index=True
        )
    write_atomically(store.path / "results.csv", table.to_csv(index=False, float_format="%.6g"))
    return table


def _sortable(column: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers by size, everything else by text, gaps last."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.map(lambda v: "~" if pd.isna(v) else f"{v:012.4f}" if isinstance(v, (int, float)) else str(v))


def _settings(cell: Cell) -> Record:
    flat = {k: v for k, v in asdict(cell).items() if k in COLUMNS}
    return flat | {
        "cell": cell.id,
        "source": cell.source.name if cell.source else None,
        "target": cell.target.name,
        "benchmark": cell.benchmark.name,
        "split": cell.benchmark.split,
        "prompt": cell.benchmark.prompt,
        "limit": cell.benchmark.limit,
        "source_revision": cell.source.revision if cell.source else None,
        "target_revision": cell.target.revision,
        "benchmark_revision": cell.benchmark.revision,
    }


def _compare(rows: list[Record], verdicts: dict[tuple[str, str], dict[str, bool]]) -> None:
    """Fill in the paired columns, family by family; without one baseline to compare with they stay empty."""
    families: dict[tuple[Any, ...], list[Record]] = {}
    for row in rows:
        families.setdefault(tuple(row[name] for name in FAMILY), []).append(row)
    for family in families.values():
        baselines = [row for row in family if row["method"] == "direct"]
        compared = []
        for row in family:
            baseline = [b for b in baselines if b["prompt"] == row["prompt"]] or baselines
            if row["method"] == "direct" or len(baseline) != 1:
                continue
            base = verdicts[baseline[0]["cell"], row["scorer"]]
            result = paired(verdicts[row["cell"], row["scorer"]], base)
            values = (result.diff, result.low, result.high, result.right, result.wrong, result.p)
            row.update(zip(COMPARED, values, strict=True))
            compared.append(row)
        for row, p in zip(compared, holm([row["p"] for row in compared]), strict=True):
            row["p_holm"] = p


def read_selection(store: Store) -> dict[str, Any]:
    """selection.json: which cell of each arm was chosen on which split; empty for a plain sweep."""
    path = store.path / "selection.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
