"""executor=processes: one worker per GPU of this machine, or several on its CPU, each a process with a log of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from l2v.errors import UserError, printable
from l2v.study.workers.devices import gpus
from l2v.study.workers.executors.progress import Progress, progress_bar
from l2v.study.workers.process import ASKED_TO_END
from l2v.study.workers.run import Run, write_jobs
from l2v.study.workers.workload import Workload

POLL_SECONDS = 0.3
# Seconds that workers get to store what they have in hand before they are killed.
GRACE_SECONDS = 20.0
# How often a worker that died is started again.
RESTARTS = 3
TAIL_LINES = 3


@dataclass
class _Member:
    """A worker's process, its log, and how often it was started again."""

    index: int
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    restarts: int = 0


def run(work: Workload, run: Run) -> dict[str, str]:
    """Start the workers, start those again that died, and wait until the run is over. See `execute`."""
    write_jobs(run, work.jobs)
    with progress_bar(work, run) as bar, _crew(work, run) as crew:
        progress = Progress(work, run, bar)
        while not progress.over():
            for member in crew:
                _look_after(member, run)
            if all(member.process.poll() is not None for member in crew) and not progress.over():
                break
            time.sleep(POLL_SECONDS)
        died = [member for member in crew if member.process.poll() not in (None, 0)]
        logs = ", ".join(str(member.log) for member in died) or str(run.path / "logs")
        return progress.unfinished(f"its workers died, the last with exit code {_last_code(died)} (logs: {logs})")


@contextmanager
def _crew(work: Workload, run: Run) -> Iterator[list[_Member]]:
    """The workers; when the block ends they are asked to end, and killed when they do not."""
    crew: list[_Member] = []
    try:
        for index in range(run.workers):
            environment = _environment(work, run, index)
            log = run.path / "logs" / f"worker-{index}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            crew.append(_Member(index, log, environment, _start(run, index, log, environment)))
        yield crew
    finally:
        for member in crew:
            if member.process.poll() is None:
                member.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for member in crew:
            try:
                member.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()


def _environment(work: Workload, run: Run, index: int) -> dict[str, str]:
    """A worker's own GPU or, on the CPU, its share of the cores."""
    chosen = dict(os.environ)
    visible = gpus(work.jobs[0].config.runtime.device)
    if visible:
        chosen["CUDA_VISIBLE_DEVICES"] = visible[index % len(visible)]
    else:
        chosen.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // run.workers)))
    return chosen


def _start(run: Run, index: int, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "l2v.study.workers.process", str(run.path), "--index", str(index)]
    command += ["--attempt", run.attempt, "--parent", str(os.getpid())]
    with log.open("ab") as file:
        # A session of its own: Ctrl-C reaches the driver alone, which lets its workers store what they have.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file, env=environment, start_new_session=True
        )


def _look_after(member: _Member, run: Run) -> None:
    """Start a worker again that died; one that the user must mend something for ends the run."""
    code = member.process.poll()
    if code in (None, 0, ASKED_TO_END):
        return
    if code == 2:
        # The one thing that a worker prints; its log may lie on the disk that is full.
        said = member.process.stdout.read().decode().strip() if member.process.stdout else ""
        raise UserError(said or f"Worker {member.index} stopped; its log is {member.log}.")
    if member.restarts < RESTARTS:
        member.restarts += 1
        print(
            f"worker {member.index} died with exit code {code} and is started again ({member.restarts} of {RESTARTS}); "
            f"{printable(_tail(member.log))}log: {member.log}",
            file=sys.stderr,
        )
        member.process = _start(run, member.index, member.log, member.environment)


def _tail(log: Path) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in said if line.strip(" ^~")][-TAIL_LINES:]
    return f"last words: {' | '.join(lines)}; " if lines else ""


def _last_code(died: list[_Member]) -> int:
    return int(died[-1].process.returncode) if died else 0
