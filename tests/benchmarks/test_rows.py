"""Rows whose columns hold something else: refused with the item and the column, never scored without a word."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l2v.benchmarks.catalogue import DataRef, open_benchmark
from l2v.benchmarks.harness import load_items
from l2v.benchmarks.rows import check_row
from l2v.errors import UserError

META = {"category": "math-targeted-vqa", "task": "t", "skills": ["s"]}
WHOLE: dict[str, dict[str, Any]] = {
    "mathvista": {"pid": "7", "question": "What?", "choices": ["a", "b"], "unit": None, "precision": None, "answer": "b",
                  "question_type": "multi_choice", "answer_type": "text", "metadata": META},
    "mathverse": {"sample_index": "7", "problem_index": "2", "problem_version": "Text Only", "answer": "B",
                  "question": "What?\nChoices:\nA:1\nB:2", "question_type": "multi-choice", "choices": ["A:1", "B:2"],
                  "metadata": {"subject": "s", "subfield": "f"}},
    "mmstar": {"index": 7, "question": "What? Options: A: a, B: b", "answer": "B", "category": "math",
               "l2_category": "geometry"},
    "mathvision": {"id": "7", "question": "What?", "options": ["a", "b"], "answer": "B", "level": 2, "subject": "arithmetic"},
    "dynamath": {"id": "7", "question": "What? Choices: (A) a (B) b", "ground_truth": "B", "answer_type": "multiple choice",
                 "subject": "algebra", "knowledge_level": "high school"},
    "sums": {"id": "7", "question": "What is 2 + 3?", "answer": "5"},
    "mini": {"id": "7", "question": "sum of <image> .", "answer": "7"},
}  # fmt: skip
FLOATS = {"question_type": "free_form", "answer_type": "float", "answer": "1.5", "precision": 1.0}
# Golds that no response can equal, by the rest of the row.
GOLDS: list[tuple[str, dict[str, Any]]] = [
    ("mathvista", {"answer": "c"}),
    ("mathvista", {"choices": None}),
    ("mathvista", {"choices": []}),
    ("mathvista", FLOATS | {"precision": None}),
    ("mathvista", FLOATS | {"answer": "about 2"}),
    ("mathvista", FLOATS | {"answer_type": "integer"}),
    ("mathvision", {"answer": "C"}),
    ("mathvision", {"answer": "b"}),
    ("mathvision", {"answer": " "}),
    ("mmstar", {"answer": "E"}),
    ("mmstar", {"answer": 2}),
    ("dynamath", {"ground_truth": "yes"}),
    ("dynamath", {"answer_type": "float", "ground_truth": "nan"}),
    ("sums", {"answer": "5.0"}),
    ("mini", {"answer": "seven"}),
]


def columns() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in WHOLE:
        docs = open_benchmark(name)
        values = {column: (3, None, ["x"], {"x": 1}, True, "", " \n") for column in docs.TEXTS}
        values |= {column: (3, None, ["x"], "nosuch", "", 1.5) for column in docs.WORDS}
        values |= {column: (3, "ab", "['a', 'b']", [1, 2], {"A": "a"}, ["a", None]) for column in docs.LISTS}
        yield from ((name, {column: value}) for column, bad in values.items() for value in bad)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_row_passes(name: str) -> None:
    check_row(open_benchmark(name), WHOLE[name], "here")


def test_the_picture_alone_may_ask() -> None:
    row = WHOLE["mathverse"] | {
        "question": "",
        "question_for_eval": "What?\nChoices:\nA:1\nB:2",
        "query_wo": "Answer directly.",
    }
    check_row(open_benchmark("mathverse"), row | {"problem_version": "Vision Only"}, "here")
    with pytest.raises(UserError, match="nothing in its column 'question'"):
        check_row(open_benchmark("mathverse"), row | {"problem_version": "Text Lite"}, "here")


def test_answers_may_be_withheld_where_the_benchmark_says_so() -> None:
    check_row(open_benchmark("mathvista"), WHOLE["mathvista"] | {"answer": ""}, "here")
    check_row(open_benchmark("mathvista"), WHOLE["mathvista"] | FLOATS, "here")


@pytest.mark.parametrize(("name", "change"), [*columns(), *GOLDS], ids=str)
def test_a_row_that_would_be_scored_wrongly_is_refused(name: str, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="tem '7' of here") as told:
        check_row(open_benchmark(name), WHOLE[name] | change, "here")
    assert len(str(told.value).splitlines()) == 1 and "mend" in str(told.value)


@pytest.mark.parametrize(("column", "value"), [("question_type", 1), ("choices", "ab"), ("answer_type", "number")])
def test_it_is_refused_where_data_are_loaded(column: str, value: Any, tmp_path: Path) -> None:
    (tmp_path / "testmini.jsonl").write_text(json.dumps(WHOLE["mathvista"] | {column: value}) + "\n")
    with pytest.raises(UserError, match=f"Item '7' of benchmark 'mathvista' has .* in its column '{column}'"):
        load_items(DataRef("mathvista", "testmini", "", path=str(tmp_path)), "direct")


def test_it_is_refused_in_a_file_that_holds_items_and_responses(l2v: Callable[..., Any], tmp_path: Path) -> None:
    row = WHOLE["mathvista"] | {"response": "(B)"}
    for change, code in (({}, 0), ({"question_type": 1}, 2), ({"choices": "ab"}, 2)):
        (tmp_path / "said.jsonl").write_text(json.dumps(row | change) + "\n")
        answer = l2v("score", "benchmark=mathvista", f"responses={tmp_path / 'said.jsonl'}", f"outputs={tmp_path}")
        assert answer.code == code, answer.err
        assert not code or "in its column" in answer.err
