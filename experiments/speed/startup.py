"""How long the verbs take that only read a study, and which heavy packages they load; in turns with another checkout.

    git worktree add ../before REVISION
    python experiments/speed/startup.py --outputs outputs --study demo --against ../before

Each command is a process of its own on a copy of the study, each way's fastest of --repeats. Scored by two scorers and
uploaded (wandb offline) before. Writes startup.csv beside this file; the ratio is the other checkout's time over this one's.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
COMMANDS = {
    "status": ["status"],
    "agreement": ["agreement"],
    "report page=false": ["report", "page=false"],
    "report": ["report"],
    "score": ["score", "progress=false"],
    "track, nothing new": ["track", "progress=false", "tracker.mode=offline"],
}
HEAVY = ("torch", "transformers", "datasets", "lm_eval", "pandas", "scipy", "plotly", "wandb")
PROBE = f"""
import sys
from l2v.cli import main
code = main(sys.argv[1:])
print("LOADED", *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--study", default="demo")
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    checkouts = [HERE.parents[1], *([options.against.resolve()] if options.against else [])]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for folder in (options.study, "cache"):
            shutil.copytree(options.outputs / folder, Path(scratch) / folder)
        asked = [f"study={options.study}", f"outputs={scratch}"]
        measured(checkouts[0], [*COMMANDS["score"], "scorer=official,robust", *asked])
        measured(checkouts[0], [*COMMANDS["track, nothing new"], *asked])
        for name, words in COMMANDS.items():
            taken: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
            loaded: dict[Path, str] = {}
            for _ in range(options.repeats):
                for checkout in checkouts:
                    seconds, loaded[checkout] = measured(checkout, [*words, *asked])
                    taken[checkout].append(seconds)
            best = {checkout: min(seconds) for checkout, seconds in taken.items()}
            row = {"command": name, "seconds": f"{best[checkouts[0]]:.2f}", "loads": loaded[checkouts[0]]}
            if options.against:
                other = checkouts[1]
                row |= {"before": f"{best[other]:.2f}", "ratio": f"{best[other] / best[checkouts[0]]:.1f}"}
                row |= {"loaded before": loaded[other]}
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    with (HERE / "startup.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def measured(checkout: Path, words: list[str]) -> tuple[float, str]:
    """Seconds of a command run from a checkout, and the heavy packages that it had loaded at its end."""
    command, environment = [sys.executable, "-c", PROBE, *words], os.environ | {"OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    # What -c runs imports from the working folder first.
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, done.stderr.splitlines()[-1].removeprefix("LOADED").strip()


if __name__ == "__main__":
    main()
