"""`l2v doctor study=…`: a whole study, a damaged one, and one that a version without digests wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from l2v.paths import CHECKPOINTS
from l2v.study import digests
from l2v.study.plan import job_readings
from l2v.study.store import Store


@pytest.fixture
def study(tiny: Callable[..., Any], outputs: Path, tmp_path: Path) -> Path:
    """A study with a selection, in an outputs folder of its own."""
    words = ("method=direct,l2v", "intervention.layer=1,2", "protocol.name=select_then_test")
    assert tiny("--multirun", "study=doctored", *words).code == 0
    shutil.copytree(outputs / "doctored", tmp_path / "doctored")
    shutil.copytree(outputs / "cache" / "directions", tmp_path / "cache" / "directions")
    return tmp_path / "doctored"


def make_old(study: Path) -> None:
    """Take every digest out, as the version before them wrote a study."""
    for path in [*study.glob("cells/*/responses.jsonl"), *study.glob("items/*.jsonl")]:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "check"}) + "\n" for row in rows))
    for path in study.glob("cells/*/metrics.json"):
        rows = json.loads(path.read_text())
        path.write_text(json.dumps([{k: v for k, v in row.items() if "digest" not in k} for row in rows]))
    for path in study.glob("cells/*/DONE"):
        path.write_text('{"stored_twice": 0}')
    for path in [study / "selection.json", *study.glob("runs/*/run.json")]:
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "digest"}))
    (study / "study.json").write_text(json.dumps({"schema": 2, "study": study.name}))
    for path in (study.parent / "cache" / "directions").glob("*.safetensors"):
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = {k: v for k, v in file.metadata().items() if k != "digests"}
        save_file(tensors, path, header)


def test_directions_that_are_not_there_are_not_called_damaged(study: Path, l2v: Callable[..., Any]) -> None:
    """Of a study that was copied without its cache."""
    words = ("doctor", f"study={study.name}", f"outputs={study.parent}")
    found = l2v(*words).out.splitlines()[0]
    assert "finished cells with " in found and " and 1 direction file are whole." in found
    shutil.rmtree(study.parent / "cache")
    away = found.replace("1 direction file are whole.", "0 direction files are whole (1 more not here).")
    assert l2v(*words).out.splitlines() == [away]


def test_an_old_study_is_read_and_gets_its_digests(
    study: Path, l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (f"study={study.name}", f"outputs={study.parent}")
    whole = l2v("report", *words, "page=false").out
    finished = {path: path.stat().st_mtime_ns for path in study.glob("cells/*/DONE")}
    make_old(study)
    for path, then in finished.items():
        assert path.stat().st_mtime_ns > then
    monkeypatch.setattr(digests, "_told", set())
    answer = l2v("report", *words, "page=false")
    assert answer.code == 0 and answer.out == whole
    assert answer.err.count("doctor study=doctored") == 1
    answer = l2v("doctor", *words)
    assert answer.code == 0, answer.out
    assert "are whole." in answer.out and "Digests were added" in answer.out
    assert all("digest" in json.loads(path.read_text()) for path in [*finished, study / "selection.json"])
    assert "Digests" not in l2v("doctor", *words).out
    monkeypatch.setattr(digests, "_told", set())
    answer = l2v("report", *words, "page=false")
    assert answer.out == whole and not answer.err


def test_what_is_damaged_is_told_with_what_to_do(study: Path, l2v: Callable[..., Any]) -> None:
    """One changed letter in an answer, a description of items that is cut off, and a scaled direction."""
    responses = sorted(study.glob("cells/*/responses.jsonl"))[0]
    times = responses.stat()
    responses.write_text(responses.read_text().replace("0", "1", 1))
    (items, *_) = study.glob("items/*.jsonl")
    items.write_bytes(items.read_bytes()[:-40] + b"}\n")
    # Of this study: other tests keep theirs in the same folder.
    (reading,) = {r.id for folder in Store(study.parent, study.name).finished() for r in job_readings(folder.cell())}
    direction = study.parent / "cache" / "directions" / f"{reading}.safetensors"
    with safe_open(str(direction), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(tensors | {"mean": 2 * tensors["mean"]}, direction, file.metadata())
    assert times.st_size == responses.stat().st_size
    answer = l2v("doctor", f"study={study.name}", f"outputs={study.parent}")
    assert answer.code == 1
    told = [line for line in answer.out.splitlines() if line.startswith("- ")]
    assert [path.name for path in (responses, items, direction) if not any(path.name in line for line in told)] == []
    assert all("delete" in line or "`l2v" in line for line in told)


def test_a_row_twice_is_refused_by_score(study: Path, l2v: Callable[..., Any]) -> None:
    """Of a study without digests too: n = 9 of 8 items would be a figure of nothing."""
    for old in (False, True):
        if old:
            make_old(study)
        responses = sorted(study.glob("cells/*/responses.jsonl"))[0]
        whole = responses.read_text()
        responses.write_text(whole + whole.splitlines(keepends=True)[0])
        answer = l2v("score", f"study={study.name}", f"outputs={study.parent}")
        assert answer.code == 2
        assert str(responses) in answer.err and ("holds item" in answer.err) == old
        responses.write_text(whole)


def test_maps_states_and_every_item_are_looked_at(tiny: Callable[..., Any], l2v: Callable[..., Any], tmp_path: Path) -> None:
    """States of neutral texts and their map, damaged one by one; items that end earlier, at the end of a line."""
    words = ("study=mapped", "method=ridge_neutral", "neutral.texts=16", "benchmark.limit=2", f"runtime.outputs={tmp_path}")
    assert tiny(*words).code == 0

    def told() -> list[str]:
        answer = l2v("doctor", "study=mapped", f"outputs={tmp_path}")
        lines = [line for line in answer.out.splitlines() if line.startswith("- ")]
        assert answer.code == int(bool(lines)) and all("delete" in line or "`l2v" in line for line in lines)
        return lines

    assert told() == []
    cached = [*(tmp_path / "cache" / "neutral").glob("*/00*.safetensors"), *(tmp_path / "cache" / "maps").glob("*.safetensors")]
    assert len(cached) == 9
    (items,) = (tmp_path / "mapped" / "items").glob("*.jsonl")
    lines = items.read_bytes().splitlines(keepends=True)
    for path in (*cached, items, tmp_path / "mapped" / "results.csv"):
        whole = path.read_bytes()
        middle = len(whole) // 2
        for damaged in (
            (lines[0], b"") if path == items else (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], b"")
        ):
            path.write_bytes(damaged)
            assert [line for line in told() if path.name in line], path
        path.write_bytes(whole)
    cached[0].write_bytes(cached[1].read_bytes())
    assert len(told()) == 1


def test_a_checkpoint_that_changed_since_is_told(tiny: Callable[..., Any], l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Their figures stand; a repeated command would compute other cells. A study is read where they are not, too. The
    source beside a target that is itself read (own_direction) is no matter."""
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(CHECKPOINTS / "kin", source)
    shutil.copytree(CHECKPOINTS / "vlm", target)
    words = ("study=changed", "method=l2v,own_direction", "benchmark.limit=2", f"runtime.outputs={tmp_path}")
    assert tiny("--multirun", *words, f"source.path={source}", f"target.path={target}").code == 0

    def told() -> list[str]:
        answer = l2v("doctor", "study=changed", f"outputs={tmp_path}")
        return [line for line in answer.out.splitlines() if line.startswith("- ")]

    assert told() == []
    for role, path, cells in (("source", source, "1 cell was"), ("target", target, "2 cells were")):
        weights = next(path.glob("*.safetensors"))
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        (line,) = told()
        assert f"{path} is no more the {role} that {cells} computed with" in line and "restore" in line
        weights.write_bytes(whole)
    shutil.rmtree(target)
    assert told() == []
