"""Is everything there? What can be told of a study's folder without a model, and what `l2v doctor study=…` does about it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from l2v.benchmarks.data import rows_fingerprint
from l2v.data_sets import check_blob
from l2v.disk import write_atomically
from l2v.errors import UserError, counted
from l2v.hub import cached_folder
from l2v.identity import fingerprint
from l2v.study.cell_folder import CellFolder
from l2v.study.cells import Cell
from l2v.study.digests import DIGEST, analyses, check_analysis, read_sealed, sealed
from l2v.study.marks import Marks
from l2v.study.plan import Fitting, NeutralReading, directions_path, fitting, job_readings, map_path, states_path
from l2v.study.score import items_key
from l2v.study.store import Store
from l2v.study.workers.run import read_run


@dataclass
class Checkup:
    """What was looked at, what is wrong (a sentence each, with what to do), and what holds no digests."""

    cells: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)
    old_cells: list[CellFolder] = field(default_factory=list)
    old_items: list[str] = field(default_factory=list)
    directions: set[Path] = field(default_factory=set)
    maps: dict[str, Fitting] = field(default_factory=dict)
    # Local checkpoints and data: what they are to a cell, where, and with which content; with the number of cells.
    places: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    old_directions: list[Path] = field(default_factory=list)
    # The folders of sources and targets that are here, in the hub's cache too.
    models: set[Path] = field(default_factory=set)

    def tell(self, problem: str) -> None:
        """Note what is wrong, once."""
        if problem not in self.problems:
            self.problems.append(problem)


def whole_study(store: Store) -> list[CellFolder]:
    """The finished cells of a study, by id, for whoever tells figures.

    Raises UserError for a cell that was finished and is not whole any more, or that is gone.
    """
    folders = store.whole()
    for reason in lost_cells(store, {folder.id for folder in folders}):
        raise UserError(reason)
    return folders


def lost_cells(store: Store, finished: set[str]) -> Iterator[str]:
    """A sentence per cell that its run had finished and that is neither finished nor set aside now."""
    for path in sorted(store.path.glob("runs/*/run.json")):
        try:
            run = read_run(path.parent)
        except UserError:
            # `l2v status` tells of it; nothing that was measured depends on it.
            continue
        for cell in run.cells if run.over() else ():
            if cell not in finished and run.failed_here(store.folder(cell)) is None:
                yield (
                    f"{store.path / 'cells' / cell}/DONE is missing though {run.path} computed every cell; repeat the command "
                    "of `l2v run`, which makes the cell whole again."
                )


def check_study(store: Store) -> Checkup:
    """Read every file of a study and of the directions that its cells were made from, and check it."""
    found, marks = Checkup(), Marks(store)
    keys: set[str] = set()
    for folder in store.finished():
        try:
            cell = folder.cell()
            found.rows += len(folder.responses())
            for row in folder.metrics():
                folder.scores(row["scorer"])
                if "problems" in row:
                    # With the items that it is about, all of which the study describes.
                    marks.score(row | {"cell": folder.id})
            if folder.mark() is None:
                found.old_cells.append(folder)
            keys.add(items_key(cell.benchmark))
            found.directions |= {directions_path(store.path.parent, reading.id) for reading in job_readings(cell)}
            found.places.update(_places(cell, folder))
            found.models.update(_models(cell, folder))
            found.maps |= {one.id: one for one in (fitting(cell),) if one is not None}
            found.cells += 1
        except UserError as error:
            found.tell(str(error))
    for path in sorted((store.path / "cells").glob("*")):
        if not (path / "DONE").exists() and (damaged := CellFolder(path).damaged_rows()):
            found.problems.append(f"{path} holds {damaged} damaged rows; repeat `l2v run`, which computes them again.")
    _check_files(store, keys, found)
    _check_places(found)
    _check_models(found)
    found.problems += lost_cells(store, {folder.id for folder in store.finished()})
    return found


def _places(cell: Cell, folder: CellFolder) -> Iterator[tuple[str, str, str]]:
    where = folder.locations()
    # A cell that reads its own target names it as its source; what lies at the source's place is another model.
    own = cell.source == cell.target
    for role in ("target", "contrast", "benchmark") if own else ("source", "target", "contrast", "benchmark"):
        revision = getattr(getattr(cell, role), "revision", "")
        if where.get(role) and revision.startswith("local:"):
            yield role, str(where[role]), revision


def _models(cell: Cell, folder: CellFolder) -> Iterator[Path]:
    where = folder.locations()
    for role in ("target",) if cell.source in (None, cell.target) else ("source", "target"):
        if where.get(role):
            yield Path(str(where[role]))
        elif (here := cached_folder(getattr(cell, role).id, getattr(cell, role).revision)) is not None:
            yield here


def _check_models(found: Checkup) -> None:
    """Checkpoints that came from the hub, file by file against its digests, where these are known."""
    for file in (file for folder in sorted(found.models) for file in sorted(folder.glob("*")) if file.is_file()):
        try:
            check_blob(file)
        except (UserError, OSError) as error:
            found.tell(str(error))


def _check_places(found: Checkup) -> None:
    """Local checkpoints and data that are still there, converted and fine-tuned ones too, against what the cells name."""
    for (role, path, revision), cells in found.places.items():
        try:
            now = rows_fingerprint(path) if role == "benchmark" else fingerprint(path)
        except FileNotFoundError:
            continue  # a study may be read where its models are not
        except OSError as error:
            now = f"cannot be read: {error.strerror}"
        # A version before counted no pictures that a file names.
        if now != revision and (role != "benchmark" or fingerprint(path) != revision):
            found.tell(
                f"{path} is no more the {role} that {counted(cells, 'cell')} {'was' if cells == 1 else 'were'} computed with "
                f"({revision}, now {now}); their figures stand: restore it before you repeat `l2v run`, or run the study again "
                "under another name."
            )


def _check_files(store: Store, keys: set[str], found: Checkup) -> None:
    """The study's own small files, its items and analyses, and the directions, maps and states of neutral texts."""
    checks: list[Callable[[], object]] = [store.selection, *(partial(store.items, key) for key in sorted(keys))]
    checks += [partial(read_run, path.parent) for path in sorted(store.path.glob("runs/*/run.json"))]
    checks += [partial(_check_directions, path, found) for path in sorted(found.directions) if path.exists()]
    checks += [partial(_check_map, store.path.parent, one) for one in found.maps.values()]
    readings = {reading.id: reading for one in found.maps.values() for reading in (one.source, one.target)}
    checks += [partial(_check_neutral, store.path.parent, reading) for reading in readings.values()]
    told = analyses(store.path)
    checks += [store.check_tables, *(partial(check_analysis, path) for path in told)]
    # Which texts an analysis was made from is not told; all of them are few.
    checks += [partial(_check_texts, path) for path in sorted(store.path.parent.glob("cache/texts/*.jsonl")) if told]
    for check in checks:
        try:
            check()
        except UserError as error:
            found.tell(str(error))
    found.old_items = [key for key in sorted(keys) if store.items_path(key).is_file() and not store.items_sealed(key)]


