"""Intervals and paired tests, on scipy and statsmodels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RESAMPLES = 10_000


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of `n` > 0 items, as shares in [0, 1]."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, n, alpha=1 - level, method="wilson")
    # At 0 and n the formula's end is exact in theory and a rounding error off in floats.
    return (0.0 if correct == 0 else float(low)), (1.0 if correct == n else float(high))


@dataclass(frozen=True)
class Paired:
    """A method against the baseline on the same items.

    diff, low, high: difference of accuracies and its 95 % paired-bootstrap interval, in [-1, 1]. right: items that flipped
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
    from scipy.stats import binomtest

    shared = [i for i in method if i in baseline]
    if not shared:
        raise ValueError("method and baseline share no item")
    right = sum(method[i] and not baseline[i] for i in shared)
    wrong = sum(baseline[i] and not method[i] for i in shared)
    n = len(shared)
    p = float(binomtest(right, right + wrong, 0.5).pvalue) if right + wrong else 1.0
    low, high = _bootstrap(right, wrong, n)
    return Paired((right - wrong) / n, low, high, right, wrong, p, n)


@lru_cache(maxsize=4096)
def _bootstrap(right: int, wrong: int, n: int) -> tuple[float, float]:
    """Percentile interval over resampled items. Resampling pairs of verdicts is drawing the three kinds of item."""
    shares = [right / n, wrong / n, 1 - (right + wrong) / n]
    draws = np.random.default_rng(0).multinomial(n, shares, size=RESAMPLES)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment over one family of tests; same order."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]
