"""The runner: claims cells, answers their missing rows, stores and scores them, and goes on when one fails."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from l2v.benchmarks.base import Item
from l2v.errors import UserError, unknown
from l2v.steering.engine import Decoding, Request, Row, Steering, generate_rows, require_effect
from l2v.steering.models import LoadedModel, load_model, release_memory
from l2v.study.cells import Cell, Job, ModelId, model_facts, model_spec
from l2v.study.directions import cell_vector, ensure_directions
from l2v.study.plan import Group, distinct, grouped
from l2v.study.score import benchmark_items, rescore, score_cell
from l2v.study.store import CellFolder, Record, Store, write_atomically

# How often a runner looks again at cells that another one holds.
POLL_SECONDS = 0.5


@dataclass
class Outcome:
    """What came of a study: the headline value per cell id, the failed cells with the reason, and the table of all cells."""

    values: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    results: pd.DataFrame = field(default_factory=pd.DataFrame)


def run_jobs(jobs: Sequence[Job]) -> Outcome:
    """Compute what is missing of these cells. Its results.csv is built by `l2v.study.results`.

    Finished cells cost nothing and load no model. Raises UserError for input that the user can mend; a cell that fails for
    another reason is set aside with its traceback in error.txt and named in the outcome.
    """
    jobs = distinct(jobs)
    runtime = jobs[0].config.runtime
    store = Store(runtime.outputs, jobs[0].config.study).open()
    outcome = Outcome()
    pending = [job for job in jobs if not store.folder(job.cell.id).done]
    if pending:
        _Runner(store, jobs, pending, outcome).run()
    scorers = jobs[0].config.scorer
    folders = [folder for job in jobs if (folder := store.folder(job.cell.id)).done]
    unscored = [f for f in folders if not set(scorers) <= {m["scorer"] for m in f.metrics()}]
    if unscored:
        # Computed in an earlier run that asked for other scorers.
        rescore(unscored, scorers)
    outcome.values = {f.id: m["value"] for f in folders for m in f.metrics() if m["scorer"] == scorers[0]}
    return outcome


def pick_device(setting: str) -> str:
    """The device for runtime.device. Raises UserError for one that is not there."""
    if setting == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = setting.partition(":")
    if kind not in ("cpu", "cuda", "mps"):
        raise unknown("runtime.device", setting, ("auto", "cpu", "cuda", "mps"))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("runtime.device=mps is not on this machine; `l2v doctor` lists what is.")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise UserError(f"runtime.device={setting} is not on this machine; `l2v doctor` lists what is.")
    return setting


class _Runner:
    """One pass over a study's pending cells."""

    def __init__(self, store: Store, jobs: Sequence[Job], pending: Sequence[Job], outcome: Outcome) -> None:
        self.store = store
        self.outcome = outcome
        self.config = jobs[0].config
        self.device = pick_device(self.config.runtime.device)
        self.runner = f"{os.uname().nodename}-{os.getpid()}"
        open_ids = {job.cell.id for job in pending}
        self.groups = [
            group
            for group in grouped(jobs, self.config.runtime.cells_per_claim)
            if any(job.cell.id in open_ids for chunk in group.chunks for job in chunk)
        ]
        self.items: dict[str, list[Item]] = {}
        self.target: tuple[ModelId, LoadedModel] | None = None
        self.bar: Any = None

    def run(self) -> None:
        """Read the questions, then the directions, then answer group by group with one target in memory."""
        rows = done = 0
        for group in self.groups:
            items = self._items(group)
            for job in (job for chunk in group.chunks for job in chunk):
                rows += len(items)
                done += len(self.store.folder(job.cell.id).responses())
        todo = [job for g in self.groups for c in g.chunks for job in c if not self.store.folder(job.cell.id).done]
        ensure_directions(todo, self.device, self._say if self.config.runtime.progress else lambda _: None)
        with tqdm(
            total=rows, initial=done, unit="row", desc=self._label(), disable=not self.config.runtime.progress,
            smoothing=0.1, dynamic_ncols=True, file=sys.stderr,
        ) as self.bar:  # fmt: skip
            waiting = list(self.groups)
            while waiting:
                waiting = [group for group in waiting if not self._run_group(group)]
                if waiting:
                    time.sleep(POLL_SECONDS)

    def _label(self) -> str:
        splits = {group.benchmark.split for group in self.groups}
        return f"{self.store.study} ({', '.join(sorted(splits))})"

    def _say(self, message: str) -> None:
        tqdm.write(message, file=sys.stderr)

    def _items(self, group: Group) -> list[Item]:
        key = repr(group.benchmark)
        if key not in self.items:
            self.items[key] = benchmark_items(group.benchmark, group.chunks[0][0].config.benchmark.path)
        return self.items[key]

    def _open(self, chunk: Sequence[Job]) -> list[Job]:
        """The jobs of a chunk that are neither done nor set aside as failed."""
        return [j for j in chunk if not self.store.folder(j.cell.id).done and j.cell.id not in self.outcome.failed]

    def _run_group(self, group: Group) -> bool:
        """Run the chunks of a group that can be claimed; True when nothing of it is left open."""
        if not any(self._open(chunk) for chunk in group.chunks):
            return True
        held_elsewhere = False
        for chunk in group.chunks:
            if not self._open(chunk):
                continue
            with ExitStack() as stack:
                folders = self._claim(self._open(chunk), stack)
                if folders is None:
                    held_elsewhere = True
                    continue
                chunk_jobs = [job for job in chunk if job.cell.id in folders and not folders[job.cell.id].done]
                if chunk_jobs:
                    self._run_chunk(self._target(chunk_jobs[0]), chunk_jobs, folders, self._items(group))
        return not held_elsewhere

    def _claim(self, jobs: Sequence[Job], stack: ExitStack) -> dict[str, CellFolder] | None:
        """Lock the folders of all jobs, or none of them when another runner holds one."""
        folders = {}
        with ExitStack() as attempt:
            for job in jobs:
                folder = self.store.folder(job.cell.id)
                if not folder.lock.acquire():
                    return None
                attempt.callback(folder.close)
                folders[job.cell.id] = folder
            stack.push(attempt.pop_all())
        return folders

    def _target(self, job: Job) -> LoadedModel:
        """The job's target; one is kept in memory at a time, and groups come sorted by it."""
        if self.target is None or self.target[0] != job.cell.target:
            self.target = None
            release_memory()
            self.target = (job.cell.target, self._load_target(job))
        return self.target[1]

    def _load_target(self, job: Job) -> LoadedModel:
        declared = model_facts(job.config.target)
        target = load_model(model_spec(job.config.target), "vision", self.device)
        if (len(target.layers), target.width) != (declared.layers, declared.width):
            raise UserError(
                f"target.layers and target.width of '{job.config.target.name}' say {declared.layers} x {declared.width}, the "
                f"checkpoint has {len(target.layers)} x {target.width}; mend its YAML."
            )
        return target

    def _run_chunk(
        self, target: LoadedModel, jobs: Sequence[Job], folders: dict[str, CellFolder], items: Sequence[Item]
    ) -> None:
        """Answer a chunk; when that fails, its cells one by one, so that one bad cell costs no other."""
        try:
            self._answer(target, jobs, folders, items)
        except UserError:
            raise
        except Exception as error:
            if len(jobs) == 1:
                self._set_aside(jobs[0].cell, folders[jobs[0].cell.id], error)
                return
            for job in jobs:
                self._run_chunk(target, [job], folders, items)

    def _set_aside(self, cell: Cell, folder: CellFolder, error: Exception) -> None:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        self.outcome.failed[cell.id] = f"{cell.describe()}: {reason}"
        write_atomically(folder.path / "error.txt", "".join(traceback.format_exception(error)))
        if sum(other.endswith(reason) for other in self.outcome.failed.values()) <= 3:
            self._say(f"FAILED {cell.id} {self.outcome.failed[cell.id]}")

    def _answer(self, target: LoadedModel, jobs: Sequence[Job], folders: dict[str, CellFolder], items: Sequence[Item]) -> None:
        requests = [Request(item.id, item.text, item.images) for item in items]
        steerings = {job.cell.id: self._steering(job, target) for job in jobs}
        answered: dict[str, set[str]] = {}
        for job in jobs:
            folder = folders[job.cell.id]
            folder.begin(job.cell, _locations(job))
            answered[job.cell.id] = _checked_ids(folder, items)
        require_effect(target, requests[0], [s for s in steerings.values() if s is not None])
        # Blocks of questions x cells: a question is prepared once for all its cells, and the blocks do not depend on what
        # is already stored.
        per_block = max(1, self.config.runtime.batch_rows // len(jobs))
        decoding = Decoding(jobs[0].cell.max_new_tokens, tuple(jobs[0].cell.stop))
        for start in range(0, len(requests), per_block):
            block = requests[start : start + per_block]
            rows = [(job, r) for job in jobs for r in block if r.id not in answered[job.cell.id]]
            for first in range(0, len(rows), self.config.runtime.batch_rows):
                batch = rows[first : first + self.config.runtime.batch_rows]
                self._answer_batch(target, batch, steerings, folders, decoding)
        for job in jobs:
            folder = folders[job.cell.id]
            score_cell(folder, {item.id: item for item in items}, job.cell.benchmark.name, list(job.config.scorer))
            folder.finish()

    def _steering(self, job: Job, target: LoadedModel) -> Steering | None:
        cell = job.cell
        if not cell.steered:
            return None
        assert cell.layer is not None and cell.alpha is not None and cell.positions is not None
        vector = cell_vector(cell, job.config.runtime.outputs, target.width)
        return Steering(vector, cell.layer, cell.alpha, cell.positions)

    def _answer_batch(
        self,
        target: LoadedModel,
        batch: Sequence[tuple[Job, Request]],
        steerings: dict[str, Steering | None],
        folders: dict[str, CellFolder],
        decoding: Decoding,
    ) -> None:
        started = time.perf_counter()
        rows: list[Row] = [(request, steerings[job.cell.id]) for job, request in batch]
        responses = generate_rows(target, rows, decoding)
        seconds = (time.perf_counter() - started) / len(batch)
        records: dict[str, list[Record]] = {}
        for (job, request), response in zip(batch, responses, strict=True):
            records.setdefault(job.cell.id, []).append(
                {
                    "id": request.id,
                    "response": response.text,
                    "tokens": response.tokens,
                    "truncated": response.truncated,
                    "seconds": round(seconds, 6),
                    "prompt": _prompt_hash(request.text),
                    "runner": self.runner,
                }
            )
        for cell_id, lines in records.items():
            folders[cell_id].append(lines)
        if self.bar is not None:
            self.bar.update(len(batch))


def _prompt_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _checked_ids(folder: CellFolder, items: Sequence[Item]) -> set[str]:
    """The ids already answered. Raises UserError when they answer other questions than today's."""
    prompts = {item.id: _prompt_hash(item.text) for item in items}
    stored = folder.responses()
    strange = [r["id"] for r in stored if prompts.get(r["id"]) != r["prompt"]]
    if strange:
        raise UserError(
            f"{folder.path} holds responses to other questions than the benchmark has now (first: {strange[0]}); the data "
            "changed under the same revision: pin benchmark.revision or choose another study=… name."
        )
    return {r["id"] for r in stored}


def _locations(job: Job) -> dict[str, str | None]:
    """Where this machine finds what the cell names; kept for later scoring, no part of its identity."""
    config = job.config
    return {
        "source": config.source.path,
        "target": config.target.path,
        "contrast": config.contrast.path,
        "benchmark": config.benchmark.path,
    }
