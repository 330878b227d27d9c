"""Learned maps for cells: both models' states of the neutral texts, read once, and the maps, fitted once for all cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from l2v.config import Config
from l2v.errors import UserError
from l2v.hub import bound_requests
from l2v.identity import digest
from l2v.study.cells import Job
from l2v.study.digests import tell_once
from l2v.study.plan import MAP_SCHEMA, Fitting, NeutralReading, fitting, map_path, states_path
from l2v.study.questions import check_planned
from l2v.study.workers.bars import reading_bar
from l2v.study.workers.heartbeat import Heartbeat
from l2v.study.workers.making import Failed, Readers, Task, can_be_read, held, make_missing
from l2v.transfer import neutral
from l2v.transfer.contrast import Chat
from l2v.transfer.maps import StateMap, fit_best_layer


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
    """Read and fit what the jobs' learned maps need and the cache lacks.

    Returns the paths of all needed maps. `worker`, `failed`: see `make_missing`; also told the ids of states of neutral texts.
    """
    needed = {found.id: (found, job) for job in jobs if (found := fitting(job.cell)) is not None}
    if not needed:
        return []
    config, readers = jobs[0].config, Readers(device)
    outputs = config.runtime.outputs
    paths = {id_: map_path(outputs, id_) for id_ in needed}
    missing = [found for id_, found in needed.items() if not can_be_read(paths[id_], load_map)]
    neutral_readings = {r.id: (r, job) for one, job in missing for r in (one.source, one.target)}
    tasks = []
    for reading, job in sorted(neutral_readings.values(), key=lambda found: str(found[0].model)):
        folder = states_path(outputs, reading.id)
        tasks.append(Task(folder, folder.is_dir, partial(_read, reading, job, readers, say)))
    for one, job in missing:
        made = partial(can_be_read, paths[one.id], load_map)
        needs = tuple(states_path(outputs, r.id) for r in (one.source, one.target))
        tasks.append(Task(paths[one.id], made, partial(_fit, one, job, say), needs))
    make_missing(tasks, config, readers, worker, failed, say, "fitting maps", "maps that another worker fits")
    return list(paths.values())


def _read(reading: NeutralReading, job: Job, readers: Readers, say: Any) -> None:
    config, chats = job.config, neutral_chats(job.config)
    check_planned("neutral", config.neutral.path, reading.neutral)
    for what, so in neutral.oddities(chats, reading.neutral.name):
        tell_once(f"{what[:-1]}: {so}.")
    loaded, outputs = readers.get(reading, config), config.runtime.outputs
    with reading_bar(config, f"reading neutral texts, {reading.model.name}", "text") as tick:
        neutral.read_states(
            loaded.model, loaded.tokenizer, loaded.layers, chats, config.neutral.places, states_path(outputs, reading.id),
            reading.settings(), config.runtime.batch_tokens, loaded.processor is not None, tick,
        )  # fmt: skip
    say(f"neutral texts read: {reading.model.name} x {reading.neutral.name} ({len(chats)} texts)")


def _fit(one: Fitting, job: Job, say: Any) -> None:
    outputs = job.config.runtime.outputs
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
    return held(path, _load)


def _load(path: Path) -> StateMap:
    found = StateMap.load(path)
    if digest({"map": MAP_SCHEMA, **found.provenance}) != path.stem:
        raise UserError(f"{path} holds another map than its name says; delete it and it is computed again.")
    return found
