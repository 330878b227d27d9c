"""Measured figures beside the paper's, and what must never stand in one table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.errors import UserError
from l2v.report import paper
from l2v.report.study import Study, open_study
from l2v.study.store import Store


def row(**values: Any) -> dict[str, Any]:
    base = {"cell": "c", "target": "llava_next_8b", "method": "l2v", "source": "r1_qwen_32b", "benchmark": "mathvista",
            "metric": "accuracy", "scorer": "official", "value": 0.4, "low": 0.38, "high": 0.42, "n": 700, "selected": "part",
            "split": "testmini", "part": "report", "limit": None, "benchmark_revision": "r", "max_new_tokens": 9,
            "prompt": "direct"}  # fmt: skip
    return base | values


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """A study whose results are these rows."""

    def make(*rows: dict[str, Any], scorer: str = "official") -> Study:
        return open_study(Store(tmp_path, "s"), scorer, pd.DataFrame(list(rows)))

    return make


def figure(table: pd.DataFrame, method: str, column: str) -> pd.Series:
    found = table[(table["target"] == "llava_next_8b") & (table["method"] == method) & (table["column"] == column)]
    assert len(found) == 1
    return found.iloc[0]


def test_a_measured_figure_stands_beside_the_printed_one(study: Callable[..., Study]) -> None:
    told = study(row(), row(cell="d", method="direct", source=None, value=0.3))
    found = figure(paper.paper_table(told, "table1"), "l2v", "mathvista")
    assert (found["printed"], found["measured"], found["low"], found["high"], found["n"]) == (41.8, 40.0, 38.0, 42.0, 700)
    assert found["difference"] == pytest.approx(-1.8)


def test_draws_of_the_contrast_are_a_mean_with_its_standard_error(study: Callable[..., Study]) -> None:
    """Each chosen on other items; draws whose settings were read off the test items are no mean but the best, and say so."""
    drawn = [row(cell=str(i), contrast_seed=i, layer=10 + i, value=value) for i, value in enumerate((0.40, 0.42, 0.47))]
    found = figure(paper.paper_table(study(*drawn), "table1"), "l2v", "mathvista")
    assert (found["measured"], found["draws"], found["chosen"]) == (43.0, 3, "selected on part")
    assert found["se"] == pytest.approx(100 * pd.Series([0.40, 0.42, 0.47]).sem(), abs=0.01)
    assert "43.0 ± 2.08 (3 draws)" in paper.paper_report(study(*drawn), "table1", "md")
    best = figure(paper.paper_table(study(*({**one, "selected": None} for one in drawn)), "table1"), "l2v", "mathvista")
    assert (best["measured"], best["draws"], best["chosen"]) == (47.0, 1, "selected on test")


def test_draws_that_differ_in_more_than_the_contrasts_seed_are_no_mean(study: Callable[..., Study]) -> None:
    """Two and four shots, or two sources, are two arms, whatever contrast they were drawn from."""
    shots = [row(cell=str(n), contrast_seed=n, shots=n, selected=None, value=n / 10) for n in (2, 4)]
    chosen = [row(cell=str(n), contrast_seed=n, contrast_kind=f"kind {n}", value=n / 10) for n in (2, 4)]
    for drawn in (shots, chosen):
        best = figure(paper.paper_table(study(*drawn), "table1"), "l2v", "mathvista")
        assert (best["measured"], best["draws"], best["chosen"]) == (40.0, 1, "selected on test")


def test_what_was_not_measured_is_missing_and_no_number(study: Callable[..., Study]) -> None:
    told = study(row())
    table = paper.paper_table(told, "table1")
    missing = figure(table, "rot", "mathvista")
    assert missing["chosen"] == "missing" and pd.isna(missing["measured"])
    assert figure(table, "l2v", "average")["chosen"] == "missing", "an average of one benchmark is none"
    assert "missing" in paper.paper_report(told, "table1", "md")


def test_a_study_that_was_never_run_gives_the_printed_numbers(tmp_path: Path) -> None:
    table = paper.paper_table(open_study(Store(tmp_path, "none"), "official"), "table2")
    assert (table["chosen"] == "missing").all() and len(table) == 36


def test_the_best_of_several_cells_is_marked_as_selected_on_test(study: Callable[..., Study]) -> None:
    told = study(row(selected="test", value=0.45), row(cell="d", selected=None, value=0.41))
    found = figure(paper.paper_table(told, "table1"), "l2v", "mathvista")
    assert found["measured"] == 45.0 and found["chosen"] == "selected on test"
    assert "45.0†" in paper.paper_report(told, "table1", "md")


@pytest.mark.parametrize(
    "differ", [{"method": "merging", "weights_share": 0.85}, {"method": "few_shot_cot", "shots": 4}, {"seed": 1}]
)
def test_the_best_of_a_search_is_marked_whatever_was_searched(study: Callable[..., Study], differ: dict[str, Any]) -> None:
    """Shares, shots and seeds as much as layers: three cells on the test items, the best of which stands in the table."""
    several = [row(**{"cell": f"c{v}", "value": v, "selected": None} | differ) for v in (0.8, 0.9, 0.7)]
    found = figure(paper.paper_table(study(*several), "table1"), differ.get("method", "l2v"), "mathvista")
    assert (found["measured"], found["chosen"]) == (90.0, "selected on test")


def test_the_average_is_over_the_five_benchmarks(study: Callable[..., Study]) -> None:
    rows = [
        row(cell=b, benchmark=b, value=v, low=v, high=v, split=b)
        for b, v in zip(paper.AVERAGE, (0.1, 0.2, 0.3, 0.4, 0.5), strict=True)
    ]
    told = study(*rows)
    assert figure(paper.paper_table(told, "table1"), "l2v", "average")["measured"] == 30.0


@pytest.mark.parametrize(
    ("change", "what"),
    [({"split": "test"}, "splits"), ({"prompt": "cot"}, "prompt styles"), ({"limit": 10}, "limits"), ({"part": None}, "parts"),
     ({"benchmark_revision": "x"}, "data"), ({"processor": "min_pixels=9"}, "processor of llava_next_8b on"),
     ({"temperature": 0.7}, "temperature of llava_next_8b on"),
     ({"target_revision": "y"}, "target_revision of llava_next_8b on")],
)  # fmt: skip
def test_unlike_figures_are_refused(change: dict[str, Any], what: str, study: Callable[..., Study]) -> None:
    told = study(row(), row(cell="d", method="direct", **change))
    with pytest.raises(UserError, match=f"mix {what} {'' if ' of ' in what else 'of '}mathvista"):
        paper.paper_table(told, "table1")


def test_each_target_sees_pictures_in_its_own_way(study: Callable[..., Study]) -> None:
    told = study(row(processor="min_pixels=9"), row(cell="d", target="qwen2_vl_7b", value=0.3))
    assert figure(paper.paper_table(told, "table1"), "l2v", "mathvista")["measured"] == 40.0


def test_another_scorer_is_never_put_in_its_place(study: Callable[..., Study]) -> None:
    with pytest.raises(UserError, match="'robust' was not applied"):
        study(row(), scorer="robust")


def test_a_dry_run_estimates_gpu_hours_from_a_stated_throughput(l2v: Callable[..., Any], tmp_path: Path) -> None:
    words = ("run", "benchmark=mathvista", "method=direct", "dry_run=true", f"runtime.outputs={tmp_path}")
    told = l2v(*words, "runtime.tokens_per_second=1000", "runtime.tokens_per_answer=360").err
    assert "1,000 rows" in told and "360,000 tokens" in told and "0.1 GPU-hours" in told


def test_a_limit_stands_for_an_undeclared_number_of_items(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Where nobody says how many items the hub has: a limit counts; without one the estimate says what it leaves out."""
    words = ("run", "method=direct", "benchmark.path=null", "dry_run=true", f"runtime.outputs={tmp_path}")
    assert "about 8 rows" in l2v(*words, "benchmark.limit=8").err
    assert "without mini" in l2v(*words).err


