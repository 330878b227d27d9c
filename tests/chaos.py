"""A study that takes long enough to be disturbed, and what must hold at its end whatever happened."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from forked import Forked

ITEMS, CELLS = 24, 5
PATIENCE = 180
# Small batches, so that there is something to interrupt.
GRID = (
    "run",
    "--multirun",
    "study=grid",
    "method=direct,l2v,random",
    "intervention.layer=1,2",
    f"benchmark.limit={ITEMS}",
    "runtime.progress=false",
    "runtime.page=false",
    "runtime.device=cpu",
    "runtime.batch_rows=2",
    "runtime.cells_per_claim=2",
)


def results(outputs: Path) -> pd.DataFrame:
    """results.csv without the seconds."""
    return pd.read_csv(outputs / "grid" / "results.csv").drop(columns="seconds")


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str] | Forked | None = None) -> None:
    """Returns once something is so, while a process is still at work."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process is not None:
            assert process.poll() is None, f"ended by itself: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def heartbeats(outputs: Path) -> list[dict[str, object]]:
    """What the workers show."""
    found = []
    for path in (outputs / "cache" / "workers").glob("*.json"):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue
    return found


def assert_complete(outputs: Path, undisturbed: pd.DataFrame, stored: list[tuple[str, str]]) -> None:
    """Every row once, the same table, and no row was computed again after it had been stored."""
    assert len(stored) == len(set(stored)) == ITEMS * CELLS
    done = list((outputs / "grid").glob("cells/*/DONE"))
    assert len(done) == CELLS
    assert [json.loads(path.read_text())["stored_twice"] for path in done] == [0] * CELLS
    assert not list((outputs / "grid").glob("cells/*/claims"))
    pd.testing.assert_frame_equal(results(outputs), undisturbed)


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
