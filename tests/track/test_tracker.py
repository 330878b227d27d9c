"""`l2v track` with Weights & Biases offline: its run files are read back and held against what lies in the study."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pandas as pd
import pytest
import torch
import wandb_files
import yaml
from rewritten import rewrite

from l2v.study.cell_folder import CellFolder
from l2v.track import examples as track_examples
from l2v.transfer.directions import Directions

METHODS, LAYERS, ITEMS = ("direct", "l2v", "random"), (1, 2), 8
CELLS = 5
# wandb keys are 40 characters or more.
KEY = "0123456789abcdef" * 3


pytestmark = pytest.mark.usefixtures("no_account")


@pytest.fixture(scope="module")
def source(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A finished study with a grid of two layers; never tracked itself."""
    answer = tiny("--multirun", "study=shown", f"method={','.join(METHODS)}", "intervention.layer=1,2")
    assert answer.code == 0, answer.err
    return outputs / "shown"


def copied(study: Path, folder: Path) -> Path:
    """A copy of a study in an outputs folder of its own, with its directions and whatever was uploaded."""
    copy = folder / "outputs" / "shown"
    shutil.copytree(study, copy)
    shutil.copytree(study.parent / "cache" / "directions", copy.parent / "cache" / "directions")
    return copy


def tracker_of(study: Path, l2v: Callable[..., Any]) -> Callable[..., Any]:
    """`l2v track study=shown …` for this copy."""

    def call(*words: str) -> Any:
        return l2v("track", "study=shown", f"outputs={study.parent}", "progress=false", *words)

    return call


