"""Workers: every process that computes shows the others that it lives, by a file that it renews.

Machines that share a folder need not share a clock: nobody compares times. An observer remembers when, by its own clock, a
worker's counter last moved; on the worker's own machine the process itself is looked up, so that a killed one is known at once.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

from l2v.disk import UNREADABLE, plain_bytes, write_atomically
from l2v.errors import UserError

# Rows a second are told over so many seconds.
RATE_SECONDS = 60.0
# A worker that promises a sign of life every so many seconds is not given up before it missed so many of them.
MISSED = 3
# How soon a worker shows what is new, and notices that the process which started it is gone.
STEP_SECONDS = 1.0


@dataclass(frozen=True)
class Holder:
    """Who a process is: its worker's name, and what tells on its own machine whether it still runs."""

    worker: str
    host: str
    pid: int
    born: str


@lru_cache(maxsize=1)
def host_key() -> str:
    """This machine, this boot of it and this space of process numbers: within one key a pid means one process."""
    parts = [os.uname().nodename]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(Path(path).read_text().strip() if "boot" in path else str(os.stat(path).st_ino))
        except OSError:
            parts.append("")
    return ":".join(parts)


def birth(pid: int) -> str | None:
    """What a process of this number was born as, None when it does not run: numbers are used again, births are not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return None
    else:
        # The name in parentheses may hold anything; after it: state, …, start in clock ticks since boot.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def may_run(pid: int, born: str) -> bool:
    """Whether the process of this machine that was born so may still run; one of another user may be hidden from us."""
    found = birth(pid)
    if found is not None:
        return found == born
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    # It can be signalled and has no birth: a zombie.
    return False


def workers_folder(outputs: str | Path) -> Path:
    """Where the workers of all studies of an outputs folder show that they live."""
    return Path(outputs) / "cache" / "workers"


class Heartbeat:
    """This process, as the others see it. Within `with`, its heartbeat runs in a thread of its own.

    period: seconds between signs of life. expire: seconds without one after which this worker gives another one up.
    """

    def __init__(self, outputs: str | Path, period: float = 10.0, expire: float = 90.0) -> None:
        self.folder = workers_folder(outputs)
        self.period, self.expire = period, expire
        node = re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)
        self.name = f"{node}-{os.getpid()}-{secrets.token_hex(2)}"
        self.holder = Holder(self.name, host_key(), os.getpid(), birth(os.getpid()) or "")
        self.watch = Watch(self.folder, expire)
        self.parent: int | None = None
        self.listener: Callable[[str], None] = lambda _: None  # hears what is done here, as `l2v status` does elsewhere
        self._told: dict[str, Any] = {}
        self._rows = self._beat = 0
        self._begun, self._met = time.monotonic(), False
        self._stored: deque[tuple[float, int]] = deque(maxlen=1000)
        self._over = threading.Event()
        self._asked = threading.Event()
        self._news = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Heartbeat:
        self._clear_up()
        self._show()
        threading.Thread(target=self._go_on, name="l2v-heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._lock, suppress(OSError):
            (self.folder / f"{self.name}.json").unlink()

    def tell(self, **state: Any) -> None:
        """What `l2v status` shows of this worker (study, doing, …), within a second."""
        self._told |= state
        self._news.set()
        if "doing" in state:
            self.listener(str(state["doing"]))

    def count(self, rows: int) -> None:
        """So many more rows were stored."""
        self._rows += rows
        self._stored.append((time.monotonic(), rows))

    def end_with(self, parent: int) -> None:
        """Ask this worker to end once the process that started it is gone."""
        self.parent = parent

    def ask_to_end(self) -> None:
        """Ask this worker to end as soon as what it has in hand is stored."""
        self._asked.set()

    @property
    def asked_to_end(self) -> bool:
        return self._asked.is_set()

    def _clear_up(self) -> None:
        """Remove what killed workers of this machine left."""
        for path in self.folder.glob("*.json"):
            shown = read_heartbeat(path)
            if shown.get("host") == host_key() and not may_run(int(shown.get("pid", 0)), str(shown.get("born"))):
                with suppress(OSError):
                    path.unlink()

    def alone(self, run: str) -> bool:
        """Whether no other worker of a run lives. Who has met none waits for one as long as for a silent one: of those that are
        started together the last may begin when the first has tried everything."""
        if self._others(run):
            self._met = True
            return False
        return self._met or time.monotonic() - self._begun >= self.expire

    def _others(self, run: str) -> bool:
        """Whether another worker of a run lives, as far as this one has seen."""
        for path in self.folder.glob("*.json"):
            shown = read_heartbeat(path)
            if shown.get("run") == run and path.stem != self.name:
                holder = Holder(path.stem, str(shown.get("host")), int(shown.get("pid", 0)), str(shown.get("born")))
                if self.watch.alive(holder, path.stem):
                    return True
        return False

    def _go_on(self) -> None:
        shown = time.monotonic()
        while not self._over.wait(min(STEP_SECONDS, self.period)):
            if self.parent is not None and os.getppid() != self.parent:
                self.ask_to_end()
            if self._news.is_set() or time.monotonic() - shown >= self.period:
                shown = time.monotonic()
                self._show()

    def _show(self) -> None:
        self._beat += 1
        self._news.clear()
        content = {**asdict(self.holder), "beat": self._beat, "period": self.period, "rows": self._rows, "rate": self._rate()}
        with self._lock:
            if self._over.is_set():
                return
            # A full disk ends a run where a response cannot be stored, never here.
            with suppress(OSError, UserError):
                write_atomically(self.folder / f"{self.name}.json", json.dumps(content | self._told))

    def _rate(self) -> float:
        now = time.monotonic()
        stored = [(then, rows) for then, rows in list(self._stored) if now - then <= RATE_SECONDS]
        return round(sum(rows for _, rows in stored) / max(1.0, min(RATE_SECONDS, now - self._begun)), 3)


class Watch:
    """What one observer has seen of the others' signs of life."""

    def __init__(self, folder: Path, expire: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.expire, self.clock = folder, expire, clock
        self._seen: dict[str, tuple[Any, float]] = {}

    def alive(self, holder: Holder | None, mark: str) -> bool:
        """Whether to wait for the holder of a claim. `mark` names a claim in which no holder can be read (yet)."""
        if holder is not None and holder.host == host_key() and not may_run(holder.pid, holder.born):
            return False
        shown = self.shown(holder.worker) if holder is not None else {}
        name, beat, now = mark if holder is None else holder.worker, shown.get("beat"), self.clock()
        if name not in self._seen or self._seen[name][0] != beat:
            self._seen[name] = (beat, now)
        patience = max(self.expire, MISSED * float(shown.get("period", 0.0)))
        return now - self._seen[name][1] < patience

    def shown(self, worker: str) -> dict[str, Any]:
        return read_heartbeat(self.folder / f"{worker}.json")


def read_heartbeat(path: Path) -> dict[str, Any]:
    """What a worker last showed; empty when there is nothing to read."""
    try:
        found = json.loads(plain_bytes(path))
    except (OSError, *UNREADABLE):
        return {}
    return found if isinstance(found, dict) and all(_fits(name, value) for name, value in found.items()) else {}


# The types of what a worker shows; one that shows something else is damaged and counts as silent.
_SHOWN: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("worker", "host", "born", "study", "run", "doing"), (str,)),
    **dict.fromkeys(("pid", "beat", "rows"), (int,)),
    **dict.fromkeys(("period", "rate"), (int, float)),
}
# No system has more processes, and none can be asked for such a number.
MOST_PIDS = 2**31


def _fits(name: str, value: Any) -> bool:
    if name not in _SHOWN:
        return True
    if isinstance(value, bool) or not isinstance(value, _SHOWN[name]):
        return False
    number: Any = value
    return isinstance(value, str) or bool(0 <= number < (MOST_PIDS if name == "pid" else math.inf))


def holder_of(values: Any) -> Holder | None:
    """A holder as `asdict` took it apart; None for anything else."""
    names = {field.name for field in fields(Holder)}
    if not isinstance(values, dict) or set(values) != names or not all(_fits(name, values[name]) for name in names):
        return None
    return Holder(**values)
