"""The paper as data: every claim of experiments/paper/claims.yaml as comparisons of stored cells, and what came of each.

A comparison holds the cells of a claim against others on the same items: the paired test of results.csv, item by item. Where
a claim has several draws of the contrast, an item counts as right by the mean over draws above a half. Lengths of answers are
compared item by item too, by a sign-flip test of their differences. The verdicts:

- reproduced: the difference has the claimed direction, p < .05 (for `none`: no difference, with n enough for the power);
- contradicted: it has the other direction with p < .05, or n would have shown the claimed size and did not;
- under-powered: neither, and n is below the least n at which the claimed size shows with a power of .8;
- not run: a cell is missing, no items were asked of both, or the claim has no twin on the miniature.

What is claimed of states (Figures 1, 2b) is held against the folder of an `l2v analyze`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from l2v.benchmarks.metrics import HEADLINE, Marked, Score
from l2v.disk import UNREADABLE, SafeLoader
from l2v.errors import UserError
from l2v.paths import conf_dir, plain_name
from l2v.report.figures import points
from l2v.report.lat.kept import difference, kept_shares
from l2v.report.paper import COLUMNS, printed_table
from l2v.report.study import Study, on_same_items, open_study
from l2v.study.statistics.paired import Paired, paired_means, paired_scores
from l2v.study.statistics.power import items_needed
from l2v.study.store import Store

VERDICTS = ("reproduced", "contradicted", "under-powered", "not run")
POWER, LEVEL = 0.8, 0.05
# Of two verdicts on one item; what the least n assumes where nothing is measured yet.
CORRELATION = 0.6
# What stands for the paper's models and benchmarks on the miniature.
TWIN = {"target": ["mini", "mini_drifted"], "benchmark": ["mini"], "source": None}
Filter = Mapping[str, Any]
KEPT = "dispersion kept"
UNCOUNTED = ("tokens", KEPT)  # what no number of items is planned for


@dataclass(frozen=True)
class PaperClaim:
    id: str
    where: str
    says: str
    experiment: str = ""
    cells: Filter = field(default_factory=dict)
    against: Filter = field(default_factory=dict)
    metric: str = HEADLINE
    direction: str = "above"
    printed: str | None = None
    effect: float | None = None
    facts: Filter = field(default_factory=dict)
    lat: Filter | None = None
    mini: Filter | None = field(default_factory=dict)


@dataclass(frozen=True)
class ClaimComparison:
    """One difference that a claim speaks of: settings of its cells and of those they are held against, and the score."""

    claim: PaperClaim
    ours: Filter
    theirs: Filter
    metric: str
    diff: float | None  # as printed, in points; None where the paper prints no numbers
    base: float | None


@dataclass(frozen=True)
class ClaimFinding:
    """What came of a comparison; shares."""

    comparison: ClaimComparison
    verdict: str
    why: str = ""
    value: float | None = None
    against: float | None = None
    paired: Paired | None = None
    draws: int = 1

    @cached_property
    def least(self) -> int | None:
        """Items that show the claimed size with a power of .8: seconds for all claims, so that only who tells it asks."""
        return least_n(self.comparison)


def read_claims(path: Path) -> list[PaperClaim]:
    """The claims of a file. Raises UserError for one that cannot be read, an unknown key, or an id that is there twice."""
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=SafeLoader)
        claims = [PaperClaim(**entry) for entry in entries]
    except OSError as error:
        raise UserError(f"The claims '{path}' cannot be read; give file=….") from error
    except (yaml.YAMLError, TypeError, *UNREADABLE) as error:
        raise UserError(f"The claims '{path}' are not of the expected form: {str(error).splitlines()[0]}.") from error
    twice = {claim.id for claim in claims if sum(one.id == claim.id for one in claims) > 1}
    if twice:
        raise UserError(f"The claims '{path}' hold the id {sorted(twice)[0]} twice.")
    return claims


def on_miniature(claim: PaperClaim) -> PaperClaim | None:
    """The claim of its twin; None where it has none."""
    if claim.mini is None:
        return None
    if claim.lat is not None:
        return replace(claim, lat={**claim.lat, **claim.mini}, printed=None)
    own = {"cells": {}, "against": {}, **claim.mini}
    cells = {key: TWIN.get(key, value) for key, value in claim.cells.items() if key != "benchmark.metric"}
    cells = {"benchmark": ["mini"], **cells, **own["cells"]}
    against = {**{key: value for key, value in claim.against.items() if key not in TWIN}, **own["against"]}
    kept = {key: value for key, value in cells.items() if value is not None or key in claim.cells and claim.cells[key] is None}
    metric = claim.metric if claim.metric == "tokens" else HEADLINE
    name = f"{claim.experiment}_mini"
    return replace(claim, experiment=name, cells=kept, against=against, metric=metric, printed=None, effect=claim.effect or 5.0)


def comparisons(claim: PaperClaim) -> Iterator[ClaimComparison]:
    """Every comparison of a claim: the products of the lists in `cells` and in `against`."""
    for ours in _products(claim.cells):
        metric = claim.metric
        if (named := ours.pop("benchmark.metric", None)) is not None:
            ours["benchmark"], _, metric = str(named).partition(".")
        for other in _products(claim.against):
            theirs = {**ours, **other}
            printed, base = _printed(claim, ours, metric), _printed(claim, theirs, metric)
            diff = None if printed is None or base is None else round(printed - base, 2)
            yield ClaimComparison(claim, ours, theirs, metric, diff, base)


def _products(chosen: Filter) -> Iterator[dict[str, Any]]:
    lists = [value if isinstance(value, list) else [value] for value in chosen.values()]
    yield from (dict(zip(chosen, values, strict=True)) for values in itertools.product(*lists))


def _printed(claim: PaperClaim, settings: Filter, metric: str) -> float | None:
    """The paper's number for these cells, in percent; None where it prints none."""
    if claim.printed is None:
        return None
    table = printed_table(claim.printed)
    names = [name for name, where in COLUMNS.items() if where == (settings.get("benchmark"), metric) and name in table.columns]
    method = settings.get("method")
    rows = table[
        (table["target"] == settings.get("target"))
        & (table["method"] == ("interpolation" if method == "unfiltered_interpolation" else method))
    ]
    if "source" in table.columns and settings.get("source") is not None:
        rows = rows[rows["source"] == settings["source"]]
    return float(rows.iloc[0][names[0]]) if len(rows) and names else None


