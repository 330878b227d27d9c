"""The numbers of `l2v analyze`: what was found of source and target, as tables and in four lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.report.figures import percent, points
from l2v.report.paper import printed_table
from l2v.study.columns import ITEMS, key, names
from l2v.study.statistics.searches import own_baseline
from l2v.transfer.lat import Agreement, Array, Components, Dispersion, Separation


@dataclass(frozen=True)
class Side:
    """One of the two models. block: the decoder block whose pictures are drawn; dispersions: of every block.

    energy: (k, share of |FFT(v)|^2 kept) of the block's direction; k50, k90: None where no k keeps as much.
    """

    name: str
    role: str  # "source" or "target"
    block: int
    width: int
    dispersions: Sequence[Dispersion]
    components: Components
    power: Array
    energy: Array
    k50: int | None
    k90: int | None
    low: Separation
    whole: Separation

    @property
    def title(self) -> str:
        return f"{self.role} {self.name}, block {self.block}"


@dataclass(frozen=True)
class Analysis:
    """Everything that is drawn.

    k: the cutoff of the pictures. carried: the target's states on the source's direction; carried_permuted: its AUC for each
    order of the source's coordinates.
    """

    source: Side
    target: Side
    k: int
    carried: Separation
    carried_permuted: Array
    agreement: Agreement
    settings: dict[str, str]
    low_high: pd.DataFrame | None
    miniature: bool

    @property
    def title(self) -> str:
        return f"LAT: {self.source.name} and {self.target.name}"

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.source, self.target


def dispersion_table(found: Analysis) -> pd.DataFrame:
    """Long form: a row per model, block and cutoff; shares in [0, 1], traces in squared units of the states."""
    rows: list[dict[str, Any]] = []
    for side in found.sides:
        for block, one in enumerate(side.dispersions):
            for i, k in enumerate(one.k.tolist()):
                rows.append(
                    {"role": side.role, "model": side.name, "block": block, "width": side.width, "k": k, "n": one.n,
                     "trace": one.trace[i], "trace_unfiltered": one.whole, "mean_square_unfiltered": one.mean_square,
                     "normalised": one.normalised[i], "normalised_unfiltered": one.whole / one.mean_square,
                     "retained": one.retained[i], "retained_low": one.low[i], "retained_high": one.high[i],
                     "white": one.white[i], "permuted": one.permuted[i], "permuted_low": one.permuted_low[i],
                     "permuted_high": one.permuted_high[i], "permuted_expected": one.permuted_expected[i]}
                )  # fmt: skip
    return pd.DataFrame(rows)


def printed_note(found: Analysis) -> str:
    """The paper's printed traces beside ours, for the models that it printed any of; empty for others."""
    paper = printed_table("lat_dispersion").set_index(["model", "filter"])["trace"]
    lines = []
    for side in found.sides:
        if (side.name, "none") in paper.index:
            none, low = paper[side.name, "none"], paper[side.name, "low_pass"]
            one = side.dispersions[side.block]
            ours = float(one.trace[one.k.tolist().index(found.k)])
            lines.append(
                f" {side.name}: the paper prints {none:g}, low-passed {low:g} ({percent(low / none)}; block, n and k not "
                f"given). Measured here, block {side.block}, n = {one.n}: {one.whole:.4g}, at k = {found.k} {ours:.4g} "
                f"({percent(ours / one.whole)})."
            )
    return "".join(lines)


def low_high(results: pd.DataFrame, source: str, target: str, scorer: str) -> pd.DataFrame | None:
    """Accuracy by k of `l2v` and `high_pass` in a study's results: per arm and k the best cell.

    best_of: of how many cells. Of several benchmarks, splits and ways of answering, the one with most cells. None where either
    arm has no finished cell for these models.
    """
    if not len(results):
        return None
    rows = results[(results["metric"] == HEADLINE) & (results["scorer"] == scorer) & (results["target"] == target)]
    arms = rows[rows["method"].isin(["l2v", "high_pass"]) & (rows["source"] == source)]
    arms = arms.assign(k=pd.to_numeric(arms["cutoff"], errors="coerce")).dropna(subset=["k"])
    items = [*names(ITEMS), "prompt"]
    both = [part for _, part in arms.groupby(items, dropna=False) if part["method"].nunique() == 2]
    if not both:
        return None
    chosen = max(both, key=len)
    best = chosen.loc[chosen.groupby(["method", "k"])["value"].idxmax()]
    sizes = chosen.groupby(["method", "k"])["value"].transform("size")
    best = best.assign(best_of=sizes.loc[best.index])
    told, asked = chosen.iloc[0].to_dict(), names(ITEMS)
    plain: list[Any] = rows[rows["method"] == "direct"].to_dict("records")
    baseline = own_baseline([row for row in plain if key(row, asked) == key(told, asked)], told)
    columns = ["method", "k", "layer", "alpha", "value", "low", "high", "n", "best_of", "benchmark", "split", "scorer"]
    lines = [best] if baseline is None else [best, pd.DataFrame([baseline]).assign(best_of=1)]
    return pd.concat(lines)[columns].reset_index(drop=True)


def summary(found: Analysis) -> str:
    """Four lines for the terminal: dispersion of both models, energy, and the best cosine."""
    lines = []
    for side in found.sides:
        one = side.dispersions[side.block]
        i = one.k.tolist().index(found.k)
        lines.append(
            f"dispersion, {side.title}, k = {found.k}, n = {one.n}: {one.whole:.4g} -> {one.trace[i]:.4g} raw, "
            f"{one.whole / one.mean_square:.3g} -> {one.normalised[i]:.3g} normalised; kept {percent(one.retained[i])} "
            f"[{percent(one.low[i])}, {percent(one.high[i])}], white {percent(one.white[i])}, "
            f"permuted {percent(one.permuted[i])} ({percent(one.permuted_low[i])} to {percent(one.permuted_high[i])}, "
            f"exact mean {percent(one.permuted_expected[i])})"
        )
    reached = ", ".join(f"{side.role} {side.k90 or 'none'} of {side.width}" for side in found.sides)
    null = found.agreement.low
    cosines = null.cosines
    best = np.unravel_index(int(np.nanargmax(np.abs(cosines))), cosines.shape)
    highest = points(float(cosines[best]), 3)
    lines.append(f"energy: 90 % of |FFT(v)|^2 at k = {reached}")
    lines.append(
        f"cosine of carried and own direction, k = {found.k}: best {highest} at source block {best[0]}, target "
        f"block {best[1]}; random directions sd {null.sd:.3f}, beyond {null.limit:.3f} anywhere with 5 %; "
        f"permuted coordinates up to {found.agreement.permuted.max():.3f}"
    )
    return "\n".join(lines)
