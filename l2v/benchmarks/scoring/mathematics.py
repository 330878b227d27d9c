"""Which texts are mathematics rather than prose, and the way back to LaTeX."""

from __future__ import annotations

import re

from l2v.benchmarks.scoring.cleaning import GREEK
from l2v.benchmarks.scoring.values import UNITS

LONGEST_EXPRESSION = 200
_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "lim", "limit", "exp", "max", "min", "sqrt", "frac", "arcsin", "arccos",
    "arctan"
}  # fmt: skip
_COUNTED = ["unit", "dollar", "cent", "hour", "day", "week", "month", "year", "square", "cubic", "left", "right", "text"]
_UNIT_WORDS = {name + s for name in (*UNITS, *_COUNTED, "liter", "metre", "meter") for s in ("", "s")}
_NO_PROSE = _FUNCTIONS | _UNIT_WORDS
_PROSE, _HOLDS_ANY = re.compile(r"[^\W\d_]{3,}"), re.compile(r"[\dA-Za-zπ∞]")


def prose_words(text: str) -> int:
    """How many words of prose a text has: of three letters or more, and neither functions nor units."""
    return len([w for w in _PROSE.findall(text) if not (w.isupper() or w.lower() in _NO_PROSE)])


def is_mathematics(text: str) -> bool:
    """Whether a text is an expression, equation, interval or set rather than prose."""
    return len(text) <= LONGEST_EXPRESSION and _HOLDS_ANY.search(text) is not None and prose_words(text) == 0


_LATEX = r"\pi ", r"\leq ", r"\geq ", r"\neq ", r"\cup ", r"\infty ", r"\times ", r"\frac", ""
_BACK = dict(zip("π≤≥≠∪∞×ƒ°", _LATEX, strict=True)) | {letter: rf"\{name} " for name, letter in GREEK.items()}
_NAMES = "|".join(sorted((re.escape(name) for name in (*UNITS, *_COUNTED[:7]) if len(name) > 1), key=len, reverse=True))
_UNIT_TAIL = re.compile(rf"\s(?:square |cubic |sq\.? )?(?:{_NAMES})s?\s?(?:\^[23])?$")
# Behind a symbol it is one itself.
_LETTER_TAIL = re.compile(r"^([^A-Za-z]+)\s[mshgl](?:\^[23])?$")


def to_latex(text: str) -> str:
    """A plain text in LaTeX again, without a trailing unit, for the symbolic comparison."""
    text = _UNIT_TAIL.sub("", text.replace("^{2}", "^2").replace("^{3}", "^3").strip())
    text = _LETTER_TAIL.sub(r"\1", text)
    text = re.sub(r"√\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"√\s*(\w)", r"\\sqrt{\1}", text).replace("√", r"\sqrt")
    text = re.sub(r"(?<![\\A-Za-z])(sin|cos|tan|ln|log)(?![A-Za-z])", r"\\\1", text)
    return "".join(_BACK.get(c, c) for c in text)