def least_n(comparison: ClaimComparison) -> int | None:
    """Items that show the claimed size with a power of .8; None where the claim has no size, or too small a one to plan for."""
    points = comparison.diff if comparison.diff is not None else comparison.claim.effect
    if not points or comparison.metric in UNCOUNTED:
        return None
    base = (comparison.base or 50.0) / 100
    try:
        return items_needed(abs(points) / 100, base=min(max(base, 0.02), 0.9), correlation=CORRELATION, power=POWER)
    except UserError:
        return None


class ClaimLedger:
    """The findings of all claims, from stored cells alone; every study is opened once."""

    def __init__(self, outputs: str, scorer: str = "official", studies: Mapping[str, str] | None = None) -> None:
        self.outputs, self.scorer, self.names = outputs, scorer, studies or {}
        self._studies: dict[str, Study | None] = {}

    def findings(self, claim: PaperClaim) -> list[ClaimFinding]:
        """What came of every comparison of a claim."""
        if claim.lat is not None:
            return [self._kept(claim, chosen) for chosen in _products(claim.lat)]
        return [self._finding(one) for one in comparisons(claim)]

    def _study(self, experiment: str) -> Study | None:
        if experiment not in self._studies:
            store = Store(self.outputs, plain_name(self.names.get(experiment, experiment)))
            there = any((store.path / name).exists() for name in ("study.json", "cells"))
            study = open_study(store.existing()) if there else None
            self._studies[experiment] = study.seen_by(self.scorer) if study is not None and len(study.results) else None
        return self._studies[experiment]

    def _kept(self, claim: PaperClaim, chosen: Filter) -> ClaimFinding:
        """The share of its dispersion that a source keeps after the low-pass, against the target's, from a stored analysis."""
        ours, theirs = {"model": chosen["source"], "contrast": chosen["contrast"]}, {"model": chosen["target"]}
        diff = None
        if claim.printed is not None:
            trace = printed_table(claim.printed).pivot_table("trace", "model", "filter")
            shares = 100 * trace["low_pass"] / trace["none"]
            diff = round(float(shares[chosen["source"]] - shares[chosen["target"]]), 1)
        one = ClaimComparison(claim, ours, theirs, KEPT, diff, None)
        found = kept_shares(self.outputs, chosen["source"], chosen["target"], chosen["contrast"])
        if found is None:
            words = " ".join(f"{role}={name}" for role, name in chosen.items())
            return ClaimFinding(one, "not run", f"no `l2v analyze {words}`")
        paired = difference(*found)
        why = "white spectra keep {:.1f} and {:.1f} %".format(*(100 * side.white for side in found))
        verdict = judged(claim.direction, paired.diff, paired.p, paired.n, None)
        return ClaimFinding(one, verdict, why, found[0].share, found[1].share, paired)

    def _finding(self, one: ClaimComparison) -> ClaimFinding:
        study = self._study(one.claim.experiment)
        if study is None:
            return ClaimFinding(one, "not run", f"study {one.claim.experiment} is not there")
        searched = _chosen_on(conf_dir() / "experiment" / f"{one.claim.experiment}.yaml")
        ours, theirs = (_rows(study, settings, one.metric, searched) for settings in (one.ours, one.theirs))
        for settings, rows in ((one.ours, ours), (one.theirs, theirs)):
            if not len(rows):
                return ClaimFinding(one, "not run", f"no cell {_told(settings)}")
        apart = {name for name in {*one.ours, *one.theirs} if one.ours.get(name) != one.theirs.get(name)}
        ours, theirs = map(_drawn, on_same_items(ours, theirs, apart))
        if not len(ours):
            return ClaimFinding(one, "not run", "no cells of both on the same items")
        column = "tokens" if one.metric == "tokens" else "value"
        if one.metric == "tokens":
            paired = paired_means(_lengths(study, ours), _lengths(study, theirs))
        else:
            paired = paired_scores(_score(study, ours), _score(study, theirs))
        verdict = judged(one.claim.direction, paired.diff, paired.p, paired.n, least_n(one))
        value, against = float(ours[column].mean()), float(theirs[column].mean())
        return ClaimFinding(one, verdict, "", value, against, paired, len(ours))