@pytest.fixture(scope="module")
def uploaded(
    source: Path, l2v: Callable[..., Any], without_account: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    """A copy that was uploaded once and is only read from then on, and what the upload said."""
    study = copied(source, tmp_path_factory.mktemp("uploaded"))
    with pytest.MonkeyPatch.context() as patch:
        without_account(patch, tmp_path_factory.mktemp("home"))
        return study, tracker_of(study, l2v)()


@pytest.fixture
def study(source: Path, tmp_path: Path) -> Path:
    """A copy that a test may change, never uploaded."""
    return copied(source, tmp_path)


@pytest.fixture
def track(study: Path, l2v: Callable[..., Any]) -> Callable[..., Any]:
    """Uploads that copy."""
    return tracker_of(study, l2v)


@pytest.fixture
def again(uploaded: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of the uploaded one, with its uploads, that a test may change."""
    return copied(uploaded[0], tmp_path)


@pytest.fixture
def track_again(again: Path, l2v: Callable[..., Any]) -> Callable[..., Any]:
    """Uploads what that copy lacks."""
    return tracker_of(again, l2v)


def cells(study: Path) -> set[str]:
    return {done.parent.name for done in study.glob("cells/*/DONE")}


def by_id(study: Path) -> dict[str, wandb_files.OfflineRun]:
    runs = wandb_files.read_all(study)
    assert len({run.id for run in runs}) == len(runs), "a run is there twice"
    return {run.id: run for run in runs}


def results(study: Path) -> dict[str, dict[str, Any]]:
    rows = pd.read_csv(study / "results.csv").to_dict("records")
    return {row["cell"]: {k: v for k, v in row.items() if not pd.isna(v)} for row in rows}


def test_every_cell_is_there_once_with_the_settings_and_figures_of_the_results(uploaded: tuple[Path, Any]) -> None:
    study, answer = uploaded
    assert (answer.code, answer.err) == (0, "")
    runs = by_id(study)
    assert {run.id for run in runs.values() if run.job_type == "run"} == cells(study)
    assert len(cells(study)) == CELLS
    for cell, row in results(study).items():
        run = runs[cell]
        assert run.finished
        assert (run.group, run.project) == ("shown", "l2v")
        assert run.name.startswith(f"{row['method']} on {row['target']}")
        assert {row["method"], row["target"], row["benchmark"], row["split"]} <= set(run.tags)
        assert ("selected" in run.tags) == ("selected" in row)
        settings = {k: run.config[k] for k in row if k in run.config}
        assert {"cell", "study", "method", "target", "benchmark", "split", "limit", "prompt", "temperature"} <= set(settings)
        assert settings == {k: row[k] for k in settings}
        assert set(row) - set(settings) <= set(FIGURES), "a setting of results.csv is missing"
        assert not [v for v in run.config.values() if isinstance(v, (dict, list))], "config is not flat"
        assert run.summary["official/accuracy"] == pytest.approx(row["value"])
        assert run.summary.get("official/accuracy/selected") == row.get("selected")
        for name in set(row) & (set(FIGURES) - {"value", "metric", "scorer", "selected"}):
            found = run.summary[f"official/accuracy/{name}"]
            assert found == (row[name] if isinstance(row[name], str) else pytest.approx(row[name], rel=1e-5)), name


FIGURES = ["metric", "scorer", "value", "n", "problems", "low", "high", "diff", "diff_low", "diff_high", "flips_right"]
FIGURES += [
    "flips_wrong",
    "p",
    "p_holm",
    "selected",
    "reported",
    "budget",
    "p_best_of_grid",
    "p_best_of_seeds",
    "null_seeds",
    "null_cells",
    "tokens",
]
FIGURES += ["steps_share", "no_answer_share", "unresolved_share", "guessed_share", "truncated_share", "seconds"]


def test_examples_show_the_stored_answers_and_verdicts_beside_the_baselines(study: Path, track: Callable[..., Any]) -> None:
    track("tracker.examples=5")
    (baseline,) = [cell for cell, row in results(study).items() if row["method"] == "direct"]
    before = verdicts(study, baseline)
    for cell, row in results(study).items():
        run = by_id(study)[cell]
        shown = run.table("examples")
        assert len(shown) == 5
        for example in shown:
            item = example["item"]
            correct, response = verdicts(study, cell)[item]
            assert (example["answer"], example["verdict"]) == (response, "right" if correct else "wrong")
            assert example["image"]["_type"] == "image-file"
            assert example["question"] and example["gold"]
            if row["method"] == "direct":
                assert "flip" not in example
                continue
            was, said = before[item]
            assert (example["baseline answer"], example["baseline verdict"]) == (said, "right" if was else "wrong")
            assert example["flip"] == ("" if was == correct else "right" if correct else "wrong")
        flips = sum(was[0] != verdicts(study, cell)[item][0] for item, was in before.items())
        assert sum(bool(example.get("flip")) for example in shown) >= min(flips, 3)


def verdicts(study: Path, cell: str) -> dict[str, tuple[bool, str]]:
    """Item -> (correct, response), from the study's own files."""
    folder = study / "cells" / cell
    scored = {v["id"]: v["correct"] for v in map(json.loads, (folder / "scores" / "official.jsonl").open())}
    return {r["id"]: (scored[r["id"]], r["response"]) for r in map(json.loads, (folder / "responses.jsonl").open())}


def test_directions_go_from_their_extraction_into_the_cells_that_used_them(uploaded: tuple[Path, Any]) -> None:
    study, _ = uploaded
    runs = by_id(study)
    (extract,) = [run for run in runs.values() if run.job_type == "extract"]
    (made,) = [a for a in extract.artifacts if a.kind == "directions"]
    assert not made.used
    ((name, path),) = made.files.items()
    assert path.read_bytes() == (study.parent / "cache" / "directions" / name).read_bytes()
    layers = extract.table("layers")
    assert len(layers) == extract.config["layers"]
    assert all(row["norm"] > 0 and row["trace"] > 0 for row in layers)
    assert extract.config["contrast_id"] == "l2v/mini-contrast"
    for cell, row in results(study).items():
        used = [(a.name, a.digest) for a in runs[cell].artifacts if a.used]
        assert used == ([] if row["method"] == "direct" else [(made.name, made.digest)])
        (produced,) = [a for a in runs[cell].artifacts if a.kind == "results"]
        for name in ("config.yaml", "responses.jsonl", "metrics.json", "scores/official.jsonl"):
            assert produced.files[name].read_bytes() == (study / "cells" / cell / name).read_bytes()


def test_the_report_run_holds_the_grid_the_heatmaps_and_what_lies_in_the_study(study: Path, track: Callable[..., Any]) -> None:
    lat = study / "lat" / "kin"
    lat.mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (8, 8)).save(lat / "dispersion.png")
    figure = {"id": "dispersion", "title": "Dispersion", "note": "per layer", "png": "dispersion.png", "csv": "d.csv"}
    (study / "report").mkdir(exist_ok=True)
    (study / "report" / "index.html").write_text("<p>the page</p>")
    Image.new("RGB", (8, 8)).save(study / "report" / "x.png")
    outside = figure | {"id": "outside", "png": "../../report/x.png"}
    (lat / "lat.json").write_text(json.dumps({"title": "LAT", "figures": [figure, outside]}))
    track()
    runs = by_id(study)
    report = runs["report-shown"]
    assert report.job_type == "report"
    assert {row["cell"] for row in report.table("grid")} == cells(study)
    for row in report.table("grid"):
        assert row["value"] == pytest.approx(results(study)[row["cell"]]["value"])
        assert row["n"] == ITEMS
    logged = media(report.summary)
    assert {name: kind for name, kind in logged.items() if kind == "plotly-file"}.keys() == {
        "grid/l2v on mini, mini dev",
        "grid/random on mini, mini dev",
    }
    assert logged["lat/kin/dispersion"] == "image-file"
    assert "lat/kin/outside" not in logged
    assert logged["page"] == "html-file"
    (artifact,) = [a for a in report.artifacts if a.kind == "report"]
    assert {"results.csv", "report/index.html", "lat/kin/lat.json", "lat/kin/dispersion.png"} <= set(artifact.files)
    heat = [json.loads(path.read_text()) for path in sorted(report.path.parent.rglob("*.plotly.json"))]
    shown = sorted(round(value, 4) for figure in heat for trace in figure["data"] for value in numbers(trace["z"]))
    diffs = [100 * row["diff"] for row in results(study).values() if row["method"] != "direct"]
    assert shown == sorted(round(value, 4) for value in diffs)
    score = runs["score-shown-official"]
    assert (score.job_type, score.config["cells"], score.config["responses"]) == ("score", CELLS, CELLS * ITEMS)


def media(summary: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Names of logged media with their kind."""
    found = {}
    for name, value in summary.items():
        if isinstance(value, dict) and "_type" in value:
            found[prefix + name] = value["_type"]
        elif isinstance(value, dict):
            found |= media(value, f"{prefix}{name}.")
    return found


def numbers(z: Any) -> list[float]:
    """Plotly writes arrays as text in base 64."""
    import base64

    import numpy as np

    if isinstance(z, dict):
        return [float(v) for v in np.frombuffer(base64.b64decode(z["bdata"]), z["dtype"])]
    return [value for row in z for value in row if not math.isnan(value)]


def test_a_repetition_adds_nothing(uploaded: tuple[Path, Any], l2v: Callable[..., Any]) -> None:
    study, first = uploaded
    assert first.out.startswith(f"{CELLS} cells written, 0 already there")
    assert f"wandb sync {study}/track/wandb/offline-run-*" in first.out
    before = listing(study)
    second = tracker_of(study, l2v)()
    assert (second.code, second.err) == (0, "")
    assert second.out.startswith(f"0 cells written, {CELLS} already there; 0 other runs")
    assert listing(study) == before


def listing(study: Path) -> dict[str, int]:
    files = (path for path in (study / "track").rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files}


# Kills itself while it uploads its nth run, when that is written but not finished.
KILLED = """
import os, signal, sys
from l2v.cli import main
from l2v.track.wandb import WandbTracker
fill, left = WandbTracker._fill, [int(sys.argv[1])]
def dying(self, wandb, shown, run):
    fill(self, wandb, shown, run)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
WandbTracker._fill = dying
main(sys.argv[2:])
"""


def test_a_kill_in_mid_upload_and_a_repetition_give_the_same_set(
    study: Path, track: Callable[..., Any], uploaded: tuple[Path, Any]
) -> None:
    at = 4
    undisturbed, _ = uploaded
    words = ["track", "study=shown", f"outputs={study.parent}", "progress=false"]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(at), *words], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (ledger,) = (study / "track").glob("*.jsonl")
    assert len(ledger.read_text().splitlines()) == at - 1
    assert len(wandb_files.read_all(study)) == at
    answer = track()
    assert answer.code == 0, answer.err
    runs, whole = by_id(study), by_id(undisturbed)
    assert {run_id: runs[run_id].content() for run_id in runs} == {run_id: whole[run_id].content() for run_id in whole}
    assert all(run.finished for run in runs.values())


def test_a_torn_line_of_the_ledger_costs_one_upload(again: Path, track_again: Callable[..., Any]) -> None:
    (ledger,) = (again / "track").glob("*.jsonl")
    data = ledger.read_bytes()
    ledger.write_bytes(data[:-10])
    assert "1 other runs" in track_again().out
    assert "0 other runs" in track_again().out
    assert len(by_id(again)) == len(data.splitlines())


def test_a_cell_that_is_scored_again_is_updated_under_its_id(
    again: Path, track_again: Callable[..., Any], l2v: Callable[..., Any]
) -> None:
    before = set(by_id(again))
    assert l2v("score", "study=shown", f"outputs={again.parent}", "scorer=robust").code == 0
    answer = track_again()
    assert answer.out.startswith(f"{CELLS} cells written, 0 already there")
    runs = by_id(again)
    assert set(runs) == before | {"score-shown-robust"}
    for cell in cells(again):
        assert runs[cell].summary["robust/accuracy/n"] == runs[cell].summary["official/accuracy/n"] == ITEMS


def test_offline_files_that_were_removed_are_made_again(again: Path, track_again: Callable[..., Any]) -> None:
    shutil.rmtree(again / "track" / "wandb")
    assert track_again().out.startswith(f"{CELLS} cells written")
    assert cells(again) <= set(by_id(again))


def test_wandb_itself_would_sync_the_files(uploaded: tuple[Path, Any]) -> None:
    study, answer = uploaded
    command = answer.out.splitlines()[1]
    # As a person pastes it where the programs are: the line holds a pattern of names that a shell fills in.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    said = subprocess.run(["sh", "-c", f"{command} --dry-run"], capture_output=True, text=True, env=environment)
    assert said.returncode == 0, said.stderr
    assert f"Would sync {len(by_id(study))} run(s)" in said.stdout + said.stderr


def test_text_that_breaks_things_is_stored_as_text(study: Path, track: Callable[..., Any]) -> None:
    cell = next(iter(cells(study)))
    folder = CellFolder(study / "cells" / cell)
    lines = folder.responses()
    strange = ["<script>alert(1)</script>", "long " * 20_000, "\u202eright to left", "nul \0 bell \a", "\ud800 alone"]
    rewrite(folder, strange)
    answer = track()
    assert (answer.code, answer.err) == (0, "")
    shown = {row["item"]: row["answer"] for row in by_id(study)[cell].table("examples")}
    told = [shown[line["id"]] for line in lines[: len(strange)]]
    assert told[0] == strange[0]
    assert told[1].startswith("long long ") and told[1].endswith("(100,000 characters)") and len(told[1]) < 5000
    assert told[2] == strange[2]
    assert told[3] == "nul \N{REPLACEMENT CHARACTER} bell \a"
    assert told[4] == "? alone"


def test_without_the_data_there_are_no_pictures_and_the_run_says_so(study: Path, track: Callable[..., Any]) -> None:
    for config in study.glob("cells/*/config.yaml"):
        stored = yaml.safe_load(config.read_text())
        stored["locations"]["benchmark"] = str(study / "nowhere")
        config.write_text(yaml.safe_dump(stored))
    assert track().code == 0
    for cell in cells(study):
        run = by_id(study)[cell]
        assert "could not be read" in run.summary["examples/pictures"]
        assert [row["image"] for row in run.table("examples")] == [None] * ITEMS


def test_a_picture_that_cannot_be_read_costs_itself_alone(
    study: Path, track: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrupt() -> None:
        raise OSError("broken PNG")

    real = track_examples.image_readers
    monkeypatch.setattr(track_examples, "image_readers", lambda *asked: (found := real(*asked)) | {min(found): corrupt})
    assert track().code == 0
    for cell in cells(study):
        run = by_id(study)[cell]
        assert run.summary["examples/pictures"] == "The pictures of 1 items could not be read."
        shown = {row["item"]: row["image"] for row in run.table("examples")}
        assert [item for item, image in shown.items() if image is None] == [min(shown)] and len(shown) == ITEMS


def test_a_key_lands_in_no_file(study: Path, track: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert track("tracker.mode=offline").code == 0
    files = [path for path in study.rglob("*") if path.is_file()]
    assert len(files) > CELLS
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_key_is_found_where_wandb_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from l2v.track.wandb import knows_key

    assert not knows_key()
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert knows_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not knows_key()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert knows_key()


@pytest.mark.parametrize("synced", [False, True])
def test_with_a_key_what_was_not_synced_goes_online(
    synced: bool, again: Path, track_again: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offline = by_id(again)
    for run in offline.values():
        if synced:
            # As `wandb sync` marks it.
            run.path.with_name(f"{run.path.name}.synced").touch()
    service = MagicMock(__spec__=ModuleSpec("wandb", None))
    service.Settings.model_fields = {"mode": None}
    service.init.return_value.dir = str(tmp_path / "online" / "files")
    service.init.return_value.project_url = "https://wandb.example.org/l2v"
    monkeypatch.setitem(sys.modules, "wandb", service)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    answer = track_again()
    assert (answer.code, answer.err) == (0, "")
    uploaded = [call.kwargs["id"] for call in service.init.call_args_list]
    assert sorted(uploaded) == ([] if synced else sorted(offline))
    assert len(wandb_files.read_all(again)) == (len(offline) if synced else 0), "`wandb sync` would upload them again"
    if not synced:
        assert "https://wandb.example.org/l2v" in answer.out
        assert all(call.kwargs["resume"] == "allow" for call in service.init.call_args_list)
        assert {call.kwargs["mode"] for call in service.Settings.call_args_list} == {"online"}
        assert service.init.return_value.use_artifact.call_count == CELLS - 1
    assert track_again().out.startswith(f"0 cells uploaded, {CELLS} already there; 0 other runs")


def test_uploads_that_fail_are_told_and_end_with_1(
    study: Path, track: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**settings: Any) -> None:
        raise RuntimeError(f"no room for {KEY}")

    broken = ModuleType("wandb")
    known = type("Settings", (), {"model_fields": {}})
    broken.__dict__.update(init=init, teardown=lambda: None, Settings=known, __spec__=ModuleSpec("wandb", None))
    monkeypatch.setitem(sys.modules, "wandb", broken)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    answer = track("tracker.mode=offline")
    assert answer.code == 1
    assert answer.out.startswith("0 cells written")
    assert "3 uploads failed" in answer.err and "RuntimeError: no room for $WANDB_API_KEY" in answer.err
    assert "Given up" in answer.err and "Traceback" not in answer.err
    assert KEY not in answer.out + answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("study=shwon",), "There is no study 'shwon'"),
        (("tracker=wnadb",), "Unknown tracker 'wnadb'; did you mean wandb"),
        (("tracker=none",), "tracker=none uploads nothing"),
        (("tracker.mode=onlin",), "Unknown tracker.mode 'onlin'; did you mean online"),
        (("tracker.mode=online",), "needs a key"),
        (("tracker.project=''",), "tracker.project is empty"),
        (("tracker.examples=-1",), "must be at least 0"),
        (("tracker.timeout=0",), "above 0"),
    ],
)
def test_bad_settings_end_in_one_sentence(words: tuple[str, ...], said: str, study: Path, track: Callable[..., Any]) -> None:
    answer = track(*words)
    assert answer.code == 2
    assert answer.err.startswith("l2v track: ") and said in answer.err and len(answer.err.splitlines()) == 1
    assert not (study / "track").exists()


def test_a_missing_package_is_named_with_its_extra(track: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2v.track.trackers.find_spec", lambda name: None)
    answer = track("tracker=trackio")
    assert (answer.code, "pip install 'l2v[trackio]'" in answer.err) == (2, True)


def test_damaged_states_of_a_model_are_not_sent(study: Path, track: Callable[..., Any]) -> None:
    """Nothing that is shown is made of them, and size and time are as they were. A pipe where the lock was is no matter."""
    # Studies of other tests may lie beside this one.
    for path in study.parent.glob("cache/directions/*.safetensors"):
        found = Directions.load(path)
        layers, width = found.mean.shape
        replace(found, states=torch.ones(layers, 2 * found.n, width)).save(path)
        whole, then = path.read_bytes(), path.stat()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    (study / "track").mkdir()
    os.mkfifo(study / "track" / "wandb-l2v.lock")
    answer = track()
    assert answer.code == 1 and "The states of block" in answer.err, answer.err
    assert {run.job_type for run in by_id(study).values()} == {"run", "score", "report"}


def test_damaged_verdicts_of_a_second_scorer_are_not_sent(
    tiny: Callable[..., Any], l2v: Callable[..., Any], tmp_path: Path
) -> None:
    """Where no difference to a baseline reads them."""
    words = ("study=alone", "method=l2v", "scorer=[official,robust]", "benchmark.limit=2", f"runtime.outputs={tmp_path}")
    assert tiny(*words).code == 0
    (path,) = tmp_path.glob("alone/cells/*/scores/robust.jsonl")
    path.write_bytes(path.read_bytes().replace(b"false", b"true "))
    answer = l2v("track", "study=alone", f"outputs={tmp_path}", "progress=false")
    assert answer.code == 1 and str(path) in answer.err, answer.err
