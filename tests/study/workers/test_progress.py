"""What the bar of a run tells that other processes compute."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from l2v.study.store import Store
from l2v.study.workers.executors.progress import Progress, phases
from l2v.study.workers.heartbeat import workers_folder


class Bar:
    """Notes what a bar is told."""

    def __init__(self) -> None:
        self.rows, self.told = 0, [""]

    def update(self, rows: int) -> None:
        self.rows += rows

    def set_postfix_str(self, text: str) -> None:
        self.told.append(text)


def test_workers_phases_are_counted(tmp_path: Path) -> None:
    """How many workers do what, told when it changes; others' workers do not count."""
    folder = workers_folder(tmp_path)
    folder.mkdir(parents=True)

    def beat(worker: str, doing: str, rows: int, run: str = "mine") -> None:
        (folder / f"{worker}.json").write_text(json.dumps({"run": run, "doing": doing, "rows": rows}))

    config = SimpleNamespace(runtime=SimpleNamespace(outputs=str(tmp_path)))
    work: Any = SimpleNamespace(store=Store(tmp_path, "phases"), jobs=[SimpleNamespace(config=config)])
    run: Any = SimpleNamespace(key="mine", cells={"0" * 16: "a cell"}, failed_here=lambda folder: None)
    bar = Bar()
    progress = Progress(work, run, bar)
    steps = [
        [("a", "reading directions", 0), ("b", "reading directions", 0), ("c", "answering 9 cells: l2v", 7, "another's")],
        [("a", "answering 3 cells: l2v on mini", 5), ("b", "loading mini", 0)],
        [("a", "answering 2 cells: direct on mini", 9), ("b", "answering 1 cells: l2v on mini", 2)],
    ]
    for step in steps:
        for one in step:
            beat(*one)
        for _ in range(2):
            assert not progress.over()
    assert bar.told == ["", "2 reading", "1 answering, 1 loading", "2 answering"]
    assert bar.rows == 11


def test_a_phase_is_told_once_however_many_cells_it_has() -> None:
    bar = Bar()
    show = phases(bar)
    for doing in ("scoring: one", "scoring: another", "answering 1 cell: a third", "scoring: a third"):
        show(doing)
    assert bar.told == ["", "scoring", "answering 1 cell", "scoring"]


def test_a_bar_in_a_file_is_calm() -> None:
    """Ten thousand short steps: a line at the beginning and one at the end."""
    loop = "import l2v.cli, time, tqdm\nfor _ in tqdm.tqdm(range(10000)): time.sleep(1e-5)"
    found = subprocess.run([sys.executable, "-c", loop], capture_output=True, text=True, check=True)
    assert 1 <= found.stderr.count("it/s]") <= 3, found.stderr
