"""What tracking costs: seconds per cell of `l2v track`, and a followed run beside the same run without a tracker.

    python experiments/speed/track.py                       # wandb offline and trackio, the miniature, CPU
    python experiments/speed/track.py --cells 100 --items 200

Upload: seconds per cell of `l2v track` on a finished study (the median distance of two lines in its ledger), with a table of 50
examples and their pictures, and without; as a ratio to wandb's with examples. Run: the same grid with and without a tracker,
a process each, in turns, each way's fastest of --repeats as a ratio; `study` is the time until the last cell is done, `whole`
includes the wait for the uploads at the end. Writes track.csv beside this file; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TRACKERS = ("wandb", "trackio")
RUN = """
import json, sys, time
begun = time.perf_counter()
import torch
from l2v.cli import main
from l2v.config import TrackerConfig
from l2v.track.follower import followed
outputs, tracker, words = sys.argv[1], sys.argv[2], sys.argv[3:]
with followed(outputs, tracker, TrackerConfig(name=tracker, mode="offline", timeout=600)):
    assert main(words) == 0
    study = time.perf_counter() - begun
print(json.dumps({"study": study, "whole": time.perf_counter() - begun}))
"""


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = runs(Path(scratch), options) + uploads(Path(scratch), options)
    with (HERE / "track.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["what", "tracker", "examples", "cells", "seconds", "per_cell", "ratio"])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(json.dumps({"cells": options.cells, "items": options.items, "rows": rows}))


def words(outputs: Path, study: str, options: argparse.Namespace) -> list[str]:
    """A grid of so many cells."""
    alphas = ",".join(f"{0.1 + 0.8 * i / options.cells:.4f}" for i in range(options.cells))
    grid = ["method=l2v", f"intervention.alpha={alphas}", f"benchmark.limit={options.items}", "runtime.progress=false"]
    return ["run", "--multirun", f"study={study}", f"runtime.outputs={outputs}", "runtime.device=cpu", *grid]


def runs(scratch: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """The same grid with every tracker and with none."""
    taken: dict[tuple[str, str], list[float]] = {}
    for repeat in range(options.repeats):
        for tracker in ("none", *TRACKERS):
            outputs = scratch / f"run-{repeat}"
            command = [sys.executable, "-c", RUN, str(outputs), tracker, *words(outputs, tracker, options)]
            for what, seconds in json.loads(output(command)).items():
                taken.setdefault((what, tracker), []).append(seconds)
    return [
        row(f"run, {what}", tracker, 50, options.cells, min(seconds), min(seconds) / min(taken[what, "none"]))
        for (what, tracker), seconds in taken.items()
    ]


def uploads(scratch: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """`l2v track` on a finished study."""
    found: list[dict[str, object]] = []
    usual = 0.0
    for tracker in TRACKERS:
        for examples in (50, 0):
            project = f"examples-{examples}"
            names = [f"study={tracker}", f"outputs={scratch / 'run-0'}", f"tracker={tracker}", "progress=false"]
            names += [f"tracker.project={project}", f"tracker.examples={examples}", "tracker.mode=offline"]
            output([sys.executable, "-m", "l2v.cli", "track", *names])
            ledger = scratch / "run-0" / tracker / "track" / f"{tracker}-{project}.jsonl"
            lines = [json.loads(line) for line in ledger.read_text().splitlines()]
            times = [line["time"] for line in lines if line["job_type"] == "run"]
            each = statistics.median(after - before for before, after in itertools.pairwise(times))
            usual = usual or each
            found.append(row("upload", tracker, examples, options.cells, each * options.cells, each / usual))
    return found


def output(command: list[str]) -> str:
    """The last line that a command prints."""
    hidden = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "TRACKIO_"))}
    done = subprocess.run(command, capture_output=True, text=True, env=hidden | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.strip().splitlines()[-1]


def row(what: str, tracker: str, examples: int, cells: int, seconds: float, ratio: float) -> dict[str, object]:
    """One line of the table."""
    return {
        "what": what,
        "tracker": tracker,
        "examples": examples,
        "cells": cells,
        "seconds": round(seconds, 2),
        "per_cell": round(seconds / cells, 4),
        "ratio": round(ratio, 2),
    }


if __name__ == "__main__":
    main()
