"""What ranks cells beforehand: figures against numpy, and who is skipped."""

from __future__ import annotations

import numpy as np
import torch

from l2v.study import prior
from l2v.study.prior import Signs, changed, rank


def test_the_lower_half_of_the_distinct_values_is_skipped_and_equals_keep_their_order() -> None:
    values = [0.5, None, 0.9, 0.5, 0.7, 0.1]
    assert rank(values, strict=False) == ([2, 4, 0, 3, 5, 1], set())
    assert rank(values, strict=True) == ([2, 4, 0, 3, 5, 1], {0, 3, 5})
    assert rank([0.5, 0.5], strict=True) == ([0, 1], set()) and rank([None, None], strict=True) == ([0, 1], set())


def test_a_beginning_counts_where_it_differs_and_is_not_the_end() -> None:
    assert changed({"a": "so", "b": "ans", "c": "", "d": "7"}, {"a": "ans", "b": "ans", "c": "ans", "d": ""}) == 0.5


def test_the_share_that_k_keeps_is_the_spectrums() -> None:
    direction = np.random.default_rng(1).normal(size=16)
    power = np.abs(np.fft.fft(direction)) ** 2
    expected = (power[0] + 2 * power[1:3].sum()) / power.sum()  # k = 5: DC and two pairs
    assert abs(prior._kept(torch.tensor(direction), 5) - expected) < 1e-6


def test_without_the_targets_own_direction_common_energy_decides() -> None:
    assert Signs(0.8, None, 0.5).promise == 0.4 and Signs(0.8, None, None).promise == 0.8
    assert Signs(0.8, -0.2, 0.5).promise == -0.2


def test_what_does_not_change_how_answers_begin_promises_nothing() -> None:
    assert Signs(0.8, 0.5, None, begun=0.0).promise == 0 and Signs(0.8, 0.5, None, begun=0.25).promise == 0.125
