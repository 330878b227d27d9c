"""Learned maps for cells: both models' states of the neutral texts, read once, and the maps, fitted once for all cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from weakref import ref

import torch

from l2v.config import Config
from l2v.disk import disk_errors
from l2v.errors import StudyError, UserError
from l2v.hub import bound_requests
from l2v.identity import digest
from l2v.steering.models import LoadedModel, load_model, release_memory
from l2v.study.cells import Job, ModelId
from l2v.study.digests import tell_once
from l2v.study.model_files import reader
from l2v.study.plan import MAP_SCHEMA, Fitting, NeutralReading, fitting, map_path, states_path
from l2v.study.questions import check_planned
from l2v.study.workers.bars import reading_bar
from l2v.study.workers.claims import claim
from l2v.study.workers.heartbeat import Heartbeat
from l2v.transfer import neutral
from l2v.transfer.contrast import Chat
from l2v.transfer.maps import StateMap, fit_best_layer

# How soon a worker looks again at what another one reads or fits.
POLL_SECONDS = 0.5

Failed = Callable[[str, Exception], None]


def neutral_chats(config: Config) -> list[Chat]:
    """The texts that a configuration draws. Raises UserError where there are too few."""
    chosen, names = config.neutral, vars(config.neutral.columns)
    revision = None if chosen.path else chosen.revision
    where = chosen.path or chosen.id
    bound_requests()
    return neutral.load_chats(where, revision, chosen.split, names, list(chosen.domains), chosen.texts, chosen.seed)


def ensure_maps(
    jobs: Sequence[Job], device: str, say: Any = print, worker: Heartbeat | None = None, failed: Failed | None = None
) -> list[Path]:
    """Read and fit what the jobs' learned maps need and the cache lacks; two workers never do the same.

    Returns the paths of all needed maps. `worker`, `failed`: as in `ensure_directions`, told the ids of maps.
    """
    needed = {found.id: (found, job) for job in jobs if (found := fitting(job.cell)) is not None}
    if not needed:
        return []
    config = jobs[0].config
    outputs = config.runtime.outputs
    lost: dict[str, Exception] = {}
    waiting: dict[Path, _Task] = {}
    shelf = _Models(device)
    missing = [(one, job) for one, job in needed.values() if not can_be_read(map_path(outputs, one.id), load_map)]
    readings = {r.id: (r, job) for one, job in missing for r in (one.source, one.target)}
    for reading, job in sorted(readings.values(), key=lambda found: str(found[0].model)):
        waiting[states_path(outputs, reading.id)] = _Task(partial(_read, reading, job, shelf, say))
    for one, job in missing:
        needs = tuple(states_path(outputs, r.id) for r in (one.source, one.target))
        waiting[map_path(outputs, one.id)] = _Task(partial(_fit, one, job, lost, say), needs)
    with ExitStack() as stack:
        own = Heartbeat(outputs, config.executor.heartbeat, config.executor.expire)
        worker = worker or stack.enter_context(own)
        if waiting:
            worker.tell(doing="fitting maps")
        while waiting := {path: task for path, task in waiting.items() if not _attend(path, task, worker, lost)}:
            if worker.asked_to_end:
                break
            time.sleep(POLL_SECONDS)
    shelf.release()
    for id_, error in lost.items():
        if isinstance(error, StudyError) or (failed is None and id_ in needed):
            raise error
        if failed is not None and id_ in needed:
            failed(id_, error)
    return [map_path(outputs, id_) for id_ in needed]


@dataclass(frozen=True)
class _Task:
    """Something to make, and the folders that it is made from."""

    make: Callable[[], None]
    needs: tuple[Path, ...] = ()


def _attend(path: Path, task: _Task, worker: Heartbeat, lost: dict[str, Exception]) -> bool:
    """Make what lies at `path` unless it is there or another one makes it; True when it is made or cannot be."""
    if _made(path):
        return True
    if any(not need.is_dir() and need.name not in lost for need in task.needs):
        return False
    if worker.asked_to_end or (held := claim(path.parent / "claims", path.stem, worker)) is None:
        return False
    try:
        # Another one may have made it between the look and the claim.
        if not _made(path):
            with disk_errors(path):
                task.make()
    except Exception as error:
        # One that was silent for too long finds its place taken, and its files gone.
        if not held.current():
            return False
        lost[path.stem] = error
    finally:
        held.release()
    return True


def _made(path: Path) -> bool:
    """Whether a folder of states, or a map, is there; a map is read to tell."""
    return can_be_read(path, load_map) if path.suffix else path.is_dir()


def can_be_read(path: Path, load: Callable[[Path], object]) -> bool:
    """Whether a file of the cache is there and whole; that one is damaged is told."""
    if not path.exists():
        return False
    try:
        load(path)
    except UserError as error:
        tell_once(f"{str(error).split(';')[0]}; it is computed again.")
        return False
    return True


class _Models:
    def __init__(self, device: str) -> None:
        self.device = device
        self.known: tuple[ModelId, str] | None = None
        self.loaded: LoadedModel | None = None

    def get(self, reading: NeutralReading, config: Config) -> LoadedModel:
        if self.known != (reading.model, reading.role) or self.loaded is None:
            self.release()
            self.loaded, self.known = load_model(*reader(config, reading.role), self.device), (reading.model, reading.role)
            path = (config.source if reading.role == "source" else config.target).path
            check_planned(reading.role, path, reading.model)
        return self.loaded

    def release(self) -> None:
        if self.loaded is not None:
            model, self.loaded = ref(self.loaded.model), None
            release_memory(model)


def _read(reading: NeutralReading, job: Job, shelf: _Models, say: Any) -> None:
    config, chats = job.config, neutral_chats(job.config)
    check_planned("neutral", config.neutral.path, reading.neutral)
    for what, so in neutral.oddities(chats, reading.neutral.name):
        tell_once(f"{what[:-1]}: {so}.")
    loaded, outputs = shelf.get(reading, config), config.runtime.outputs
    with reading_bar(config, f"reading neutral texts, {reading.model.name}", "text") as tick:
        neutral.read_states(
            loaded.model, loaded.tokenizer, loaded.layers, chats, config.neutral.places, states_path(outputs, reading.id),
            reading.settings(), config.runtime.batch_tokens, loaded.processor is not None, tick,
        )  # fmt: skip
    say(f"neutral texts read: {reading.model.name} x {reading.neutral.name} ({len(chats)} texts)")


def _fit(one: Fitting, job: Job, lost: dict[str, Exception], say: Any) -> None:
    outputs = job.config.runtime.outputs
    if error := next((lost[r.id] for r in (one.source, one.target) if r.id in lost), None):
        raise error
    folder = states_path(outputs, one.source.id)
    y = neutral.load_states(states_path(outputs, one.target.id), one.layer, one.target.settings())
    texts = torch.arange(len(y)) // one.target.neutral.places
    if one.shuffled:
        y = y[neutral.shuffled(texts, one.seed or 0)]
    load = partial(neutral.load_states, folder, provenance=one.source.settings())
    layers = [one.source_layer] if one.source_layer is not None else range(neutral.block_count(folder))
    fitted = fit_best_layer(one.map, load, layers, y, texts, one.seed or 0, one.settings())
    fitted.save(map_path(outputs, one.id))
    pairing = ", texts shuffled" if one.shuffled else ""
    say(
        f"map fitted: {one.map}{pairing}, {one.source.model.name} block {fitted.source_layer} -> {one.target.model.name} block "
        f"{one.layer}, R^2 {fitted.held_out:.3f} on texts left out, {fitted.seconds:.1f} s"
    )


def load_map(path: Path) -> StateMap:
    """A map of the cache. Raises UserError for a file that is missing, damaged, or of another map."""
    try:
        return _load(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); repeat the command, which computes it again.") from error


@lru_cache(maxsize=64)
def _load(path: Path, _written: int) -> StateMap:
    found = StateMap.load(path)
    if digest({"map": MAP_SCHEMA, **found.provenance}) != path.stem:
        raise UserError(f"{path} holds another map than its name says; delete it and it is computed again.")
    return found
