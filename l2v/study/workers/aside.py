"""Cells that are set aside before a worker takes them up: what they need cannot be had, and the others go on."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from l2v.errors import StudyError, UserError, printable
from l2v.study.cells import Job
from l2v.study.workers.run import Run, note_failure

DRIVER = "driver"  # who saw it, in the record of failures


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
    from l2v.study.workers.answer import locations

    folder = run.store.folder(job.cell.id)
    try:
        folder.begin(job.cell, locations(job))
    except StudyError:
        raise
    except UserError as damaged:
        # What is wrong with its own folder stands in its own way alone.
        error = damaged
    return note_failure(run, folder, worker, error, lambda *_: True)
