"""Tables of patterns over clauses, searched only where a word stands that a pattern cannot match without.

A clause of prose matches few of some hundred patterns. From each pattern the literals are taken one of which every match holds
(as search engines do it), and a second such choice; which patterns a word makes possible is worked out once per word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, reduce
from operator import or_
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

# Patterns there may be at most: the bit of a pattern's second choice stands so far to the left.
_SECOND = 512
# Pieces of words and the patterns, as bits, of which every match needs one; "" for those that may match anything.
_NEEDED: dict[str, int] = {}
# Those that are whole words.
_WHOLE: dict[str, int] = {}
_COUNT = iter(range(_SECOND))
# No piece is longer.
_LONGEST = 24
# Digits count for nothing: no piece holds one.
_TOKEN = re.compile(r"[^\W\d_]+|[^\w\s]")


class _MadePossible(dict[str, int]):
    """What a word makes possible, worked out when it is first met."""

    def __missing__(self, token: str) -> int:
        spaced = f" {token} "
        found = _WHOLE.get(spaced, 0)
        for at in range(len(spaced)):
            for end in range(at + 1, min(at + _LONGEST, len(spaced)) + 1):
                found |= _NEEDED.get(spaced[at:end], 0)
        if len(self) > 2**16:
            self.clear()
        self[token] = found
        return found


_MADE_POSSIBLE = _MadePossible()


def possible(text: str) -> int:
    """The patterns of all tables, as bits, that may match in a text."""
    words = set(_TOKEN.findall(text.lower()))
    found = reduce(or_, map(_MADE_POSSIBLE.__getitem__, words), _NEEDED.get("", 0))
    return found & (found >> _SECOND)


class PatternTable:
    """Patterns of one meaning, without regard to case. pattern: all of them as one; any: the bits of each."""

    def __init__(self, *patterns: str) -> None:
        self.pattern = "|".join(patterns)
        self._rows: list[tuple[int, re.Pattern[str]]] = []
        self.any = 0
        for pattern in patterns:
            bit = 1 << next(_COUNT)
            choices = sorted(_choices(_parser.parse(pattern, re.IGNORECASE)), key=_telling, reverse=True)
            for pieces, own in zip([*choices, ("",), ("",)], (bit, bit << _SECOND), strict=False):
                for piece in pieces:
                    room = _WHOLE if piece[:1] == piece[-1:] == " " else _NEEDED
                    room[piece] = room.get(piece, 0) | own
            self.any |= bit
            self._rows.append((bit, re.compile(pattern, re.IGNORECASE)))
        _MADE_POSSIBLE.clear()

    def _possible(self, text: str) -> int:
        """Of one pattern it is not worth while."""
        return possible(text) if len(self._rows) > 1 else self.any

    def search(self, text: str, bits: int | None = None) -> re.Match[str] | None:
        """The first match of the first pattern that has one. bits: possible(text), where it is known."""
        bits = self._possible(text) if bits is None else bits
        if bits & self.any:
            for bit, row in self._rows:
                if bits & bit and (found := row.search(text)):
                    return found
        return None

    def match(self, text: str, bits: int | None = None) -> re.Match[str] | None:
        """The match of the first pattern that has one at the beginning."""
        bits = self._possible(text) if bits is None else bits
        if bits & self.any:
            for bit, row in self._rows:
                if bits & bit and (found := row.match(text)):
                    return found
        return None

    def finditer(self, text: str, bits: int | None = None) -> list[re.Match[str]]:
        """All matches in order; of two that overlap, the first."""
        bits = self._possible(text) if bits is None else bits
        if not bits & self.any:
            return []
        found, end = [], 0
        for match in sorted((m for bit, row in self._rows if bits & bit for m in row.finditer(text)), key=_start):
            if match.start() >= end:
                found.append(match)
                end = match.end()
        return found


def holds(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Whether a text holds a pattern, for texts that are asked of again and again, as questions are."""
    return lru_cache(maxsize=4096)(lambda text: pattern.search(text) is not None)


def _start(match: re.Match[str]) -> int:
    return match.start()


def _needed(parsed: Iterable[tuple[Any, Any]], begins: bool = False, ends: bool = False) -> frozenset[str]:
    """The best of _choices, or an empty set."""
    return max(_choices(parsed, begins, ends), key=_telling, default=frozenset())


def _choices(parsed: Iterable[tuple[Any, Any]], begins: bool = False, ends: bool = False) -> list[frozenset[str]]:
    """Sets of pieces of words: of each every match of a parsed pattern holds one.

    begins, ends: whether a word begins before the pattern or ends behind it. A piece has a space where its word does.
    """
    items = list(parsed)
    choices, run, open_ = [], "", begins
    for at, (kind, what) in enumerate([*items, (None, None)]):
        wordly = kind is sre.LITERAL and chr(what).isalpha()
        if wordly:
            run += chr(what).lower()
            continue
        edge = kind is sre.AT or kind is sre.LITERAL or _spaces(kind, what) or (kind is None and ends)
        if run:
            choices.append(frozenset([" " * open_ + run + " " * edge]))
        if kind is sre.LITERAL and _TOKEN.match(chr(what)):
            choices.append(frozenset([chr(what)]))
        if kind is sre.IN and all(k is sre.LITERAL and re.match(r"[^\w\s]", chr(c)) for k, c in what):
            choices.append(frozenset(chr(c) for _, c in what))
        run, open_ = "", kind is sre.AT or kind is sre.LITERAL or _spaces(kind, what)
        before = at == 0 and begins or at > 0 and (items[at - 1][0] is sre.AT or _spaces(*items[at - 1]))
        if kind is sre.SUBPATTERN:
            choices.append(_needed(what[-1], before, _edge(items, at, ends)))
        elif kind is sre.BRANCH:
            branches = [_needed(branch, before, _edge(items, at, ends)) for branch in what[1]]
            choices.append(frozenset().union(*branches) if all(branches) else frozenset())
        elif kind is sre.ASSERT:
            choices.append(_needed(what[1]))
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT) and what[0] > 0:
            choices.append(_needed(what[2]))
    return [pieces for pieces in choices if pieces]


# Words that most clauses have.
_COMMON_WORDS = "that this which it is the are was an of to in and for we by with not no be on as , . - ( ) : '"
_COMMON = frozenset(_COMMON_WORDS.split())


def _telling(pieces: frozenset[str]) -> tuple[bool, int]:
    """How seldom a text holds one of some pieces: no common word, and long ones."""
    words = [piece.strip() for piece in pieces]
    return not any(word in _COMMON or len(word) == 1 and word.isalpha() for word in words), min(map(len, pieces))


def _edge(items: list[tuple[Any, Any]], at: int, ends: bool) -> bool:
    """Whether a word ends behind an item."""
    return ends if at + 1 == len(items) else items[at + 1][0] is sre.AT or _spaces(*items[at + 1])


def _spaces(kind: Any, what: Any) -> bool:
    """Whether an item is a space at least: words end before and begin behind it."""
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT) and what[0] > 0:
        return len(what[2]) == 1 and _spaces(*what[2][0])
    if kind is sre.IN:
        return all(one == (sre.CATEGORY, sre.CATEGORY_SPACE) for one in what)
    return kind is sre.LITERAL and chr(what) == " "
