"""CPU seconds of a judgement, its algebra's included: the promise of two seconds that no other work on the machine changes."""

from __future__ import annotations

import time

import psutil

from l2v.benchmarks.scoring import symbolic


class Computing:
    """From here on."""

    def __init__(self) -> None:
        self.own, (self.pid, self.algebra) = time.process_time(), _algebra()

    @property
    def seconds(self) -> float:
        """Of this process, and of the one that compares for it where it was there all the time: its start is not counted."""
        own, (pid, algebra) = time.process_time() - self.own, _algebra()
        return own + (algebra - self.algebra if pid == self.pid else 0.0)


def _algebra() -> tuple[int, float]:
    process = symbolic._shared.process
    if process is None or process.poll() is not None:
        return 0, 0.0
    times = psutil.Process(process.pid).cpu_times()
    return process.pid, times.user + times.system + times.children_user + times.children_system
