"""What is known of a cell before it answers: figures from the states that the extraction kept, and how answers begin.

They rank an arm's cells for a race (`protocol.prior`), those of null arms too. How far such a ranking agrees with the
accuracies of the full grid is measured in experiments/race.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from l2v.errors import UserError
from l2v.study.cells import Cell, Job
from l2v.study.compute import HERE, run_jobs
from l2v.study.model_files import model_facts
from l2v.study.plan import directions_path, job_readings, norm_reading, readings
from l2v.study.race import Promise
from l2v.study.store import Store
from l2v.study.workers.devices import pick_device
from l2v.study.workers.directions import cell_vector, ensure_directions, load_directions
from l2v.study.workers.targets import Targets
from l2v.transfer.arms import ARMS
from l2v.transfer.spectrum import low_pass, resolve_cutoff

FEW = 4  # problems, the first of the race, whose answers are begun beforehand


@dataclass(frozen=True)
class Signs:
    """Figures of one steered cell; None where what it takes was not kept.

    consistency: share of the pair differences' mean square that their mean holds, at the source's layer (0 to 1; 1: every pair
    says the same). agreement: cosine of the injected vector and the target's own direction at the injection's layer (-1 to 1).
    kept: share of the source direction's energy that k keeps (0 to 1). begun: share of FEW problems whose answer begins with
    another token than without the write, and does not end there (0 to 1).
    """

    consistency: float
    agreement: float | None
    kept: float | None
    begun: float | None = None

    @property
    def promise(self) -> float:
        """The agreement or, where the target's own direction was not read, the energy that pairs share and k keeps; both
        count as far as the write changes how answers begin."""
        shared = self.consistency * (1.0 if self.kept is None else self.kept)
        known = shared if self.agreement is None else self.agreement
        return known if self.begun is None else known * self.begun


def ranked(arms: Sequence[list[Job]], strict: bool, targets: Targets) -> tuple[list[list[Job]], list[tuple[Promise, ...]]]:
    """Arms with the most promising cells first (their order decides between equals), and what is known of every cell.

    strict: of the distinct values of an arm the lower half does not race. The directions are read first, where they are not in
    the cache. Raises UserError where they cannot be.
    """
    everything = [job for jobs in arms for job in jobs]
    _ensure(everything)
    begun = beginnings(everything, targets)
    known: dict[str, Signs | None] = {}
    found, promised = [], []
    for jobs in arms:
        values = [_value(job, known, begun) for job in jobs]
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


def beginnings(jobs: Sequence[Job], targets: Targets) -> dict[str, float]:
    """`Signs.begun` of the cells that inject what is known beforehand; without those that could not be answered."""
    begun = {job.cell.id: _begun(job) for job in jobs if job.cell.steered and not ARMS[job.cell.method].learned}
    plain = {name: _plain(job) for name, job in begun.items()}
    if not begun:
        return {}
    failed = run_jobs([*begun.values(), *plain.values()], targets).failed
    config = jobs[0].config
    store = Store(config.runtime.outputs, config.study)
    said: dict[str, dict[str, str]] = {}
    for job in (*begun.values(), *plain.values()):
        if job.cell.id not in failed and job.cell.id not in said:
            said[job.cell.id] = {str(row["id"]): str(row["response"]) for row in store.folder(job.cell.id).responses()}
    pairs = {name: (said.get(job.cell.id), said.get(plain[name].cell.id)) for name, job in begun.items()}
    return {name: changed(ours, theirs) for name, (ours, theirs) in pairs.items() if ours and theirs}


def changed(ours: Mapping[str, str], theirs: Mapping[str, str]) -> float:
    """The share of items on which the first differs from the second and is not empty; 0 to 1."""
    return sum(said != theirs[item] and bool(said) for item, said in ours.items()) / len(ours)


def _begun(job: Job) -> Job:
    """A job that answers the first problems of the race with the first token on which its write can show."""
    tokens = 2 if job.cell.positions == "decode" else 1
    one = job.on(0, FEW)
    decoding = replace(one.config.decoding, max_new_tokens=tokens)
    return Job(replace(one.cell, max_new_tokens=tokens), replace(one.config, decoding=decoding))


def _plain(job: Job) -> Job:
    """The same questions without a write."""
    cell = job.cell
    asked = Cell("direct", cell.target, cell.benchmark, cell.max_new_tokens, cell.stop, cell.sampling, packages=cell.packages)
    return Job(asked, replace(job.config, method=replace(job.config.method, name="direct")))


def _value(job: Job, known: dict[str, Signs | None], begun: Mapping[str, float]) -> float | None:
    """What is known of a cell; None where it injects nothing, or has no vector. known: of its vector, whatever its alpha."""
    if not job.cell.steered:
        return None
    cell = replace(job.cell, alpha=1.0)
    if cell.id not in known:
        try:
            known[cell.id] = signs(cell, job.config.runtime.outputs, model_facts(job.config.target).width)
        except UserError:
            # Told when it is to answer.
            known[cell.id] = None
    own = known[cell.id]
    return None if own is None else round(replace(own, begun=begun.get(job.cell.id)).promise, 6)


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
        agreement=None if target is None else float(torch.cosine_similarity(vector, target, dim=0)),
        kept=None if cell.cutoff is None else _kept(mean, resolve_cutoff(cell.cutoff, mean, width)),
    )


def _kept(mean: Tensor, k: int) -> float:
    return float(low_pass(mean, k).square().sum() / mean.square().sum())
