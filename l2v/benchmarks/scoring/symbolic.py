"""Symbolic equality of expressions, in processes of their own with limits on time and memory.

math-verify's own time limits need the main thread of a Unix process; these work anywhere.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from l2v.benchmarks.scoring.cleaning import PRIME
from l2v.benchmarks.scoring.symbolic_worker import UNANSWERED, WALL_SECONDS
from l2v.benchmarks.scoring.values import read_value

# Wall seconds after which a comparison that did not end itself is ended from here (where nothing can fork it is the only
# limit); and for the process to start.
SECONDS, START_SECONDS, LONGEST = WALL_SECONDS + 2 if hasattr(os, "fork") else 1.8, 300.0, 200
# Whether two are equal; None where one cannot be read or is too large; UNANSWERED where the machine had no time for it.
Equality = bool | str | None
_WORKER = Path(__file__).with_name("symbolic_worker.py")
_HUGE = re.compile(
    r"\^\s*[{(]?\s*-?\s*(?:[2-9]\d|\d{3})|\d{25}|!|\^\s*[{(][^{}()]{0,200}\^|\^\s*\w\s*\^|\\(?:int|sum|prod|lim)(?![a-z])"
)


def bounded(expression: str) -> bool:
    """Whether an expression is small enough to be worth a comparison: length, nesting, exponents, no factorials or sums."""
    depth = deepest = 0
    for c in expression:
        depth += (c in "{([") - (c in "})]")
        deepest = max(deepest, depth)
    return 0 < len(expression) <= LONGEST and deepest <= 8 and not _HUGE.search(expression)


def apart(gold: str, text: str) -> bool:
    """Whether two expressions differ for sure, which takes no algebra: names, a name and a number, two numbers, primes."""
    sides = [side.strip() for side in (gold, text)]
    if "'" in gold + text and "=" not in gold + text and len(PRIME.findall(gold)) != len(PRIME.findall(text)):
        # Algebra takes f' for f.
        return True
    if "=" in gold and "=" not in text and _EQUATION.match(gold):
        # "1" is no x^2 + y^2 = 1.
        return True
    names = [side.lower() for side in sides if _NAME.fullmatch(side)]
    if len(names) == 2:
        # The letters of a name are factors.
        return sorted(names[0]) != sorted(names[1])
    values = [value for side in sides if (value := read_value(side)) and not (value.unit or value.percent or value.scale != 1)]
    if names:
        return len(values) == 1 and len(names[0]) == 1 and names[0] not in "ei"
    a, b = (value.number for value in values) if len(values) == 2 else (0.0, 0.0)
    return abs(a - b) > 1e-3 * max(abs(a), abs(b))


# An equation that gives no single symbol a value.
_EQUATION = re.compile(r"(?!\W*(?:\\?[A-Za-z]+|[A-Za-z]_?\{?\w{0,3}\}?|[A-Za-z]'?\([^()]*\))\W*=)[^=]*[A-Za-z][^=]*=")
# Not the name of a function or a number.
_NAME = re.compile(r"(?!(?:sin|cos|tan|cot|sec|csc|log|ln|exp|max|min|lim|pi|inf|sqrt|frac|oo)$)[A-Za-z]{1,8}", re.IGNORECASE)


class SymbolicProcess:
    """One comparing process (symbolic_worker.py). It starts at the first question, and anew should it ever end."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.ready = False
        self.owner = os.getpid()

    def ask(self, gold: str, text: str) -> Equality:
        """Whether the two are equal; None when one cannot be read, is too large, or takes too much computing."""
        if not (bounded(gold) and bounded(text)):
            return None
        answer: Equality = self._exchange(json.dumps([gold, text]) + "\n", SECONDS) if self.begin() else UNANSWERED
        return answer

    def begin(self) -> bool:
        """Whether the process is there; it is started where it is not."""
        if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
            try:
                self._launch()
            except OSError:
                # No process can be had: nothing is decided, and nothing else is lost.
                return False
        self.ready = self.ready or self._exchange("", START_SECONDS) == "ready"
        return self.ready

    def _launch(self) -> None:
        """Start the process without waiting for it."""
        self.close()
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="ascii",
            env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        )

    def _exchange(self, line: str, seconds: float) -> Any:
        """Send a line and read one; UNANSWERED, and no process any more, when none comes in time."""
        process = self.process
        assert process is not None and process.stdin is not None and process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = process.stdout.readline()
        except (OSError, ValueError):
            answer = ""
        finally:
            timer.cancel()
        if not answer.endswith("\n"):
            self.close()
            return UNANSWERED
        return json.loads(answer)

    def close(self) -> None:
        """End the process, if there is one; a later question starts another."""
        process, self.process, self.ready = self.process, None, False
        if process is None or self.owner != os.getpid():
            return
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()  # type: ignore[union-attr]


_shared, _lock = SymbolicProcess(), threading.Lock()
_answers: dict[tuple[str, str], Equality] = {}
atexit.register(_shared.close)


def begin() -> None:
    """Start the comparing process of this one, which takes some seconds, before anything is to be compared."""
    with _lock:
        _shared.begin()


def equal(gold: str, text: str) -> Equality:
    """Whether two LaTeX expressions are equal; None when one cannot be read, is too large, or takes too much computing."""
    return equal_many([(gold, text)], workers=1)[0]


def equal_many(
    pairs: Sequence[tuple[str, str]], progress: Callable[[int], object] = lambda n: None, workers: int | None = None
) -> list[Equality]:
    """equal() for many pairs, in `workers` processes (by default as many as cores, at most 8); the same answers as one by one.

    progress is called with the number of pairs just compared. Those that the machine had no time for are told on stderr, and
    asked again the next time.
    """
    counts = Counter(pairs)
    _answers.update((pair, False) for pair in counts if pair not in _answers and apart(*pair))
    wanted = [pair for pair in counts if pair not in _answers]
    progress(sum(counts.values()) - sum(counts[pair] for pair in wanted))
    workers = min(workers or os.cpu_count() or 1, 8, max(len(wanted) // 20, 1))
    new: dict[tuple[str, str], Equality] = {}
    with _lock if workers == 1 else contextlib.nullcontext():
        asked = (_shared.ask(*pair) for pair in wanted) if workers == 1 else _ask_all(wanted, workers)
        for pair, answer in zip(wanted, asked, strict=True):
            new[pair] = answer
            progress(counts[pair])
    _answers.update((pair, answer) for pair, answer in new.items() if answer != UNANSWERED)
    if missing := sum(answer == UNANSWERED for answer in new.values()):
        told = f"{missing} of {len(new)} symbolic comparisons got no answer, so that their responses stay undecided"
        tqdm.write(f"{told}: the machine was too busy; `l2v score` again when it is not.", file=sys.stderr)
    return [new[pair] if pair in new else _answers[pair] for pair in pairs]


def _ask_all(pairs: Sequence[tuple[str, str]], workers: int) -> Iterator[Equality]:
    """The answers in order, each thread with a process of its own."""
    local = threading.local()
    owned: list[SymbolicProcess] = []

    def ask(pair: tuple[str, str]) -> Equality:
        if not hasattr(local, "worker"):
            local.worker = SymbolicProcess()
            owned.append(local.worker)
        answer: Equality = local.worker.ask(*pair)
        return answer

    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(ask, pairs)
    finally:
        for worker in owned:
            worker.close()
