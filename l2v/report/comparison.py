"""Two studies on one page: cells with the same settings in both, and their paired difference over the items of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.report.page.data import Study
from l2v.report.tables import short
from l2v.study.statistics.paired import holm, paired_scores

# Settings that make two cells of two studies comparable; revisions, answer length and decoding may be what is compared.
SAME: list[str] = ["target", "benchmark", "task", "split", "part", "limit", "method", "weights", "source", "contrast"]
SAME += ["per_domain", "contrast_seed", "prompt", "layer", "source_layer", "alpha", "cutoff", "positions", "scale", "seed"]
SAME += ["min_new_tokens"]
DIFFERING = ("source_revision", "target_revision", "benchmark_revision", "max_new_tokens", "temperature")
MOST_PAIRS = 300


@dataclass(frozen=True)
class Pair:
    """One cell in both studies; shares in [0, 1]. diff: the second minus the first, None where their items differ."""

    where: str
    bench: str
    items: str
    arm: str
    settings: str
    first: str
    second: str
    values: tuple[float, float]
    n: int
    differs: str
    diff: float | None = None
    low: float | None = None
    high: float | None = None
    right: int | None = None
    wrong: int | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Compared:
    """What two studies have in common: the pairs, and how many cells of each have no counterpart."""

    pairs: list[Pair]
    only_first: int
    only_second: int
    left_out: int


def compare(first: Study, second: Study) -> Compared:
    """The cells of `second` against those of `first` with the same settings, reported ones first; Holm's p over all pairs."""
    ours, theirs = _by_settings(first), _by_settings(second)
    shared = [key for key in ours if key in theirs]
    told = set(first.reported["cell"]) | set(second.reported["cell"])
    shared.sort(key=lambda key: not {ours[key]["cell"], theirs[key]["cell"]} & told)
    pairs = [_pair(first, second, ours[key], theirs[key]) for key in shared[:MOST_PAIRS]]
    tested = [i for i, pair in enumerate(pairs) if pair.p is not None]
    adjusted = dict(zip(tested, holm([pairs[i].p or 0.0 for i in tested]), strict=True)) if tested else {}
    pairs = [_with_holm(pair, adjusted.get(i)) for i, pair in enumerate(pairs)]
    left = max(0, len(shared) - MOST_PAIRS)
    return Compared(pairs, len(ours) - len(shared), len(theirs) - len(shared), left)


def _by_settings(study: Study) -> dict[tuple[str, ...], dict[Any, Any]]:
    """The headline rows by settings; of several cells that differ in nothing named here the first."""
    rows = study.rows
    rows = rows[(rows["scorer"] == study.scorer) & (rows["metric"] == HEADLINE)]
    found: dict[tuple[str, ...], dict[Any, Any]] = {}
    for row in rows.to_dict("records"):
        found.setdefault(tuple(short(row[name]) for name in SAME), row)
    return found


def _pair(first: Study, second: Study, ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> Pair:
    swept = [f"{word} {short(ours[name])}" for name, word in (("layer", "layer"), ("alpha", "alpha"), ("cutoff", "k"))
             if short(ours[name])]  # fmt: skip
    differs = [
        f"{name.replace('_', ' ')}: {short(ours[name])} → {short(theirs[name])}"
        for name in DIFFERING
        if short(ours[name]) != short(theirs[name])
    ]
    pair = Pair(
        where=str(ours["where"]),
        bench=str(ours["bench"]),
        items=str(ours["items"]),
        arm=str(ours["arm"]),
        settings=" · ".join(swept),
        first=str(ours["cell"]),
        second=str(theirs["cell"]),
        values=(float(ours["value"]), float(theirs["value"])),
        n=int(min(ours["n"], theirs["n"])),
        differs="; ".join(differs),
    )
    if short(ours["benchmark_revision"]) != short(theirs["benchmark_revision"]):
        return pair
    a, b = first.score(pair.first), second.score(pair.second)
    if a is None or b is None or not {i.id for i in a.items} & {i.id for i in b.items}:
        return pair
    result = paired_scores(b, a)
    figures = {"diff": result.diff, "low": result.low, "high": result.high, "right": result.right, "wrong": result.wrong}
    return Pair(**(vars(pair) | figures | {"p": result.p, "n": result.n}))


def _with_holm(pair: Pair, p_holm: float | None) -> Pair:
    return pair if p_holm is None or pd.isna(p_holm) else Pair(**(vars(pair) | {"p_holm": float(p_holm)}))
