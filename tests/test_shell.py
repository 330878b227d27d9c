"""What helps at a terminal: completion, names of verbs, the list of studies, a grid's table."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v.verbs import VERBS
from l2v.verbs.completion import SCRIPT

TAB = 'COMP_LINE=$1 COMP_POINT=${#1}; _l2v_complete; printf "%s\\n" "${COMPREPLY[@]}"'


@pytest.fixture(scope="module")
def grid(tiny: Callable[..., Any], outputs: Path) -> str:
    answer = tiny("--multirun", "study=shell_grid", "method=l2v,random", "intervention.layer=1,2", "intervention.alpha=0.3,0.5")
    assert answer.code == 0, answer.err
    assert "No baseline: the arm direct was not run" in answer.out
    return "shell_grid"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("l2v sta", ["status "]),
        ("l2v run meth", ["method=", "method.name=", "method.prompt="]),
        ("l2v run target=mini_d", ["mini_drifted"]),
        ("l2v run --multirun method=direct,l2", ["direct,l2v"]),
        ("l2v status fo", ["format="]),
        ("l2v nonsense x", []),
    ],
)
def test_bash_completes_verbs_settings_and_choices(line: str, found: list[str]) -> None:
    """The script that is printed, in a real bash."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-c", f"{SCRIPT}\n{TAB}", "bash", line]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=True)
    assert done.stdout.splitlines()[: len(found) or None] == (found or [""])


