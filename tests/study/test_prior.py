"""What ranks cells beforehand: figures against numpy, and who is skipped."""

from __future__ import annotations

import numpy as np
import torch

from l2v.study import prior
from l2v.study.prior import Signs, rank


def test_the_lower_half_of_the_distinct_values_is_skipped_and_equals_keep_their_order() -> None:
    values = [0.5, None, 0.9, 0.5, 0.7, 0.1]
    assert rank(values, strict=False) == ([2, 4, 0, 3, 5, 1], set())
    assert rank(values, strict=True) == ([2, 4, 0, 3, 5, 1], {0, 3, 5})
    assert rank([0.5, 0.5], strict=True) == ([0, 1], set()) and rank([None, None], strict=True) == ([0, 1], set())


def test_pairs_are_told_apart_by_the_mean_of_the_other_half() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(40, 8)) + 0.4
    direct = rng.normal(size=(40, 8))
    states = np.stack([direct + differences, direct], axis=1).reshape(80, 8)
    even, odd = differences[0::2], differences[1::2]
    expected = np.mean(np.r_[even @ odd.mean(axis=0) > 0, odd @ even.mean(axis=0) > 0])
    assert 0.5 < expected < 1 and abs(prior._separation(torch.tensor(states)) - expected) < 1e-6


def test_the_share_that_k_keeps_is_the_spectrums() -> None:
    direction = np.random.default_rng(1).normal(size=16)
    power = np.abs(np.fft.fft(direction)) ** 2
    expected = (power[0] + 2 * power[1:3].sum()) / power.sum()  # k = 5: DC and two pairs
    assert abs(prior._kept(torch.tensor(direction), 5) - expected) < 1e-6


def test_without_the_targets_own_direction_common_energy_decides() -> None:
    assert Signs(0.8, None, None, 0.5).promise == 0.4 and Signs(0.8, None, None, None).promise == 0.8
    assert Signs(0.8, 1.0, -0.2, 0.5).promise == -0.2
