"""The folder that `l2v analyze` writes: every figure as PNG and CSV from the same numbers, and a page of them."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

from l2v.disk import write_atomically
from l2v.report.lat.numbers import Analysis
from l2v.report.lat.pictures import pictures
from l2v.report.panels import save_png
from l2v.study.digests import PAGE, PICTURE, TABLE, content_digest, sealed


def note(found: Analysis) -> str:
    """What the page says above its figures."""
    from l2v.report.tables import MINIATURE_NOTE

    lines = [
        f"States at the final token of n = {found.source.dispersions[0].n} pairs of texts, as the blocks put them out. "
        "Intervals: 95 %, bootstrap over pairs. k counts both halves of the spectrum."
    ]
    if found.low_high is None:
        lines.append("No low- against high-pass injection: this study holds no finished cells of both arms for these models.")
    if found.miniature:
        lines.append(MINIATURE_NOTE)
    return " ".join(lines)


def write_analysis(found: Analysis, folder: Path) -> Path:
    """Write lat.json, index.html, and a PNG and a CSV per figure into `folder`; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = []
    for picture in pictures(found):
        names = {"png": f"{picture.id}.png", "csv": f"{picture.id}.csv"}
        save_png(picture, folder / names["png"])
        table = picture.table.to_csv(index=False, float_format="%.6g")
        write_atomically(folder / names["csv"], table)
        told = {"id": picture.id, "title": picture.title, "note": picture.note, TABLE: content_digest(table.encode())}
        told[PICTURE] = content_digest((folder / names["png"]).read_bytes())
        figures.append(told | names)
    content = {"title": found.title, "note": note(found), "settings": found.settings, "figures": figures}
    shown = page(content, folder)
    told = sealed(content | {PAGE: content_digest(shown.encode())})
    write_atomically(folder / "lat.json", json.dumps(told, allow_nan=False))
    write_atomically(folder / "index.html", shown)
    return folder / "index.html"


STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#222;margin:0 auto;max-width:52rem;padding:0 .8rem 3rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}p{max-width:46rem}table{border-collapse:collapse;font-size:.85rem}
td{padding:.1rem .8rem .1rem 0;vertical-align:top;overflow-wrap:anywhere}
td:first-child{white-space:nowrap}.plot{max-width:100%}a{color:#0072b2}section{break-inside:avoid}
:root{color-scheme:light dark}@media screen and (prefers-color-scheme:dark){body{background:#16181c;color:#e6e4de}
a{color:#7db8e8}.plot{filter:invert(.885) hue-rotate(180deg)}}
@media print{.plot{max-height:16cm}}"""


def page(content: dict[str, Any], folder: Path) -> str:
    """One file with the pictures inside: no network and no script."""
    rows = "".join(f"<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>" for k, v in content["settings"].items())
    parts = "".join(_section(one, folder) for one in content["figures"])
    title = _text(content["title"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        f"<h1>{title}</h1><p>{_text(content['note'])}</p><table>{rows}</table>{parts}</body></html>"
    )


def _section(one: dict[str, Any], folder: Path) -> str:
    links = " · ".join(f'<a href="{_text(one[kind])}">{_text(one[kind])}</a>' for kind in ("csv", "png"))
    png = base64.b64encode((folder / one["png"]).read_bytes()).decode("ascii")
    plot = f'<img class="plot" id="{_text(one["id"])}" alt="{_text(one["title"])}" src="data:image/png;base64,{png}">'
    return f"<section><h2>{_text(one['title'])}</h2><p>{_text(one['note'])}</p>{plot}<p>{links}</p></section>"


def _text(value: Any) -> str:
    return html.escape(str(value))
