"""Directions for cells: read once, kept in the cache, found again by identity; and the vectors made from them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from l2v.config import Config
from l2v.disk import read_bytes, whole_lines, write_atomically
from l2v.errors import UserError, printable
from l2v.hub import bound_requests
from l2v.identity import digest
from l2v.steering.engine.engine import Decoding, Request, batched, generate_rows
from l2v.steering.models import LoadedModel
from l2v.study.cells import Cell, Job
from l2v.study.digests import has_check, open_line, sealed_line, tell_once
from l2v.study.plan import (
    EXTRACTION_SCHEMA,
    Reading,
    directions_path,
    fitting,
    job_readings,
    map_path,
    norm_reading,
    readings,
)
from l2v.study.questions import check_planned
from l2v.study.workers.bars import reading_bar
from l2v.study.workers.heartbeat import Heartbeat
from l2v.study.workers.making import Failed, Readers, Task, can_be_read, held, make_missing
from l2v.study.workers.maps import load_map
from l2v.transfer.arms import ARMS, build_vector
from l2v.transfer.contrast import (
    ANSWERED,
    Chat,
    ContrastQuestion,
    Pair,
    build_pairs,
    check_asked,
    load_questions,
    oddities,
    sample_questions,
)
from l2v.transfer.directions import Directions, has_digests
from l2v.transfer.extract import extract

# Responses of kind `generated` that are written to disk at once: a kill costs no more than these.
GENERATED_ROWS = 64


def partial_path(path: Path) -> Path:
    """The folder beside a reading's file that keeps its responses and states until it is whole."""
    return path.with_suffix(".partial")


def ensure_directions(
    jobs: Sequence[Job],
    device: str,
    say: Any = print,
    worker: Heartbeat | None = None,
    failed: Failed | None = None,
) -> list[Path]:
    """Read all directions that the jobs need and the cache lacks; each model is loaded once and dropped again.

    Returns the paths of all needed files. `worker`, `failed`: see `make_missing`.
    """
    needed = readings(jobs)
    if not needed:
        return []
    readers, by_model = Readers(device), dict[Any, list[Task]]()
    for reading, job in needed.values():
        path = directions_path(job.config.runtime.outputs, reading.id)
        task = Task(path, partial(_complete, path, reading), partial(_read, path, reading, job, readers, say))
        by_model.setdefault((reading.model, reading.role), []).append(task)
    tasks = [task for of_model in by_model.values() for task in of_model]
    doing, awaited = "reading directions", "directions that another worker reads"
    make_missing(tasks, jobs[0].config, readers, worker, failed, say, doing, awaited)
    return [directions_path(job.config.runtime.outputs, reading.id) for reading, job in needed.values()]


def _read(path: Path, reading: Reading, job: Job, readers: Readers, say: Any) -> None:
    questions = contrast_questions(job.config)
    check_planned("contrast", job.config.contrast.path, reading.contrast)
    for what, so in oddities(questions, reading.contrast.kind, reading.contrast.name):
        _tell_once(f"{what[:-1]}: {so}.")
    directions = read_directions(readers.get(reading, job.config), job.config, reading, questions, partial_path(path))
    directions.save(path)
    shutil.rmtree(partial_path(path), ignore_errors=True)
    say(f"directions read: {reading.model.name} x contrast {reading.contrast.name} ({directions.n} pairs)")


def _complete(path: Path, reading: Reading) -> bool:
    """Whether a reading's file is there, with the states where they are wanted."""
    return can_be_read(path, load_directions) and (not reading.states or Directions.has_states(path))


def read_directions(
    loaded: LoadedModel, config: Config, reading: Reading, questions: Sequence[ContrastQuestion], partial: Path | None = None
) -> Directions:
    """One extraction with an already loaded model; with `partial`, it goes on where an earlier one was interrupted."""
    pairs = contrast_pairs(loaded, config, questions, partial and partial / "responses.jsonl")
    with reading_bar(config, f"reading {reading.model.name}", "token") as tick:
        return extract(
            loaded.model,
            loaded.tokenizer,
            loaded.layers,
            pairs,
            reading.settings(),
            config.runtime.batch_tokens,
            progress=tick,
            partial=partial,
            tokenizer_bos=loaded.processor is not None,
            keep_states=reading.states,
            tell=_tell_once,
        )


@lru_cache(maxsize=64)
def _tell_once(text: str) -> None:
    """What is true of a model for every contrast that is read from it."""
    tqdm.write(printable(text), file=sys.stderr)


