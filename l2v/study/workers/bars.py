"""Bars of what a worker does before it answers; a run's own is in executors/progress.py."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from l2v.config import Config

# What takes less than this shows no bar.
DELAY_SECONDS = 5.0


@contextmanager
def reading_bar(config: Config, label: str, unit: str, passing: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Show a bar meanwhile; gives what is to be told how much is done and of how much, in units.

    passing: it comes after DELAY_SECONDS and goes at the end.
    """
    with tqdm(
        desc=label, unit=unit, unit_scale=unit == "token", disable=not config.runtime.progress,
        delay=DELAY_SECONDS * passing, leave=not passing, dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip

        def tick(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tick
