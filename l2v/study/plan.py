"""The plan: what is still to do, in groups that share a model and its questions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from l2v.identity import canonical_json, digest, settings_of
from l2v.study.cells import BenchmarkId, Cell, ContrastId, Job, ModelId, NeutralId
from l2v.transfer.arms import ARMS

# Raised when directions of an older version must not be used: how states are read changed.
EXTRACTION_SCHEMA = 1
# Raised when maps of an older version must not be used: how texts are read or maps are fitted changed.
MAP_SCHEMA = 1

# Items that are claimed at once by several workers, and the most blocks of a benchmark: each open block of a cell is a file.
BLOCK_ITEMS, MOST_BLOCKS = 128, 16
# Units per worker that leave the last ones to finish little to wait for.
UNITS_PER_WORKER = 8


@dataclass(frozen=True)
class Reading:
    """One extraction: the directions of all layers of `model` for `contrast`. `role`: which config it is loaded by."""

    model: ModelId
    contrast: ContrastId
    role: str  # "source" or "target"
    states: bool = False  # whether every pair's states are kept; no part of the identity

    @property
    def id(self) -> str:
        """The identity of its file in the cache."""
        return digest({"extraction": EXTRACTION_SCHEMA, **self.settings()})

    def settings(self) -> dict[str, Any]:
        """What the directions depend on; kept in the file as provenance. Names of YAML files are not part of it."""
        contrast = self.contrast.identity()
        del contrast["name"]
        return {"model": _anonymous(self.model), "contrast": contrast}


def directions_path(outputs: str | Path, reading_id: str) -> Path:
    """The file of a reading in the cache."""
    return Path(outputs) / "cache" / "directions" / f"{reading_id}.safetensors"


def map_path(outputs: str | Path, fitting_id: str) -> Path:
    """The file of a map in the cache."""
    return Path(outputs) / "cache" / "maps" / f"{fitting_id}.safetensors"


def states_path(outputs: str | Path, reading_id: str) -> Path:
    """The folder of a model's states of neutral texts in the cache."""
    return Path(outputs) / "cache" / "neutral" / reading_id


def _anonymous(model: ModelId) -> dict[str, Any]:
    """A model without the name of its YAML file. Texts are read without pictures: how a target sees those changes nothing."""
    values = replace(model, images=None).identity()
    del values["name"]
    return values


@dataclass(frozen=True)
class NeutralReading:
    """The states of one model for neutral texts."""

    model: ModelId
    neutral: NeutralId
    role: str  # "source" or "target"

    @property
    def id(self) -> str:
        """The identity of its folder in the cache."""
        return digest({"map": MAP_SCHEMA, **self.settings()})

    def settings(self) -> dict[str, Any]:
        """What the states depend on."""
        neutral = settings_of(self.neutral)
        del neutral["name"]
        # Who reads as a target reads as an image-text model, which may set the text otherwise.
        return {"model": _anonymous(self.model), "role": self.role, "neutral": neutral}


@dataclass(frozen=True)
class Fitting:
    """One learned map, from a block of the source (None: the one that reconstructs best) to a block of the target.

    seed: of its draws, of the shuffled pairing too; None where nothing is drawn.
    """

    map: str
    source: NeutralReading
    target: NeutralReading
    layer: int
    source_layer: int | None
    seed: int | None
    shuffled: bool

    @property
    def id(self) -> str:
        """The identity of its file in the cache."""
        return digest({"map": MAP_SCHEMA, **self.settings()})

    def settings(self) -> dict[str, Any]:
        """What the map depends on; kept in the file as provenance."""
        own = {name: getattr(self, name) for name in ("layer", "source_layer", "seed", "shuffled")}
        return {"name": self.map, "source": self.source.settings(), "target": self.target.settings(), **own}


def fitting(cell: Cell) -> Fitting | None:
    """The learned map that a cell's direction is carried by; None where there is none."""
    if not cell.steered or not ARMS[cell.method].learned:
        return None
    assert cell.source is not None and cell.neutral is not None and cell.layer is not None
    name = cell.map or ARMS[cell.method].learned
    shuffled = cell.method == "shuffled_map"
    # A random direction goes through the map that the arm itself goes through.
    seed = cell.seed if shuffled or cell.method == name else 0
    readings = NeutralReading(cell.source, cell.neutral, "source"), NeutralReading(cell.target, cell.neutral, "target")
    return Fitting(name, *readings, cell.layer, cell.source_layer, seed if shuffled or ARMS[name].seeded else None, shuffled)


@dataclass(frozen=True)
class Group:
    """Cells that are computed together: one loaded target, one set of prompts, one way of decoding."""

    target: ModelId
    benchmark: BenchmarkId
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Unit:
    """What a worker claims at once: cells of one group on some blocks of its items."""

    group: Group
    jobs: tuple[Job, ...]
    blocks: tuple[int, ...]


def distinct(jobs: Iterable[Job]) -> list[Job]:
    """The jobs with each cell once, in order."""
    return list({job.cell.id: job for job in jobs}.values())