def contrast_questions(config: Config, tell: Callable[[str], None] = tell_once) -> list[ContrastQuestion]:
    """The sampled rows of a configuration's contrast data; checked before any model is loaded.

    For kinds that need both responses the draw is from the rows that have them; how many have not, `tell` is told.
    """
    chosen = config.contrast
    bound_requests()
    questions = load_questions(
        chosen.path or chosen.id, None if chosen.path else chosen.revision, chosen.split, asdict(chosen.columns)
    )
    if chosen.kind in ANSWERED:
        questions = answered(questions, chosen.name, tell) or questions
    sampled = sample_questions(questions, chosen.per_domain, list(chosen.domains), chosen.seed)
    check_asked(sampled, chosen.path or chosen.id)
    return sampled


def answered(
    questions: Sequence[ContrastQuestion], name: str, tell: Callable[[str], None] = tell_once
) -> list[ContrastQuestion]:
    """Those of a contrast's rows that have both responses; `tell` is told how many have not."""
    whole = [q for q in questions if q.cot and q.direct]
    if whole and (lacking := len(questions) - len(whole)):
        tell(f"{lacking} of {len(questions)} rows of contrast '{name}' lack one of the two responses and are left out.")
    return whole


def contrast_pairs(
    loaded: LoadedModel, config: Config, questions: Sequence[ContrastQuestion], kept: Path | None = None
) -> list[Pair]:
    """The contrast set of a configuration; for kind `generated` the model writes the responses itself.

    `kept`: a .jsonl file that responses are appended to, and found in again.
    """
    chosen = config.contrast

    def answer(chats: list[Chat]) -> list[str]:
        texts: list[str] = []
        # Those of another reading are none of this one's.
        own = kept.parent.name if kept else ""
        for line in whole_lines(read_bytes(kept)) if kept else []:
            record = (open_line(line, own) if has_check(line) else None) or {}
            # A reader that slept through the end of its claim may have written after its successor: numbers tell. What is
            # damaged is written again, and what came after it.
            if record.get("chat") == len(texts) < len(chats):
                texts.append(str(record["text"]))
        if kept and kept.exists():
            # Without the line that an interruption tore.
            write_atomically(kept, _lines(own, 0, texts))
        rows = [(Request(str(i), chat.user), None) for i, chat in enumerate(chats)]
        decoding = Decoding(chosen.max_new_tokens)
        with reading_bar(config, f"answers of {loaded.spec.id}", "answer") as tick:
            tick(len(texts), len(rows))
            for batch in batched(rows[len(texts) :], min(config.runtime.batch_rows, GENERATED_ROWS)):
                new = [response.text for response in generate_rows(loaded, batch, decoding)]
                if kept:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    with kept.open("a", encoding="utf-8") as file:
                        file.write(_lines(own, len(texts), new))
                texts += new
                tick(len(texts), len(rows))
        return texts

    return build_pairs(chosen.kind, questions, chosen.cot_instruction, chosen.direct_instruction, answer, chosen.shots)


def _lines(of: str, first: int, texts: Sequence[str]) -> str:
    return "".join(sealed_line({"id": str(chat), "chat": chat, "text": text}, of) for chat, text in enumerate(texts, first))


def load_directions(path: Path) -> Directions:
    """A reading's directions. Raises UserError for a file that is missing, damaged, or of another reading."""
    return held(path, _load)


def _load(path: Path) -> Directions:
    found = Directions.load(path)
    if digest({"extraction": EXTRACTION_SCHEMA, **found.provenance}) != path.stem:
        raise UserError(f"{path} holds another reading than its name says; delete it and it is computed again.")
    if not has_digests(path):
        tell_once(f"{path} was written without digests; `l2v doctor study=…` adds them.")
    return found


def cell_vector(cell: Cell, outputs: str, width: int) -> Tensor:
    """The vector that a steered cell injects at alpha = 1, shape (width,), float32 (Eq. 6, 7).

    scale "direction": the norm of the unfiltered source direction; "relative": the median activation norm of the target's
    layer. Raises UserError when no such vector exists.
    """
    assert cell.layer is not None
    paths = [directions_path(outputs, reading.id) for reading in job_readings(cell)]
    arm, source = ARMS[cell.method], load_directions(paths[0])
    learned = fitting(cell)
    carry = None if learned is None else load_map(map_path(outputs, learned.id))
    source_layer = cell.source_layer if carry is None else carry.source_layer
    assert source_layer is not None
    states = None if arm.needs == "mean" else Directions.load_states(paths[0], source_layer)
    targets = Directions.load_states(paths[1], cell.layer) if arm.needs == "both" else None
    vector = build_vector(cell.method, source.mean[source_layer], width, cell.cutoff, cell.seed or 0, states, targets, carry)
    if cell.scale == "relative":
        norms = load_directions(directions_path(outputs, norm_reading(cell).id)).activation_norm
        vector = vector / torch.linalg.vector_norm(vector) * norms[cell.layer]
    return vector
