"""How far a study is, from its folder alone: cells, rows, workers, failures. Any machine that sees the folder can ask."""

from __future__ import annotations

import json
import math
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l2v.disk import read_bytes
from l2v.study.store import CellFolder, Store
from l2v.study.workers.claims import holders
from l2v.study.workers.heartbeat import MISSED, Holder, host_key, may_run, read_heartbeat, workers_folder
from l2v.study.workers.run import Run, runs_of, stops


@dataclass(frozen=True)
class WorkerState:
    """A worker: what it does, rows that it stored, rows a second over the last minute, seconds since its sign of life."""

    name: str
    doing: str
    rows: int
    rate: float
    silent: float
    alive: bool


@dataclass(frozen=True)
class Status:
    """A study: ids of its cells by state, why cells failed, rows that are there and to come, and its workers.

    seconds_left: for what was not set aside, at the rate of the last minute; None when nobody is at work. stopped: what workers
    of the last command stopped for.
    """

    study: str
    done: list[str]
    running: list[str]
    failed: dict[str, str]
    waiting: list[str]
    rows: int
    all_rows: int
    rate: float
    seconds_left: float | None
    workers: list[WorkerState]
    stopped: list[str]

    @property
    def over(self) -> bool:
        return not self.running and not self.waiting

    @property
    def told_open(self) -> str:
        """What is not finished, in a sentence; "" for nothing."""
        still_open = len(self.running) + len(self.failed) + len(self.waiting)
        cells = still_open + len(self.done)
        rows = f"{self.rows:,} of {self.all_rows:,} rows are there (l2v status study={self.study})"
        failed = f", {len(self.failed):,} of them failed" if self.failed else ""
        return f"{still_open:,} of {cells:,} cells not finished{failed}; {rows}" if still_open else ""

    @property
    def told_now(self) -> str:
        """What the workers that live do, in a few words; "" for none."""
        return ", ".join(dict.fromkeys(worker.doing.partition(":")[0] for worker in self.workers if worker.alive))


def studies(outputs: str) -> list[str]:
    """The names of the studies under a folder, the one that was written to last first."""
    found = {path.parent: path.parent.stat().st_mtime for path in Path(outputs).glob("*/study.json")}
    return [folder.name for folder in sorted(found, key=lambda folder: (-found[folder], folder.name))]


def status(outputs: str, study: str) -> Status:
    """The state of a study. Raises UserError for one that is not there, and for a copy of a cell under another id."""
    store = Store(outputs, study).existing()
    runs = runs_of(store)
    workers = _workers(outputs, study)
    alive = {worker.name for worker in workers if worker.alive}
    items = {cell: count for run in runs for cell, count in run.items.items()}
    cells = list(dict.fromkeys([*(folder.id for folder in store.finished()), *(cell for run in runs for cell in run.cells)]))
    done: list[str] = []
    running: list[str] = []
    waiting: list[str] = []
    failed: dict[str, str] = {}
    rows = all_rows = 0
    for cell in cells:
        folder = store.folder(cell)
        if folder.done:
            if cell not in items:
                folder.mark()  # no run of this study asked for it: is it the cell that it is called?
            done.append(cell)
            rows += items.get(cell, 0)
        else:
            rows += _stored(folder)
            held = {holder.worker for holder in holders(folder.claims)}
            reason = _failure(runs, cell)
            if held & alive:
                running.append(cell)
            elif reason is not None:
                failed[cell] = reason
            else:
                waiting.append(cell)
        all_rows += items.get(cell, 0)
    rate = sum(worker.rate for worker in workers if worker.alive)
    open_rows = all_rows - rows - sum(items.get(cell, 0) - _stored(store.folder(cell)) for cell in failed)
    left = open_rows / rate if rate > 0 else None
    lost = [cell for run in runs if run.over() for cell in run.cells if cell in waiting]
    stopped = [f"{store.folder(cell).path}/DONE is missing, though its run was over; repeat `l2v run`" for cell in lost[:1]]
    stopped += stops(runs[-1]) if runs else []
    return Status(study, done, running, failed, waiting, rows, all_rows, rate, left, workers, stopped)


def _stored(folder: CellFolder) -> int:
    """Rows of an open cell, by counting lines: this is asked every two seconds."""
    return sum(read_bytes(path).count(b"\n") for path in folder.path.glob("responses*.jsonl"))


def _failure(runs: list[Run], cell: str) -> str | None:
    """Why a cell was set aside, in the newest attempt that asked for it."""
    for run in reversed(runs):
        if cell in run.cells:
            return run.failed_here(run.store.folder(cell))
    return None


def _workers(outputs: str, study: str) -> list[WorkerState]:
    """The workers of a study that show, or showed, signs of life."""
    folder = workers_folder(outputs)
    found, now = [], _now(folder)
    for path in sorted(folder.glob("*.json")):
        shown = read_heartbeat(path)
        # One that has lost what a worker is known by is damaged.
        if shown.get("study") != study or not {"worker", "host", "pid", "born"} <= set(shown):
            continue
        with suppress(FileNotFoundError):
            found.append(_state(shown, max(0.0, now - path.stat().st_mtime)))
    return found


def _state(shown: dict[str, Any], silent: float) -> WorkerState:
    holder = Holder(*(shown[name] for name in ("worker", "host", "pid", "born")))
    alive = silent < MISSED * float(shown.get("period", 10.0)) + 5
    if holder.host == host_key():
        alive = alive and may_run(int(holder.pid), holder.born)
    doing = str(shown.get("doing") or "between two units")
    return WorkerState(holder.worker, doing, int(shown.get("rows", 0)), float(shown.get("rate", 0.0)), silent, alive)


def _now(folder: Path) -> float:
    """The time by the clock of the disk, which stamps every worker's file: machines' own clocks may differ."""
    probe = folder / f".now-{os.getpid()}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        # A disk that cannot be written to: the newest sign of life is as late as can be told.
        now = max((path.stat().st_mtime for path in folder.glob("*.json")), default=0.0)
    return now


def spoken(seconds: float | None) -> str:
    """A span of time as a person would say it."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    minutes = math.ceil(seconds / 60)
    if minutes < 2:
        return f"{math.ceil(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def as_json(found: Status) -> str:
    """The state for programs: counts, reasons and workers."""
    counts = {name: len(getattr(found, name)) for name in ("done", "running", "failed", "waiting")}
    figures = {name: getattr(found, name) for name in ("rows", "all_rows", "rate", "seconds_left")}
    workers = [asdict(worker) for worker in found.workers]
    more = {"failures": found.failed, "workers": workers, "stopped": found.stopped}
    return json.dumps({"study": found.study, **counts, **figures, **more})
