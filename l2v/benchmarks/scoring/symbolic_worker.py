"""The process that compares expressions with math-verify, one JSON line in, one JSON line out.

Run as a file, so that it loads sympy and nothing of this package. Algebra on a model's text can take for ever or fill the
memory: every comparison is a child process of this one, ends itself after its time, and starts from the same state, so that no
answer depends on an earlier one. Only math-verify's LaTeX grammar is used: its other reader would hand the text to Python.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys

# Of computing and of memory; what takes more is given up, on a busy machine as on an idle one.
CPU_SECONDS, MEMORY_BYTES = 1.2, 2 << 30
# Of waiting: a machine that has no time for a comparison decides nothing, which is another answer than null.
WALL_SECONDS, UNANSWERED = 60.0, "unanswered"
# What the first comparison of a kind loads and learns takes ten times as long as the comparison: it is done beforehand.
_WARM_UP = [
    (r"x^2+3x", r"x(x+3)"),
    (r"\frac{1}{2}x+\sqrt{2}", r"0.5x+\sqrt{2}"),
    (r"\frac{2n}{m^2}", r"2n/m^2"),
    (r"4+4\sqrt{3}-\pi", r"\sqrt{3}+4"),
    (r"3\cos(2\pi x)-6", r"-6+3\sin 2x"),
    (r"\frac{x^2}{81}+\frac{y^2}{9}=1", r"x^2+9y^2=81"),
    (r"y=2x+1", r"y=2x-1"),
    (r"f(x)=|x-3|", r"|3-x|"),
    (r"(-\infty, 3] \cup (4,5)", r"(4,5) \cup (-\infty, 3]"),
    (r"(3,-4)", r"(-3, \frac{4}{5})"),
    (r"y \leq 2x+3", r"2x+3 \geq y"),
]


def equal(gold: str, text: str) -> bool | None:
    """Whether two LaTeX expressions are equal; None when one of them cannot be read."""
    from latex2sympy2_extended.math_normalization import NormalizationConfig  # type: ignore[import-untyped]
    from math_verify import parse, verify  # type: ignore[import-untyped]
    from math_verify.parser import LatexExtractionConfig  # type: ignore[import-untyped]

    # Its units are names of variables too: "v t" would be v.
    plain = NormalizationConfig(units=False, malformed_operators=True, nits=True)
    config = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=plain)]
    sides = [parse(f"${side}$", config, fallback_mode="no_fallback", parsing_timeout=None) for side in (gold, text)]
    if not all(sides):
        return None
    if _apart(sides[0][0], sides[1][0]):
        return False
    return bool(verify(*sides, timeout_seconds=None) or verify(*reversed(sides), timeout_seconds=None))


def _apart(one: object, other: object) -> bool:
    """Whether two expressions have unlike values where their symbols are given some: no algebra would find them equal."""
    from sympy import Expr, Float  # type: ignore[import-untyped]

    if not (isinstance(one, Expr) and isinstance(other, Expr)):
        return False
    # x and X are one symbol to math-verify, and e and E one number.
    names = {symbol: symbol.name.lower() for symbol in one.free_symbols | other.free_symbols}
    given = {symbol: Float(1.3 + sum(map(ord, name)) % 97 / 61) for symbol, name in names.items()}
    try:
        a, b = (complex(side.xreplace(given).evalf(15)) for side in (one, other))
    except (TypeError, ValueError):
        return False
    return "e" not in names.values() and abs(a - b) > 1e-3 * max(abs(a), abs(b))


def _computed(line: str) -> str:
    try:
        return json.dumps(equal(*json.loads(line)))
    except (Exception, RecursionError, MemoryError):
        return "null"


def _limit() -> None:
    """Ends this process, also inside long arithmetic, when its time is over: the signals keep their default action."""
    import resource

    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def answer(line: str) -> str:
    """The answer to one line as JSON: null when it took too much, "unanswered" when the machine had no time for it.

    Without fork the owner of this process keeps the time.
    """
    if not hasattr(os, "fork"):
        return _computed(line)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _limit()
            os.write(write, _computed(line).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        found = pipe.read()
    status = os.waitpid(child, 0)[1]
    late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
    return found or json.dumps(UNANSWERED if late else None)


def main() -> None:
    """Answer lines until the input ends."""
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        # This folder's modules are none of Python's own.
        sys.path.pop(0)
    logging.disable(logging.CRITICAL)
    # Results go to the real stdout; whatever a library prints goes nowhere.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for pair in _WARM_UP:
        equal(*pair)
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        print(answer(line), file=out, flush=True)


if __name__ == "__main__":
    main()
