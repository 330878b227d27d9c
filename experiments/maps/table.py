"""The table of learned maps: every reported cell of some studies, with what its map reconstructs and where its vector points.

l2v run --multirun +experiment=maps_mini
python experiments/maps/table.py maps_mini:0 maps_drifted:0 > experiments/maps/mini.csv       # STUDY:WORLD …
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from l2v.study.cells import Cell
from l2v.study.plan import fitting, norm_reading
from l2v.study.store import Store
from l2v.study.workers.directions import cell_vector, directions_path, load_directions
from l2v.study.workers.maps import load_map, map_path

OUTPUTS = Path("outputs")
COLUMNS = ("world", "source", "target", "map", "control", "neutral", "neutral_texts", "seed", "layer", "source_layer", "alpha",
           "reconstruction", "cosine", "value", "low", "high", "n", "seconds")  # fmt: skip


def rows(study: str, world: str) -> Iterator[dict[str, object]]:
    """One row per reported cell on test."""
    store = Store(OUTPUTS, study)
    with (store.path / "results.csv").open(newline="") as file:
        figures = [row for row in csv.DictReader(file) if row["reported"] == "True" and row["metric"] == "accuracy"]
    cells = {folder.id: folder.cell() for folder in store.finished()}
    for row in figures:
        cell = cells[row["cell"]]
        told = {name: row[name] for name in ("source", "target", "neutral", "neutral_texts", "seed", "layer", "alpha")}
        told |= {name: row[name] for name in ("value", "low", "high", "n")}
        yield {"world": world, "control": "", "map": cell.method, **told, **geometry(cell)}


def geometry(cell: Cell) -> dict[str, object]:
    """Of a steered cell, the cosine of its vector with the target's own direction; of a learned map, what it reconstructs."""
    if not cell.steered or cell.layer is None:
        return {}
    own = load_directions(directions_path(str(OUTPUTS), norm_reading(cell).id)).mean[cell.layer]
    vector = cell_vector(cell, str(OUTPUTS), own.shape[-1])
    found: dict[str, object] = {"cosine": f"{float(torch.cosine_similarity(vector, own, dim=0)):.3f}"}
    if (learned := fitting(cell)) is not None:
        fitted = load_map(map_path(OUTPUTS, learned.id))
        found |= {
            "reconstruction": f"{fitted.held_out:.3f}",
            "source_layer": fitted.source_layer,
            "seconds": f"{fitted.seconds:.2f}",
        }
    return found | ({"map": cell.map, "control": cell.method} if cell.map else {})


def main() -> None:
    """Print the table."""
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for word in sys.argv[1:]:
        study, _, world = word.partition(":")
        writer.writerows(rows(study, world or "0"))


if __name__ == "__main__":
    main()
