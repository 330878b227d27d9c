"""From jobs to finished cells: what is missing is computed by an executor, on this machine or on many."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from l2v.benchmarks.metrics import HEADLINE
from l2v.benchmarks.twins import twins
from l2v.errors import StudyError, UserError
from l2v.study.cells import Job, Refusal
from l2v.study.digests import tell_once
from l2v.study.plan import distinct
from l2v.study.score import rescore, scoring_of, unjudged
from l2v.study.store import Store
from l2v.study.workers.devices import pick_device
from l2v.study.workers.executors import execute, worker_count
from l2v.study.workers.run import mend_run, open_run, set_aside
from l2v.study.workers.targets import Targets
from l2v.study.workers.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

# Executors whose workers run on this machine, whose devices can be checked before anything is written.
HERE = ("local", "processes")
NAMED = 3  # cells of a failure that are named


def _no_rows() -> pd.DataFrame:
    """Half a second of imports, which nothing that is refused waits for."""
    import pandas as pd

    return pd.DataFrame()


@dataclass
class Outcome:
    """What came of a study: the headline value per cell id, the failed cells with the reason, the configurations that made no
    cell, and the table of all cells."""

    values: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    results: pd.DataFrame = field(default_factory=_no_rows)


def run_jobs(jobs: Sequence[Job], targets: Targets | None = None) -> Outcome:
    """Compute what is missing of these cells. Its results.csv is built by `l2v.study.results`.

    targets: what an earlier phase of this command left in memory is used again; whoever gives it closes it.

    Finished cells cost nothing and load no model. A cell that fails is set aside and named in the outcome. Raises UserError
    for what concerns all of them, and for what is wrong with the only one.
    """
    jobs = distinct(jobs)
    runtime = jobs[0].config.runtime
    store = Store(runtime.outputs, jobs[0].config.study).open()
    outcome = Outcome()
    reopen_damaged(store, jobs)
    pending = [job for job in jobs if not store.folder(job.cell.id).done]
    if pending:
        chosen = jobs[0].config.executor
        kept = targets or Targets()
        work = Workload(store, jobs, kept)
        # Questions that cannot be read are told before the device is looked at, which takes torch.
        lost = _unreadable(work)
        _tell_twins(work)
        if chosen.name in HERE:
            pick_device(runtime.device)
        run = open_run(store, jobs, work.counts(), chosen, worker_count(chosen, runtime))
        set_aside(run, lost)
        try:
            outcome.failed = execute(work, run) if work.groups else run.failed()
        finally:
            if targets is None:
                kept.dismiss()
    else:
        mend_run(store, jobs)
    scorers = jobs[0].config.scorer
    folders = [folder for job in jobs if (folder := store.folder(job.cell.id)).done]
    unscored = [f for f in folders if not set(scorers) <= f.scored()]
    if unscored:
        # Computed in an earlier run that asked for other scorers, or damaged since.
        rescore(unscored, scorers, scoring_of(jobs[0].config.judge, runtime.outputs, progress=False))
    for folder in folders:
        metrics = folder.metrics()
        if gaps := unjudged(folder, scorers, metrics):
            outcome.failed[folder.id] = f"{folder.cell().describe()}: {gaps}."
        for metric in metrics:
            if metric["scorer"] == scorers[0] and metric["metric"] == HEADLINE and metric["value"] is not None:
                outcome.values[folder.id] = metric["value"]
    return outcome


def reopen_damaged(store: Store, jobs: Sequence[Job]) -> None:
    """Take up again the finished cells that are not whole any more, and write a config.yaml anew that is gone."""
    for job in jobs:
        folder = store.folder(job.cell.id)
        if not folder.done:
            continue
        if reason := folder.damage():
            folder.reopen()
            print(f"Cell {folder.id} is taken up again: {reason.split('; ')[0]}.", file=sys.stderr)
        if not (folder.path / "config.yaml").exists():
            folder.begin(job.cell, job.locations())


def _unreadable(work: Workload) -> list[tuple[Job, UserError]]:
    """Take the cells out of a workload whose questions cannot be read. Raises UserError when no other is left to compute."""
    lost: list[tuple[Job, UserError]] = []
    for group in list(work.groups):
        error = unread(partial(work.items, group))
        if error is not None:
            lost += [(job, error) for job in group.jobs if not work.store.folder(job.cell.id).done]
            work.drop({job.cell.id for job in group.jobs})
    if lost and not work.jobs:
        raise lost[0][1]
    return lost


def _tell_twins(work: Workload) -> None:
    """Say once of every benchmark how many of its items ask the same as another one."""
    for benchmark, group in {group.benchmark: group for group in work.groups}.items():
        items = work.items(group)
        if found := twins(items):
            item, earlier = found[0]
            tell_once(
                f"Benchmark '{benchmark.name}', split '{benchmark.split}': {len(found)} of {len(items)} items ask the same as "
                f"another one (first: '{item.id}' as '{earlier.id}'); n, intervals and p take them for questions of their own."
            )


def unread(read: Callable[[], object]) -> UserError | None:
    """Why questions cannot be read; None where they can. Raises StudyError for what concerns more than them."""
    try:
        read()
    except StudyError:
        raise
    except UserError as error:
        return error
    return None


def failures(failed: Mapping[str, str]) -> list[str]:
    """A line per reason: how many cells it costs, the first of their names, and the reason with its mend."""
    by_reason: dict[str, list[str]] = {}
    for told in failed.values():
        name, _, reason = told.partition("]: ")
        by_reason.setdefault(reason, []).append(f"{name}]")
    lines = []
    for reason, names in by_reason.items():
        shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        lines.append(f"FAILED {len(names)} cell{'s' if len(names) > 1 else ''} ({shown}): {reason}")
    return lines
