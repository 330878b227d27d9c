"""A picture as panels of lines and maps, drawn by plotly (to hover) and by matplotlib (to print) from the same numbers.

Panels stand one below the other, so that a picture can be read on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from l2v.report.style import BLACK, DIVERGING, GREY

PANEL_PIXELS = 270  # height of a panel's frame on a screen
GAP_PIXELS = 84  # between frames: axis title, ticks and the next panel's title
INCHES = 4.6  # width of a PNG: its letters can still be read on a screen of 390 pixels

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
class Heat:
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
    heat: Heat | None = None
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


def rounded(values: Iterable[Any]) -> list[Any]:
    """Plain numbers of six significant digits; what is not finite becomes None."""
    return [float(f"{v:.6g}") if isinstance(v, (int, float)) and math.isfinite(v) else None for v in map(float, values)]


def plotly_figure(picture: Picture) -> dict[str, Any]:
    """{"data": […], "layout": {…}} for plotly.js; plain lists, no width, so that it fills its container."""
    count = len(picture.panels)
    height = count * PANEL_PIXELS + (count - 1) * GAP_PIXELS
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "height": height + 110,
        "margin": {"l": 58, "r": 12, "t": 34, "b": 76},
        "font": {"size": 12, "color": BLACK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "legend": {"orientation": "h", "x": 0, "y": -56 / height, "yanchor": "top", "font": {"size": 11}},
        "hovermode": "closest",
        "annotations": [],
    }
    named: set[str] = set()
    for i, panel in enumerate(picture.panels):
        suffix = "" if i == 0 else str(i + 1)
        top = 1 - i * (PANEL_PIXELS + GAP_PIXELS) / height
        bottom = max(0.0, top - PANEL_PIXELS / height)
        layout[f"xaxis{suffix}"] = _axis(panel.x, panel.log_x, panel.percent_x, panel.heat) | {"anchor": f"y{suffix}"}
        layout[f"yaxis{suffix}"] = _axis(panel.y, panel.log_y, panel.percent_y, panel.heat) | {
            "anchor": f"x{suffix}",
            "domain": [round(bottom, 4), round(top, 4)],
        }
        layout["annotations"].append(
            {"text": f"<b>{panel.title}</b>", "x": 0, "y": round(top, 4), "xref": "paper", "yref": "paper", "showarrow": False,
             "xanchor": "left", "yanchor": "bottom", "yshift": 6, "font": {"size": 12}}
        )  # fmt: skip
        if panel.whole_x:
            layout[f"xaxis{suffix}"]["tickformat"] = "d"
        axes = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        if panel.heat:
            data += _plotly_heat(panel.heat, axes, (top + bottom) / 2, PANEL_PIXELS / height)
        for line in panel.lines:
            data += _plotly_line(line, axes, line.legend and line.name not in named)
            named.add(line.name)
    layout["showlegend"] = any(trace.get("showlegend") for trace in data)
    return {"data": data, "layout": layout}


def _axis(title: str, log: bool, percent: bool, heat: Heat | None) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": title, "font": {"size": 12}, "standoff": 6},
        "gridcolor": "#e6e6e6",
        "linecolor": GREY,
        "showline": True,
        "zeroline": False,
        "automargin": True,
    }
    if log:
        axis |= {"type": "log", "exponentformat": "power"}
    if percent:
        axis["tickformat"] = ".3~p"
    if heat:
        axis |= {"showgrid": False, "type": "category"}
    return axis


def _plotly_line(line: Line, axes: dict[str, str], shown: bool) -> list[dict[str, Any]]:
    mode = "markers" if line.dash == "none" else "lines+markers" if line.symbol else "lines"
    x, y = rounded(line.x), rounded(line.y)
    trace: dict[str, Any] = {"type": "scatter", "name": line.name, "legendgroup": line.name, "showlegend": shown, "mode": mode}
    trace |= {"x": x, "y": y, **axes}
    if line.dash != "none":
        trace["line"] = {"color": line.color, "dash": line.dash, "width": 2}
    if line.symbol:
        trace["marker"] = {"color": line.color, "symbol": line.symbol, "size": 7 if len(x) < 60 else 5, "opacity": 0.8}
    if line.filled:
        trace |= {"fill": "tozeroy", "fillcolor": _faint(line.color)}
    if line.low is None or line.high is None:
        return [trace]
    low, high = rounded(line.low), rounded(line.high)
    if line.bars:
        up = rounded(h - v for h, v in zip(line.high, line.y, strict=True))
        down = rounded(v - low_ for v, low_ in zip(line.y, line.low, strict=True))
        trace["error_y"] = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": line.color}
        return [trace]
    edge = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, **axes}
    edge["legendgroup"] = line.name
    band = [edge | {"x": x, "y": low}, edge | {"x": x, "y": high, "fill": "tonexty", "fillcolor": _faint(line.color)}]
    return [*band, trace]


def _plotly_heat(heat: Heat, axes: dict[str, str], middle: float, share: float) -> list[dict[str, Any]]:
    bar = {"title": {"text": heat.label, "side": "right"}, "len": round(share, 4), "y": round(middle, 4), "thickness": 12}
    x, y = _labels(heat.x), _labels(heat.y)
    trace: dict[str, Any] = {
        "type": "heatmap", "x": x, "y": y, "z": [rounded(row) for row in heat.z], "colorscale": [list(s) for s in DIVERGING],
        "zmin": heat.middle - heat.reach, "zmax": heat.middle + heat.reach, "colorbar": bar, "name": "", **axes,
    }  # fmt: skip
    if _small(heat):
        return [trace | {"text": _numbers(heat), "texttemplate": "%{text}"}]
    dots = [(x[column], y[row]) for row, column in _marks(heat)]
    marks = {
        "type": "scatter", "mode": "markers", "x": [a for a, _ in dots], "y": [b for _, b in dots], "showlegend": False,
        "marker": {"symbol": "circle", "size": 3, "color": BLACK}, "hoverinfo": "skip", **axes,
    }  # fmt: skip
    return [trace, marks] if dots else [trace]


def _small(heat: Heat) -> bool:
    """Whether there is room for a number in every cell."""
    return len(heat.x) <= 8 and len(heat.y) <= 8


def _numbers(heat: Heat) -> list[list[str]]:
    marks = set(_marks(heat))
    return [[f"{v:.2f}{'*' if (r, c) in marks else ''}" for c, v in enumerate(row)] for r, row in enumerate(heat.z)]


def _marks(heat: Heat) -> list[tuple[int, int]]:
    """The starred cells, (row, column)."""
    return [(r, c) for r, row in enumerate(heat.marked or ()) for c, mark in enumerate(row) if mark]


def _labels(values: Sequence[float]) -> list[str]:
    return [f"{value:g}" for value in values]


def _faint(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def save_png(picture: Picture, path: Path) -> None:
    """Draw the picture with matplotlib."""
    from matplotlib.figure import Figure

    count = len(picture.panels)
    figure = Figure(figsize=(INCHES, 3.0 * count + 0.7), dpi=160, layout="constrained")
    shown: dict[str, Any] = {}
    for i, panel in enumerate(picture.panels):
        axes = figure.add_subplot(count, 1, i + 1)
        axes.set_title(panel.title, fontsize=9, loc="left", fontweight="bold")
        axes.set_xlabel(panel.x, fontsize=9)
        axes.set_ylabel(panel.y, fontsize=9)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if panel.heat:
            _draw_heat(figure, axes, panel.heat)
        else:
            axes.grid(color="#e6e6e6", linewidth=0.7)
        for line in panel.lines:
            drawn = _draw_line(axes, line)
            if line.legend:
                shown.setdefault(line.name, drawn)
        _scale(axes, panel)
    if shown:
        columns = 2 if max(map(len, shown)) < 36 else 1
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    figure.savefig(path)


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


def _draw_heat(figure: Any, axes: Any, heat: Heat) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("diverging", list(DIVERGING))
    low, high = heat.middle - heat.reach, heat.middle + heat.reach
    image = axes.imshow(heat.z, origin="lower", aspect="auto", cmap=colors, vmin=low, vmax=high)
    _ticks(axes.set_xticks, heat.x)
    _ticks(axes.set_yticks, heat.y)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label(heat.label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if _small(heat):
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
