"""A response in the terms of its question: "no triangles" as a number where they are counted, "1 to 4" as 1:4 of a ratio."""

from __future__ import annotations

import re
from functools import lru_cache

from l2v.benchmarks.base import FLOAT, INTEGER, Question
from l2v.benchmarks.scoring.asking import HOW_MANY, named
from l2v.benchmarks.scoring.tables import holds
from l2v.benchmarks.scoring.values import NUMBER_WORDS, without_mixed_words


def in_its_terms(text: str, question: Question) -> str:
    """A text as its question would write it: ratios, quadrants, chances, counts and parts of a whole."""
    options = question.options
    ratio, quadrants, bare = _forms(question.gold, options)
    text = _RUPEES.sub(lambda m: m.group().replace(",", ""), text) if "₹" in text or "Rs" in text else text
    if ratio:
        text = _TO.sub(":", text)
    if quadrants:
        text = _NTH_QUADRANT.sub(lambda m: f"Quadrant {_ROMAN[m[1].lower()]}", text)
        text = _QUADRANT.sub(r"\1", text) if bare else text
    if _of_chance(question.text):
        text = _ONE_IN.sub(lambda m: f"{m[1]}/{NUMBER_WORDS.get(m[2].lower(), m[2])}".replace("one", "1"), text)
    if question.kind in (INTEGER, FLOAT) and _of_time(question.text):
        text = _CLOCKS.sub("", text)
    if question.kind == INTEGER and not text.isascii():
        text = _HAN_COUNT.sub(lambda m: str(_han(m[1])), text)
    text = _none_counted(text, question.text) if question.kind in (INTEGER, FLOAT) else text
    if question.kind == INTEGER and "how many" in question.text.lower():
        text = _QUARTERS.sub(r"\1", text) if "many quarters" in question.text else text
        text = _OUT_OF.sub(lambda m: m[1] if m[2] in named(question.text) else m.group(), text)
    return text if any(" and " in option for option in options) else without_mixed_words(text)


# "共有九个圆"
_HAN_DIGITS = {sign: n for n, sign in enumerate("零一二三四五六七八九十")} | {"两": 2}
_HAN_COUNT = re.compile(r"(?<=[有是为共])([一二两三四五六七八九十]{1,3})(?=[个只条张人块本支辆座种])")


def _han(text: str) -> int:
    """A number up to 99 in Chinese signs: "九", "十二", "二十三"."""
    tens, ten, ones = text.rpartition("十")
    return 10 * _HAN_DIGITS[tens or "一"] + _HAN_DIGITS.get(ones, 0) if ten else _HAN_DIGITS[text[-1:]]


@lru_cache(maxsize=8192)
def _forms(gold: str, options: tuple[str, ...]) -> tuple[bool, bool, bool]:
    """Whether ratios are asked for, quadrants, and these by their Roman numbers alone."""
    bare = bool(options) and all(map(_ROMAN_NUMBER.fullmatch, options))
    ratio = _RATIO.fullmatch(gold) is not None or bool(options) and all(map(_RATIO.fullmatch, options))
    return ratio, bare or any(map(_QUADRANT.search, options)), bare


_RATIO, _TO = re.compile(r"\s*\d+ ?: ?\d+\s*"), re.compile(r"(?<=\d) (?:to|:) (?=\d)")
# "The point lies in the second quadrant."
_ROMAN = dict(zip(("first", "second", "third", "fourth"), ("I", "II", "III", "IV"), strict=True))
_QUADRANT = re.compile(r"\bquadrant ([IV]+)\b", re.IGNORECASE)
_ROMAN_NUMBER = re.compile(r"\s*[IV]+\s*")
_NTH_QUADRANT = re.compile(r"\b(?:the )?(first|second|third|fourth) quadrant\b", re.IGNORECASE)
# "₹1,20,000"
_RUPEES = re.compile(r"(?:₹|\bRs\.?)\s?\d{1,2}(?:,\d{2})+,\d{3}(?![\d,])")
# "3 out of 7" where it is asked how many.
_OUT_OF = re.compile(r"\b(\d+) out of (?:the )?(\d+)\b")
# "11 quarters": coins, and no fraction.
_QUARTERS = re.compile(r"\b(\d+) quarters?\b")
# "From 10:45 to 11:30 there are 45 minutes."
_of_time = holds(re.compile(r"\b(?:how long|minutes|hours|duration|elapsed|time interval)\b", re.IGNORECASE))
_CLOCKS = re.compile(r"\bfrom \d?\d:\d\d(?: ?[ap]m)? (?:to|until|till) \d?\d:\d\d(?: ?[ap]m)?,? (?=there\b)", re.IGNORECASE)
# "1 in 4" is 1/4 where a probability is asked for.
_of_chance = holds(re.compile(r"\b(?:probability|chance|likelihood)\b", re.IGNORECASE))
_ONE_IN = re.compile(r"\b(\d+|one) in (\d+|two|three|four|five|six|eight|ten)\b(?![.,]?\d)")


def _none_counted(text: str, question: str) -> str:
    """A text with its "no triangles" as "0 triangles", where just these are counted."""
    text = _ZEROS.sub("zeros", text) if "zero" in question.lower() and _ZEROS.search(question) else text
    counted, none = _none(question)
    if not counted or _UNSEEN.search(text):
        return text
    text = _NONE.sub(r"\1\g<2>0", text)
    return none.sub(lambda m: "0 " if m[1] else "1 " if m[2] else "0 people", text) if none else text


# "one zero": what is counted, and no number.
_ZEROS = re.compile(r"\bzeroe?s\b|(?<=\bone )zero\b", re.IGNORECASE)
_NONE = re.compile(r"^(\W*)none(?=[.,;!])|((?:\b(?:are|is) |[:{])\W{0,4})none(?=\W*$)", re.IGNORECASE)
_UNSEEN = re.compile(
    r"\bno (?:figure|image|picture|photo|diagram|graph|chart|table|data)\b|"
    r"\b(?:attached|provided|cannot|can't|unable|not see|n't see)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def _none(question: str) -> tuple[bool, re.Pattern[str] | None]:
    """Whether a question asks how many, and what says none of these."""
    counted = HOW_MANY.search(question)
    noun = counted.group(1).removesuffix("s") if counted else ""
    if len(noun) < 3 or noun in ("more", "time"):
        return counted is not None, None
    return True, re.compile(
        rf"\b(no|none of (?:the|these|those)) (?={noun})|\b(an?|one) single (?={noun})|"
        r"\bno(?: one|body)(?= (?:is|was|has|are)\b)",
        re.IGNORECASE,
    )
