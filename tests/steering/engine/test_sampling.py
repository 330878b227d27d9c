"""Draws and choices against Hugging Face's own warpers and against counting."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from l2v.steering.engine.rows import Decoding
from l2v.steering.engine.sampling import choose, draw


def scores(rows: int = 3, vocabulary: int = 50) -> torch.Tensor:
    """Logits with a few likely tokens, and one that is forbidden."""
    drawn = 2 * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0))
    drawn[:, 7] = -torch.inf
    return drawn


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.6, 0, 1.0), (1.5, 5, 1.0), (1.2, 0, 0.7), (1.3, 8, 0.8)]
)
def test_draws_follow_the_distribution_of_transformers(temperature: float, top_k: int, top_p: float) -> None:
    """A fine comb of draws in [0, 1) hits every token as often as its probability says; forbidden ones never."""
    ids, row = torch.zeros(1, 1, dtype=torch.long), scores(1)
    expected = TemperatureLogitsWarper(temperature)(ids, row)
    if top_k:
        expected = TopKLogitsWarper(top_k)(ids, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(ids, expected)
    n = 20000
    chosen = choose(
        row.expand(n, -1),
        Decoding(8, temperature=temperature, top_k=top_k, top_p=top_p),
        [(i + 0.5) / n for i in range(n)],
    )
    share = torch.bincount(chosen, minlength=50) / n
    torch.testing.assert_close(share, expected.softmax(dim=-1)[0], atol=2 / n, rtol=0)
    assert share[7] == 0


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_the_ends_of_the_interval_are_possible_tokens(number: float) -> None:
    """Also when the first and the last token are forbidden."""
    row = scores(1)
    row[:, [0, 1, 48, 49]] = -torch.inf
    token = int(choose(row, Decoding(8, temperature=1.0), [number]))
    assert math.isfinite(row[0, token])
    assert token == (2 if number == 0 else 47)


def test_temperature_zero_is_greedy() -> None:
    """And needs no draws."""
    assert torch.equal(choose(scores(), Decoding(8), []), scores().argmax(dim=-1))


def test_rows_do_not_depend_on_their_neighbours() -> None:
    """A row's token is the same alone, in a batch, and beyond the part that is worked on at once."""
    many, decoding = scores(150), Decoding(8, temperature=1.0, top_p=0.9)
    draws = [draw(1, str(i), 0) for i in range(150)]
    together = choose(many, decoding, draws)
    assert all(int(choose(many[i : i + 1], decoding, draws[i : i + 1])) == int(together[i]) for i in range(150))


def test_draws_differ_by_seed_request_and_step_and_are_even() -> None:
    """The same three give the same number, on any machine; over many the numbers fill the interval."""
    assert draw(0, "a", 0) == pytest.approx(0.9536950464789421, abs=1e-15)
    assert len({draw(0, "a", 0), draw(1, "a", 0), draw(0, "b", 0), draw(0, "a", 1), draw(0, "1\na", 0)}) == 5
    numbers = torch.tensor([draw(0, str(i), j) for i in range(400) for j in range(10)], dtype=torch.float64)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, bins=10, min=0, max=1)
    assert counts.min() > 330
    assert counts.max() < 470
