"""The benchmark of sums: its sets, its turns, its rule, and its pictures."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from l2v.benchmarks.base import Answer
from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.harness import load_items
from l2v.benchmarks.sums import problems
from l2v.benchmarks.sums.docs import BENCHMARK
from l2v.errors import UserError


def stored(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (problems.DATA / f"{name}.jsonl").read_text().splitlines()]


def items(prompt: str, split: str = "select", config: str | None = None) -> list[Any]:
    return load_items(DataRef("sums", split, "l2v/sums", path=str(problems.DATA), config_name=config), prompt)


def test_sets_are_disjoint_right_and_as_drawn() -> None:
    rows = {name: stored(name) for name in problems.SETS}
    assert {name: len(some) for name, some in rows.items()} == problems.SETS
    asked = [row["question"] for some in rows.values() for row in some]
    assert len(set(asked)) == len(asked)
    for row in (row for some in rows.values() for row in some):
        terms = [int(n) for n in re.findall(r"\d+", row["question"])]
        assert int(row["answer"]) == sum(terms) == int(row["direct"]) and len(terms) in (3, 4)
        sides = re.findall(r"(\d+) \+ (\d+) = (\d+)", row["cot"])
        assert len(sides) == len(terms) - 1 and all(int(a) + int(b) == int(c) for a, b, c in sides)
    assert {name: [vars(row) for row in some] for name, some in problems.draw().items()} == rows
    assert problems.draw(seed=1) != problems.draw(seed=2)


@pytest.mark.parametrize(("style", "worked"), [("direct", []), ("worked", [0, 1, 2, 3]), ("mixed", [0, 2]), ("plain", None)])
def test_a_style_is_the_turns_before_the_question(style: str, worked: list[int] | None) -> None:
    first = items(style)[0]
    assert first.text == stored("select")[0]["question"]
    shown = stored("demonstrations")
    expected = [] if worked is None else [(r["question"], r["cot" if i in worked else "direct"]) for i, r in enumerate(shown)]
    assert list(first.history) == expected


@pytest.mark.parametrize(
    ("response", "read", "steps"),
    [
        ("14", "14", False),
        ("2 + 7 + 5 = 14", "14", False),
        ("Start with 2. Add 7: 2 + 7 = 9. Add 5: 9 + 5 = 14. The answer is 14.", "14", True),
        ("Start with 2. Add 7: 2 + 7 = 9. Add 5: 9 + 5 =", "5", False),
        ("The answer is 14. It is not 15.", "14", False),
        (" 014\n\nQuestion: What is 1 + 1?\nAnswer: 2", "14", False),
        ("no idea", None, False),
    ],
)
def test_answers_and_steps(response: str, read: str | None, steps: bool) -> None:
    verdict = BENCHMARK.official({"question": "What is 2 + 7 + 5?", "answer": "14"}, Answer(response))
    assert (verdict.extraction, verdict.correct) == (read, read == "14")
    assert BENCHMARK.shows_steps(response) is steps


def test_pictures_show_the_terms_and_stay_the_same() -> None:
    one, two = items("mixed", config="pictures")[:2]
    assert one.text == "What is <image>?" and one.history == items("mixed")[0].history
    first, again, other = (np.asarray(item.images[0]) for item in (one, one, two))
    assert np.array_equal(first, again) and (first.shape != other.shape or not np.array_equal(first, other))
    assert first.min() < 100 < 190 < np.median(first), "dark ink on light paper"
    boxes = [items("mixed", config="boxes")[place].images[0] for place in (0, 0, 1)]
    assert boxes[0].size == (28 * 16, 28) and boxes[0].tobytes() == boxes[1].tobytes() != boxes[2].tobytes()
    with pytest.raises(UserError, match="pictures"):
        items("mixed", config="drawings")
