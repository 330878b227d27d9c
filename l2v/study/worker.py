"""A worker in a process of its own: `python -m l2v.study.worker RUN --index 0` works on a run's folder until it is done.

Exit code 0: every cell is done or set aside; 2: the user must mend something (RUN/stopped/WORKER.json says what); 75: the
worker was asked to end, what it had in hand is stored.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

from l2v.errors import UserError
from l2v.study.devices import pick_device
from l2v.study.runner import AskedToEndError, Runner, Work
from l2v.study.runs import Run, read_jobs, read_run
from l2v.study.store import read_lines, write_atomically
from l2v.study.workers import Worker

ASKED_TO_END = 75


def main() -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--parent", type=int, help="end when this process is gone")
    words = parser.parse_args()
    return work_on(words.run, words.index, words.parent, handle_signals=True)


def work_on(path: Path, index: int, parent: int | None = None, handle_signals: bool = False) -> int:
    """Work on the run in a folder, as its worker number `index`; returns the exit code."""
    run = read_run(path)
    jobs = read_jobs(run)
    for job in jobs:
        # A bar says nothing in a log.
        job.config.runtime.progress = False
    config = jobs[0].config
    with Worker(config.runtime.outputs, config.executor.heartbeat, config.executor.expire) as worker:
        worker.tell(study=run.store.study, run=run.id, index=index)
        if parent is not None:
            worker.end_with(parent)
        if handle_signals:
            signal.signal(signal.SIGTERM, lambda *_: worker.ask_to_end())
        log(f"{worker.name} works on {path}")
        try:
            work = Work(run.store, jobs)
            Runner(work, run, worker, pick_device(config.runtime.device), log, place=index / run.workers).run()
        except AskedToEndError:
            log("asked to end; everything in hand is stored")
            return ASKED_TO_END
        except UserError as error:
            log(str(error))
            note_stop(run, worker.name, str(error))
            return 2
    log("nothing is left to do")
    return 0


def log(message: str) -> None:
    """A line of a worker's log."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}", file=sys.stderr, flush=True)


def note_stop(run: Run, worker: str, sentence: str) -> None:
    """Tell the process that started the workers what the user must mend."""
    try:
        write_atomically(run.path / "stopped" / f"{worker}.json", json.dumps({"attempt": run.attempt, "why": sentence}) + "\n")
    except UserError:
        log("the reason could not be written down")


def stops(run: Run) -> list[str]:
    """What workers of this attempt stopped for."""
    found = [record for path in sorted(run.path.glob("stopped/*.json")) for record in read_lines(path)]
    return [str(record["why"]) for record in found if record["attempt"] == run.attempt]


if __name__ == "__main__":
    sys.exit(main())
