"""Intervals and tests against published numbers and scipy."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from l2v.study.statistics.paired import holm, paired, paired_means, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998) 857, Table I, method 3 (Wilson's score, no continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_printed_by_newcombe(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_never_leaves_the_unit_interval() -> None:
    for n in (1, 7, 500):
        assert 0 <= wilson(0, n)[0] < 1e-12
        assert 1 >= wilson(n, n)[1] > 1 - 1e-12


def verdicts(text: str) -> dict[str, bool]:
    """{"0": True, "1": False} from "+-"."""
    return {str(i): sign == "+" for i, sign in enumerate(text)}


@pytest.mark.parametrize(
    ("right", "wrong", "p"),
    # Two-sided binomial tails with one half, counted by hand: 2 * sum of C(n, i) for i up to the smaller, over 2**n.
    [(0, 5, 2 * 1 / 32), (9, 1, 2 * 11 / 1024), (6, 1, 2 * 8 / 128), (4, 4, 1.0), (0, 0, 1.0), (1, 0, 1.0)],
)
def test_exact_mcnemar_counts_the_flips_alone(right: int, wrong: int, p: float) -> None:
    both, neither = "+" * 3, "-" * 4
    result = paired(verdicts("+" * right + "-" * wrong + both + neither), verdicts("-" * right + "+" * wrong + both + neither))
    assert (result.right, result.wrong, result.n) == (right, wrong, right + wrong + 7)
    assert result.diff == pytest.approx((right - wrong) / result.n)
    assert result.p == pytest.approx(p)


def test_items_are_matched_by_id_and_not_by_order() -> None:
    baseline = {"a": True, "b": False, "c": False, "only-here": True}
    method = {"c": True, "only-there": True, "b": False, "a": True}
    result = paired(method, baseline)
    assert (result.right, result.wrong, result.n) == (1, 0, 3)
    assert result.diff == pytest.approx(1 / 3)


def test_two_sides_without_a_shared_item_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="share"):
        paired({"a": True}, {"b": True})


@pytest.mark.parametrize("n", [20, 200, 2000])
def test_bootstrap_interval_holds_the_difference_and_agrees_with_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    method, baseline = rng.random(n) < 0.6, rng.random(n) < 0.45
    result = paired(dict(enumerate(method)), dict(enumerate(baseline)))  # type: ignore[arg-type]
    assert result.low <= result.diff <= result.high
    differences = method.astype(float) - baseline.astype(float)
    outside = scipy_stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
    width = outside.high - outside.low
    assert result.low == pytest.approx(outside.low, abs=0.1 * width)
    assert result.high == pytest.approx(outside.high, abs=0.1 * width)


def test_bootstrap_interval_shrinks_with_the_square_root_of_n() -> None:
    widths = []
    for times in (1, 4, 16):
        result = paired(verdicts("+++++--+-+" * 8 * times), verdicts("+--+-+-+--" * 8 * times))
        widths.append(result.high - result.low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.15)


def test_holm_as_r_prints_it() -> None:
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm"); the example of the Wikipedia page on the Holm-Bonferroni method."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("count", [0, 1, 2, 300])
def test_holm_agrees_with_statsmodels(count: int) -> None:
    """Ties and p values of 1 among them."""
    p = np.round(np.random.default_rng(count).uniform(0, 1, count) ** 4, 2)
    expected = multipletests(p, method="holm")[1] if count else []
    assert holm(p.tolist()) == pytest.approx(list(expected), abs=1e-15)


def test_holm_leaves_the_collector_alone() -> None:
    """A walk through all that is loaded, at every call, takes longer than the rest of a report."""
    before = gc.get_stats()[-1]["collections"]
    assert holm([0.01, 0.5]) == pytest.approx([0.02, 0.5])
    assert gc.get_stats()[-1]["collections"] == before


def test_holm_of_small_families() -> None:
    assert holm([]) == []
    assert holm([0.2]) == pytest.approx([0.2])
    assert holm([0.7, 0.8]) == pytest.approx([1.0, 1.0])


def test_an_interval_where_every_item_says_the_same_has_a_width() -> None:
    """Tango's score interval by hand, z² = 3.8415: ± z² / (n + z²) at no difference, (n - z²) / (n + z²) at a whole one."""
    items = {str(i): True for i in range(30)}
    none = dict.fromkeys(items, False)
    same, gained, lost = paired(items, items), paired(items, none), paired(none, items)
    assert (same.low, same.high) == pytest.approx((-0.113513, 0.113513), abs=1e-5)
    assert (gained.low, gained.high) == pytest.approx((0.772973, 1.0), abs=1e-5)
    assert (lost.low, lost.high) == pytest.approx((-1.0, -0.772973), abs=1e-5)


def test_means_are_compared_item_by_item_as_scipy_does() -> None:
    """A shift that a test of unpaired means would not see among items of very different lengths."""
    rng = np.random.default_rng(0)
    before = {str(i): float(rng.integers(10, 900)) for i in range(80)}
    after = {key: value + float(rng.normal(6, 20)) for key, value in reversed(before.items())} | {"other": 5.0}
    found = paired_means(after, before)
    added = np.array([after[key] - before[key] for key in before])
    test = scipy_stats.ttest_1samp(added, 0)
    interval = test.confidence_interval()
    assert found.n == 80 and (found.right, found.wrong) == (int((added > 0).sum()), int((added < 0).sum()))
    assert found.diff == pytest.approx(added.mean())
    assert found.p == pytest.approx(test.pvalue, abs=0.01) and found.p < 0.05
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.5)
    assert scipy_stats.ttest_ind([after[key] for key in before], list(before.values())).pvalue > 0.5
    assert paired_means({"a": 5.0}, {"a": 2.0}).p == 1.0
    with pytest.raises(ValueError, match="share no item"):
        paired_means({"a": 1.0}, {"b": 1.0})