def test_the_report_of_an_experiment_is_its_paper_table(l2v: Callable[..., Any], tmp_path: Path) -> None:
    answer = l2v("report", "+experiment=table2", f"outputs={tmp_path}", "format=csv")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0].startswith("target,method,source,column,scorer,printed,measured")
    assert l2v("report", "+experiment=tabel2", f"outputs={tmp_path}").code == 2
    answer = l2v("report", "+experiment=paper", f"outputs={tmp_path}")
    assert answer.code == 2 and "`l2v claims`" in answer.err


def test_a_dry_run_counts_cells_by_method_and_target_and_prompts_once(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """What cannot be computed stands in brackets; prompts are read once for the cells that share them; cells on demand."""
    words = ("run", "--multirun", "benchmark=mathvista", "source=r1_qwen_7b", "dry_run=true", f"runtime.outputs={tmp_path}")
    words += ("method=direct,l2v", "intervention.alpha=0.1,0.2,0.3", "target=qwen2_vl_7b,internvl2_8b")
    answer = l2v(*words, "runtime.tokens_per_second=1000", "runtime.tokens_per_prompt=1000", "runtime.tokens_per_answer=90")
    assert answer.code == 1
    rows = [line.split() for line in answer.out.splitlines()]
    assert rows[:3] == [["cells", "qwen2_vl_7b", "internvl2_8b"], ["direct", "1", "0", "(3)"], ["l2v", "3", "0", "(3)"]]
    # 4 cells of 1000 answers of 90 tokens, 1000 prompts of 1000 at ten times the speed: 360 + 100 seconds.
    assert "360,000 tokens of answers" in answer.err
    assert "1,000,000 tokens of 1,000 prompts" in answer.err
    assert "0.1 GPU-hours" in answer.err
    assert "l2v convert model=OpenGVLab/InternVL2-8B" in answer.err
    listed = l2v(*words, "list_cells=true").out.partition("\n\n")[2].splitlines()
    assert len({line.split()[0] for line in listed}) == 4
