"""MathVista (AI4Math/MathVista, testmini 1000): questions, prompts and the official rules.

One row: {"pid": "540", "question": "What fraction of the shape is blue?", "choices": ["3/11", "8/11", "6/11", "3/5"],
"unit": null, "precision": null, "answer": "3/11", "question_type": "multi_choice", "answer_type": "text",
"image": "images/540.jpg", "decoded_image": …, "metadata": {"category": "math-targeted-vqa", "task": "math word problem",
"skills": ["geometry reasoning", "arithmetic reasoning"], …}}
`precision` is a float on the hub and an integer in the repository's JSON; answers are always text.

Follows lupantech/MathVista: evaluation/extract_answer.py (rules before its LLM), evaluation/calculate_score.py
(normalisation, equality) and evaluation/build_query.py (the `solution` prompt; `direct` is the data set's `query`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rapidfuzz.distance import Levenshtein

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, LIST, TEXT, Answer, Benchmark, Official, Question, Verdict
from l2v.errors import unknown

_KINDS = {"integer": INTEGER, "float": FLOAT, "list": LIST}
_COLUMNS = {"general-vqa": "general", "math-targeted-vqa": "math"}

_ASK_CHOICE = "answer the question and provide the correct option letter, e.g., A, B, C, D, at the end."
_ASK_INTEGER = "answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end."
_ASK_LIST = (
    "answer the question requiring a Python list as an answer and provide the final list, "
    "e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end."
)
_ASK_FLOAT = (
    "answer the question requiring a floating-point number with {places} and provide the final value, "
    "e.g., {examples}, at the end."
)
_PLACES = {1: ("one decimal place", "1.2, 1.3, 1.4"), 2: ("two decimal places", "1.23, 1.34, 1.45")}
_ASK_OTHER = "answer the question and provide the final answer at the end."  # nothing in testmini needs it


def _ask(doc: dict[str, Any]) -> str:
    if doc["question_type"] == "multi_choice":
        return _ASK_CHOICE
    if doc["answer_type"] == "float" and (decimals := _decimals(doc)) in _PLACES:
        places, examples = _PLACES[decimals]
        return _ASK_FLOAT.format(places=places, examples=examples)
    return {"integer": _ASK_INTEGER, "list": _ASK_LIST}.get(doc["answer_type"], _ASK_OTHER)


def _through_float(text: str) -> int:
    """As the script of today reads integers ("12.0" is 12); the one of the first released runs did not."""
    return int(float(text))


_OPENER, _CLOSER = 'The answer is "', '".'


def _extract(doc: dict[str, Any], response: str) -> str | None:
    """What extract_answer.py's rules read, None where only its LLM is left."""
    if not response or (doc["question_type"] == "multi_choice" and response in doc["choices"]):
        return response
    try:
        if doc["answer_type"] == "integer":
            return str(int(response))
        if doc["answer_type"] == "float":
            return str(float(response))
    except ValueError:
        pass
    # The script's regular expression, `The answer is "(.*)"\.`, in linear time: its first match lies on the first line where
    # the opener is followed by the closer, and reaches from the first opener to the last closer.
    for line in response.split("\n"):
        start = line.find(_OPENER) + len(_OPENER)
        end = line.rfind(_CLOSER)
        if len(_OPENER) <= start <= end:
            return line[start:end]
    return None


def _normalise(doc: dict[str, Any], extraction: str, integer: Callable[[str], int]) -> tuple[str | None, str]:
    """calculate_score.py's normalize_extracted_answer: the prediction, None where it cannot be read, and the rule."""
    if doc["question_type"] == "multi_choice":
        return _option(tuple(doc["choices"]), extraction.strip())
    kind = doc["answer_type"]
    try:
        if kind == "integer":
            return str(integer(extraction)), "integer"
        if kind == "float":
            return str(round(float(extraction), int(doc["precision"]))), "rounded_float"
    except (ValueError, OverflowError, TypeError):
        return None, f"no_{kind}"
    return extraction, "verbatim"


def _option(options: tuple[str, ...], extraction: str) -> tuple[str, str]:
    """The option that an extraction stands for: by its first "(x)", by a bare letter, else by least edit distance.

    The first of several nearest options is taken, as there; an exact text is the distance 0 and no guess.
    """
    marked = re.search(r"\(([a-zA-Z])\)", extraction)
    letter = marked.group(1).upper() if marked else extraction
    letters = [_letter(index) for index in range(len(options))]
    if letter in letters:
        return options[letters.index(letter)], "option_letter"
    # A letter beyond the options is what the script then measures, in place of the text around it.
    distances = [Levenshtein.distance(letter, option) for option in options]
    nearest = options[distances.index(min(distances))]
    return nearest, "option_text" if min(distances) == 0 else "nearest_option"


