r"""MATH-Vision (MathLLMs/MathVision, test 3040, testmini 304): questions, prompts and the official rule.

One row: {"id": "1", "question": "Which number should be written in place of the question mark?\n<image1>", "options": [],
"answer": "60", "solution": null, "level": 2, "subject": "arithmetic", "image": "images/1.jpg", "decoded_image": …}
A row has one picture: where the question names several (<image1>, <image2>, …), they are parts of it. Options are five texts,
or the bare letters A to E where only the picture shows them.

Follows mathllm/MATH-V: evaluation/evaluate.py and utils.py (rules.py here) and models/Qwen-VL.py (prompts).
"""

from __future__ import annotations

import re
from typing import Any

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, TEXT, Answer, Benchmark, Question, Verdict
from l2v.benchmarks.mathvision import rules
from l2v.errors import unknown

_DIRECT = "Answer the question using a single word or phrase."
_COT = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}". If it is a multiple choice question, '
    'only one letter is allowed in the "\\boxed{}".'
)
_MENTION = re.compile(r"<image(\d+)>")
# Escapes that were read as control characters when the answers were written: a form feed before "rac" was \frac.
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v", "\t": "\\t", "\r": "\\r"}
_LOST_ESCAPE = re.compile("[\a\b\f\v\t\r](?=[a-z])")
_BOXED = re.compile(r"\\boxed\{(.*)\}")
_UNIT = re.compile(r"(.*[^\\a-z])\{([a-z]{4,})\}")


def _shown_options(options: list[str]) -> tuple[str, ...]:
    """Bare letters and "<image2>" say that only the picture shows the option."""
    if _letters_only(options):
        return ("",) * len(options)
    return tuple("" if _MENTION.fullmatch(option.strip()) else option for option in options)


def _letters_only(options: list[str]) -> bool:
    return "".join(options) == rules.LETTERS[: len(options)]


def _kind(answer: str) -> str:
    if re.fullmatch(r"-?\d+", answer):
        return INTEGER
    return FLOAT if re.fullmatch(r"-?\d*\.\d+", answer) else TEXT


class MathVision(Benchmark):
    TITLE = "MATH-Vision"
    ID = "MathLLMs/MathVision"
    SPLIT = "testmini"
    TEXTS = ("question",)
    LISTS = ("options",)

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """Accuracy, the level (1 to 5) and the subject (16 of them)."""
        subject = re.sub(r"[^a-z0-9]+", "_", str(doc["subject"]).lower()).strip("_")
        return ("accuracy", f"level/{doc['level']}", f"subject/{subject}")

    def question(self, doc: dict[str, Any]) -> Question:
        """The row as scorers see it; a gold loses dollar signs, a box, lost escapes and a unit in braces ("69{degrees}")."""
        text = _MENTION.sub(r"image\1", doc["question"]).strip()
        if doc["options"]:
            return Question(text, CHOICE, self.gold(doc).strip(), _shown_options(doc["options"]))
        answer = _LOST_ESCAPE.sub(lambda lost: _ESCAPES[lost.group()], self.gold(doc)).strip().strip("$").strip()
        if boxed := _BOXED.fullmatch(answer):
            answer = boxed.group(1)
        unit = None
        if with_unit := _UNIT.fullmatch(answer):
            answer, unit = with_unit.groups()
        return Question(text, _kind(answer), answer, unit=unit)

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """The question, with options unless they are bare letters, in one of STYLES (models/Qwen-VL.py, line breaks and all).

        direct: "Answer the question using a single word or phrase." at the end; cot: "Please solve the problem step by step …"
        in front; raw: neither. There is one picture, so the question's first mention of one becomes `<image>` and later ones
        "image1", "image2", …; where the question mentions none, `<image>` stands in front. Raises UserError for another style.
        """
        if style not in self.STYLES:
            raise unknown("prompt style", style, self.STYLES)
        options = doc["options"] if not _letters_only(doc["options"]) else []
        listed = "".join(f"({letter}) {option}\n" for letter, option in zip(rules.LETTERS, options, strict=False))
        first = _MENTION.search(doc["question"])
        asked = doc["question"].replace(first.group(), "<image>", 1) if first else f"<image>\n{doc['question']}"
        body = _MENTION.sub(r"image\1", f"{asked}\n{listed}")
        styled = {"direct": f"{body}\n{_DIRECT}", "cot": f"{_COT}\n{body}", "raw": body.strip()}
        return styled[style]

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """The released rules: the extraction equals the gold, or the text of the gold's option, as text or to two decimals."""
        extraction = rules.extract(answer.text or "") if answer.extraction is None else answer.extraction
        if not extraction.strip():
            return Verdict(False, None, "no_answer", "nothing to compare")
        letter = self.gold(doc)
        if rule := rules.equal(letter, extraction):
            return Verdict(True, extraction, f"equal_{rule}", f"equals the gold {letter!r}")
        place = rules.LETTERS.find(letter)
        if 0 <= place < len(doc["options"]) and (rule := rules.equal(doc["options"][place], extraction)):
            return Verdict(True, extraction, f"option_{rule}", f"equals the text of option {letter}")
        return Verdict(False, extraction, "different", f"equals neither the gold {letter!r} nor its option")


BENCHMARK = MathVision()
# The task file names the benchmark's functions as this module's.
__getattr__ = BENCHMARK.__getattribute__
