"""`l2v track tracker=trackio`: its local database is read back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rewritten import rewrite

from l2v.study.cell_folder import CellFolder

pytest.importorskip("trackio")

CELLS, ITEMS = 2, 8
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def study(pair: Path, outputs: Path) -> Path:
    """A finished study with a baseline and an arm; one response holds a script."""
    shutil.copytree(pair, outputs / "local")
    for path in (outputs / "local").glob("cells/*/responses.jsonl"):
        rewrite(CellFolder(path.parent), [SCRIPT])
    return outputs / "local"


@pytest.fixture(scope="module")
def track(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[str, str]]:
    """`l2v track study=local tracker=trackio` as a process, as trackio reads its folder once; what it says."""

    def call() -> tuple[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("TRACKIO_")}
        # Would send everything elsewhere.
        env |= {"TRACKIO_SPACE_ID": "someone/somewhere", "TRACKIO_SERVER_URL": "http://127.0.0.1:1"}
        env |= {"HOME": str(tmp_path_factory.mktemp("home"))}
        words = ["track", "study=local", "tracker=trackio", f"outputs={study.parent}", "progress=false"]
        done = subprocess.run([sys.executable, "-m", "l2v.cli", *words], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return call


@pytest.fixture(scope="module")
def first(track: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """What the first upload said."""
    return track()


def rows(study: Path, table: str) -> list[dict[str, Any]]:
    """A table of trackio's database."""
    with sqlite3.connect(study / "track" / "trackio" / "l2v.db") as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {table}")]


def logged(study: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Run id -> (config, metrics)."""
    configs = {row["run_name"]: json.loads(row["config"]) for row in rows(study, "configs")}
    metrics = {row["run_name"]: json.loads(row["metrics"]) for row in rows(study, "metrics")}
    assert len(rows(study, "metrics")) == len(metrics), "a run was logged twice"
    return {configs[name]["run_id"]: (configs[name], metrics[name]) for name in metrics}


def settings(runs: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Run id -> config, without what trackio adds (when it was made)."""
    return {run: {k: v for k, v in config.items() if not k.startswith("_")} for run, (config, _) in runs.items()}


def test_the_database_holds_each_cell_once(study: Path, first: tuple[str, str]) -> None:
    out, err = first
    assert err == ""
    assert out.splitlines()[0].startswith(f"{CELLS} cells written, 0 already there")
    folder = shlex.quote(str(study / "track" / "trackio"))
    assert out.splitlines()[1:] == [f"TRACKIO_DIR={folder} trackio show --project l2v"]
    runs = logged(study)
    results = pd.read_csv(study / "results.csv").set_index("cell").to_dict("index")
    assert {run for run, (config, _) in runs.items() if config["job_type"] == "run"} == set(results)
    assert {config["job_type"] for config, _ in runs.values()} == {"run", "extract", "score", "report"}
    for cell, row in results.items():
        config, metrics = runs[cell]
        assert (config["method"], config["study"], config["benchmark"]) == (row["method"], "local", "mini")
        assert row["method"] in config["tags"].split(", ")
        assert metrics["official/accuracy"] == pytest.approx(row["value"])
        assert metrics["official/accuracy/n"] == ITEMS
        assert metrics["official/accuracy/low"] == pytest.approx(row["low"], rel=1e-5)
        table = metrics["examples"]["_value"]
        assert len(table) == ITEMS
        assert all(example["image"]["_type"] == "trackio.image" for example in table)
        assert (study / "track" / "trackio" / "media" / table[0]["image"]["file_path"]).is_file()
        # trackio shows text as Markdown and HTML.
        assert [example["answer"] for example in table].count("&lt;script&gt;alert(1)&lt;/script&gt;") == 1
        assert SCRIPT not in json.dumps(table)


def test_directions_are_produced_by_one_run_and_used_by_another(study: Path, first: tuple[str, str]) -> None:
    (cell,) = [cell for cell, (config, _) in logged(study).items() if config.get("method") == "l2v"]
    named = {row["id"]: row["name"] for row in rows(study, "artifacts")}
    versions = {row["id"]: named[row["artifact_id"]] for row in rows(study, "artifact_versions")}
    (directions,) = [name for name in named.values() if name.startswith("directions-")]
    links = [row for row in rows(study, "run_artifact_links") if versions[row["artifact_version_id"]] == directions]
    used = [row["run_name"] for row in links if row["direction"] == "input"]
    made = [row["run_name"] for row in links if row["direction"] == "output"]
    assert [run.endswith(f"({cell})") for run in used] == [True]
    assert [run.endswith(f"({directions})") for run in made] == [True]


def test_a_repetition_adds_only_what_a_kill_left_unfinished(
    study: Path, first: tuple[str, str], track: Callable[[], tuple[str, str]]
) -> None:
    (ledger,) = (study / "track").glob("*.jsonl")
    lines = ledger.read_text().splitlines(keepends=True)
    cut = json.loads(lines[1])
    assert cut["job_type"] == "run"
    # As after a kill between trackio's last write and the ledger's.
    ledger.write_text("".join(lines[:1] + lines[2:]))
    before, kept = logged(study), {row["id"] for row in rows(study, "metrics")}
    out, _ = track()
    assert out.startswith(f"1 cells written, {CELLS - 1} already there; 0 other runs")
    assert settings(logged(study)) == settings(before)
    assert len(kept - {row["id"] for row in rows(study, "metrics")}) == 1
