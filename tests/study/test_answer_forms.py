"""Files of responses in the forms that other toolkits write, scored as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lm_eval_tasks import write_tasks
from test_answer_files import ITEMS

STAR = [
    {"index": i, "question": "Which?", "A": "a cat", "B": "a dog", "C": "a fish", "D": "none", "answer": gold}
    | {"category": "math", "l2_category": "geometry", "prediction": said}
    for i, (gold, said) in enumerate([("A", "A"), ("B", "b"), ("C", "A")])
]
VISION = [
    {"id": "5", "question": "q <image1>", "options": ["1", "2"], "answer": "B", "level": 1, "subject": "algebra"}
    | {"response": "The answer is B", "model_answer": "B"}
]
VERSE = [
    {"sample_index": str(i), "problem_index": "1", "problem_version": version, "question": "q\nChoices:\nA:40°\nB:60°"}
    | {"question_for_eval": "q", "answer": "B", "question_type": "multi-choice", "model_answer": said}
    | {"metadata": {"split": "testmini", "source": "x", "subject": "Plane Geometry", "subfield": "Angle"}}
    for i, (version, said) in enumerate([("Text Dominant", "The answer is B."), ("Vision Only", "The answer is A.")])
]


def last(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


@pytest.fixture
def score(l2v: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`l2v score` of a file with this name and content; items beside it where they are given."""

    def run(benchmark: str, name: str, content: Any, *words: str, items: Any = None) -> Any:
        path = tmp_path / name
        if path.suffix == ".xlsx":
            pd.DataFrame(content).to_excel(path, index=False)
        elif path.suffix == ".tsv":
            pd.DataFrame(content).to_csv(path, sep="\t", index=False)
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content), encoding="utf-8")
        else:
            path.write_text(json.dumps(content), encoding="utf-8")
        if items is not None:
            (tmp_path / "items.json").write_text(json.dumps(items))
            words = (*words, f"items={tmp_path / 'items.json'}")
        return l2v("score", f"benchmark={benchmark}", f"responses={path}", "progress=false", *words)

    return run


@pytest.mark.parametrize("name", ["star.xlsx", "star.tsv"])
def test_a_table_of_vlmevalkit_holds_its_items(name: str, score: Callable[..., Any]) -> None:
    answer = score("mmstar", name, STAR, "scorer=official,robust")
    assert answer.code == 0, answer.err
    assert "VLMEvalKit" in answer.out and "3 of 3 items answered" in answer.out
    assert [json.loads(line)["correct"] for line in answer.out.splitlines()[-2:]] == [2, 2]


@pytest.mark.parametrize("name", ["vista.xlsx", "vista.tsv"])
def test_its_flat_table_of_mathvista_holds_the_items_too(name: str, score: Callable[..., Any]) -> None:
    flat = [
        {
            name: str(value) if isinstance(value, list) else value
            for name, value in row.items()
            if name not in ("pid", "metadata")
        }
        | {name: str(value) if isinstance(value, list) else value for name, value in row["metadata"].items()}
        | {"index": row["pid"], "prediction": SAID[str(row["pid"])]}
        for row in ITEMS
    ]
    answer = score("mathvista", name, flat, "scorer=robust")
    assert answer.code == 0, answer.err
    rows = [row | {"index": row["pid"], "prediction": SAID[str(row["pid"])]} for row in ITEMS]
    assert last(answer.out) == last(score("mathvista", "whole.jsonl", rows, "scorer=robust").out)


def test_its_options_are_read_from_their_columns(score: Callable[..., Any]) -> None:
    rows = [STAR[0] | {"prediction": "The picture shows a cat."}]
    assert last(score("mmstar", "star.xlsx", rows, "scorer=robust").out)["correct"] == 1