def readings(jobs: Sequence[Job]) -> dict[str, tuple[Reading, Job]]:
    """The extractions that these jobs need, by id, with a job whose config can load the model."""
    needed: dict[str, tuple[Reading, Job]] = {}
    for job in jobs:
        for reading in job_readings(job.cell):
            if reading.id not in needed or (reading.states and not needed[reading.id][0].states):
                needed[reading.id] = (reading, job)
    return needed


def job_readings(cell: Cell) -> list[Reading]:
    """The directions a cell is made from: its source's, and its target's where alpha is in the target's norms."""
    if not cell.steered or cell.source is None or cell.contrast is None:
        return []
    arm = ARMS[cell.method]
    own = arm.reads == "target"
    found = [Reading(cell.source, cell.contrast, "target" if own else "source", arm.needs != "mean")]
    if arm.needs == "both":
        found.append(Reading(cell.target, cell.contrast, "target", states=True))
    elif cell.scale == "relative" and not own:
        found.append(norm_reading(cell))
    return found


def norm_reading(cell: Cell) -> Reading:
    """The reading of the target itself, for its activation norms."""
    assert cell.contrast is not None
    return Reading(cell.target, cell.contrast, "target")


def grouped(jobs: Sequence[Job]) -> list[Group]:
    """Groups by target first, so that each target is loaded once."""
    by_key: dict[str, list[Job]] = {}
    for job in distinct(jobs):
        cell = job.cell
        sampling = settings_of(cell.sampling) if cell.sampling else None
        # One decoding, one set of prompts and one set of weights at a time.
        weights = [settings_of(cell.weights), cell.source and settings_of(cell.source)] if cell.weights else None
        asking = [cell.max_new_tokens, cell.stop, sampling, cell.min_new_tokens, cell.prefix, cell.shots]
        key = canonical_json([settings_of(cell.target), settings_of(cell.benchmark), *asking, weights])
        by_key.setdefault(key, []).append(job)
    groups = [Group(members[0].cell.target, members[0].cell.benchmark, tuple(members)) for members in by_key.values()]
    order = {target: place for place, target in enumerate(dict.fromkeys(group.target for group in groups))}
    return sorted(groups, key=lambda group: order[group.target])


def blocks(items: int) -> list[range]:
    """The blocks that a benchmark's items are claimed by; the same for every worker of a study, whatever its settings."""
    count = max(1, min(MOST_BLOCKS, -(-items // BLOCK_ITEMS)))
    edges = [items * i // count for i in range(count + 1)]
    return [range(first, last) for first, last in itertools.pairwise(edges)]


def block_key(block: int) -> str:
    """The key of the claim on a block of a cell's items."""
    return f"b{block:02d}"


def units(groups: Sequence[Group], items: Sequence[int], cells_per_claim: int, workers: int = 1) -> list[Unit]:
    """The groups cut into what is claimed at once; `items`: how many each group has.

    One worker takes all items of up to `cells_per_claim` cells. Several take a block of items each, and fewer cells where
    there would be less than UNITS_PER_WORKER for each of them: cells that are computed together share the work on their
    prompts, so items are divided first. The units follow from all jobs of a group, whether finished or not: with one worker, a
    study that was interrupted computes the remaining rows in the same batches as one that was not.
    """
    per_group = [[tuple(range(len(blocks(n))))] if workers == 1 else [(b,) for b in range(len(blocks(n)))] for n in items]
    cells = cells_per_claim
    while workers > 1 and cells > 1 and _count(groups, per_group, cells) < UNITS_PER_WORKER * workers:
        cells = -(-cells // 2)
    return [
        Unit(group, group.jobs[first : first + cells], chosen)
        for group, chosens in zip(groups, per_group, strict=True)
        for first in range(0, len(group.jobs), cells)
        for chosen in chosens
    ]


def _count(groups: Sequence[Group], per_group: Sequence[Sequence[tuple[int, ...]]], cells: int) -> int:
    return sum(len(chosens) * -(-len(group.jobs) // cells) for group, chosens in zip(groups, per_group, strict=True))


def from_place(units: Sequence[Unit], place: float) -> list[Unit]:
    """The units in the order in which the worker at `place` (0 to 1, its share of the way) tries them.

    Each begins at another place of the plan and goes round, so that workers meet late and each keeps to few targets.
    """
    first = min(len(units) - 1, int(place * len(units))) if units else 0
    return [*units[first:], *units[:first]]


def shuffled(units: Iterable[Unit], loaded: ModelId | None) -> list[Unit]:
    """The units in a random order in which every second one is of the target that is in memory, as long as there are such.

    Not all of these first: they may be held for hours, while those of other targets wait.
    """
    mixed = list(units)
    random.Random().shuffle(mixed)  # tasks of lm-eval seed the one of all, and workers would walk alike
    own = [unit for unit in mixed if unit.group.target == loaded]
    others = [unit for unit in mixed if unit.group.target != loaded]
    return [unit for pair in itertools.zip_longest(own, others) for unit in pair if unit is not None]
