"""The work of a run: its jobs, in groups that share a target and its questions, and the questions themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from l2v.benchmarks.base import Benchmark, Item
from l2v.benchmarks.harness import open_docs
from l2v.config import Config
from l2v.errors import UserError
from l2v.study.cells import Job
from l2v.study.model_files import kind_of_target
from l2v.study.plan import Group, grouped
from l2v.study.questions import data_ref
from l2v.study.score import benchmark_items, write_items
from l2v.study.store import Store
from l2v.study.workers.targets import Targets


@dataclass
class Workload:
    """A study's jobs with the questions they need; questions are read once, when the first of them is asked for.

    targets: what answers them here; who computes several workloads hands one to all.
    """

    store: Store
    jobs: list[Job]
    targets: Targets = field(default_factory=Targets)
    groups: list[Group] = field(init=False)
    _items: dict[str, list[Item]] = field(default_factory=dict)
    _docs: dict[str, Benchmark] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pending = {job.cell.id for job in self.jobs if not self.store.folder(job.cell.id).done}
        self.groups = [group for group in grouped(self.jobs) if any(job.cell.id in pending for job in group.jobs)]

    def drop(self, cells: set[str]) -> None:
        self.jobs = [job for job in self.jobs if job.cell.id not in cells]
        kept = [replace(g, jobs=tuple(job for job in g.jobs if job.cell.id not in cells)) for g in self.groups]
        self.groups = [group for group in kept if group.jobs]

    def items(self, group: Group) -> list[Item]:
        """The questions of a group, described in the study's folder. Raises UserError when they cannot be read."""
        key, config = repr(group.benchmark), group.jobs[0].config
        if key not in self._items:
            items = benchmark_items(group.benchmark, config.benchmark)
            self._docs[key] = open_docs(data_ref(config.benchmark))
            write_items(self.store, group.benchmark, self._docs[key], items)
            self._items[key] = items
        check_pictures(config, self._items[key])
        return self._items[key]

    def docs(self, group: Group) -> Benchmark:
        """What the benchmark of a group says of its questions."""
        self.items(group)
        return self._docs[repr(group.benchmark)]

    def counts(self) -> dict[str, int]:
        """The number of items of every cell that is still to be computed."""
        return {job.cell.id: len(self.items(group)) for group in self.groups for job in group.jobs}


def check_pictures(config: Config, items: Sequence[Item]) -> None:
    """Raise UserError for questions with pictures that are put to a text model."""
    seen = next((item.id for item in items if len(item.images)), None)
    if seen is not None and kind_of_target(config.target) == "text":
        raise UserError(
            f"Target '{config.target.name}' ({config.target.path or config.target.id}) is a text model and item '{seen}' of "
            f"benchmark '{config.benchmark.name}' has a picture; choose a vision target=…, or questions without pictures."
        )
