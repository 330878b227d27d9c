"""How long a cell waits for the disk, against another checkout, in turns: 16 cells of 200 rows that were answered together.

    git worktree add ../before 0f36276
    python experiments/speed/closing.py --against ../before

Milliseconds on the clock less those of the processor, a cell: begun, its rows gathered, its verdicts written, closed. Writes
closing.csv beside this file.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CELLS, ITEMS = 16, 200
# Run in a checkout, whose l2v is the one that is found.
WORDS = "import sys; sys.path.append(sys.argv[1]); import closing; print(closing.measure(closing.Path(sys.argv[2])))"


def measure(place: Path) -> float:
    """Milliseconds a cell that this checkout waits."""
    from l2v.study.cell_folder import CellFolder
    from l2v.study.store import Store

    try:
        from l2v.disk import at_once
    except ImportError:
        # A checkout of before, where one cell waited after the other.
        def at_once(function, given):  # type: ignore[no-untyped-def]
            return [function(one) for one in given]

    from l2v.disk import write_atomically

    ids = [f"i{i}" for i in range(ITEMS)]
    rows = [{"id": i, "response": "so a 3 =3 b 1 =4 c 0 =4 d 1 =5", "tokens": 22, "generation": 0} for i in ids]
    verdicts = [{"id": i, "correct": True, "extraction": "3", "reason": ""} for i in ids]
    figures = [{"scorer": "official", "metric": "accuracy", "value": 1.0}]
    store = Store(place, "s").open()
    folders: list[CellFolder] = [store.folder(f"{i:016x}") for i in range(CELLS)]
    began, worked = time.perf_counter(), time.process_time()
    at_once(lambda folder: write_atomically(folder.path / "config.yaml", "cell: x\n" * 60, sync=True), folders)
    for folder in folders:
        folder.append("one", rows)
        folder.close()
    at_once(lambda folder: folder.gather(ids), folders)
    for folder in folders:
        folder.write_scores("official", verdicts, figures)
    at_once(lambda folder: folder.finish(), folders)
    assert all(folder.done for folder in folders)
    return 1000 * (time.perf_counter() - began - (time.process_time() - worked)) / CELLS


def main() -> None:
    """Both checkouts in turns, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="the other checkout")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    found = []
    (ROOT / "outputs").mkdir(exist_ok=True)
    for _ in range(args.repeats):
        waits = {}
        for name, checkout in (("here", ROOT), ("before", args.against.resolve())):
            with tempfile.TemporaryDirectory(dir=ROOT / "outputs") as place:
                words = [sys.executable, "-c", WORDS, str(HERE), place]
                done = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=True)
            waits[name] = float(done.stdout)
        found.append({k: f"{v:.1f}" for k, v in waits.items()} | {"ratio": f"{waits['here'] / waits['before']:.3f}"})
        print(found[-1], flush=True)
    with (HERE / "closing.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(found)


if __name__ == "__main__":
    main()
