"""What else a response says that stands against a claim: another answer before it or behind it, or its denial."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

from l2v.benchmarks.base import Question, Verdict
from l2v.benchmarks.scoring.forms import LAST_SENTENCE, OPENING, STATEMENT, Claims, ResponseClaim
from l2v.benchmarks.scoring.option_texts import LETTERS, spaced_words
from l2v.benchmarks.scoring.phrases import LABELLED
from l2v.benchmarks.scoring.placed import Pending, answered, read_of


def outweighed(
    question: Question,
    claim: ResponseClaim,
    verdict: Verdict,
    claims: Claims,
    judge: Callable[[ResponseClaim], Verdict | Pending | None],
) -> Verdict | None:
    """What the clause before the last answers outright, where the last says something else and may be of another thing."""
    if claim.how != LAST_SENTENCE:
        return None
    outright: bool | None = None
    for before in _earlier(claim, claims)[:3]:
        other = None if LABELLED.match(before.text) else judge(before)
        if not isinstance(other, Verdict) or other.correct is None or not answered(question, before, other, claims.own):
            continue
        apart = _STOP.search(claims.own[before.at : claim.at]) is not None
        if apart and outright is None:
            outright = answered(question, replace(claim, how=STATEMENT), verdict, claims.own)
        letters = {other.extraction, verdict.extraction}
        differs = other.correct != verdict.correct or letters <= {*LETTERS} and len(letters) == 2
        return other if differs and not (apart and outright) else None
    return None


_STOP = re.compile(r"[.!?]\s|\n")


def _earlier(claim: ResponseClaim, claims: Claims) -> list[ResponseClaim]:
    """The statements before a claim, the nearest first, as statements; not the sentence that holds it."""
    said = (c for c in claims.placed if c.how in (STATEMENT, OPENING) and c.at < claim.at and claim.text not in c.text)
    return sorted((replace(c, how=STATEMENT) for c in said), key=lambda c: -c.at)


def contradicted(question: Question, claim: ResponseClaim, claims: Claims) -> bool:
    """Whether the response says of another answer just what it says of this one: "The door is open. The door is closed."."""
    options = sorted((spaced_words(o).strip() for o in question.options), key=len, reverse=True)
    options = [option for option in options if len(option) > 2]

    def form(text: str) -> str:
        words = spaced_words(text)
        words = reduce(lambda left, option: left.replace(f" {option} ", " … "), options, words)
        return words if question.options else _DIGITS.sub("…", words)

    said = claim.sentence or claim.text
    own, text = form(said), spaced_words(said)
    others = [c.sentence or c.text for c in _earlier(claim, claims)]
    return "…" in own and any(form(other) == own and spaced_words(other) != text for other in others)


_DIGITS = re.compile(r"\d[\d.,]*")


def unless_revoked(verdict: Verdict | Pending, later: Sequence[Verdict | Pending | None]) -> Verdict | Pending:
    """The verdict, unless a later conclusion ("Therefore it is 16") claims something else: then the two stand alike."""
    for other in later:
        if isinstance(verdict, Verdict) and isinstance(other, Verdict) and None not in (verdict.correct, other.correct):
            letters = [v.extraction for v in (verdict, other) if v.extraction and v.extraction in LETTERS]
            if verdict.correct != other.correct or len(set(letters)) == 2:
                reason = f"claims {verdict.extraction}, later {other.extraction}"
                return Verdict(None, verdict.extraction, "ambiguous", reason)
    return verdict


def unless_denied(verdict: Verdict | Pending, denied: Sequence[Verdict | Pending | None]) -> Verdict | Pending:
    """The verdict, unless the response says later that just this is not the answer."""
    for other in denied:
        if other is not None and (read_of(other) == read_of(verdict) or (_right(other) and _right(verdict))):
            return Verdict(None, read_of(verdict), "ambiguous", f"claims {read_of(verdict)}, and denies it later")
    return verdict


def _right(verdict: Verdict | Pending) -> bool:
    return isinstance(verdict, Pending) or verdict.correct is True