SAID = {"7": "a dog", "8": "12"}
ROWS = [{"doc": row, "filtered_resps": [SAID[str(row["pid"])]]} for row in ITEMS]
FORMS: list[tuple[str, str, Any]] = [
    ("samples", "samples_mathvista_2026.jsonl", [{"doc_id": i, "target": "x"} | row for i, row in enumerate(ROWS)]),
    ("samples", "samples_nested.jsonl", [row | {"resps": [["?"]], "filtered_resps": [row["filtered_resps"]]} for row in ROWS]),
    ("question_id", "llava.jsonl", [{"question_id": int(pid), "text": text} for pid, text in SAID.items()]),
    ("MathVista", "released.json", {pid: {"response": text, "extraction": text} for pid, text in SAID.items()}),
    ("texts by id", "texts.json", SAID),
    ("VLMEvalKit", "vista.xlsx", [{"index": float(pid), "prediction": text} for pid, text in SAID.items()]),
    ("VLMEvalKit", "vista.tsv", [{"index": pid, "prediction": text} for pid, text in SAID.items()]),
]  # fmt: skip


@pytest.mark.parametrize(("form", "name", "content"), FORMS, ids=[name for _, name, _ in FORMS])
def test_every_form_is_named_and_scored(form: str, name: str, content: Any, score: Callable[..., Any]) -> None:
    answer = score("mathvista", name, content, items=ITEMS)
    assert answer.code == 0, answer.err
    assert form in answer.out and last(answer.out)["correct"] == 2, answer.out


def test_a_samples_file_of_lmms_eval_needs_no_items(score: Callable[..., Any]) -> None:
    answer = score("mathvista", "samples_x.jsonl", FORMS[0][2])
    assert answer.code == 0 and last(answer.out)["correct"] == 2, answer.err


def test_two_filters_of_one_item_are_one_answer(score: Callable[..., Any]) -> None:
    rows = [row | {"filter": name} for name in ("none", "strict") for row in FORMS[0][2]]
    assert last(score("mathvista", "samples_x.jsonl", rows).out)["n"] == 2


def test_math_visions_and_mathverses_own_outputs_hold_their_items(score: Callable[..., Any]) -> None:
    answer = score("mathvision", "v.jsonl", VISION, "scorer=robust")
    assert answer.code == 0 and "MATH-V" in answer.out and last(answer.out)["correct"] == 1, answer.err
    answer = score("mathverse", "verse.json", VERSE, "scorer=robust")
    assert answer.code == 0 and "MathVerse" in answer.out and last(answer.out)["correct"] == 1, answer.err


def test_a_file_gets_the_benchmarks_whole_table_with_intervals(score: Callable[..., Any]) -> None:
    out = score("mathverse", "verse.json", VERSE, "scorer=robust").out
    for name in ("accuracy", "version/text_dominant", "version/vision_only", "subject/"):
        assert any(line.startswith(name) and "[" in line for line in out.splitlines()), (name, out)
    answer = score("mathvista", "texts.json", SAID, items=ITEMS)
    assert sum("[" in line for line in answer.out.splitlines()) >= 5, answer.out


def test_items_without_an_answer_are_told_and_wrong_only_when_asked(score: Callable[..., Any]) -> None:
    told = score("mathvista", "texts.json", {"8": "12"}, items=ITEMS)
    assert "1 of 2 items answered" in told.out
    assert (last(told.out)["accuracy"], last(told.out)["n"], last(told.out)["missing"]) == (1.0, 1, 1)
    counted = score("mathvista", "texts.json", {"8": "12"}, "missing=wrong", items=ITEMS)
    assert (last(counted.out)["accuracy"], last(counted.out)["n"]) == (0.5, 2)
    assert "missing=" in score("mathvista", "texts.json", {"8": "12"}, "missing=maybe", items=ITEMS).err


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.jsonl", [{"qid": 1, "reply": "A"}], "qid, reply"),
        ("x.xlsx", [{"index": 1, "reply": "A"}], "index, reply"),
        (
            "x.tsv",
            [{"index": 7, "prediction": "A"}, {"index": 7, "prediction": "B"}, {"index": 8, "prediction": "B"}],
            "'7' twice",
        ),
        ("x.jsonl", [{"id": 7, "response": "A"}, {"id": 99, "response": "A"}], "'99'"),
    ],
)
def test_what_is_not_understood_is_told_with_what_was_seen(
    name: str, content: Any, sentence: str, score: Callable[..., Any]
) -> None:
    answer = score("mathvista", name, content, items=ITEMS)
    assert answer.code == 2 and sentence in answer.err and "Traceback" not in answer.err, answer.err


