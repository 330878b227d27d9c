"""Benchmarks are lm-eval tasks: found, loaded and read through lm-eval's own task manager."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from l2v.benchmarks.base import Benchmark, Item
from l2v.benchmarks.catalogue import ANY_TASK, TASKS, DataRef, open_benchmark
from l2v.benchmarks.data import LazyImages, image_sizes, rows_fingerprint
from l2v.benchmarks.prompts import prompt as styled_prompt
from l2v.benchmarks.prompts import styles
from l2v.benchmarks.rows import check_row
from l2v.errors import UserError, unknown
from l2v.paths import PACKAGE


def open_docs(ref: DataRef) -> Benchmark:
    """What scorers need to know of a benchmark. Raises UserError for an unknown one or a task that did not load."""
    if ref.name == ANY_TASK:
        from l2v.benchmarks.lm_tasks import open_task

        return open_task(ref)
    return open_benchmark(ref.name)


def load_task(ref: DataRef) -> Any:
    """The lm-eval task of a benchmark with one split of its data. Raises UserError when it did not load."""
    docs = open_benchmark(ref.name)
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # lm-eval hands a task's metadata to the function that loads its data.
    metadata = {"split": ref.split, "id": ref.id, "revision": ref.revision, "path": ref.path, "name": ref.config_name}
    if ref.name not in TASKS:
        return TaskManager(include_defaults=False, metadata=metadata).load([_outside_task(ref.name, docs)])["tasks"][ref.name]
    name = TASKS[ref.name]
    folder = str(PACKAGE / "benchmarks" / ref.name)
    manager = TaskManager(include_path=folder, include_defaults=False, metadata=metadata)
    if name not in manager.all_tasks:
        # lm-eval passes over a broken YAML with a debug message.
        raise UserError(f"The task file of benchmark '{ref.name}' did not load: lm-eval does not list '{name}'.")
    return manager.load([name])["tasks"][name]


def _outside_task(name: str, docs: Benchmark) -> dict[str, Any]:
    """What a packaged benchmark's YAML says, for one of another distribution."""
    return {
        "task": name,
        "custom_dataset": docs.load,
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": docs.doc_to_text,
        "doc_to_image": docs.doc_to_image,
        "doc_to_target": docs.gold,
        "process_results": docs.process_results,
        "metric_list": [{"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}],
    }


def check_prompt(docs: Benchmark, prompt: str) -> None:
    """Raise UserError for a prompt style that a benchmark does not have."""
    if prompt not in styles(docs):
        raise unknown("prompt style", prompt, styles(docs))


def load_items(ref: DataRef, prompt: str, limit: int | None = None) -> list[Item]:
    """The items of one split in one prompt style, in the data's order; `limit` takes the first ones (of each subtask).

    Raises UserError for an unknown benchmark or prompt style, missing data, a corrupt image, or doubled ids.
    """
    if ref.name == ANY_TASK:
        from l2v.benchmarks.lm_tasks import open_task

        return open_task(ref).items(limit, prompt)
    docs = open_benchmark(ref.name)
    check_prompt(docs, prompt)
    try:
        sizes = _known_sizes(ref, rows_fingerprint(ref.path) if ref.path and Path(ref.path).exists() else "")
        items = list(_items(load_task(ref), f"benchmark '{ref.name}'", docs, prompt, limit, sizes))
    except KeyError as error:
        raise UserError(
            f"The data of benchmark '{ref.name}' ({ref.path or ref.id}, split '{ref.split}') has no column {error}; mend "
            "the data."
        ) from error
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise UserError(
                f"Benchmark '{ref.name}', split '{ref.split}', holds the id '{item.id}' twice, and responses could not be told "
                "apart; mend the data."
            )
        seen.add(item.id)
    return items


def _items(
    task: Any, where: str, docs: Benchmark, prompt: str, limit: int | None, sizes: dict[int, list[tuple[int, int]]]
) -> Iterator[Item]:
    rows = task.eval_docs
    for index in range(min(len(rows), limit) if limit else len(rows)):
        doc = rows[index]
        check_row(docs, doc, where)
        text = task.doc_to_text(doc, doc_to_text=lambda d: styled_prompt(docs, d, prompt))
        load = partial(_images, task, doc)
        if index not in sizes:
            # Every image's header is read once here, so that a missing or broken one is told before anything is computed.
            sizes[index] = image_sizes(load)
        yield Item(docs.item_id(doc), text, docs.gold(doc), doc, LazyImages(sizes[index], load), docs.history(prompt))


@lru_cache(maxsize=16)
def _known_sizes(_rows: DataRef, _content: str) -> dict[int, list[tuple[int, int]]]:
    """Sizes of the images of some rows, by their place; filled by who reads them first, for every prompt and part."""
    return {}


def _images(task: Any, doc: dict[str, Any]) -> list[Image.Image]:
    return task.doc_to_image(doc) or []
