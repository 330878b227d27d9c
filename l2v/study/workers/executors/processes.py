"""executor=processes: one worker per GPU of this machine, or several on its CPU, each a process with a log of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
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
# Characters of what a worker says that are kept: a sentence, behind whatever libraries print.
MOST_HEARD = 65_536


@dataclass
class Member:
    """A worker's process, its log, what it is at work on, and how often it was started again."""

    index: int
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    attempt: str
    restarts: int = 0
    heard: bytes = b""

    @property
    def idle(self) -> bool:
        """Whether it has nothing left to do, or is gone."""
        return self.process.poll() is not None or self.said == self.attempt

    @property
    def said(self) -> str:
        """Its last line: the attempt that it is done with, or the sentence that it ended with."""
        pipe = self.process.stdout
        while pipe is not None and select.select([pipe], [], [], 0)[0] and (more := os.read(pipe.fileno(), MOST_HEARD)):
            self.heard = (self.heard + more)[-MOST_HEARD:]
        lines = self.heard[: self.heard.rfind(b"\n") + 1].split(b"\n")
        return next((line.decode(errors="replace").strip() for line in reversed(lines) if line.strip()), "")

    def told(self, run: Run) -> bool:
        """Whether it could be told of the next run, which it takes up once it has done with this one."""
        if self.process.poll() is not None or self.process.stdin is None:
            return False
        try:
            self.process.stdin.write(json.dumps([str(run.path), run.attempt]).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return False
        self.attempt = run.attempt
        return True

    def look_after(self, run: Run) -> None:
        """Start it again when it died; what the user must mend something for ends the run."""
        code = self.process.poll()
        if code in (None, 0, ASKED_TO_END):
            return
        if code == 2:
            # The one thing that it prints; its log may lie on the disk that is full.
            raise UserError(self.said or f"Worker {self.index} stopped; its log is {self.log}.")
        if self.restarts < RESTARTS:
            self.restarts += 1
            print(
                f"worker {self.index} died with exit code {code} and is started again ({self.restarts} of {RESTARTS}); "
                f"{printable(_tail(self.log))}log: {self.log}",
                file=sys.stderr,
            )
            self.process, self.heard = _start(run, self.index, self.log, self.environment), b""


class Workers:
    """The workers of a command: from one phase to the next they keep the target that they hold."""

    def __init__(self) -> None:
        self.members: list[Member] = []

    def call(self, work: Workload, run: Run) -> None:
        """Set as many to work on a run as it asks for: who waits is told of it, others are started."""
        there = {member.index: member for member in self.members}
        for index in range(run.workers):
            log = run.path / "logs" / f"worker-{index}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            member = there.get(index)
            if member is not None and member.told(run):
                member.log, member.restarts = log, 0
                continue
            environment = _environment(work, run, index)
            there[index] = Member(index, log, environment, _start(run, index, log, environment), run.attempt)
        self.members = [there[index] for index in sorted(there)]

    def end(self) -> None:
        """They are asked to end, and killed when they do not."""
        for member in self.members:
            if member.process.stdin is not None:
                with suppress(OSError):
                    member.process.stdin.close()
            if member.process.poll() is None:
                member.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for member in self.members:
            try:
                member.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
        self.members = []


def run(work: Workload, run: Run) -> dict[str, str]:
    """Set the workers to work, start those again that died, and wait until the run is over. See `execute`.

    They are ended with `work.targets`; an earlier run of the same command may have left some.
    """
    write_jobs(run, work.jobs)
    crew = kept if isinstance(kept := work.targets.crew, Workers) else Workers()
    work.targets.crew = crew
    with progress_bar(work, run) as bar:
        crew.call(work, run)
        progress = Progress(work, run, bar)
        while not progress.over():
            for member in crew.members:
                member.look_after(run)
            if all(member.idle for member in crew.members) and not progress.over():
                break
            time.sleep(POLL_SECONDS)
        died = [member for member in crew.members if member.process.poll() not in (None, 0)]
        logs = ", ".join(str(member.log) for member in died) or str(run.path / "logs")
        code = died[-1].process.returncode if died else 0
        return progress.unfinished(f"its workers died, the last with exit code {code} (logs: {logs})")


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
    command += ["--attempt", run.attempt, "--parent", str(os.getpid()), "--follow"]
    with log.open("ab") as file:
        # A session of its own: Ctrl-C reaches the driver alone, which lets its workers store what they have.
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, env=environment, start_new_session=True
        )


def _tail(log: Path) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in said if line.strip(" ^~")][-TAIL_LINES:]
    return f"last words: {' | '.join(lines)}; " if lines else ""
