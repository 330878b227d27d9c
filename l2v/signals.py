"""What ends a command from outside: Ctrl-C, SIGTERM and SIGHUP say the same, in one sentence, and nothing stored is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class Ended(KeyboardInterrupt):
    """Another process asked this one to end. Whatever gives way to Ctrl-C gives way to it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def exit_code(error: KeyboardInterrupt) -> int:
    """130 for Ctrl-C; 128 and the signal's number for others, as a shell has it."""
    return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)


# Verbs that go on until they are interrupted, and store nothing.
ENDLESS = ("serve", "status")


def interrupted(error: BaseException, verb: str = "") -> str:
    """What a person is told."""
    what = f"Ended by {signal.Signals(error.number).name}" if isinstance(error, Ended) else "Interrupted"
    return f"\n{what}." + ("" if verb in ENDLESS else " Every finished row is stored; repeat the same command to go on.")


@contextmanager
def ending() -> Iterator[None]:
    """Raise `Ended` for SIGTERM and SIGHUP within this context, unless they are ignored (nohup) or handled already."""
    owner = os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:
            # A child of this process, which a library forked, ends as it would without us.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Ended(number)

    ours: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def one_sentence_when_interrupted() -> None:
    """Ctrl-C before the command line has begun its work, while modules are still loaded, leaves no traceback either."""
    usual = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(interrupted(error), file=sys.stderr)
        else:
            usual(kind, error, trace)

    sys.excepthook = hook
