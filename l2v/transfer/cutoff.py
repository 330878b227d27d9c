"""The three ways to write a cutoff: k, a share of the spectrum, a share of its energy. No torch: what refuses reads this."""

from __future__ import annotations

import math

from l2v.errors import UserError

Cutoff = int | float | str


def parse_cutoff(cutoff: Cutoff) -> int | float:
    """Check the form of a cutoff without a direction: k as int, a share in (0, 1) as float (also for "energy:…")."""
    value: float | int | str = cutoff
    energy = isinstance(value, str) and value.startswith("energy:")
    try:
        number = float(str(value).removeprefix("energy:"))
    except ValueError:
        number = math.nan
    whole = not energy and number.is_integer()
    if whole and number >= 1 and not (isinstance(cutoff, int) or str(cutoff).isdecimal()):
        raise UserError(
            f"intervention.cutoff={cutoff} may mean a share or a number of bins: write {int(number)} for k={int(number)}"
            f"{', or method=full_band for the whole spectrum' if number == 1 else ''}."
        )
    if whole and number >= 1:
        return int(number)
    if not 0 < number < 1 or isinstance(cutoff, bool):
        raise UserError(
            f"intervention.cutoff={cutoff} is no cutoff: give k (a whole number from 1), "
            'a share of the spectrum (0 to 1), or "energy:0.9".'
        )
    return number
