"""The runs of cells and of their directions, built from the store alone.

A cell that is scored again later is uploaded again under its own id, so that a cell is one run; what a scorer gave over the
whole study is a run of job_type "score" (study.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from l2v.disk import Record
from l2v.identity import digest
from l2v.study.cells import Cell
from l2v.study.columns import ITEMS, Value, key, names, settings
from l2v.study.marks import Marks
from l2v.study.plan import directions_path, job_readings
from l2v.study.statistics.searches import grouped, own_baseline
from l2v.study.store import CellFolder, Store
from l2v.track.examples import Examples
from l2v.track.ledger import Planned
from l2v.track.tracker import Artifact, File, Scalar, Table, TrackedRun, clean
from l2v.transfer.directions import Directions, Summary

# Raised when runs are built in another way: what was uploaded before is then uploaded again.
FORMAT = 3
LONGEST_TAG = 64


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Nested settings with names joined by `_`: lists as text, what is None left out, numbers with six digits."""
    found: dict[str, Scalar] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}_")
        elif isinstance(value, (list, tuple)):
            found[prefix + name] = clean(", ".join(map(str, value)))
        elif isinstance(value, float):
            if math.isfinite(value):
                found[prefix + name] = float(f"{value:.6g}")
        elif value is not None:
            found[prefix + name] = clean(value) if isinstance(value, str) else value
    return found


def cell_config(study: str, cell: Cell) -> dict[str, Scalar]:
    """A cell's settings, under the names of results.csv."""
    return flat({"study": study, **settings(cell)})


def cell_tags(cell: Cell, selected: str) -> tuple[str, ...]:
    """Words to filter by. selected: what the cell's settings were chosen on, or ""."""
    names = [cell.method, cell.target.name, cell.benchmark.task or cell.benchmark.name, cell.benchmark.split]
    names += [cell.source.name] if cell.source else []
    names += [cell.benchmark.part.name] if cell.benchmark.part else []
    names += ["selected", f"selected on {selected}"] if selected else []
    return tuple(dict.fromkeys(name[:LONGEST_TAG] for name in names if name))


