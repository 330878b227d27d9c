"""`l2v power`: what a study's own flips say of more items; the power itself: study/statistics/test_power.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found.group(1).replace(",", ""))


def test_the_items_that_are_told_are_enough_and_few_less_are_not(l2v: Callable[..., Any]) -> None:
    """By simulation with scipy's exact test: a fifth of the items flips, 10 points are gained."""
    answer = l2v("power", "discordance=0.2", "diff=0.1")
    assert answer.code == 0, answer.err
    items = int(number(answer.out, r"need ([\d,]+) items"))
    draws = np.random.default_rng(0).multinomial(items, [0.15, 0.05, 0.8], size=2000)
    found = [binomtest(int(up), int(up + down), 0.5).pvalue <= 0.05 for up, down, _ in draws if up + down]
    assert 0.77 < np.mean(found) < 0.84
    least = number(l2v("power", "discordance=0.2", f"items={items}").out, r"from ([\d.]+) points")
    assert least == pytest.approx(10, abs=0.1)


def test_a_study_tells_its_own_flips(l2v: Callable[..., Any], tiny: Callable[..., Any], outputs: Path) -> None:
    assert tiny("--multirun", "study=powered", "method=direct,l2v", "benchmark.limit=30").code == 0
    import pandas as pd

    row = pd.read_csv(outputs / "powered" / "results.csv").query("method == 'l2v'").iloc[0]
    answer = l2v("power", "study=powered", f"outputs={outputs}", "items=1000")
    assert answer.code == 0, answer.err
    share = 100 * (row["flips_right"] + row["flips_wrong"]) / row["n"]
    assert number(answer.out, r"l2v on mini, mini dev.*: ([\d.]+) % of 30 items flip") == pytest.approx(share, abs=0.05)
    assert tiny("study=power_alone", "method=l2v").code == 0
    alone = l2v("power", "study=power_alone", f"outputs={outputs}")
    assert alone.code == 2 and "no cell to compare with direct" in alone.err


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (("power=1",), "power=1"),
        (("items=0",), "items=0"),
        (("diff=2",), "a share"),
        (("items=5", "diff=0.1"), "give one of them"),
        (("discordance=0",), "discordance=0"),
        (("discordance=0.2",), "Without a study"),
        (("discordance=0.2", "items=9", "study=first"), "study=… is never looked at beside discordance=…"),
        (("study=nowhere",), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence(l2v: Callable[..., Any], words: tuple[str, ...], piece: str) -> None:
    answer = l2v("power", *words)
    assert (answer.code, answer.out) == (2, "") and piece in answer.err and len(answer.err.splitlines()) == 1
