"""Tracking while a study runs: a process beside it that uploads each cell as it is finished.

It reads the store and nothing else, so that a tracker that fails or hangs costs no response and stops no study. The study
only starts it, closes its input when it is over, and waits a limited time for the rest. What is missing then, `l2v track`
uploads later.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from l2v.config import TrackerConfig
from l2v.errors import printable
from l2v.track.agent import AgentRun
from l2v.track.ledger import Ledger, Planned, Swept, distinct, reason, sweep
from l2v.track.tracker import Tracker
from l2v.track.trackers import check_tracker, open_tracker

if TYPE_CHECKING:
    from l2v.track.cells import CellRuns

# How often the process looks for finished cells, and at most after a pass that failed.
POLL_SECONDS = 1.0
MOST_SECONDS = 60.0
# After Ctrl-C nobody wants to wait for a dashboard.
INTERRUPTED_SECONDS = 5.0
# It never touches a GPU or the network but through the tracker, and takes one core.
BESIDE = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@contextlib.contextmanager
def followed(outputs: str, study: str, tracker: TrackerConfig, agent: AgentRun | None = None) -> Iterator[dict[str, str]]:
    """Upload the cells of outputs/<study> as they are finished within this context, and the study's report at its end.

    agent: in a W&B sweep, the one run and its cell; nothing else is uploaded, and that at the end. What is yielded holds
    afterwards the cell whose run did not come about, and why: a sweep must not take it for a success without a metric.
    Leaving it takes at most tracker.timeout seconds (a few after Ctrl-C); what happened is told on stderr, a failure when it
    first happens and at the end. Raises UserError, before anything is done, as `check_tracker` does; otherwise nothing.
    """
    check_tracker(tracker)
    lost: dict[str, str] = {}
    if tracker.name == "none":
        yield lost
        return
    follower = _Follower(outputs, study, tracker, agent)
    patience = tracker.timeout
    try:
        yield lost
    except KeyboardInterrupt:
        patience = min(patience, INTERRUPTED_SECONDS)
        raise
    finally:
        follower.close(patience)
        if agent is not None and not follower.knows(agent.run):
            lost[agent.cell] = f"the sweep's run {agent.run} got no metric"


class _Follower:
    """The parent's side: the process, what it tells, and its end."""

    def __init__(self, outputs: str, study: str, tracker: TrackerConfig, agent: AgentRun | None) -> None:
        self.study, self.tracker, self.outputs, self.agent = study, tracker, outputs, agent
        self.failure = ""
        self.end: dict[str, Any] | None = None
        self.last_words: deque[str] = deque(maxlen=20)
        asked = json.dumps({"outputs": outputs, "study": study, "tracker": asdict(tracker), "agent": agent and asdict(agent)})
        command = [sys.executable, "-m", "l2v.track.follower", asked]
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C is for the study, and a kill reaches the tracker's own processes too.
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=os.environ | BESIDE
        )
        self._threads = [threading.Thread(target=self._hear, daemon=True), threading.Thread(target=self._overhear, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _hear(self) -> None:
        """Read what the process reports, a JSON object a line."""
        for line in self._stream(self.process.stdout):
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if "failure" in told and not self.failure:
                    self.failure = str(told["failure"])
                    _say(f"tracking: {self.tracker.name} failed ({self.failure}); the study goes on.")
                self.end = told.get("end", self.end)

    def _overhear(self) -> None:
        for line in self._stream(self.process.stderr):
            if line.strip():
                self.last_words.append(line.strip())

    def _stream(self, stream: IO[str] | None) -> Iterator[str]:
        # A closed pipe is the end of the process and no matter here.
        with contextlib.suppress(OSError, ValueError):
            yield from stream or ()

    def close(self, patience: float) -> None:
        """Tell the process that the study is over, wait for it, and say what came of it."""
        with contextlib.suppress(OSError):
            assert self.process.stdin is not None
            self.process.stdin.close()
        late = False
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            # Also when Ctrl-C ends the waiting; and whatever the tracker left running.
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for thread in self._threads:
            thread.join(1.0)
        self._tell(f"not done after {patience:g} seconds" if late else "")

    def knows(self, run: str) -> bool:
        return run in Ledger(Path(self.outputs) / self.study, self.tracker).read()

    def _tell(self, late: str) -> None:
        path = Path(self.outputs) / self.study
        finished = {done.parent.name for done in path.glob("cells/*/DONE")}
        if self.agent is not None:
            there = "written" if self.knows(self.agent.run) else "not written, so that this command counts as failed"
            counted = f"tracking: the sweep's run {self.agent.run} {there}"
            rest = "outside of the sweep uploads the stored cell"
        else:
            rest = "uploads the rest"
            known = set(Ledger(path, self.tracker).read())
            done = "uploaded" if (self.end or {}).get("place") == "online" else "written"
            counted = f"tracking: {len(finished & known)} of {len(finished)} cells {done}"
        if self.end is not None and not self.end["failed"] and not late:
            # An agent's environment names the project, whatever tracker.project says.
            project = "the sweep's project" if self.agent is not None else f"project '{self.tracker.project}'"
            _say(f"{counted} ({self.tracker.name}, {project}); {self.end['told']}")
            return
        died = f"its process ended: {self.last_words[-1] if self.last_words else self.process.returncode}"
        why = late or self.failure or ("" if self.end is not None else died)
        _say(f"{counted} ({why}); `{self._command()}` {rest}.")

    def _command(self) -> str:
        usual = TrackerConfig()
        words = [f"study={self.study}", f"tracker={self.tracker.name}"]
        words += [f"outputs={self.outputs}"] if self.outputs != "outputs" else []
        for name in ("project", "entity", "mode", "examples"):
            value = getattr(self.tracker, name)
            words += [f"tracker.{name}={value}"] if value != getattr(usual, name) else []
        return f"l2v track {shlex.join(words)}"


def _say(sentence: str) -> None:
    """A line on stderr that does not break a progress bar."""
    from tqdm import tqdm

    tqdm.write(printable(sentence), file=sys.stderr)


class _Child:
    """The process's side: looks for finished cells until its input ends, then makes the study's runs complete."""

    def __init__(
        self, outputs: str, study: str, tracker: TrackerConfig, reports: IO[str], agent: AgentRun | None = None
    ) -> None:
        self.agent = agent
        self.outputs, self.study, self.config, self.reports = outputs, study, tracker, reports
        self.path = Path(outputs) / study
        self.ledger = Ledger(self.path, tracker)
        self.failed = False

    def run(self) -> None:
        """Follow the study to its end."""
        pause = POLL_SECONDS
        while not _over(pause):
            if self.agent is not None or not self._new():
                continue
            failed = self._pass(whole=False)
            pause = min(2 * pause, MOST_SECONDS) if failed else POLL_SECONDS
        # Whoever started this may be gone: a tracker that hangs must not stay for ever.
        signal.alarm(int(self.config.timeout) + 15)
        if not any(self.path.glob("cells/*/DONE")):
            self._report(end={"failed": False, "told": "nothing was finished"})
            return
        failed = self._pass(whole=True)
        told = self.tracker.told()
        self.tracker.finish()
        self._report(end={"failed": failed, "told": told, "place": self.tracker.place})

    def _new(self) -> set[str]:
        """The finished cells that were never uploaded."""
        return {done.parent.name for done in self.path.glob("cells/*/DONE")} - set(self.ledger.read())

    def _pass(self, whole: bool) -> bool:
        """Upload new cells, or (`whole`) everything that a finished study should have; whether something failed."""
        try:
            swept = sweep(self.tracker, self.ledger, self._planned(whole), self._hear, again=whole)
        except Exception as error:
            self._report(failure=reason(error))
            return True
        return bool(swept.failed)

    def _planned(self, whole: bool) -> Iterator[Planned]:
        if whole:
            from l2v.track.study import whole_study

            planned = distinct(whole_study(self.cells))
            yield from planned if self.agent is None else self.agent.of(planned)
            return
        new = self._new()
        folders = [folder for folder in self.cells.finished() if folder.id in new]
        for run in distinct(self.cells.plan(folders, {})):
            # When the study is over, the last pass uploads each cell with all that is known of it.
            if _over(0):
                return
            yield run

    def _hear(self, swept: Swept) -> None:
        if swept.failed and not self.failed:
            self.failed = True
            self._report(failure=next(iter(swept.failed.values())))

    def _report(self, **told: Any) -> None:
        with contextlib.suppress(OSError):
            print(json.dumps(told), file=self.reports, flush=True)

    @cached_property
    def cells(self) -> CellRuns:
        """Made when the first cell is there; the imports take seconds."""
        from l2v.track.cells import CellRuns

        return CellRuns(self.outputs, self.study, self.config.examples)

    @cached_property
    def tracker(self) -> Tracker:
        """Opened when the first cell is there."""
        return open_tracker(self.config, self.path / "track" / self.config.name)


def _over(seconds: float) -> bool:
    """Wait so long; True at once when the input ends: the study is over, or its process is gone."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not sys.stdin.read(1)


def main() -> None:
    """`python -m l2v.track.follower JSON`, started by `followed`."""
    asked = json.loads(sys.argv[1])
    # Reports have the output for themselves; whatever a tracker prints goes the other way.
    reports, sys.stdout = sys.stdout, sys.stderr
    agent = AgentRun(**asked["agent"]) if asked["agent"] else None
    _Child(asked["outputs"], asked["study"], TrackerConfig(**asked["tracker"]), reports, agent).run()


if __name__ == "__main__":
    main()
