"""The forms that a claim takes in a response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

BOXED, MARKER, WHOLE, STATEMENT = "boxed", "answer", "whole", "statement"
CONCLUSION, LAST_SENTENCE, LAST_LINE, OPENING = "conclusion", "last_sentence", "last_line", "opening"
# Sentences whose answer stands at their end; STATEMENT is a response of one sentence.
SENTENCES = (STATEMENT, CONCLUSION, LAST_SENTENCE)
# Forms of nothing but an answer.
BARE = (BOXED, WHOLE, LAST_LINE)


@dataclass(frozen=True)
class ResponseClaim:
    """A stretch of the response that states its answer.

    how: one of the names above. line: the text up to the end of its line. at: where in the response it starts.
    sentence: the whole of it, where text leaves out its "So it is".
    unsure: it holds under a condition, or something in it is denied; only what cannot be misread is read from it.
    wavers: two answers, said to and fro.
    """

    text: str
    how: str
    line: str = ""
    at: int = 0
    unsure: bool = False
    sentence: str = ""
    wavers: bool = False


@dataclass(frozen=True)
class Claims:
    """What a response claims. explicit: boxes and markers, the last first. denied: what it says the answer is not.

    own: the response itself (own_part). last: where its last clause starts. place: finds what asserts by its place.
    """

    explicit: tuple[ResponseClaim, ...]
    denied: tuple[ResponseClaim, ...]
    own: str
    last: int
    place: Callable[[], list[ResponseClaim]]

    @cached_property
    def placed(self) -> tuple[ResponseClaim, ...]:
        """What asserts by its place, the strongest first; worked out when somebody asks."""
        return tuple(self.place())

    @property
    def asserted(self) -> tuple[ResponseClaim, ...]:
        """All that is asserted, the strongest first."""
        return self.explicit + self.placed
