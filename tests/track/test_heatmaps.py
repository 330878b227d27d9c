"""Tracked heatmaps: one figure per arm, whatever setting tells the arms apart."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
import pytest

from l2v.study.columns import COLUMNS
from l2v.track.grid import heatmaps

SHARED = {
    "target": "vlm",
    "benchmark": "bench",
    "split": "dev",
    "prompt": "direct",
    "method": "l2v",
    "source": "llm",
    "metric": "accuracy",
}


def rows(**settings: list[Any]) -> pd.DataFrame:
    """A grid of layers and alphas for every combination of these settings; the value counts the cells."""
    grid = {**settings, "layer": [1.0, 2.0], "alpha": [0.2, 0.4]}
    cells = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    figures = [{"value": i / len(cells), "low": 0.0, "high": 1.0, "n": 10, "scorer": "official"} for i in range(len(cells))]
    return pd.DataFrame([SHARED | cell | f for cell, f in zip(cells, figures, strict=True)], columns=list(COLUMNS))


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("processor", ["max_pixels=1", "max_pixels=2"]),
        ("source_layer", [3.0, 4.0]),
        ("min_new_tokens", [0.0, 8.0]),
        ("temperature", [0.0, 0.7]),
        ("positions", ["all", "prompt"]),
        ("contrast_seed", [0.0, 1.0]),
    ],
)
def test_cells_that_differ_in_a_setting_are_not_averaged(column: str, values: list[Any]) -> None:
    found = heatmaps(rows(**{column: values}), "official")
    assert len(found) == len(values)
    shown = sorted(float(v) for figure in found.values() for trace in figure.data for row in trace.z for v in row)
    assert shown == pytest.approx([100 * i / 8 for i in range(8)])


def test_seeds_are_averaged_and_each_cutoff_has_a_panel() -> None:
    (figure,) = heatmaps(rows(seed=[0.0, 1.0], cutoff=[16, 32]), "official").values()
    assert [len(trace.z) for trace in figure.data] == [2, 2]
    # Seeds 0 and 1 of one cell lie eight cells apart in the product.
    assert figure.data[0].z[0][0] == pytest.approx(100 * (0 + 8) / 2 / 16)


def test_a_colour_means_the_same_in_every_figure() -> None:
    """A null arm's few points are not as dark as another arm's ninety."""
    found = rows(method=["l2v", "random"], cutoff=[16, 32]).assign(reported=False)
    assert {(f.layout.coloraxis.cmin, f.layout.coloraxis.cmax) for f in heatmaps(found, "official").values()} == {(0, 100)}
    found["diff"] = [0.9 if method == "l2v" else 0.025 for method in found["method"]]
    drawn = heatmaps(found, "official")
    assert len(drawn) == 2 and {(f.layout.coloraxis.cmin, f.layout.coloraxis.cmax) for f in drawn.values()} == {(-90, 90)}
    assert {trace.texttemplate for f in drawn.values() for trace in f.data} == {"%{z:.1f}"}, "2.5 is neither 2 nor 3"
