"""Races through the command line: who wins, what is computed, and that nothing but what is stored decides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chaos import PATIENCE, wait_until

from l2v.report.page.page import write_page
from l2v.report.race import looks_table
from l2v.report.study import open_study
from l2v.study import heats
from l2v.study.store import Store

GRID = (
    "--multirun", "target=mini", "source=mini_kin", "method=direct,l2v", "intervention.layer=0,3",
    "intervention.scale=relative",
    "intervention.alpha=0.1,0.3,0.5,0.7", "intervention.cutoff=34", "protocol.select=dev", "protocol.report=test",
    "benchmark.limit=40",
)  # fmt: skip


def selection(outputs: Path, study: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((outputs / study / "selection.json").read_text())
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def arm(outputs: Path, study: str, method: str) -> dict[str, Any]:
    return next(arm for arm in selection(outputs, study)["arms"] if arm["arm"].startswith(method))


@pytest.fixture(scope="module")
def raced(tiny: Callable[..., Any], outputs: Path) -> Path:
    answer = tiny(*GRID, "study=raced", "protocol.name=race")
    assert answer.code == 0, answer.err
    assert "raced: " in answer.out
    return outputs


def test_the_race_finds_the_full_grids_accuracy_with_fewer_rows(raced: Path, tiny: Callable[..., Any]) -> None:
    assert tiny(*GRID, "study=whole", "protocol.name=select_then_test").code == 0
    tables = {name: pd.read_csv(raced / name / "results.csv") for name in ("raced", "whole")}
    told = {name: t[(t["method"] == "l2v") & (t["split"] == "test")].iloc[0] for name, t in tables.items()}
    assert told["raced"]["value"] >= told["whole"]["value"] - 0.05 > 0.8
    assert told["raced"]["n"] == 40 and told["raced"]["budget"] == 8
    found = arm(raced, "raced", "l2v")
    rows = sum(len(one["cells"]) * one["problems"] for one in found["rounds"])
    assert found["problems"] == 40 and 0 < rows < 0.35 * 8 * 40
    assert set(tables["raced"]["split"]) == {"test"}, "looks of a race are no results"


def test_every_look_names_its_cells_their_scores_and_why_some_go(raced: Path) -> None:
    rounds = arm(raced, "raced", "l2v")["rounds"]
    for before, after in zip(rounds, rounds[1:], strict=False):
        gone = {drop["cell"] for drop in before["dropped"]}
        assert set(after["cells"]) == set(before["cells"]) - gone and after["seen"] == before["seen"] + after["problems"]
    assert {drop["why"] for one in rounds for drop in one["dropped"]} <= {"worse", "unlikely", "budget", "equal"}
    assert all(len(one["values"]) == len(one["cells"]) for one in rounds)
    last = set(rounds[-1]["cells"]) - {drop["cell"] for drop in rounds[-1]["dropped"]}
    assert last == {arm(raced, "raced", "l2v")["select"]}
    assert arm(raced, "raced", "direct")["rounds"] == []


def test_the_page_and_the_trackers_show_the_race(raced: Path) -> None:
    found = arm(raced, "raced", "l2v")
    study = open_study(Store(raced, "raced"))
    page = write_page(study, examples=0).read_text()
    section = page[page.index('<section id="race"') : page.index("</section>", page.index('<section id="race"'))]
    rows = sum(len(one["cells"]) * one["problems"] for one in found["rounds"])
    assert f"{rows} of 320 rows x cells" in section and section.count("<polyline") == found["budget"] == 8
    gone = [drop for one in found["rounds"] for drop in one["dropped"]]
    assert section.count('class="gone"') == len(gone) == 7 and section.count('<g class="chosen">') == 1
    assert all(words in section for words in found["cells"].values()), "every cell is named by its settings"
    told = looks_table(study)
    assert list(told["problems"]) == [one["seen"] for one in found["rounds"]]
    assert told.filter(like="dropped").to_numpy().sum() == len(gone)


def test_a_repeat_computes_nothing_and_an_interrupted_race_decides_the_same(
    raced: Path, tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stored_rows: Callable[[Path], Any]
) -> None:
    before = selection(raced, "raced")["arms"]
    stored = stored_rows(raced / "raced")
    assert tiny(*GRID, "study=raced", "protocol.name=race").code == 0
    assert selection(raced, "raced")["arms"] == before and stored_rows(raced / "raced") == stored

    real, looked = heats.run_jobs, []

    def interrupted(jobs: Any, targets: Any) -> Any:
        looked.append(len(jobs))
        if len(looked) == 2:
            raise KeyboardInterrupt
        return real(jobs, targets)

    monkeypatch.setattr(heats, "run_jobs", interrupted)
    assert tiny(*GRID, "study=broken_off", "protocol.name=race").code == 130
    assert selection(raced, "broken_off")["arms"] == []
    monkeypatch.setattr(heats, "run_jobs", real)
    assert tiny(*GRID, "study=broken_off", "protocol.name=race").code == 0
    assert selection(raced, "broken_off")["arms"] == before
    assert sorted(stored_rows(raced / "broken_off")) == sorted(stored)


def test_a_race_killed_in_mid_round_is_ended_by_two_runners_with_the_same_choice(
    raced: Path, l2v_forked: Callable[..., Any], stored_rows: Callable[[Path], Any]
) -> None:
    study = raced / "raced_killed"
    quiet = ("runtime.progress=false", "runtime.page=false", "runtime.device=cpu", "runtime.batch_rows=2")
    words = ("run", *GRID, *quiet, f"runtime.outputs={raced}", "study=raced_killed", "protocol.name=race")

    def in_the_second_round() -> bool:
        begun = [path for path in study.glob("cells/*/responses*.jsonl") if not (path.parent / "DONE").exists()]
        return len(list(study.glob("cells/*/DONE"))) >= 8 and bool(begun)

    first = l2v_forked(*words)
    wait_until(in_the_second_round, first)
    first.kill()
    first.communicate()
    before = stored_rows(study)
    assert selection(raced, "raced_killed")["arms"] == [], "the race was over before it was killed"
    for runner in [l2v_forked(*words) for _ in range(2)]:
        _, err = runner.communicate(timeout=PATIENCE)
        assert runner.returncode == 0, err
    after = stored_rows(study)
    assert set(before) <= set(after) and len(after) == len(set(after)), "a row was lost, or asked twice"
    assert selection(raced, "raced_killed")["arms"] == selection(raced, "raced")["arms"]
    assert set(after) == set(stored_rows(raced / "raced"))


def test_layers_that_are_added_later_go_on_from_what_is_stored(
    raced: Path, tiny: Callable[..., Any], stored_rows: Callable[[Path], Any]
) -> None:
    words = [word.replace("layer=0,3", "layer=0,2,3") for word in GRID]
    before = set(stored_rows(raced / "raced"))
    assert tiny(*words, "study=raced", "protocol.name=race").code == 0
    after = stored_rows(raced / "raced")
    assert before < set(after) and len(after) == len(set(after)), "no row is asked twice"
    assert arm(raced, "raced", "l2v")["budget"] == 12
    assert tiny(*GRID, "study=raced", "protocol.name=race").code == 0


def test_a_race_inside_one_split_asks_the_part_that_is_chosen_on(tiny: Callable[..., Any], outputs: Path) -> None:
    words = [word for word in GRID if not word.startswith("protocol.")]
    answer = tiny(
        *words, "study=parted", "protocol.name=halving", "protocol.eta=3", "benchmark.split=test", "benchmark.limit=null"
    )
    assert answer.code == 0, answer.err
    assert arm(outputs, "parted", "l2v")["problems"] == 150
    assert set(pd.read_csv(outputs / "parted" / "results.csv")["n"]) == {350}


def test_one_cell_has_nothing_to_race_and_its_failure_is_told(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    words = ("method=direct", "protocol.name=race", "protocol.select=dev", "protocol.report=test", "benchmark.limit=2")
    monkeypatch.setattr("l2v.steering.engine.engine.Engine.answer", broken)
    answer = tiny(*words, "study=lone")
    assert answer.code == 1 and "broken" in answer.err


def test_a_dry_run_tells_what_is_expected_and_the_most(tiny: Callable[..., Any]) -> None:
    answer = tiny(*GRID, "study=dry", "protocol.name=race", "benchmark.items=40", "dry_run=true")
    found = re.search(
        r"9 cells in 2 arms, the race about (\d+) rows and at most (\d+), of 360 of the full grid; the report 80", answer.err
    )
    assert answer.code == 0 and found, answer.err
    # Expected: about eight cells on 3, four on 6, two on 12 problems; at most 35 % of the grid. Direct has no rival.
    assert int(found[2]) == 112 > 8 * 3 + 4 * 3 + 2 * 6 >= int(found[1]) > 0


@pytest.mark.parametrize("word", ["protocol.eta=1", "protocol.budget=0", "protocol.delta=nan", "protocol.margin=2"])
def test_rules_out_of_range_are_refused(word: str, tiny: Callable[..., Any]) -> None:
    answer = tiny(*GRID, "study=odd", "protocol.name=race", word)
    assert answer.code == 2 and word.split("=")[0] in answer.err and answer.err.count("\n") <= 1


def test_a_prior_orders_the_race_or_skips_cells_by_what_the_extraction_says(tiny: Callable[..., Any], outputs: Path) -> None:
    """The target's own direction is what a carried one should be like: k=34 keeps more of it than k=4, in any layer."""
    words = [word.replace("cutoff=34", "cutoff=4,34").replace("alpha=0.1,0.3,0.5,0.7", "alpha=0.5,0.7") for word in GRID]
    assert tiny(*words, "study=strict", "protocol.name=race", "protocol.prior=strict").code == 0
    found = arm(outputs, "strict", "l2v")
    prior = found["prior"]
    values = [one["value"] for one in prior]
    assert found["budget"] == len(prior) == 8 and values == sorted(values, reverse=True) and -1 <= values[-1] < values[0] <= 1
    raced = set(found["rounds"][0]["cells"])
    assert raced == {one["cell"] for one in prior if not one["skipped"]} and len(raced) == 4
    assert [one["value"] for one in arm(outputs, "strict", "direct")["prior"]] == [None], "what injects nothing has no rank"
    begun = [one for path in (outputs / "strict" / "cells").glob("*/responses.jsonl") if len(one := lines(path)) == 4]
    assert [row["tokens"] for one in begun for row in one] == [1] * 4 * (8 + 1), (
        "four answers of a cell, and of none, are begun"
    )
    assert set(pd.read_csv(outputs / "strict" / "results.csv")["split"]) == {"test"}


def test_of_a_learned_map_nothing_is_known_beforehand_and_all_its_cells_race(tiny: Callable[..., Any], outputs: Path) -> None:
    words = ("method=ridge_neutral", "intervention.layer=2", "intervention.alpha=0.5,0.7", "neutral.texts=20")
    split = ("protocol.select=dev", "protocol.report=test", "benchmark.limit=8")
    for _ in range(2):  # at a repeat the map lies there
        answer = tiny("--multirun", *words, *split, "study=carried", "protocol.name=race", "protocol.prior=strict")
        assert answer.code == 0, answer.err
        prior = arm(outputs, "carried", "ridge_neutral")["prior"]
        assert [(one["value"], one["skipped"]) for one in prior] == [(None, False)] * 2


def test_a_prior_without_a_race_or_of_another_name_is_refused(tiny: Callable[..., Any]) -> None:
    for words in (
        ("protocol.name=select_then_test", "protocol.prior=order"),
        ("protocol.name=race", "protocol.prior=strictly"),
    ):
        answer = tiny(*GRID, "study=odd", *words)
        assert answer.code == 2 and "protocol.prior" in answer.err and answer.err.count("\n") <= 1