def test_without_items_the_columns_that_a_file_has_are_told(score: Callable[..., Any]) -> None:
    answer = score("mathvista", "texts.json", SAID)
    assert answer.code == 2 and "items=" in answer.err and "id, response" in answer.err, answer.err


def test_samples_that_only_count_their_items_are_refused(score: Callable[..., Any]) -> None:
    """A doc_id 7 is the eighth item, not the one whose id is 7."""
    rows = [{"doc_id": int(pid), "target": "x", "filtered_resps": [text]} for pid, text in SAID.items()]
    answer = score("mathvista", "samples_x.jsonl", rows, items=ITEMS)
    assert answer.code == 2 and "doc_id" in answer.err, answer.err


def test_ids_that_count_from_another_number_are_refused(score: Callable[..., Any]) -> None:
    """An index from 0 beside pids from 1 would score every answer against its neighbour."""
    items = [
        {**ITEMS[1], "pid": str(i), "question": f"How many {word}?"} for i, word in enumerate(("apples", "pears", "plums"))
    ]
    rows = [{"index": i, "question": f"How many {word}?", "prediction": "12"} for i, word in enumerate(("pears", "plums"))]
    answer = score("mathvista", "x.tsv", rows, items=items)
    assert answer.code == 2 and "do not fit" in answer.err, answer.err


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c"])
def test_a_line_separator_within_a_response_tears_nothing(separator: str, score: Callable[..., Any]) -> None:
    answer = score(
        "mathvista", "x.jsonl", [{"id": "8", "response": f"Adding up:{separator}Answer: 12"}], "scorer=robust", items=ITEMS
    )
    assert answer.code == 0 and last(answer.out)["correct"] == 1, answer.err


def test_samples_of_an_lm_eval_task_are_scored_by_the_task(l2v: Callable[..., Any], tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    rows = [{"doc_id": i, "doc": {}, "resps": [["ans 3"]], "filtered_resps": ["3"], "filter": "strict"} for i in range(12)]
    (tmp_path / "samples_tiny_sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("benchmark=lm_eval", "benchmark.task=tiny_sums", f"benchmark.include_path={tasks}")
    answer = l2v("score", *words, f"responses={tmp_path / 'samples_tiny_sums.jsonl'}", "progress=false")
    assert answer.code == 0, answer.err
    table = pd.read_parquet(tasks / "test.parquet") if (tasks / "test.parquet").exists() else None
    found = last(answer.out)
    assert found["n"] == 12 and "12 of 12 items answered" in answer.out
    if table is not None:
        assert found["correct"] == int((table["answer"].astype(str) == "3").sum())
    refused = l2v("score", *words, f"responses={tmp_path / 'samples_tiny_sums.jsonl'}", "scorer=robust")
    assert refused.code == 2 and "lm-eval task" in refused.err


def test_scoring_a_study_says_what_it_scored(l2v: Callable[..., Any], tiny: Callable[..., Any], outputs: Path) -> None:
    assert tiny("study=told_scores", "method=direct").code == 0
    answer = l2v("score", "study=told_scores", f"outputs={outputs}", "scorer=official,lenient")
    assert answer.code == 0, answer.err
    lines = [line for line in answer.out.splitlines() if "accuracy" in line]
    assert len(lines) == 2 and all("1 cell of 8 items" in line and "%" in line for line in lines), answer.out
