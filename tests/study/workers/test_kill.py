"""Kills, interruptions and two workers on one study: the same results as an undisturbed run, and no row twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from chaos import CELLS, GRID, ITEMS, PATIENCE, assert_complete
from forked import Forked

Rows = Callable[[Path], list[tuple[str, str]]]
Process = Callable[..., Forked]


def wait_for_rows(process: Forked, study: Path, count: int, stored_rows: Rows) -> None:
    """Returns once `count` rows lie on disk and the process is still at work."""
    deadline = time.monotonic() + PATIENCE
    while len(stored_rows(study)) < count:
        assert process.poll() is None, f"ended by itself: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_study_killed_three_times_ends_like_an_undisturbed_one(
    tmp_path: Path, l2v: Callable[..., Any], l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    words, study = (*GRID, f"runtime.outputs={tmp_path}"), tmp_path / "grid"
    before: list[tuple[str, str]] = []
    for count in (1, 30, 75):
        process = l2v_forked(*words)
        wait_for_rows(process, study, count, stored_rows)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        after = stored_rows(study)
        assert set(before) <= set(after), "a kill cost rows that were stored"
        assert len(after) < ITEMS * CELLS, "the study was over before it was killed"
        before = after
    assert l2v(*words).code == 0
    assert set(before) <= set(stored_rows(study))
    assert_complete(tmp_path, undisturbed, stored_rows(study))


def test_two_workers_share_a_study(tmp_path: Path, l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows) -> None:
    study = tmp_path / "grid"
    processes = [l2v_forked(*GRID, f"runtime.outputs={tmp_path}") for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    assert_complete(tmp_path, undisturbed, stored_rows(study))
    assert len(list((tmp_path / "cache" / "directions").glob("*.safetensors"))) == 1


def test_a_worker_leaves_cells_alone_that_another_one_holds(
    tmp_path: Path, l2v: Callable[..., Any], l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    """The first worker stops while it holds a claim; the second does everything else, waits, and takes over after its death."""
    words, study = (*GRID, f"runtime.outputs={tmp_path}"), tmp_path / "grid"
    first = l2v_forked(*words)
    wait_for_rows(first, study, 2, stored_rows)
    first.send_signal(signal.SIGSTOP)
    held = {cell: n for cell, n in counted(stored_rows(study)).items() if n < ITEMS}
    assert held
    second = l2v_forked(*words)
    deadline = time.monotonic() + PATIENCE
    while len([n for cell, n in counted(stored_rows(study)).items() if n == ITEMS]) < CELLS - 2:
        assert second.poll() is None, f"ended by itself: {second.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    now = counted(stored_rows(study))
    assert {cell: now[cell] for cell in held} == held
    first.send_signal(signal.SIGKILL)
    _, err = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, err
    assert_complete(tmp_path, undisturbed, stored_rows(study))


def counted(stored: list[tuple[str, str]]) -> dict[str, int]:
    """Stored rows per cell."""
    cells = [cell for cell, _ in stored]
    return {cell: cells.count(cell) for cell in cells}


def test_ctrl_c_says_how_to_go_on_and_a_repeat_does(
    tmp_path: Path, l2v: Callable[..., Any], l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    words, study = (*GRID, f"runtime.outputs={tmp_path}"), tmp_path / "grid"
    process = l2v_forked(*words)
    wait_for_rows(process, study, 10, stored_rows)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "Interrupted. Every finished row is stored; repeat the same command to go on."
    assert "Traceback" not in err
    before = stored_rows(study)
    assert 10 <= len(before) < ITEMS * CELLS
    assert l2v(*words).code == 0
    assert_complete(tmp_path, undisturbed, stored_rows(study))
