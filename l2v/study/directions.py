"""Directions for cells: read once, kept in the cache, found again by identity; and the vectors made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l2v.config import Config
from l2v.errors import UserError
from l2v.steering.engine import Decoding, Request, batched, generate_rows
from l2v.steering.models import LoadedModel, load_model, release_memory
from l2v.study.cells import Cell, Job, model_spec
from l2v.study.plan import Reading, job_readings, norm_reading, readings
from l2v.study.store import Lock, disk_errors
from l2v.transfer.arms import build_vector
from l2v.transfer.contrast import Chat, Pair, Question, build_pairs, load_questions, sample_questions
from l2v.transfer.extract import Directions, extract


def directions_path(outputs: str, reading_id: str) -> Path:
    """Where a reading is kept."""
    return Path(outputs) / "cache" / "directions" / f"{reading_id}.safetensors"


def ensure_directions(jobs: Sequence[Job], device: str, say: Any = print) -> list[Path]:
    """Read all directions that the jobs need and the cache lacks; each model is loaded once and dropped again.

    Two runners never read the same one: the second waits and finds it. Returns the paths of all needed files.
    """
    needed = readings(jobs)
    by_model: dict[Any, list[tuple[Reading, Job]]] = {}
    for reading, job in needed.values():
        by_model.setdefault((reading.model, reading.role), []).append((reading, job))
    for members in by_model.values():
        _read_missing(members, device, say)
    return [directions_path(job.config.runtime.outputs, reading.id) for reading, job in needed.values()]


def _read_missing(members: list[tuple[Reading, Job]], device: str, say: Any) -> None:
    loaded: LoadedModel | None = None
    for reading, job in members:
        path = directions_path(job.config.runtime.outputs, reading.id)
        if path.exists():
            continue
        lock = Lock(path.with_suffix(".lock"))
        lock.acquire(wait=True)
        try:
            if not path.exists():
                questions = contrast_questions(job.config)
                if loaded is None:
                    config = job.config.source if reading.role == "source" else job.config.target
                    loaded = load_model(model_spec(config), "text" if reading.role == "source" else "vision", device)
                directions = read_directions(loaded, job.config, reading, questions)
                with disk_errors(path):
                    directions.save(path)
                say(f"directions read: {reading.model.name} x contrast {reading.contrast.name} ({directions.n} pairs)")
        finally:
            lock.release()
    if loaded is not None:
        loaded = None
        release_memory()


def read_directions(loaded: LoadedModel, config: Config, reading: Reading, questions: Sequence[Question]) -> Directions:
    """One extraction with an already loaded model."""
    pairs = contrast_pairs(loaded, config, questions)
    return extract(loaded.model, loaded.tokenizer, loaded.layers, pairs, reading.settings(), config.runtime.batch_tokens)


def contrast_questions(config: Config) -> list[Question]:
    """The sampled rows of a configuration's contrast data; checked before any model is loaded."""
    chosen = config.contrast
    questions = load_questions(
        chosen.path or chosen.id, None if chosen.path else chosen.revision, chosen.split, asdict(chosen.columns)
    )
    return sample_questions(questions, chosen.per_domain, list(chosen.domains), chosen.seed)


def contrast_pairs(loaded: LoadedModel, config: Config, questions: Sequence[Question]) -> list[Pair]:
    """The contrast set of a configuration; for kind `generated` the model writes the responses itself."""
    chosen = config.contrast

    def answer(chats: list[Chat]) -> list[str]:
        rows = [(Request(str(i), chat.user), None) for i, chat in enumerate(chats)]
        decoding = Decoding(chosen.max_new_tokens)
        return [
            response.text
            for batch in batched(rows, config.runtime.batch_rows)
            for response in generate_rows(loaded, batch, decoding)
        ]

    return build_pairs(chosen.kind, questions, chosen.cot_instruction, chosen.direct_instruction, answer)


@lru_cache(maxsize=64)
def _load(path: Path) -> Directions:
    return Directions.load(path)


def cell_vector(cell: Cell, outputs: str, width: int) -> Tensor:
    """The vector that a steered cell injects at alpha = 1, shape (width,), float32 (Eq. 6, 7).

    scale "direction": the norm of the unfiltered source direction; "relative": the median activation norm of the target's
    layer. Raises UserError naming the cell when no such vector exists.
    """
    assert cell.layer is not None and cell.source_layer is not None
    source = _load(directions_path(outputs, job_readings(cell)[0].id))
    try:
        vector = build_vector(cell.method, source.mean[cell.source_layer], width, cell.cutoff, cell.seed or 0)
    except UserError as error:
        raise UserError(f"{cell.describe()}: {error}") from error
    if cell.scale == "relative":
        norms = _load(directions_path(outputs, norm_reading(cell).id)).activation_norm
        vector = vector / torch.linalg.vector_norm(vector) * norms[cell.layer]
    return vector
