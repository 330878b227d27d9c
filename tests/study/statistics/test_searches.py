"""results.csv tells what being the best of many cells is worth, on the items searched and beside the reported cell."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.benchmarks.metrics import Marked, Score
from l2v.study.columns import ARM_COLUMNS, FAMILY, OWN
from l2v.study.statistics.searches import ALIKE, add_races, add_searches, best_row, stands_against


@pytest.fixture(scope="module")
def table(tiny: Callable[..., Any], outputs: Path) -> pd.DataFrame:
    """A search of four cells per arm on 40 images, and three null seeds with the same budget."""
    words = ("--multirun", "study=searched", "protocol.name=select_then_test", "protocol.select=dev", "protocol.report=test",
             "benchmark.limit=40", "intervention.scale=relative", "intervention.cutoff=34", "method=direct,l2v,random",
             "intervention.layer=2,3", "intervention.alpha=0.3,0.7", "seed=0,1,2")  # fmt: skip
    answer = tiny(*words)
    assert answer.code == 0, answer.err
    return pd.read_csv(outputs / "searched" / "results.csv")


def test_the_best_cell_of_every_search_has_its_adjusted_p(table: pd.DataFrame) -> None:
    dev = table[(table["split"] == "dev") & table["p_best_of_grid"].notna()]
    assert sorted(dev["method"]) == ["l2v", "random", "random", "random"]
    assert (dev["budget"] == 4).all()
    l2v = dev[dev["method"] == "l2v"].iloc[0]
    assert l2v["p_best_of_grid"] < 0.001
    assert l2v["p_best_of_seeds"] == pytest.approx(1 / 4) and l2v["null_seeds"] == 3, "three seeds cannot say more"
    assert (dev[dev["method"] == "random"]["p_best_of_grid"] > 0.01).all()
    assert (dev[dev["method"] == "random"]["null_seeds"] == 2).all(), "a seed does not stand against itself"


def test_the_reported_cell_carries_it_along(table: pd.DataFrame) -> None:
    for split in ("dev", "test"):
        told = table[(table["split"] == split) & (table["method"] == "l2v") & table["p_best_of_grid"].notna()]
        assert len(told) == 1
    values = table[(table["method"] == "l2v") & table["p_best_of_grid"].notna()]["p_best_of_grid"]
    assert values.nunique() == 1


def test_only_a_searched_arm_has_a_budget(table: pd.DataFrame) -> None:
    assert table[table["method"] == "direct"]["budget"].isna().all()


def test_a_plain_grid_marks_its_best_as_selected_on_test(tiny: Callable[..., Any], outputs: Path) -> None:
    words = ("--multirun", "study=unprotected", "method=direct,l2v", "intervention.layer=2,3", "intervention.cutoff=34",
             "intervention.scale=relative", "intervention.alpha=0.7")  # fmt: skip
    answer = tiny(*words)
    assert answer.code == 0, answer.err
    results = pd.read_csv(outputs / "unprotected" / "results.csv")
    marked = results[results["selected"] == "test"]
    assert len(marked) == 1 and marked["method"].iloc[0] == "l2v" and marked["budget"].iloc[0] == 2
    assert "†" in answer.out


def test_draws_of_the_contrast_are_arms_of_their_own(tiny: Callable[..., Any], outputs: Path) -> None:
    """Figure 7b: another number of examples is another arm, not another cell of one search."""
    words = ("--multirun", "study=examples", "method=direct,l2v", "contrast.per_domain=2,5", "benchmark.limit=4")
    assert tiny(*words).code == 0
    results = pd.read_csv(outputs / "examples" / "results.csv")
    assert sorted(results[results["method"] == "l2v"]["per_domain"]) == [2, 5]
    assert results["selected"].isna().all()


def test_what_is_swept_and_not_chosen_keeps_searches_apart(tiny: Callable[..., Any], outputs: Path) -> None:
    """Figure 2: a cell that is told for each k was the best of its own k's cells, and no other k's success is its p."""
    words = ("study=side_by_side", "protocol.name=select_then_test", "protocol.select=dev", "protocol.report=test",
             "protocol.choose=[alpha]", "method=direct,l2v", "benchmark.limit=16", "intervention.cutoff=34",
             "intervention.scale=relative", "intervention.layer=0,3", "intervention.alpha=0.0001,0.7")  # fmt: skip
    answer = tiny("--multirun", *words)
    assert answer.code == 0, answer.err
    results = pd.read_csv(outputs / "side_by_side" / "results.csv")
    told = results[results["reported"] & (results["method"] == "l2v") & (results["metric"] == "accuracy")].set_index("layer")
    assert told["budget"].to_dict() == {0: 2, 3: 2}
    assert told["p_best_of_grid"][3] < 0.01 and told["p_best_of_grid"][0] > 0.1


def rows(method: str, **settings: Any) -> list[dict[str, Any]]:
    """Two cells of a search."""
    common = {"method": method, "layer": 3, "cutoff": 34, "prompt": "direct", "source": "kin"}
    return [common | {"alpha": alpha} | settings for alpha in (0.3, 0.7)]


def test_a_null_that_was_searched_elsewhere_says_nothing() -> None:
    """Nineteen seeds at layer 0 with a tiny alpha are no luck that an arm at layer 3 could have had."""
    arm = rows("l2v")
    assert stands_against(rows("random"), arm)
    assert stands_against(rows("random"), rows("full_band", cutoff=None)), "an arm without a cutoff has none to share"
    assert not stands_against(rows("random")[:1], arm), "a shorter search"
    for other in (
        {"layer": 0},
        {"alpha": 0.0001},
        {"cutoff": 10},
        {"prompt": "cot"},
        {"positions": "text"},
        {"scale": "relative"},
        {"decoding_seed": 1},
    ):
        assert not stands_against(rows("random", **other), arm), other


def test_the_verdict_counts_nulls_that_were_searched_alike(table: pd.DataFrame) -> None:
    """The reported arm stands against the cells that the three seeds of random report, on the held-out items."""
    test = table[table["split"] == "test"]
    told = test[test["method"] == "l2v"].iloc[0]["null_cells"].split()
    assert set(test[test["method"] == "random"]["cell"]) <= set(told)


def test_a_single_cell_stands_against_nulls_with_its_settings(tiny: Callable[..., Any], outputs: Path) -> None:
    words = ("study=singles", "benchmark.limit=4", "intervention.alpha=0.4")
    assert tiny("--multirun", *words, "method=direct,l2v,random", "intervention.layer=2").code == 0
    assert tiny(*words, "method=random", "intervention.layer=1", "seed=7").code == 0
    results = pd.read_csv(outputs / "singles" / "results.csv").set_index("method")
    here = results.loc["random"][results.loc["random"]["layer"] == 2]["cell"].tolist()
    assert results.loc["l2v"]["null_cells"].split() == here


def test_a_race_is_held_against_null_races_over_the_same_cells() -> None:
    """Its searched cells have no rows: what was chosen from stands in the selection."""
    common = dict.fromkeys((*FAMILY, "positions", "prompt"), "") | {"metric": "accuracy", "problems": 40, "scale": "relative"}
    rows = [
        common | {"cell": cell, "method": method, "value": value}
        for cell, method, value in (("a", "l2v", 0.9), ("b", "random", 0.2), ("c", "permuted", 0.95), ("d", "random", 0.1))
    ]
    grid = ["layer 1, alpha 0.2", "layer 2, alpha 0.2"]
    add_races(rows, {"a": grid, "b": grid[::-1], "c": grid, "d": grid[:1]}, {"layer", "alpha"})
    assert (rows[0]["null_cells"], rows[0]["null_seeds"], rows[0]["p_best_of_seeds"]) == ("b c", 2, pytest.approx(2 / 3))
    assert rows[1]["null_cells"] == "c" and rows[3]["null_cells"] is None


@pytest.mark.parametrize("setting", ALIKE)
def test_a_race_is_not_held_against_nulls_that_differ_in_what_was_not_chosen(setting: str) -> None:
    """Null races over the same layers at next to no strength say nothing of what luck gives."""
    common = dict.fromkeys((*FAMILY, *ALIKE), "same") | {"metric": "accuracy", "problems": 40}
    rows = [common | {"cell": cell, "method": method, "value": 0.9} for cell, method in (("a", "l2v"), ("b", "random"))]
    rows[1][setting] = "other"
    grid = ["layer 1", "layer 2"]
    add_races(rows, {"a": grid, "b": grid}, {setting})
    assert rows[0]["null_cells"] == "b"
    add_races(rows, {"a": grid, "b": grid}, {"seed"})
    assert rows[0]["null_cells"] is None and rows[0]["p_best_of_seeds"] is None


class _Verdicts:
    """The verdicts of cells by hand, in place of those on disk."""

    def __init__(self, right: dict[str, int]) -> None:
        self.right = right

    def score(self, row: dict[str, Any]) -> Score:
        n = self.right[row["cell"]]
        return Score("accuracy", n / 40, tuple(Marked(str(i), str(i), (), i < n) for i in range(40)))


def test_an_arm_whose_best_cell_is_below_direct_is_told_to_be_worse() -> None:
    """To be the best of several works against it, so that its own p needs no allowance."""
    right = {"direct": 40, "l2v 1": 0, "l2v 2": 1}
    common = dict.fromkeys((*FAMILY, *ARM_COLUMNS, *OWN), None) | {"metric": "accuracy", "scorer": "official", "problems": 40}
    rows = [
        common | {"cell": cell, "method": cell.split()[0], "value": n / 40, "diff": n / 40 - 1, "p": 2.0**-n}
        for cell, n in right.items()
    ]
    add_searches(rows, _Verdicts(right), {}, {})  # type: ignore[arg-type]
    assert "p_best_of_grid" not in rows[1] and rows[2]["p_best_of_grid"] == rows[2]["p"]


def test_of_equally_good_cells_a_plain_grid_reports_what_a_protocol_would_choose() -> None:
    """The smaller alpha, k and layer, whatever the cells are called and in whatever order they stand."""
    cells = [("a", 0.5, 34, 3), ("b", 0.3, 34, 3), ("c", 0.3, 16, 3), ("d", 0.3, 16, 2)]
    rows = [dict(zip(("cell", "alpha", "cutoff", "layer"), cell, strict=True)) | {"value": 0.9} for cell in cells]
    for order in itertools.permutations(rows):
        assert best_row(order)["cell"] == "d"
    rows += [{"cell": "e", "alpha": None, "cutoff": None, "layer": None, "value": None}, rows[0] | {"cell": "f", "value": 0.95}]
    assert best_row(rows)["cell"] == "f"


def test_the_best_of_a_plain_grid_is_of_equal_cells_the_one_of_the_smaller_k(tiny: Callable[..., Any], outputs: Path) -> None:
    """Next to no strength leaves every answer as it is, whatever k keeps."""
    words = ("study=equal", "benchmark.limit=4", "method=direct,l2v", "intervention.alpha=0.001")
    assert tiny("--multirun", *words, "intervention.cutoff=10,20,30,34,40,44,50,60").code == 0
    results = pd.read_csv(outputs / "equal" / "results.csv")
    arm = results[results["method"] == "l2v"]
    assert arm["value"].nunique() == 1 and arm[arm["reported"]]["cutoff"].tolist() == [10]


def test_one_direction_that_is_drawn_from_often_is_one_null(tiny: Callable[..., Any], outputs: Path) -> None:
    """Answers of another seed of decoding are compared with that seed's baseline, and stand against that seed's nulls."""
    words = ("study=drawn_often", "benchmark.limit=4", "decoding.temperature=0.7", "decoding.seed=0,1,2")
    words += ("intervention.layer=2,3", "intervention.alpha=0.4")
    assert tiny("--multirun", *words, "method=direct,l2v,random").code == 0
    results = pd.read_csv(outputs / "drawn_often" / "results.csv")
    told = results[results["reported"] & (results["method"] == "l2v")]
    assert told["decoding_seed"].tolist() == [0, 1, 2] and told["null_seeds"].tolist() == [1, 1, 1]
    nulls = results[results["method"] == "random"].set_index("cell")["decoding_seed"]
    assert [{nulls[cell] for cell in cells.split()} for cells in told["null_cells"]] == [{0}, {1}, {2}]
