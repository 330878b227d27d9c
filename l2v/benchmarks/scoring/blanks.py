"""What stands in a place that the question names: in its blank, or behind the title of a line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from l2v.benchmarks.scoring.clauses import ASSERTING, Clause
from l2v.benchmarks.scoring.forms import LAST_LINE, ResponseClaim
from l2v.benchmarks.scoring.numeric import unbound
from l2v.benchmarks.scoring.topics import entitled

_BLANK = re.compile(r"(?:^|[.?!,:]\s|\n)([^.?!,:\n]*?)(?:\(_+\)|_{2,})([^.?!,:\n]*)")


def filled(said: Sequence[Clause], asked: str) -> list[ResponseClaim]:
    """What stands in the place of a question's blank ("There are (_) dots in a group."), in the last clause that repeats it."""
    if "_" not in asked or not (blank := _BLANK.search(asked)):
        return []
    before, behind = (part.split() for part in blank.groups())
    if len(behind) < 2 and len(before) < 2:
        return []
    lead = [] if len(behind) > 1 else before
    sentence = re.compile(
        r"\b" * bool(lead)
        + r"\s+".join([*map(re.escape, lead), r"(\S+(?: \S+){0,2}?)" if lead else r"(\S+)", *map(re.escape, behind)])
        + r"\W*$",
        re.IGNORECASE,
    )
    for clause in reversed(said[-4:]):
        if clause.kind in ASSERTING and (found := sentence.search(unbound(clause.text))):
            return [ResponseClaim(found.group(1), LAST_LINE, found.group(1), clause.at)]
    return []


_TITLED = re.compile(r"\W*([A-Za-z][^:=≈\d]{2,60}?)\W{0,3}[:=≈]\W{0,3}?([$€£∠-]{0,2}\w(?:(?!\.\s)[^?]){0,40}?)[^\w?]*")


def titled(said: Sequence[Clause], asked: str) -> list[ResponseClaim]:
    """The one line of the last that is "Edges: 9", where the question asks for edges."""
    lines = [(c, _TITLED.fullmatch(c.line)) for c in said[-6:] if c.kind in ASSERTING]
    found = [(c, line.group(2)) for c, line in lines if line and entitled(line.group(1), asked, c is said[-1])]
    return [ResponseClaim(value, LAST_LINE, value, clause.at) for clause, value in found] if len(found) == 1 else []
