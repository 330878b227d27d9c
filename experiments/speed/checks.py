"""What the plan of a study costs against another checkout, and what the checks of what is stored cost of a run.

    git worktree add ../before 0d958e6
    python experiments/speed/checks.py --against ../before

plan: CPU seconds and peak memory of a dry run of 10,000 cells, and of a run that finds 2,000 finished cells and nothing to do.
checks: the share of a run's CPU seconds that goes into digests, checkpoints, directions and writing to the disk (fsync).
"digests" is writing and reading the files that carry them, their JSON included; "hashing" is the part of it that a version
without digests would not have. Writes plan.csv and checks.csv beside this file. What was run of it: README.md.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUIET = ("runtime.progress=false", "runtime.page=false", "runtime.device=cpu", "benchmark.limit=1", "method=l2v")
LAYERS = "intervention.layer=0,1,2,3"
# What is counted: the functions that check, by where they are defined.
CHECKS = {
    "digests": ("l2v.study.digests", ("sealed_line", "sealed", "open_lines", "read_sealed", "content_digest", "is_whole")),
    "hashing": ("l2v.study.digests", ("_check", "_own_digest", "content_digest", "has_check")),
    "checkpoints": ("l2v.steering.models", ("check_files", "check_cached", "check_kind", "check_loaded")),
    "directions": ("l2v.transfer.directions", ("_digests", "_are_whole")),
    "disk": ("l2v.disk", ("write_atomically", "sync_path")),
}
spent: Counter[str] = Counter()
here = threading.local()


def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the CPU seconds of its outermost calls added up, in whatever thread."""

    def call(*args: Any, **options: Any) -> Any:
        inside = here.__dict__.setdefault("inside", set())
        if name in inside:
            return function(*args, **options)
        inside.add(name)
        began = time.thread_time()
        try:
            return function(*args, **options)
        finally:
            spent[name] += time.thread_time() - began
            inside.discard(name)

    return call


def checks(words: list[str], repeats: int) -> list[dict[str, Any]]:
    """Each check's share of a run in this process; the fastest of some."""
    from importlib import import_module

    from l2v.cli import main

    with tempfile.TemporaryDirectory() as outputs:
        main(["run", *QUIET, f"runtime.outputs={outputs}", "study=warm"])  # imports, and the direction is read
    for name, (module, functions) in CHECKS.items():
        for function in (getattr(import_module(module), one) for one in functions):
            wrapped = counted(name, function)
            for other in [m for n, m in sys.modules.items() if n.startswith("l2v")]:
                for key, value in list(vars(other).items()):
                    if value is function:
                        setattr(other, key, wrapped)
    os.fsync = counted("disk", os.fsync)
    found = []
    (ROOT / "outputs").mkdir(exist_ok=True)
    for _ in range(repeats):
        spent.clear()
        with tempfile.TemporaryDirectory(dir=ROOT / "outputs") as outputs:
            began = time.process_time()
            code = main(["run", "--multirun", *words, f"runtime.outputs={outputs}", "runtime.progress=false"])
            whole = time.process_time() - began
        assert code == 0
        found.append((whole, dict(spent)))
    whole, best = min(found, key=lambda one: one[0])
    rows = []
    for name in CHECKS:
        seconds = best.get(name, 0.0)
        rows.append({"check": name, "cpu_s": f"{seconds:.3f}", "share": f"{seconds / whole:.4f}"})
    return [*rows, {"check": "the run", "cpu_s": f"{whole:.3f}", "share": "1"}]


def command(checkout: Path, words: list[str]) -> tuple[float, float]:
    """CPU seconds and peak memory (MB) of a command of a checkout."""
    env = os.environ | {"PYTHONPATH": str(checkout), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.Popen([sys.executable, "-m", "l2v.cli", *words], env=env, cwd=checkout, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(done.pid, 0)
    assert status == 0, words
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def plan(against: Path, cells: int, finished: int) -> list[dict[str, Any]]:
    """Both checkouts, in turns, on the same grid, each with a study of its own."""
    rows = []
    grid = ["run", "--multirun", *QUIET, LAYERS]

    def measured(what: str, words: list[str], place: str) -> None:
        for name, checkout in (("here", ROOT), ("before", against)):
            seconds, memory = command(checkout, [*grid, *words, f"runtime.outputs={place}/{name}"])
            rows.append({"what": what, "checkout": name, "cpu_s": f"{seconds:.1f}", "mb": f"{memory:.0f}"})
            print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        measured(f"dry run of {cells} cells", [alphas(cells), "dry_run=true"], folder)
        for name, checkout in (("here", ROOT), ("before", against)):
            command(checkout, [*grid, alphas(finished), f"runtime.outputs={folder}/{name}"])
        measured(f"{finished} finished cells", [alphas(finished)], folder)
    return rows


def alphas(cells: int) -> str:
    """As many strengths as make so many cells with four layers."""
    return f"intervention.alpha=range(1,{cells // 4 + 1})"


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table, also printed."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(path.name, *rows, sep="\n  ", flush=True)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="the other checkout; without it only the checks")
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--finished", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--words", nargs="*", default=["+experiment=demo", "study=checked"])
    args = parser.parse_args()
    # First, for a command's peak memory is no less than that of the process that starts it.
    if args.against:
        write(HERE / "plan.csv", plan(args.against.resolve(), args.cells, args.finished))
    write(HERE / "checks.csv", checks(args.words, args.repeats))


if __name__ == "__main__":
    main()
