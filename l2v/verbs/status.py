"""l2v status: how far a study is, on this machine and on all others that share its folder.

l2v status                             all studies under outputs, with the rows that are there
l2v status study=demo                  cells done, running, failed, waiting; rows a second; time left; failures; workers
l2v status study=demo --watch          again every two seconds, until everything is done
l2v status study=demo --format json    one line for programs
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.errors import UserError, printable, unknown
from l2v.verbs.settings import parse

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

    from l2v.study.status import Status

WATCH_SECONDS = 2.0
# Failed cells that are listed; all of them are counted.
SHOWN_FAILURES = 20


@dataclass(frozen=True)
class StatusSettings:
    study: str | None = None  # folder under outputs; None: a list of all studies
    outputs: str = "outputs"  # folder of all studies
    format: str = "text"  # text or json
    watch: bool = False  # show it again every two seconds until the study is done


SETTINGS = StatusSettings


def main(arguments: list[str]) -> int:
    """Show a study's state; exit code 0, or 1 when cells failed and nothing is left to do."""
    from rich.console import Console

    from l2v.study.status import as_json, status

    settings = parse(arguments, StatusSettings)
    if settings.format not in ("text", "json"):
        raise unknown("format", settings.format, ("text", "json"))
    if settings.watch and settings.format == "json":
        raise UserError("--watch redraws a text; format=json is one line: leave one of them out.")
    if settings.study is None:
        return _list(settings)
    found = status(settings.outputs, settings.study)
    if settings.format == "json":
        print(as_json(found))
    elif settings.watch:
        found = _watch(settings.outputs, found)
    else:
        Console(file=sys.stdout, highlight=False).print(shown(found))
    return int(found.over and bool(found.failed))


def _list(settings: StatusSettings) -> int:
    """A line per study, the one that was written to last first."""
    from l2v.study.status import as_json, status, studies

    if settings.watch:
        raise UserError("--watch shows one study again and again: name it with study=….")
    if settings.outputs != StatusSettings.outputs and not Path(settings.outputs).is_dir():
        raise UserError(f"There is no folder '{settings.outputs}'; outputs=… names the folder of all studies.")
    found = []
    for name in studies(settings.outputs):
        try:
            found.append(status(settings.outputs, name))
        except UserError as error:
            # One study that cannot be read hides no other.
            print(printable(f"{name}: {error}"), file=sys.stderr)
    if settings.format == "json":
        print("\n".join(as_json(one) for one in found))
        return 0
    width = max((len(one.study) for one in found), default=5)
    print(
        f"{'study':{width}}   done  running  failed  waiting             rows"
        if found
        else f"No study under {settings.outputs} yet."
    )
    for one in found:
        counts = (len(one.done), len(one.running), len(one.failed), len(one.waiting))
        rows = f"{one.rows:,} of {one.all_rows:,}"
        print(printable("{:{}} {:6} {:8} {:7} {:8} {:>16}".format(one.study, width, *counts, rows)))
    return 0


def _watch(outputs: str, found: Status) -> Status:
    """Show it again and again; the last state."""
    from rich.console import Console
    from rich.live import Live

    from l2v.study.status import status

    with Live(shown(found), console=Console(file=sys.stdout, highlight=False), auto_refresh=False) as live:
        while not found.over:
            time.sleep(WATCH_SECONDS)
            found = status(outputs, found.study)
            live.update(shown(found), refresh=True)
    return found


def shown(found: Status) -> Group:
    """The state as lines and two small tables. What comes from files is text, never markup."""
    from rich.console import Group
    from rich.text import Text

    from l2v.study.status import spoken

    cells = len(found.done) + len(found.running) + len(found.failed) + len(found.waiting)
    lines = [
        f"study {found.study}: {cells} cells, {len(found.done)} done, {len(found.running)} running, "
        f"{len(found.failed)} failed, {len(found.waiting)} waiting",
    ]
    if not found.over:
        known = found.seconds_left is not None
        left = f", {found.rate:,.1f} a second, {spoken(found.seconds_left)} left" if known else ""
        lines.append(f"rows {found.rows:,} of {found.all_rows:,}{left}")
        if not any(worker.alive for worker in found.workers):
            lines.append("nobody is at work: repeat the command of `l2v run` to go on")
            lines += [f"stopped: {why}" for why in found.stopped[:1]]
    parts: list[RenderableType] = [Text(printable("\n".join(lines)))]
    if found.workers:
        parts.append(_workers(found))
    if found.failed:
        parts.append(Text("\nfailed (tracebacks: cells/ID/error.txt)"))
        parts += [Text(printable(f"  {cell}  {reason}")) for cell, reason in list(found.failed.items())[:SHOWN_FAILURES]]
        if len(found.failed) > SHOWN_FAILURES:
            parts.append(Text(f"  … and {len(found.failed) - SHOWN_FAILURES} more"))
    return Group(*parts)


def _workers(found: Status) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("worker", "rows", "rows/s", "seen", "doing"):
        table.add_column(name, justify="left" if name in ("worker", "doing") else "right", overflow="fold")
    for worker in found.workers:
        seen = f"{worker.silent:.0f} s ago" if worker.alive else "gone"
        table.add_row(Text(printable(worker.name)), str(worker.rows), f"{worker.rate:.1f}", seen, Text(printable(worker.doing)))
    return table
