"""A real Slurm of one node: the same table, jobs that are killed and requeued, a driver that leaves and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chaos import GRID, PATIENCE, assert_complete, heartbeats, wait_until
from forked import Forked
from slurm_cluster import at_work, slurm

Rows = Callable[[Path], list[tuple[str, str]]]
Process = Callable[..., Forked]
JOBS = (
    *GRID,
    "executor=slurm",
    "executor.workers=2",
    "executor.gpus=0",
    "executor.cpus=1",
    "executor.memory_gb=1",
    "executor.minutes=30",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the cluster's user."""
    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def user(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """This process as a user of the cluster; runs Slurm's commands and returns what they print."""
    for name, value in cluster.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)

    def command(*words: str) -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout

    return command


def jobs(outputs: Path) -> list[str]:
    """The Slurm jobs of the study's run."""
    (path,) = outputs.glob("grid/runs/*/slurm.json")
    return list(json.loads(path.read_text())["jobs"])


def test_killed_jobs_are_sent_again_and_cost_nothing(
    tmp_path: Path, user: Callable[..., str], l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    study = tmp_path / "grid"
    driver = l2v_forked(*JOBS, f"runtime.outputs={tmp_path}")
    wait_until(lambda: len(stored_rows(study)) >= 20 and len(heartbeats(tmp_path)) == 2, driver)
    before = stored_rows(study)
    # Both, and their processes first: what Slurm cancels gets seconds of grace, in which this little study would end.
    for beat in heartbeats(tmp_path):
        os.kill(int(str(beat["pid"])), signal.SIGKILL)
    user("scancel", "--signal=KILL", *jobs(tmp_path))
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, err
    assert "2 jobs sent to Slurm" in err
    assert "sent again" in err
    assert set(before) <= set(stored_rows(study))
    assert_complete(tmp_path, undisturbed, stored_rows(study))
    assert logs(study).count("directions read") == 1


def logs(study: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in study.glob("runs/*/slurm/*.out"))


def taken_down(job: str) -> bool:
    """Whether Slurm's own processes for this job are still there; another cluster's jobs have the same numbers."""
    return any(called.startswith(f"slurmstepd: [{job}.".encode()) for called in at_work(dict(os.environ)).values())


def starts_now(user: Callable[..., str], job: str) -> bool:
    """Ask for it; while a requeued job is still being taken down, Slurm refuses, and one that runs needs no asking."""
    # One that starts beside what is left of itself finds its step there and ends at once.
    if taken_down(job):
        return False
    try:
        user("scontrol", "update", f"JobId={job}", "StartTime=now")
    except subprocess.CalledProcessError:
        return "RUNNING" in user("squeue", "-h", "-o", "%T")
    return True


def test_a_requeued_job_goes_on_where_it_was(
    tmp_path: Path, user: Callable[..., str], l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    """It is the only one: nobody else can finish its work. Its step is signalled, as Slurm does before a job's time is over."""
    study = tmp_path / "grid"
    # Row by row, and signalled at once: Slurm takes a second, the whole of this little study two.
    slowly = ("executor.workers=1", "runtime.batch_rows=1", "runtime.cells_per_claim=1")
    driver = l2v_forked(*JOBS, f"runtime.outputs={tmp_path}", *slowly)
    wait_until(lambda: len(stored_rows(study)) >= 1, driver)
    (job,) = jobs(tmp_path)
    user("scancel", "--signal=USR2", job)
    wait_until(lambda: "PENDING" in user("squeue", "-h", "-o", "%T"), driver)
    before = stored_rows(study)
    assert len(before) < len(undisturbed) * 60
    # Slurm gives the node two minutes to clean up, which is all a test can take.
    wait_until(lambda: starts_now(user, job), driver)
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, err
    assert "sent again" not in err
    assert set(before) <= set(stored_rows(study))
    assert_complete(tmp_path, undisturbed, stored_rows(study))
    assert logs(study).count("works on") == 2
    assert "Calling checkpoint method" in logs(study)


def test_the_driver_leaves_and_comes_back(
    tmp_path: Path,
    user: Callable[..., str],
    l2v: Callable[..., Any],
    l2v_forked: Process,
    undisturbed: pd.DataFrame,
    stored_rows: Rows,
) -> None:
    words = (*JOBS, f"runtime.outputs={tmp_path}")
    left = l2v(*words, "executor.wait=false")
    assert left.code == 0, left.err
    assert "2 jobs sent to Slurm; repeat this command to come back" in left.out
    sent = jobs(tmp_path)
    wait_until(lambda: len(stored_rows(tmp_path / "grid")) >= 10)
    assert "running" in l2v("status", "study=grid", f"outputs={tmp_path}").out
    # They rest until the driver is back, which takes longer to start than this little study to end.
    workers = [int(str(beat["pid"])) for beat in heartbeats(tmp_path)]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    back = l2v_forked(*words)
    wait_until(lambda: "0 jobs sent to Slurm, 2 were there already" in back.told(), back)
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    _, err = back.communicate(timeout=PATIENCE)
    assert back.returncode == 0, err
    assert jobs(tmp_path) == sent
    assert_complete(tmp_path, undisturbed, stored_rows(tmp_path / "grid"))


def test_a_dry_run_shows_the_batch_file_and_sends_nothing(tmp_path: Path, l2v: Callable[..., Any]) -> None:
    """Anywhere, with or without a Slurm."""
    words = ("executor.partition=gpu", "executor.minutes=90", "executor.memory_gb=64", "executor.gpus=2", "executor.workers=3")
    answer = l2v(*JOBS, f"runtime.outputs={tmp_path}", "dry_run=true", *words, "executor.setup=[module load cuda]")
    assert answer.code == 0
    lines = answer.out.splitlines()
    for line in ("--array=0-2%3", "--partition=gpu", "--time=90", "--mem=64GB", "--gpus-per-node=2", "--requeue"):
        assert f"#SBATCH {line}" in lines
    assert "module load cuda" in lines
    assert any(line.startswith("srun ") and "submitit" in line for line in lines)
    assert not (tmp_path / "grid").exists()


def test_without_a_slurm_one_sentence_says_so(tmp_path: Path, l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = l2v(*JOBS, f"runtime.outputs={tmp_path}")
    assert answer.code == 2
    assert "Slurm took no jobs" in answer.err
    assert answer.err.count("\n") == 1
