"""What travels between benchmarks, scorers and studies, and what a benchmark is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l2v.benchmarks.data import load_rows, read_image

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class OwnScore:
    """A figure that a task of lm-eval gives by itself, over `n` rows; stderr: None where it gives none."""

    metric: str
    value: float
    n: int
    stderr: float | None = None


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
    """One question of a benchmark. `text` is the prompt with a literal `<image>` per image; `doc` the original row.

    history: text turns (question, answer) that come before it in the chat.
    """

    id: str
    text: str
    gold: str
    doc: dict[str, Any]
    images: Sequence[Image.Image] = ()
    history: tuple[tuple[str, str], ...] = ()


Official = Callable[[dict[str, Any], Answer], Verdict]


class Benchmark:
    """A benchmark, with what most of them have in common; `doc` is one row in the benchmark's own fields.

    Its own: `question`, `prompt` and `official`, and whatever differs from the rest. lm-eval reaches it by its task file.
    """

    TITLE = ""  # its name in messages
    ID = ""  # hub id of its data
    REVISION: str | None = None  # hub commit
    CONFIG: str | None = None  # the hub's configuration of the data, where it has several
    SPLIT = "test"  # the split that lm-eval alone evaluates
    PATH: str | None = None  # where the data lie beside the hub
    STYLES: tuple[str, ...] = ("direct", "cot", "raw")
    REASONING_PREFIX = "Let's think step by step."
    # Scores that are unweighted means of others (MathVerse's All); "accuracy" is the headline.
    MEANS: Mapping[str, tuple[str, ...]] = {}
    # Scores that count a problem only when all its items are right, by the score whose items they take (DynaMath).
    ALL_RIGHT: Mapping[str, str] = {}
    # What columns hold (see rows.py): text, one of few words, a list of texts or nothing. WITHHOLDS: a split has no answers.
    TEXTS: tuple[str, ...] = ()
    WORDS: Mapping[str, tuple[str, ...]] = {}
    LISTS: tuple[str, ...] = ()
    WITHHOLDS = False

    @property
    def OFFICIAL(self) -> Mapping[str, Official]:  # noqa: N802
        """The published rules by scorer name; "official" is always there."""
        return {"official": self.official}

    def question(self, doc: dict[str, Any]) -> Question:
        raise NotImplementedError

    def current(self, doc: dict[str, Any]) -> dict[str, Any]:
        """The row in the fields that TEXTS, WORDS and LISTS name."""
        return doc

    def may_be_blank(self, doc: dict[str, Any], column: str) -> bool:
        """Whether a column of TEXTS may hold no word in this row, which is in its current fields."""
        return False

    def fault(self, doc: dict[str, Any]) -> str:
        """What else of a row would be scored wrongly without a word, to stand after "has"; "" for nothing."""
        return ""

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """The prompt in one of STYLES, with a literal `<image>` per image."""
        raise NotImplementedError

    def history(self, style: str) -> tuple[tuple[str, str], ...]:
        """The turns (question, answer) that a prompt style puts before every question."""
        return ()

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        raise NotImplementedError

    def load(
        self, split: str = "", id: str = "", revision: str | None = "", path: str | None = "", name: str | None = "", **_: Any
    ) -> dict[str, Any]:
        """The rows of one split, in the form lm-eval takes: always under "test", the split that its task evaluates.

        The arguments reach it through lm-eval's task metadata; "" stands for the benchmark's own. `name`: the hub's
        configuration.
        """
        where = {"revision": (revision, self.REVISION), "path": (path, self.PATH), "name": (name, self.CONFIG)}
        chosen = {key: usual if given == "" else given for key, (given, usual) in where.items()}
        return {"test": load_rows(id or self.ID, split or self.SPLIT, **chosen)}

    def item_id(self, doc: dict[str, Any]) -> str:
        """The row's own id, unique in its split."""
        return str(doc["id"])

    def problem(self, doc: dict[str, Any]) -> str:
        """The problem that the row is a version of; items of one problem are never told apart by a split."""
        return self.item_id(doc)

    def gold(self, doc: dict[str, Any]) -> str:
        """The annotated answer, as text."""
        return str(doc["answer"])

    def doc_to_text(self, doc: dict[str, Any]) -> str:
        """The direct prompt, for lm-eval."""
        return self.prompt(doc, "direct")

    def doc_to_image(self, doc: dict[str, Any]) -> list[Image.Image]:
        """The row's images, RGB. Raises UserError naming the item where one is missing or corrupt."""
        return [read_image(doc.get("decoded_image") or doc.get("image"), f"{self.TITLE} item {self.item_id(doc)}")]

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """The scores that the row counts towards, "accuracy" among them unless it is a mean of others."""
        return ("accuracy",)

    def shows_steps(self, response: str) -> bool:
        return shows_steps(response)

    def own_scores(self, rows: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> list[OwnScore]:
        """The figures that it gives besides, of its own making."""
        return []

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, Any]:
        """lm-eval's door to the official rule.

        Subsets give 0 or 1; a mean of subsets gives (subset, 0 or 1); an all-right share gives (problem, 0 or 1). "unresolved"
        says that the official rule leaves the extraction to an LLM, which counts as not right.
        """
        verdict = self.OFFICIAL["official"](doc, Answer(results[0]))
        right = float(verdict.correct is True)
        subsets = self.subsets(doc)
        values: dict[str, Any] = dict.fromkeys(subsets, right)
        for name, parts in self.MEANS.items():
            part = next((part for part in parts if part in subsets), None)
            if part is not None:
                values[name] = (part, right)
        for name, base in self.ALL_RIGHT.items():
            if base in subsets:
                values[name] = (self.problem(doc), right)
        return values | {"unresolved": float(verdict.correct is None)}


_SENTENCE_END = re.compile(r"[.!?:]\s|\n|=|\\\\")


def shows_steps(response: str) -> bool:
    """Whether a free response writes out intermediate steps: at least 20 words and three sentences, lines or equations.

    A rough sign to read beside accuracy and length; it decides nothing.
    """
    return len(response.split()) >= 20 and len(_SENTENCE_END.findall(response)) >= 3
