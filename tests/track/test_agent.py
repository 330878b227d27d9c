"""A sweep of Weights & Biases: one run per command of its agent, the cell's own; and the saved view of a study."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wandb_files
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict

from l2v.report.study import read_study
from l2v.report.style import ARM_COLOURS
from l2v.report.tables import study_report
from l2v.study.columns import COLUMNS
from l2v.track.workspace import AXES

DASHBOARDS = Path(__file__).parents[2] / "docs" / "dashboards.md"
pytestmark = pytest.mark.usefixtures("no_account")


def agent_command(values: dict[str, Any]) -> list[str]:
    """What wandb's agent runs for these values, by the sweep that the documents show."""
    (text,) = re.findall(r"```yaml\n(# sweep.yaml.*?)```", DASHBOARDS.read_text(encoding="utf-8"), re.DOTALL)
    sweep = yaml.safe_load(text)
    assert set(values) == set(sweep["parameters"]) and sweep["metric"]["name"] == "official/accuracy"
    args = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    words: list[str] = []
    for word in create_sweep_command(sweep["command"]):
        words += args[word[2:-1]] if word.startswith("${") else [word]
    assert words[0] == "l2v"
    return words[1:]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, l2v: Callable[..., Any], outputs: Path) -> Callable[..., Any]:
    """Runs a command as an agent does: the run's id and values in the environment."""

    def start(run: str, values: dict[str, Any], *more: str) -> Any:
        path = tmp_path / "wandb" / "sweep-s1" / f"config-{run}.yaml"
        save_config_file_from_dict(str(path), {key: {"value": value} for key, value in values.items()})
        for name, value in (("SWEEP_ID", "s1"), ("RUN_ID", run), ("SWEEP_PARAM_PATH", str(path)), ("DIR", str(tmp_path))):
            monkeypatch.setenv(f"WANDB_{name}", value)
        usual = ("benchmark.limit=8", "runtime.progress=false", "runtime.page=false", f"runtime.outputs={outputs}")
        verb, *words = agent_command(values)
        return l2v(verb, *words, *usual, *more)

    return start


def test_four_runs_of_an_agent_are_four_runs_each_with_its_id_settings_and_metric(
    agent: Callable[..., Any], outputs: Path, monkeypatch: pytest.MonkeyPatch, l2v: Callable[..., Any]
) -> None:
    grid = [(layer, alpha) for layer in (1, 2) for alpha in (0.3, 0.5)]
    for place, (layer, alpha) in enumerate(grid):
        answer = agent(f"run{place}", {"intervention.layer": layer, "intervention.alpha": alpha})
        assert answer.code == 0, answer.err
        assert f"the sweep's run run{place} written (wandb, the sweep's project)" in answer.err
    runs = {run.id: run for run in wandb_files.read_all(outputs / "swept")}
    assert sorted(runs) == ["run0", "run1", "run2", "run3"]
    told = pd.read_csv(outputs / "swept" / "results.csv").set_index(["layer", "alpha"])["value"]
    for place, (layer, alpha) in enumerate(grid):
        run = runs[f"run{place}"]
        assert (run.job_type, run.config["layer"], run.config["alpha"]) == ("run", layer, alpha)
        assert run.config["intervention.layer"] == layer, "what the sweep set is there by its name too"
        assert run.summary["official/accuracy"] == pytest.approx(told[layer, alpha])
    # The same values again: an agent's run is never left empty, and the cell is not computed again.
    assert agent("run4", {"intervention.layer": 1, "intervention.alpha": 0.3}).code == 0
    assert {run.id for run in wandb_files.read_all(outputs / "swept")} == {*runs, "run4"}
    several = agent("run5", {"intervention.layer": 1, "intervention.alpha": 0.3}, "--multirun", "method=direct,l2v")
    assert several.code == 2 and "2 cells" in several.err
    unnamed = agent("run6", {"intervention.layer": 1, "intervention.alpha": 0.3}, "scorer=robust")
    assert unnamed.code == 2 and "official/accuracy" in unnamed.err and "scorer=official,robust" in unnamed.err
    refused = l2v("track", "study=swept", f"outputs={outputs}")
    assert refused.code == 2 and "sweep" in refused.err


def test_a_run_whose_tracking_failed_is_no_success_without_a_metric(
    agent: Callable[..., Any], outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent counts exit code 0 as a run that was told its metric."""
    down = "class Settings:\n    model_fields = {}\ndef teardown(): pass\ndef init(**_): raise RuntimeError('no service')\n"
    (tmp_path / "wandb.py").write_text(down)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answer = agent("lost", {"intervention.layer": 2, "intervention.alpha": 0.7})
    assert answer.code == 1
    assert "the sweep's run lost not written, so that this command counts as failed (RuntimeError: no service)" in answer.err
    assert "outside of the sweep uploads the stored cell" in answer.err
    # The cell is kept: the same command with the service there computes nothing and is one run.
    monkeypatch.delenv("PYTHONPATH")
    answer = agent("found", {"intervention.layer": 2, "intervention.alpha": 0.7})
    assert answer.code == 0 and "the sweep's run found written" in answer.err, answer.err
    run = {run.id: run for run in wandb_files.read_all(outputs / "swept")}["found"]
    assert "official/accuracy" in run.summary


def test_the_saved_view_may_go_along_every_setting_that_has_an_axis() -> None:
    """Of an arm without a vector too: the share of a merging, the shots of a prompt."""
    assert {column.name for column in COLUMNS.values() if column.axis and column.path} - {"source_layer"} <= set(AXES)


def test_the_saved_view_lies_beside_the_runs_without_a_key(copied_pair: Path, l2v: Callable[..., Any]) -> None:
    words = (f"study={copied_pair.name}", f"outputs={copied_pair.parent}", "progress=false")
    answer = l2v("track", *words, "workspace=true")
    assert answer.code == 0, answer.err
    path = copied_pair / "track" / "workspace.json"
    assert f"workspace: {path}; report: {path.with_name('report.json')}; with a key" in answer.out
    view = json.loads(path.read_text())
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    panels = [panel["viewType"] for section in sections for panel in section["panels"]]
    assert {"Parallel Coordinates Plot", "Parameter Importance", "Bar Chart", "Scatter Plot"} <= set(panels)
    assert view["displayName"] == f"l2v {copied_pair.name}" and "official/accuracy" in path.read_text()
    report = json.loads(path.with_name("report.json").read_text())
    (table,) = [block["content"] for block in report["spec"]["blocks"] if block["type"] == "markdown-block"]
    assert table == study_report(read_study(str(copied_pair.parent), copied_pair.name), format="md")
    (grid,) = [block["metadata"] for block in report["spec"]["blocks"] if block["type"] == "panel-grid"]
    assert {panel["viewType"] for panel in grid["panelBankSectionConfig"]["panels"]} <= set(panels)
    # A group would be one line: cells stand alone, coloured by method, in sets of what is reported and of every method.
    assert view["spec"]["section"]["runSets"][0]["grouping"] == []
    assert [runs["name"] for runs in grid["runSets"]] == ["reported cells", "direct", "l2v"]
    colours = view["spec"]["section"]["customRunColors"]
    cells = {row["cell"]: row["method"] for row in pd.read_csv(copied_pair / "results.csv").to_dict("records")}
    assert {cells[cell]: colours[cell] for cell in cells} == {name: ARM_COLOURS[name] for name in ("direct", "l2v")}
    assert l2v("track", *words, "workspace=true", "tracker=trackio").code == 2
