"""What was asked of a study: outputs/<study>/runs/<id> holds the cells of one command, for its workers and for `l2v status`.

The id follows from the cells: a repeated command finds its own record again, and with it the jobs it may have sent to a
cluster. Failures are counted per attempt, so that a repeat tries failed cells again.
"""

from __future__ import annotations

import json
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from l2v.config import Config, ExecutorConfig
from l2v.disk import Record, plain_bytes, read_bytes, read_notes, write_atomically
from l2v.errors import StudyError, UserError, printable
from l2v.identity import canonical_json, digest, rebuilt
from l2v.study.cells import Cell, Job
from l2v.study.digests import DIGEST, content_digest, read_sealed, sealed
from l2v.study.provenance import given
from l2v.study.store import CellFolder, Store

# Characters of an error's message that are kept beside its traceback.
REASON = 300
DRIVER = "driver"  # who saw a cell fail before a worker takes it up, in the record of failures


@dataclass(frozen=True)
class Run:
    """The record of one command: its cells with the number of their items, and how they are computed.

    attempt: drawn anew each time that the command is given. retries: how often a failed cell is tried again in an attempt.
    command: its words, where it was given in words.
    """

    path: Path
    attempt: str
    executor: str
    workers: int
    retries: int
    cells: dict[str, str] = field(default_factory=dict)
    items: dict[str, int] = field(default_factory=dict)
    command: str | None = None

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def key(self) -> str:
        """What its workers show: two studies of one outputs folder may hold the same cells, and with them the same id."""
        return f"{self.store.study}/{self.id}"

    @property
    def store(self) -> Store:
        study = self.path.parents[1]
        return Store(study.parent, study.name)

    def failures(self, folder: CellFolder) -> list[Record]:
        """How often a cell failed in this attempt: who saw it, why, and whether it was set aside then."""
        found = [record for path in sorted(folder.path.glob("failures.*.jsonl")) for record in read_notes(path)]
        return [record for record in found if record.get("attempt") == self.attempt]

    def failed_here(self, folder: CellFolder) -> str | None:
        """Why a cell was set aside in this attempt; None while it may be tried."""
        return next((str(f.get("reason")) for f in self.failures(folder) if f.get("aside")), None)

    def over(self) -> bool:
        """Whether a worker of this attempt saw every cell done or set aside: one look, instead of one per cell."""
        try:
            return plain_bytes(self.path / "over") == self.attempt.encode()
        except (OSError, ValueError):
            return False

    def note_over(self) -> None:
        """Tell the other workers of this attempt that nothing is left."""
        if not self.over():
            write_atomically(self.path / "over", self.attempt)

    def failed(self) -> dict[str, str]:
        """The cells that were set aside, with their names and reasons."""
        found = {}
        for cell_id, name in self.cells.items():
            folder = self.store.folder(cell_id)
            reason = None if folder.done else self.failed_here(folder)
            if reason is not None:
                found[cell_id] = f"{name}: {reason}"
        return found


def open_run(store: Store, jobs: Sequence[Job], items: Mapping[str, int], executor: ExecutorConfig, workers: int) -> Run:
    """Write the record of a command that is about to be carried out."""
    path = run_path(store, jobs)
    cells = {job.cell.id: job.cell.describe() for job in jobs}
    # Cells that an earlier attempt finished are not counted again.
    known: dict[str, int] = {}
    with suppress(UserError):
        known = read_run(path).items
    run = Run(path, secrets.token_hex(4), executor.name, workers, executor.retries, cells, {**known, **items}, given())
    rewrite(run)
    return run


def mend_run(store: Store, jobs: Sequence[Job]) -> None:
    """Write the record of a finished command again where it is damaged or gone; what it would find is all there."""
    path = run_path(store, jobs)
    if not path.is_dir():
        return
    try:
        read_run(path)
    except UserError:
        marks = {job.cell.id: store.folder(job.cell.id).mark() for job in jobs}
        items = {cell: mark["rows"] for cell, mark in marks.items() if mark is not None}
        open_run(store, jobs, items, jobs[0].config.executor, 1).note_over()


def run_path(store: Store, jobs: Sequence[Job]) -> Path:
    return store.path / "runs" / digest(sorted(job.cell.id for job in jobs))


def rewrite(run: Run) -> None:
    content = {name: getattr(run, name) for name in ("attempt", "executor", "workers", "retries", "cells", "items", "command")}
    write_atomically(run.path / "run.json", json.dumps(sealed(content), indent=1))


def read_run(path: Path, attempt: str | None = None) -> Run:
    """A record from its folder, as of an attempt or the newest. Raises UserError for a folder that holds none."""
    record = read_sealed(path / "run.json", "repeat the command of `l2v run`, which writes it again.")
    record.pop(DIGEST, None)
    try:
        found = Run(path, **record)
        texts = (found.attempt, found.executor, found.command or "", *found.cells.values())
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, int) for n in found.items.values()):
            raise TypeError("other kinds of values")
        whole = path.name == digest(sorted(found.cells))
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}/run.json holds no record of a run; repeat the command of `l2v run`.") from error
    if not whole:
        raise UserError(f"{path}/run.json is not of this run; delete it and repeat the command of `l2v run`.")
    return found if attempt is None else replace(found, attempt=attempt)


