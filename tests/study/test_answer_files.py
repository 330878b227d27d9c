"""Scoring a file of responses from anywhere: the closing line, the ids, and what is refused."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from servers import Handler, served_by

ITEMS = [
    {"pid": "7", "question": "Which?", "choices": ["a cat", "a dog"], "answer": "a dog", "question_type": "multi_choice",
     "answer_type": "text", "precision": None, "unit": None, "metadata": {"category": "general-vqa", "task": "figure question "
     "answering", "skills": ["arithmetic reasoning"]}},
    {"pid": "8", "question": "How many?", "choices": None, "answer": "12", "question_type": "free_form",
     "answer_type": "integer", "precision": None, "unit": None, "metadata": {"category": "math-targeted-vqa",
     "task": "geometry problem solving", "skills": ["geometry reasoning"]}},
]  # fmt: skip


@pytest.fixture
def score(l2v: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`l2v score` of responses against ITEMS."""

    def run(responses: Any, *words: str, items: Any = ITEMS, verb: str = "score") -> Any:
        (tmp_path / "items.json").write_text(json.dumps(items))
        (tmp_path / "said.json").write_text(responses if isinstance(responses, str) else json.dumps(responses))
        files = (f"items={tmp_path / 'items.json'}", f"responses={tmp_path / 'said.json'}")
        return l2v(verb, "benchmark=mathvista", *files, "progress=false", *words)

    return run


def test_the_last_line_is_one_json_object_with_the_counts(score: Callable[..., Any]) -> None:
    answer = score([{"pid": "7", "extraction": "(B)"}, {"pid": "8", "extraction": "12.0"}])
    assert answer.code == 0, answer.err
    assert json.loads(answer.out.splitlines()[-1]) == {
        "benchmark": "mathvista", "scorer": "official", "n": 2, "correct": 2, "accuracy": 1.0, "unresolved": 0, "guessed": 0,
    }  # fmt: skip


def test_the_two_integer_rules_differ_on_twelve_point_nought(score: Callable[..., Any]) -> None:
    answer = score([{"pid": "8", "extraction": "12.0"}], "scorer=official,official_int")
    assert [json.loads(line)["correct"] for line in answer.out.splitlines()[-2:]] == [1, 0]


def test_an_empty_extraction_is_a_guess_and_prose_is_unresolved(score: Callable[..., Any]) -> None:
    answer = score([{"pid": "7", "extraction": ""}, {"pid": "8", "response": "I think there might be a dozen."}])
    found = json.loads(answer.out.splitlines()[-1])
    assert (found["guessed"], found["unresolved"], found["n"]) == (1, 1, 2)


@pytest.mark.parametrize(
    "responses",
    [
        {"8": {"response": "12"}},
        {"8": "12"},
        [{"id": 8, "response": "12"}],
        [{"index": "8", "response": "12"}],
        [{"sample_index": "8", "prediction": "12"}],
        '[{"pid": "8", "response": "12"}]',
    ],
)
def test_ids_and_forms_of_a_file(responses: Any, score: Callable[..., Any]) -> None:
    assert json.loads(score(responses).out.splitlines()[-1])["correct"] == 1


def test_items_and_responses_may_be_jsonl(l2v: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ITEMS))
    (tmp_path / "said.jsonl").write_text('{"pid": "8", "response": "12"}\n\n{"pid": "7", "response": "A"}\n')
    files = (f"items={tmp_path / 'items.jsonl'}", f"responses={tmp_path / 'said.jsonl'}")
    assert json.loads(l2v("score", "benchmark=mathvista", *files).out.splitlines()[-1])["correct"] == 1


def test_verdicts_are_written_with_extraction_rule_and_reason(score: Callable[..., Any], tmp_path: Path) -> None:
    score([{"pid": "7", "extraction": "(B)"}], "scorer=official,lenient", f"out={tmp_path / 'v.jsonl'}")
    lines = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [(line["id"], line["scorer"]) for line in lines] == [("7", "official"), ("7", "lenient")]
    assert lines[0]["correct"] is True and lines[0]["extraction"] == "a dog" and lines[0]["rule"] and lines[0]["reason"]


