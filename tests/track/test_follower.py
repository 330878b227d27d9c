"""Tracking beside a running study: it uploads what is finished, and whatever it does, the study ends complete."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb_files

from l2v.config import TrackerConfig
from l2v.errors import UserError
from l2v.track.follower import followed

PATIENCE = 60
ITEMS = 8


pytestmark = pytest.mark.usefixtures("no_account")


def children() -> set[str]:
    """Processes that follow a study now."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"l2v.track.follower" in path.read_bytes():
                found.add(path.parent.name)
        except OSError:
            continue
    return found


def run(tiny: Callable[..., Any], study: str, tracker: TrackerConfig, outputs: Path) -> float:
    """A study of two cells, followed; it must end complete. The seconds that leaving it took."""
    before = children()
    with followed(str(outputs), study, tracker):
        answer = tiny("--multirun", f"study={study}", "method=direct,l2v")
        over = time.monotonic()
        # What the tracker says while the study runs in this process is caught with the study's own words.
        said = [line for line in answer.err.splitlines(keepends=True) if line.startswith("tracking: ")]
        sys.stderr.write("".join(said))
    assert answer.code == 0, answer.err
    stored = {path.parent: len(path.read_text().splitlines()) for path in (outputs / study).glob("cells/*/responses.jsonl")}
    assert list(stored.values()) == [ITEMS, ITEMS]
    assert {path.parent for path in (outputs / study).glob("cells/*/DONE")} == set(stored)
    assert children() <= before, "a process stayed behind"
    return time.monotonic() - over


def test_a_followed_study_is_uploaded_as_it_goes_and_whole_at_its_end(
    tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = outputs / "beside"
    with followed(str(outputs), "beside", TrackerConfig(name="wandb")):
        assert tiny("study=beside", "method=direct").code == 0
        deadline = time.monotonic() + PATIENCE
        while not (study / "track" / "wandb-l2v.jsonl").exists():
            assert time.monotonic() < deadline, "nothing was uploaded while the study ran"
            time.sleep(0.1)
        (early,) = wandb_files.read_all(study)
        assert early.summary["official/accuracy/n"] == ITEMS
        assert tiny("study=beside", "method=l2v").code == 0
    told = capsys.readouterr()
    assert told.out == ""
    synced = f"wandb sync {study}/track/wandb/offline-run-*"
    assert told.err == f"tracking: 2 of 2 cells written (wandb, project 'l2v'); {synced}\n"
    runs = wandb_files.read_all(study)
    assert sorted(run.job_type for run in runs) == ["extract", "report", "run", "run", "score"]
    assert [run.config["method"] for run in runs if "official/accuracy/diff" in run.summary] == ["l2v"]
    later = l2v("track", "study=beside", f"outputs={outputs}", "progress=false")
    assert later.out.startswith("0 cells written, 2 already there; 0 other runs")


def test_no_tracker_starts_nothing(tiny: Callable[..., Any], outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = children()
    with followed(str(outputs), "alone", TrackerConfig()):
        assert children() == before
        tiny("study=alone", "method=direct")
    assert not (outputs / "alone" / "track").exists()
    assert capsys.readouterr() == ("", "")


HEAD = "class Settings:\n    model_fields = {}\ndef teardown(): pass\n"
RAISES = HEAD + "def init(**_): raise RuntimeError('the service is down')\n"
BLOCKS = HEAD + "import time\ndef init(**_): time.sleep(1000)\n"
EXITS = "import os\nos._exit(7)\n"


@pytest.mark.parametrize(
    ("fake", "timeout", "said"),
    [
        (RAISES, 60.0, "RuntimeError: the service is down"),
        (BLOCKS, 2.0, "not done after 2 seconds"),
        (EXITS, 60.0, "its process ended"),
    ],
    ids=["raises", "blocks", "exits"],
)
def test_a_tracker_that_fails_costs_nothing(
    fake: str, timeout: float, said: str, tiny: Callable[..., Any], outputs: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    (tmp_path / "wandb.py").write_text(fake)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    study = request.node.callspec.id
    seconds = run(tiny, study, TrackerConfig(name="wandb", timeout=timeout), outputs)
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert lines[-1].startswith("tracking: 0 of 2 cells written (") and said in lines[-1]
    assert lines[-1].endswith(f"`l2v track study={study} tracker=wandb outputs={outputs}` uploads the rest.")
    # The first failure is told once, when it happens.
    assert [line for line in lines[:-1] if "failed" not in line] == []
    assert len(lines) == (2 if fake == RAISES else 1)
    assert "Traceback" not in told.err
    if fake == BLOCKS:
        assert seconds < timeout + 4


def test_a_failure_of_the_study_passes_through(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="mend it"), followed(str(outputs), "never", TrackerConfig(name="wandb")):
        raise UserError("mend it")
    assert "Traceback" not in capsys.readouterr().err
    assert not (outputs / "never").exists()


def test_ctrl_c_does_not_wait_for_a_dashboard(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb.py").write_text(BLOCKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("l2v.track.follower.INTERRUPTED_SECONDS", 0.5)
    done = outputs / "stopped" / "cells" / "0" / "DONE"
    done.parent.mkdir(parents=True)
    done.touch()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), followed(str(outputs), "stopped", TrackerConfig(name="wandb", timeout=500)):
        raise KeyboardInterrupt
    assert time.monotonic() - begun < 10


STARTED = """
import sys, time
from l2v.config import TrackerConfig
from l2v.track.follower import followed
with followed(sys.argv[1], sys.argv[2], TrackerConfig(name="wandb")):
    print("started", flush=True)
    time.sleep(1000)
"""


def test_when_the_study_is_killed_the_process_uploads_and_ends(tiny: Callable[..., Any], outputs: Path) -> None:
    assert tiny("study=orphan", "method=direct").code == 0
    before = children()
    parent = subprocess.Popen([sys.executable, "-c", STARTED, str(outputs), "orphan"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdout.readline() == "started\n"
    assert children() - before
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + PATIENCE
    while children() - before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert sorted(run.job_type for run in wandb_files.read_all(outputs / "orphan")) == ["report", "run", "score"]


def test_a_missing_package_is_told_before_anything_is_done(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2v.track.trackers.find_spec", lambda name: None)
    before = children()
    with pytest.raises(UserError, match=r"pip install 'l2v\[trackio\]'"), followed("x", "y", TrackerConfig(name="trackio")):
        pytest.fail("the study was begun")
    assert children() == before
