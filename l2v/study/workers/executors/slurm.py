"""executor=slurm: a job array on a Slurm cluster, through submitit.

A job that is preempted or runs out of time is requeued and goes on from what is on disk. The driver may leave and come back:
the same command finds its jobs again and sends only those that are missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from l2v.config import ExecutorConfig
from l2v.disk import write_atomically
from l2v.errors import UserError
from l2v.study.workers.executors import Submitted
from l2v.study.workers.executors.progress import Progress, progress_bar
from l2v.study.workers.process import work_on
from l2v.study.workers.run import Run, rewrite, stops, write_jobs
from l2v.study.workers.workload import Workload

POLL_SECONDS = 2.0
# How often a job may run out of time and be requeued.
TIMEOUTS = 1000
# Seconds between the signal that a job is about to end and its end.
NOTICE_SECONDS = 90
# How often, per worker, a job that was killed is sent again.
RESTARTS = 3
COMMAND_SECONDS = 60


class SlurmWorker:
    """What a job of the array runs: a worker on the run's folder. It is requeued as it is, since its state is on disk."""

    def __init__(self, path: Path, index: int, attempt: str) -> None:
        self.path, self.index, self.attempt = path, index, attempt

    def __call__(self) -> int:
        """The worker's exit code."""
        try:
            return work_on(self.path, self.index, self.attempt)
        except UserError:
            return 2

    def checkpoint(self) -> Any:
        """What submitit sends to the queue when the job is preempted or out of time."""
        return import_module("submitit").helpers.DelayedSubmission(self)


def run(work: Workload, run: Run) -> dict[str, str]:
    """Send what is missing of the array, and wait for it unless executor.wait=false. See `execute`."""
    config = work.jobs[0].config.executor
    write_jobs(run, work.jobs)
    sent = _sent(run)
    alive = _alive(sent["jobs"])
    earlier = replace(run, attempt=sent["attempt"])
    if sent["jobs"] and not alive and earlier.over():
        # They came to their end while nobody looked: what they set aside is told once, and tried anew by the next command.
        (run.path / "slurm.json").unlink()
        rewrite(earlier)
        return earlier.failed()
    # What stopped workers of an earlier command may be mended by now.
    shutil.rmtree(run.path / "stopped", ignore_errors=True)
    if alive:
        # The jobs that are at work count failures under the attempt that they were sent with.
        run = earlier
        rewrite(run)
    new = _send(config, run, alive)
    told = f"{len(new)} jobs sent to Slurm" + (f", {len(alive)} were there already" if alive else "")
    back = f"repeat this command to come back, or look with `l2v status study={work.store.study}`"
    if not config.wait:
        raise Submitted(f"{told}; {back}.")
    print(f"{told} ({', '.join([*alive, *new])}); {back}.", file=sys.stderr)
    with progress_bar(work, run) as bar:
        progress = Progress(work, run, bar)
        jobs = _wait(config, run, progress, [*alive, *new])
    # What still waits for its turn would find nothing to do.
    _cancel(_alive(jobs), "--state=PENDING")
    left = progress.unfinished(f"its Slurm jobs ended (logs: {run.path / 'slurm'})")
    if left:
        # Told by this command: the next one tries them anew at once.
        (run.path / "slurm.json").unlink(missing_ok=True)
    return left


def _wait(config: ExecutorConfig, run: Run, progress: Progress, jobs: list[str]) -> list[str]:
    """Wait until the run is over; jobs that were killed are sent again. Returns the jobs that belong to it now.

    Raises UserError for what the user must mend.
    """
    restarts = 0
    while not progress.over():
        alive = _alive(jobs)
        if stopped := stops(run):
            _cancel(alive)
            raise UserError(stopped[0])
        lost = max(0, run.workers - len(alive))
        if lost and progress.over():
            # They ended between the two looks because nothing was left to do.
            break
        if lost and restarts + lost > RESTARTS * run.workers and not alive:
            break
        if lost and restarts + lost <= RESTARTS * run.workers:
            restarts += lost
            new = _send(config, run, alive)
            print(f"{lost} Slurm jobs ended before their time; sent again: {', '.join(new)}", file=sys.stderr)
            jobs = [*alive, *new]
        time.sleep(POLL_SECONDS)
    return jobs


def _send(config: ExecutorConfig, run: Run, alive: list[str]) -> list[str]:
    """Fill the crew up, and note which jobs belong to the run."""
    new = _submit(config, run, range(len(alive), run.workers))
    write_atomically(run.path / "slurm.json", json.dumps({"attempt": run.attempt, "jobs": [*alive, *new]}))
    return new


def sbatch(config: ExecutorConfig, path: str) -> str:
    """The batch file that would be sent for a run in this folder."""
    make = import_module("submitit.slurm.slurm")._make_sbatch_string
    command = f"{sys.executable} -u -m submitit.core._submit {path}/slurm"
    return str(make(command=command, folder=f"{path}/slurm", map_count=config.workers, **_parameters(config)))


def _parameters(config: ExecutorConfig) -> dict[str, Any]:
    """What submitit puts into the batch file."""
    asked: dict[str, Any] = {
        "job_name": "l2v",
        "time": config.minutes,
        "mem": f"{config.memory_gb}GB",
        "cpus_per_task": config.cpus,
        "gpus_per_node": config.gpus or None,
        "partition": config.partition,
        "account": config.account,
        "constraint": config.constraint,
        "setup": list(config.setup) or None,
        "signal_delay_s": NOTICE_SECONDS,
        "array_parallelism": config.workers or 1,
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True},
    }
    return {name: value for name, value in asked.items() if value is not None}


def _submit(config: ExecutorConfig, run: Run, indices: range) -> list[str]:
    """Send one job per index; returns their names in Slurm's form. Raises UserError where there is no Slurm."""
    if not indices:
        return []
    submitit = import_module("submitit")
    try:
        # Its folder names the logs; jobs may run elsewhere, so no path is relative.
        executor = submitit.SlurmExecutor(folder=run.path.absolute() / "slurm", max_num_timeout=TIMEOUTS)
        executor.update_parameters(**_parameters(config))
        with executor.batch():
            # The worker itself is what is sent: submitit looks for `checkpoint` on it.
            jobs = [executor.submit(SlurmWorker(run.path.absolute(), index, run.attempt)) for index in indices]
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"Slurm took no jobs ({type(error).__name__}: {reason}); see `sinfo`, or choose another executor."
        ) from error
    return [str(job.job_id) for job in jobs]


def _sent(run: Run) -> dict[str, Any]:
    """The jobs of an earlier command for the same cells."""
    try:
        found = json.loads((run.path / "slurm.json").read_text(encoding="utf-8"))
        return {"attempt": str(found["attempt"]), "jobs": [str(name) for name in found["jobs"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"attempt": "", "jobs": []}


def _alive(jobs: list[str]) -> list[str]:
    """Which of these jobs Slurm still holds, running or waiting. An answer that does not come counts as yes."""
    if not jobs:
        return []
    command = ["squeue", "--noheader", "--array", "--format=%i|%F_%K|%T", f"--user={os.getuid()}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True).stdout
    except FileNotFoundError:
        return []
    except (subprocess.SubprocessError, OSError):
        return jobs
    listed = {name for line in answer.splitlines() for name in line.split("|")[:2]}
    return [job for job in jobs if job in listed]


def _cancel(jobs: list[str], *options: str) -> None:
    if jobs:
        subprocess.run(["scancel", *options, *jobs], capture_output=True, timeout=COMMAND_SECONDS, check=False)
