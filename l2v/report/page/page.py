"""`l2v report`'s page: one file that holds a whole study, for a browser without a network.

Everything is inside: the figures' library (packed, unpacked by the browser), the rows, the examples and their pictures. The
page's own policy forbids every request and every script but its own, by hash; data reach it as JSON and are written as text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2v.errors import StudyError, UserError, counted
from l2v.report import style
from l2v.report.answers import writable
from l2v.report.comparison import compare
from l2v.report.page import examples as browser
from l2v.report.page import sections as page_sections
from l2v.report.page.data import column_names, table_for_page
from l2v.report.page.facts import facts, protocol, still_open
from l2v.report.page.outline import outline, scripts
from l2v.report.page.race import races
from l2v.report.study import Study, read_study, told_apart
from l2v.report.tables import MINIATURE_NOTE
from l2v.report.verdicts import KINDS, RULE, ArmVerdict, few_nulls, verdicts
from l2v.study.results import HOLM

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
STYLES = ("page.css", "parts.css", "paper.css")
SHOWN_VERDICTS = 30  # per target; the rest is folded
ABOVE = ("above", "above_nulls", "above_some", "untested", "like_nulls")


def write_page(first: Study, compare: str | None = None, examples: int = 1000) -> Path:
    """Write outputs/<study>/report/index.html and return its path.

    `compare`: a second study of the same outputs folder on the same page. `examples`: most responses in the browser. Raises
    UserError for an unknown second study, a scorer that was not applied to it, and a place that takes no page.
    """
    outputs = first.store.path.parent
    if compare == first.name:
        raise UserError(f"compare={compare} is the study itself; name another study of {outputs}.")
    second = read_study(str(outputs), compare, first.scorer) if compare else None
    try:
        return first.store.write_reports({"index.html": render(first, second, examples)}) / "index.html"
    except StudyError as error:
        raise UserError(f"{error} Without a page: page=false (of `l2v run`, runtime.page=false).") from error


def environment(folder: Path) -> Environment:
    """The templates of a folder: what is put into them is text, and a name that is not there is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters |= {"clean": visible, "signed": signed}
    return found


def styles() -> str:
    return _joined(STYLES)


def render(first: Study, second: Study | None, most: int, served: str = "", mark: str = "") -> str:
    """The page as text. `served`: the path under which a server hands out more of the study, and `mark` the state it is of."""
    if second is not None:
        first, second = told_apart(first, second)
    script = _joined(scripts())
    packed, plotly_hash = _plotly()
    together = compare(first, second) if second is not None and len(first.rows) and len(second.rows) else None
    printed, why_not_printed = page_sections.printed(first)
    lat, lat_notes = page_sections.lat(first)
    shown = browser.for_page(first, most) if len(first.rows) else None
    data = {
        "scorer": first.scorer,
        "tables": [table_for_page(s) for s in (first, second) if s is not None and len(s.rows)],
        "style": _style(),
        "served": served,
        "mark": mark,
        "names": column_names(),
        "lat": [[{"file": f["file"], "csv": f["csv"]} for f in one["figures"]] for one in lat],
        "pairs": [asdict(pair) for pair in together.pairs] if together else [],
    }
    content = {
        "policy": _policy(_hash(script), plotly_hash, server=bool(served)),
        "css": styles(),
        "script": script,
        "plotly": packed,
        "data": embedded(data),
        "examples": embedded(shown),
        "served": served,
        "study": first,
        "second": second,
        "title": first.name if second is None else f"{first.name} beside {second.name}",
        "heads": [_head(study, second is not None) for study in (first, second) if study is not None],
        "note": MINIATURE_NOTE if len(first.rows) and set(first.rows["benchmark"]) == {"mini"} else "",
        "blocks": _blocks([s for s in (first, second) if s is not None]),
        "kinds": KINDS,
        "rule": RULE,
        "holm": HOLM,
        "compared": together,
        "printed": printed,
        "why_not_printed": why_not_printed,
        "agreement": page_sections.agreement(first),
        "races": races(first),
        "lat": lat,
        "lat_notes": lat_notes,
        "browser": shown,
    }
    return environment(HERE).get_template("page.html.j2").render(content, outline=outline(content))


def _joined(names: Sequence[str]) -> str:
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def _head(study: Study, several: bool) -> dict[str, Any]:
    """What the page says of a study above all figures and below them; its name only where another stands beside it."""
    there = len(study.rows) > 0
    return {
        "name": study.name if several else "",
        "lede": _lede(study),
        "protocol": protocol(study) if there else "",
        "still_open": still_open(study),
        "warnings": study.warnings(),
        "facts": facts(study) if there else [],
    }


