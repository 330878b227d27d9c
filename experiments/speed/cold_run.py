"""CPU seconds of a whole `l2v run` from an empty folder, start included; in turns with another checkout.

    git worktree add ../before REVISION
    python experiments/speed/cold_run.py --against ../before

Four cells, two miniature targets, eight items. CPU seconds, user and system, so that a busy machine matters less; each way's
least of --repeats. Prints the ratio: the other checkout's over this one's.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

WORDS = ("run", "--multirun", "study=cold", "target=mini,mini_drifted", "method=direct,l2v", "benchmark.limit=8")
WORDS += ("runtime.progress=false", "runtime.page=false", "runtime.device=cpu")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", type=Path, required=True, help="another checkout")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ways = {"before": options.against.resolve(), "now": Path(__file__).parents[2]}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, checkout in ways.items():
            taken[name].append(measured(checkout))
            print(f"{name} {taken[name][-1]:.2f}", flush=True)
    print(f"ratio {min(taken['before']) / min(taken['now']):.2f}")


def measured(checkout: Path) -> float:
    """CPU seconds of one run from a checkout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "l2v.cli", *WORDS, f"runtime.outputs={outputs}"]
        subprocess.run(command, cwd=checkout, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
