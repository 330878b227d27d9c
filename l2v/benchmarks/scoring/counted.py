"""What is counted and is not there: "no triangles" as a number."""

from __future__ import annotations

import re
from functools import lru_cache

from l2v.benchmarks.scoring.asking import HOW_MANY


def none_counted(text: str, question: str) -> str:
    """A text with its "no triangles" as "0 triangles", where just these are counted."""
    text = _ZEROS.sub("zeros", text) if _ZEROS.search(question) else text
    if _UNSEEN.search(text):
        return text
    text = _NONE.sub("0", text) if HOW_MANY.search(question) else text
    none = _none(question)
    return none.sub(lambda m: "0 " if m[1] else "0 people", text) if none else text


# "one zero": what is counted, and no number.
_ZEROS = re.compile(r"\bzeroe?s\b|(?<=\bone )zero\b", re.IGNORECASE)
_NONE = re.compile(r"^\W*none(?=[.,;!])", re.IGNORECASE)
_UNSEEN = re.compile(
    r"\bno (?:figure|image|picture|photo|diagram|graph|chart|table|data)\b|"
    r"\b(?:attached|provided|cannot|can't|unable|not see|n't see)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def _none(question: str) -> re.Pattern[str] | None:
    counted = HOW_MANY.search(question)
    noun = counted.group(1).removesuffix("s") if counted else ""
    if len(noun) < 3 or noun in ("more", "time"):
        return None
    return re.compile(
        rf"\b(no|none of (?:the|these|those)) (?={noun})|\bno(?: one|body)(?= (?:is|was|has|are)\b)", re.IGNORECASE
    )
