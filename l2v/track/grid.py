"""The ablation grid as heatmaps: layer x alpha, one panel per k, one figure per arm."""

from __future__ import annotations

from typing import Any

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.report.study import arm_names, named
from l2v.report.style import DIVERGING

# More figures than that nobody looks at; the table holds every cell.
MOST = 60
MOST_NUMBERS, DECIMALS = 150, 6  # cells of a panel whose figures can be read, and columns with a decimal in them
INK = "#111111"  # of the ring around what the arm reports


def heatmaps(results: pd.DataFrame, scorer: str) -> dict[str, Any]:
    """Plotly figures by name, for every arm with several layers or alphas; from rows of results.csv.

    Seeds are averaged; a ring is around what is reported. A colour means the same in all of them: of its own extremes a null
    arm would look as strong as any.
    """
    rows = named(results[(results["scorer"] == scorer) & (results["metric"] == HEADLINE)])
    rows["arm"] = arm_names(rows, without="seed")
    found: dict[str, Any] = {}
    reach = 100 * max(0.01, pd.to_numeric(rows["diff"]).abs().max())
    for names, arm in rows[rows["layer"].notna()].groupby(["arm", "where", "bench", "items", "panel"], sort=True):
        if (arm["layer"].nunique() > 1 or arm["alpha"].nunique() > 1) and len(found) < MOST:
            title = _title(*map(str, names))
            found[f"grid/{title}"] = _heatmap(arm, title, scorer, reach)
    return found


def _title(arm: str, where: str, bench: str, items: str, panel: str) -> str:
    """l2v from kin on mini, mini dev: an arm in words."""
    return ", ".join(filter(None, (f"{arm} on {where}", f"{bench} {items}".strip(), panel)))


def _heatmap(arm: pd.DataFrame, title: str, scorer: str, reach: float) -> Any:
    """Differences to direct in points where every cell has one, else accuracy in per cent."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    differences = bool(arm["diff"].notna().all())
    what = "points against direct" if differences else "accuracy %"
    arm = arm.assign(shown=100 * (arm["diff"] if differences else arm["value"]))
    panels = list(arm.groupby("cutoff", dropna=False, sort=True))
    titles = [_panel_title(k) for k, _ in panels]
    figure = make_subplots(cols=len(panels), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    for column, (_, panel) in enumerate(panels, start=1):
        shown = panel.pivot_table(index="layer", columns="alpha", values="shown")
        notes = {key: _note(cells) for key, cells in panel.groupby(["layer", "alpha"])}
        heat = go.Heatmap(
            z=shown.to_numpy(),
            x=[f"{alpha:g}" for alpha in shown.columns],
            y=[f"{layer:g}" for layer in shown.index],
            text=[[notes.get((layer, alpha), "") for alpha in shown.columns] for layer in shown.index],
            hovertemplate=f"layer %{{y}}, alpha %{{x}}<br>%{{z:.1f}} {what}<br>%{{text}}<extra></extra>",
            texttemplate=f"%{{z:.{int(len(shown.columns) <= DECIMALS)}f}}" if shown.size <= MOST_NUMBERS else None,
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
        )
        figure.add_trace(heat, row=1, col=column)
        for _, cell in panel[panel["reported"].astype(bool)].iterrows():
            x, y = list(shown.columns).index(cell["alpha"]), list(shown.index).index(cell["layer"])
            ring = {"color": INK, "width": 3}
            figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line=ring, row=1, col=column)
        figure.update_xaxes(title="alpha", type="category", row=1, col=column)
    figure.update_yaxes(title="layer", type="category", col=1)
    if differences:
        scale = {"colorscale": [list(stop) for stop in DIVERGING], "cmin": -reach, "cmax": reach}
    else:
        scale = {"colorscale": "Viridis", "cmin": 0, "cmax": 100}
    # Plotly reads a title as HTML.
    title = title.replace("&", "&amp;").replace("<", "&lt;")
    figure.update_layout(
        title=f"{title}<br><sup>{what}, scorer {scorer}, n = {_n(arm)}</sup>",
        coloraxis={**scale, "colorbar": {"title": what}},
        width=180 + 260 * len(panels),
        height=420,
    )
    return figure


def _panel_title(cutoff: Any) -> str:
    if pd.isna(cutoff):
        return ""
    return f"k = {cutoff:g}" if isinstance(cutoff, (int, float)) else f"k = {cutoff}"


def _n(arm: pd.DataFrame) -> str:
    low, high = int(arm["n"].min()), int(arm["n"].max())
    return f"{low}" if low == high else f"{low} to {high}"


def _note(cells: pd.DataFrame) -> str:
    """A cell's accuracy with its interval and n, or that seeds were averaged."""
    if len(cells) > 1:
        return f"mean of {len(cells)} seeds, n = {_n(cells)} each"
    row = cells.iloc[0]
    return f"accuracy {100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}], n = {_n(cells)}"