def _decimals(doc: dict[str, Any]) -> int | None:
    """`precision` as an integer; missing ones come as None or NaN."""
    precision = doc.get("precision")
    return None if precision is None or math.isnan(precision) else int(precision)


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def _snake(words: str) -> str:
    return "_".join(words.split())


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


class MathVista(Benchmark):
    TITLE = "MathVista"
    ID = "AI4Math/MathVista"
    REVISION = "2b6ad69445fbb5695c9b165475e8decdbeb97747"
    SPLIT = "testmini"
    STYLES = ("direct", "cot", "raw", "solution")
    TEXTS = ("question",)
    WORDS = {"question_type": ("multi_choice", "free_form"), "answer_type": ("text", "integer", "float", "list")}
    LISTS = ("choices",)
    WITHHOLDS = True

    @property
    def OFFICIAL(self) -> Mapping[str, Official]:  # noqa: N802
        """The later and the older rule for integers."""
        return {"official": self.official, "official_int": partial(self.official, integer=int)}

    def item_id(self, doc: dict[str, Any]) -> str:
        return str(doc["pid"])

    def fault(self, doc: dict[str, Any]) -> str:
        """A choice without choices, and a float that nobody says how to round."""
        if doc["question_type"] == "multi_choice":
            return "" if doc["choices"] else "no choices though it is of the type multi_choice"
        return "no precision though its answer is a float" if doc["answer_type"] == "float" and _decimals(doc) is None else ""

    def question(self, doc: dict[str, Any]) -> Question:
        unit = doc.get("unit") or None
        if doc["question_type"] == "multi_choice":
            options = tuple(doc["choices"])
            letter = _letter(options.index(self.gold(doc))) if self.gold(doc) in options else ""
            return Question(doc["question"], CHOICE, letter, options, unit=unit)
        kind = _KINDS.get(doc["answer_type"], TEXT)
        return Question(doc["question"], kind, self.gold(doc), decimals=_decimals(doc), unit=unit)

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """`<image>` and the question in one of STYLES.

        direct: the data set's own `query` (hint, question with unit, choices), built from the fields. cot: the same with
        "reason step by step first, then" put into the hint. raw: question and choices alone. solution: the repository's
        zero-shot prompt with its opener "Solution:". Raises UserError for another style.
        """
        if style not in self.STYLES:
            raise unknown("prompt style", style, self.STYLES)
        unit = f" (Unit: {doc['unit']})" if doc.get("unit") else ""
        choices = [f"({_letter(index)}) {choice}" for index, choice in enumerate(doc["choices"] or ())]
        body = [f"Question: {doc['question']}{unit}", *(["Choices:", *choices] if choices else [])]
        lines = {
            "direct": [f"Hint: Please {_ask(doc)}", *body],
            "cot": [f"Hint: Please reason step by step first, then {_ask(doc)}", *body],
            "raw": body,
            "solution": [*body, f"Hint: Please {_ask(doc)}", "Solution:"],
        }
        return "<image>" + "\n".join(lines[style]).strip()

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """accuracy; the paper's General or Math; the task; the skills, of which a question has one to three."""
        metadata = doc["metadata"]
        column = _COLUMNS.get(metadata["category"])
        skills = tuple(f"skill/{_snake(skill)}" for skill in metadata["skills"])
        return ("accuracy", *([column] if column else []), f"task/{_snake(metadata['task'])}", *skills)

    def official(self, doc: dict[str, Any], answer: Answer, integer: Callable[[str], int] = _through_float) -> Verdict:
        """The released rules; `integer` reads the extraction of an integer question.

        Extraction in their order: empty; a choice verbatim; an integer; a float; `The answer is "X".`; else the LLM that
        follows them there would be needed, and correct is None. An extraction that `answer` brings takes their place. The
        normalised prediction (Verdict.extraction) must equal the gold text.
        """
        extraction = _extract(doc, answer.text or "") if answer.extraction is None else answer.extraction
        if extraction is None:
            return Verdict(None, None, "needs_llm", "no rule reads an answer; the official script would ask an LLM")
        prediction, rule = _normalise(doc, extraction, integer)
        guessed = rule == "nearest_option"
        if not self.gold(doc):
            return Verdict(None, prediction, "no_gold", "this split withholds the answers", guessed)
        if prediction is None:
            return Verdict(False, None, rule, f"'{_short(extraction)}' is no {doc['answer_type']}")
        read = f"'{_short(extraction)}' names no option; the nearest is" if guessed else "read"
        return Verdict(
            prediction == self.gold(doc), prediction, rule, f"{read} '{_short(prediction)}', gold '{self.gold(doc)}'", guessed
        )


BENCHMARK = MathVista()
# The task file names the benchmark's functions as this module's.
__getattr__ = BENCHMARK.__getattribute__
