"""An arm, a scorer and a benchmark of another distribution, installed beside l2v and used through its command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from forked import Template

from l2v import outside
from l2v.benchmarks import catalogue, scoring
from l2v.transfer.arms import ARMS

Verb = Callable[..., Any]

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


@contextmanager
def beside(site: Path) -> Iterator[None]:
    """The example installed in this process, for as long as the test takes."""
    sys.path.insert(0, str(site))
    outside._found.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        outside._found.cache_clear()
        for table in (ARMS, catalogue.OUTSIDE, scoring.OUTSIDE):
            for name in {"mirror", "parity", "last_word"} & set(dict.keys(table)):
                del table[name]
        for name in [name for name in sys.modules if name.startswith("l2v_example")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example is installed."""
    return installed(tmp_path_factory.mktemp("installed"))


def test_what_another_distribution_brings_is_run_scored_and_reported(site: Path, tmp_path: Path, template: Template) -> None:
    """In processes of their own, as a person would."""

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        return template.run("-m", "l2v.cli", *words, env=os.environ | {"PYTHONPATH": path}, timeout=300)

    asked = (f"runtime.outputs={tmp_path}", "study=outside", *GRID)
    run = command("run", "--multirun", *asked, "method=direct,mirror", "benchmark=parity", "scorer=[official]")
    assert run.returncode == 0, run.stderr
    scored = command("score", f"outputs={tmp_path}", "study=outside", "scorer=last_word", "progress=false")
    assert scored.returncode == 0, scored.stderr
    table = pd.read_csv(tmp_path / "outside" / "results.csv")
    assert sorted(zip(table["method"], table["scorer"], strict=True)) == [
        (method, scorer) for method in ("direct", "mirror") for scorer in ("last_word", "official")
    ]
    assert set(table["packages"]) == {"l2v-example 1.0"}
    (cell,) = set(table[table["method"] == "mirror"]["cell"])
    folder = tmp_path / "outside" / "cells" / cell
    rows = [json.loads(line) for line in (folder / "responses.jsonl").open()]
    verdicts = [json.loads(line) for line in (folder / "scores" / "last_word.jsonl").open()]
    assert [verdict["extraction"] for verdict in verdicts] == [row["response"].split()[-1] for row in rows]


def test_another_version_is_another_cell_and_the_packages_own_cells_stay(site: Path, tmp_path: Path, l2v: Verb) -> None:
    listed = []
    for place in (site, site, installed(tmp_path, "2.0")):
        with beside(place):
            listed.append(l2v("run", *GRID, "method=mirror", "dry_run=true", "list_cells=true").out.partition("\n\n")[2])
            own = l2v("run", *GRID, "method=l2v", "dry_run=true").out
    once, again, other = (answer.split()[0] for answer in listed)
    assert once == again != other
    assert "l2v-example 1.0" in listed[0] and "l2v-example 2.0" in listed[2]
    assert own == l2v("run", *GRID, "method=l2v", "dry_run=true").out


def test_a_name_that_nobody_brings_is_refused_with_those_there_are(site: Path, l2v: Verb) -> None:
    assert outside.package_of("l2v.arms", "mirror") is None
    assert "'mirror'" in l2v("run", "method.name=mirror", "dry_run=true").err
    with beside(site):
        near = {"method.name=mirrored": "mirror", "scorer=[last_wrd]": "last_word", "benchmark.name=party": "parity"}
        for word, meant in near.items():
            answer = l2v("run", *GRID, word, "dry_run=true")
            assert answer.code == 2 and f"did you mean {meant}" in answer.err


@pytest.mark.parametrize(
    ("content", "told"), [("raise ImportError('no such thing')", "no such thing"), ("MIRROR = 3", "is no Arm")]
)
def test_what_does_not_load_is_told_in_one_sentence(content: str, told: str, tmp_path: Path, l2v: Verb) -> None:
    site = installed(tmp_path, "3.0")
    (site / "l2v_example" / "arms.py").write_text(f"{content}\n")
    with beside(site):
        answer = l2v("run", *GRID, "method=mirror", "dry_run=true")
    assert answer.code == 2 and len(answer.err.splitlines()) == 1
    assert "l2v-example 3.0" in answer.err and told in answer.err