def runs_of(store: Store) -> list[Run]:
    """All records of a study, the oldest first."""
    found = sorted(store.path.glob("runs/*/run.json"), key=lambda p: (p.stat().st_mtime, p.parent.name))
    return [read_run(path.parent) for path in found]


def note_failure(run: Run, folder: CellFolder, worker: str, error: BaseException, aside: Callable[[int, int], bool]) -> str:
    """Count a failure of a cell, leave its traceback (or what to mend) in error.txt, and return the reason in one line.

    `aside` decides, from the failures of this attempt and the number of workers that saw them, whether the cell is set aside.
    """
    said = " ".join(str(error).split())
    mendable = isinstance(error, UserError)
    reason = said if mendable else f"{type(error).__name__}: {said[:REASON]}"
    # A sentence with its mend says more than where it was raised.
    trace = f"{said}\n" if mendable else "".join(traceback.format_exception(error))
    write_atomically(folder.path / "error.txt", trace)
    seen = [str(failure.get("worker")) for failure in run.failures(folder)] + [worker]
    record = {"attempt": run.attempt, "worker": worker, "reason": reason, "aside": aside(len(seen), len(set(seen)))}
    # A file per worker, written whole: machines that append to one file may tear each other's lines.
    path = folder.path / f"failures.{worker}.jsonl"
    lines = [*read_notes(path), record]
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines))
    return reason


def set_aside(run: Run, lost: Sequence[tuple[Job, UserError]]) -> None:
    """Note each cell's failure on disk, where workers and `l2v status` find it, and tell each reason once."""
    told: set[str] = set()
    for job, error in lost:
        reason = note_aside(run, job, DRIVER, error)
        if reason not in told:
            print(printable(f"FAILED {job.cell.id} {job.cell.describe()}: {reason}"), file=sys.stderr)
        told.add(reason)


def note_aside(run: Run, job: Job, worker: str, error: Exception) -> str:
    """Note on disk that a cell is not tried any more in this attempt; returns the reason in one line."""
    folder = run.store.folder(job.cell.id)
    try:
        folder.begin(job.cell, job.locations())
    except StudyError:
        raise
    except UserError as damaged:
        # What is wrong with its own folder stands in its own way alone.
        error = damaged
    return note_failure(run, folder, worker, error, lambda *_: True)


def note_stop(run: Run, worker: str, sentence: str) -> None:
    """Tell whoever started the workers what the user must mend. Raises UserError on a full disk."""
    write_atomically(run.path / "stopped" / f"{worker}.json", json.dumps({"attempt": run.attempt, "why": sentence}) + "\n")


def stops(run: Run) -> list[str]:
    """What workers of this attempt stopped for."""
    found = [record for path in sorted(run.path.glob("stopped/*.json")) for record in read_notes(path)]
    return [str(record.get("why")) for record in found if record.get("attempt") == run.attempt]


def write_jobs(run: Run, jobs: Sequence[Job]) -> None:
    """What the workers of another process need: every cell, and the configuration that finds its models and data.

    The settings in which cells differ stand in the cell too: of configurations that differ in them alone, one is kept.
    """
    configs: dict[str, int] = {}
    lines = []
    for job in jobs:
        config = asdict(job.config)
        key = canonical_json(config | {"intervention": None, "seed": None})
        if key not in configs:
            configs[key] = len(configs)
            lines.append(json.dumps({"config": config}) + "\n")
        lines.append(json.dumps({"cell": asdict(job.cell), "of": configs[key]}) + "\n")
    text = "".join(lines)
    write_atomically(run.path / "jobs.jsonl", f"{text}{json.dumps({DIGEST: content_digest(text.encode())})}\n")


def read_jobs(run: Run) -> list[Job]:
    """The jobs that `write_jobs` wrote. Raises UserError when they are not there or of another version."""
    configs: list[Config] = []
    found = []
    path = run.path / "jobs.jsonl"
    text, _, last = read_bytes(path).removesuffix(b"\n").rpartition(b"\n")
    if last != json.dumps({DIGEST: content_digest(text + b"\n")}).encode():
        raise UserError(f"{path} is missing or damaged; repeat the command of `l2v run`.")
    for record in map(json.loads, text.splitlines()):
        if "config" in record:
            configs.append(_config(record["config"]))
        else:
            found.append(Job(Cell.from_dict(record["cell"]), configs[record["of"]]))
    return found


def _config(values: Record) -> Config:
    try:
        config: Config = rebuilt(Config, values, whole=True)
        return config
    except TypeError as error:
        odd = f"A stored job has other settings than this version ({error})"
        raise UserError(f"{odd}; repeat the command of `l2v run`.") from error
