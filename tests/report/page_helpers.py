"""What the tests of the page share: reading its data, and studies that mean harm."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from rewritten import rewrite

from l2v.report.page.page import write_page
from l2v.report.study import open_study
from l2v.study.store import CellFolder, Store


def rows(seen: Path) -> list[dict[str, str]]:
    """results.csv."""
    with (seen / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def percent(text: str) -> str:
    """A share as it is printed."""
    return f"{100 * float(text):.1f}"


def block(page: str, id: str) -> Any:
    """The data of one script element, as the browser reads them."""
    found = re.search(rf'<script type="application/json" id="{id}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def written(folder: Path, scorer: str = "official", results: pd.DataFrame | None = None, **settings: Any) -> str:
    """The page of a study in this folder."""
    study = open_study(Store(folder.parent, folder.name).existing(), scorer, results)
    return write_page(study, **settings).read_text(encoding="utf-8")


def unpacked(table: dict[str, Any]) -> list[list[str]]:
    """The rows of a packed table."""

    def values(column: dict[str, Any]) -> list[str]:
        if "one" in column:
            return [column["one"]] * table["rows"]
        return column.get("values") or [column["words"][i] for i in column["index"]]

    return list(map(list, zip(*(values(table["columns"][name]) for name in table["order"]), strict=True)))


HOSTILE = [
    "</script><script>window.attacked = true</script>",
    '<img src=x onerror="window.attacked = true">',
    "שלום \u202eevil\u202c مرحبا",
    "bell \u0007 null \u0000 escape \u001b[31m",
    "line\u2028separator\u2029",
    "long " * 20_000,
]


def poison(study: Path) -> None:
    """Replace a study's responses by texts that mean harm; verdicts stay."""
    for path in study.glob("cells/*/responses.jsonl"):
        folder = CellFolder(path.parent)
        count = len(folder.responses())
        rewrite(folder, [HOSTILE[i % len(HOSTILE)] + folder.id[:2] for i in range(count)])


def write_lat(study: Path, figures: list[dict[str, Any]]) -> Path:
    """A folder of LAT pictures."""
    folder = study / "lat" / "abc"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    (folder / "numbers.csv").write_text("k,kept\n16,0.3\n")
    content = {"title": "States of kin", "note": "n = 200", "settings": {"layer": "2"}, "figures": figures}
    (folder / "lat.json").write_text(json.dumps(content))
    return folder
