"""An arm, a scorer and a benchmark of another distribution, installed beside l2v and used through its command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.outside import package_of

HERE = Path(__file__).parent / "outside"
GRID = ("runtime.progress=false", "runtime.page=false", "runtime.device=cpu", "benchmark.limit=4", f"--config-dir={HERE}/conf")


def installed(place: Path, version: str = "1.0") -> Path:
    """The example as a wheel, unpacked as an installer does; hatchling builds it where it is, else its metadata are written."""
    shutil.copytree(HERE, place / "source")
    project = place / "source" / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "1.0"', f'version = "{version}"'))
    site = place / f"site-{version}"
    build = "from hatchling.build import build_wheel; build_wheel(__import__('sys').argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(place)], cwd=place / "source", capture_output=True, text=True)
    if done.returncode == 0:
        with zipfile.ZipFile(next(place.glob(f"*-{version}-*.whl"))) as wheel:
            wheel.extractall(site)
        return site
    site.mkdir()
    shutil.copytree(HERE / "l2v_example", site / "l2v_example")
    info = site / f"l2v_example-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: l2v-example\nVersion: {version}\n")
    groups, lines = project.read_text().split("[project.entry-points.")[1:], []
    for group in groups:
        name, _, entries = group.partition("]")
        lines += [f"[{name.strip(chr(34))}]", *entries.replace('"', "").strip().splitlines()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


def command(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """`l2v …` as a process to which the example is installed."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    call = [sys.executable, "-m", "l2v.cli", *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed."""
    return installed(tmp_path_factory.mktemp("installed"))


def test_what_another_distribution_brings_is_run_scored_and_reported(site: Path, tmp_path: Path) -> None:
    asked = (f"runtime.outputs={tmp_path}", "study=outside", *GRID)
    run = command(site, "run", "--multirun", *asked, "method=direct,mirror", "benchmark=parity", "scorer=[official,last_word]")
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(tmp_path / "outside" / "results.csv")
    assert sorted(zip(table["method"], table["scorer"], strict=True)) == [
        (method, scorer) for method in ("direct", "mirror") for scorer in ("last_word", "official")
    ]
    assert set(table["packages"]) == {"l2v-example 1.0"}
    (folder,) = {table["cell"][i] for i in table.index if table["method"][i] == "mirror"}
    verdicts = [json.loads(line) for line in (tmp_path / "outside/cells" / folder / "scores/last_word.jsonl").open()]
    rows = [json.loads(line) for line in (tmp_path / "outside/cells" / folder / "responses.jsonl").open()]
    assert [verdict["extraction"] for verdict in verdicts] == [row["response"].split()[-1] for row in rows]
    report = command(site, "report", f"outputs={tmp_path}", "study=outside", "scorer=last_word", "page=false", "format=csv")
    assert report.returncode == 0, report.stderr
    assert "mirror" in report.stdout


def test_another_version_is_another_cell_and_the_packages_own_cells_stay(
    site: Path, tmp_path: Path, tiny: Callable[..., Any]
) -> None:
    newer = installed(tmp_path, "2.0")
    listed = [command(place, "run", *GRID, "method=mirror", "dry_run=true") for place in (site, site, newer)]
    assert [answer.returncode for answer in listed] == [0, 0, 0], listed[0].stderr
    once, again, other = (answer.stdout.split()[0] for answer in listed)
    assert once == again != other
    assert "l2v-example 1.0" in listed[0].stdout and "l2v-example 2.0" in listed[2].stdout
    own = command(site, "run", *GRID, "method=l2v", "dry_run=true").stdout.split()[0]
    assert own == tiny("study=own", "benchmark.limit=4", "dry_run=true").out.split()[0]


def test_a_name_that_nobody_brings_is_refused_with_those_there_are(site: Path, tiny: Callable[..., Any]) -> None:
    assert package_of("l2v.arms", "mirror") is None
    assert tiny("method.name=mirror").code == 2
    answer = command(site, "run", *GRID, "method.name=mirrored")
    assert answer.returncode == 2 and "mirror" in answer.stderr
    answer = command(site, "run", *GRID, "scorer=[last_wrd]")
    assert answer.returncode == 2 and "last_word" in answer.stderr


def test_what_does_not_load_is_told_in_one_sentence(tmp_path: Path) -> None:
    site = installed(tmp_path, "3.0")
    (site / "l2v_example" / "arms.py").write_text("raise ImportError('no such thing')\n")
    answer = command(site, "run", *GRID, "method=mirror")
    assert answer.returncode == 2 and len(answer.stderr.splitlines()) == 1
    assert "l2v-example 3.0" in answer.stderr and "no such thing" in answer.stderr
    (site / "l2v_example" / "arms.py").write_text("MIRROR = 3\n")
    answer = command(site, "run", *GRID, "method=mirror")
    assert answer.returncode == 2 and "is no Arm" in answer.stderr
