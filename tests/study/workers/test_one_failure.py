"""One failure stops nothing: what is wrong with a cell, a reading, a target or a benchmark costs what needs it, no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from slurm_cluster import slurm

from l2v.paths import PACKAGE

MINI = PACKAGE / "mini"
WORDS = ("benchmark.limit=2", "runtime.progress=false", "runtime.page=false", "runtime.device=cpu", "decoding.max_new_tokens=4")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of broken things, and the experiment that meets them among two cells that are sound."""
    folder = tmp_path_factory.mktemp("faults")
    # A target that only loading finds wrong: one tensor is not there.
    shutil.copytree(MINI / "checkpoints" / "vlm", folder / "unloadable")
    file = folder / "unloadable" / "model.safetensors"
    tensors = load_file(file)
    lacking = next(name for name in tensors if name.endswith("layernorm.weight"))
    save_file({name: value for name, value in tensors.items() if name != lacking}, file, metadata={"format": "pt"})
    # A contrast of which one text is longer than the models' context.
    row = json.loads((MINI / "data" / "contrast.jsonl").read_text().splitlines()[0])
    long = {**row, "cot": " ".join([row["cot"]] * 200)}
    (folder / "long.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (long, row)))
    (folder / "empty.jsonl").write_text("{}\n")
    blocks = [
        ["method=direct,l2v"],
        ["method=direct", f"target.path={folder / 'unloadable'}", "target.name=unloadable"],
        ["method=l2v", f"contrast.path={folder / 'long.jsonl'}", "contrast.per_domain=null", "contrast.name=long"],
        ["method=l2v", f"contrast.path={folder / 'empty.jsonl'}", "contrast.name=empty"],
        ["method=few_shot_cot", f"contrast.path={folder / 'long.jsonl'}", "contrast.per_domain=null", "method.shots=1"],
        ["method=l2v", "intervention.layer=1,9"],
        ["method=direct", "benchmark.split=nowhere"],
        ["method=direct", "target.path=/none/such"],
        ["method=l2v", "intervention.alpha=-1"],
        ["method=l2v", "intervention.layer=x"],
        ["method=l3v"],
        ["method=direct", "target=local"],
    ]
    (folder / "experiment").mkdir()
    text = "# @package _global_\nstudy: faults\n" + f"blocks: {json.dumps(blocks)}\n"
    (folder / "experiment" / "faults.yaml").write_text(text)
    return folder


# What each fault is told by, at once and at the end: the cells' name and its mend.
TOLD = (
    ("unloadable", "get the checkpoint again"),
    ("l2v on mini", "choose shorter data"),
    ("l2v on mini", "empty.jsonl"),
    ("few_shot_cot on mini", "fewer or shorter method.shots"),
    ("layer=9", "0 … 3"),
    ("nowhere", "'nowhere'"),
    ("direct on mini", "/none/such"),
    ("intervention.alpha=-1", "at least 0"),
    ("intervention.layer=x", "could not be converted"),
    ("method=l3v", "did you mean l2v"),
    ("target=local", "target.path=FOLDER"),
)


# What an executor needs beside its name.
MORE = {"ray": ("executor.gpus=0", "executor.cpus=1"), "slurm": ("executor.gpus=0", "executor.cpus=1", "executor.memory_gb=1")}


@pytest.fixture
def cluster(executor: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an executor hands its work to."""
    if executor == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    if executor != "slurm":
        yield
        return
    with slurm(tmp_path_factory.mktemp("slurm")) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield


@pytest.mark.usefixtures("served_workers")
@pytest.mark.parametrize("executor", ["local", "processes", "ray", "slurm"])
def test_the_rest_runs_and_each_is_named_with_its_mend(
    executor: str, cluster: None, faults: Path, l2v: Callable[..., Any], tmp_path: Path
) -> None:
    words = (f"runtime.outputs={tmp_path}", f"executor={executor}", "executor.workers=2", *MORE.get(executor, ()), *WORDS)
    command = ("run", "--multirun", "--config-dir", str(faults), "+experiment=faults", *words)
    answer = l2v(*command)
    assert answer.code == 1, answer.err
    assert "Traceback" not in answer.err
    done = list((tmp_path / "faults").glob("cells/*/DONE"))
    assert len(done) == 3, answer.err
    last = [line for line in answer.err.splitlines() if line.startswith("FAILED")]
    for name, mend in TOLD:
        assert any(name in line and mend in line for line in last), (name, mend, answer.err)
    if executor in MORE:
        return
    again = l2v(*command)
    assert again.code == 1
    assert list((tmp_path / "faults").glob("cells/*/DONE")) == done


def test_a_search_goes_on_without_the_cells_that_cannot_run(faults: Path, l2v: Callable[..., Any], tmp_path: Path) -> None:
    words = (f"runtime.outputs={tmp_path}", "study=search", "protocol.name=select_then_test", *WORDS)
    targets = f"target.path=package:mini/checkpoints/vlm,{faults / 'unloadable'}"
    answer = l2v("run", "--multirun", targets, "method=direct,l2v", "intervention.layer=2,9", *words)
    assert answer.code == 1, answer.err
    arms = json.loads((tmp_path / "search" / "selection.json").read_text())["arms"]
    assert len(arms) == 2
    assert all((tmp_path / "search" / "cells" / arm["report"] / "DONE").exists() for arm in arms)


def test_what_concerns_the_whole_command_ends_it(faults: Path, l2v: Callable[..., Any], tmp_path: Path) -> None:
    """A misspelt key, what was typed wrongly, whatever a block says, and a grid of which no cell can run."""
    words = (f"runtime.outputs={tmp_path}", *WORDS)
    assert l2v("run", "--multirun", "method=direct", "intervention.laier=1,2", *words).code == 2
    assert l2v("run", "--multirun", "blocks=[[method=direct],[intervention.laier=1]]", *words).code == 2
    assert l2v("run", "--multirun", "method=l2v", "intervention.alpha=0.5,-1", *words).code == 2
    blocks = ("--multirun", "--config-dir", str(faults), "+experiment=faults")
    for typed in ("intervention.alpha=0.5,-1", "intervention.layer=x", "method=l3v", "target=nowhere", "benchmark.limit=0"):
        answer = l2v("run", *blocks, *words, typed)
        assert answer.code == 2 and typed.partition("=")[0] in answer.err.replace("Unknown ", ""), answer.err
    answer = l2v("run", "--multirun", "intervention.layer=8,9", *words)
    assert answer.code == 2
    assert "intervention.layer=8" in answer.err and "intervention.layer=9" in answer.err
    assert not list(tmp_path.iterdir())
