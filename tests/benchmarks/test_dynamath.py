"""DynaMath: the released rule on hand-made responses, the seeds' schema, and variants put together."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, TEXT, Answer
from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.dynamath import docs
from l2v.benchmarks.harness import load_items, load_task
from l2v.errors import UserError
from l2v.paths import PACKAGE

ROOT = Path(__file__).parents[2]
PARITY = ROOT.parent / "shared" / "parity" / "dynamath" / "dataset.json"
needs_parity = pytest.mark.skipif(not PARITY.is_file(), reason="DynaMath's seeds are not in ../shared/parity")


def row(answer: str = "B", kind: str = "multiple choice", seed: str = "5", **more: Any) -> dict[str, Any]:
    """A row of the hub."""
    text = "Is red greater? Choices: (A) yes (B) no" if kind == "multiple choice" else "How long is it?"
    fields = {"subject": "statistics", "knowledge_level": "high school", "image": "one.png"}
    return {"id": seed, "question": text, "ground_truth": answer, "answer_type": kind, **fields, **more}


def said(short: Any) -> str:
    return json.dumps({"solution": "Look.", "short answer": short}, ensure_ascii=False)


def seeds() -> list[dict[str, Any]]:
    return [{"id": seed, **fields} for seed, fields in json.loads(PARITY.read_text()).items()]


@pytest.mark.parametrize(
    ("gold", "kind", "response", "correct", "extraction"),
    [
        ("B", "multiple choice", said("B"), True, "B"),
        ("B", "multiple choice", said("b"), False, "b"),
        ("B", "multiple choice", said("(B) no"), True, "(B) no"),
        ("B", "multiple choice", said("A or B"), False, "A or B"),
        ("B", "multiple choice", said("ABC"), True, "ABC"),  # as released: among the first three characters
        ("B", "multiple choice", "```json\n" + said("B") + "\n```", True, "B"),
        ("B", "multiple choice", "So it is B.", False, "So it is B"),  # the last line less its last character
        ("B", "multiple choice", "Thus:\nB.", True, "B"),
        ("B", "multiple choice", "B", False, None),
        ("B", "multiple choice", "", False, None),
        ("B", "multiple choice", '{"answer": "B"}', False, "None"),
        ("B", "multiple choice", "[1, 2]", False, None),
        ("2.094", "float", said("2.0945"), True, "2.0945"),
        ("2.094", "float", said(2.0948), True, "2.0948"),
        ("2.094", "float", said("2.0952"), False, "2.0952"),
        ("2.094", "float", said("2.094 cm"), True, "2.094 cm"),
        ("2.094", "float", said("2.094cm"), False, "2.094cm"),
        ("4.712", "float", said("1.5π"), True, "1.5π"),
        ("3.142", "float", said("π"), False, "π"),  # nothing before it: no number
        ("7", "float", said("7"), True, "7"),
        ("2", "float", said("²"), False, "²"),
        ("2", "float", said("nan"), False, "nan"),
        ("0.5", "float", '{"solution": "\\sqrt{0.25}", "short answer": "0.5"}', True, "0.5"),  # stray backslashes go
        ("0.5", "float", '{"solution": "two\nlines", "short answer": "0.5"}', True, "0.5"),
        ("May", "text", said("It is May"), True, "It is May"),
        ("May", "text", said("may"), False, "may"),
        ("49", "single answer", said("149"), True, "149"),  # contained
        ("5.000000000000001", "int", said("5.000"), False, "5.000"),
    ],
)
def test_the_released_rule(gold: str, kind: str, response: str, correct: bool, extraction: str | None) -> None:
    verdict = docs.official(row(gold, kind), Answer(response))
    assert (verdict.correct, verdict.extraction) == (correct, extraction)
    assert verdict.rule and verdict.reason and not verdict.guessed


def test_an_extraction_that_came_along_is_the_short_answer() -> None:
    assert docs.official(row(), Answer(said("A"), "B")).correct is True


@pytest.mark.parametrize("text", ["{" * 100_000, '{"a":' * 50_000 + "}" * 50_000, "[" * 100_000, "\\" * 100_000, "9" * 100_000])
def test_hostile_texts_are_judged_at_once(text: str) -> None:
    start = time.perf_counter()
    for kind in ("float", "multiple choice", "text"):
        assert docs.official(row("1", kind), Answer(text)).correct is False
        docs.official(row("1", kind), Answer("", text))
    assert time.perf_counter() - start < 2


@needs_parity
def test_every_seed_is_read_and_its_gold_is_right() -> None:
    rows = seeds()
    assert len(rows) == 501
    kinds: dict[str, int] = {}
    for doc in rows:
        question = docs.question(doc)
        kinds[question.kind] = kinds.get(question.kind, 0) + 1
        assert docs.official(doc, Answer(said(docs.gold(doc)))).correct is True
        assert question.text and question.gold == doc["answer"]
        if question.kind == FLOAT:
            assert question.tolerance == 0.001 and math.isfinite(float(question.gold))
        if question.kind == CHOICE:
            assert 2 <= len(question.options) <= 6
            assert ord(question.gold) - ord("A") < len(question.options)
    assert kinds == {CHOICE: 174, FLOAT: 294, INTEGER: 2, TEXT: 31}


@needs_parity
def test_options_are_there_but_where_only_the_picture_shows_them() -> None:
    """Two seeds end their list with "(D)", one shows four figures "(A) (B) (C) (D)"."""
    empty = [docs.question(doc).options.count("") for doc in seeds() if doc["answer_type"] == "multiple choice"]
    assert sorted(n for n in empty if n) == [1, 1, 4]


@pytest.mark.parametrize(
    "listed",
    [" Choices: (A) 1 m (B) 2 m", "  choice: (A) 1 m (B) 2 m ", " (A) 1 m (B) 2 m", "\nA. 1 m\nB. 2 m", "\nA: 1 m\nB: 2 m"],
)
def test_options_in_all_their_formats(listed: str) -> None:
    question = docs.question(row("A") | {"question": "How long?" + listed})
    assert (question.text, question.options) == ("How long?", ("1 m", "2 m"))


def test_prompts() -> None:
    prompts = {style: docs.prompt(row("1.5", "float"), style) for style in docs.STYLES}
    assert prompts["raw"] == "<image>How long is it?"
    head = "<image>## Question\nHow long is it?Please answer in a floating-point number.\n## Answer Instruction Please"
    assert prompts["direct"].startswith(head)
    assert prompts["direct"].endswith(
        json.dumps({"solution": "[Detailed step-by-step explanation]", "short answer": "[Concise Answer]"}, indent=4)
    )
    assert "'solution' key can contain \ndetailed steps" in prompts["direct"]
    assert "must contain, step by step" in prompts["cot"] and prompts["cot"] != prompts["direct"]
    assert "floating-point number.\n## Answer" not in docs.prompt(row(), "direct")
    with pytest.raises(UserError, match="prompt style 'dirct'.*direct"):
        docs.prompt(row(), "dirct")


def folder(tmp_path: Path, variants: int = 10, questions: int = 3) -> Path:
    """Variants in files of their own, as on the hub: ids repeat, answers differ."""
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "one.png")
    for variant in range(1, variants + 1):
        rows = [row("AB"[variant % 2], seed=str(seed)) for seed in range(1, questions + 1)]
        (tmp_path / f"sample_variant{variant}.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in rows))
    return tmp_path


def test_the_ten_variants_stand_together_by_problem(tmp_path: Path) -> None:
    items = load_items(DataRef("dynamath", "all", "nowhere", path=str(folder(tmp_path))), "direct")
    assert [item.id for item in items] == [f"{seed}-v{variant}" for seed in (1, 2, 3) for variant in range(1, 11)]
    assert [docs.problem(item.doc) for item in items] == [str(seed) for seed in (1, 2, 3) for _ in range(10)]
    assert [item.gold for item in items[:2]] == ["B", "A"]
    assert items[0].images[0].getpixel((0, 0)) == (1, 2, 3)


def test_one_variant_alone(tmp_path: Path) -> None:
    rows = docs.load("sample_variant3", path=str(folder(tmp_path)))["test"]
    assert [docs.item_id(doc) for doc in rows] == ["1-v3", "2-v3", "3-v3"]


def test_a_missing_variant_is_an_error_and_no_easier_worst_case(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sample_variant10"):
        docs.load("all", path=str(folder(tmp_path, variants=9)))
    with pytest.raises(UserError, match="split 'sample_variant11'.*sample_variant1"):
        docs.load("sample_variant11", path=str(tmp_path))


def test_one_file_with_a_variant_column(tmp_path: Path) -> None:
    rows = [row(seed=str(seed)) | {"variant": variant} for variant in (1, 2) for seed in (4, 5)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in rows))
    for path in (tmp_path, tmp_path / "all.jsonl"):
        assert [docs.item_id(doc) for doc in docs.load(path=str(path))["test"]] == ["4-v1", "4-v2", "5-v1", "5-v2"]
    assert [docs.item_id(doc) for doc in docs.load("sample_variant2", path=str(tmp_path))["test"]] == ["4-v2", "5-v2"]
    with pytest.raises(UserError, match="no items in split 'sample_variant7'"):
        docs.load("sample_variant7", path=str(tmp_path))


@needs_parity
def test_the_seeds_are_variant_one() -> None:
    rows = docs.load(path=str(PARITY))["test"]
    assert [docs.item_id(doc) for doc in rows] == [f"{seed}-v1" for seed in range(1, 502)]
    assert [docs.gold(doc) for doc in rows] == [doc["answer"] for doc in seeds()]
    assert docs.item_id(seeds()[0]) == "1"  # a row that names no variant


@needs_parity
def test_the_task_names_every_score(tmp_path: Path) -> None:
    names = {name for doc in seeds() for name in docs.subsets(doc)}
    assert names == {"accuracy", *(f"subject/{s}" for s in docs.SUBJECTS), *(f"level/{v}" for v in docs.LEVELS)}
    assert set(docs.ALL_RIGHT.values()) == names
    text = (PACKAGE / "benchmarks" / "dynamath" / "dynamath.yaml").read_text().replace("!function ", "")
    listed = {entry["metric"]: entry["aggregation"] for entry in yaml.safe_load(text)["metric_list"]}
    assert set(listed) == names | set(docs.ALL_RIGHT) | {"unresolved"}
    assert {name for name, how in listed.items() if how == "docs.worst_case"} == set(docs.ALL_RIGHT)


def test_the_worst_case_counts_problems_right_in_all_variants(tmp_path: Path) -> None:
    """Through lm-eval: problem 1 is always right, problem 2 once wrong, problem 3 never right."""
    task = load_task(DataRef("dynamath", "all", "nowhere", path=str(folder(tmp_path))))
    values: dict[str, list[Any]] = {}
    for doc in task.test_docs():
        wrong = docs.problem(doc) == "3" or docs.item_id(doc) == "2-v10"
        for name, value in task.process_results(doc, [said("no" if wrong else docs.gold(doc))]).items():
            values.setdefault(name, []).append(value)
    scores = {name: task.aggregation()[name](found) for name, found in values.items()}
    assert scores["accuracy"] == pytest.approx(19 / 30)
    assert scores["worst_case"] == scores["worst_case/level/high_school"] == pytest.approx(1 / 3)
    assert scores["unresolved"] == 0


def test_a_missing_image_is_told_by_item(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="DynaMath item 5-v2"):
        docs.doc_to_image(row(image=str(tmp_path / "none.png"), variant=2))


def test_the_configuration_names_the_same_data() -> None:
    conf = yaml.safe_load((ROOT / "conf" / "benchmark" / "dynamath.yaml").read_text())
    assert (conf["id"], conf["split"]) == (docs.ID, "all")
