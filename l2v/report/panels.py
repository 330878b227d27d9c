"""A picture as panels of lines and maps, drawn by matplotlib.

Panels stand one below the other, so that a picture can be read on a phone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from l2v.report.style import BLACK, DIVERGING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INCHES = 4.6  # width of a PNG: its letters can still be read on a screen of 390 pixels
TITLE, LABEL = 48, 36  # characters that fit above and along a panel

DASHES = {"solid": "-", "dash": "--", "dot": ":", "none": "none"}
SYMBOLS = {"circle": "o", "diamond": "D", "square": "s", "triangle-up": "^", "x": "x", "circle-open": "o"}


@dataclass(frozen=True)
class Line:
    """Points (x, y) under one name. low, high: the ends of a band or of bars around y. dash "none": markers only."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str
    dash: str = "solid"
    symbol: str | None = None
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    bars: bool = False
    filled: bool = False  # shaded down to zero, for densities
    legend: bool = True


@dataclass(frozen=True)
class HeatMap:
    """A map: z[row][column] with the blocks or cutoffs along its sides. Colours are symmetric about `middle`."""

    x: Sequence[float]
    y: Sequence[float]
    z: Sequence[Sequence[float]]
    label: str
    reach: float  # distance of the colour scale's ends from the middle
    middle: float = 0.0
    marked: Sequence[Sequence[bool]] | None = None  # cells with a star


@dataclass(frozen=True)
class Panel:
    """One pair of axes, with titles that name the units."""

    title: str
    x: str
    y: str
    lines: Sequence[Line] = ()
    heat: HeatMap | None = None
    log_x: bool = False
    log_y: bool = False
    percent_x: bool = False
    percent_y: bool = False
    whole_x: bool = False  # ticks at whole numbers only


@dataclass(frozen=True)
class Picture:
    """A picture with its note (how to read it) and the numbers that are drawn, as a table."""

    id: str
    title: str
    note: str
    panels: Sequence[Panel]
    table: pd.DataFrame = field(repr=False)


def _numbers(heat: HeatMap) -> list[list[str]]:
    marks = set(_marks(heat))
    # Zero is added so that what rounds to it has no minus.
    return [[f"{round(v, 2) + 0.0:.2f}{'*' * ((r, c) in marks)}" for c, v in enumerate(row)] for r, row in enumerate(heat.z)]


def _marks(heat: HeatMap) -> list[tuple[int, int]]:
    """The starred cells, (row, column)."""
    return [(r, c) for r, row in enumerate(heat.marked or ()) for c, mark in enumerate(row) if mark]


def save_png(picture: Picture, path: Path) -> None:
    drawn(picture).savefig(path)


def drawn(picture: Picture) -> Figure:
    """The picture as matplotlib has it. Long names of models go on in a second line."""
    from matplotlib.figure import Figure

    count = len(picture.panels)
    figure = Figure(figsize=(INCHES, 3.0 * count + 0.7), dpi=160, layout="constrained")
    shown: dict[str, Any] = {}
    for i, panel in enumerate(picture.panels):
        axes = figure.add_subplot(count, 1, i + 1)
        axes.set_title(textwrap.fill(panel.title, TITLE), fontsize=9, loc="left", fontweight="bold")
        axes.set_xlabel(textwrap.fill(panel.x, LABEL), fontsize=9)
        axes.set_ylabel(textwrap.fill(panel.y, LABEL), fontsize=9)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if panel.heat:
            _draw_heat(figure, axes, panel.heat)
        else:
            axes.grid(color="#e6e6e6", linewidth=0.7)
        for line in panel.lines:
            mark = _draw_line(axes, line)
            if line.legend:
                shown.setdefault(line.name, mark)
        _scale(axes, panel)
    if shown:
        columns = 2 if max(map(len, shown)) < 36 else 1
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    return figure


def _scale(axes: Any, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

    if panel.log_x:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(ScalarFormatter())
    if panel.log_y:
        axes.set_yscale("log")
    if panel.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if panel.percent_x:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    if panel.percent_y:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _draw_line(axes: Any, line: Line) -> Any:
    style = {"color": line.color, "linestyle": DASHES[line.dash], "linewidth": 1.6}
    if line.symbol:
        hollow = line.symbol.endswith("-open")
        style |= {"marker": SYMBOLS[line.symbol], "markersize": 4.5 if len(line.x) < 60 else 3}
        style |= {"alpha": 0.8, "markerfacecolor": "white" if hollow else line.color}
    if line.bars and line.low is not None and line.high is not None:
        down = [v - low for v, low in zip(line.y, line.low, strict=True)]
        up = [high - v for v, high in zip(line.y, line.high, strict=True)]
        return axes.errorbar(line.x, line.y, yerr=[down, up], capsize=2, **style)
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=line.color, alpha=0.18, linewidth=0)
    if line.filled:
        axes.fill_between(line.x, line.y, color=line.color, alpha=0.18, linewidth=0)
    return axes.plot(line.x, line.y, **style)[0]


def _draw_heat(figure: Any, axes: Any, heat: HeatMap) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("diverging", list(DIVERGING))
    low, high = heat.middle - heat.reach, heat.middle + heat.reach
    image = axes.imshow(heat.z, origin="lower", aspect="auto", cmap=colors, vmin=low, vmax=high)
    _ticks(axes.set_xticks, heat.x)
    _ticks(axes.set_yticks, heat.y)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label(heat.label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if max(len(heat.x), len(heat.y)) <= 8:  # there is room for a number in every cell
        for row, texts in enumerate(_numbers(heat)):
            for column, text in enumerate(texts):
                deep = abs(heat.z[row][column] - heat.middle) > 0.75 * heat.reach
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if deep else BLACK)
    elif places := _marks(heat):
        axes.scatter([c for _, c in places], [r for r, _ in places], s=4, color=BLACK)


def _ticks(place: Any, values: Sequence[float]) -> None:
    """At most eight labels along a map's side."""
    step = max(1, math.ceil(len(values) / 8))
    place(range(0, len(values), step), [f"{value:g}" for value in values[::step]])
