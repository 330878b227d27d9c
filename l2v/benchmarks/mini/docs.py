"""The miniature benchmark: six rendered digits, their sum modulo 10 (l2v/mini/problems.py).

One row: {"id": "test-0", "question": "sum of <image> .", "answer": "7", "digits": "314159", "image": …}
It says nothing about real models; it shows that the pipeline finds what is there and does not find what is not.
"""

from __future__ import annotations

from typing import Any

from l2v.benchmarks.base import INTEGER, Answer, Benchmark, Question, Verdict
from l2v.errors import unknown
from l2v.mini import problems
from l2v.paths import PACKAGE

# `direct` is the neutral phrasing, which the models mostly answer directly, as a real benchmark's plain prompt is.
INSTRUCTIONS = {"direct": "what is it ?", "raw": "", "cot": "think step by step", "terse": "answer directly"}


class Mini(Benchmark):
    TITLE = "mini"
    STYLES = tuple(INSTRUCTIONS)
    # The first word of an answer in steps, in place of "Let's think step by step.".
    REASONING_PREFIX = " so"
    ID = "l2v/mini"
    SPLIT = "test"
    TEXTS = ("question",)
    PATH = str(PACKAGE / "mini" / "data")  # lm-eval alone gets the shipped rows

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        if style not in INSTRUCTIONS:
            raise unknown("prompt style", style, INSTRUCTIONS)
        return problems.instruct(doc["question"], INSTRUCTIONS[style])

    def question(self, doc: dict[str, Any]) -> Question:
        """The row as scorers see it: the answer is one digit."""
        return Question(doc["question"].replace("<image>", "").strip(), INTEGER, self.gold(doc))

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """The digit after "thus", or after a direct opener, equals the gold digit."""
        extraction = problems.read_answer(answer.text) if answer.extraction is None else answer.extraction
        if extraction is None:
            return Verdict(False, None, "no_answer", "the response commits to no digit")
        return Verdict(extraction == self.gold(doc), extraction, "marked_digit", f"read {extraction}, gold {self.gold(doc)}")

    def shows_steps(self, response: str) -> bool:
        """Whether the response writes down a running sum."""
        return problems.shows_steps(response)


BENCHMARK = Mini()
# The task file names the benchmark's functions as this module's.
__getattr__ = BENCHMARK.__getattribute__
