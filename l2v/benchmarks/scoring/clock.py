"""Times of day, in figures and words."""

from __future__ import annotations

import re

from l2v.benchmarks.scoring.values import COUNT, NUMBER_WORDS

_FIGURES = re.compile(r"(?:it is |it's |at )?(\d{1,2}):(\d\d)(?::00)?\s?(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_WORDS = re.compile(
    rf"(?:it is |it's |at )?(?:an? )?(?:(quarter|half|{COUNT})(?: minutes?)? (past|after|to|before|till) )?({COUNT})"
    r"(?: o'clock)?\s?(?:([ap])\.?\s?m\.?)?",
    re.IGNORECASE,
)
_NAMED = NUMBER_WORDS | {"quarter": 15, "half": 30}


def same_time(one: str, other: str) -> bool:
    """Whether two texts tell one time ("3:45 PM", "quarter to four"), where either may leave out which half of the day."""
    first, second = _time(one), _time(other)
    if first is None or second is None or ":" not in one + other:
        return False
    halves = {half for *_, half in (first, second)}
    # "15:45" of "3:45" may be a duration.
    return first[:2] == second[:2] and (len(halves) == 1 or "" in halves and "24" not in halves or halves == {"p", "24"})


def _time(text: str) -> tuple[int, int, str] | None:
    """(hour of twelve, minute, "a" or "p" where that is told, "24" behind noon of a day of 24 hours)."""
    text = text.strip(" .")
    if found := _FIGURES.fullmatch(text):
        hour, minute, half = int(found[1]), int(found[2]), (found[3] or "").lower()
        if hour > 12 and not half:
            return (hour - 12, minute, "24") if hour < 24 and minute < 60 else None
        return (hour % 12, minute, half) if hour < 13 and minute < 60 else None
    found = _WORDS.fullmatch(text)
    if found is None or not (found[1] or "clock" in text):
        return None
    hour, minute = _number(found[3]), _number(found[1] or "0")
    if found[2] and found[2].lower() in ("to", "before", "till"):
        hour, minute = hour - 1, 60 - minute
    return hour % 12, minute, (found[4] or "").lower()


def _number(text: str) -> int:
    return int(text) if text.isdigit() else sum(_NAMED[word] for word in text.lower().split("-"))