class CellRuns:
    """Plans and builds the runs of a study's cells. One object serves many passes; what never changes is read once."""

    def __init__(self, outputs: str | Path, study: str, examples: int) -> None:
        self.store = Store(outputs, study)
        self.marks = Marks(self.store)
        self.examples = Examples(self.marks, examples)

    def finished(self) -> list[CellFolder]:
        return self.store.finished()

    def cell(self, folder: CellFolder) -> Cell:
        """The cell of a folder. Raises UserError as `CellFolder.cell`."""
        return self.marks.cell(folder.id)

    def plan(self, folders: Sequence[CellFolder], compared: Mapping[str, Sequence[Record]]) -> Iterator[Planned]:
        """The runs of these cells, each after the runs of its directions.

        compared: rows of results.csv by cell, for what a cell's figures mean beside others; empty while a study is running.
        """
        baselines = self._baselines(self.finished())
        for folder in folders:
            cell = self.cell(folder)
            for reading in job_readings(cell):
                artifact = self._artifact(reading.id)
                if artifact is not None:
                    yield Planned(artifact.name, "extract", f"{FORMAT}", partial(self._extract, reading.id, artifact))
            rows = compared.get(folder.id, ())
            metrics = folder.metrics()
            baseline = _baseline_of(cell, baselines)
            content = digest(
                {
                    "format": FORMAT,
                    "study": self.store.study,
                    "metrics": [flat(metric) for metric in metrics],
                    "compared": [flat(row) for row in rows],
                    "baseline": None if baseline is None else [baseline.id, [flat(m) for m in baseline.metrics()]],
                    "examples": self.examples.most,
                }
            )
            yield Planned(folder.id, "run", content, partial(self._run, folder, cell, metrics, rows, baseline))

    def _baselines(self, folders: Sequence[CellFolder]) -> dict[tuple[Value, ...], list[Record]]:
        """The `direct` cells by model and questions: their settings, and their folder."""
        cells = [(folder, self.cell(folder)) for folder in folders]
        return grouped([settings(c) | {"folder": f} for f, c in cells if c.method == "direct"], names(ITEMS))

    def _run(
        self, folder: CellFolder, cell: Cell, metrics: list[Record], rows: Sequence[Record], baseline: CellFolder | None
    ) -> TrackedRun:
        scorers = list(dict.fromkeys(str(metric["scorer"]) for metric in metrics))
        summary = _figures(metrics) | _figures(rows)
        tables = {}
        for name in scorers:
            folder.scores(name)  # what is sent is what was written
        if scorers:
            scorer = "official" if "official" in scorers else scorers[0]
            tables["examples"], missing = self.examples.table(folder, cell, scorer, baseline)
            summary |= {"examples/scorer": scorer, "examples/n": len(tables["examples"].rows)}
            summary |= {"examples/pictures": missing} if missing else {}
        selected = next((str(row["selected"]) for row in rows if row.get("selected")), "")
        return TrackedRun(
            id=folder.id,
            name=cell.describe(),
            group=self.store.study,
            job_type="run",
            tags=cell_tags(cell, selected),
            config=cell_config(self.store.study, cell) | {"scorers": ", ".join(scorers)},
            summary=summary,
            tables=tables,
            used=tuple(filter(None, (self._artifact(reading.id) for reading in job_readings(cell)))),
            produced=(_results(folder, scorers),),
        )

    def _artifact(self, reading: str) -> Artifact | None:
        """A file of directions; None where the cache no longer has it."""
        path = directions_path(self.store.path.parent, reading)
        return Artifact(f"directions-{reading}", "directions", {path.name: File(path, fixed=True)}) if path.exists() else None

    def _extract(self, reading: str, artifact: Artifact) -> TrackedRun:
        (file,) = artifact.files.values()
        read = Summary.load(file.path)
        if Directions.has_states(file.path):
            Directions.check(file.path)  # which takes torch
        columns = ("layer", "norm", "mean_square", "trace", "activation_norm")
        values = (read.norm, read.mean_square, read.trace, read.activation_norm)
        rows = tuple((i, *(float(value[i]) for value in values)) for i in range(len(read.norm)))
        settings = flat(read.provenance)
        names = [str(settings[name]) for name in ("model_id", "contrast_id") if name in settings]
        return TrackedRun(
            id=artifact.name,
            name=f"directions of {' for '.join(names) or reading}",
            group=self.store.study,
            job_type="extract",
            tags=tuple(name[:LONGEST_TAG] for name in names),
            config=settings
            | {
                "directions": reading,
                "study": self.store.study,
                "pairs": read.n,
                "layers": len(read.norm),
                "width": read.width,
            },
            tables={"layers": Table(columns, rows)},
            produced=(artifact,),
        )


def _results(folder: CellFolder, scorers: Sequence[str]) -> Artifact:
    files = {name: File(folder.path / name, fixed=True) for name in ("config.yaml", "responses.jsonl")}
    files["metrics.json"] = File(folder.path / "metrics.json")
    files |= {f"scores/{name}.jsonl": File(folder.path / "scores" / f"{name}.jsonl") for name in scorers}
    there = {name: file for name, file in files.items() if file.path.exists()}
    return Artifact(f"results-{folder.id}", "results", there, {"scorers": ", ".join(scorers)})


def _figures(rows: Sequence[Record]) -> dict[str, Scalar]:
    """official/accuracy, official/accuracy/n, official/accuracy/low, …: the value under the score's name, the rest below it."""
    found: dict[str, Scalar] = {}
    for row in rows:
        name = f"{row['scorer']}/{row['metric']}"
        for word, value in flat({k: v for k, v in row.items() if k not in ("scorer", "metric", "parts", "all_right")}).items():
            found[name if word == "value" else f"{name}/{word}"] = value
    return found


def _baseline_of(cell: Cell, baselines: Mapping[tuple[Value, ...], list[Record]]) -> CellFolder | None:
    """The cell that this one is compared with: `direct` on the same items, in the same prompt style where there are several."""
    if cell.method == "direct":
        return None
    row = settings(cell)
    found = own_baseline(baselines.get(key(row, names(ITEMS)), []), row)
    return None if found is None else found["folder"]
