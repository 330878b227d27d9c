"""Ray on two local nodes: the same table, also when one of them is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chaos import GRID, PATIENCE, assert_complete, heartbeats, wait_until
from forked import Forked

Rows = Callable[[Path], list[tuple[str, str]]]
Process = Callable[..., Forked]
TASKS = (*GRID, "executor=ray", "executor.workers=2", "executor.gpus=0", "executor.cpus=1")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and two nodes of one core each, as processes of this machine."""
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    # Tasks run on the two nodes: the head has no core to offer.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def test_a_lost_node_costs_nothing_that_was_stored(
    cluster: Any, tmp_path: Path, l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    study = tmp_path / "grid"
    driver = l2v_forked(*TASKS, f"executor.address={cluster.address}", f"runtime.outputs={tmp_path}")
    wait_until(lambda: len(stored_rows(study)) >= 20 and len(heartbeats(tmp_path)) == 2, driver)
    before, pids = stored_rows(study), {int(str(beat["pid"])) for beat in heartbeats(tmp_path)}
    nodes = [node for node in cluster.list_all_nodes() if not node.head]
    cluster.remove_node(nodes[0], allow_graceful=False)
    wait_until(lambda: not all(os.path.exists(f"/proc/{pid}") for pid in pids))
    # Where the lost worker can begin anew.
    cluster.add_node(num_cpus=1)
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, err
    assert "Traceback" not in err
    assert set(before) <= set(stored_rows(study))
    assert_complete(tmp_path, undisturbed, stored_rows(study))


def test_a_cluster_of_ones_own(tmp_path: Path, l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    driver = l2v_forked(*TASKS, f"runtime.outputs={tmp_path}")
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, err
    assert_complete(tmp_path, undisturbed, stored_rows(tmp_path / "grid"))


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path, l2v_forked: Process) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    driver = l2v_forked(*TASKS, "executor.address=127.0.0.1:1", f"runtime.outputs={tmp_path}")
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 2, err
    assert "No Ray cluster answered at executor.address=127.0.0.1:1" in err
    assert "Traceback" not in err


def test_a_machine_on_which_ray_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no address was given, none is to blame."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from l2v.config import ExecutorConfig
    from l2v.errors import UserError
    from l2v.study.workers.executors import ray_cluster

    def late(**_: object) -> None:
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    told = r"could not be started on this machine \(RuntimeError: .* timed out .*; repeat .*executor=processes"
    with pytest.raises(UserError, match=told), ray_cluster._cluster(ExecutorConfig(name="ray"), 1):
        pass
