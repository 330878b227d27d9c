"""What a response claims: boxes, answer markers, and what asserts by its place.

A response is cut where it runs on into another question, and read clause by clause (clauses.py). Boxes and answer markers
("the answer is", "Answer:") assert explicitly; a bare response or last line, a conclusion, the last sentence and an opening
("B. …") by their place. A withdrawal ("Wait", "that is wrong") takes back what was claimed before it, a refusal what was not
claimed explicitly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from l2v.benchmarks.scoring.boxes import boxed_claims
from l2v.benchmarks.scoring.clauses import ASSERTING, YES_NO, Clause, Kind, in_clauses
from l2v.benchmarks.scoring.cleaning import squeeze
from l2v.benchmarks.scoring.forms import BOXED, MARKER, WHOLE, Claims, ResponseClaim
from l2v.benchmarks.scoring.markers import (
    DENIED_BOX,
    DENIED_IN,
    MARKS,
    SILENT,
    UNBOXED,
    WRONG_BOX,
    marked_claims,
    owned,
    unrepeated,
)
from l2v.benchmarks.scoring.own import own_part
from l2v.benchmarks.scoring.phrases import JUDGED_WRONG, REAFFIRMS, WITHDRAWS
from l2v.benchmarks.scoring.standing import BARE_LINE, VERB, standing
from l2v.benchmarks.scoring.tables import PatternTable
from l2v.benchmarks.scoring.topics import options_of, without_options


def read_claims(response: str, asked: str = "", options: Sequence[str] = ()) -> Claims:
    """What a cleaned response asserts, the strongest first, and what it denies.

    Boxes and markers are equally strong and the later wins; then an answer that is the whole response or its last line, the
    concluding or last sentence, and an opening ("B. Because …"). A last sentence that was cut off is left out.
    """
    text = own_part(response, asked)
    asked = asked.replace("\n\n", "\n") + "\n\n" + "\n".join(options)
    clauses = [owned(clause) for clause in in_clauses(text, asked, options)]
    explicit, denied = _explicit(text, clauses, asked)
    withdrawn = _withdrawn_until(clauses)
    found = [c for c in explicit if c.at >= withdrawn]

    def place() -> list[ResponseClaim]:
        return [c for c in standing(text, clauses, bool(explicit), asked) if c.at >= withdrawn or c.how == WHOLE]

    last = clauses[-1].at if clauses else 0
    return Claims(tuple(sorted(found, key=lambda c: -c.at)), tuple(denied), text, last, place)


_SUBJECT = PatternTable(
    r"^\W{0,4}(?:(?:so|but|and|option|choice|answer|that) )*(\S.{0,60}?)\s+(?:(?:is|are|was)(?:n't|"
    r" not) (?:\w+ ){0,2}(?:correct|right|answer|"
    rf"solution|true|possible|valid)|(?:is|are|was) (?:\w+ly |also )?{JUDGED_WRONG}|(?:cannot|can't|can not) be)\b",
)
_IS_ANSWER = PatternTable(
    r"^\W{0,4}(?:(?:so|thus|hence|therefore|then|and|but|clearly|obviously)\b[\s,]*)?(?:(?:i|we) (?:think|believe|"
    r"conclude) (?:that )?)?((?-i:\(?[A-J]\)?)|[^,;:]{0,38}[\d=+√\\^)}][^,;:\s]{0,20})\s+(?:is|must be)\s+(?:therefore |thus |"
    r"indeed |clearly )?(?:(?:the |our |my )(?:\w+ )?(?:answer|result|solution|correct one)\b|(?:correct|right)\W*$)",
)


def _explicit(text: str, clauses: Sequence[Clause], asked: str) -> tuple[list[ResponseClaim], list[ResponseClaim]]:
    """Boxes and markers: (asserted, denied)."""
    asserted, denied = [], []
    for clause in clauses:
        for claim, is_denied in marked_claims(text, clause, asked) if clause.bits & MARKS else ():
            if is_denied:
                denied.append(claim)
            elif clause.kind not in SILENT:
                asserted.append(claim)
        if not clause.bits & _TELLS and len(clause.text) >= 40:
            continue
        if (subject := _SUBJECT.match(clause.text, clause.bits)) and clause.kind is Kind.DENIAL:
            denied.append(ResponseClaim(subject.group(1), MARKER, subject.group(1), clause.at))
        if (
            (named := _IS_ANSWER.match(clause.text, clause.bits))
            and not VERB.search(named.group(1))
            and clause.kind in ASSERTING
        ):
            asserted.append(ResponseClaim(named.group(1), MARKER, named.group(1), clause.at))
        if (said := YES_NO.fullmatch(clause.text) if len(clause.text) < 40 else None) and clause.kind in ASSERTING:
            asserted.append(ResponseClaim(said.group(1), MARKER, said.group(1), clause.at))
    for before, clause in zip(clauses, clauses[1:], strict=False):
        if (
            before.sentence == clause.sentence
            and BARE_LINE.match(clause.text)
            and before.kind is Kind.WITHDRAWAL
            and clause.kind in ASSERTING
        ):
            asserted.append(ResponseClaim(clause.text, MARKER, clause.text, clause.at))
    asserted.sort(key=lambda claim: claim.at)
    unfinished = clauses[-1] if clauses and _UNFINISHED.search(clauses[-1].text) else None
    for at, content in boxed_claims(text):
        around = next((c for c in reversed(clauses) if c.at <= at), None)
        step = unfinished and around and around.sentence < unfinished.sentence and not _CONCLUDED.search(around.text)
        if step and unfinished and content not in unfinished.text:
            # The box of a step: what follows it was cut off within a formula.
            continue
        claim = ResponseClaim(content, BOXED, content, at)
        if (
            DENIED_IN.match(content)
            and squeeze(content) not in map(squeeze, options_of(asked))
            or DENIED_BOX.search(text[max(0, at - 30) : at])
            or WRONG_BOX.match(text[at : at + len(content) + 80].partition(content)[2])
        ):
            denied.append(claim)
        elif (
            not content.rstrip(" }$").endswith("?")
            and not _of_another(text[max(0, at - 40) : at], asked)
            and (around is None or around.kind not in UNBOXED or len(around.text) > 300)
        ):
            asserted.append(claim)
    return unrepeated(text, asserted), denied


def _of_another(before: str, asked: str) -> bool:
    """Whether a box is given to another thing than is asked for: "f(2) = " where f(3) is, "∠1 = " where ∠2 is, a square."""
    label = _BOX_LABEL.search(before)
    if label is None:
        return False
    question = re.sub(r"[\s$\\{}]", "", without_options(asked)).replace("∠", "angle")
    own = re.sub(r"[\s$\\{}]", "", label[1]).replace("∠", "angle")
    if len(own) == 1:
        # x, where (x, y) is asked for, and x nowhere else.
        pair = re.search(rf"\((?:{own},[a-z]|[a-z],{own})\)", question)
        return pair is not None and not re.search(rf"(?<![A-Za-z]){own}(?![A-Za-z])", _PAIRED.sub("", without_options(asked)))
    if own.endswith("^2"):
        return own not in question and own[:-2] in question and len(own) > 3
    kind = own.rstrip("0123456789)")
    return own not in question and re.search(rf"{re.escape(kind)}-?\d", question) is not None


# What stands in front of a box: "f(2) = ", "m\\angle 1 = ", "|AB|^2 = ".
_PAIRED = re.compile(r"\(\s*[a-z]\s*,\s*[a-z]\s*\)")
_BOX_LABEL = re.compile(r"(\b[a-z](?:\(-?\d+\))?|(?:\\angle|∠)\s?\d|[|\w]{1,6}\^\{?2\}?)\s*=\s*[$\\({]*$")
_UNFINISHED = re.compile(r"^\W*(?:step \d|now|next|then)\b.*\b(?:the|which|by|and|of|is|to)$|\\?[({=+×*/-]\s*$", re.IGNORECASE)
_CONCLUDED = re.compile(r"\b(?:answer|therefore|thus|hence|so|final)\b", re.IGNORECASE)
_NO_ANSWER = PatternTable(
    r"\b(?:can't|cannot|can not|don't|do not|couldn't) (?:tell|say|decide|know) which\b",
    r"\b(?:answer|solution|result)s?\b (?:is|are|was|cannot|can't|can not|could not|couldn't)\b",
)


_TELLS = _SUBJECT.any | _IS_ANSWER.any
# What takes back, or may.
_TAKES_BACK = _NO_ANSWER.any | WITHDRAWS.any


def _withdrawn_until(clauses: Sequence[Clause]) -> int:
    """Where the last withdrawal starts that nothing behind it takes back; 0 for none. A refusal behind a marker is one."""
    at = 0
    for clause in clauses:
        if not at and not clause.bits & _TAKES_BACK:
            continue
        refused = _NO_ANSWER.search(clause.text, clause.bits) and clause.kind is Kind.REFUSAL
        if refused or WITHDRAWS.search(clause.text, clause.bits) and clause.kind is Kind.WITHDRAWAL:
            at = clause.at
        elif at and REAFFIRMS.search(clause.text) and clause.kind in ASSERTING:
            at = 0
    return at