@pytest.mark.parametrize(
    ("responses", "words", "sentence"),
    [
        ([{"pid": "9", "response": "x"}], (), "item '9', which"),
        ([{"pid": "8", "response": "1"}, {"pid": "8", "response": "2"}], (), "item '8' twice"),
        ([{"response": "x"}], (), "has no id"),
        ([{"pid": "8"}], (), "neither 'response' nor 'extraction'"),
        ("{", (), "not valid JSON"),
        ([], (), "no responses"),
        ([{"pid": "8", "response": "1"}], ("scorer=robst",), "robust"),
        ([{"pid": "8", "response": "1"}], ("scorer=judge",), "judge.model"),
        ([{"pid": "8", "response": "1"}], ("judge.modle=x",), "judge.model"),
    ],
)
def test_bad_files_and_settings_are_one_sentence(
    responses: Any, words: tuple[str, ...], sentence: str, score: Callable[..., Any]
) -> None:
    answer = score(responses, *words)
    assert answer.code == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err


def test_a_rule_that_the_benchmark_has_not_is_refused(l2v: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "i.json").write_text(json.dumps([{"index": 1, "question": "Options: A: x, B: y", "answer": "A"}]))
    (tmp_path / "r.json").write_text(json.dumps([{"index": 1, "response": "A"}]))
    files = (f"items={tmp_path / 'i.json'}", f"responses={tmp_path / 'r.json'}")
    answer = l2v("score", "benchmark=mmstar", "scorer=official_int", *files)
    assert answer.code == 2 and "no scorer 'official_int'" in answer.err


