"""The pictures of `l2v analyze`, one function each, with the note that says how to read it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from l2v.report.figures import percent
from l2v.report.lat.numbers import Analysis, Side, dispersion_table, printed_note
from l2v.report.panels import HeatMap, Line, Panel, Picture
from l2v.report.style import BLACK, BLUE, GREY, ORANGE
from l2v.transfer.lat import Array, Separation

DRAWN = 200  # points of a density's line
MARKS = 400  # points of a spectrum's line, at most
WIDE = 256  # cutoffs beyond it are spread on a log scale


def pictures(found: Analysis) -> list[Picture]:
    """All figures, in reading order."""
    table = dispersion_table(found)
    drawn = [
        _retained(found, table),
        _raw(found, table),
        _blocks(found, table),
        _map(found, table),
        _components(found),
        _spectra(found),
        _densities(found),
        _cosines(found),
    ]
    return drawn if found.low_high is None else [*drawn, _low_high(found, found.low_high)]


def _wide(found: Analysis) -> bool:
    return found.source.dispersions[0].k.max() > WIDE


def _of(table: pd.DataFrame, side: Side, **values: int) -> pd.DataFrame:
    part = table[table["role"] == side.role]
    for name, value in values.items():
        part = part[part[name] == value]
    return part


def _shares(part: pd.DataFrame, x: str, symbol: str | None) -> list[Line]:
    """The retained share with what it must be held against."""
    at = part[x].tolist()

    def line(name: str, y: str, color: str, dash: str = "solid", **more: Any) -> Line:
        return Line(name, at, part[y].tolist(), color, dash, **more)

    ends: dict[str, Any] = {"low": part["permuted_low"].tolist(), "high": part["permuted_high"].tolist()}
    own: dict[str, Any] = {"low": part["retained_low"].tolist(), "high": part["retained_high"].tolist()}
    return [
        line("permuted coordinates, mean and range", "permuted", ORANGE, **ends),
        line("permuted, exact mean", "permuted_expected", BLACK, "dot"),
        line("white line, (k - 1)/d", "white", GREY, "dash"),
        line("measured, 95 % interval", "retained", BLUE, symbol=symbol, **own),
    ]


def _retained(found: Analysis, table: pd.DataFrame) -> Picture:
    parts = [_of(table, side, block=side.block) for side in found.sides]
    panels = [
        Panel(
            side.title, "cutoff k (bins)", "dispersion kept", _shares(part, "k", "circle"), percent_y=True, log_x=_wide(found)
        )
        for side, part in zip(found.sides, parts, strict=True)
    ]
    text = (
        "Share of the trace of the covariance of u_i = h(c_i) - h(d_i) that is left after a low-pass at k. A white spectrum "
        "keeps the kept bins' share of the width, (k - 1)/d for even k. Permuted coordinates have no spatial order: a curve "
        f"that lies on theirs says nothing about low frequencies. n = {parts[0]['n'].iloc[0]} pairs."
    )
    return Picture("dispersion", "Dispersion kept by a low-pass", text, panels, pd.concat(parts, ignore_index=True))


def _raw(found: Analysis, table: pd.DataFrame) -> Picture:
    parts = [_of(table, side, block=side.block) for side in found.sides]
    colors = {"source": BLUE, "target": ORANGE}

    def lines(column: str, whole: str) -> list[Line]:
        drawn = []
        for side, part in zip(found.sides, parts, strict=True):
            color, k = colors[side.role], part["k"].tolist()
            drawn.append(Line(side.title, k, part[column].tolist(), color, symbol="circle"))
            drawn.append(Line(f"{side.role}, unfiltered", k, part[whole].tolist(), color, "dash"))
        return drawn

    panels = [
        Panel("Trace of the covariance", "cutoff k (bins)", "trace (squared state units)",
              lines("trace", "trace_unfiltered"), log_y=True, log_x=_wide(found)),
        Panel(
            "Trace over the mean squared norm", "cutoff k (bins)", "trace / mean ||u||²",
            lines("normalised", "normalised_unfiltered"), log_x=_wide(found),
        ),
    ]  # fmt: skip
    text = (
        "Raw: models differ in the scale of their states, so the raw traces of two models cannot be compared. Normalised: "
        "trace over mean ||u_i||², both after the low-pass; 0 where all pairs agree, 1 where they have no mean in common. "
        f"n = {parts[0]['n'].iloc[0]} pairs.{printed_note(found)}"
    )
    return Picture("dispersion_raw", "Dispersion, raw and normalised", text, panels, pd.concat(parts, ignore_index=True))


def _blocks(found: Analysis, table: pd.DataFrame) -> Picture:
    parts = [_of(table, side, k=found.k) for side in found.sides]
    panels = [
        Panel(f"{side.role} {side.name}, k = {found.k}", "decoder block", "dispersion kept",
              _shares(part, "block", "circle"), percent_y=True, whole_x=True)
        for side, part in zip(found.sides, parts, strict=True)
    ]  # fmt: skip
    text = f"The same at k = {found.k} for every decoder block. n = {parts[0]['n'].iloc[0]} pairs."
    return Picture("dispersion_blocks", "Dispersion kept, block by block", text, panels, pd.concat(parts, ignore_index=True))


def _map(found: Analysis, table: pd.DataFrame) -> Picture:
    panels = []
    for side in found.sides:
        cutoffs = side.dispersions[0].k.tolist()
        ratio = [np.log2(one.retained / one.permuted_expected).tolist() for one in side.dispersions]
        heat = HeatMap(cutoffs, range(len(side.dispersions)), ratio, "log2 of the ratio", 1.5)
        panels.append(Panel(f"{side.role} {side.name}", "cutoff k (bins)", "decoder block", heat=heat))
    text = (
        "Dispersion kept over what permuted coordinates keep in the mean, as log2: 0 where the order of the coordinates means "
        "nothing, 1 for twice as much, -1 for half. The table has every block and cutoff with all its columns."
    )
    log2 = np.log2(table["retained"] / table["permuted_expected"])
    return Picture("dispersion_map", "Dispersion against permuted coordinates", text, panels, table.assign(log2_ratio=log2))


def _components(found: Analysis) -> Picture:
    panels, tables = [], []
    for side in found.sides:
        points, shares = side.components.points, side.components.shares
        titles = [f"component {i + 1} ({percent(shares[i])} of the variance)" for i in (0, 1)]
        lines = [
            Line(name, points[start::2, 0].tolist(), points[start::2, 1].tolist(), color, "none", symbol)
            for name, start, color, symbol in (
                ("chain of thought (c)", 0, BLUE, "circle"),
                ("direct (d)", 1, ORANGE, "diamond"),
            )
        ]
        panels.append(Panel(side.title, titles[0], titles[1], lines))
        tables.append(
            pd.DataFrame({"role": side.role, "model": side.name, "block": side.block, "pair": np.arange(len(points)) // 2,
                          "text": np.tile(["cot", "direct"], len(points) // 2), "component_1": points[:, 0],
                          "component_2": points[:, 1], "share_1": shares[0], "share_2": shares[1]})
        )  # fmt: skip
    text = (
        "Principal components of the unfiltered states of both kinds of texts together, centred; each model has its own axes, "
        f"in its own units. n = {len(tables[0]) // 2} pairs."
    )
    return Picture("pca", "States of both kinds of texts", text, panels, pd.concat(tables, ignore_index=True))


def _spectra(found: Analysis) -> Picture:
    colors, tables = {"source": BLUE, "target": ORANGE}, []
    power, energy = [], []
    for side in found.sides:
        color, bins = colors[side.role], np.arange(len(side.power))
        thin = bins[:: -(-len(bins) // MARKS)]
        white = np.where((bins == 0) | (2 * bins == side.width), 1, 2) / side.width
        power.append(Line(side.title, thin.tolist(), side.power[thin].tolist(), color))
        power.append(Line(f"white, width {side.width}", thin.tolist(), white[thin].tolist(), color, "dash"))
        k = side.energy[:, 0]
        energy.append(Line(side.title, k.tolist(), side.energy[:, 1].tolist(), color))
        energy.append(Line(f"white, width {side.width}", k.tolist(), (k / side.width).tolist(), color, "dash"))
        reached = [(k, share) for k, share in ((side.k50, 0.5), (side.k90, 0.9)) if k is not None]
        energy.append(
            Line(f"{side.role}, 50 % and 90 %", [k for k, _ in reached], [s for _, s in reached], color, "none", "diamond")
        )
        columns = {"role": side.role, "model": side.name, "block": side.block}
        tables.append(pd.DataFrame({**columns, "quantity": "power", "x": bins, "share": side.power, "white": white}))
        tables.append(
            pd.DataFrame({**columns, "quantity": "energy", "x": k, "share": side.energy[:, 1], "white": k / side.width})
        )
    panels = [
        Panel("Power per frequency", "frequency (cycles over the coordinates)", "share of |FFT(v)|²", power, log_y=True),
        Panel("Energy kept by a low-pass", "cutoff k (bins)", "share of |FFT(v)|² kept", energy, percent_y=True),
    ]
    reached_text = "; ".join(
        f"{side.role}: 50 % at k = {side.k50 or 'none'}, 90 % at k = {side.k90 or 'none'} of {side.width}"
        for side in found.sides
    )
    text = (
        "Spectrum of the mean direction v over the index of the hidden coordinate; both halves of a frequency are added. "
        f"{reached_text}. CSV: power per frequency, energy per k."
    )
    return Picture("spectrum", "Power spectrum of the direction", text, panels, pd.concat(tables, ignore_index=True))


def _densities(found: Analysis) -> Picture:
    shown = [
        (f"{found.source.title}: own axis", "source own low", found.source.low),
        (f"{found.target.title}: own axis", "target own low", found.target.low),
        (f"{found.target.title}: carried axis", "target carried low", found.carried),
    ]
    every = [*shown, ("", "source own unfiltered", found.source.whole), ("", "target own unfiltered", found.target.whole)]
    panels = []
    for title, _, one in shown:
        lines = _density("chain of thought (c)", one.cot, BLUE) + _density("direct (d)", one.direct, ORANGE, "dash")
        panels.append(Panel(title, f"projection (state units) · AUC {_interval(one)}", "density", lines))
    rows = [
        {"axis": axis, "pair": i, "cot": one.cot[i], "direct": one.direct[i], "auc": one.auc, "auc_low": one.low,
         "auc_high": one.high, "d_prime": one.d_prime, "n": one.n}
        for _, axis, one in every for i in range(one.n)
    ]  # fmt: skip
    null = found.carried_permuted
    table = pd.DataFrame(rows)
    carried = table["axis"] == "target carried low"
    table.loc[carried, ["auc_permuted_low", "auc_permuted_high"]] = [float(null.min()), float(null.max())]
    said = "; ".join(f"{axis}: AUC {_interval(one)}, d' {one.d_prime:.2f}" for _, axis, one in every)
    text = (
        "What is projected: the low-passed states c_i and d_i of every pair, less the midpoint of the other pairs' states. On "
        "what: the unit-length low-passed mean of u over all other pairs, so that no pair lies on an axis that it helped make. "
        "Carried: that axis from the source's pairs, resampled to the target's width, again without the pair itself. Gaussian "
        f"kernel densities. AUC: chance that c lies above d, 95 % bootstrap interval over n = {found.source.low.n} pairs, axes "
        f"held fixed; where nothing overlaps it has no width. {said}. Axes from permuted coordinates of the source, which have "
        f"nothing to do with it, give an AUC of {null.min():.3f} to {null.max():.3f} over {len(null)} orders: where two clouds "
        "lie far apart, almost any axis parts them."
    )
    return Picture("densities", f"Low-passed states along the direction, k = {found.k}", text, panels, table)


def _interval(one: Separation) -> str:
    return f"{one.auc:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _density(name: str, values: Array, color: str, dash: str = "solid") -> list[Line]:
    """A Gaussian kernel density; nothing where all values are one."""
    from scipy.stats import gaussian_kde

    reach = float(np.ptp(values))
    if reach <= 1e-9 * float(np.abs(values).max()):
        return []
    at = np.linspace(values.min() - 0.25 * reach, values.max() + 0.25 * reach, DRAWN)
    return [Line(name, at.tolist(), gaussian_kde(values)(at).tolist(), color, dash, filled=True)]


def _cosines(found: Analysis) -> Picture:
    one, k = found.agreement, found.k
    maps = [
        (f"Carried below k = {k}, own below k = {k}", "low", one.low),
        (f"Carried below k = {k}, own unfiltered", "whole", one.whole),
        (f"Carried above k = {k}, own above k = {k}", "high", one.high),
    ]
    panels, rows, limits = [], [], []
    for title, band, drawn in maps:
        if drawn is None:
            continue
        cosines, (source, target) = drawn.cosines, map(range, drawn.cosines.shape)
        beyond = np.abs(cosines) > drawn.limit
        heat = HeatMap(list(target), list(source), cosines.tolist(), "cosine", 1.0, marked=beyond.tolist())
        axes = (f"block of target {found.target.name}", f"block of source {found.source.name}")
        panels.append(Panel(title, *axes, heat=heat))
        limits.append(f"{band}: sd {drawn.sd:.3f}, limit {drawn.limit:.3f}")
        rows += [
            {"band": band, "k": k, "source_block": s, "target_block": t, "cosine": cosines[s, t], "limit": drawn.limit,
             "beyond": bool(beyond[s, t])}
            for s in source for t in target
        ]  # fmt: skip
    text = (
        "Cosine of the source's direction, resampled to the target's width, with the target's own, block by block. Marked (*): "
        "beyond the limit that independent random directions of the same band exceed anywhere in a map with a probability of "
        "5 % at most (Bonferroni); their standard deviation in the low band is 1/sqrt(k - 1) for even k. "
        f"{'; '.join(limits)}. Real directions are not isotropic: with the source's coordinates permuted, the largest |cosine| "
        f"of the low map was {one.permuted.min():.3f} to {one.permuted.max():.3f} over {len(one.permuted)} orders; measured "
        f"{np.abs(one.low.cosines).max():.3f}. The second map is the first times the root of the energy share that the own "
        "direction keeps."
    )
    return Picture("cosine", "Where the two models' directions agree", text, panels, pd.DataFrame(rows))


def _low_high(found: Analysis, table: pd.DataFrame) -> Picture:
    lines = []
    ks = table["k"].dropna()
    for row in table[table["method"] == "direct"].to_dict("records"):
        ends: dict[str, Any] = {"low": [row["low"]] * 2, "high": [row["high"]] * 2}
        lines.append(Line("direct", [ks.min(), ks.max()], [row["value"]] * 2, GREY, "dash", **ends))
    for method, name, color, symbol in (
        ("l2v", "low-pass (l2v)", BLUE, "circle"),
        ("high_pass", "high-pass", ORANGE, "square"),
    ):
        part = table[table["method"] == method].sort_values("k")
        most = int(part["best_of"].max())
        label = name if most == 1 else f"{name}, best of {most} cells per k"
        at, low, high = part["k"].tolist(), part["low"].tolist(), part["high"].tolist()
        lines.append(Line(label, at, part["value"].tolist(), color, symbol=symbol, low=low, high=high, bars=True))
    first = table.iloc[0]
    text = (
        f"Accuracy by scorer '{first['scorer']}' on {first['benchmark']}, split {first['split']}, n = {first['n']:.0f}, with "
        "95 % Wilson intervals. Where several layers or alphas were run at one k, the best is shown: chosen on the very items "
        "it is reported on, biased upwards."
    )
    panels = [Panel(f"{found.source.name} into {found.target.name}", "cutoff k (bins)", "accuracy", lines, percent_y=True)]
    return Picture("low_high", "Injecting low against high frequencies", text, panels, table)
