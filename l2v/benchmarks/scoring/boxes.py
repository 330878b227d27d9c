r"""Boxes: `\boxed{…}` and its kin, in a response."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_LONGEST_BOX, _MOST_BOXES = 600, 40
_PLACEHOLDER = re.compile(
    r"^\W*(?:(?:your|the|final|correct|answer|option|letter|here|x{2,}|content|number|value|result)\W*)*$", re.IGNORECASE
)


def boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of every \\boxed{…} whose braces balance, in order; contents of at most 600 characters."""
    found = []
    for match in list(_BOX.finditer(text))[-_MOST_BOXES:]:
        if text[match.end()] != "{":
            end = match.end() + len(text[match.end() :].split(None, 1)[0])
            found.append((match.start(), end, text[match.end() : end].rstrip(".$")))
            continue
        closing = _closing(text, match.end())
        if closing is not None:
            found.append((match.start(), closing + 1, text[match.end() + 1 : closing]))
    return found


def _closing(text: str, opening: int) -> int | None:
    """The index of the brace that closes the one at `opening`."""
    depth = 0
    for i in range(opening, min(len(text), opening + _LONGEST_BOX)):
        if text[i] == "\\" and text[i + 1 : i + 2] in ("{", "}"):
            continue
        if text[i] in "{}" and text[i - 1] != "\\":
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return i
    return None


_TOGETHER = re.compile(r"^(?:[\s,;$\\()]|and|or|text|quad|\{|\}){0,16}$")
# What makes a box a piece of something larger: "2\\boxed{3}", "-\\boxed{7}", "\\boxed{3}^2", "\\boxed{9}\\pi".
_BEFORE = re.compile(r"(?:(?<![\w.^{-])\d+(?:\.\d+)?|(?<=[=\s$(:])-|^-|\\sqrt)$")
_BEHIND = re.compile(
    r"\$? (?:dozen|thousand|million|billion)\b|\s?\\times\s?10\^(?:\{-?\d+\}|\d)|\^(?!\s?\{?\s?\\circ)(?:\{[^{}]{1,6}\}|\w)|"
    r"\\pi(?![a-z])|\\sqrt\{[^{}]{1,6}\}|"
    r"[a-zπ](?![a-z])"
)


# A box round a piece of a formula or of a sum, or shown as an example: "\\frac{\\boxed{3}}{4}", "\\boxed{10}-3=7", "such as …".
_STEP_BEFORE = re.compile(
    r"\bstep\s*\}?\s*$|\\[dt]?frac\{$|\b(?:such as|e\.g\.,?|for example,?|like this:?|(?:in|of) the form)\W{0,3}$",
    re.IGNORECASE,
)
_STEP_BEHIND = re.compile(
    r"\}\{| ?[-+*/] ?\d| ?\\(?:cdot|times) ?(?!10\^)\d| ?\$? ?(?:\\?%|"
    r"\\%\$) ?\$? ?of\b",
    re.IGNORECASE,
)


def _in_place(before: str, content: str, behind: str) -> str:
    front, back = _BEFORE.search(before), _BEHIND.match(behind)
    return (
        f"{front.group() if front else ''}({content}){back.group().lstrip('$') if back else ''}" if front or back else content
    )


def boxed_claims(text: str) -> list[tuple[int, str]]:
    """Boxes with their positions; boxes that stand together ("\\boxed{3} or \\boxed{4}") are one claim to a list."""
    joined: list[tuple[int, int, str]] = []
    for start, end, content in boxes(text):
        if _PLACEHOLDER.match(content) or "\\boxed" in content and boxes(content):
            continue
        if _STEP_BEFORE.search(text[max(0, start - 40) : start]) or _STEP_BEHIND.match(text[end : end + 24]):
            continue
        if joined and 0 <= start - joined[-1][1] <= 16 and _TOGETHER.match(text[joined[-1][1] : start]):
            before = joined.pop()
            content = before[2] if before[2] == content else f"{before[2]}, {content}"
        joined.append((start, end, _in_place(text[max(0, start - 8) : start], content, text[end : end + 12])))
    return [(start, content) for start, _, content in joined]