def _check_map(outputs: Path, one: Fitting) -> None:
    from l2v.study.workers.maps import load_map

    if (path := map_path(outputs, one.id)).exists():
        load_map(path)


def _check_neutral(outputs: Path, reading: NeutralReading) -> None:
    from l2v.transfer.neutral import block_count, load_states

    if (folder := states_path(outputs, reading.id)).exists():
        for block in range(block_count(folder)):
            load_states(folder, block, reading.settings())


def _check_texts(path: Path) -> None:
    from l2v.study.workers.texts import check_texts

    check_texts(path)


def _check_directions(path: Path, found: Checkup) -> None:
    from l2v.study.workers.directions import load_directions
    from l2v.transfer.directions import Directions, has_digests

    load_directions(path)
    Directions.check(path)
    if not has_digests(path):
        found.old_directions.append(path)


def add_digests(store: Store, found: Checkup) -> int:
    """Add digests to what a version without them wrote and `check_study` found whole; returns to how many files."""
    files = 0
    for folder in found.old_cells:
        folder.seal()
    for key in found.old_items:
        store.write_items(key, store.items(key))
    for path in sorted(store.path.glob("runs/*/run.json")):
        content = read_sealed(path, "")
        if DIGEST not in content:
            write_atomically(path, json.dumps(sealed(content), indent=1))
            files += 1
    files += store.seal()
    for path in found.old_directions:
        from l2v.study.workers.directions import load_directions

        load_directions(path).with_states(path).save(path)
    return files + len(found.old_cells) + len(found.old_items) + len(found.old_directions)
