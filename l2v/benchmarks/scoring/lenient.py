"""The scorer `lenient`: the released code's rule, kept to show what it adds. Not a measure of anything else.

With a \\boxed{} its content is compared; without one a response is right if the label occurs anywhere in it, which for a label
such as "A" is nearly always.
"""

from __future__ import annotations

from l2v.benchmarks.base import CHOICE, Question, Verdict
from l2v.benchmarks.scoring.boxes import boxes
from l2v.benchmarks.scoring.cleaning import plain

_SHOWN = 80


def lenient(question: Question, response: str | None) -> Verdict:
    """The verdict by the released rule; rule boxed or substring. Never abstains: an empty response is wrong."""
    text, label = response or "", question.gold.strip()
    found = boxes(text[-100_000:])
    if found:
        content = found[-1][2]
        correct = _same(content, label) or (question.kind == CHOICE and _same(content, _option(question, label)))
        return Verdict(correct, plain(content)[:_SHOWN], "boxed", f"the box holds {plain(content)[:_SHOWN]}, label {label}")
    if label and label in text:
        return Verdict(True, label, "substring", f"the label {label} occurs in the response")
    return Verdict(False, None, "substring", f"the label {label} does not occur in the response")


def _same(content: str, label: str) -> bool:
    return bool(label) and plain(content).strip("() .") == plain(label).strip("() .")


def _option(question: Question, letter: str) -> str:
    at = ord(letter[:1] or "?") - ord("A")
    return question.options[at] if 0 <= at < len(question.options) else ""
