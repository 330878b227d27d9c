"""Power of the exact McNemar test against published values, simulation and brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from l2v.errors import UserError
from l2v.study.statistics.paired import paired
from l2v.study.statistics.power import (
    flip_shares,
    items_needed,
    measured_design_effect,
    power,
    smallest_difference,
)


@pytest.mark.parametrize(
    ("n", "right", "wrong", "alpha", "printed", "digits"),
    [
        # G*Power 3.1 manual, chapter 5 (example of O'Brien, 2002), one-sided 5 %; its sum is cut off 1e-5 early.
        (50, 0.32, 0.08, 0.10, 0.839343, 2e-5),
        # The R package MESS, its test of power_mcnemar_test (after Duffy, 1984): one-sided 2.5 %, two decimals.
        (144, 0.45, 0.25, 0.05, 0.80, 5e-3),
        # The R package pwrss, its test of power.exact.mcnemar: two-sided.
        (100, 0.20, 0.10, 0.05, 0.373077084, 1e-8),
    ],
)
def test_power_as_printed(n: int, right: float, wrong: float, alpha: float, printed: float, digits: float) -> None:
    assert power(n, right, wrong, alpha) == pytest.approx(printed, abs=digits)


def test_items_needed_as_printed() -> None:
    """pwrss, the same test: 249 items for 20 % against 10 % at 80 %."""
    assert items_needed(0.1, 0.3) == 249


@pytest.mark.parametrize("alpha", [0.05, 0.25])
def test_power_is_the_sum_over_all_outcomes(alpha: float) -> None:
    """Every table of 12 items, tested by scipy. At 25 % a tail of the test is exactly alpha / 2."""
    n, right, wrong, total = 12, 0.4, 0.15, 0.0
    for ups in range(n + 1):
        for downs in range(n + 1 - ups):
            rest = n - ups - downs
            p = binomtest(ups, ups + downs, 0.5).pvalue if ups + downs else 1.0
            if p <= alpha + 1e-12:
                ways = math.comb(n, ups) * math.comb(n - ups, downs)
                total += ways * right**ups * wrong**downs * (1 - right - wrong) ** rest
    assert power(n, right, wrong, alpha) == pytest.approx(total, abs=1e-12)


def test_power_is_how_often_the_projects_own_test_rejects() -> None:
    random = np.random.default_rng(0)
    n, right, wrong, studies = 120, 0.16, 0.06, 3000
    table: dict[tuple[int, int], bool] = {}
    found = 0
    for ups, downs, _ in random.multinomial(n, [right, wrong, 1 - right - wrong], size=studies):
        if (ups, downs) not in table:
            ours = {str(i): i < ups or i >= ups + downs for i in range(n)}
            base = {str(i): i >= ups for i in range(n)}
            table[ups, downs] = paired(ours, base).p <= 0.05
        found += table[ups, downs]
    expected = power(n, right, wrong)
    assert found / studies == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / studies))


def test_without_an_effect_it_is_a_level_below_the_nominal_one() -> None:
    levels = power(500, [0.01, 0.05, 0.1, 0.25, 0.5], [0.01, 0.05, 0.1, 0.25, 0.5])
    assert np.all(np.asarray(levels) <= 0.05)
    assert np.all(np.diff(levels) > 0)
    assert power(500, 0.0, 0.0) == 0


def test_power_takes_arrays() -> None:
    right, wrong = np.array([[0.1], [0.2]]), np.array([0.05, 0.1, 0.15])
    found: Any = power(200, right, wrong)
    assert found.shape == (2, 3)
    assert found[1, 2] == pytest.approx(power(200, 0.2, 0.15))
    assert found == pytest.approx(np.asarray(power(200, wrong, right))), "two-sided"


@pytest.mark.parametrize("n", [100, 500, 1000, 3000])
def test_smallest_difference_has_just_the_power(n: int) -> None:
    for discordance in (0.1, 0.3):
        diff = smallest_difference(n, discordance)
        assert power(n, (discordance + diff) / 2, (discordance - diff) / 2) == pytest.approx(0.8, abs=1e-3)
        normal = (1.96 + 0.8416) * math.sqrt(discordance / n)
        assert normal * 0.93 < diff < normal * 1.25


def test_smallest_difference_goes_the_right_way() -> None:
    by_n = [smallest_difference(n, 0.2) for n in (100, 200, 400, 800, 1600)]
    by_flips = [smallest_difference(500, share) for share in (0.05, 0.1, 0.2, 0.4, 0.8)]
    by_correlation = [items_needed(0.05, base=0.5, correlation=c) for c in (0.9, 0.6, 0.3, 0.0)]
    by_power = [smallest_difference(500, 0.2, power=p) for p in (0.5, 0.8, 0.9, 0.99)]
    assert by_n == sorted(by_n, reverse=True)
    for found in (by_flips, by_correlation, by_power):
        assert found == sorted(found) and found[0] < found[-1]
    assert smallest_difference(500, 0.2, alpha=0.05 / 12) > smallest_difference(500, 0.2)


def test_where_too_few_items_flip_nothing_is_shown() -> None:
    """Of 20 items 3 % flip: less than one, and the test needs six."""
    assert smallest_difference(20, 0.03) == math.inf
    assert smallest_difference(5, 1.0) == math.inf, "p of five flips out of five is 0.0625"


def test_flips_from_accuracy_and_correlation() -> None:
    right, wrong = flip_shares(0.4, 0.06, 0.5)
    assert right - wrong == pytest.approx(0.06)
    both_right = 0.4 - wrong
    phi = (both_right - 0.4 * 0.46) / math.sqrt(0.4 * 0.6 * 0.46 * 0.54)
    assert phi == pytest.approx(0.5)
    assert flip_shares(0.3, 0.0, 0.0) == pytest.approx((0.21, 0.21))
    n = items_needed(0.05, base=0.4, correlation=0.7)
    assert power(n - 1, *flip_shares(0.4, 0.05, 0.7)) < 0.8 <= power(n, *flip_shares(0.4, 0.05, 0.7))


@pytest.mark.parametrize(("diff", "discordance"), [(0.1, 0.3), (0.05, 0.06), (0.6, 1.0), (0.3, 0.3), (0.04, 0.15)])
def test_items_needed_is_the_number_from_which_on_power_stays(diff: float, discordance: float) -> None:
    n = items_needed(diff, discordance)
    right, wrong = (discordance + diff) / 2, (discordance - diff) / 2
    assert power(n - 1, right, wrong) < 0.8
    assert min(power(m, right, wrong) for m in range(n, n + 120)) >= 0.8
    assert smallest_difference(n, discordance) <= diff + 1e-6


def test_versions_of_a_problem_count_for_less() -> None:
    assert smallest_difference(1000, 0.2, design_effect=2) == smallest_difference(500, 0.2)
    assert items_needed(0.05, 0.2, design_effect=2) == 2 * items_needed(0.05, 0.2)
    problems = [str(i // 5) for i in range(500)]
    together = [float(np.sign((i // 5) % 3 - 1)) for i in range(500)]
    assert measured_design_effect(together, problems) == pytest.approx(5)
    apart = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 500)
    assert measured_design_effect(list(apart), problems) == pytest.approx(1, abs=0.25)
    assert measured_design_effect([0.0] * 5, problems[:5]) == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: power(0, 0.1, 0.1), "n=0"),
        (lambda: power(10, 0.1, 0.1, alpha=1.0), "alpha=1"),
        (lambda: power(10, 0.6, 0.6), "at most 1"),
        (lambda: power(10, -0.1, 0.2), "at least 0"),
        (lambda: items_needed(0.05), "Give either discordance"),
        (lambda: items_needed(0.05, 0.2, base=0.4, correlation=0.5), "Give either discordance"),
        (lambda: items_needed(0.05, base=0.4), "Give either discordance"),
        (lambda: smallest_difference(100, 1.5), "discordance=1.5"),
        (lambda: smallest_difference(100, 0.2, design_effect=0.5), "design_effect=0.5"),
        (lambda: flip_shares(0.4, 0.3, 0.9), "lower the correlation"),
        (lambda: flip_shares(0.4, 0.7, 0.1), "between 0 and 1"),
        (lambda: items_needed(0.3, 0.2), "at most 0.2"),
        (lambda: items_needed(0.0, 0.2), "above 0"),
        (lambda: items_needed(1e-5, 0.5), "more than"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        call()
