"""The page's pictures of races: accuracy and band of every cell over the problems that it answered, and where it was dropped.

Drawn as SVG here, without a script; colours are the page's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from l2v.report.page.sections import Shown
from l2v.report.race import arm_name, looks_table, saved
from l2v.report.study import Study
from l2v.study.results import ChosenArm
from l2v.study.statistics.paired import wilson

WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 340, 170, 34, 22, 8  # of a picture, in its own units
MOST = 24  # arms that are drawn; all stand in the table


@dataclass(frozen=True)
class ArmPicture:
    """One arm's race: its name, what was chosen on how many rows, and the picture (SVG, its texts escaped)."""

    arm: str
    told: str
    svg: str


@dataclass(frozen=True)
class Races:
    """What the page shows of a study's races."""

    title: str
    pictures: list[ArmPicture]
    left_out: int
    table: Shown


def races(study: Study) -> Races | None:
    """The section of the races; None where no arm raced."""
    arms = study.selection.raced
    if not arms:
        return None
    rows, full = study.selection.raced_rows
    title = f"How {len(arms)} {'arm' if len(arms) == 1 else 'arms'} raced: {rows:,} of {full:,} rows x cells"
    table = looks_table(study)
    note = (
        "worse: the e-value against being as good as the best passed the share of error; unlikely: expected to be less than "
        "half a problem better than the best on all problems; equal: all that were left lie within the margin; budget: dropped "
        "to keep the budget. The second and the last prove nothing."
    )
    shown = Shown("Every look of every race", list(table.columns), table.astype(str).values.tolist(), note)
    drawn = [ArmPicture(arm_name(study, a), f"{a.cells.get(a.select, a.select)}; {saved(a)}", picture(a)) for a in arms[:MOST]]
    return Races(title, drawn, max(0, len(arms) - MOST), shown)


def picture(arm: ChosenArm) -> str:
    """One race as SVG: the chosen cell in colour, the others thin; a cross where a cell was dropped."""
    last = arm.rounds[-1].seen
    paths: dict[str, list[tuple[int, float]]] = {}
    for one in arm.rounds:
        for cell, value in zip(one.cells, one.values, strict=True):
            paths.setdefault(cell, []).append((one.seen, value))
    why = {drop.cell: (one.seen, drop.value, drop.why) for one in arm.rounds for drop in one.dropped}
    order = sorted(paths, key=lambda cell: cell == arm.select)  # the chosen one above the others
    drawn = "".join(_cell(arm, cell, paths[cell], why.get(cell), last) for cell in order)
    ticks = "".join(
        f'<text x="{_x(one.seen, last):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{one.seen}</text>' for one in arm.rounds
    )
    lines = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - MARGIN}" y1="{_y(share):.1f}" y2="{_y(share):.1f}"/>'
        f'<text x="{LEFT - 4}" y="{_y(share) + 3:.1f}" text-anchor="end">{100 * share:.0f}</text>'
        for share in (0.0, 0.5, 1.0)
    )
    label = escape(f"{arm.arm}: accuracy in percent over problems answered, {len(paths)} cells, {saved(arm)}")
    return f'<svg class="race" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{lines}{ticks}{drawn}</svg>'


def _cell(arm: ChosenArm, cell: str, path: list[tuple[int, float]], gone: tuple[int, float, str] | None, last: int) -> str:
    bands = [wilson(round(value * seen), seen) for seen, value in path]
    upper = [(seen, high) for (seen, _), (_, high) in zip(path, bands, strict=True)]
    lower = [(seen, low) for (seen, _), (low, _) in zip(path, bands, strict=True)]
    told = f"{arm.cells.get(cell, cell)}: {100 * path[-1][1]:.1f} % of {path[-1][0]} problems"
    told += f"; dropped: {gone[2]}" if gone else "; chosen" if cell == arm.select else ""
    kind = "chosen" if cell == arm.select else "other"
    mark = ""
    if gone:
        x, y = _x(gone[0], last), _y(gone[1])
        mark = f'<path class="gone" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'
    band = f'<polygon points="{_points([*upper, *reversed(lower)], last)}"/>'
    line = f'<polyline points="{_points(path, last)}"/>'
    return f'<g class="{kind}"><title>{escape(told)}</title>{band}{line}{mark}</g>'


def _points(path: list[tuple[int, float]], last: int) -> str:
    # A cell of one look is a short line, so that it can be seen.
    start = [(path[0][0] * 0.93, path[0][1])] if len(path) == 1 else []
    return " ".join(f"{_x(seen, last):.1f},{_y(value):.1f}" for seen, value in [*start, *path])


def _x(seen: float, last: int) -> float:
    """Problems on a scale of square roots: the early looks lie close together."""
    return LEFT + (WIDTH - LEFT - 2 * MARGIN) * math.sqrt(seen / last)


def _y(share: float) -> float:
    return MARGIN + (HEIGHT - BOTTOM - MARGIN) * (1 - share)
