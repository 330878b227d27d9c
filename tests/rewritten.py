"""Other responses in a finished cell, stored as if they had been answered so: digests and verdicts fit."""

from __future__ import annotations

from collections.abc import Sequence

from l2v.study.cell_folder import CellFolder
from l2v.study.digests import sealed_line


def rewrite(folder: CellFolder, texts: Sequence[str]) -> None:
    """Replace the first responses of a cell by these texts; its verdicts stay."""
    figures = folder.metrics()
    verdicts = {m["scorer"]: folder.scores(m["scorer"]) for m in figures}
    rows = folder.responses()
    for row, text in zip(rows, texts, strict=False):
        row["response"] = text
    (folder.path / "responses.jsonl").write_text("".join(sealed_line(row, folder.id) for row in rows), encoding="utf-8")
    folder.finish()
    for scorer, judged in verdicts.items():
        folder.write_scores(scorer, judged, [m for m in figures if m["scorer"] == scorer])
