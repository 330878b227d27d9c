"""From verdicts to scores: subsets, unweighted means, all-right shares; and their intervals and paired tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from l2v.benchmarks.base import Answer, Benchmark, Verdict
from l2v.benchmarks.metrics import Marked, Score, all_right, mark, mean_of_means, scores
from l2v.study.statistics.paired import paired, paired_scores, score_interval, wilson


def benchmark(means: dict[str, tuple[str, ...]] | None = None, rows_right: dict[str, str] | None = None) -> Any:
    """A benchmark whose rows carry their subsets and problem; right when the response is "yes"."""
    return SimpleNamespace(
        MEANS=means or {},
        ALL_RIGHT=rows_right or {},
        subsets=lambda doc: tuple(doc["subsets"]),
        problem=lambda doc: doc["problem"],
        OFFICIAL={"official": lambda doc, answer: Verdict({"yes": True, "no": False}.get(answer.text), answer.text, "r")},
    )


def items(*spec: tuple[str, tuple[str, ...], bool]) -> list[Marked]:
    return [Marked(str(i), problem, subsets, right) for i, (problem, subsets, right) in enumerate(spec)]


def test_each_subset_is_a_score_over_its_items() -> None:
    found = {s.name: s for s in scores(benchmark(), items(("1", ("accuracy", "a"), True), ("2", ("accuracy", "b"), False),
                                                          ("3", ("accuracy", "a"), False)))}  # fmt: skip
    assert {name: s.value for name, s in found.items()} == {"accuracy": pytest.approx(1 / 3), "a": 0.5, "b": 0.0}
    assert len(found["a"].items) == 2


def test_a_mean_weighs_its_parts_equally_however_many_items_they_have() -> None:
    marked = items(("1", ("x",), True), ("2", ("x",), True), ("3", ("x",), True), ("4", ("y",), False), ("5", ("apart",), True))
    found = {s.name: s for s in scores(benchmark({"accuracy": ("x", "y")}), marked)}
    assert found["accuracy"].value == 0.5
    assert len(found["accuracy"].items) == 4, "what is kept apart does not count"


def test_a_split_that_is_kept_apart_has_a_headline_of_its_own() -> None:
    found = {s.name: s.value for s in scores(benchmark({"accuracy": ("x",)}), items(("1", ("apart",), True)))}
    assert found == {"accuracy": 1.0, "apart": 1.0}


def test_a_problem_counts_when_all_its_items_are_right() -> None:
    marked = items(
        ("p", ("accuracy",), True), ("p", ("accuracy",), False), ("q", ("accuracy",), True), ("q", ("accuracy",), True)
    )
    found = {s.name: s for s in scores(benchmark(rows_right={"worst_case": "accuracy"}), marked)}
    assert found["worst_case"].value == 0.5
    assert score_interval(found["worst_case"]) == wilson(1, 2), "problems are counted, not items"


def test_lm_evals_values_aggregate_to_the_same_scores() -> None:
    docs = benchmark({"accuracy": ("x", "y")}, {"worst": "x"})
    rows = [
        {"id": str(i), "subsets": [s], "problem": p}
        for i, (s, p) in enumerate([("x", "1"), ("x", "1"), ("x", "2"), ("y", "3")])
    ]
    said = ["yes", "no", "yes", "what"]
    values = [Benchmark.process_results(docs, row, [text]) for row, text in zip(rows, said, strict=True)]
    verdicts = {r["id"]: docs.OFFICIAL["official"](r, Answer(t)) for r, t in zip(rows, said, strict=True)}
    ours = {s.name: s.value for s in scores(docs, mark(docs, {r["id"]: r for r in rows}, verdicts))}
    assert (
        mean_of_means(v["accuracy"] for v in values if "accuracy" in v)
        == pytest.approx(ours["accuracy"])
        == pytest.approx(1 / 3)
    )
    assert all_right(v["worst"] for v in values if "worst" in v) == ours["worst"] == 0.5
    assert [v["unresolved"] for v in values] == [0, 0, 0, 1]


def test_an_interval_over_single_items_is_wilsons() -> None:
    marked = items(*[(str(i), ("accuracy",), i < 30) for i in range(100)])
    assert score_interval(Score("accuracy", 0.3, tuple(marked))) == wilson(30, 100)


def test_five_equal_versions_of_a_problem_are_no_five_times_more_evidence() -> None:
    """Versions that all share a verdict: the interval is that of the problems."""
    right = np.random.default_rng(0).random(100) < 0.4
    clustered = items(*[(str(i), ("accuracy",), bool(right[i])) for i in range(100) for _ in range(5)])
    low, high = score_interval(Score("accuracy", float(right.mean()), tuple(clustered)))
    lone_low, lone_high = wilson(int(right.sum()), 100)
    assert high - low == pytest.approx(lone_high - lone_low, rel=0.1)
    naive_low, naive_high = wilson(5 * int(right.sum()), 500)
    assert high - low > 1.8 * (naive_high - naive_low)


def runs(seed: int, problems: int, versions: int, gain: float) -> tuple[Score, Score]:
    """Two runs whose verdicts depend on the problem: (method, baseline)."""
    random = np.random.default_rng(seed)
    hard = random.random(problems)
    base, ours = [], []
    for p in range(problems):
        flip = random.random() < gain
        for v in range(versions):
            right = random.random() < hard[p]
            base.append(Marked(f"{p}-{v}", str(p), ("accuracy",), bool(right)))
            ours.append(Marked(f"{p}-{v}", str(p), ("accuracy",), bool(right or flip)))
    return Score("accuracy", 0, tuple(ours)), Score("accuracy", 0, tuple(base))


def test_paired_over_single_items_is_the_exact_mcnemar() -> None:
    ours, base = runs(1, 80, 1, 0.2)
    expected = paired({i.id: i.right for i in ours.items}, {i.id: i.right for i in base.items})
    assert paired_scores(ours, base) == expected


def test_paired_over_problems_agrees_with_scipys_permutation_test() -> None:
    ours, base = runs(2, 40, 4, 0.1)
    found = paired_scores(ours, base)
    changes = np.array([o.right - b.right for o, b in zip(ours.items, base.items, strict=True)], dtype=float)
    by_problem = changes.reshape(40, 4).sum(axis=1)
    expected = scipy_stats.permutation_test(
        (by_problem,), np.sum, permutation_type="samples", n_resamples=20000, random_state=0
    )
    assert found.diff == pytest.approx(changes.mean())
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert found.low <= found.diff <= found.high


def test_versions_of_a_problem_do_not_make_chance_significant() -> None:
    """Ten versions that flip together, at random either way: item-wise McNemar rejects far too often, ours does not."""
    random = np.random.default_rng(3)
    ours_p, naive_p = [], []
    for _ in range(200):
        ours, base = [], []
        for p in range(30):
            change = random.choice([-1, 0, 1])
            for v in range(10):
                ours.append(Marked(f"{p}-{v}", str(p), ("accuracy",), change == 1))
                base.append(Marked(f"{p}-{v}", str(p), ("accuracy",), change == -1))
        pair = Score("a", 0, tuple(ours)), Score("a", 0, tuple(base))
        ours_p.append(paired_scores(*pair).p)
        naive_p.append(paired({i.id: i.right for i in ours}, {i.id: i.right for i in base}).p)
    assert np.mean(np.array(ours_p) < 0.05) < 0.1
    assert np.mean(np.array(naive_p) < 0.05) > 0.3
