"""executor=ray: workers as tasks of a Ray cluster, one that runs already or one that is started on this machine.

A task that is lost with its node is started again elsewhere; what its worker had claimed goes to others in the meantime.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from l2v.config import ExecutorConfig
from l2v.errors import UserError
from l2v.study.workers.devices import gpus
from l2v.study.workers.executors.progress import Progress, progress_bar
from l2v.study.workers.run import Run, stops, write_jobs
from l2v.study.workers.workload import Workload

POLL_SECONDS = 1.0
# How often a worker that was lost with its node is started again.
RESTARTS = 3
ANSWER_SECONDS, GRACE_SECONDS = 10.0, 20.0
NO_CLUSTER = "No Ray cluster answered at executor.address={} ({}); start one with `ray start --head`, or leave the address out."
NO_RAY = "Ray could not be started on this machine ({}); repeat the command when it is less busy, or take executor=processes."


def run(work: Workload, run: Run) -> dict[str, str]:
    """Start one task per worker and wait until the run is over. See `execute`."""
    config = work.jobs[0].config.executor
    write_jobs(run, work.jobs)
    with _cluster(config, run.workers) as ray, progress_bar(work, run) as bar:
        task = ray.remote(_work).options(
            num_cpus=config.cpus, num_gpus=_gpus(ray, config), max_retries=RESTARTS, retry_exceptions=False,
            scheduling_strategy="SPREAD", name="l2v",
        )  # fmt: skip
        path, here = str(run.path.absolute()), os.getcwd()
        waiting = [task.remote(path, index, run.attempt, here) for index in range(run.workers)]
        progress, lost = Progress(work, run, bar), ""
        while not progress.over() and waiting:
            ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_SECONDS)
            for one in ready:
                try:
                    ray.get(one)
                except ray.exceptions.RayError as error:
                    lost = " ".join(str(error).split())[:200]
            if stopped := stops(run):
                raise UserError(stopped[0])
        # Workers leave by themselves when they see that all is done.
        _, late = ray.wait(waiting, num_returns=len(waiting), timeout=GRACE_SECONDS) if waiting else ([], [])
        for one in late:
            ray.cancel(one, force=True)
        return progress.unfinished(f"its Ray tasks ended{f': {lost}' if lost else ''}")


def _work(path: str, index: int, attempt: str, here: str) -> int:
    """What runs on a node: it finds relative paths where the driver does."""
    from l2v.study.workers.process import work_on

    os.chdir(here)
    try:
        return work_on(Path(path), index, attempt)
    except UserError:
        return 2


@contextmanager
def _cluster(config: ExecutorConfig, workers: int) -> Iterator[Any]:
    """A connection to the cluster, closed at the end. Raises UserError when there is none, or none with such nodes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # An accelerator is handed out by Ray; without one Ray must not hide those of the machine.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = import_module("ray")
    _check_answer(config.address)
    own = {} if config.address else {"num_cpus": workers * config.cpus}
    try:
        # "local" starts one even beside another that runs on this machine.
        ray.init(address=config.address or "local", include_dashboard=False, log_to_driver=False, logging_level="error", **own)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        told = NO_CLUSTER.format(config.address, reason) if config.address else NO_RAY.format(reason)
        raise UserError(told) from error
    try:
        offered = ray.cluster_resources()
        for name, asked in (("CPU", config.cpus), ("GPU", _gpus(ray, config))):
            if asked > offered.get(name, 0):
                raise UserError(
                    f"A worker asks for {asked} {name}, the Ray cluster offers {offered.get(name, 0):g} in all; lower "
                    f"executor.{name.lower()}s."
                )
        yield ray
    finally:
        ray.shutdown()


def _check_answer(address: str | None) -> None:
    """Raise UserError when nothing listens at host:port, for which Ray itself would look for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if not (colon and port.isdigit()) or "://" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(NO_CLUSTER.format(address, error)) from error


def _gpus(ray: Any, config: ExecutorConfig) -> int:
    """GPUs per worker; none where a cluster of one's own machine has none."""
    return config.gpus if config.address or ray.cluster_resources().get("GPU") else 0


def cluster_workers(config: ExecutorConfig) -> int:
    """How many workers the cluster, or this machine, has room for."""
    cores = os.cpu_count() or 1
    if config.address is None:
        return len(gpus("auto")) // max(1, config.gpus) or max(1, cores // config.cpus)
    with _cluster(config, 1) as ray:
        offered, asked = ray.cluster_resources(), _gpus(ray, config)
        rooms = [offered.get("CPU", 0) // config.cpus] + ([offered.get("GPU", 0) // asked] if asked else [])
        return max(1, int(min(rooms)))