@pytest.fixture
def judge() -> Iterator[str]:
    """An OpenAI-compatible endpoint that calls every response right; yields its base_url."""

    class Says(Handler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(
                {"choices": [{"message": {"role": "assistant", "content": "Fine.\nJudgement: correct"}}]}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with served_by(Says) as address:
        yield f"{address}/v1"


def test_a_judge_scores_a_file_and_its_name_stays_with_the_verdicts(
    judge: str, score: Callable[..., Any], tmp_path: Path
) -> None:
    said = [{"pid": "7", "response": "a dog"}, {"pid": "8", "response": "a dozen"}]
    words = (
        "scorer=judge",
        "judge.model=wise",
        f"judge.base_url={judge}",
        f"outputs={tmp_path}",
        f"out={tmp_path / 'v.jsonl'}",
    )
    answer = score(said, *words)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out.splitlines()[-1])["correct"] == 2
    line = json.loads((tmp_path / "v.jsonl").read_text().splitlines()[0])
    assert line["judge"]["model"] == "wise" and line["judge"]["prompt_hash"] and line["judge"]["date"]


def test_a_study_is_judged_too(judge: str, l2v: Callable[..., Any], tiny: Callable[..., Any], outputs: Path) -> None:
    assert tiny("study=judged", "method=direct").code == 0
    answer = l2v("score", "study=judged", f"outputs={outputs}", "scorer=judge", "judge.model=wise", f"judge.base_url={judge}")
    assert answer.code == 0, answer.err
    (metrics,) = (outputs / "judged" / "cells").glob("*/metrics.json")
    (row,) = [row for row in json.loads(metrics.read_text()) if row["scorer"] == "judge"]
    assert row["value"] == 1.0 and row["judge"]["model"] == "wise"
    answer = l2v("report", "study=judged", f"outputs={outputs}", "scorer=judge")
    assert answer.code == 0 and "100.0" in answer.out


@pytest.fixture
def nobody() -> tuple[str, ...]:
    """A judge at an endpoint where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return ("scorer=judge", "judge.model=wise", f"judge.base_url=http://127.0.0.1:{port}/v1", "judge.retries=0")


def test_what_a_dead_judge_leaves_unjudged_has_no_value(
    nobody: tuple[str, ...], judge: str, l2v: Callable[..., Any], tiny: Callable[..., Any], outputs: Path
) -> None:
    """Not 0 % right: no figure, the number of responses, exit code 1; the next command asks again."""
    assert tiny("study=unjudged", "method=direct").code == 0
    before = (outputs / "unjudged" / "results.csv").read_text()
    answer = l2v("score", "study=unjudged", f"outputs={outputs}", *nobody)
    assert answer.code == 1
    assert "8 of 8 responses were not judged" in answer.err and "refused" in answer.err
    assert (outputs / "unjudged" / "results.csv").read_text() == before
    (metrics,) = (outputs / "unjudged" / "cells").glob("*/metrics.json")
    (row,) = [row for row in json.loads(metrics.read_text()) if row["scorer"] == "judge"]
    assert row["value"] is None and row["unjudged"] == 8
    report = l2v("report", "study=unjudged", f"outputs={outputs}", "scorer=judge", "page=false")
    assert report.code == 2 and "judge" in report.err.splitlines()[-1]
    run = tiny("study=unjudged", "method=direct", "scorer=[judge]", *nobody[1:])
    assert run.code == 1 and "not judged" in run.err
    again = l2v("score", "study=unjudged", f"outputs={outputs}", *nobody[:2], f"judge.base_url={judge}")
    assert again.code == 0, again.err
    assert pd.read_csv(outputs / "unjudged" / "results.csv").set_index("scorer")["value"]["judge"] == 1.0


@pytest.mark.parametrize(
    ("items", "said", "told"),
    [
        (ITEMS + [ITEMS[0]], [{"pid": "7", "response": "B"}], "item '7' twice"),
        ([ITEMS[0] | {"answer": None}], [{"pid": "7", "response": "B"}], "'7' of .* has no answer"),
        ([ITEMS[0] | {"answer": ["B"]}], [{"pid": "7", "response": "B"}], "'7' of .* is a list"),
        ([ITEMS[0] | {"choices": 3}], [{"pid": "7", "response": "B"}], "'7' of .* has 3 in its column 'choices'"),
        ([{k: v for k, v in ITEMS[0].items() if k != "answer"}], [{"pid": "7", "response": "B"}], "no column 'answer'"),
        (ITEMS, [{"pid": "7", "response": ["B", "C"]}], "item '7' .* is a list"),
        (ITEMS, [{"pid": "7", "extraction": {"a": 1}}], "item '7' .* is a list or an object"),
        (ITEMS, "[" * 100_000, "not valid JSON"),
        (ITEMS, '[{"pid": "7", "response": ' + "9" * 10_000 + "}]", "not valid JSON"),
    ],
)
def test_rows_of_another_kind_are_told_with_their_item(items: Any, said: Any, told: str, score: Callable[..., Any]) -> None:
    answer = score(said, items=items)
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1 and re.search(told, answer.err), answer.err


def test_a_file_that_nobody_judged_has_no_accuracy(nobody: tuple[str, ...], score: Callable[..., Any], tmp_path: Path) -> None:
    answer = score([{"pid": "7", "response": "a dog"}, {"pid": "8", "response": "a dozen"}], *nobody, f"outputs={tmp_path}")
    assert answer.code == 1
    told = json.loads(answer.out.splitlines()[-1])
    assert told["accuracy"] is None and told["unjudged"] == told["unresolved"] == 2
    assert "2 responses were not judged" in answer.err


def test_agreement_of_a_file_lists_every_disagreement(score: Callable[..., Any], tmp_path: Path) -> None:
    said = [
        {"pid": "7", "response": "It shows a cat and a dog, so I cannot tell you B or not."},
        {"pid": "8", "response": "12"},
    ]
    answer = score(said, "scorer=official,lenient", f"out={tmp_path / 'd.csv'}", verb="agreement")
    assert answer.code == 0, answer.err
    assert "n = 2 responses" in answer.out
    assert "| official | 50.0 | 1 |  | 50.0 [9.5, 90.5] |" in answer.out, answer.out
    assert "1 responses on which the scorers differ" in answer.out
    assert "cannot tell you B or not" in (tmp_path / "d.csv").read_text()
