"""Benchmarks are lm-eval tasks: found, loaded and read through lm-eval's own task manager."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from typing import Any, cast

from l2v.benchmarks.base import BenchmarkDocs, Item
from l2v.errors import UserError, unknown
from l2v.paths import PACKAGE

# Benchmark name -> lm-eval task name; the folder l2v/benchmarks/<name> holds the task's YAML and docs.py.
TASKS = {"mini": "l2v_mini"}


def docs_module(benchmark: str) -> BenchmarkDocs:
    """The benchmark's docs.py. Raises UserError for an unknown name."""
    if benchmark not in TASKS:
        raise unknown("benchmark", benchmark, TASKS)
    return cast(BenchmarkDocs, importlib.import_module(f"l2v.benchmarks.{benchmark}.docs"))


def load_task(benchmark: str, split: str, id: str, revision: str | None = None, path: str | None = None) -> Any:
    """The lm-eval task with one split of its data. Raises UserError when it is unknown or did not load."""
    docs_module(benchmark)
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    name = TASKS[benchmark]
    manager = TaskManager(
        include_path=str(PACKAGE / "benchmarks" / benchmark),
        include_defaults=False,
        # lm-eval hands a task's metadata to the function that loads its data.
        metadata={"split": split, "id": id, "revision": revision, "path": path},
    )
    if name not in manager.all_tasks:
        # lm-eval passes over a broken YAML with a debug message.
        raise UserError(f"The task file of benchmark '{benchmark}' did not load: lm-eval does not list '{name}'.")
    return manager.load([name])["tasks"][name]


def load_items(
    benchmark: str,
    split: str,
    prompt: str,
    id: str,
    revision: str | None = None,
    path: str | None = None,
    limit: int | None = None,
) -> list[Item]:
    """The items of one split in one prompt style, in the data's order; `limit` takes the first ones.

    Raises UserError for an unknown benchmark or prompt style, missing data, a corrupt image, or doubled ids.
    """
    docs = docs_module(benchmark)
    if prompt not in docs.STYLES:
        raise unknown("prompt style", prompt, docs.STYLES)
    try:
        task = load_task(benchmark, split, id, revision, path)
        items = list(_items(task, docs, prompt, limit))
    except KeyError as error:
        raise UserError(
            f"The data of benchmark '{benchmark}' ({path or id}, split '{split}') has no column {error}."
        ) from error
    if len({item.id for item in items}) < len(items):
        raise UserError(f"Benchmark '{benchmark}', split '{split}', holds an id twice; responses could not be told apart.")
    return items


def _items(task: Any, docs: BenchmarkDocs, prompt: str, limit: int | None) -> Iterator[Item]:
    rows = task.eval_docs
    for index in range(min(len(rows), limit) if limit else len(rows)):
        doc = rows[index]
        text = task.doc_to_text(doc, doc_to_text=lambda d: docs.prompt(d, prompt))
        yield Item(docs.item_id(doc), text, docs.gold(doc), doc, tuple(task.doc_to_image(doc) or ()))
