"""A worker in a process of its own: `python -m l2v.study.workers.process RUN --index 0` works on a run until it is done.

With --follow it says so on standard output then, and waits, its target in memory, for the next run of the same command: a line
of standard input that holds a JSON list, the run's folder and attempt. It ends with its driver, or where that closes the pipe.

Exit code 0: every cell is done or set aside; 2: the user must mend something (RUN/stopped/WORKER.json says what); 75: the
worker was asked to end, what it had in hand is stored.
"""

from __future__ import annotations

import argparse
import json
import os
import select
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
from l2v.study.workers.targets import Targets
from l2v.study.workers.worker import AskedToEndError, Worker
from l2v.study.workers.workload import Workload

ASKED_TO_END = 75
# How soon a worker that waits for the next run notices that its driver is gone.
LOOK_SECONDS = 1.0
ENDING = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--attempt", help="of the run, as its driver drew it")
    parser.add_argument("--parent", type=int, help="end when this process is gone")
    parser.add_argument("--follow", action="store_true", help="wait for further runs")
    words = parser.parse_args()
    path, attempt, targets = words.run, words.attempt, Targets()
    try:
        code = work_on(path, words.index, attempt, words.parent, targets, handle_signals=True)
        while words.follow and code == 0:
            print(attempt, flush=True)
            if (asked := _next_run(words.parent)) is None:
                break
            path, attempt = asked
            _log_to(path / "logs" / f"worker-{words.index}.log")
            code = work_on(path, words.index, attempt, words.parent, targets, handle_signals=True)
    except UserError as error:
        # To the driver, through a pipe: the disk may be what is full.
        print(printable(str(error)), flush=True)
        return 2
    return code


def _next_run(parent: int | None) -> tuple[Path, str] | None:
    """The folder and the attempt of what is to be done next; None where nothing will come. While it waits a signal ends it."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    # Unbuffered: of two lines that came together the second would never be seen to be there.
    with open(0, "rb", buffering=0, closefd=False) as asked:
        while not select.select([asked], [], [], LOOK_SECONDS)[0]:
            if parent is not None and os.getppid() != parent:
                return None
        line = asked.readline()
    if not line:
        return None
    path, attempt = json.loads(line)
    return Path(path), attempt


def _log_to(path: Path) -> None:
    """Standard error goes into another file from here on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())


def work_on(
    path: Path,
    index: int,
    attempt: str | None = None,
    parent: int | None = None,
    targets: Targets | None = None,
    handle_signals: bool = False,
) -> int:
    """Work on the run in a folder, as its worker number `index`; returns the exit code.

    targets: what an earlier run left in memory.

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
            for number in ENDING:
                signal.signal(number, lambda *_: worker.ask_to_end())
        log(f"{worker.name} works on {path}")
        try:
            work = Workload(run.store, jobs, targets or Targets())
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
    print(printable(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}"), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
