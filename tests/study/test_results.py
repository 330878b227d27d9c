"""results.csv from verdicts made by hand: paired differences, flips, p values and families."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v.study.cells import Cell
from l2v.study.resolve import resolve
from l2v.study.results import build_results, write_results
from l2v.study.score import items_key
from l2v.study.store import Store

NAMED = ["cell", "study", "source", "target", "benchmark", "split", "method", "layer", "alpha", "cutoff", "positions", "seed"]
NAMED += [
    "metric",
    "scorer",
    "value",
    "n",
    "low",
    "high",
    "tokens",
    "steps_share",
    "no_answer_share",
    "truncated_share",
    "seconds",
]

DIRECT = "++++------"
L2V = "+++-++++++"  # against DIRECT: six flips to right, one to wrong; p = 2 * (1 + 7) / 2**7 = 0.125
RANDOM = "+++++-----"  # one flip to right; p = 1


def store_cell(store: Store, cell: Cell, signs: str, backwards: bool = False) -> Cell:
    """A finished cell with one verdict per sign: + right, - wrong, ? the scorer abstained."""
    folder = store.folder(cell.id)
    folder.begin(cell, {})
    ids = [f"item-{n}" for n in range(len(signs))]
    row = {"response": "r", "tokens": 3, "truncated": False, "seconds": 0.1, "prompt": "p", "generation": 0}
    folder.append("one", [{"id": i, **row} for i in ids])
    folder.gather(ids)
    judged = [
        {"id": i, "correct": {"+": True, "-": False, "?": None}[s], "extraction": "1"} for i, s in zip(ids, signs, strict=True)
    ]
    metrics = {
        "metric": "accuracy",
        "scorer": "official",
        "value": signs.count("+") / len(signs),
        "n": len(signs),
        "problems": len(signs),
        "low": 0.25,
        "high": 0.75,
        "tokens": 3.5,
        "steps_share": 0.5,
        "no_answer_share": 0.125,
        "truncated_share": 0.0,
        "seconds": 1.5,
    }
    described = [{"id": i, "problem": i, "subsets": ["accuracy"]} for i in ids]
    store.write_items(items_key(cell.benchmark), described)
    folder.write_scores("official", judged[::-1] if backwards else judged, [metrics])
    folder.finish()
    folder.close()
    return cell


@pytest.fixture
def study(tmp_path: Path, config: Callable[..., Any]) -> Callable[..., dict[str, dict[str, str]]]:
    """Stores cells given as (name, changes, signs) and reads results.csv back, by name."""

    def build(*cells: tuple[str, tuple[str, ...], str]) -> dict[str, dict[str, str]]:
        store = Store(tmp_path, "s").open()
        names = {}
        for index, (name, changes, signs) in enumerate(cells):
            cell = store_cell(store, resolve(config(*changes)), signs, backwards=index % 2 == 1)
            names[cell.id] = name
        assert len(names) == len(cells)
        write_results(store)
        with (tmp_path / "s" / "results.csv").open(newline="") as file:
            return {names[row["cell"]]: row for row in csv.DictReader(file)}

    return build


def number(text: str) -> float:
    return float(text) if text else math.nan


def test_the_columns_and_settings_of_a_row(study: Callable[..., Any]) -> None:
    row = study(("l2v", ("intervention.layer=1", "intervention.alpha=0.3"), L2V))["l2v"]
    assert set(NAMED) <= set(row)
    told = {
        key: row[key] for key in ("study", "source", "target", "benchmark", "split", "method", "positions", "scorer", "metric")
    }
    assert told == {
        "study": "s",
        "source": "mini_kin",
        "target": "mini",
        "benchmark": "mini",
        "split": "dev",
        "method": "l2v",
        "positions": "all",
        "scorer": "official",
        "metric": "accuracy",
    }
    figures = {key: number(row[key]) for key in ("layer", "alpha", "cutoff", "value", "n", "low", "high", "tokens", "seconds")}
    expected = {"layer": 1, "alpha": 0.3, "cutoff": 32, "value": 0.9, "n": 10, "low": 0.25, "high": 0.75, "tokens": 3.5}
    assert figures == pytest.approx(expected | {"seconds": 1.5})
    assert [number(row[k]) for k in ("steps_share", "no_answer_share", "truncated_share")] == [0.5, 0.125, 0]


def test_differences_flips_and_p_values(study: Callable[..., Any]) -> None:
    """Verdicts of every second cell lie in the opposite order on disk: items are matched by id."""
    rows = study(("direct", ("method.name=direct",), DIRECT), ("l2v", (), L2V), ("random", ("method.name=random",), RANDOM))
    l2v, chance, direct = rows["l2v"], rows["random"], rows["direct"]
    assert number(l2v["diff"]) == pytest.approx(0.5)
    assert (number(l2v["flips_right"]), number(l2v["flips_wrong"])) == (6, 1)
    assert number(l2v["p"]) == pytest.approx(0.125)
    assert number(l2v["diff_low"]) < 0.5 < number(l2v["diff_high"])
    assert (number(chance["flips_right"]), number(chance["flips_wrong"]), number(chance["p"])) == (1, 0, 1)
    assert (number(l2v["p_holm"]), number(chance["p_holm"])) == pytest.approx((0.25, 1.0))
    assert all(direct[key] == "" for key in ("diff", "diff_low", "diff_high", "flips_right", "p", "p_holm"))


def test_an_abstention_counts_as_not_right(study: Callable[..., Any]) -> None:
    rows = study(("direct", ("method.name=direct",), "++--"), ("l2v", (), "+?++"))
    assert (number(rows["l2v"]["flips_right"]), number(rows["l2v"]["flips_wrong"])) == (2, 1)


def test_every_target_and_split_is_a_family_of_its_own(study: Callable[..., Any]) -> None:
    """Two comparisons are corrected together, a single one not at all; baselines are never shared across families."""
    other, test = ("target.name=other",), ("benchmark.split=test",)
    rows = study(
        ("direct", ("method.name=direct",), DIRECT),
        ("l2v", (), L2V),
        ("random", ("method.name=random",), RANDOM),
        ("other direct", (*other, "method.name=direct"), "----------"),
        ("other l2v", other, "++++++----"),
        ("test l2v", test, L2V),
    )
    assert number(rows["l2v"]["p_holm"]) == pytest.approx(0.25)
    assert number(rows["other l2v"]["diff"]) == pytest.approx(0.6)
    assert number(rows["other l2v"]["p"]) == number(rows["other l2v"]["p_holm"]) == pytest.approx(2 / 64)
    assert rows["test l2v"]["diff"] == rows["test l2v"]["p"] == ""


def test_unfinished_cells_are_left_out_and_the_table_does_not_depend_on_the_order(
    tmp_path: Path, config: Callable[..., Any]
) -> None:
    texts = []
    cells = [
        (("method.name=direct",), DIRECT),
        ((), L2V),
        (("intervention.layer=1",), RANDOM),
        (("intervention.layer=3",), L2V),
    ]
    for place, order in (("a", cells), ("b", cells[::-1])):
        store = Store(tmp_path / place, "s").open()
        for changes, signs in order:
            last = store_cell(store, resolve(config(*changes)), signs)
        write_results(store)
        texts.append((tmp_path / place / "s" / "results.csv").read_text())
    assert texts[0] == texts[1]
    assert len(texts[0].splitlines()) == 5
    (store.folder(last.id).path / "DONE").unlink()
    assert last.id not in set(build_results(store)["cell"])


def test_a_study_without_a_finished_cell_has_a_table_of_column_names(tmp_path: Path) -> None:
    write_results(Store(tmp_path, "s").open())
    assert (tmp_path / "s" / "results.csv").read_text().strip().split(",")[0] == "cell"
