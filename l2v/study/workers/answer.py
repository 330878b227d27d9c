"""A unit's answers: the questions as its cells put them, the vectors they are steered with, and what is stored of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from l2v.benchmarks.base import Item
from l2v.errors import UserError
from l2v.generation import followed
from l2v.steering.engine.engine import Decoding, Engine, Request, Response, Steering, require_effect
from l2v.steering.engine.rows import steering_key
from l2v.steering.models import LoadedModel
from l2v.study.cells import Cell, Job
from l2v.study.questions import check_planned
from l2v.study.score import check_prompts, prompt_hashes
from l2v.study.store import CellFolder
from l2v.study.workers.directions import cell_vector, contrast_questions

# Finished rows are written to disk at least this often.
STORE_SECONDS = 1.0

# What was told of a checkpoint, which is loaded for every group of cells.
_told: set[str] = set()

Answered = tuple[Job, Request, Response]
# Takes rows that finished together, and the seconds they took.
Keep = Callable[[Sequence[Answered], float], None]


def answer(
    target: LoadedModel,
    jobs: Sequence[Job],
    folders: dict[str, CellFolder],
    items: Sequence[Item],
    mine: Callable[[Job, str], bool],
    keep: Keep,
    tell: Callable[[str], None],
) -> None:
    """Answer what the jobs' cells lack of the items that are `mine`, and hand rows to `keep` as they finish.

    What was finished is kept even when the rest fails. Raises UserError when stored responses answer other questions.
    """
    prompts, answered = prompt_hashes(items), dict[str, set[str]]()
    for job in jobs:
        stored = folders[job.cell.id].responses()
        check_prompts(folders[job.cell.id], stored, prompts)
        answered[job.cell.id] = {row["id"] for row in stored}
    requests = cell_requests(jobs[0], [item for item in items if any(mine(job, item.id) for job in jobs)])
    rows = [
        (job, request)
        for request in requests
        for job in jobs
        if mine(job, request.id) and request.id not in answered[job.cell.id]
    ]
    if not rows:
        return
    steerings = {job.cell.id: cell_steering(job, target.width) for job in jobs}
    _require_effect(target, requests[0], [s for s in steerings.values() if s is not None])
    most = jobs[0].config.runtime.batch_rows
    told = followed(target.model.generation_config.to_dict(), target.spec.where())
    if told and told not in _told:
        _told.add(told)
        tell(told)
    engine = Engine(target, cell_decoding(jobs[0].cell), max_rows=most, tell=tell)
    finished: list[Answered] = []
    begun = time.perf_counter()
    try:
        for index, response in engine.answer([(request, steerings[job.cell.id]) for job, request in rows]):
            finished.append((*rows[index], response))
            if len(finished) >= most or time.perf_counter() - begun >= STORE_SECONDS:
                ready, finished = finished, []
                keep(ready, time.perf_counter() - begun)
                begun = time.perf_counter()
    finally:
        if finished:
            keep(finished, time.perf_counter() - begun)


def _require_effect(target: LoadedModel, request: Request, steerings: Sequence[Steering]) -> None:
    """Every steering must move what a loaded model says; asked once of each, on a question without its demonstrations."""
    moved: set[object] = vars(target).setdefault("_moved", set())
    untried = {(bool(request.images), steering_key(steering)): steering for steering in steerings}
    untried = {key: steering for key, steering in untried.items() if key not in moved}
    require_effect(target, replace(request, history=()), list(untried.values()))
    moved.update(untried)


def cell_steering(job: Job, width: int) -> Steering | None:
    """What a cell injects into a target of this width; None where it steers nothing."""
    cell = job.cell
    if not cell.steered:
        return None
    assert cell.layer is not None and cell.alpha is not None and cell.positions is not None
    return Steering(cell_vector(cell, job.config.runtime.outputs, width), cell.layer, cell.alpha, cell.positions)


def cell_decoding(cell: Cell) -> Decoding:
    drawn = asdict(cell.sampling) if cell.sampling else {}
    return Decoding(cell.max_new_tokens, tuple(cell.stop), **drawn, min_new_tokens=cell.min_new_tokens or 0)


def cell_requests(job: Job, items: Sequence[Item]) -> list[Request]:
    """The questions as a cell puts them: with its demonstrations before and the beginning of the answer after them."""
    cell = job.cell
    history: tuple[tuple[str, str], ...] = ()
    if cell.shots:
        worked = [q for q in contrast_questions(job.config) if q.cot]
        check_planned("contrast", job.config.contrast.path, cell.contrast)
        if len(worked) < cell.shots:
            raise UserError(
                f"method.shots={cell.shots} is more than the {len(worked)} worked examples of this contrast; ask for at most "
                "so many, or choose another contrast."
            )
        history = tuple((q.text, str(q.cot)) for q in worked[: cell.shots])
    return [
        Request(item.id, item.text, item.images, prefix=cell.prefix or "", history=history + item.history) for item in items
    ]
