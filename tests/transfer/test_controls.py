"""The controls that are made of the direction alone: what each one changes and what it leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from l2v.transfer import spectrum
from l2v.transfer.arms import build_vector
from l2v.transfer.vectors import ArmInput, _haar_rotated, random_bins

V = torch.randn(96, generator=torch.Generator().manual_seed(5)) * 3


@pytest.mark.parametrize("arm", ["random_low_pass", "rotated", "random_bins", "sign_flipped"])
@pytest.mark.parametrize("width", [64, 96, 130])
def test_every_control_has_the_norm_and_width_it_should(arm: str, width: int) -> None:
    vector = build_vector(arm, V, width, 20, seed=1)
    assert vector.shape == (width,)
    assert float(vector.norm()) == pytest.approx(float(V.norm()), rel=1e-5)
    assert not torch.allclose(vector, build_vector("l2v", V, width, 20), atol=1e-2)


@pytest.mark.parametrize("arm", ["random_low_pass", "rotated", "random_bins"])
def test_a_seed_is_a_draw_of_its_own_and_comes_back(arm: str) -> None:
    one, two = build_vector(arm, V, 96, 20, seed=1), build_vector(arm, V, 96, 20, seed=2)
    assert torch.equal(one, build_vector(arm, V, 96, 20, seed=1))
    assert not torch.allclose(one, two, atol=1e-2)


@pytest.mark.parametrize("arm", ["random_low_pass", "rotated"])
def test_nothing_above_the_cutoff_is_left(arm: str) -> None:
    power = np.abs(np.fft.fft(build_vector(arm, V, 96, 20, seed=3).numpy())) ** 2
    assert power[10:87].sum() < 1e-6 * power.sum() < power[:10].sum()


def test_the_flipped_sign_is_l2v_turned_round() -> None:
    assert torch.allclose(build_vector("sign_flipped", V, 64, 20), -build_vector("l2v", V, 64, 20), atol=1e-5)


def test_random_bins_keeps_as_many_pairs_as_the_low_pass_but_not_the_lowest() -> None:
    power = np.abs(np.fft.fft(build_vector("random_bins", V, 96, 20, seed=0).numpy())) ** 2
    kept = np.flatnonzero(power[1:48] > 1e-6 * power.max()) + 1
    assert len(kept) == 9  # k = 20 keeps DC and nine pairs
    assert kept.max() > 10
    assert power[96 - kept].min() > 1e-6 * power.max(), "conjugate pairs: the vector is real"


def test_random_bins_draws_only_what_the_smaller_width_has() -> None:
    """A pair above the target's band would be cut off by the resampling and the vector would hold fewer pairs."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        power = np.abs(np.fft.fft(random_bins(ArmInput(V, 40, 20, generator)).numpy())) ** 2
        assert (power[1:20] > 1e-8 * power.max()).sum() == 9


def test_a_rotation_keeps_lengths_and_angles() -> None:
    """One seed is one rotation: two directions (two layers) keep their angle."""
    w = torch.randn(96, generator=torch.Generator().manual_seed(6))
    turned = [_haar_rotated(x, torch.Generator().manual_seed(9)) for x in (V, w)]
    assert float(turned[0] @ turned[1]) == pytest.approx(float(V @ w), rel=1e-4)
    assert float(turned[0].norm()) == pytest.approx(float(V.norm()), rel=1e-5)


def test_rotations_are_uniform() -> None:
    """Every coordinate of a turned unit vector in 3 dimensions is uniform on [-1, 1] (Archimedes)."""
    e = torch.tensor([0.0, 0.0, 1.0])
    turned = torch.stack([_haar_rotated(e, torch.Generator().manual_seed(s)) for s in range(600)]).double().numpy()
    for column in turned.T:
        assert stats.kstest(column, "uniform", args=(-1, 2)).pvalue > 0.01


def test_keep_pairs_is_the_low_pass_for_the_lowest_pairs() -> None:
    assert torch.allclose(spectrum.keep_pairs(V, torch.arange(1, 10)), spectrum.low_pass(V, 20), atol=1e-6)