def test_studies_that_are_there_are_completed(tmp_path: Path, l2v: Callable[..., Any]) -> None:
    for name in ("first", "second", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.json").touch()
    for verb, key in (("report", "study"), ("report", "compare"), ("status", "study")):
        found = l2v("completion", f"l2v {verb} outputs={tmp_path} {key}=").out.split()
        assert found == [f"{key}=first", f"{key}=other", f"{key}=second"]
    assert l2v("completion", f"l2v run runtime.outputs={tmp_path} study=f").out.split() == ["study=first"]
    assert l2v("completion", "l2v report outputs=/none study=").out.split() == []


def test_an_unknown_verb_lists_the_verbs(l2v: Callable[..., Any]) -> None:
    far, near = l2v("nonsense"), l2v("reprot")
    assert far.code == near.code == 2
    assert "did you mean" not in far.err and all(verb in far.err for verb in VERBS)
    assert "did you mean report?" in near.err


@pytest.mark.parametrize(
    "word",
    ["intervention.layer=99", "intervention.source_layer=99", "intervention.alpha=-1", "intervention.cutoff=999",
     "intervention.alhpa=0.5", "method=l2w"],
)  # fmt: skip
def test_what_has_no_sense_is_told_before_much_is_loaded(word: str, tmp_path: Path) -> None:
    heavy = {"torch", "pandas", "scipy", "numpy", "PIL", "tqdm", "l2v.study.store", "l2v.track.tracker"}
    probe = f"import sys; from l2v.cli import main; code = main(sys.argv[1:]); print(code, *{heavy} & {{*sys.modules}})"
    words = [sys.executable, "-c", probe, "run", word, f"runtime.outputs={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2"] and word.partition("=")[0] in done.stderr


def test_status_without_a_study_lists_them(grid: str, pair: Path, l2v: Callable[..., Any], outputs: Path) -> None:
    lines = l2v("status", f"outputs={outputs}").out.splitlines()
    counts = {line.split()[0]: line.split()[1:] for line in lines}
    assert counts["study"] == ["done", "running", "failed", "waiting", "rows"]
    assert counts[grid][:4] == ["8", "0", "0", "0"] and counts[pair.name][:4] == ["2", "0", "0", "0"]
    there, of, wanted = counts[grid][4:]
    assert (there, of) == (wanted, "of")
    told = [json.loads(line) for line in l2v("status", f"outputs={outputs}", "format=json").out.splitlines()]
    assert {one["study"]: one["done"] for one in told}[grid] == 8


def test_a_grid_is_told_by_its_arms_and_by_layer_and_alpha(grid: str, l2v: Callable[..., Any], outputs: Path) -> None:
    """Every accuracy of the CSV stands in the grid of its arm; every cell has a row where that is asked for."""
    words = ("report", f"study={grid}", f"outputs={outputs}", "page=false")
    text, whole = l2v(*words).out, l2v(*words, "cells=all").out
    rows = list(csv.DictReader(io.StringIO(l2v(*words, "format=csv").out)))
    assert len(re.findall(r"^l2v mini_kin ", text, re.M)) == 1 and len(re.findall(r"^l2v mini_kin ", whole, re.M)) == 4
    for method in ("l2v", "random"):
        (block,) = re.findall(rf"^{method} .*layer by alpha.*\n((?:.+\n)+)", text, re.M)
        alphas, _, *lines = [line.split() for line in block.splitlines()]
        shown = {(line[0], a): v.rstrip("*") for line in lines for a, v in zip(alphas[1:], line[1:], strict=True)}
        own = [row for row in rows if row["method"] == method]
        assert shown == {(f"{float(r['layer']):g}", r["alpha"]): f"{100 * float(r['value']):.1f}" for r in own}
        assert block.count("*") == 1
    # The null arm stands above the arm that it is held against.
    assert text.index("\nrandom mini_kin") < text.index("\nl2v mini_kin")


def test_scores_are_printed_and_an_abstaining_scorer_says_why(grid: str, l2v: Callable[..., Any], outputs: Path) -> None:
    answer = l2v("score", f"study={grid}", f"outputs={outputs}", "scorer=robust", "progress=false")
    assert "mini robust accuracy: 8 cells of 8 items" in answer.out and f"`l2v report study={grid} scorer=robust`" in answer.out
    rows = [r for r in csv.DictReader((outputs / grid / "results.csv").open()) if r["scorer"] == "robust"]
    low, high = (f"{100 * bound(float(r['value']) for r in rows):.1f}" for bound in (min, max))
    assert answer.out.splitlines()[0].endswith(f" {low} %" if low == high else f" {low} to {high} %"), "one figure is no range"
    share = sum(float(row["unresolved_share"]) for row in rows) / len(rows)
    assert share > 0.5, "the miniature's answers are none that robust reads"
    assert f"robust abstains on {100 * share:.0f} % of the answers" in answer.out


def test_the_bar_counts_on_from_its_first_rows() -> None:
    """Before them a model is loaded and the engine probed: a hundred rows do not take fifty times as long."""
    from l2v.study.workers.executors.progress import RowBar

    clock = [0.0]
    with RowBar(total=102, initial=0, file=io.StringIO(), mininterval=0, smoothing=0.1) as bar:
        bar._time = lambda: clock[0]
        bar.start_t = bar.last_print_t = 0.0
        assert "<?" in str(bar)
        clock[0] = 20.0
        bar.update(2)
        assert "2/102 [00:00<?" in str(bar)
        clock[0] = 21.0
        bar.update(10)
        assert "12/102 [00:01<00:09, 10.00it/s]" in str(bar)
    with RowBar(total=3, disable=True) as quiet:
        quiet.update(2)


def test_the_bar_names_its_phase_and_tells_no_time_left_before_it_is_known(
    l2v_process: Callable[..., Any], tmp_path: Path
) -> None:
    words = ("study=phases", "benchmark.limit=4", f"runtime.outputs={tmp_path}", "runtime.page=false")
    _, err = l2v_process("run", *words).communicate(timeout=120)
    assert "leaked" not in err, "what libraries made is still there at the end"
    lines = [line for line in re.split(r"[\r\n]+", err) if "phases (dev)" in line]
    named = [line.rpartition(", ")[2].split("]")[0].split()[0] for line in lines if line.count(",") > 1]
    assert list(dict.fromkeys(named)) == ["reading", "loading", "answering", "scoring"], lines
    assert [line for line in lines if " 0/4" in line and "<?" not in line] == []
