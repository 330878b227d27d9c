"""How many cells a sweep asks for, told before they are expanded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from l2v.errors import UserError


def check_size(blocks: Sequence[Sequence[Any]], most: int) -> None:
    """Raise UserError for a grid of more than `most` cells, or a range without an end. blocks: Hydra's parsed overrides."""
    for block in blocks:
        for override in block:
            if override.key_or_group == "runtime.most_cells" and isinstance(override.value(), int):
                most = override.value()
    sizes = [math.prod({o.get_key_element(): choices(o) for o in block}.values()) for block in blocks]
    if sum(sizes) > most:
        raise UserError(f"This grid has {sum(sizes):,} cells, more than runtime.most_cells={most}; sweep less, or raise it.")


def choices(override: Any) -> int:
    """How many values an override of Hydra sweeps over; 1 where it gives one value, or where Hydra itself will refuse it."""
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

    if not override.is_sweep_override():
        return 1
    value = override._value  # what is swept, not yet expanded
    if isinstance(value, IntervalSweep):
        raise UserError(f"{override.key_or_group}: an interval has no list of values; sweep over a=1,2,3 or range(1,4).")
    if isinstance(value, RangeSweep):
        return _steps(override.key_or_group, value)
    return len(value.list) if isinstance(value, ChoiceSweep) else 1  # names of files are few


def _steps(key: str, swept: Any) -> int:
    start, stop, step = float(swept.start), float(swept.stop), float(swept.step)
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise UserError(
            f"{key}=range({swept.start},{swept.stop},{swept.step}) has no end; its step must not be 0, nor inf or nan."
        )
    return max(0, math.ceil((stop - start) / step))
