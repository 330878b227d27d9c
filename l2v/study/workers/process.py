"""A worker in a process of its own: `python -m l2v.study.workers.process RUN --index 0` works on a run until it is done.

Exit code 0: every cell is done or set aside; 2: the user must mend something (RUN/stopped/WORKER.json says what); 75: the
worker was asked to end, what it had in hand is stored.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from l2v.collector import rest_while_loading
from l2v.errors import UserError, printable
from l2v.study.workers.devices import pick_device
from l2v.study.workers.heartbeat import Heartbeat
from l2v.study.workers.run import note_stop, read_jobs, read_run
from l2v.study.workers.worker import AskedToEndError, Worker
from l2v.study.workers.workload import Workload

ASKED_TO_END = 75


def main() -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--attempt", help="of the run, as its driver drew it")
    parser.add_argument("--parent", type=int, help="end when this process is gone")
    words = parser.parse_args()
    try:
        return work_on(words.run, words.index, words.attempt, words.parent, handle_signals=True)
    except UserError as error:
        # To the driver, through a pipe: the disk may be what is full.
        print(printable(str(error)), flush=True)
        return 2


def work_on(path: Path, index: int, attempt: str | None = None, parent: int | None = None, handle_signals: bool = False) -> int:
    """Work on the run in a folder, as its worker number `index`; returns the exit code.

    Raises UserError, noted in the run's folder too, for what the user must mend.
    """
    rest_while_loading()
    run = read_run(path, attempt)
    jobs = read_jobs(run)
    for job in jobs:
        # A bar says nothing in a log.
        job.config.runtime.progress = False
    config = jobs[0].config
    with Heartbeat(config.runtime.outputs, config.executor.heartbeat, config.executor.expire) as worker:
        worker.tell(study=run.store.study, run=run.key, index=index)
        if parent is not None:
            worker.end_with(parent)
        if handle_signals:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: worker.ask_to_end())
        log(f"{worker.name} works on {path}")
        try:
            work = Workload(run.store, jobs)
            Worker(work, run, worker, pick_device(config.runtime.device), log, place=index / run.workers).run()
        except AskedToEndError:
            log("asked to end; everything in hand is stored")
            return ASKED_TO_END
        except UserError as error:
            log(str(error))
            with suppress(UserError):
                note_stop(run, worker.name, str(error))
            raise
    log("nothing is left to do")
    return 0


def log(message: str) -> None:
    """A line of a worker's log."""
    print(printable(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}"), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
