"""W&B online, against a small server on this machine: what `l2v track` sends, and what `wandb sync` sends of offline runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb_server
from wandb_server import Account, SentRun

from l2v.study.cell_folder import CellFolder

# wandb keys are 40 characters or more.
KEY = "0123456789abcdef" * 3
pytestmark = pytest.mark.usefixtures("no_account")


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account on this machine; nobody knows its key yet."""
    with wandb_server.serving() as account:
        monkeypatch.setenv("WANDB_BASE_URL", account.address)
        yield account


def content(run: SentRun, account: Account) -> tuple[Any, ...]:
    """What is the same of a run whichever way it came."""
    sent = {name: run.sent.get(name) for name in ("displayName", "groupName", "jobType", "tags", "project")}
    own = {k: v for k, v in run.summary.items() if not k.startswith("_") and not isinstance(v, dict)}
    made = sorted((account.artifacts[key].kind, account.artifacts[key].digest) for key in set(run.produced))
    return sent, run.config, own, made, sorted(set(run.used)), run.exit_code


def test_what_is_tracked_online_is_what_a_later_sync_sends(
    copied_pair: Path, l2v: Callable[..., Any], account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"study={copied_pair.name}", f"outputs={copied_pair.parent}", "progress=false", "tracker.examples=2")
    offline = l2v("track", *words)
    assert offline.code == 0 and account.asked == []
    (command,) = [line for line in offline.out.splitlines() if line.startswith("wandb sync")]
    folder = Path(shlex.split(command)[-1]).parent

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    runs = sorted(folder.glob("offline-run-*"))
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *map(str, runs)], env=os.environ, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    synced = {name: content(run, account) for name, run in account.runs.items()}
    results = pd.read_csv(copied_pair / "results.csv").set_index("cell")
    assert set(results.index) < set(synced) and len(synced) == len(runs)
    for cell, row in results.iterrows():
        run = account.runs[str(cell)]
        assert run.summary["official/accuracy"] == pytest.approx(row["value"]) and run.exit_code == 0
        assert run.config["study"] == copied_pair.name and run.sent["project"] == "l2v"
        stored = [one for key in run.produced if (one := account.artifacts[key]).kind == "results"]
        responses = (CellFolder(copied_pair / "cells" / str(cell)).path / "responses.jsonl").read_bytes()
        assert [one.files["responses.jsonl"] for one in stored] == [responses]
    assert all(one.committed for one in account.artifacts.values())

    # The same online, from the start: another study's folder of uploads, and nothing of before on the server.
    account.forget()
    (copied_pair / "track").rename(copied_pair / "before")
    online = l2v("track", *words, "workspace=true")
    assert online.code == 0 and "failed" not in online.err
    assert online.out.startswith("2 cells uploaded, 0 already there") and account.address in online.out
    assert {name: content(run, account) for name, run in account.runs.items()} == synced
    assert [one["type"] for one in account.views] == ["project-view", "runs"]
    assert account.unknown == []
    asked = len(account.asked)
    assert l2v("track", *words).out.startswith("0 cells uploaded, 2 already there") and len(account.asked) == asked
    assert KEY not in online.out + online.err + offline.out
