"""Whether a sentence speaks of what a question asks for, or of another quantity, side or part, or only repeats the question."""

from __future__ import annotations

import re
from functools import lru_cache

from l2v.benchmarks.scoring.cleaning import squeeze

# What may be measured or pointed at, one group of words with one meaning a line.
_GROUPS = """mean average
median
mode
range
perimeter
circumference
area
volume
radius
diameter
length distance long far
width wide
height tall high
speed velocity fast
slope gradient
intercept
mass weight weighs heavy
price cost costs
probability
odds
highest largest greatest maximum biggest most tallest longest max top peak
lowest smallest least minimum shortest fewest min bottom
on-the-left left-hand leftmost
on-the-right right-hand rightmost"""
_GROUP = {word: i for i, line in enumerate(_GROUPS.split("\n")) for word in line.split()}
_LETTERS = re.compile("[a-z]+(?:-hand|(?<=on)-the-(?:left|right))?")


def _measured(text: str) -> frozenset[int]:
    text = text.lower().replace("on the ", "on-the-")
    return frozenset(_GROUP[word] for word in _LETTERS.findall(text) if word in _GROUP)


_WORDS = re.compile("[^\\W_]+")


@lru_cache(maxsize=4096)
def _words(question: str) -> set[str]:
    return {*_WORDS.findall(question), "is", "are", "equals", "and"}


@lru_cache(maxsize=4096)
def _squeezed(question: str) -> str:
    question = _EQUAL.sub(" = ", question)
    return "\n".join(squeeze(sentence) for line in question.split("\n") for sentence in re.split(r"(?<=[.?!,])\s", line))


_asked_for = lru_cache(maxsize=4096)(_measured)


def off_topic(text: str, asked: str) -> bool:
    """Whether a text speaks of another quantity or side than all that the question names ("The median is 3" of the mean)."""
    return (
        bool((known := _asked_for(asked)) and (found := _measured(text)) and not known & found)
        or _turned_round(text, asked)
        or _restates(text, asked)
    )


def _turned_round(text: str, asked: str) -> bool:
    """Whether a text speaks of "girls to boys" where the question asks for "boys to girls"."""
    pairs = _RATIO.findall(asked.lower()) if " to " in text else []
    return any(f"{b} to {a}" in text.lower() and f"{a} to {b}" not in text.lower() for a, b in pairs)


_RATIO = re.compile(r"\b(\w+) to (?:the )?(\w+)")


def _restates(text: str, asked: str) -> bool:
    """Whether a sentence only repeats what the question says ("AC = 8"), and is no option of it."""
    question, _, options = asked.rpartition("\n\n")
    if not set(_WORDS.findall(text)) <= _words(question) or not _SENTENCE.search(text):
        return False
    known = _squeezed(question)
    return all(squeeze(part) in known for part in _AND.split(_EQUAL.sub(" = ", text))) and squeeze(text) not in map(
        squeeze, options.split("\n")
    )


_AND, _EQUAL = re.compile(r"\sand\s|,\s"), re.compile(r"\s(?:is|are|equals)\s")
_SENTENCE = re.compile(r"\w\s?=\s?\w|\w\s(?:is|are|has|have|had|was|were|gives?)\s\w")


def of_the_rest(text: str, asked: str) -> bool:
    """Whether a text speaks of what is not asked for ("The unshaded part is 1/2", asked for the shaded one)."""
    return any(word[-1] in asked.lower() and word[0] not in asked.lower() for word in _REST.findall(text.lower()))


_REST = re.compile(r"\b((?:(?:un|non|in)-?|(?:second|third|next)[ -](?=\w+est))(\w{4,}))")
