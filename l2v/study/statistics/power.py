"""What a study can show before it is run: power, smallest difference and number of items of the exact McNemar test.

Only items that flip count. So a study is described by the shares of items that flip from wrong to right and from right to
wrong, or by what they follow from: their sum (the discordance) and difference, or the baseline's accuracy and the
correlation of the two verdicts of an item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2v.errors import UserError

Array = NDArray[np.float64]

LARGEST = 1_000_000


@overload
def power(n: int, right: float, wrong: float, alpha: float = 0.05) -> float: ...
@overload
def power(n: int, right: ArrayLike, wrong: ArrayLike, alpha: float = 0.05) -> float | Array: ...
def power(n: int, right: ArrayLike, wrong: ArrayLike, alpha: float = 0.05) -> float | Array:
    """The chance that the two-sided exact McNemar test over `n` items gives p <= alpha.

    right, wrong: shares of items that flip from wrong to right and from right to wrong; numbers or arrays that broadcast,
    each >= 0 and together <= 1. Returns a float, or an array of their shape. Exact: the sum over the number of flips, which
    is binomial, of the chance that flips to right, binomial given that number, are in the test's tails (S. W. Duffy,
    Biometrics 40 (1984) 1005). With right = wrong it is the test's true level. Raises UserError for other shares.
    """
    from scipy.stats import binom

    ups, downs = np.broadcast_arrays(np.asarray(right, dtype=np.float64), np.asarray(wrong, dtype=np.float64))
    if n < 1 or not 0 < alpha < 1:
        raise UserError(f"n={n} must be at least 1 and alpha={alpha} between 0 and 1.")
    total = ups + downs
    if (np.minimum(ups, downs) < 0).any() or (total > 1 + 1e-12).any():
        raise UserError("Shares of items that flip must be at least 0 and sum to at most 1.")
    total = np.minimum(total, 1)
    up = np.divide(ups, total, out=np.full(total.shape, 0.5), where=total > 0)[..., None]
    # Numbers of flips outside have a chance below 1e-14 together.
    flips = np.arange(binom.ppf(5e-15, n, total.min()), binom.isf(5e-15, n, total.max()) + 1)
    # cdf(-1) is 0: with so few flips the test cannot reject.
    tail = _tail(alpha, 1 << n.bit_length())[flips.astype(np.int64)]
    rejected = binom.cdf(tail, flips, up) + binom.cdf(tail, flips, 1 - up)
    found = (binom.pmf(flips, n, total[..., None]) * rejected).sum(axis=-1)
    return float(found) if found.ndim == 0 else found


@lru_cache(maxsize=64)
def _tail(alpha: float, n: int) -> NDArray[np.int64]:
    """For 0 .. n flips the most flips of the rarer kind at which p <= alpha; -1 where there is none."""
    from scipy.stats import binom

    flips = np.arange(n + 1)
    first = np.maximum(binom.ppf(alpha / 2, flips, 0.5), 0).astype(np.int64)
    # ppf is the first count whose tail is at least alpha / 2; it rejects only when the tail is exactly that.
    return np.where(2 * binom.cdf(first, flips, 0.5) <= alpha * (1 + 1e-12), first, first - 1)


def flip_shares(base: float, diff: float, correlation: float) -> tuple[float, float]:
    """(right, wrong): shares of items that flip, for a baseline's accuracy, a difference and a correlation of verdicts.

    base, base + diff: accuracies in (0, 1). correlation: phi between the two verdicts of an item, in [0, 1); 0 are unrelated
    verdicts, the model's own flips from run to run say what to expect. Raises UserError where no two verdicts have these:
    a large difference leaves no room for a large correlation.
    """
    after = base + diff
    if not (0 < base < 1 and 0 < after < 1 and 0 <= correlation < 1):
        raise UserError(
            f"base={base:g} and base + diff={after:g} must be between 0 and 1, correlation={correlation:g} in [0, 1)."
        )
    joint = correlation * math.sqrt(base * (1 - base) * after * (1 - after))
    right, wrong = after * (1 - base) - joint, base * (1 - after) - joint
    if min(right, wrong) < -1e-12:
        raise UserError(f"Accuracies {base:g} and {after:g} cannot be correlated by {correlation:g}; lower the correlation.")
    return max(right, 0.0), max(wrong, 0.0)


def smallest_difference(
    n: int, discordance: float, *, power: float = 0.8, alpha: float = 0.05, design_effect: float = 1.0
) -> float:
    """The smallest gain in accuracy that `n` items show with this power; inf where no gain would be shown.

    discordance: share of items that flip either way, in (0, 1]. design_effect: how many times more items versions of one
    problem cost (L. Kish, Survey Sampling, 1965), at least 1 and at most n; the test over problems is taken to be the exact
    test over n / design_effect items, rounded down, an approximation. Raises UserError for values out of range.
    """
    from scipy.optimize import brentq

    shares, largest = _described(discordance, None, None)
    if design_effect < 1 or n < design_effect:
        raise UserError(f"design_effect={design_effect:g} must be at least 1 and at most n={n}.")
    effective = math.floor(n / design_effect)

    def lacking(diff: float) -> float:
        return _power(effective, *shares(diff), alpha) - power

    # For a given number of flips the chance to reject grows with the difference, so there is one crossing.
    if lacking(largest) < 0:
        return math.inf
    return 0.0 if lacking(0.0) >= 0 else float(brentq(lacking, 0.0, largest, xtol=1e-6))


@lru_cache(maxsize=1024)
def items_needed(
    diff: float,
    discordance: float | None = None,
    *,
    base: float | None = None,
    correlation: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    design_effect: float = 1.0,
) -> int:
    """The number of items from which on a gain of `diff` > 0 is shown with this power; the other arguments as above.

    base and correlation, as for `flip_shares`, may stand in the place of the discordance, which follows from them.

    Exact tests have a power that falls a little at some n while n grows; the number is past the last such dip. Raises
    UserError for a difference that the flips do not allow, and where a million items are not enough.
    """
    from scipy.stats import norm

    shares, largest = _described(discordance, base, correlation)
    if not 0 < diff <= largest + 1e-12:
        raise UserError(f"diff={diff:g} must be above 0 and at most {largest:.4g}, the most that these flips can give.")
    right, wrong = shares(min(diff, largest))

    def enough(n: int) -> bool:
        return _power(n, right, wrong, alpha) >= power

    # The normal approximation falls a little short of the exact number.
    about = (norm.isf(alpha / 2) + norm.ppf(power)) ** 2 * (right + wrong) / diff**2
    if about > LARGEST:
        raise UserError(f"A difference of {diff:g} needs more than {LARGEST:,} items; plan for a larger one.")
    high = max(8, round(about))
    low = high // 2
    if low and enough(low):
        low, high = 0, low
    while not enough(high):
        low, high = high, math.ceil(high * 1.25)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    # Dips are as far apart as it takes for two or three more flips.
    reach = math.ceil(4 / (right + wrong)) + 4
    short = next((n for n in range(high + reach - 1, max(high - reach, 1) - 1, -1) if not enough(n)), 0)
    return math.ceil(design_effect * (short + 1))


def measured_design_effect(differences: Sequence[float], problems: Sequence[str]) -> float:
    """The design effect of a run: the variance of the mean difference over problems to that over items, under no effect.

    differences: method minus baseline of each item, -1, 0 or 1; problems: each item's problem. 1 where nothing flips.
    """
    sums: dict[str, float] = {}
    for difference, problem in zip(differences, problems, strict=True):
        sums[problem] = sums.get(problem, 0.0) + difference
    alone = sum(difference**2 for difference in differences)
    return sum(total**2 for total in sums.values()) / alone if alone else 1.0


def _described(
    discordance: float | None, base: float | None, correlation: float | None
) -> tuple[Callable[[float], tuple[float, float]], float]:
    """From a difference to the shares of flips, and the largest difference that there is."""
    if discordance is not None and base is None and correlation is None:
        if not 0 < discordance <= 1:
            raise UserError(f"discordance={discordance:g} must be above 0 and at most 1.")
        return (lambda diff: ((discordance + diff) / 2, (discordance - diff) / 2)), discordance
    if discordance is not None or base is None or correlation is None:
        raise UserError("Give either discordance=…, or base=… and correlation=….")
    flip_shares(base, 0.0, correlation)
    # wrong >= 0 as long as the odds grow by no more than 1 / correlation**2.
    odds = base / (1 - base) / max(correlation, 1e-6) ** 2
    return (lambda diff: flip_shares(base, diff, correlation)), odds / (1 + odds) - base - 1e-9


# The public functions have a parameter of the same name.
_power = power
