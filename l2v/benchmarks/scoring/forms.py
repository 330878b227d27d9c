"""The forms that a claim takes in a response."""

from __future__ import annotations

from dataclasses import dataclass

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
    unsure: it holds under a condition, or something in it is denied; only what cannot be misread is read from it.
    """

    text: str
    how: str
    line: str = ""
    at: int = 0
    unsure: bool = False


@dataclass(frozen=True)
class Claims:
    """asserted: the strongest first. denied: what the response says the answer is not. own: the response itself (own_part)."""

    asserted: tuple[ResponseClaim, ...] = ()
    denied: tuple[ResponseClaim, ...] = ()
    own: str = ""
