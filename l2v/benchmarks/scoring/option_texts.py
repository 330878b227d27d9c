"""The options of a question as they are compared: their texts in several forms, and what a response names of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache

from l2v.benchmarks.scoring.cleaning import clean, plain, squeeze
from l2v.benchmarks.scoring.numeric import BOUND
from l2v.benchmarks.scoring.values import Value, read_value

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class OptionReading:
    """The options named, as letters, and by what: letter, option_text or option_value.

    More than one letter is ambiguous; none is a committed value that no option has.
    """

    letters: frozenset[str]
    by: str


@dataclass(frozen=True)
class Options:
    """The options as compared. bare: they are only their own letters, or unknown; bounds: one is called like one ("Step 3");
    named: all are named by a kind ("Shape P").
    """

    texts: tuple[str, ...]
    plain: tuple[str, ...]
    squeezed: tuple[str, ...]
    spaced: tuple[str, ...]
    values: tuple[Value | None, ...]
    bare: bool
    bounds: bool
    named: bool

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.texts)] or LETTERS

    def letter(self, mark: str) -> str:
        """The option that a mark names: "(c)" one that reads so, else C."""
        own = f"({mark})"
        return self.letters[self.plain.index(own)] if own in self.plain else mark.upper()

    def where(self, same: tuple[bool, ...] | list[bool]) -> list[str]:
        return [letter for letter, hit in zip(self.letters, same, strict=False) if hit]


# "θ = " of the option "θ = 1.570"
_ASSIGNED = re.compile(r"^[^=≈<>≤≥]{1,20}[=≈]\s*")


@lru_cache(maxsize=8192)
def prepare(options: tuple[str, ...]) -> Options:
    texts = tuple(o.strip() for o in options)
    bare = all(not text or text == letter for text, letter in zip(texts, LETTERS, strict=False))
    values = tuple(read_value(t) or read_value(_ASSIGNED.sub("", plain(t))) for t in texts)
    lead = beginning(texts)
    spaced = tuple(spaced_words(t[lead:] if t.startswith(texts[0][:lead]) else t) for t in texts)
    bounds = any(BOUND.search(text) for text in texts if _COUNTS.search(text))
    named = all(map(NAMED.match, texts))
    return Options(texts, tuple(map(plain, texts)), tuple(map(squeeze, texts)), spaced, values, bare, bounds, named)


# "(A) ", "**B:** ", "option C, "
_LETTER_AHEAD = re.compile(
    r"(?<![^\W_])(?:\(([A-J])\)|([A-J])\*{0,2}[.:)]|(?:[Oo]ption|[Cc]hoice) ([A-J])\*{0,2},)[\s*:$\"'(]*$"
)
# " (option C).", ", i.e. (C)"
_LETTER_BEHIND = re.compile(
    r"[\s.,*$\"')]*(?:\((?:[Oo]ption |[Cc]hoice )?([A-J])\)|"
    r", (?:i\.e\.,?|that is,?|which is|or) (?:[Oo]ption |[Cc]hoice )?\(?([A-J])\)?)[\s.!*]*"
)
# "The answer is", "\\boxed{\\text{"
_ASKED_FOR = re.compile(
    r"\b(?:answer|option|choice|one|statement)\W{0,4}(?:is|would be|must be|should be|will be|:)[\s*:$\"'(]{0,6}$|"
    r"\\boxed\s?\{\s*(?:\\text\s?\{\s*)?$",
    re.IGNORECASE,
)
_CLOSING, _WORD = " \n.!*_`$)]}>\"'", re.compile(r"[^\W\d_]{2}")


def by_its_letter(response: str, options: tuple[str, ...]) -> str:
    """A response that ends on one option in full ("(E) It is impossible to say."), by its letter alone.

    What an option says of itself ("either C or D", "none of the above") claims nothing. Where others are named so, all stay.
    """
    told = _told(options)
    start = max(0, len(response) - max((len(own) for own, _ in told), default=0) - 50)
    low = response[start:].lower()
    # Some capital letters of other scripts become two.
    for own, letter in told if len(low) == len(response) - start else ():
        at = low.rfind(own)
        if at < 0 or own[:1].isalnum() and low[at - 1 : at].isalnum() and at:
            continue
        before, behind = response[max(0, start + at - 60) : start + at], response[start + at + len(own) :]
        ends = not behind.strip(_CLOSING)
        ahead = _LETTER_AHEAD.search(before) if ends else None
        marked = _ASKED_FOR.search(before) is not None
        beside = _LETTER_BEHIND.fullmatch(behind) if not ends and (marked or _WORD.search(own)) else None
        if ahead and letter in ahead.groups():
            head = response[: start + at - len(ahead.group())]
        elif beside and letter in beside.groups():
            head, behind = response[: start + at], ""
        elif ends and marked and _WORD.search(own):
            head = response[: start + at]
        else:
            continue
        return response if _names_several(response, options) else f"{head}({letter}){behind}"
    return response


@lru_cache(maxsize=8192)
def _told(options: tuple[str, ...]) -> list[tuple[str, str]]:
    """(text, letter) of the options that are told by their texts, the longest first; no text that stands twice."""
    texts = [clean(option).rstrip(".").lower() for option in options]
    told = [(own, letter) for own, letter in zip(texts, LETTERS, strict=False) if own and own != letter.lower()]
    return sorted(((own, letter) for own, letter in told if texts.count(own) == 1), key=lambda one: -len(one[0]))


def _names_several(response: str, options: tuple[str, ...]) -> bool:
    """Whether more than one option stands in a response with its letter in front."""
    named = [rf"\b{letter}\W{{1,5}}{re.escape(option.strip())}" for letter, option in zip(LETTERS, options, strict=False)]
    return sum(re.search(one, response, re.IGNORECASE) is not None for one in named) > 1


def beginning(options: tuple[str, ...]) -> int:
    """How many characters all options begin with alike: "It will increase" and "It will decrease" differ in what follows."""
    own = [option for option in options if not _OF_THE_ABOVE.match(option)]
    lead = (_PRONOUN.match(own[0]) or _SUBJECT.match(own[0])) if len(own) > 1 and own[0] == options[0] else None
    return lead.end() if lead and all(option.startswith(lead.group()) for option in own) else 0


_COUNTS = re.compile(r"\d|one", re.IGNORECASE)
# "Shape P", "Graph 2"
NAMED = re.compile(r"[A-Z][a-z]+ (?=(?:[K-Z]|\d+|[IVX]{2,})$)")
_PRONOUN = re.compile(r"(?:it|they|he|she) (?:will |would |is |are |has |have )?(?:be |get |become )?", re.IGNORECASE)
_SUBJECT = re.compile(r"(?:The|This|An?) (?:\w+ ){1,5}?(?:is|are|was|were|will) (?:be )?")
_OF_THE_ABOVE = re.compile(r"(?:none|all|both|neither|any) (?:of )?(?:the|these|them)\b", re.IGNORECASE)
_TOKENS = re.compile(r"[^\W_]+(?:['.:/][^\W_]+|-\d+)*|[+=<>%°$]")


def spaced_words(text: str) -> str:
    """The words of a text, one form for one and many."""
    text = _DETERMINER.sub("", plain(text)).lower()
    text = _LIKELY.sub("", text) if "likely" in text or "probably" in text or "'s" in text else text
    text = _COMPASS.sub(r"\1\2", text) if "north" in text or "south" in text else text
    return f" {' '.join(_PLURAL.sub('', word) if word[-1] == 's' else word for word in _TOKENS.findall(text))} "


# "would most likely increase", "Peru's area"
_LIKELY = re.compile(r"\b(?:most )?(?:likely|probably)\b|(?<=\w)'s\b")
_COMPASS = re.compile(r"\b(north|south)[- ](east|west)")
_DETERMINER = re.compile(r"(?:^A|\b(?:a|[Aa]n|[Tt]he|[Hh]is|[Hh]er|[Ii]ts|[Tt]heir)) (?=[a-z])")
_PLURAL = re.compile(r"(?<=[a-z]{2}[a-rt-z])s$")


_ENDINGS = frozenset(
    ("", "s", "es", "ed", "d", "e", "ing", "al", "ic", "y", "ly", "ily", "en", "ness", "iness", "ion", "ation", "ment")
)


def inflected(one: str, other: str) -> bool:
    """Whether two words are forms of one: "octagon" and "octagonal", "melancholic" and "melancholy"."""
    begun = len(os.path.commonprefix([one, other]))
    return begun > 3 and {one[begun:], other[begun:]} <= _ENDINGS
