"""A scorer: right is a response whose last word is the gold answer."""

from __future__ import annotations

from l2v.benchmarks.base import Question, Verdict


def last_word(question: Question, response: str) -> Verdict:
    """The verdict of one response."""
    words = response.split()
    said = words[-1] if words else None
    return Verdict(said == question.gold, said, "last_word", f"read {said}, gold {question.gold}")
