"""What an executor costs per unit of work, and what a second worker brings on two cores: ratios within one run.

    python experiments/speed/executors.py [--slurm]

Overhead: studies of 8 and of 104 cells of one question each, one cell per claim, one worker; the difference per cell, beside
that of `local`, and what starting costs. Speed-up: 64 cells of 200 questions, one thread per worker, one worker against two;
the time is that of the whole command, and that from the first cell's beginning to the last one's end. --slurm starts a Slurm
of one node (as root, with the packages slurmctld, slurmd and munge).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ONE = ("executor.workers=1", "executor.cpus=1", "executor.gpus=0", "executor.memory_gb=1", "executor.minutes=30")
WAYS = {
    "local": ("executor=local",),
    "processes": ("executor=processes", *ONE),
    "slurm": ("executor=slurm", *ONE),
    "ray": ("executor=ray", *ONE),
}
QUIET = ("runtime.progress=false", "runtime.page=false", "runtime.device=cpu")


def run(outputs: Path, study: str, words: tuple[str, ...], environment: dict[str, str]) -> float:
    """Seconds of one command; it must succeed."""
    command = [sys.executable, "-m", "l2v.cli", "run", "--multirun", f"study={study}", f"runtime.outputs={outputs}", *QUIET]
    begun = time.perf_counter()
    subprocess.run([*command, *words], check=True, capture_output=True, env=environment)
    return time.perf_counter() - begun


def stored_span(study: Path) -> float:
    """Seconds from the first to the last cell that was begun and finished, by the disk's clock."""
    begun = min(path.stat().st_mtime for path in study.glob("cells/*/config.yaml"))
    return max(path.stat().st_mtime for path in study.glob("cells/*/DONE")) - begun


def overhead(outputs: Path, environment: dict[str, str], ways: list[str]) -> None:
    """Seconds per cell and at the start, by executor."""
    slopes: dict[str, float] = {}
    print("| executor | seconds per unit | against local | start and end, s |\n|---|---|---|---|")
    for way in ways:
        seconds = {}
        for count in (8, 104):
            grid = ("method=random", "benchmark.limit=1", "runtime.cells_per_claim=1", f"seed=range(0,{count})", *WAYS[way])
            seconds[count] = min(run(outputs, f"{way}{count}{turn}", grid, environment) for turn in range(2))
        slopes[way] = (seconds[104] - seconds[8]) / 96
        start = seconds[8] - 8 * slopes[way]
        print(f"| {way} | {slopes[way]:.3f} | {slopes[way] / slopes['local']:.2f} x | {start:.1f} |", flush=True)


def speed_up(outputs: Path, environment: dict[str, str]) -> None:
    """One worker against two on the same cells."""
    grid = ("method=l2v", "intervention.layer=0,1,2,3", "intervention.alpha=range(0.1,0.9,0.05)", "runtime.cells_per_claim=8")
    whole, span = {}, {}
    for workers in (1, 2):
        study = f"speed{workers}"
        whole[workers] = run(outputs, study, (*grid, "executor=processes", f"executor.workers={workers}"), environment)
        span[workers] = stored_span(outputs / study)
    print(f"two workers over one: {span[1] / span[2]:.2f} x ({span[1]:.1f} s, {span[2]:.1f} s from first to last cell)")
    print(f"whole command: {whole[1] / whole[2]:.2f} x ({whole[1]:.1f} s, {whole[2]:.1f} s; each starts Python and torch anew)")


def main() -> None:
    """Both benches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slurm", action="store_true")
    words = parser.parse_args()
    with ExitStack() as stack:
        outputs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="l2v-executors-")))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        if words.slurm:
            sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
            from slurm_cluster import slurm

            (outputs / "slurm").mkdir()
            environment |= stack.enter_context(slurm(outputs / "slurm"))
        # Directions are read once, before anything is timed.
        run(outputs, "warm", ("method=l2v", "benchmark.limit=1"), environment)
        overhead(outputs, environment, [way for way in WAYS if way != "slurm" or words.slurm])
        speed_up(outputs, environment)


if __name__ == "__main__":
    main()
