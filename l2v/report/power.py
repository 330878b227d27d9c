"""What more items would show: power of the paired test, from how many items of a study flip between an arm and `direct`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l2v.errors import UserError
from l2v.report.study import Study
from l2v.study.columns import FAMILY, key
from l2v.study.statistics.power import items_needed, measured_design_effect, smallest_difference
from l2v.study.statistics.searches import grouped, own_baseline


@dataclass(frozen=True)
class PowerQuestion:
    """items: how many are planned, None: as many as the study has. diff: gain to be shown, a share. power, alpha in (0, 1)."""

    items: int | None = None
    diff: float | None = None
    power: float = 0.8
    alpha: float = 0.05


@dataclass(frozen=True)
class Flips:
    """A pair of runs over `n` items, or a guess (None).

    discordance: share of items that flip either way. design_effect: how many times more items versions of one problem cost.
    """

    name: str
    n: int | None
    discordance: float
    design_effect: float = 1.0


def flips(study: Study) -> list[Flips]:
    """Of every reported cell that was compared with `direct`. Raises UserError where there is none."""
    rows = study.reported.to_dict("records")
    baselines = grouped([row for row in rows if row["method"] == "direct"], FAMILY)
    found = []
    for row in rows:
        baseline = own_baseline(baselines.get(key(row, FAMILY), []), row)
        if row["method"] != "direct" and baseline is not None:
            found.append(_flips(study, row, baseline))
    if not found:
        raise UserError(f"Study '{study.name}' has no cell to compare with direct; give discordance=… instead of study=….")
    return found


def _flips(study: Study, row: Mapping[Any, Any], baseline: Mapping[Any, Any]) -> Flips:
    ours, theirs = study.marks.score(row), study.marks.score(baseline)
    right = {item.id: item.right for item in theirs.items}
    both = [item for item in ours.items if item.id in right]
    differences = [int(item.right) - int(right[item.id]) for item in both]
    effect = max(1.0, measured_design_effect(differences, [item.problem for item in both]))
    name = f"{row['arm']} on {row['where']}, {row['bench']} {row['items']}"
    return Flips(name, len(both), sum(map(abs, differences)) / len(both), effect)


def answer(flips: Flips, asked: PowerQuestion) -> str:
    """What `n` items show, or how many a difference needs, in a sentence."""
    told = f"{flips.name}: {100 * flips.discordance:.1f} % of {'the' if flips.n is None else flips.n} items flip"
    if flips.design_effect > 1:
        told += f", versions of problems cost a factor of {flips.design_effect:.2f}"
    if not flips.discordance:
        return f"{told}; nothing can be said."
    options = {"power": asked.power, "alpha": asked.alpha, "design_effect": flips.design_effect}
    if asked.diff is None:
        items = asked.items or flips.n or 1
        least = smallest_difference(items, flips.discordance, **options)
        shown = "no difference" if math.isinf(least) else f"differences from {100 * least:.1f} points on"
        return f"{told}; {items:,} items show {shown}."
    if asked.diff > flips.discordance:
        return f"{told}; a difference of {100 * asked.diff:g} points is more than these flips can give."
    return f"{told}; {100 * asked.diff:g} points need {items_needed(asked.diff, flips.discordance, **options):,} items."
