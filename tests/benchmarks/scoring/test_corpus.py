"""What a response claims: the corpus of tests/benchmarks/scoring/claims, and what no addition to a response may change."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from computing import Computing

from l2v.benchmarks.base import CHOICE, INTEGER, TEXT, Question, Verdict
from l2v.benchmarks.scoring import breaks, markers, phrases, symbolic
from l2v.benchmarks.scoring.breaks import sentences
from l2v.benchmarks.scoring.claims import read_claims
from l2v.benchmarks.scoring.clauses import Kind, classify
from l2v.benchmarks.scoring.cleaning import clean
from l2v.benchmarks.scoring.robust import robust, robust_many
from l2v.benchmarks.scoring.tables import PatternTable
from l2v.benchmarks.scoring.topics import asking

CLAIMS = Path(__file__).parent / "claims"
HALVES = ("aside", "open", "fresh", "sealed", "third", "third_kept", "fourth", "fourth_kept", "fifth", "sixth", "sixth_kept")
HALVES += ("seventh", "seventh_kept", "eighth", "eighth_kept", "ninth", "ninth_kept", "tenth", "tenth_kept")
HALVES += ("eleventh", "eleventh_kept", "twelfth", "thirteenth", "fourteenth")
KINDS = ("choice", "numbers", "latex", "refusals", "repeats")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def question(case: dict[str, Any]) -> Question:
    options = tuple(case.get("options", ()))
    text = case.get("question", "")
    return Question(text, case["kind"], case["gold"], options, case.get("decimals"), None, case.get("unit"))


CASES = [case | {"file": name} for name in KINDS for case in lines(CLAIMS / f"{name}.jsonl")]


@pytest.fixture(scope="module")
def judged() -> list[tuple[dict[str, Any], Verdict]]:
    verdicts = robust_many([(question(case), case["response"]) for case in CASES], workers=1)
    return list(zip(CASES, verdicts, strict=True))


def test_the_corpus_is_what_it_says() -> None:
    assert len(CASES) >= 600 and {case["half"] for case in CASES} == set(HALVES)
    assert all(case["why"] and case["must"] in ("right", "wrong", "none") for case in CASES)
    assert all((case["must"] == "right") == (case["gold"] == case["says"]) for case in CASES)
    assert min(Counter(case["file"] for case in CASES).values()) >= 100


@pytest.mark.parametrize("half", HALVES)
def test_claims_are_read_as_what_they_are(half: str, judged: list[tuple[dict[str, Any], Verdict]]) -> None:
    own = [(case, verdict) for case, verdict in judged if case["half"] == half]
    accepted = [c["id"] for c, v in own if c["must"] != "right" and v.correct is True]
    refused = [c["id"] for c, v in own if c["must"] == "right" and v.correct is None]
    called_wrong = [c["id"] for c, v in own if c["must"] == "right" and v.correct is False]
    right = sum(c["must"] == "right" for c, _ in own)
    assert len(accepted) <= 0.01 * (len(own) - right), accepted
    assert len(refused) <= 0.05 * right, refused
    assert len(called_wrong) <= 0.01 * right, called_wrong


def test_what_is_not_read_yet_is_left_open() -> None:
    """Answers in forms that no rule reads yet: an abstention is a gap, a verdict against the gold or for another a fault."""
    cases = lines(CLAIMS / "pending.jsonl")
    verdicts = robust_many([(question(c), c["response"]) for c in cases], workers=1)
    assert {c["id"] for c, v in zip(cases, verdicts, strict=True) if v.correct is (c["must"] != "right")} == set()
    assert any(v.correct is None for v in verdicts)


@pytest.mark.xfail(strict=True, reason="robust misreads it; mended, it belongs to the other cases of its kind")
@pytest.mark.parametrize("case", lines(CLAIMS / "misread.jsonl"), ids=lambda case: case["id"])
def test_what_is_misread_is_known(case: dict[str, Any]) -> None:
    verdict = robust(question(case), case["response"])
    assert verdict.correct is True if case["must"] == "right" else verdict.correct is not True


def test_paraphrases_of_one_claim_are_never_right_and_wrong(judged: list[tuple[dict[str, Any], Verdict]]) -> None:
    found: dict[tuple[object, ...], dict[str, Verdict]] = defaultdict(dict)
    for case, verdict in judged:
        if case["says"] is not None:
            key = (question(case), case["says"])
            found[key][case["response"]] = verdict
    assert sum(len(group) > 5 for group in found.values()) >= 10
    torn = [
        (key[0], [text for text, v in group.items() if v.correct is not True])
        for key, group in found.items()
        if {v.correct for v in group.values()} >= {True, False}
    ]
    assert not torn


ADDED = [
    " The answer is not {gold}.",
    "\nThe answer is not {gold}.",
    " It is not {gold}.",
    "\n\n{options}",
    "\nOptions: {options}",
    "\n\nQuestion: What is shown?\n{options}\nThe answer is {gold}.",
    "\n\nQuestion: How many are left?\nAnswer: {gold}",
    "\nUser: And now?\nAssistant: The answer is {gold}.",
    " If it were larger, the answer would be {gold}.",
    " My friend says the answer is {gold}.",
    "<|im_end|>\nThe answer is {gold}.",
    " Is the answer {gold}?",
]


def _with(case: dict[str, Any], addition: str) -> str:
    options = "\n".join(f"({letter}) {text}" for letter, text in zip("ABCDE", case.get("options", ("1", "2")), strict=False))
    return str(case["response"] + addition.format(gold=case["gold"], options=options))


@pytest.mark.parametrize("addition", ADDED)
def test_no_denial_list_or_second_question_behind_a_response_makes_it_right(
    addition: str, judged: list[tuple[dict[str, Any], Verdict]]
) -> None:
    """Every case under every addition, not a sample of them."""
    cases = [c for c, before in judged if c["must"] != "right" and before.correct is not True]
    turned = [c["id"] for c in cases if robust(question(c), _with(c, addition)).correct is True]
    assert len(cases) > 500 and not turned


@pytest.mark.parametrize("addition", ADDED)
def test_nor_behind_a_plain_wrong_answer(addition: str) -> None:
    angles = ("30°", "40°", "50°", "60°")
    wrong = [
        (Question("Which?", CHOICE, "B", angles), text)
        for text in ("The answer is A.", "A", "30°", "\\boxed{A}", "I can't tell.")
    ]
    wrong += [
        (Question("How many?", INTEGER, "7"), text) for text in ("The answer is 5.", "5", "\\boxed{5}", "So there are 5.")
    ]
    wrong += [(Question("Simplify.", TEXT, "x^2-1"), text) for text in ("\\boxed{x^2+1}", "The answer is x^2.")]
    for asked, text in wrong:
        case = {"response": text, "gold": asked.gold, "options": asked.options}
        assert robust(asked, _with(case, addition)).correct is not True, (asked, text)


SENTENCES = [
    ("The answer is B.", Kind.ASSERTION),
    ("Therefore, x = 3.", Kind.CONCLUSION),
    ("If the mice die, hawks decrease.", Kind.CONDITION),
    ("42 is wrong.", Kind.DENIAL),
    ("If it were a square, the area would be 42.", Kind.HYPOTHESIS),
    ("Is it B?", Kind.QUESTION),
    ("A student says the answer is B.", Kind.QUOTATION),
    ("Please answer with the option's letter.", Kind.INSTRUCTION),
    ("A. 30° B. 40° C. 50°", Kind.LIST),
    ("We need more information.", Kind.REFUSAL),
    ("Wait, that is wrong.", Kind.WITHDRAWAL),
    ("I hope this helps!", Kind.REMARK),
]


@pytest.mark.parametrize(("text", "kind"), SENTENCES)
def test_every_sentence_has_one_kind(text: str, kind: Kind) -> None:
    assert classify(text) is kind


def test_a_table_loses_no_match_where_it_does_not_look() -> None:
    texts = {text for case in CASES for _, text, _ in sentences(clean(case["response"]))}
    for table in (one for room in (breaks, markers, phrases) for one in vars(room).values() if isinstance(one, PatternTable)):
        lost = [text for text in texts if table.search(text) is None and table.search(text, bits=-1) is not None]
        assert not lost, table.pattern


def test_what_is_asked_for_is_no_denial() -> None:
    assert classify("The least likely animal is a horse.") is Kind.DENIAL
    assert classify("The least likely animal is a horse.", "Which animal is least likely?") is Kind.ASSERTION


def test_the_last_assertion_that_is_not_withdrawn_stands_first() -> None:
    claims = read_claims(clean("The answer is A. Wait, I misread it. The answer is B."))
    assert [c.text for c in claims.asserted][:1] == ["B."] and "A." not in [c.text for c in claims.asserted]
    assert not read_claims(clean("The answer is A. No, that is wrong.")).asserted


def test_a_long_question_without_a_stop_is_read_in_one_pass() -> None:
    start = Computing()
    assert asking("word " * 200_000) == [] and asking("In Fig. 2, x is 0.5. What is y? Say it") == [" What is y?"]
    assert start.seconds < 2.0


LONG = {
    "words": "so it is not that the answer is ",
    "denials": "It is not 5, but 6 is wrong; ",
    "conditions": "if we had 5, it would be 6, ",
    "sentences": "The answer is not A. ",
    "lists": "(A) 1 (B) 2 (C) 3\n",
    "questions": "Question: what?\n",
    "boxes": "\\boxed{5} or ",
    "quotes": "one might think that the answer is ",
    "headings": "# answer\n",
    "concessions": "although it is, though it is not, ",
    "thoughts": "<think>A</think>",
    "commas": "5, ",
    "dots": "... no, ",
    "spaces": " \t ",
    "raised": "⁻¹²³",
    "brackets": "(",
}


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_is_judged_in_two_seconds(name: str) -> None:
    text = (LONG[name] * (2**20 // len(LONG[name])))[: 2**20]
    # The process that does the algebra starts once for all items, which is no item's time.
    robust(Question("", TEXT, "x+1"), "Answer: 1+x")
    for asked in (Question("", CHOICE, "A", ("1", "2", "3")), Question("", INTEGER, "5"), Question("", TEXT, "x+1")):
        for response in (text, text.replace("\n", " ")[:20_000], text + "\nAnswer: 5", text[:19_000] + " is A"):
            start, computing = time.perf_counter(), Computing()
            robust(asked, response)
            # Of computing, the algebra's too; a busy machine may let it wait.
            assert computing.seconds < 2.0, (name, asked.kind, len(response))
            assert time.perf_counter() - start < 2.0 + symbolic.SECONDS, (name, asked.kind, len(response))
