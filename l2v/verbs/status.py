"""`l2v status`: how far a study is, once or again and again."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from l2v.errors import unknown
from l2v.study.status import Status, as_json, spoken, status
from l2v.verbs.store_door import parse

WATCH_SECONDS = 2.0
# Failed cells that are listed; all of them are counted.
SHOWN_FAILURES = 20


def status_verb(arguments: list[str]) -> int:
    """Show a study's state; exit code 0, or 1 when cells failed and nothing is left to do."""
    config = parse(arguments)
    if config.format not in ("text", "json"):
        raise unknown("format", config.format, ("text", "json"))
    found = status(config.outputs, config.study)
    if config.format == "json":
        print(as_json(found))
        return int(found.over and bool(found.failed))
    console = Console(file=sys.stdout, highlight=False)
    if not config.watch:
        console.print(shown(found))
        return int(found.over and bool(found.failed))
    with Live(shown(found), console=console, auto_refresh=False) as live:
        while not found.over:
            time.sleep(WATCH_SECONDS)
            found = status(config.outputs, config.study)
            live.update(shown(found), refresh=True)
    return int(bool(found.failed))


def shown(found: Status) -> RenderableType:
    """The state as lines and two small tables. What comes from files is text, never markup."""
    cells = len(found.done) + len(found.running) + len(found.failed) + len(found.waiting)
    lines = [
        f"study {found.study}: {cells} cells, {len(found.done)} done, {len(found.running)} running, "
        f"{len(found.failed)} failed, {len(found.waiting)} waiting",
    ]
    if not found.over:
        rows = f"rows {found.rows:,} of {found.all_rows:,}, {found.rate:,.1f} a second"
        lines.append(f"{rows}, {spoken(found.seconds_left)} left")
        if not any(worker.alive for worker in found.workers):
            lines.append("nobody is at work: repeat the command of `l2v run` to go on")
            lines += [f"stopped: {why}" for why in found.stopped[:1]]
    parts: list[RenderableType] = [Text("\n".join(lines))]
    if found.workers:
        parts.append(_workers(found))
    if found.failed:
        parts.append(Text("\nfailed (tracebacks: cells/ID/error.txt)"))
        parts += [Text(f"  {cell}  {reason}") for cell, reason in list(found.failed.items())[:SHOWN_FAILURES]]
        if len(found.failed) > SHOWN_FAILURES:
            parts.append(Text(f"  … and {len(found.failed) - SHOWN_FAILURES} more"))
    return Group(*parts)


def _workers(found: Status) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("worker", "rows", "rows/s", "seen", "doing"):
        table.add_column(name, justify="left" if name in ("worker", "doing") else "right", overflow="fold")
    for worker in found.workers:
        seen = f"{worker.silent:.0f} s ago" if worker.alive else "gone"
        table.add_row(Text(worker.name), str(worker.rows), f"{worker.rate:.1f}", seen, Text(worker.doing))
    return table