def judged(direction: str, diff: float, p: float, n: int, least: int | None) -> str:
    """The verdict of a paired difference (see the module)."""
    enough = least is not None and n >= least
    if direction == "none":
        return "contradicted" if p < LEVEL else "reproduced" if enough else "under-powered"
    claimed = diff > 0 if direction == "above" else diff < 0
    if p < LEVEL:
        return "reproduced" if claimed else "contradicted"
    return "contradicted" if enough else "under-powered"


def _lengths(study: Study, rows: pd.DataFrame) -> dict[str, float]:
    """Tokens of each item's answer; of several draws, their mean."""
    found: dict[str, list[int]] = {}
    for cell in rows["cell"]:
        for answer in study.store.folder(cell).responses():
            found.setdefault(answer["id"], []).append(answer["tokens"])
    return {item: sum(lengths) / len(lengths) for item, lengths in found.items()}


@lru_cache
def _chosen_on(file: Path) -> tuple[str, str]:
    """The column and value of the rows that an experiment chooses on: they tell nothing, though its search was broken off."""
    found = yaml.load(file.read_text(encoding="utf-8"), Loader=SafeLoader) if file.is_file() else None
    split = ((found or {}).get("protocol") or {}).get("select")
    return ("split", str(split)) if split else ("part", "select")


def _rows(study: Study, settings: Filter, metric: str, searched: tuple[str, str]) -> pd.DataFrame:
    """The rows that tell these settings; of a search, those that report it."""
    rows = study.results[study.results["scorer"] == study.scorer]
    reports = set(study.selection.reports.values())
    rows = rows[rows["cell"].isin(reports)] if reports else rows[rows[searched[0]] != searched[1]]
    for name, value in settings.items():
        column = rows[name]
        rows = rows[column.isna() if value is None else column == value]
    return rows[rows["metric"] == (HEADLINE if metric == "tokens" else metric)]


