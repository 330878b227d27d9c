"""Tables of patterns over clauses, searched only where a word stands that a pattern cannot match without.

A clause of prose matches few of some hundred patterns. From each pattern the literals are taken one of which every match holds
(as search engines do it); which patterns a word makes possible is worked out once per word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

# Pieces of words and the patterns, as bits, of which every match needs one; "" for those that may match anything.
_NEEDED: dict[str, int] = {}
# Those that are whole words.
_WHOLE: dict[str, int] = {}
_COUNT = iter(range(10**6))
# Digits count for nothing: no piece holds one.
_TOKEN = re.compile(r"[^\W\d_]+|[^\w\s]")


def possible(text: str) -> int:
    """The patterns of all tables, as bits, that may match in a text."""
    found = _NEEDED.get("", 0)
    for token in set(_TOKEN.findall(text.lower())):
        bits = _MADE_POSSIBLE.get(token)
        found |= _made_possible(token) if bits is None else bits
    return found


_MADE_POSSIBLE: dict[str, int] = {}


def _made_possible(token: str) -> int:
    spaced = f" {token} "
    found = _WHOLE.get(spaced, 0)
    for piece, bits in _NEEDED.items():
        if piece in spaced and piece:
            found |= bits
    if len(_MADE_POSSIBLE) > 2**16:
        _MADE_POSSIBLE.clear()
    _MADE_POSSIBLE[token] = found
    return found


class PatternTable:
    """Patterns of one meaning, without regard to case. pattern: all of them as one."""

    def __init__(self, *patterns: str) -> None:
        self.pattern = "|".join(patterns)
        self._rows: list[tuple[int, re.Pattern[str]]] = []
        self._any = 0
        for pattern in patterns:
            bit = 1 << next(_COUNT)
            for piece in _needed(_parser.parse(pattern, re.IGNORECASE)) or ("",):
                room = _WHOLE if piece[:1] == piece[-1:] == " " else _NEEDED
                room[piece] = room.get(piece, 0) | bit
            self._any |= bit
            self._rows.append((bit, re.compile(pattern, re.IGNORECASE)))
        _MADE_POSSIBLE.clear()

    def search(self, text: str, bits: int | None = None) -> re.Match[str] | None:
        """The first match of the first pattern that has one. bits: possible(text), where it is known."""
        bits = possible(text) if bits is None else bits
        for bit, row in self._rows if bits & self._any else ():
            if bits & bit and (found := row.search(text)):
                return found
        return None

    def match(self, text: str, bits: int | None = None) -> re.Match[str] | None:
        """The match of the first pattern that has one at the beginning."""
        bits = possible(text) if bits is None else bits
        return next((m for bit, row in (self._rows if bits & self._any else ()) if bits & bit and (m := row.match(text))), None)

    def finditer(self, text: str, bits: int | None = None) -> list[re.Match[str]]:
        """All matches in order; of two that overlap, the first."""
        bits = possible(text) if bits is None else bits
        if not bits & self._any:
            return []
        found, end = [], 0
        for match in sorted((m for bit, row in self._rows if bits & bit for m in row.finditer(text)), key=_start):
            if match.start() >= end:
                found.append(match)
                end = match.end()
        return found


def _start(match: re.Match[str]) -> int:
    return match.start()


def _needed(parsed: Iterable[tuple[Any, Any]], begins: bool = False, ends: bool = False) -> frozenset[str]:
    """Pieces of words one of which every match of a parsed pattern holds; the best choice of several, or an empty set.

    begins, ends: whether a word begins before the pattern or ends behind it. A piece has a space where its word does.
    """
    items = list(parsed)
    choices, run, open_ = [], "", begins
    for at, (kind, what) in enumerate([*items, (None, None)]):
        wordly = kind is sre.LITERAL and chr(what).isalpha()
        if wordly:
            run += chr(what).lower()
            continue
        edge = kind is sre.AT or kind is sre.LITERAL or (kind is None and ends)
        if run:
            choices.append(frozenset([" " * open_ + run + " " * edge]))
        if kind is sre.LITERAL and _TOKEN.match(chr(what)):
            choices.append(frozenset([chr(what)]))
        if kind is sre.IN and all(k is sre.LITERAL and re.match(r"[^\w\s]", chr(c)) for k, c in what):
            choices.append(frozenset(chr(c) for _, c in what))
        run, open_ = "", kind is sre.AT or kind is sre.LITERAL
        before = at == 0 and begins or at > 0 and items[at - 1][0] is sre.AT
        if kind is sre.SUBPATTERN:
            choices.append(_needed(what[-1], before, _edge(items, at, ends)))
        elif kind is sre.BRANCH:
            branches = [_needed(branch, before, _edge(items, at, ends)) for branch in what[1]]
            choices.append(frozenset().union(*branches) if all(branches) else frozenset())
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT) and what[0] > 0:
            choices.append(_needed(what[2]))
    return max((c for c in choices if c), key=lambda c: min(len(piece) for piece in c), default=frozenset())


def _edge(items: list[tuple[Any, Any]], at: int, ends: bool) -> bool:
    """Whether a word ends behind an item."""
    return ends if at + 1 == len(items) else items[at + 1][0] is sre.AT
