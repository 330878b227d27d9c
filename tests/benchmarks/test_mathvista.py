"""MathVista: the official prompts and rules against the released runs, and rows from local files."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, LIST, Answer, Verdict
from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.harness import load_items, load_task
from l2v.benchmarks.mathvista import docs
from l2v.errors import UserError
from l2v.paths import PACKAGE

ROOT = Path(__file__).parents[2]
PARITY = ROOT.parent / "shared" / "parity" / "mathvista"
needs_parity = pytest.mark.skipif(not PARITY.is_dir(), reason="the released MathVista runs are not in ../shared/parity")

METADATA = {
    "category": "math-targeted-vqa",
    "task": "math word problem",
    "skills": ["geometry reasoning", "arithmetic reasoning"],
}
ROW = {
    "pid": "540",
    "question": "What fraction of the shape is blue?",
    "image": "images/540.png",
    "choices": ["3/11", "8/11", "6/11", "3/5"],
    "unit": None,
    "precision": None,
    "answer": "3/11",
    "question_type": "multi_choice",
    "answer_type": "text",
    "metadata": METADATA,
}


def row(**fields: Any) -> dict[str, Any]:
    return {**ROW, **fields}


def number(answer: str, kind: str, precision: float | None = None, unit: str | None = None) -> dict[str, Any]:
    return row(answer=answer, choices=None, question_type="free_form", answer_type=kind, precision=precision, unit=unit)


def parity(name: str) -> Any:
    return json.loads((PARITY / name).read_text())


def verdicts(run: str, scorer: str) -> tuple[dict[str, Any], dict[str, Verdict]]:
    rows, released = parity("testmini.json"), parity(f"runs/{run}.json")
    rule = docs.OFFICIAL[scorer]
    return released, {pid: rule(rows[pid], Answer(r["response"], r["extraction"])) for pid, r in released.items()}


@needs_parity
def test_the_direct_prompt_is_the_official_query() -> None:
    queries = parity("query.json")
    built = {pid: docs.prompt(doc | {"query": "of another origin"}, "direct") for pid, doc in parity("testmini.json").items()}
    assert len(built) == 1000
    assert built == {pid: "<image>" + query for pid, query in queries.items()}


@needs_parity
def test_precision_as_a_float_gives_the_same_prompts() -> None:
    """The hub holds it as float64, missing ones as null or NaN."""
    for doc in parity("testmini.json").values():
        hub = float("nan") if doc["precision"] is None else float(doc["precision"])
        assert docs.prompt(doc | {"precision": hub}, "direct") == docs.prompt(doc, "direct")


@needs_parity
@pytest.mark.parametrize(
    ("run", "scorer", "total"),
    [
        ("bard", "official_int", 348),
        ("gpt4_2shot_solution", "official_int", 292),
        ("gpt4_2shot_solution", "official", 292),
        ("gpt4_2shot_code", "official_int", 260),
        ("llavar", "official", 252),
    ],
)
def test_predictions_and_flags_equal_the_released_ones_on_every_item(run: str, scorer: str, total: int) -> None:
    released, mine = verdicts(run, scorer)
    assert {pid: v.extraction for pid, v in mine.items()} == {pid: r["prediction"] for pid, r in released.items()}
    assert {pid: v.correct for pid, v in mine.items()} == {pid: r["true_false"] for pid, r in released.items()}
    assert sum(v.correct is True for v in mine.values()) == total


@needs_parity
@pytest.mark.parametrize(
    ("run", "scorer", "total", "guessed"),
    [
        ("bard", "official", 348, 16),
        ("gpt4_2shot_solution", "official", 292, 281),
        ("gpt4_2shot_code", "official", 270, 140),
        ("llavar", "official_int", 250, 58),
    ],
)
def test_totals_under_the_other_rule_and_free_guesses(run: str, scorer: str, total: int, guessed: int) -> None:
    _, mine = verdicts(run, scorer)
    assert sum(v.correct is True for v in mine.values()) == total
    assert sum(v.guessed for v in mine.values()) == guessed


@needs_parity
def test_seventeen_thousand_responses_take_seconds() -> None:
    rows, released = parity("testmini.json"), parity("runs/bard.json")
    start = time.perf_counter()
    for _ in range(17):
        for pid, r in released.items():
            docs.official(rows[pid], Answer(r["response"], r["extraction"]))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("doc", "response", "prediction", "rule"),
    [
        (ROW, "8/11", "8/11", "option_text"),
        (ROW, 'So. The answer is "(B) 8/11".', "8/11", "option_letter"),
        (ROW, 'The answer is "b".', "3/5", "nearest_option"),
        # Read is 'a", not "A': up to the last closer of the first line that has one; all options are equally far.
        (ROW, 'The answer is "a", not "A". No.\nThe answer is "D". Or "C".', "3/11", "nearest_option"),
        (ROW, 'The answer is "A". Or "C".', "3/11", "nearest_option"),
        (ROW, 'The answer is "\nThe answer is "C".', "6/11", "option_letter"),
        (ROW, "", "3/5", "nearest_option"),
        (ROW, "B", None, "needs_llm"),
        (number("12", "integer"), " 12\n", "12", "integer"),
        (number("12", "integer"), "12.0", None, "needs_llm"),
        (number("12", "integer"), 'The answer is "12.7".', "12", "integer"),
        (number("12", "integer"), 'The answer is "12 cm".', None, "no_integer"),
        (number("12", "integer"), 'The answer is "inf".', None, "no_integer"),
        (number("12", "integer"), "", None, "no_integer"),
        (number("1.2", "float", 1.0), "1.249", "1.2", "rounded_float"),
        (number("1.25", "float", 2), "1.249", "1.25", "rounded_float"),
        (number("1.2", "float", None), "1.2", None, "no_float"),
        (number("[1, 2]", "list"), 'The answer is "[1, 2]".', "[1, 2]", "verbatim"),
        (number("[1, 2]", "list"), "[1, 2]", None, "needs_llm"),
    ],
)
def test_the_rules_before_the_llm(doc: dict[str, Any], response: str, prediction: str | None, rule: str) -> None:
    verdict = docs.official(doc, Answer(response))
    assert (verdict.extraction, verdict.rule) == (prediction, rule)
    assert verdict.correct is (None if rule == "needs_llm" else prediction == doc["answer"])
    assert verdict.guessed is (rule == "nearest_option")
    assert verdict.reason


@pytest.mark.parametrize(
    ("extraction", "option"),
    [
        ("(b) or (c)", "8/11"),  # the first mark
        ("C", "6/11"),
        (" C\n", "6/11"),
        ("c", "3/5"),  # not a capital: every option is as far as it is long, or nearer
        ("(F)", "3/5"),  # beyond the options: the letter alone is measured
        ("3", "3/5"),
        ("/11", "3/11"),  # three options at distance 1: the first
    ],
)
def test_an_option_by_mark_letter_or_distance(extraction: str, option: str) -> None:
    assert docs.official(ROW, Answer("whatever", extraction)).extraction == option


def test_an_extraction_that_came_along_replaces_the_rules() -> None:
    assert docs.official(ROW, Answer("8/11", "A")).correct is True
    assert docs.official(ROW, Answer("3/11", "")).guessed is True


def test_the_two_integer_rules() -> None:
    doc, said = number("12", "integer"), Answer("", "12.0")
    assert {name: rule(doc, said).correct for name, rule in docs.OFFICIAL.items()} == {"official": True, "official_int": False}


def test_withheld_answers_are_not_wrong() -> None:
    """The split `test` has empty answers."""
    assert docs.official(number("", "integer"), Answer("12")) == Verdict(
        None, "12", "no_gold", "this split withholds the answers"
    )
    assert docs.question(row(answer="")).gold == ""


@pytest.mark.parametrize(
    "text", ["{" * 100_000, 'The answer is "' * 7_000, '"The answer is "".' * 6_000, "(" * 100_000, "9" * 100_000]
)
def test_long_texts_are_judged_at_once(text: str) -> None:
    start = time.perf_counter()
    for doc in (ROW, number("12", "integer"), number("1.2", "float", 1), number("[1]", "list")):
        docs.official(doc, Answer(text))
        docs.official(doc, Answer("", text))
    assert time.perf_counter() - start < 2


def test_styles_put_the_same_question() -> None:
    doc = number("1000", "integer", unit="g")
    prompts = {style: docs.prompt(doc, style) for style in docs.STYLES}
    raw = "Question: What fraction of the shape is blue? (Unit: g)"
    hint = "answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end."
    assert prompts == {
        "direct": f"<image>Hint: Please {hint}\n{raw}",
        "cot": f"<image>Hint: Please reason step by step first, then {hint}\n{raw}",
        "raw": f"<image>{raw}",
        "solution": f"<image>{raw}\nHint: Please {hint}\nSolution:",
    }
    with pytest.raises(UserError, match="prompt style 'directt'.*direct"):
        docs.prompt(doc, "directt")


def test_questions_as_scorers_see_them() -> None:
    choice = docs.question(row(answer="6/11"))
    assert (choice.kind, choice.gold, choice.options[2]) == (CHOICE, "C", "6/11")
    real = docs.question(number("1.2", "float", 1.0, "cm"))
    assert (real.kind, real.gold, real.decimals, real.unit) == (FLOAT, "1.2", 1, "cm")
    assert docs.question(number("3", "integer", float("nan"))).kind == INTEGER
    assert docs.question(number("3", "integer", float("nan"))).decimals is None
    assert docs.question(number("[1]", "list")).kind == LIST


@needs_parity
def test_every_gold_is_right_under_both_rules() -> None:
    for doc in parity("testmini.json").values():
        question = docs.question(doc)
        said = question.gold if question.kind == CHOICE else doc["answer"]
        for rule in docs.OFFICIAL.values():
            verdict = rule(doc, Answer("", said))
            assert (verdict.correct, verdict.guessed) == (True, False)


@needs_parity
def test_the_sub_scores_are_those_of_the_paper() -> None:
    counts: dict[str, int] = {}
    for doc in parity("testmini.json").values():
        for name in docs.subsets(doc):
            counts[name] = counts.get(name, 0) + 1
    assert {name: counts[name] for name in ("accuracy", "general", "math")} == {"accuracy": 1000, "general": 460, "math": 540}
    tasks = {name.removeprefix("task/"): n for name, n in counts.items() if name.startswith("task/")}
    assert tasks == {
        "figure_question_answering": 269,
        "geometry_problem_solving": 208,
        "math_word_problem": 186,
        "textbook_question_answering": 158,
        "visual_question_answering": 179,
    }
    assert sum(name.startswith("skill/") for name in counts) == 7
    assert counts["skill/arithmetic_reasoning"] == 353
    assert set(metrics()) == set(counts) | {"unresolved"}


def metrics() -> list[str]:
    """The names in the task file."""
    text = (PACKAGE / "benchmarks" / "mathvista" / "mathvista.yaml").read_text().replace("!function ", "")
    return [entry["metric"] for entry in yaml.safe_load(text)["metric_list"]]


@needs_parity
def test_local_rows_with_images_through_lm_eval(tmp_path: Path) -> None:
    """Three rows of the benchmark with their figures: prompts, images, golds, and lm-eval's own scores."""
    rows = [
        doc | {"image": f"images/{pid}.png"} for pid, doc in parity("testmini.json").items() if pid in ("106", "225", "540")
    ]
    shutil.copytree(PARITY / "images", tmp_path / "images")
    (tmp_path / "testmini.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in rows))
    ref = DataRef("mathvista", "testmini", "nowhere", path=str(tmp_path))
    items = load_items(ref, "direct")
    assert [(item.id, item.gold) for item in items] == [(doc["pid"], doc["answer"]) for doc in rows]
    assert all(item.text.count("<image>") == len(item.images) == 1 and item.images[0].mode == "RGB" for item in items)
    task = load_task(ref)
    figure = next(doc for doc in task.test_docs() if doc["pid"] == "106")
    assert task.process_results(figure, ["0"]) == {
        "accuracy": 1.0,
        "general": 1.0,
        "task/figure_question_answering": 1.0,
        "skill/statistical_reasoning": 1.0,
        "unresolved": 0.0,
    }
    assert task.process_results(figure, ["There are none."])["unresolved"] == 1.0
    assert set(task.aggregation()) == set(metrics())
    assert task.config.generation_kwargs["until"] == []


def test_a_missing_image_is_told_by_item(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MathVista item 540"):
        docs.doc_to_image(row(image=str(tmp_path / "540.png")))
    with pytest.raises(UserError, match="MathVista item 540"):
        docs.doc_to_image(row(image=None, decoded_image=None))


def test_the_configuration_pins_what_lm_eval_alone_would_load() -> None:
    conf = yaml.safe_load((ROOT / "conf" / "benchmark" / "mathvista.yaml").read_text())
    assert (conf["id"], conf["revision"], conf["split"]) == (docs.ID, docs.REVISION, "testmini")
