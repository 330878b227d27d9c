"""What travels between benchmarks, scorers and studies, and what a benchmark's docs.py provides."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image


@dataclass(frozen=True)
class Verdict:
    """A scorer's judgement of one response.

    correct: None when the scorer abstains (official: an LLM would have to extract; robust: no answer it can be sure of;
    judge: unjudged). extraction: the answer it read, None when there is none. rule: the rule that decided. reason: one
    sentence for a reader. guessed: the official rule took the nearest option for want of an answer.
    """

    correct: bool | None
    extraction: str | None
    rule: str
    reason: str = ""
    guessed: bool = False

    @property
    def unjudged(self) -> bool:
        """Whether a judge gave no verdict: unlike an abstention no opinion of the response, which has no value yet."""
        return self.rule == "unjudged"


@dataclass(frozen=True)
class Answer:
    """What a scorer judges: a model's response and, where another toolkit has already extracted an answer, that one."""

    text: str = ""
    extraction: str | None = None


# The kinds of answers a question can ask for.
CHOICE, INTEGER, FLOAT, LIST, TEXT = "choice", "integer", "float", "list", "text"


@dataclass(frozen=True)
class Question:
    """What a scorer needs to know of an item, the same for every benchmark.

    text: the question without instructions. kind: choice, integer, float, list, or text (anything else: expressions,
    equations, words). gold: the annotated answer; for kind choice its letter, "A" the first. options: option texts in order,
    "" where only the picture shows one. decimals: float golds are rounded to so many. tolerance: absolute, for floats.
    unit: the unit of the gold, if the annotation names one.
    """

    text: str
    kind: str
    gold: str
    options: tuple[str, ...] = ()
    decimals: int | None = None
    tolerance: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class Item:
    """One question of a benchmark. `text` is the prompt with a literal `<image>` per image; `doc` the original row."""

    id: str
    text: str
    gold: str
    doc: dict[str, Any]
    images: Sequence[Image.Image] = ()


Official = Callable[[dict[str, Any], Answer], Verdict]


class BenchmarkDocs(Protocol):
    """The functions of a benchmark's docs.py (a module); `doc` is one row in the benchmark's own fields."""

    STYLES: tuple[str, ...]
    # The published rules by scorer name; "official" is always there.
    OFFICIAL: Mapping[str, Official]
    # Scores that are unweighted means of others (MathVerse's All); "accuracy" is the headline.
    MEANS: Mapping[str, tuple[str, ...]]
    # Scores that count a problem only when all its items are right, by the score whose items they take (DynaMath).
    ALL_RIGHT: Mapping[str, str]

    def item_id(self, doc: dict[str, Any]) -> str:
        """The row's own id, unique in its split."""

    def problem(self, doc: dict[str, Any]) -> str:
        """The problem that the row is a version of; items of one problem are never told apart by a split."""

    def gold(self, doc: dict[str, Any]) -> str:
        """The annotated answer, as text."""

    def question(self, doc: dict[str, Any]) -> Question:
        """The row as scorers see it."""

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """The prompt in one of STYLES."""

    def doc_to_image(self, doc: dict[str, Any]) -> list[Image.Image]:
        """The row's images, RGB."""

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """The scores that the row counts towards, "accuracy" among them unless it is a mean of others."""

    def shows_steps(self, response: str) -> bool:
        """Whether a response writes out intermediate steps."""


_SENTENCE_END = re.compile(r"[.!?:]\s|\n|=|\\\\")


def shows_steps(response: str) -> bool:
    """Whether a free response writes out intermediate steps: at least 20 words and three sentences, lines or equations.

    A rough sign to read beside accuracy and length; it decides nothing.
    """
    return len(response.split()) >= 20 and len(_SENTENCE_END.findall(response)) >= 3
