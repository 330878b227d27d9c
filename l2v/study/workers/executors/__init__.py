"""Executors: which processes, on which machines, carry out a run. All of them do the same work on the same folder.

A worker is a `l2v.study.workers.worker.Worker`; workers agree by claims alone, so an executor only starts processes, looks
after them, and says when the run is over.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from l2v.config import ExecutorConfig, RuntimeConfig
from l2v.errors import UserError, unknown

if TYPE_CHECKING:
    from l2v.study.workers.run import Run
    from l2v.study.workers.workload import Workload

# Each module has `run(work, run) -> reasons of cells that nobody finished`; a missing package is named with its extra.
EXECUTORS = {"local": "local", "processes": "processes", "slurm": "slurm", "ray": "ray_cluster"}
NEEDS = {"slurm": "submitit", "ray": "ray"}


class Submitted(Exception):  # noqa: N818
    """The run was handed to a cluster and goes on without this process; the message says how to come back."""


def check_executor(config: ExecutorConfig) -> None:
    """Raise UserError for an executor that cannot work, before anything is computed."""
    if config.name not in EXECUTORS:
        raise unknown("executor", config.name, EXECUTORS)
    package = NEEDS.get(config.name)
    if package is not None and find_spec(package) is None:
        raise UserError(f"executor={config.name} needs {package}, which is not installed: pip install 'l2v[{config.name}]'.")
    if config.name == "slurm" and config.workers is None:
        raise UserError("executor=slurm needs executor.workers: how many jobs are sent.")
    if config.heartbeat >= config.expire:
        raise UserError(
            f"executor.heartbeat={config.heartbeat} must be above 0 and below executor.expire={config.expire} seconds."
        )


def worker_count(config: ExecutorConfig, runtime: RuntimeConfig) -> int:
    """How many workers a run gets: as asked; else one per GPU, or per two cores of a machine without any."""
    if config.name == "local":
        return 1
    if config.workers is not None:
        return config.workers
    if config.name == "ray":
        return int(_module("ray").cluster_workers(config))
    from l2v.study.workers.devices import gpus

    if runtime.device not in ("auto", "cpu", "cuda"):
        # One device that was named.
        return 1
    return len(gpus(runtime.device)) or max(1, (os.cpu_count() or 1) // 2)


def execute(work: Workload, run: Run) -> dict[str, str]:
    """Carry out a run; returns the cells that were not finished, with the reason.

    Raises UserError for what ends the whole command, and Submitted when the run goes on elsewhere.
    """
    if run.executor != "local":
        from l2v.study.workers.executors.fetch import fetch_models
        from l2v.study.workers.run import set_aside

        pending = [job for job in work.jobs if not work.store.folder(job.cell.id).done]
        lost = fetch_models(pending, partial(print, file=sys.stderr))
        if len(lost) == len(pending):
            raise lost[0][1]
        set_aside(run, lost)
        work.drop({job.cell.id for job, _ in lost})
    function: Callable[[Any, Any], dict[str, str]] = _module(run.executor).run
    return function(work, run)


def preview(config: ExecutorConfig, run_path: str) -> str | None:
    """What a dry run shows of an executor: the batch file that Slurm would be given; None for the others."""
    return str(_module("slurm").sbatch(config, run_path)) if config.name == "slurm" else None


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{EXECUTORS[name]}")
