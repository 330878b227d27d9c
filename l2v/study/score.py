"""From stored responses to verdicts and metrics of one cell; needs the questions, never a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from l2v.benchmarks.base import Item
from l2v.benchmarks.harness import docs_module, load_items
from l2v.benchmarks.scoring import get_scorer
from l2v.errors import UserError
from l2v.study.cells import BenchmarkId, data_revision
from l2v.study.stats import wilson
from l2v.study.store import CellFolder


def score_cell(folder: CellFolder, items: Mapping[str, Item], benchmark: str, scorers: Sequence[str]) -> None:
    """Apply scorers to a finished cell's responses; writes scores/<scorer>.jsonl and metrics.json.

    A response that a scorer abstains on counts as not right in `value`; no_answer_share tells how often no answer was
    found.
    """
    responses = folder.responses()
    docs = docs_module(benchmark)
    for name in scorers:
        judge = get_scorer(name)
        verdicts = [{"id": r["id"], **asdict(judge(benchmark, items[r["id"]].doc, r["response"]))} for r in responses]
        n = len(verdicts)
        correct = sum(v["correct"] is True for v in verdicts)
        low, high = wilson(correct, n)
        metrics = {
            "metric": "accuracy",
            "scorer": name,
            "value": correct / n,
            "n": n,
            "low": low,
            "high": high,
            "tokens": sum(r["tokens"] for r in responses) / n,
            "steps_share": sum(docs.shows_steps(r["response"]) for r in responses) / n,
            "no_answer_share": sum(v["extraction"] is None for v in verdicts) / n,
            "truncated_share": sum(r["truncated"] for r in responses) / n,
            "seconds": sum(r["seconds"] for r in responses),
        }
        folder.write_scores(name, verdicts, [metrics])


def rescore(folders: Sequence[CellFolder], scorers: Sequence[str]) -> None:
    """Apply scorers to finished cells again, from their stored responses; no model is loaded."""
    for name in scorers:
        get_scorer(name)
    loaded: dict[str, dict[str, Item]] = {}
    for folder in folders:
        cell = folder.cell()
        path = folder.settings()["locations"].get("benchmark")
        key = f"{cell.benchmark}|{path}"
        if key not in loaded:
            loaded[key] = {item.id: item for item in benchmark_items(cell.benchmark, path)}
        missing = [r["id"] for r in folder.responses() if r["id"] not in loaded[key]]
        if missing:
            raise UserError(f"{folder.path} holds responses to items that the benchmark data lacks (first: {missing[0]}).")
        score_cell(folder, loaded[key], cell.benchmark.name, scorers)


def benchmark_items(benchmark: BenchmarkId, path: str | None) -> list[Item]:
    """The items of a cell's benchmark, from `path` or the hub.

    Raises UserError when the data at `path` is no longer what the cell was computed on: stored answers must not be held
    against other questions or golds.
    """
    revision = None if benchmark.revision.startswith("local:") else benchmark.revision
    if path is not None and data_revision(path, None, "benchmark.path") != benchmark.revision:
        raise UserError(
            f"The data of benchmark '{benchmark.name}' at {path} is not what the cell was computed on ({benchmark.revision}); "
            "restore it, or run the study again under another name."
        )
    return load_items(benchmark.name, benchmark.split, benchmark.prompt, benchmark.id, revision, path, benchmark.limit)