def _drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """One row, or one per draw of the contrast."""
    if len(rows) < 2 or rows["contrast_seed"].nunique() == len(rows):
        return rows
    # Without a search, a claim that leaves a setting open is told by the cell that is reported.
    return rows[rows["reported"].astype(bool)].drop_duplicates("contrast_seed")


def _score(study: Study, rows: pd.DataFrame) -> Score:
    """The score of one cell; of several draws, that of their majority, item by item (a tie is wrong)."""
    scores = [study.marks.score(row) for row in _with_parts(study, rows)]
    if len(scores) == 1:
        return scores[0]
    right: dict[str, int] = {}
    for score in scores:
        for item in score.items:
            right[item.id] = right.get(item.id, 0) + int(item.right)
    items = tuple(Marked(i.id, i.problem, i.subsets, 2 * right[i.id] > len(scores)) for i in scores[0].items)
    return replace(scores[0], value=sum(i.right for i in items) / max(1, len(items)), items=items)


def _with_parts(study: Study, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The stored figures behind rows of the table."""
    for row in rows.to_dict("records"):
        for metric in study.store.folder(row["cell"]).metrics():
            if metric["metric"] == row["metric"] and metric["scorer"] == row["scorer"]:
                yield {**metric, "cell": row["cell"]}


def _told(settings: Filter) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items() if value is not None)


def ledger_table(findings: Sequence[ClaimFinding]) -> pd.DataFrame:
    """A row per comparison: claim, where, cells, against, metric, direction, printed (points), value, other (percent or
    tokens), diff, low, high (points or tokens), p, n, least_n, draws, verdict, why."""
    rows = []
    for one in findings:
        c, paired = one.comparison, one.paired
        scale = 1.0 if c.metric == "tokens" else 100.0
        figures = {
            name: None if value is None else round(scale * value, 2)
            for name, value in (("value", one.value), ("other", one.against))
        }
        told: dict[str, Any] = {"diff": None, "low": None, "high": None, "p": None, "n": None}
        if paired is not None:
            shares = {"diff": paired.diff, "low": paired.low, "high": paired.high}
            told = {name: round(scale * share, 2) + 0.0 for name, share in shares.items()}
            told |= {"p": float(f"{paired.p:.3g}"), "n": paired.n}
        differs = {key: value for key, value in c.theirs.items() if c.ours.get(key) != value}
        rows.append({"claim": c.claim.id, "where": c.claim.where, "cells": _told(c.ours), "against": _told(differs) or "direct",
                     "metric": c.metric, "direction": c.claim.direction, "printed": c.diff, **figures, **told,
                     "least_n": one.least, "draws": one.draws, "verdict": one.verdict, "why": one.why})  # fmt: skip
    return pd.DataFrame(rows).astype({"n": "Int64", "least_n": "Int64"}) if rows else pd.DataFrame()


def ledger_text(claims: Sequence[PaperClaim], findings: Sequence[ClaimFinding]) -> str:
    """Per claim: where, what it says, and how many of its comparisons came out how."""
    lines = []
    for claim in claims:
        own = [one for one in findings if one.comparison.claim.id == claim.id]
        counts = {verdict: sum(one.verdict == verdict for one in own) for verdict in VERDICTS}
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "not run (no twin, or no cells)"
        lines.append(f"{claim.id} ({claim.where}): {claim.says}\n    {told}")
        for one in own:
            if one.paired is not None:
                p = one.paired
                unit, scale = ("tokens", 1) if one.comparison.metric == "tokens" else ("points", 100)
                lines.append(
                    f"    {one.verdict:13} {_told(one.comparison.ours)} against {_told(one.comparison.theirs)}: "
                    f"{points(scale * p.diff)} {unit} [{points(scale * p.low)}, {points(scale * p.high)}], p = {p.p:.3g}, "
                    f"n = {p.n}" + (f", least n {one.least}" if one.least else "")
                )
    return "\n".join(lines)
