"""What was run, in words, from the stored cells."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from l2v import __version__
from l2v.errors import UserError, counted
from l2v.report.study import Study
from l2v.study.cells import Cell
from l2v.study.columns import ITEMS, SETTINGS, short
from l2v.study.provenance import notes
from l2v.study.status import status

COMMANDS = 5  # the last ones are shown
REASONS = 3  # of cells that failed, the most frequent ones


@dataclass(frozen=True)
class Fact:
    term: str
    lines: list[str]


def facts(study: Study) -> list[Fact]:
    """What was run, from the stored cells; nothing is guessed."""
    rows = study.rows
    once = rows.drop_duplicates("cell")
    alike = [c.name for c in SETTINGS if c.role == ITEMS or c.path.startswith(("source.", "contrast.", "sampling."))]
    cells = [study.marks.cell(name) for name in once.drop_duplicates(alike)["cell"]]
    sizes = once.groupby(["bench", "items"], sort=False)["n"].max().reset_index()
    asked = [f"{bench}, {items}: n = {n:,.0f}" for bench, items, n in sizes.itertuples(index=False)]
    found = [
        Fact("Cells", [_cells_line(study, once)]),
        Fact("Protocol", [protocol(study)]),
        Fact("Targets", _distinct(_model(c.target) for c in cells)),
        Fact("Sources", _distinct(_model(c.source) for c in cells if c.source)),
        Fact("Contrasts", _distinct(_contrast(c) for c in cells if c.contrast)),
        Fact("Benchmarks", [*_distinct(_benchmark(c) for c in cells), *asked]),
        Fact("Arms", [", ".join(dict.fromkeys(once["method"]))]),
        Fact("Grid", [_grid(once)]),
        Fact("Decoding", _distinct(_decoding(c) for c in cells)),
        Fact("Scorers", [_scorers(study)]),
        Fact("Compute", [_compute(study, once)]),
        *_provenance(study),
        Fact("Written by", [f"l2v {__version__}"]),
    ]
    return [fact for fact in found if any(fact.lines)]


def still_open(study: Study, now: bool = False) -> list[str]:
    """What of the study is not finished, and of what its cells failed; nothing where its folder does not tell.

    now: with what its workers do, which no page that is kept should say.
    """
    try:
        found = status(str(study.store.path.parent), study.name)
    except UserError:
        return []
    reasons = Counter(found.failed.values()).most_common()
    lines = [f"{counted(count, 'cell')} failed: {reason}" for reason, count in reasons[:REASONS]]
    more = len(reasons) - REASONS
    rest = [f"further reasons, {more}: l2v status study={study.name}"] if more > 0 else []
    doing = f"; now: {found.told_now}" if now and found.told_now else ""
    return [f"{found.told_open}{doing}.", *lines, *rest] if found.told_open else []


def _provenance(study: Study) -> list[Fact]:
    """The commands, and what their workers computed with; nothing for a study that was computed before these were kept."""
    kept = notes(study.store)
    commands = _distinct(str(note["command"]) for note in kept if note.get("command"))
    older = [f"… and {len(commands) - COMMANDS} earlier ones"] if len(commands) > COMMANDS else []
    machines = [note for note in kept if isinstance(note.get("versions"), dict) and isinstance(note.get("hardware"), list)]
    software = _distinct(
        ", ".join(f"{name} {version}" for name, version in note["versions"].items())
        + f"; commit of l2v: {note.get('commit') or 'unknown'}"
        for note in machines
    )
    return [
        Fact("Commands", [*commands[-COMMANDS:], *older]),
        Fact("Hardware", _distinct("; ".join(map(str, note["hardware"])) for note in machines)),
        Fact("Software", software),
    ]


def protocol(study: Study) -> str:
    """On which items settings were chosen and on which they are told."""
    told = study.selection.told() if study.selection.choose else "no selection: every cell as given"
    several = not study.selection.arms and len(study.rows) and (study.reported["selected"] == "test").any()
    best = " † marks the best of several cells, selected on the very items it is reported on." if several else ""
    return f"{told[0].upper()}{told[1:]}.{best}"


def _cells_line(study: Study, once: pd.DataFrame) -> str:
    told = len(set(study.reported["cell"]))
    return f"{len(once):,} finished{'' if told == len(once) else f', {told:,} of them told'}"


def _distinct(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def _model(model: Any) -> str:
    return f"{model.name} ({model.id}, revision {model.revision}, {model.dtype})"


def _contrast(cell: Cell) -> str:
    c = cell.contrast
    assert c is not None
    domains = ", ".join(c.domains) or "all domains"
    pairs = "all pairs" if c.per_domain is None else f"{c.per_domain} pairs per domain"
    return f"{c.name} ({c.id}, revision {c.revision}; {c.kind}, {pairs} of {domains}, seed {c.seed})"


def _benchmark(cell: Cell) -> str:
    b = cell.benchmark
    task = "" if b.task is None else f", task {b.task}"
    part = "" if b.part is None else f", part {b.part.describe()}"
    first = "" if b.limit is None else f", first {b.limit}"
    return f"{b.name} ({b.id}{task}, split {b.split}{part}{first}, revision {b.revision})"


def _grid(once: pd.DataFrame) -> str:
    found = []
    for column in (c for c in SETTINGS if c.axis or c.choosable):
        word, values = column.word, once[column.name].dropna()
        numbers = sorted({v for v in values if isinstance(v, (int, float))})
        texts = sorted({str(v) for v in values if not isinstance(v, (int, float))})
        shown = [short(v) for v in numbers] + texts
        if shown:
            found.append(f"{word} {', '.join(shown[:12])}{f' … ({len(shown)} values)' if len(shown) > 12 else ''}")
    return "; ".join(found)


def _decoding(cell: Cell) -> str:
    s = cell.sampling
    how = (
        "greedy" if s is None else f"sampled, temperature {s.temperature:g}, top-p {s.top_p:g}, top-k {s.top_k}, seed {s.seed}"
    )
    stop = f", stop at {json.dumps(cell.stop, ensure_ascii=False)}" if cell.stop else ""
    return f"{how}, at most {cell.max_new_tokens} tokens{stop}"


def _scorers(study: Study) -> str:
    names = list(dict.fromkeys(study.rows["scorer"]))
    last = study.store.finished()[-1:]
    judge = next((m["judge"] for folder in last for m in folder.metrics() if m.get("judge")), None)
    others = [f"judge ({judge})" if name == "judge" and judge else name for name in names if name != study.scorer]
    return f"{study.scorer} (in words and by default)" + (f"; also {', '.join(others)}" if others else "")


def _compute(study: Study, once: pd.DataFrame) -> str:
    seconds = once["seconds"].fillna(0).sum()
    responses = int(once["n"].fillna(0).sum())
    tokens = (once["tokens"].fillna(0) * once["n"].fillna(0)).sum()
    last = study.store.last_finished()
    told = f"; last cell finished {last}" if last else ""
    return f"{duration(seconds)} of generation for {responses:,} responses, {tokens:,.0f} tokens{told}"


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