def _lede(study: Study) -> str:
    """What the study holds, in one line."""
    if not len(study.rows):
        return "No finished cell yet."
    rows, told = study.rows, study.reported
    cells, targets = rows["cell"].nunique(), rows["where"].nunique()
    n = sorted({int(v) for v in told["n"]}) if len(told) else []
    sizes = "" if not n else f", n = {n[0]:,}" if len(n) == 1 else f", n = {n[0]:,} to {n[-1]:,}"
    benchmarks = ", ".join(dict.fromkeys(told["bench"] if len(told) else rows["bench"]))
    return f"{counted(cells, 'finished cell')} on {counted(targets, 'target')}; {benchmarks}{sizes}; scorer {study.scorer}."


def _blocks(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """The verdicts by study, target and items: a heading that says what one sees, the arms, and the null arms apart."""
    blocks = []
    for study in studies:
        lines = verdicts(study) if len(study.rows) else []
        for key in dict.fromkeys((v.where, v.bench, v.items) for v in lines):
            of_key = [v for v in lines if (v.where, v.bench, v.items) == key]
            arms, nulls = [v for v in of_key if v.role != "null"], [v for v in of_key if v.role == "null"]
            blocks.append(
                {
                    "study": study.name if len(studies) > 1 else "",
                    "where": key[0],
                    "on": f"{key[1]}, {key[2]}",
                    "heading": _heading(arms, nulls),
                    "arms": arms[:SHOWN_VERDICTS],
                    "more": arms[SHOWN_VERDICTS:],
                    "nulls": nulls,
                    "null_heading": _null_heading(nulls),
                    "few": few_nulls(len(nulls)),
                }
            )
    return blocks


def _heading(arms: Sequence[ArmVerdict], nulls: Sequence[ArmVerdict]) -> str:
    if not arms:
        return "only null arms" if nulls else "nothing to tell"
    if all(v.finding.kind == "open" for v in arms):
        return "no baseline to compare with"
    above = sum(v.finding.kind in ABOVE for v in arms)
    steered = [v for v in arms if v.role == "arm"]
    beat = sum(v.finding.kind == "above_nulls" for v in steered)
    words = f"{above} of {len(arms)} {'arm' if len(arms) == 1 else 'arms'} above direct"
    if not steered or not above:
        return words
    if not nulls:
        return f"{words}, no null arm was run"
    if {v.finding.kind for v in steered} & set(ABOVE) == {"untested"}:
        return f"{words}, no null arm was searched alike"
    return f"{words}, {beat or 'none'} above every null"


def _null_heading(nulls: Sequence[ArmVerdict]) -> str:
    above = sum(v.finding.kind == "null_above" for v in nulls)
    count = f"{len(nulls)} null {'arm' if len(nulls) == 1 else 'arms'}"
    return f"{count}, {above or 'none'} above direct"


def _style() -> dict[str, Any]:
    return {
        "light": {"palette": style.PALETTE, "diverging": style.DIVERGING, "sequential": style.SEQUENTIAL},
        "dark": {"palette": style.PALETTE_DARK, "diverging": style.DIVERGING_DARK, "sequential": style.SEQUENTIAL_DARK},
        "arms": {name: style.PALETTE.index(colour) for name, colour in style.ARM_COLOURS.items()},
    }


@lru_cache(maxsize=1)
def _plotly() -> tuple[str, str]:
    """plotly.js for flat axes, gzipped as base64 (a third of its size), and the hash of what the browser unpacks.

    The whole of it, which the package plotly brings, is three times as large. The file is plotly-cartesian.min.js of the npm
    package plotly.js-cartesian-dist-min 4.1.1, as `gzip -9n` packs it; its licence lies beside it.
    """
    packed = (HERE / "plotly-cartesian.min.js.gz").read_bytes()
    return base64.b64encode(packed).decode("ascii"), _hash(gzip.decompress(packed).decode("utf-8"))


def _hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii") + "'"


def _policy(*hashes: str, server: bool) -> str:
    """No request at all, or to its own server alone, and no script but those whose content is known here; plotly writes styles
    of its own."""
    own = " 'self'; connect-src 'self'" if server else ""
    return (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data: blob:{own}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(data: Any) -> str:
    """JSON that may stand inside a <script>: nothing in it can end the element or a line of code."""
    text = json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return writable(text)


def finite(value: Any) -> Any:
    """The same data with None where JSON has no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value


def signed(value: object) -> str:
    """Printed figures with the minus sign that the figures have."""
    return re.sub(r"(?<![\w.\-])-(?=\d)", "\u2212", str(value))


def visible(value: object) -> str:
    """Text with control characters made visible."""
    text = writable(str(value))
    return "".join(chr(0x2400 + ord(c)) if ord(c) < 32 and c not in "\n\t" else c for c in text)
