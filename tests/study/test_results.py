"""results.csv from verdicts made by hand: paired differences, flips, p values and families."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from statsmodels.stats.multitest import multipletests

from l2v.report.comparison import matched
from l2v.report.study import read_study
from l2v.report.tables import formatted, study_report
from l2v.report.verdicts import verdicts
from l2v.study.cells import Cell
from l2v.study.columns import SETTINGS
from l2v.study.resolve import resolve
from l2v.study.results import build_results, write_results
from l2v.study.score import items_key
from l2v.study.store import Store
from l2v.transfer.arms import ARMS

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


def judged(ids: list[str], signs: str) -> list[dict[str, Any]]:
    known = {"+": True, "-": False, "?": None}
    return [{"id": i, "correct": known[sign], "extraction": "1"} for i, sign in zip(ids, signs, strict=True)]


def store_cell(store: Store, cell: Cell, signs: str, backwards: bool = False, lenient: str | None = None) -> Cell:
    """A finished cell with one verdict per sign: + right, - wrong, ? the scorer abstained. `lenient`: by that scorer."""
    folder = store.folder(cell.id)
    folder.begin(cell, {})
    ids = [f"item-{n}" for n in range(len(signs))]
    row = {"response": "r", "tokens": 3, "truncated": False, "seconds": 0.1, "prompt": "p", "generation": 0}
    folder.append("one", [{"id": i, **row} for i in ids])
    folder.gather(ids)
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
    marked = judged(ids, signs)
    folder.write_scores("official", marked[::-1] if backwards else marked, [metrics])
    if lenient is not None:
        value = lenient.count("+") / len(lenient)
        folder.write_scores("lenient", judged(ids, lenient), [metrics | {"scorer": "lenient", "value": value}])
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


def merging(share: float) -> tuple[str, ...]:
    base = "source.path=package:mini/checkpoints/base"
    return ("method.name=merging", "method.weights.kind=linear", f"method.weights.share={share}", base)


def test_the_best_of_any_search_on_its_own_items_is_marked(study: Callable[..., Any]) -> None:
    """Merging has no layer, and is searched as well: one of its cells is reported, and says that it is the best of three."""
    rows = study(
        ("direct", ("method.name=direct",), DIRECT),
        ("low", merging(0.8), "+++++-----"),
        ("high", merging(0.85), L2V),
        ("middle", merging(0.9), RANDOM),
    )
    assert {name: row["selected"] for name, row in rows.items()} == {"direct": "", "low": "", "high": "test", "middle": ""}
    assert [name for name, row in rows.items() if row["reported"] == "True"] == ["direct", "high"]
    assert rows["high"]["budget"] == "3" and 0 < number(rows["high"]["p_best_of_grid"]) <= 1


SAMPLED = ("decoding.temperature=0.7",)
APART = {
    "shots": [("method.name=few_shot_cot", f"method.shots={n}") for n in (1, 4)],
    "prefix": [("method.name=forced_prefix", f"method.prefix={p}") for p in ("First", "Then")],
    "weights_share": [merging(0.8), merging(0.9)],
    "weights_factor": [
        ("method.name=mathneuro", "method.weights.kind=mathneuro", f"method.weights.factor={f}") for f in (1.1, 2)
    ],
    "decoding_seed": [(*SAMPLED, f"decoding.seed={n}") for n in (0, 1)],
    "top_p": [(*SAMPLED, f"decoding.top_p={p}") for p in (1.0, 0.9)],
    "top_k": [(*SAMPLED, f"decoding.top_k={k}") for k in (0, 50)],
    "per_domain": [(f"contrast.per_domain={n}",) for n in (5, 6)],
    "contrast_seed": [(f"contrast.seed={n}",) for n in (0, 1)],
    "min_new_tokens": [("method.name=budget_matched", f"method.min_new_tokens={n}") for n in (4, 5)],
    "prompt": [("method.name=direct", f"benchmark.prompt={p}") for p in ("direct", "raw")],
}


@pytest.mark.parametrize("column", APART)
def test_two_cells_are_told_apart_everywhere(study: Callable[..., Any], tmp_path: Path, column: str) -> None:
    """In results.csv, in the printed table, on the page, and beside themselves in a comparison."""
    first, second = APART[column]
    rows = study(("a", first, L2V), ("b", second, DIRECT))
    assert rows["a"][column] != rows["b"][column]
    told = read_study(str(tmp_path), "s")
    for line in (formatted(told.rows), told.rows[["items", "arm", *(c.name for c in SETTINGS if c.role == "swept")]]):
        lines = line.drop(columns=[name for name in line if name.startswith(("accuracy", "tokens", "steps", "no answer"))])
        assert len(lines.drop_duplicates()) == 2
    both = matched(told.rows.to_dict("records"), told.rows.to_dict("records"))
    assert [ours["cell"] == theirs["cell"] for ours, theirs in both] == [True, True]


def test_a_cell_is_compared_with_the_baseline_of_its_own_decoding_seed(study: Callable[..., Any]) -> None:
    """Two draws of `direct` are two baselines, not none."""
    other = (*SAMPLED, "decoding.seed=1")
    rows = study(
        ("direct 0", (*SAMPLED, "method.name=direct"), "----------"),
        ("direct 1", (*other, "method.name=direct"), "+++++-----"),
        ("l2v 0", SAMPLED, "+++++-----"),
        ("l2v 1", other, "+++++-----"),
    )
    assert (number(rows["l2v 0"]["diff"]), number(rows["l2v 1"]["diff"])) == (0.5, 0.0)
    assert number(rows["l2v 0"]["p"]) == pytest.approx(2 / 32)


def test_a_difference_that_no_baseline_gives_is_told(study: Callable[..., Any], tmp_path: Path) -> None:
    cells = [(f"direct {n}", (*SAMPLED, "method.name=direct", f"decoding.seed={n}"), DIRECT) for n in (0, 1)]
    rows = study(*cells, ("l2v", (*SAMPLED, "decoding.seed=2"), L2V))
    assert rows["l2v"]["diff"] == rows["l2v"]["p"] == ""
    assert "1 of 3 reported cells have no difference to direct" in study_report(read_study(str(tmp_path), "s"))


def test_the_mark_of_a_search_belongs_to_one_scorer(tmp_path: Path, config: Callable[..., Any]) -> None:
    """What is best by `lenient` is no reported cell in the table of `official`."""
    store = Store(tmp_path, "s").open()
    layers = [resolve(config(f"intervention.layer={layer}")) for layer in (1, 2)]
    for cell, signs, lenient in zip(layers, ("++++++----", "++--------"), ("+---------", "++++++++++"), strict=True):
        store_cell(store, cell, signs, lenient=lenient)
    table = build_results(store)
    best = {row["scorer"]: row["cell"] for row in table[table["reported"]].to_dict("records")}
    assert best == {"official": layers[0].id, "lenient": layers[1].id}
    assert set(table[table["selected"] == "test"]["cell"] + table[table["selected"] == "test"]["scorer"]) == {
        layers[0].id + "official", layers[1].id + "lenient"
    }  # fmt: skip
    assert list(read_study(str(tmp_path), "s").reported["cell"]) == [layers[0].id]


def test_a_search_without_a_baseline_says_how_many_cells_it_had(study: Callable[..., Any], tmp_path: Path) -> None:
    rows = study(*((f"{n}", (f"intervention.layer={n}",), signs) for n, signs in ((1, L2V), (2, RANDOM), (3, DIRECT))))
    assert (rows["1"]["budget"], rows["1"]["p_best_of_grid"]) == ("3", "")
    (verdict,) = verdicts(read_study(str(tmp_path), "s"))
    assert "the best of 3 cells" in verdict.finding.text


def test_holm_is_over_the_reported_cells_one_per_arm(study: Callable[..., Any]) -> None:
    """Twelve cells of three arms: three tests. The searched arms enter with p (best of grid), the single one with its p."""
    arms = {"l2v": "+" * 10, "random": "+++++-----"}
    grid = [
        (f"{method} {layer} {alpha}", (f"method.name={method}", f"intervention.layer={layer}", f"intervention.alpha={alpha}"),
         signs if (layer, alpha) == (1, 0.2) else DIRECT)
        for method, signs in arms.items() for layer in (1, 2, 3) for alpha in (0.2, 0.4)
    ]  # fmt: skip
    rows = study(("direct", ("method.name=direct",), DIRECT), ("cot", ("method.name=cot_prompt",), L2V), *grid)
    told = {name: row for name, row in rows.items() if row["p_holm"]}
    assert set(told) == {"cot", "l2v 1 0.2", "random 1 0.2"}
    raw = [number(told["cot"]["p"]), *(number(told[name]["p_best_of_grid"]) for name in ("l2v 1 0.2", "random 1 0.2"))]
    assert [number(row["p_holm"]) for row in (told["cot"], told["l2v 1 0.2"], told["random 1 0.2"])] == pytest.approx(
        multipletests(raw, method="holm")[1], rel=1e-4
    )


def test_a_null_arm_that_is_added_counts_as_one(study: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    """No list of null arms has to be kept in step: what its Arm says decides in results, verdicts and the terminal."""
    monkeypatch.setitem(ARMS, "high_pass", replace(ARMS["high_pass"], null=True))
    grid = [
        (f"{method} {layer}", (f"method.name={method}", f"intervention.layer={layer}"), signs)
        for method, signs in (("l2v", "+" * 10), ("high_pass", "+---------")) for layer in (1, 2)
    ]  # fmt: skip
    rows = study(("direct", ("method.name=direct",), "-" * 10), *grid)
    assert rows["l2v 1"]["null_seeds"] == "1" and number(rows["l2v 1"]["p_best_of_seeds"]) == 0.5
    found = {verdict.method: verdict for verdict in verdicts(read_study(str(tmp_path), "s"))}
    assert (found["high_pass"].role, found["l2v"].finding.kind) == ("null", "above_nulls")
