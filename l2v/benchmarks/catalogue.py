"""Which benchmarks there are, packaged and from outside, and which rows of one are meant."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache

from l2v.benchmarks.base import Benchmark
from l2v.errors import unknown
from l2v.outside import Registry
from l2v.paths import PACKAGE

# Benchmark -> lm-eval task; the folder l2v/benchmarks/<name> holds the task's YAML and docs.py.
TASKS = {
    "mini": "l2v_mini",
    "sums": "l2v_sums",
    "mathvista": "mathvista",
    "mathverse": "mathverse",
    "mmstar": "mmstar",
    "mathvision": "mathvision",
    "dynamath": "dynamath",
}
# The benchmark that stands for any generate_until task of lm-eval, by benchmark.task.
ANY_TASK = "lm_eval"
# What other distributions add, by entry points.
OUTSIDE: Registry[Benchmark] = Registry("l2v.benchmarks", Benchmark, {})


@dataclass(frozen=True)
class DataRef:
    """Which rows: a benchmark, or (`name` "lm_eval") any lm-eval task, from the hub or from `path`.

    config_name: the hub's configuration of the data set. task, num_fewshot, include_path: for "lm_eval" only, as lm-eval
    means them; num_fewshot None leaves the task's own.
    """

    name: str
    split: str
    id: str
    revision: str | None = None
    path: str | None = None
    config_name: str | None = None
    task: str | None = None
    num_fewshot: int | None = None
    include_path: str | None = None


def benchmark_names() -> list[str]:
    return [*TASKS, *OUTSIDE, ANY_TASK]


def open_benchmark(name: str) -> Benchmark:
    """A benchmark by its name. Raises UserError for an unknown one, and for one from outside that does not load."""
    if name in TASKS:
        found: Benchmark = importlib.import_module(f"l2v.benchmarks.{name}.docs").BENCHMARK
        return found
    if name not in OUTSIDE:
        raise unknown("benchmark", name, benchmark_names())
    return OUTSIDE[name]


def benchmark_package(name: str) -> str | None:
    """The distribution and version that a benchmark comes from; None for the packaged ones."""
    return None if name in (*TASKS, ANY_TASK) else OUTSIDE.package(name)


@lru_cache(maxsize=1)
def task_folders() -> list[str]:
    """The folders of the packaged tasks, for lm-eval's `include_path`."""
    return [str(PACKAGE / "benchmarks" / name) for name in TASKS]
