"""Whether a row holds what its benchmark says: what would be scored wrongly without a word is refused, naming the item."""

from __future__ import annotations

import math
import re
from typing import Any

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, Benchmark, Question
from l2v.errors import UserError


def check_row(docs: Benchmark, doc: dict[str, Any], where: str) -> None:
    """Raise UserError, naming the item, for a row without an answer, or with values that its columns do not hold."""
    answers = [doc[name] for name in ("answer", "ground_truth") if name in doc]
    name = f"Item '{doc.get('id', doc.get('pid', doc.get('index', doc.get('sample_index'))))}' of {where}"
    if all(answer is None for answer in answers):
        what = "has no answer" if answers else "has no column 'answer'"
        raise UserError(f"{name} {what}; mend the data or leave that row out.")
    if any(isinstance(answer, (list, dict)) for answer in answers):
        raise UserError(f"The answer of {name[0].lower()}{name[1:]} is a list or an object, no text; mend the data.")
    try:
        fault = _column_fault(docs, docs.current(doc)) or docs.fault(doc)
        docs.item_id(doc), docs.problem(doc), docs.subsets(doc)
        fault = fault or _gold_fault(docs.gold(doc), docs.question(doc), docs.WITHHOLDS)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{name} has a value of another kind than its field holds ({error}); mend it.") from error
    if fault:
        raise UserError(f"{name} has {fault}; mend the data or leave that row out.")


def _column_fault(docs: Benchmark, doc: dict[str, Any]) -> str:
    """What a column of the row holds though it may not, or ""; a column that is missing is told by who needs it."""
    for column in (name for name in docs.TEXTS if name in doc):
        if not isinstance(doc[column], str):
            return f"{_short(doc[column])} in its column '{column}', which holds text"
        if not doc[column].strip() and not docs.may_be_blank(doc, column):
            return f"nothing in its column '{column}', which holds text"
    for column, words in docs.WORDS.items():
        if column in doc and doc[column] not in words:
            return f"{_short(doc[column])} in its column '{column}', which holds one of {', '.join(words)}"
    for column in docs.LISTS:
        value = doc.get(column)
        if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            return f"{_short(value)} in its column '{column}', which holds a list of texts"
    return ""


def _gold_fault(gold: str, question: Question, withholds: bool) -> str:
    """Why no response could ever equal the gold answer, or ""."""
    if not gold.strip():
        return "" if withholds else "an empty answer"
    if question.kind == CHOICE:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(question.options) or None]
        right = len(question.gold) == 1 and question.gold in letters
    elif question.kind == INTEGER:
        right = re.fullmatch(r"[+-]?\d+", question.gold.strip()) is not None
    elif question.kind == FLOAT:
        right = math.isfinite(float(question.gold))
    else:
        right = True
    wanted = "one of its options" if question.kind == CHOICE else f"of the kind '{question.kind}'"
    return "" if right else f"the answer {_short(gold)}, which is not {wanted}"


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:57]}…"
