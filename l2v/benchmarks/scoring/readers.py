"""Reading of many responses by several processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

Given = TypeVar("Given")
Read = TypeVar("Read")

# So many at a time keep processes busy, and what has been read is told of often enough.
AT_A_TIME, MOST = 100, 8


def in_processes(
    read: Callable[[Given], Read], given: Sequence[Given], workers: int | None = None
) -> Iterator[tuple[Given, Read]]:
    """(g, read(g)) in order, read by `workers` processes (as many as cores that are free to this one, at most 8).

    read: a function of a module, as the processes import it. Where none can be had, or one is ended from outside, what is
    left is read here.
    """
    # A tenth of a second, which few need.
    from loky import ProcessPoolExecutor, cpu_count

    left = deque(given[at : at + AT_A_TIME] for at in range(0, len(given), AT_A_TIME))
    workers = min(workers or cpu_count(), MOST, len(left))
    if workers > 1:
        try:
            # It is waited for until it has ended: what forks after this must find no thread at work.
            with ProcessPoolExecutor(workers) as pool:
                for done in pool.map(partial(_all, read), list(left)):
                    yield from zip(left.popleft(), done, strict=True)
        except (OSError, BrokenProcessPool):
            pass
    for some in left:
        yield from zip(some, map(read, some), strict=True)


def _all(read: Callable[[Given], Read], given: Sequence[Given]) -> list[Read]:
    return [read(one) for one in given]
