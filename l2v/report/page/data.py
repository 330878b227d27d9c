"""What the page holds of a study: its rows, packed, and the settings that a curve can be drawn along."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from l2v.report.study import MODIFIERS, Study
from l2v.study.columns import COLUMNS, COMPARED, OUTPUT, SETTINGS, SWEPT


def sweeps(rows: pd.DataFrame) -> list[str]:
    """The settings that a curve can be drawn along: those with two values or more among steered cells."""
    steered = rows[rows["layer"].notna()]
    return [column.name for column in SETTINGS if column.axis and steered[column.name].nunique() > 1]


def column_names() -> dict[str, Any]:
    """What the page calls its columns: values that a figure can show, settings along an axis, what arms are searched over."""
    figures = [column for column in COLUMNS.values() if column.axis and not column.path]
    shares = {column.name: column.word for column in COLUMNS.values() if column.role == OUTPUT and column.word.endswith("%")}
    return {
        "values": [
            {"key": c.name, "title": c.axis, "scale": 1 if c.name == "tokens" else 100, "diverging": c.role == COMPARED}
            for c in figures
        ],
        "along": {column.name: column.axis for column in SETTINGS if column.axis},
        "swept": {column.name: column.word for column in SETTINGS if column.role == SWEPT},
        "shares": shares,
    }


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


def table_for_page(study: Study) -> dict[str, Any]:
    """A study's rows as the page reads them: the text of results.csv by column, and the names of `named`."""
    rows = study.rows
    text = rows[list(COLUMNS)].to_csv(index=False, float_format="%.6g")
    lines = list(csv.reader(io.StringIO(text, newline="")))
    columns = {name: [line[i] for line in lines[1:]] for i, name in enumerate(lines[0])}
    extra = {name: rows[name].astype(str).tolist() for name in ("where", "bench", "items", "arm", "panel", "role")}
    extra["told"] = ["1" if told else "" for told in rows["reported"]]
    chosen = set(study.selection.reports)
    best = rows["selected"] == "test"
    extra["chosen"] = ["1" if cell in chosen or b else "" for cell, b in zip(rows["cell"], best, strict=True)]
    along = sweeps(rows) if len(rows) else []
    for name in set(along) & {column.name for column in MODIFIERS}:
        extra[f"arm~{name}"] = study.arms(without=name)
    return {
        "study": study.name,
        "rows": len(rows),
        "order": list(COLUMNS),
        "columns": packed(columns),
        "extra": packed(extra),
        "sweeps": along,
    }
