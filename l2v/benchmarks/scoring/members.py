"""Lists, tuples, sets and equations: their members, and whether two texts have the same."""

from __future__ import annotations

import re

from l2v.benchmarks.scoring.cleaning import plain, squeeze
from l2v.benchmarks.scoring.sameness import same_number
from l2v.benchmarks.scoring.values import read_value

_LABEL = re.compile(r"^([^=≈≤≥<>≠+*/√^-]{0,60})[=≈](?!=)(.+)$", re.DOTALL)
SYMBOL = re.compile(r"^[A-Za-z](?:_?\w)?(?:\([A-Za-z]\))?$")
# "2x = 6" is not solved.
_COEFFICIENT = re.compile(r"^\s*\d+\s?[a-z]\s*$")


def without_label(text: str) -> tuple[str, str]:
    """("area", "9.4 cm^2") of "Area = 9.4 cm^2"; the last side of a chain; an empty label where there is none."""
    match = _LABEL.match(text)
    if match is None or _COEFFICIENT.match(match.group(1)):
        return "", text
    label, rest = match.group(1).strip(), match.group(2).strip()
    if SYMBOL.match(rest) and read_value(label) is not None:
        return rest, label
    if "=" in rest and not re.search(r"[≤≥<>,;]|\b(?:or|and)\b", rest):
        rest = rest.rsplit("=", 1)[1].strip()
    return label, rest


_BRACKETED = re.compile(r"^([\[({])(.*)([\])}])$", re.DOTALL)


def elements(text: str) -> tuple[str, list[str]] | None:
    """The kind of brackets and the elements of a tuple, interval, set or list."""
    match = _BRACKETED.match(text.strip())
    if match is None or "," not in match.group(2) and ";" not in match.group(2):
        return None
    parts, depth, start, inner = [], 0, 0, match.group(2)
    for i, c in enumerate(inner):
        depth += (c in "([{") - (c in ")]}")
        if c in ",;" and depth == 0:
            parts.append(inner[start:i])
            start = i + 1
    parts.append(inner[start:])
    return match.group(1) + match.group(3), [p.strip() for p in parts]


def same_element(gold: str, text: str) -> bool:
    a, b = read_value(without_label(gold)[1]), read_value(without_label(text)[1])
    if a is not None and b is not None:
        return same_number(b, a)
    return squeeze(gold) == squeeze(text)


def split(text: str) -> list[str]:
    text = text.rsplit("=", 1)[-1].strip().strip("[](){}")
    return [part.strip(" '\"") for part in re.split(r"\s*[,;]\s*(?:and\s+)?|\s+and\s+", text) if part.strip()]


# "x_1 = -2"
_NUMBERED = re.compile(r"_\{?\d\}?\s*=")
_AND = re.compile(r"\s*(?:,(?: and| or)?|\b(?:and|or)\b)\s+(?![^()\[\]]*[)\]])")
# "x = ±3"
_PLUS_MINUS = re.compile(r"([^,;±]*)±\s?([^,;±]+)$")


def same_members(gold: str, text: str) -> bool:
    """Whether "x = -1 and x = 3" states "x=-1, x=3"; equations and points in any order."""
    stated = [plain(side).strip(" .") for side in (gold, text)]
    spelt = [_PLUS_MINUS.sub(r"\1\2, \1-\2", side) if "±" in side else side for side in stated]
    sides = [[squeeze(_NUMBERED.sub("=", part)) for part in _AND.split(side)] for side in spelt]
    if any("=" in part or part[:1] == "(" for part in sides[0]):
        sides = [sorted(side) for side in sides]
    return len(sides[0]) > 1 and sides[0] == sides[1]


# "point A", "△ABC", "\\overline{BC}"
_NAMED = re.compile(
    r"(?:the )?(?:((?i:point|vertex|side|edge|(?:line )?segment|line|ray|chord|triangle|angle|circle)|[△∠⊙]|\\triangle|"
    r"\\overline)\s?)?\{?((?:[A-Z]'?){1,4}|[a-z]'?)\}?"
)
_KINDS = {"vertex": "point", "△": "triangle", r"\triangle": "triangle", "∠": "angle", "⊙": "circle"}
_KINDS |= dict.fromkeys(["side", "edge", "segment", "line segment", "ray", "chord", r"\overline"], "line")


def same_name(gold: str, text: str) -> bool:
    """Whether two texts name one point, line or figure, where either may say what it is ("point A'", "A'")."""
    one, other = (_NAMED.fullmatch(side.strip(" .")) for side in (gold, text))
    if one is None or other is None or one[2] != other[2]:
        return False
    kinds = {_KINDS.get(kind.lower(), kind.lower()) for kind in (one[1], other[1]) if kind}
    return len(kinds) == 1
