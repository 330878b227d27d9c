"""What paired states show (METHOD 5): dispersion, components, spectra, separation, and where two models agree.

States are (2n, d): text 2i is the chain of thought of pair i, text 2i + 1 the direct one; u_i is their difference. `k` counts
both halves of the spectrum, as in spectrum.py. Intervals are 95 % percentiles of a bootstrap over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from l2v.errors import UserError
from l2v.transfer import spectrum

Array = NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.05  # of the cosine map as a whole, divided by its cells


@dataclass(frozen=True)
class Dispersion:
    """The dispersion of one block's u_i after low-passes; arrays have one entry per cutoff.

    trace: (1/n) sum ||u_i - mean||^2 after the low-pass, the trace of the covariance. normalised: trace over the mean ||u_i||^2
    after the same low-pass, in [0, 1]; 0: all pairs agree. retained, low, high: trace over its unfiltered value `whole`, with
    its interval. white: what a white spectrum keeps, kept bins over d: (k - 1)/d for even k. permuted, permuted_low,
    permuted_high: mean and range of `retained` over random orders of the coordinates; permuted_expected: its exact mean over
    all orders. mean_square: mean ||u_i||^2, unfiltered. n: pairs.
    """

    k: NDArray[np.int64]
    trace: Array
    normalised: Array
    retained: Array
    low: Array
    high: Array
    white: Array
    permuted: Array
    permuted_low: Array
    permuted_high: Array
    permuted_expected: Array
    whole: float
    mean_square: float
    n: int


@dataclass(frozen=True)
class Components:
    """points: the states on their first two principal components, (2n, 2); shares: of the variance, (2,)."""

    points: Array
    shares: Array


@dataclass(frozen=True)
class Separation:
    """The two kinds of states on one axis: cot and direct, (n,), in the model's own units; 0 is the midpoint of the others.

    auc, low, high: the chance that a chain-of-thought state lies above a direct one, with its interval (the axes stay fixed).
    d_prime: difference of the means over the pooled standard deviation.
    """

    cot: Array
    direct: Array
    auc: float
    low: float
    high: float
    d_prime: float

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.cot)


@dataclass(frozen=True)
class CosineMap:
    """Cosines of every source block's direction (rows) with every target block's own (columns), in [-1, 1].

    sd: standard deviation of the cosine of independent random directions there. limit: the |cosine| that one of them exceeds
    anywhere in the map with probability 5 % at most (Bonferroni).
    """

    cosines: Array
    sd: float
    limit: float


@dataclass(frozen=True)
class Agreement:
    """Where the carried directions and the target's own agree.

    low: both low-passed at k. whole: carried low-passed, own unfiltered, which is low times the root of the energy share that
    own keeps. high: both high-passed at k; None where nothing is left of the carried. permuted: the largest |cosine| of the low
    map per order of the source's coordinates.
    """

    low: CosineMap
    whole: CosineMap
    high: CosineMap | None
    permuted: Array


def differences(states: Tensor) -> Tensor:
    """u_i of every pair, (n, d) float64, from states (2n, d)."""
    return states[::2].double() - states[1::2].double()


def orders(width: int, count: int, seed: int) -> list[NDArray[np.int64]]:
    """`count` random orders of `width` coordinates. Raises UserError for none."""
    if count < 1:
        raise UserError(f"analyze.permutations={count} must be at least 1.")
    random = np.random.default_rng(seed)
    return [random.permutation(width) for _ in range(count)]


def dispersion(u: Tensor, cutoffs: Sequence[int], permutations: Sequence[NDArray[np.int64]]) -> Dispersion:
    """The dispersion of u (n, d) at every cutoff, beside white and permuted coordinates.

    Filters are sums over the spectrum (Parseval), so a curve costs one transform, and one more for each order. Raises UserError
    for fewer than 3 pairs.
    """
    n, d = u.shape
    if n < 3:
        raise UserError(f"Dispersion needs at least 3 pairs, this contrast has {n}; raise contrast.per_domain.")
    mean = u.double().mean(dim=0)
    centred = (u.double() - mean).numpy()
    kept = _kept(d, cutoffs)
    spectra = np.fft.rfft(centred)
    power = _power(spectra, d)
    trace, whole = power.mean(axis=0) @ kept.T, float(power.mean(axis=0).sum())
    common = _power(np.fft.rfft(mean.numpy()), d)
    share = 1 / whole if whole > 0 else np.nan
    drawn = share * np.stack([_power(np.fft.rfft(centred[:, order]), d).mean(axis=0) @ kept.T for order in permutations])
    white = _bins(d, cutoffs) / d
    low, high = _retained_interval(spectra, d, kept)
    return Dispersion(
        k=np.asarray(cutoffs, dtype=np.int64),
        trace=trace,
        normalised=trace / (trace + kept @ common),
        retained=trace * share,
        low=low,
        high=high,
        white=white,
        permuted=drawn.mean(axis=0),
        permuted_low=drawn.min(axis=0),
        permuted_high=drawn.max(axis=0),
        permuted_expected=permuted_share(share * float(power[:, 0].mean()), _bins(d, cutoffs), d),
        whole=whole,
        mean_square=whole + float(common.sum()),
        n=n,
    )


def permuted_share(constant: float, bins: Array, d: int) -> Array:
    """What a low-pass of `bins` of `d` bins keeps, in the mean over all orders of the coordinates.

    `constant`: the share of DC. An order changes neither DC, which is the sum of the coordinates, nor the total; in the mean
    it spreads the rest evenly over the other d - 1 bins: by E[x_a x_b] = (S^2 - Q) / (d (d - 1)) for a != b, with S the sum of
    the coordinates and Q the sum of their squares.
    """
    return constant + (1 - constant) * (bins - 1) / max(1, d - 1)


def _kept(d: int, cutoffs: Sequence[int]) -> Array:
    """Which one-sided bins each cutoff keeps, (cutoffs, d // 2 + 1), 0 or 1."""
    return np.stack([spectrum.kept_bins(d, k)[: d // 2 + 1].double().numpy() for k in cutoffs])


def _bins(d: int, cutoffs: Sequence[int]) -> Array:
    """How many of the d bins each cutoff keeps."""
    return np.array([float(spectrum.kept_bins(d, k).sum()) for k in cutoffs])


def _power(spectra: NDArray[np.complex128], d: int) -> Array:
    """Energy per one-sided bin, both halves added, so that the bins of a vector sum to its squared norm (Parseval)."""
    twice = np.full(d // 2 + 1, 2.0)
    twice[0] = 1
    if d % 2 == 0:
        twice[-1] = 1
    return np.abs(spectra) ** 2 * twice / d


def _retained_interval(spectra: NDArray[np.complex128], d: int, kept: Array) -> tuple[Array, Array]:
    """Interval of the retained share, per cutoff: numerator and denominator from the same resampled pairs."""
    weights = _weights(len(spectra))
    every = np.concatenate([kept, np.ones((1, kept.shape[1]))])
    traces = weights @ (_power(spectra, d) @ every.T) - _power(weights @ spectra, d) @ every.T
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.nanquantile(traces[:, :-1] / traces[:, -1:], [0.025, 0.975], axis=0)
    return low, high


def _weights(n: int) -> Array:
    """How much each pair counts in each resample, (resamples, n)."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def components(states: Tensor) -> Components:
    """The first two principal components of states (2n, d); signed so that chain of thought lies higher in the mean."""
    x = states.double() - states.double().mean(dim=0)
    left, values, _ = torch.linalg.svd(x, full_matrices=False)
    points = (left * values)[:, :2].numpy()
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    signs = np.where(points[::2].mean(axis=0) >= points[1::2].mean(axis=0), 1.0, -1.0)
    shares = (values.square() / values.square().sum()).numpy()
    return Components(points * signs, np.pad(shares, (0, 2))[:2])


def power_shares(v: Tensor) -> Array:
    """|FFT(v)|^2 of v (d,) per frequency 0 … d // 2, both halves added, as shares of the whole; they sum to 1."""
    power = _power(np.fft.rfft(v.double().numpy()), len(v))
    return power / power.sum()


def energy_curve(v: Tensor, cutoffs: Sequence[int]) -> Array:
    """The share of |FFT(v)|^2 that each cutoff keeps."""
    return _kept(len(v), cutoffs) @ power_shares(v)


def energy_k(v: Tensor, share: float) -> int | None:
    """The smallest k that keeps this share of the energy; None where the Nyquist bin, which no k keeps, holds too much."""
    try:
        return spectrum.energy_cutoff(v, share)
    except UserError:
        return None


def separation(states: Tensor, k: int | None, source_states: Tensor | None = None) -> Separation:
    """The states (2n, d), low-passed at k (None: unfiltered), on the unit-length mean of the u of all other pairs.

    No pair is projected on an axis that it helped to make: in its own high-dimensional noise it would always lie high.
    source_states (2n, d'): take the axis from this model instead, filtered likewise and resampled: the carried direction.
    Raises UserError when the two models were read with different numbers of pairs.
    """
    x = _filtered(states, k).double()
    u = differences(x)
    if source_states is not None:
        u = spectrum.resample(_filtered(differences(source_states), k), x.shape[-1]).double()
    if 2 * len(u) != len(x):
        raise UserError("Source and target were read with other pairs; choose contrast.kind=response_pairs or prompts.")
    axes = u.sum(dim=0) - u
    axes = axes / torch.linalg.vector_norm(axes, dim=-1, keepdim=True)
    middle = (x.sum(dim=0) - x[::2] - x[1::2]) / (len(x) - 2)
    cot = ((x[::2] - middle) * axes).sum(dim=-1).numpy()
    direct = ((x[1::2] - middle) * axes).sum(dim=-1).numpy()
    auc, low, high = _auc(cot, direct)
    spread = float(np.sqrt((cot.var(ddof=1) + direct.var(ddof=1)) / 2))
    return Separation(cot, direct, auc, low, high, float(cot.mean() - direct.mean()) / spread if spread > 0 else np.nan)


def _filtered(v: Tensor, k: int | None) -> Tensor:
    return v if k is None else spectrum.low_pass(v, k)


def _auc(cot: Array, direct: Array) -> tuple[float, float, float]:
    """The area under the ROC curve, ties counted half, and its interval."""
    above = (cot[:, None] > direct[None]) + 0.5 * (cot[:, None] == direct[None])
    weights = _weights(len(cot))
    low, high = np.quantile(((weights @ above) * weights).sum(axis=1), [0.025, 0.975])
    return float(above.mean()), float(low), float(high)


def agreement(source: Tensor, target: Tensor, k: int, permutations: Sequence[NDArray[np.int64]]) -> Agreement:
    """Where two models' mean directions agree; source (layers, d) is carried to the width of target (layers', d')."""
    d = target.shape[-1]
    bins = int(spectrum.kept_bins(d, k).sum())
    carried, own = _carried(source, k, d), spectrum.low_pass(target, k)
    drawn = [np.abs(_cosines(_carried(source[:, torch.from_numpy(order)], k, d), own)).max() for order in permutations]
    high = None
    # Resampling carries DC and the pairs that both widths have.
    if 2 * ((min(d, source.shape[-1]) - 1) // 2) + 1 > bins:
        rest = spectrum.resample(spectrum.high_pass(source, k), d)
        high = _cosine_map(rest, spectrum.high_pass(target, k), d - bins)
    return Agreement(_cosine_map(carried, own, bins), _cosine_map(carried, target, d), high, np.array(drawn))


def _carried(directions: Tensor, k: int, width: int) -> Tensor:
    return spectrum.resample(spectrum.low_pass(directions, k), width)


def _cosine_map(rows: Tensor, columns: Tensor, dimensions: int) -> CosineMap:
    cosines = _cosines(rows, columns)
    return CosineMap(cosines, dimensions**-0.5, cosine_limit(dimensions, cosines.size))


def _cosines(rows: Tensor, columns: Tensor) -> Array:
    rows, columns = rows.double(), columns.double()
    norms = torch.linalg.vector_norm(rows, dim=-1)[:, None] * torch.linalg.vector_norm(columns, dim=-1)[None]
    return (rows @ columns.T / norms).numpy()


def cosine_limit(dimensions: int, tests: int) -> float:
    """The |cosine| that independent random directions in so many dimensions exceed with probability LEVEL / tests.

    The squared cosine is Beta(1/2, (dimensions - 1)/2). In one dimension every cosine is 1 or -1: the limit is 1.
    """
    from scipy.special import betainccinv

    return 1.0 if dimensions < 2 else float(np.sqrt(betainccinv(0.5, (dimensions - 1) / 2, LEVEL / tests)))
