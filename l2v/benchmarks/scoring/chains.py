"""Chains of equations: what a response that is one works out, what a text gives values to, and which boxes are steps."""

from __future__ import annotations

import re
from functools import lru_cache

from l2v.benchmarks.scoring.asking import asked_of, named
from l2v.benchmarks.scoring.cleaning import plain
from l2v.benchmarks.scoring.forms import ResponseClaim
from l2v.benchmarks.scoring.mathematics import is_mathematics, prose_words
from l2v.benchmarks.scoring.values import read_value

# What one letter usually stands for.
_STANDS_FOR = {
    "A": "area", "S": "area surface", "P": "perimeter probability pressure power", "V": "volume voltage", "C": "circumference",
    "v": "speed velocity", "d": "distance diameter", "r": "radius ratio", "h": "height altitude", "m": "slope mass",
    "t": "time", "F": "force", "R": "resistance radius", "I": "current intensity", "U": "voltage", "E": "energy",
    "s": "distance speed side arc", "w": "width", "l": "length", "n": "number", "W": "work weight",
    "p": "pressure probability", "a": "acceleration side edge length apothem"
}  # fmt: skip
_SIDES = re.compile(r"\s*[=≈]\s*(?![=>])(?![^{]*\})")
_LABEL = re.compile(
    r"[a-zA-Zα-ω](?:_\{?\w{1,8}\}?|\d)?(?:'|\([\w°]{1,6}\))?|(?:m ?)?∠ ?\w{1,3}|[A-Z]{2,4}|\[[A-Z]{3,4}\]|√?\W*\d[^a-zA-Z]*"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_SEVERAL = re.compile(r"\b(?:or|and)\b|[;⇒→]|\.\s|,\s*[A-Za-zα-ω]{1,3}\s?=")
_SOLVES = re.compile(r"\d\s?[a-z](?![a-z])|[a-z]\s?\^|(?<![a-z])[a-z]\s?[-+*/]|[-+*/]\s?[a-z](?![a-z])")


def sides(chain: str) -> list[str]:
    """The sides of a chain of equations; an equals sign within braces, as under a sum, parts nothing."""
    return [side.strip(" .$") for side in _SIDES.split(chain)]


def worked_out(chain: str, question: str) -> bool:
    """Whether a chain of two equations or more ("A = ½ · 6 · 8 = 24") begins with what a question asks for, or a sum.

    Not an equation that is yet to be solved ("2x = 20 - 6 = 14"), nor another quantity's: a symbol that the question does not
    ask for, unless it is the usual one of a quantity that it does.
    """
    first, *rest = sides(chain)
    if len(rest) < 2 or _SEVERAL.search(chain) or prose_words(_COMMAND.sub("", chain)) or not all(map(is_mathematics, rest)):
        return False
    if _SOLVES.search(first) or not (_LABEL.fullmatch(first) or first.startswith("\\")):
        return False
    if not any(map(str.isalpha, first)) or first.startswith("\\"):
        return True
    asked = asked_of(question)
    symbols = {name for name in asked.main | asked.rest if name[0].isalpha() and (len(name) == 1 or not name.islower())}
    usual = _usual(first[0])
    return bool({*named(first)} & symbols) or bool(usual & asked.known) or not symbols and not usual


def of_another(text: str, question: str) -> bool:
    """Whether an equation without words gives a number to something that is not asked for: "2x = 14", "d = 24" of a radius."""
    text = plain(text)
    if "=" not in text or "⇒" in text or prose_words(text) or read_value((ends := sides(text))[-1]) is None:
        return False
    if re.search(rf"(?<!\w){re.escape(ends[0])}(?!\w)", plain(question)):
        return False
    asked = asked_of(question).known
    usual = _usual(ends[0]) if len(ends[0]) == 1 else frozenset()
    other = usual and not usual & asked and asked & frozenset().union(*map(_usual, _STANDS_FOR))
    return bool(other or question.strip() and _UNSOLVED.fullmatch(ends[0]))


_UNSOLVED = re.compile(r"-?\d+\s?[a-z]|(?:\d+\s?)?[a-z]\s?\^\s?\{?[23]\}?")


@lru_cache
def _usual(letter: str) -> frozenset[str]:
    """What a letter usually stands for, as asked_of names it."""
    return frozenset(name for word in _STANDS_FOR.get(letter, "").split() for name in named(word))


def equated(text: str) -> set[str]:
    """What a text gives values to: "m∠1" and "m∠2" of "m∠1 = 115°, m∠2 = 65°"."""
    return {side.strip() for side in _SIDE.findall(PAIRED.sub("…", text.rsplit("i.e.", 1)[-1]))}


# The commas of points, vectors and sets end no side.
PAIRED = re.compile(r"\\langle[^=]{1,40}?\\rangle|[({\[][^(){}\[\]=]{1,40},[^(){}\[\]=]{1,40}[)}\]]")
_SIDE = re.compile(r"(?:^|,\s|;\s|\band\s|\bor\s)([^,;=≈]{1,40})[=≈]")


def is_step(claim: ResponseClaim, question: str, response: str) -> bool:
    """Whether a box holds what a value is put into behind it: "\\boxed{3x^2}. At x = 1 this gives 3"."""
    behind = response[claim.at :].partition(claim.text)[2]
    return bool(_AT.search(question) and _VARIABLE.search(plain(claim.text)) and _GIVES.search(behind))


_AT = re.compile(r"\b(?:at|when|if|for)\b[^?.]{0,20}\b[a-z]\s?=\s?-?\d")
_VARIABLE, _GIVES = (
    re.compile(r"(?<![A-Za-z\\])[a-z](?![A-Za-z])"),
    re.compile(r"\b(?:gives|equals|is|get|becomes)\b[^.]*\d|=\s*-?\d"),
)


def still_squared(text: str, question: str) -> bool:
    """Whether a text works out a square that is not asked for: "x^2 = 169 - 25 = 144"."""
    return _SQUARE.search(plain(text)) is not None and not _SQUARE_ASKED.search(question)


_SQUARE = re.compile(r"(?:^|[a-z]{2,} )\W{0,2}[a-z]\s?\^\{?[23]\}?\s?=(?!.*(?<![\w^])[a-z]\s?=)[^a-z]*$")
_SQUARE_ASKED = re.compile(r"\^|²|\bsquared?\b|\bcubed?\b", re.IGNORECASE)
