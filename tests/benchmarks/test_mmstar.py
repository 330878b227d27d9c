"""MMStar: the official rule against the released answers, and options read out of the questions' text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from l2v.benchmarks.base import CHOICE, Answer
from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.harness import load_items, load_task
from l2v.benchmarks.mmstar import docs
from l2v.errors import UserError
from l2v.paths import PACKAGE

ROOT = Path(__file__).parents[2]
PARITY = ROOT.parent / "shared" / "parity" / "mmstar" / "llava_next_yi_34b_first_750.jsonl"
needs_parity = pytest.mark.skipif(not PARITY.is_file(), reason="the released MMStar answers are not in ../shared/parity")

INLINE = "What is it?\nOptions: A: a cat, B: a dog, brown, C: it's 1, 2 or 3, D: Option B: none"
LINES = (
    "Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.\n"
    "Question: What is (A) here?\nChoices:\n(A) one\n(B) two, (C) or\nmore\n(C) three"
)
# The released script's own table.
AXES = {
    "coarse perception": ("image scene and topic", "image style & quality", "image emotion"),
    "fine-grained perception": ("object counting", "recognition", "localization"),
    "instance reasoning": (
        "single-instance reasoning",
        "cross-instance attribute reasoning",
        "cross-instance relation reasoning",
    ),
    "logical reasoning": ("code & sequence reasoning", "diagram reasoning", "common reasoning"),
    "science & technology": (
        "biology & chemistry & physics",
        "electronics & energy & mechanical eng.",
        "geography & earth science & agriculture",
    ),
    "math": ("geometry", "numeric commonsense and calculation", "statistical reasoning"),
}


def row(text: str = INLINE, answer: str = "B", category: str = "math", axis: str = "geometry", **more: Any) -> dict[str, Any]:
    return {"index": 7, "question": text, "answer": answer, "category": category, "l2_category": axis, **more}


def parity() -> list[dict[str, Any]]:
    return [json.loads(line) for line in PARITY.read_text().split("\n") if line]


@needs_parity
def test_the_official_rule_gives_the_released_total() -> None:
    right = [docs.official(doc, Answer(doc["prediction"])).correct for doc in parity()]
    assert (len(right), right.count(True), right.count(False)) == (750, 450, 300)


@needs_parity
def test_every_question_lists_four_options_with_the_gold_among_them() -> None:
    for doc in parity():
        question = docs.question(doc)
        assert question.kind == CHOICE
        assert len(question.options) == 4 and all(question.options), doc["index"]
        assert question.gold in "ABCD"
        assert question.text and "Hint:" not in question.text and "Options:" not in question.text


@needs_parity
def test_text_and_options_put_together_are_the_question() -> None:
    """Nothing is lost or moved: commas inside options, blanks, lines."""
    for doc in parity():
        question = docs.question(doc)
        marked = [(letter, option) for letter, option in zip("ABCD", question.options, strict=True)]
        inline = f"{question.text} Options: " + ", ".join(f"{letter}: {option}" for letter, option in marked)
        lines = f"Question: {question.text} Choices: " + " ".join(f"({letter}) {option}" for letter, option in marked)
        whole = " ".join(doc["question"].split())
        assert whole == " ".join(inline.split()) or whole.endswith(" ".join(lines.split())), doc["index"]


def test_both_formats_of_options() -> None:
    inline = docs.question(row())
    assert inline.text == "What is it?"
    assert inline.options == ("a cat", "a dog, brown", "it's 1, 2 or 3", "Option B: none")
    lines = docs.question(row(LINES, "C"))
    assert lines.text == "What is (A) here?"
    assert lines.options == ("one", "two, (C) or\nmore", "three")
    assert lines.gold == "C"


def test_a_question_without_options_keeps_its_text() -> None:
    assert docs.question(row("Which? A or B")).options == ()
    assert docs.question(row("Which? A or B")).text == "Which? A or B"


@pytest.mark.parametrize(
    ("response", "extraction", "rule"),
    [
        ("B", "B", "first_letter"),
        (" b. a dog\n", "B", "first_letter"),
        ("A dog runs", "A", "first_letter"),
        ("Based on the image, C", "B", "first_letter"),
        ("(B) a dog", "B", "bracketed_letter"),
        ("Option B", "B", "option_letter"),
        ("The answer is B.", "B", "the_answer_is"),
        ("The\nanswer\nis C", "C", "the_answer_is"),
        ("The answer is: B", None, "no_letter"),
        ("The answer is", None, "no_letter"),
        ("I think it is B", None, "no_letter"),
        ("(", None, "no_letter"),
        ("", None, "no_letter"),
        ("**B**", None, "no_letter"),
    ],
)
def test_the_opening_decides(response: str, extraction: str | None, rule: str) -> None:
    verdict = docs.official(row(), Answer(response))
    assert (verdict.correct, verdict.extraction, verdict.rule) == (extraction == "B", extraction, rule)
    assert verdict.reason


def test_an_extraction_that_came_along_is_judged_instead() -> None:
    assert docs.official(row(), Answer("A", "B")).correct is True
    assert docs.official(row(), Answer("B", "")).correct is False


def test_prompts() -> None:
    prompts = {style: docs.prompt(row(), style) for style in docs.STYLES}
    assert prompts["raw"] == "<image>" + INLINE
    assert prompts["direct"] == prompts["raw"] + "\nAnswer with the option's letter from the given choices directly."
    assert prompts["cot"].startswith(prompts["raw"] + "\nReason step by step") and "The answer is" in prompts["cot"]
    with pytest.raises(UserError, match="prompt style 'cott'.*cot"):
        docs.prompt(row(), "cott")


def test_an_answer_as_the_cot_prompt_asks_for_it_fails_by_design_under_the_official_rule() -> None:
    assert docs.official(row(), Answer("It barks. The answer is B.")).correct is False


def test_the_task_names_the_scores_of_all_axes() -> None:
    rows = [row(category=category, axis=axis) for category, axes in AXES.items() for axis in axes]
    names = {name for doc in rows for name in docs.subsets(doc)}
    assert len(names) == 1 + 2 + 6 + 18
    assert [("perception" in docs.subsets(doc)) for doc in rows] == [True] * 6 + [False] * 12
    assert {"axis/electronics_and_energy_and_mechanical_eng", "category/fine_grained_perception"} <= names
    text = (PACKAGE / "benchmarks" / "mmstar" / "mmstar.yaml").read_text().replace("!function ", "")
    assert {entry["metric"] for entry in yaml.safe_load(text)["metric_list"]} == names | {"unresolved"}


def test_local_rows_through_lm_eval(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 9).save(tmp_path / "grey.png")
    rows = [row(index=n, image="grey.png") | {"index": n} for n in range(2)]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in rows))
    ref = DataRef("mmstar", "val", "nowhere", path=str(tmp_path))
    items = load_items(ref, "cot")
    assert [(item.id, item.gold, item.text.count("<image>")) for item in items] == [("0", "B", 1), ("1", "B", 1)]
    assert items[0].images[0].getpixel((0, 0)) == (9, 9, 9)
    scores = load_task(ref).process_results(rows[0], ["B"])
    assert scores == {
        "accuracy": 1.0,
        "reasoning": 1.0,
        "category/math": 1.0,
        "axis/geometry": 1.0,
        "unresolved": 0.0,
    }


def test_a_missing_image_is_told_by_item(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MMStar item 7"):
        docs.doc_to_image(row(image=str(tmp_path / "none.png")))


def test_the_configuration_pins_what_lm_eval_alone_would_load() -> None:
    conf = yaml.safe_load((ROOT / "conf" / "benchmark" / "mmstar.yaml").read_text())
    assert (conf["id"], conf["revision"], conf["config_name"], conf["split"]) == (docs.ID, docs.REVISION, docs.CONFIG, "val")
