"""Sections that some studies have: printed figures beside measured ones, agreement of scorers, and the LAT pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from l2v.disk import Record
from l2v.errors import UserError
from l2v.report.agreement import Judged, matrix
from l2v.report.figures import points
from l2v.report.paper import paper_table, printed_beside
from l2v.report.study import Study
from l2v.study.digests import analyses, check_figure, is_whole

MOST_JUDGED = 100  # cells whose responses are compared between scorers
MOST_LAT_BYTES = 3_000_000
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Shown:
    """A table as text: its heading sentence, columns, rows, and one sentence on what it may be read as."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


def printed(study: Study) -> tuple[Shown | None, str]:
    """Measured beside printed, where the study has a printed table; else, or where it cannot be made, a sentence why."""
    name = next(iter(printed_beside(study.name)), None)
    if name is None:
        return None, ""
    try:
        table = paper_table(study, name)
    except UserError as error:
        return None, str(error)
    there = table[table["chosen"] != "missing"]
    if not len(there):
        return None, f"None of the {len(table)} printed figures of {name} was measured in this study."
    names = [column for column in ("target", "method", "source") if table[column].notna().any()]
    columns = [*names, "score", "printed %", "measured % [95 %]", "n", "difference, points"]
    rows = []
    for line in there.to_dict("records"):
        mark = "†" if line["chosen"] == "selected on test" else ""
        measured = f"{line['measured']:.1f}{mark} [{line['low']:.1f}, {line['high']:.1f}]"
        figures = [f"{line['printed']:.1f}", measured, f"{line['n']:.0f}", points(line["difference"])]
        rows.append([*("" if pd.isna(line[c]) else str(line[c]) for c in names), str(line["column"]), *figures])
    title = f"{len(there)} of {len(table)} printed figures of {name} were measured"
    return Shown(title, columns, rows, f"Scorer {study.scorer}. The paper names no scorer, layer, alpha or k."), ""


def agreement(study: Study) -> Shown | None:
    """How far the scorers agree on the responses of the reported cells; None with fewer than two scorers."""
    names = sorted(set(study.rows["scorer"])) if len(study.rows) else []
    cells = list(dict.fromkeys(study.reported["cell"])) if len(study.rows) else []
    judged = [one for cell in cells[:MOST_JUDGED] for one in _judged(study, cell, names)] if len(names) > 1 else []
    if not judged:
        return None
    table = matrix(judged)
    differ = sum(len({right is True for right, _ in one.verdicts.values()}) > 1 for one in judged)
    title = f"The scorers differ on {differ:,} of {len(judged):,} responses"
    note = (
        f"Agreement in % with 95 % Wilson intervals, n = {len(judged):,} responses of "
        f"{min(len(cells), MOST_JUDGED)} reported cells. An abstention is not right."
    )
    return Shown(title, [str(c) for c in table.columns], table.astype(str).values.tolist(), note)


def _judged(study: Study, cell: str, names: Sequence[str]) -> list[Judged]:
    scores = {name: {v["id"]: (v["correct"], v["extraction"]) for v in study.store.folder(cell).scores(name)} for name in names}
    shared = set.intersection(*(set(of_name) for of_name in scores.values()))
    # Nothing of the texts is needed to count.
    return [Judged(cell, item, "", {name: scores[name][item] for name in names}) for item in sorted(shared)]


def lat(study: Study) -> tuple[list[Record], list[str]]:
    """The LAT pictures under lat/<id>/, checked, and a sentence per folder or figure that could not be shown."""
    shown: list[Record] = []
    notes: list[str] = []
    for path in analyses(study.store.path):
        try:
            shown.append(_lat(path, notes))
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"lat/{path.parent.name} could not be read ({type(error).__name__}); run `l2v analyze` again.")
    return [one for one in shown if one["figures"]], notes


def _lat(path: Path, notes: list[str]) -> Record:
    if path.stat().st_size > 4 * MOST_LAT_BYTES:
        raise ValueError("too large")
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    if not isinstance(content, dict) or not is_whole(content):
        raise ValueError("damaged")
    figures = []
    for figure in content["figures"]:
        name = str(figure.get("title") or figure.get("id"))
        try:
            figures.append(_figure(path.parent, figure))
        except (UserError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            notes.append(f"The figure '{name}' of lat/{path.parent.name} could not be shown ({error}).")
    settings = [[str(k), str(v)] for k, v in dict(content.get("settings") or {}).items()]
    return {
        "id": path.parent.name,
        "title": str(content["title"]),
        "note": str(content.get("note") or ""),
        "settings": settings,
        "figures": figures,
    }


def _figure(folder: Path, figure: Any) -> Record:
    check_figure(folder, {"csv": "", **figure})
    picture, table = _inside(folder, figure["png"]), _inside(folder, figure.get("csv"))
    content = b"" if picture is None else picture.read_bytes()
    text = table.read_text(encoding="utf-8") if table is not None and table.is_file() else None
    if not content.startswith(PNG):
        raise ValueError("not a PNG")
    if len(content) > MOST_LAT_BYTES:
        raise ValueError("more data than a page should hold")
    return {
        "id": str(figure["id"]),
        "title": str(figure.get("title") or figure["id"]),
        "note": str(figure.get("note") or ""),
        "png": base64.b64encode(content).decode("ascii"),
        "csv": text,
        "file": table.name if table is not None else None,
    }


def _inside(folder: Path, name: Any) -> Path | None:
    """A file of the folder itself; names that lead elsewhere are refused."""
    if not name:
        return None
    if Path(str(name)).name != str(name):
        raise ValueError(f"the file name '{name}' leads out of its folder")
    return folder / str(name)
