"""A benchmark: the miniature's pictures, asked for the parity of their sum."""

from __future__ import annotations

from typing import Any

from l2v.benchmarks.base import CHOICE, Answer, Benchmark, Question, Verdict


class Parity(Benchmark):
    """One row: {"id": "test-0", "answer": "7", "image": …}; right is the letter of even (A) or odd (B)."""

    TITLE = "parity"
    STYLES = ("direct",)

    def gold(self, doc: dict[str, Any]) -> str:
        """A for even, B for odd."""
        return "AB"[int(doc["answer"]) % 2]

    def question(self, doc: dict[str, Any]) -> Question:
        """The row as scorers see it."""
        return Question("Is the sum even or odd?", CHOICE, self.gold(doc), ("even", "odd"))

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """The miniature's question."""
        return str(doc["question"])

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """The first character is the gold letter."""
        return Verdict(answer.text[:1] == self.gold(doc), answer.text[:1] or None, "first_character")


PARITY = Parity()
