"""When two values are the same number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from l2v.benchmarks.scoring.values import Value, to_base

# Without a stated precision, decimals agree within so much of the gold; whole numbers and INTEGER golds only exactly.
RELATIVE, EXACT = 1e-3, 1e-9


def near(a: Value, b: Value) -> bool:
    """Whether two stated values are the same number, where either may be rounded; units of one dimension are converted."""
    bases = to_base(a), to_base(b)
    if bases[0] and bases[1] and bases[0][0] == bases[1][0] and a.unit != b.unit:
        return _close(bases[0][1], bases[1][1], EXACT if a.integer and b.integer else RELATIVE)
    if {a.unit, b.unit} == {"", "°"}:
        radians, degrees = (b, a) if a.unit else (a, b)
        if radians.decimals is None and _close(math.degrees(radians.number), degrees.number, EXACT):
            return True
    if a.percent != b.percent:
        percent, other = (a, b) if a.percent else (b, a)
        if not other.integer and _close(percent.number / 100, other.number, EXACT):
            return True
    return _close(a.number, b.number, EXACT) or _rounds_to(a, b) or _rounds_to(b, a)


def nearest(value: Value, others: Sequence[Value | None]) -> list[bool]:
    """Which of others a stated value is.

    Where it may be several, rounded, those that it equals outright. Where it is none, the only one that is about as large: it
    was rounded down, or to too few places.
    """
    may_be = [other is not None and near(value, other) for other in others]
    equal = [
        may and other is not None and _close(value.number, other.number, EXACT)
        for may, other in zip(may_be, others, strict=True)
    ]
    if any(may_be):
        return equal if any(equal) else may_be
    rough = [
        other is not None
        and (other.decimals is None if value.integer else (other.decimals or 0) > 1)
        and same_number(value, other)
        for other in others
    ]
    return rough if sum(rough) == 1 else may_be


def _rounds_to(fine: Value, rough: Value) -> bool:
    """Whether `fine`, a decimal or an expression, gives `rough` when rounded to its places; at least one, and two digits."""
    if not rough.decimals or fine.integer or len(f"{abs(rough.number):g}".replace(".", "").lstrip("0")) < 2:
        return False
    return abs(fine.number - rough.number) <= 0.5000001 * 10.0**-rough.decimals


def _close(a: float, b: float, relative: float) -> bool:
    return abs(a - b) <= max(relative * max(abs(a), abs(b)), 1e-12)


def same_number(
    read: Value,
    gold: Value,
    exact: bool = False,
    decimals: int | None = None,
    tolerance: float | None = None,
    asks_percent: bool = False,
    asks_scale: bool = False,
) -> bool:
    """Whether a response's number is the gold.

    exact: only equal values count (INTEGER golds). tolerance: absolute. decimals: both are rounded to so many places.
    With none of these whole numbers must be equal and decimals agree within RELATIVE. Units of one dimension are converted,
    other units ignored; "5 million" matches 5000000, and 5 where millions are asked for (asks_scale); "5%" matches 0.05, and 5
    where per cent is asked for.
    """
    return any(
        _equal(a, b, whole, exact, decimals, tolerance)
        for a, b, whole in _interpretations(read, gold, asks_percent or gold.percent, asks_scale or read.scale == gold.scale)
    )


def _integral(value: Value) -> bool:
    """Whether a value that is written without decimals, or as an expression ("2^10"), is a whole number."""
    return not value.decimals and value.number == round(value.number)


def _interpretations(read: Value, gold: Value, asks_percent: bool, asks_scale: bool) -> list[tuple[float, float, bool]]:
    """(response's number, gold's number, both written whole) in every unit in which they may be compared."""
    # A power of ten may be rounded.
    rounded = read.decimals is None and read.number % 1000 == 0
    whole = read.integer and gold.integer or _integral(read) and _integral(gold) and not rounded
    bases = to_base(read), to_base(gold)
    if bases[0] and bases[1] and bases[0][0] == bases[1][0] and read.unit != gold.unit:
        one = to_base(replace(gold, number=1.0))
        return [(bases[0][1] / (one[1] if one else 1.0), gold.number, False)]
    found = []
    if (read.percent == gold.percent or asks_percent) and asks_scale:
        found.append((read.number, gold.number, whole))
    if read.percent and not gold.percent:
        found.append((read.number / 100, gold.number, False))
    if gold.percent and not read.percent:
        found.append((read.number * 100, gold.number, False))
    if read.scale != 1 or gold.scale != 1:
        found.append((read.number * read.scale, gold.number * gold.scale, whole))
    return found


def _equal(a: float, b: float, whole: bool, exact: bool, decimals: int | None, tolerance: float | None) -> bool:
    if _close(a, b, EXACT):
        return True
    if exact:
        return False
    if tolerance is not None:
        return abs(a - b) <= tolerance * (1 + 1e-9)
    if decimals is not None:
        # Halves may go either way: 2.25 is 2.2 to a computer and 2.3 to a school book.
        return abs(round(b, decimals) - a) <= 0.5000001 * 10.0**-decimals
    return not whole and _close(a, b, RELATIVE)
