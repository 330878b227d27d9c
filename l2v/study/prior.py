"""What is known of a cell before it answers anything: figures from the states that the extraction kept.

They rank an arm's cells for a race (`protocol.prior`), those of null arms too. How far such a ranking agrees with the
accuracies of the full grid is measured in experiments/race.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from l2v.errors import UserError
from l2v.study.cells import Cell, Job
from l2v.study.compute import HERE
from l2v.study.model_files import model_facts
from l2v.study.plan import job_readings, norm_reading, readings
from l2v.study.race import Promise
from l2v.study.workers.devices import pick_device
from l2v.study.workers.directions import cell_vector, directions_path, ensure_directions, load_directions
from l2v.transfer.arms import ARMS
from l2v.transfer.directions import Directions
from l2v.transfer.spectrum import low_pass, resolve_cutoff


@dataclass(frozen=True)
class Signs:
    """Figures of one steered cell; None where what it takes was not kept.

    consistency: share of the pair differences' mean square that their mean holds, at the source's layer (0 to 1; 1: every pair
    says the same). separation: share of held-out pairs whose chain of thought lies further along the direction of the other
    pairs than its direct answer (0 to 1). agreement: cosine of the injected vector and the target's own direction at the
    injection's layer (-1 to 1). kept: share of the source direction's energy that k keeps (0 to 1).
    """

    consistency: float
    separation: float | None
    agreement: float | None
    kept: float | None

    @property
    def promise(self) -> float:
        """The agreement or, where the target's own direction was not read, the energy that pairs share and k keeps."""
        shared = self.consistency * (1.0 if self.kept is None else self.kept)
        return shared if self.agreement is None else self.agreement


def ranked(arms: Sequence[list[Job]], strict: bool) -> tuple[list[list[Job]], list[tuple[Promise, ...]]]:
    """Arms with the most promising cells first (their order decides between equals), and what is known of every cell.

    strict: of the distinct values of an arm the lower half does not race. The directions are read first, where they are not in
    the cache. Raises UserError where they cannot be.
    """
    _ensure([job for jobs in arms for job in jobs])
    known: dict[str, float | None] = {}
    found, promised = [], []
    for jobs in arms:
        values = [_value(job, known) for job in jobs]
        order, skipped = rank(values, strict)
        found.append([jobs[i] for i in order if i not in skipped])
        promised.append(tuple(Promise(jobs[i].cell.id, values[i], i in skipped) for i in order))
    return found, promised


def rank(values: Sequence[float | None], strict: bool) -> tuple[list[int], set[int]]:
    """The places of these values, the greatest first and None last, and those that are skipped; equal ones keep their order."""
    order = sorted(range(len(values)), key=lambda i: float("inf") if (value := values[i]) is None else -value)
    levels = sorted({value for value in values if value is not None}, reverse=True)
    kept = set(levels[: (len(levels) + 1) // 2]) if strict else set(levels)
    return order, {i for i in order if values[i] is not None and values[i] not in kept}


def _ensure(jobs: Sequence[Job]) -> None:
    """Read the directions that are missing, where that may be done by this process."""
    config = jobs[0].config
    if config.executor.name in HERE:
        # One that fails costs its own cells: they are told when they are to answer.
        ensure_directions(jobs, pick_device(config.runtime.device), partial(print, file=sys.stderr), failed=lambda *_: None)
        return
    if missing := [one for one in readings(jobs) if not directions_path(config.runtime.outputs, one).exists()]:
        raise UserError(
            f"protocol.prior={config.protocol.prior} needs the directions before any job is sent, and {len(missing)} of them "
            "are not in the cache; read them with `l2v extract` first, or leave it out."
        )


def _value(job: Job, known: dict[str, float | None]) -> float | None:
    """What is known of a cell, whatever its alpha; None where it injects nothing, or has no vector."""
    if not job.cell.steered:
        return None
    cell = replace(job.cell, alpha=1.0)
    if cell.id not in known:
        try:
            known[cell.id] = round(signs(cell, job.config.runtime.outputs, model_facts(job.config.target).width).promise, 6)
        except UserError:
            # Told when it is to answer.
            known[cell.id] = None
    return known[cell.id]


def signs(cell: Cell, outputs: str, width: int) -> Signs:
    """The figures of a steered cell. Raises UserError for directions that are not there, or a cell without a vector.

    A learned map is fitted when its cells are to answer: nothing is known of them, at a repeat neither.
    """
    if ARMS[cell.method].learned:
        raise UserError(f"{cell.describe()}: a learned map carries it, which is not there beforehand.")
    assert cell.source_layer is not None and cell.layer is not None
    path = directions_path(outputs, job_readings(cell)[0].id)
    source = load_directions(path)
    mean = source.mean[cell.source_layer]
    own = directions_path(outputs, norm_reading(cell).id)
    target = load_directions(own).mean[cell.layer] if own.exists() else None
    vector = cell_vector(cell, outputs, width)
    return Signs(
        consistency=float(mean.square().sum() / source.mean_square[cell.source_layer]),
        separation=_separation(Directions.load_states(path, cell.source_layer)) if Directions.has_states(path) else None,
        agreement=None if target is None else float(torch.cosine_similarity(vector, target, dim=0)),
        kept=None if cell.cutoff is None else _kept(mean, resolve_cutoff(cell.cutoff, mean, width)),
    )


def _kept(mean: Tensor, k: int) -> float:
    return float(low_pass(mean, k).square().sum() / mean.square().sum())


def _separation(states: Tensor) -> float:
    """Of (2n, d) states, chain of thought and direct answer in turn: one half of the pairs told apart by the other's mean."""
    differences = states[0::2] - states[1::2]
    halves = differences[0::2], differences[1::2]
    right = [(one @ other.mean(dim=0) > 0).float() for one, other in (halves, halves[::-1])]
    return float(torch.cat(right).mean())
