"""The mathematics of `l2v analyze` against numpy, scikit-learn, brute force and simulation."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from l2v.errors import UserError
from l2v.transfer import lat


def filtered(x: np.ndarray, k: int) -> np.ndarray:
    """METHOD 2 word for word, in complex128: bin i stays when i < k/2 or i > d - k/2."""
    d = x.shape[-1]
    i = np.arange(d)
    return np.fft.ifft(np.fft.fft(x) * ((i < k / 2) | (i > d - k / 2))).real


def noise(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def interleaved(cot: np.ndarray, direct: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([cot, direct], axis=1).reshape(-1, cot.shape[-1])).float()


@pytest.mark.parametrize("d", [12, 13])
def test_dispersion_is_the_trace_of_the_covariance_after_the_filter(d: int) -> None:
    u = noise(9, d) * np.linspace(0.2, 3, d) + np.arange(d)
    cutoffs = [1, 2, 5, 6, d]
    found = lat.dispersion(torch.from_numpy(u), cutoffs, lat.orders(d, 2, 0))
    assert found.whole == pytest.approx(np.trace(np.cov(u.T, bias=True)))
    assert found.mean_square == pytest.approx((u**2).sum(axis=1).mean())
    for i, k in enumerate(cutoffs):
        low = filtered(u, k)
        trace = np.trace(np.cov(low.T, bias=True))
        assert found.trace[i] == pytest.approx(trace)
        assert found.normalised[i] == pytest.approx(trace / (low**2).sum(axis=1).mean())
        assert found.retained[i] == pytest.approx(trace / found.whole)


@pytest.mark.parametrize(("k", "kept"), [(16, 15), (17, 17)])
def test_a_white_spectrum_keeps_the_white_line(k: int, kept: int) -> None:
    """(k - 1)/d for even k: the mean of 60 draws lies within four of its standard errors."""
    d = 64
    drawn = [lat.dispersion(torch.from_numpy(noise(20, d, seed)), [k], lat.orders(d, 1, 0)) for seed in range(60)]
    shares = np.array([one.retained[0] for one in drawn])
    assert drawn[0].white[0] == kept / d
    assert abs(shares.mean() - kept / d) < 4 * shares.std() / 60**0.5
    covered = np.mean([one.low[0] <= kept / d <= one.high[0] for one in drawn])
    assert 0.75 <= covered < 1.0, "a 95 % interval of 20 pairs covers most of the time, and sometimes does not"


def test_the_mean_over_all_orders_is_known_exactly() -> None:
    """All 120 orders of five coordinates, with a sum that is far from zero."""
    d, u = 5, noise(4, 5) + noise(4, 1, 1) * 2
    every = [np.array(order) for order in itertools.permutations(range(d))]
    found = lat.dispersion(torch.from_numpy(u), [1, 2, 3, 4, 5], every)
    assert found.permuted_expected == pytest.approx(found.permuted, rel=1e-12)
    assert found.permuted_low[2] < found.permuted[2] < found.permuted_high[2]
    assert abs(found.permuted_expected[0] - 1 / d) > 0.05, "the sum is not white: DC keeps more than its share"


def test_orders_destroy_low_frequency_structure_and_nothing_else() -> None:
    d, n = 64, 30
    smooth = filtered(noise(n, d), 9)
    found = lat.dispersion(torch.from_numpy(smooth), [8, 16], lat.orders(d, 20, 0))
    assert found.retained[1] == pytest.approx(1.0)
    assert found.permuted_high[1] < 0.6
    assert abs(found.permuted[1] - found.permuted_expected[1]) < 0.05
    shuffled = smooth[:, lat.orders(d, 1, 99)[0]]
    again = lat.dispersion(torch.from_numpy(shuffled), [8, 16], lat.orders(d, 20, 1))
    assert again.permuted_low[1] - 0.05 < again.retained[1] < again.permuted_high[1] + 0.05


def test_the_interval_narrows_with_the_pairs() -> None:
    widths = []
    for n in (10, 160):
        one = lat.dispersion(torch.from_numpy(noise(n, 32)), [8], lat.orders(32, 1, 0))
        assert one.low[0] < one.retained[0] < one.high[0]
        widths.append(one.high[0] - one.low[0])
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.5)


def test_too_few_pairs_or_orders_are_refused() -> None:
    with pytest.raises(UserError, match="at least 3 pairs"):
        lat.dispersion(torch.zeros(2, 8), [2], lat.orders(8, 1, 0))
    with pytest.raises(UserError, match="at least 1"):
        lat.orders(8, 0, 0)


def test_components_are_those_of_scikit_learn() -> None:
    cot, direct = noise(20, 10) + 2, noise(20, 10, 1) - 1
    states = interleaved(cot, direct)
    found = lat.components(states)
    oracle = PCA(2).fit(states.double().numpy())
    points = oracle.transform(states.double().numpy())
    assert np.abs(found.points) == pytest.approx(np.abs(points), abs=1e-8)
    assert found.shares == pytest.approx(oracle.explained_variance_ratio_)
    assert (found.points[::2].mean(axis=0) >= found.points[1::2].mean(axis=0)).all()


@pytest.mark.parametrize("d", [20, 21])
def test_power_and_energy_are_parsevals(d: int) -> None:
    v = noise(1, d)[0] + 0.5
    tensor = torch.from_numpy(v)
    shares = lat.power_shares(tensor)
    whole = np.abs(np.fft.fft(v)) ** 2
    assert shares.sum() == pytest.approx(1.0)
    assert shares[3] == pytest.approx((whole[3] + whole[-3]) / whole.sum())
    assert shares[0] == pytest.approx(v.sum() ** 2 / d / (v**2).sum())
    for k in (1, 4, 9, d):
        assert lat.energy_curve(tensor, [k])[0] == pytest.approx((filtered(v, k) ** 2).sum() / (v**2).sum())
    k90 = lat.energy_k(tensor, 0.9)
    assert k90 is not None
    assert lat.energy_curve(tensor, [k90])[0] >= 0.9 > lat.energy_curve(tensor, [k90 - 2])[0]


def test_energy_at_the_nyquist_bin_belongs_to_no_cutoff() -> None:
    assert lat.energy_k(torch.tensor([1.0, -1.0] * 8), 0.5) is None


def test_a_pair_does_not_vote_on_its_own_axis() -> None:
    """Pure noise in many dimensions: leaving the pair out gives chance; with it left in, everything would seem separated."""
    cot, direct = noise(40, 400), noise(40, 400, 1)
    found = lat.separation(interleaved(cot, direct), None)
    assert abs(found.auc - 0.5) < 0.15
    assert found.low < 0.5 < found.high
    axis = (cot - direct).mean(axis=0)
    assert roc_auc_score([1] * 40 + [0] * 40, np.concatenate([cot @ axis, direct @ axis])) > 0.95


def test_separation_is_that_of_the_normal_distributions_it_was_drawn_from() -> None:
    d, k, shift = 64, 16, 2.0
    axis = filtered(noise(1, d, 7)[0], k)
    axis *= shift / np.linalg.norm(axis)
    cot, direct = noise(400, d, 2) + axis / 2, noise(400, d, 3) - axis / 2
    found = lat.separation(interleaved(cot, direct), k)
    assert found.d_prime == pytest.approx(shift, rel=0.15)
    scores = np.concatenate([found.cot, found.direct])
    assert found.auc == pytest.approx(roc_auc_score([1] * 400 + [0] * 400, scores))
    assert found.low < 0.9214 < found.high, "Phi(2 / sqrt 2)"
    assert found.n == 400
    assert abs(found.cot.mean() + found.direct.mean()) < 0.1, "0 is the midpoint"


def test_ties_count_half() -> None:
    """States at +1 and -1 only, five of twenty pairs the wrong way round."""
    sign = np.where(np.arange(20) < 15, 1.0, -1.0)[:, None] * np.ones((1, 4))
    found = lat.separation(interleaved(sign, -sign), None)
    assert found.auc == pytest.approx(roc_auc_score([1] * 20 + [0] * 20, np.concatenate([sign[:, 0], -sign[:, 0]])))


def test_the_carried_axis_is_the_sources() -> None:
    """The target separates along an axis that only the source knows: its own labels are turned round."""
    d, wide, k = 32, 48, 12
    shape = filtered(noise(1, d, 5)[0], k)
    from scipy.signal import resample

    sign = np.where(np.arange(30) % 2 == 0, 1.0, -1.0)[:, None]
    target = interleaved(0.1 * noise(30, wide) + sign * resample(shape, wide), 0.1 * noise(30, wide, 1))
    source = interleaved(0.1 * noise(30, d, 2) + shape, 0.1 * noise(30, d, 3))
    found = lat.separation(target, k, source)
    assert (found.cot[::2] > 0).all() and (found.cot[1::2] < 0).all()
    with pytest.raises(UserError, match="other pairs"):
        lat.separation(target[:-2], k, source)


def test_cosines_are_those_of_the_resampled_directions() -> None:
    from scipy.signal import resample

    source, target, k = noise(3, 40), noise(2, 24, 1), 10
    found = lat.agreement(torch.from_numpy(source), torch.from_numpy(target), k, lat.orders(40, 4, 0))
    for s, t in itertools.product(range(3), range(2)):
        carried, own = resample(filtered(source[s], k), 24), filtered(target[t], k)
        expected = carried @ own / np.linalg.norm(carried) / np.linalg.norm(own)
        assert found.low.cosines[s, t] == pytest.approx(expected, abs=1e-6)
        share = (own**2).sum() / (target[t] ** 2).sum()
        assert found.whole.cosines[s, t] == pytest.approx(expected * share**0.5, abs=1e-6)
    assert found.high is not None
    rest = resample(source[0] - filtered(source[0], k), 24)
    # Resampling drops the smaller width's Nyquist bin, which scipy keeps.
    rest -= np.resize([1.0, -1.0], 24) * (rest @ np.resize([1.0, -1.0], 24)) / 24
    own = target[0] - filtered(target[0], k)
    assert found.high.cosines[0, 0] == pytest.approx(rest @ own / np.linalg.norm(rest) / np.linalg.norm(own), abs=1e-6)
    assert len(found.permuted) == 4


def test_a_model_agrees_with_itself() -> None:
    v = torch.from_numpy(noise(3, 33))
    found = lat.agreement(v, v, 12, lat.orders(33, 3, 0))
    assert np.diag(found.low.cosines) == pytest.approx(1.0)
    assert found.high is not None and np.diag(found.high.cosines) == pytest.approx(1.0)
    assert found.permuted.max() < 0.99, "in another order it does not"
    assert lat.agreement(v, v, 33, lat.orders(33, 1, 0)).high is None, "nothing is left above the whole band"


def test_the_null_level_is_that_of_random_directions() -> None:
    """2,000 maps of independent directions in the kept band."""
    k, d = 12, 40
    random = np.random.default_rng(0)
    cosines = []
    for _ in range(2000):
        rows, columns = filtered(random.normal(size=(3, d)), k), filtered(random.normal(size=(3, d)), k)
        norms = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(columns, axis=1)
        cosines.append(rows @ columns.T / norms)
    found = lat.agreement(torch.from_numpy(noise(3, d)), torch.from_numpy(noise(3, d, 1)), k, lat.orders(d, 1, 0))
    assert np.std(cosines) == pytest.approx(found.low.sd, rel=0.05)
    assert found.low.sd == pytest.approx((k - 1) ** -0.5)
    beyond = np.mean([np.abs(one).max() > found.low.limit for one in cosines])
    assert 0.03 < beyond <= 0.055
    assert lat.cosine_limit(1, 9) == 1.0


def test_a_notebook_can_use_it_alone() -> None:
    code = "import sys, l2v.transfer.lat; print([m for m in ('hydra', 'wandb', 'lm_eval', 'pandas') if m in sys.modules]"
    code += " + [m for m in sys.modules if m.startswith(('l2v.study', 'l2v.report'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
