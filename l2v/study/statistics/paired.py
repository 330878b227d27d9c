"""Intervals and paired tests, on scipy and statsmodels; where a problem has several items, problems are what is resampled."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from l2v.benchmarks.metrics import Marked, Score, all_right, by_problem

RESAMPLES = 10_000
CLUSTER_RESAMPLES = 4_000

Array = NDArray[np.float64]


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share of `n` > 0 items, as shares in [0, 1]."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, n, alpha=1 - 0.95, method="wilson")
    # At 0 and n the formula's end is exact in theory and a rounding error off in floats.
    return (0.0 if correct == 0 else float(low)), (1.0 if correct == n else float(high))


@dataclass(frozen=True)
class Paired:
    """A method against the baseline on the same items.

    diff, low, high: difference of accuracies and its 95 % paired-bootstrap interval, in [-1, 1] (where all
    items differ alike: `unvaried`). right: items that flipped
    from wrong to right; wrong: from right to wrong. p: two-sided exact McNemar. n: items that both answered.
    """

    diff: float
    low: float
    high: float
    right: int
    wrong: int
    p: float
    n: int


def paired(method: Mapping[str, bool], baseline: Mapping[str, bool]) -> Paired:
    """Compare verdicts by item id; items that only one side has are left out. Raises ValueError when none is shared."""
    shared = [i for i in method if i in baseline]
    if not shared:
        raise ValueError("method and baseline share no item")
    right = sum(method[i] and not baseline[i] for i in shared)
    wrong = sum(baseline[i] and not method[i] for i in shared)
    n = len(shared)
    low, high = _bootstrap(right, wrong, n)
    return Paired((right - wrong) / n, low, high, right, wrong, _mcnemar(right, wrong), n)


def score_interval(score: Score) -> tuple[float, float]:
    """The 95 % interval of a score, as shares in [0, 1].

    Wilson's, over items, or over problems for an all-right share. Where a problem has several items, or the score is a mean
    of subsets: percentiles of a bootstrap over problems, since versions of one problem are not independent.
    """
    problems = {item.problem for item in score.items}
    if score.all_right:
        right = round(all_right((item.problem, item.right) for item in score.items) * len(problems))
        return wilson(right, len(problems))
    if len(problems) == len(score.items) and not score.parts:
        return wilson(sum(item.right for item in score.items), len(score.items))
    sums, counts = _by_problem(score.items, score.parts)
    weights = _problem_draws(len(sums))
    drawn = weights @ counts
    means = np.divide(weights @ sums, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
    low, high = np.nanquantile(np.nanmean(means, axis=1), [0.025, 0.975])
    if low == high and low in (0.0, 1.0):
        return wilson(round(low) * len(problems), len(problems))
    return float(low), float(high)


def _by_problem(items: Sequence[Marked], parts: Sequence[str]) -> tuple[Array, Array]:
    """Right items and items, per problem (rows) and part (columns; one when there are no parts)."""
    row = {problem: i for i, problem in enumerate(dict.fromkeys(item.problem for item in items))}
    columns = {part: i for i, part in enumerate(parts)} or {"": 0}
    sums, counts = np.zeros((len(row), len(columns))), np.zeros((len(row), len(columns)))
    for item in items:
        column = next((columns[name] for name in item.subsets if name in columns), 0)
        sums[row[item.problem], column] += item.right
        counts[row[item.problem], column] += 1
    return sums, counts


@lru_cache(maxsize=8)
def _problem_draws(problems: int) -> Array:
    """How often each problem is drawn in each resample, (resamples, problems)."""
    draws = np.random.default_rng(0).multinomial(problems, np.full(problems, 1 / problems), size=CLUSTER_RESAMPLES)
    return draws.astype(np.float64)


@lru_cache(maxsize=8)
def _signs(problems: int) -> Array:
    """Random signs per problem, (resamples, problems)."""
    return np.random.default_rng(1).choice([-1.0, 1.0], size=(CLUSTER_RESAMPLES, problems))


def paired_scores(method: Score, baseline: Score) -> Paired:
    """The same score of two runs over the same items, compared item by item.

    Where every item is a problem of its own: `paired`. An all-right share compares problems so. Otherwise the interval is a
    bootstrap over problems and p a two-sided sign-flip test over problems (4,000 draws, never below 1/4,001), since versions
    of one problem are not independent. Raises ValueError when no item is shared.
    """
    theirs = {item.id: item.right for item in baseline.items}
    if method.all_right:
        return paired(*(by_problem((item.problem, item.right) for item in one.items) for one in (method, baseline)))
    ours = {item.id: item.right for item in method.items}
    simple = paired(ours, theirs)
    problems = {item.problem for item in method.items}
    if len(problems) == len(method.items) and not method.parts:
        return simple
    shared = [item for item in method.items if item.id in theirs]
    base = [Marked(item.id, item.problem, item.subsets, theirs[item.id]) for item in shared]
    (sums, counts), (base_sums, _) = _by_problem(shared, method.parts), _by_problem(base, method.parts)
    totals = counts.sum(axis=0)
    # What each problem adds to the difference of the means of parts.
    added = ((sums - base_sums) / np.where(totals > 0, totals, 1)).sum(axis=1) / max(1, int((totals > 0).sum()))
    diff = float(added.sum())
    low, high = np.quantile(_problem_draws(len(added)) @ added, [0.025, 0.975])
    if np.ptp(added) == 0:
        low, high = unvaried(diff, len(added))
    return Paired(diff, float(low), float(high), simple.right, simple.wrong, _flipped(added), simple.n)


def paired_means(method: Mapping[str, float], baseline: Mapping[str, float]) -> Paired:
    """A mean of numbers per item, such as tokens, against the baseline's on the same items; diff, low and high in their unit.

    right, wrong: items whose number rose; fell. The interval is a bootstrap over items, p a two-sided sign-flip test (4,000
    draws, never below 1/4,001). Raises ValueError when no item is shared.
    """
    shared = [item for item in method if item in baseline]
    if not shared:
        raise ValueError("method and baseline share no item")
    added = np.array([method[item] - baseline[item] for item in shared]) / len(shared)
    low, high = np.quantile(_problem_draws(len(added)) @ added, [0.025, 0.975])
    p = _flipped(added)
    return Paired(float(added.sum()), float(low), float(high), int((added > 0).sum()), int((added < 0).sum()), p, len(added))


def _flipped(added: Array) -> float:
    """The two-sided sign-flip test of what each problem adds to a difference."""
    flipped = np.abs(_signs(len(added)) @ added) >= abs(float(added.sum())) - 1e-12
    return (1 + int(flipped.sum())) / (1 + CLUSTER_RESAMPLES)


def unvaried(diff: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a paired difference that is the same for all of `n` items, where a bootstrap has no width.

    Tango's score interval (Statistics in Medicine 17, 1998), which is one of Wilson's ends there: diff is -1, 0 or 1.
    """
    slack = (1 + abs(diff)) * (1 - wilson(n, n)[0])
    return max(-1.0, diff - slack), min(1.0, diff + slack)


@lru_cache(maxsize=4096)
def _mcnemar(right: int, wrong: int) -> float:
    """The two-sided exact test of as many flips in both directions."""
    from scipy.stats import binomtest

    return float(binomtest(right, right + wrong, 0.5).pvalue) if right + wrong else 1.0


@lru_cache(maxsize=4096)
def _bootstrap(right: int, wrong: int, n: int) -> tuple[float, float]:
    """Percentile interval over resampled items. Resampling pairs of verdicts is drawing the three kinds of item."""
    if n in (right, wrong, n - right - wrong):
        return unvaried((right - wrong) / n, n)
    shares = [right / n, wrong / n, 1 - (right + wrong) / n]
    draws = np.random.default_rng(0).multinomial(n, shares, size=RESAMPLES)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment over one family of tests; same order."""
    if not p_values:
        return []
    from unittest.mock import patch

    from statsmodels.stats.multitest import multipletests

    # It has the collector of cycles walk through all that is loaded, at every call.
    with patch.object(gc, "collect", int):
        return [float(p) for p in multipletests(list(p_values), method="holm")[1]]
