"""How far a run is, seen from outside of its workers."""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from l2v.study.workers.heartbeat import read_heartbeat, workers_folder
from l2v.study.workers.run import Run
from l2v.study.workers.workload import Workload


class RowBar(tqdm):
    """A bar whose clock starts with its first rows: they took loading and probing too, and tell nothing of the time left."""

    begun = False

    def update(self, n: float | None = 1) -> bool | None:
        """Move by `n` rows."""
        if self.disable or not n or self.begun:
            return super().update(n)
        self.begun = True
        self.n += n
        self.initial = self.last_print_n = self.n
        self.unpause()
        self.refresh()
        return True


def progress_bar(work: Workload, run: Run) -> Any:
    """The bar of a run: rows, of which some were there before."""
    runtime = work.jobs[0].config.runtime
    splits = sorted({group.benchmark.split for group in work.groups})
    done = 0
    if runtime.progress:
        folders = [work.store.folder(cell_id) for cell_id in run.items]
        done = sum(run.items[folder.id] if folder.done else len(folder.responses()) for folder in folders)
    return RowBar(
        total=sum(run.items.values()), initial=done, unit="row", desc=f"{work.store.study} ({', '.join(splits)})",
        disable=not runtime.progress, smoothing=0.1, dynamic_ncols=True, file=sys.stderr,
    )  # fmt: skip


def phases(bar: Any) -> Callable[[str], None]:
    """Names in the bar what a worker does: loading, reading directions, fitting maps, answering, scoring."""
    said = ""

    def show(doing: str) -> None:
        nonlocal said
        # Every time it is told something a bar in a file writes a line.
        if (told := doing.partition(":")[0]) != said:
            said = told
            bar.set_postfix_str(told)

    return show


class Progress:
    """What is known of a run's cells and rows; finished cells are not looked at again."""

    def __init__(self, work: Workload, run: Run, bar: Any) -> None:
        self.run, self.bar = run, bar
        self.store = work.store
        self.workers = workers_folder(work.jobs[0].config.runtime.outputs)
        self.waiting = deque(run.cells)
        self.rows: dict[str, int] = {}
        self.show, self.shown = phases(bar), ""

    def over(self) -> bool:
        """Whether every cell is done or was set aside. Moves the bar."""
        self._move()
        # One cell that is open is enough to know.
        while self.waiting and self._closed(self.waiting[0]):
            self.waiting.popleft()
        return not self.waiting

    def _closed(self, cell: str) -> bool:
        folder = self.store.folder(cell)
        return folder.done or self.run.failed_here(folder) is not None

    def _move(self) -> None:
        doing = []
        for path in self.workers.glob("*.json"):
            shown = read_heartbeat(path)
            if shown.get("run") == self.run.key:
                # A worker's last sign of life goes when it does; its rows stay counted.
                before = self.rows.get(path.stem, 0)
                self.rows[path.stem] = max(before, int(shown.get("rows", 0)))
                self.bar.update(self.rows[path.stem] - before)
                doing += str(shown.get("doing", "")).split()[:1]
        if (told := ", ".join(f"{count} {phase}" for phase, count in sorted(Counter(doing).items()))) != self.shown:
            self.shown = told
            self.show(told)

    def unfinished(self, reason: str) -> dict[str, str]:
        """The cells that are not done: why they were set aside, else `reason`."""
        failed = self.run.failed()
        open_cells = [cell for cell in self.run.cells if not self.store.folder(cell).done]
        return {cell: failed.get(cell, f"{self.run.cells[cell]}: {reason}") for cell in open_cells}
