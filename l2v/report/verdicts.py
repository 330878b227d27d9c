"""A verdict in words per arm and target. The rule is conservative, and the page prints it (RULE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from l2v.benchmarks.metrics import Score
from l2v.report.figures import figure, p_value, points
from l2v.report.study import Study
from l2v.study.columns import FAMILY, searched
from l2v.study.statistics.paired import paired_scores
from l2v.study.statistics.searches import own_baseline

LEVEL = 0.05
# With fewer null searches an arm above all of them has a rank p of 0.05 or more.
FEW_NULLS = 19

RULE = (
    "Above (below) direct: the 95 % interval of the paired difference lies above (below) zero and Holm's p is below 0.05; a "
    "cell that was selected on the reported items also needs p (best of grid) below 0.05, which allows for the search. Above a "
    "null: more items right than the null arm's reported cell on the same items, p below 0.05 in a paired test (exact McNemar, "
    "or a sign-flip test over problems). Only null arms (random, permuted and the like) count that were searched over the same "
    "layers, alphas, cutoffs, positions, scale, prompt and decoding seed. Above all of them: above direct and above every "
    "null. An arm above direct that beats no null is not distinguishable from random directions; where no null was searched "
    "alike, it may be no more than that either. Everything else is not distinguishable from direct: no effect was shown, which "
    "is not to say that there is none."
)

# kind -> (sign, heading); the sign stands beside the colour, so that neither alone carries the meaning.
KINDS = {
    "above_nulls": ("▲", "above direct and every null"),
    "above": ("▲", "above direct"),
    "above_some": ("△", "above direct, not above every null"),
    "untested": ("△", "above direct, no null to compare with"),
    "like_nulls": ("◇", "not distinguishable from random directions"),
    "null_above": ("◆", "a null arm above direct"),
    "same": ("○", "not distinguishable from direct"),
    "below": ("▼", "below direct"),
    "open": ("·", "nothing to compare with"),
}


@dataclass(frozen=True)
class Against:
    """An arm against one null arm's reported cell: its name, its value, and whether the arm is above it."""

    name: str
    value: float
    above: bool


@dataclass(frozen=True)
class Told:
    """What the rule looks at, of one reported cell; shares in [0, 1], None where there is no such figure.

    steered: a vector is injected; null: the arm is a null (arms.Arm); selected: what the cell was chosen on ("test" for
    the very items it is reported on); budget: cells searched, 1 for a single one.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    diff: float | None = None
    diff_low: float | None = None
    diff_high: float | None = None
    p_holm: float | None = None
    p_best_of_grid: float | None = None
    p_best_of_seeds: float | None = None
    selected: str | None = None
    budget: int = 1
    steered: bool = True
    null: bool = False


@dataclass(frozen=True)
class Finding:
    """A verdict: its kind (a key of KINDS), and the sentence with its figures."""

    kind: str
    text: str


@dataclass(frozen=True)
class ArmVerdict:
    """One line of the page: where (target, benchmark, items), the arm, its cell, and the verdict.

    values: direct's and the arm's score, and the settings that were chosen, in words.
    """

    where: str
    bench: str
    items: str
    arm: str
    cell: str
    role: str
    method: str
    value: float
    values: str
    finding: Finding


def finding(told: Told, nulls: Sequence[Against] = (), others: int = 0) -> Finding:
    """The verdict on one reported cell, by RULE. `nulls`: searched as the arm was; `others`: null arms that were not."""
    if told.diff is None or told.p_holm is None:
        return Finding("open", _sentence([_value(told), "no paired comparison with direct"], told))
    side = direction(told)
    words = [_difference(told)]
    if side == 0:
        return Finding("same", _sentence(words, told))
    if side < 0:
        return Finding("below", _sentence(words, told))
    if told.null:
        words.append("its vector has nothing to do with the source's direction: so much comes by chance or by any push")
        return Finding("null_above", _sentence(words, told))
    if not told.steered:
        return Finding("above", _sentence(words, told))
    return _beside_nulls(told, words, nulls, others)


def direction(told: Told) -> int:
    """1 above direct, -1 below, 0 not distinguishable from it."""
    assert told.diff_low is not None and told.diff_high is not None and told.p_holm is not None
    if told.p_holm >= LEVEL:
        return 0
    if told.selected == "test" and not (told.p_best_of_grid is not None and told.p_best_of_grid < LEVEL):
        return 0
    return 1 if told.diff_low > 0 else -1 if told.diff_high < 0 else 0


def _beside_nulls(told: Told, words: list[str], nulls: Sequence[Against], others: int) -> Finding:
    beaten = [null for null in nulls if null.above]
    left = [null for null in nulls if not null.above]
    kind = "untested" if not nulls else "above_nulls" if not left else "above_some" if beaten else "like_nulls"
    if not nulls:
        words.append(
            "whether a random direction does as well is open: no null arm was searched over the same settings"
            if others
            else "whether a random direction does as well is open: no null arm was run"
        )
    elif not left:
        words.append(
            {1: "beats the one null search", 2: "beats both null searches"}.get(
                len(nulls), f"beats all {len(nulls)} null searches"
            )
        )
    else:
        names = ", ".join(f"{null.name} at {100 * null.value:.1f} %" for null in left[:3])
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        words.append(f"beats {len(beaten)} of {_count(len(nulls), 'null search', 'null searches')}, not {names}{more}")
    if nulls and told.p_best_of_seeds is not None:
        words.append(f"rank among null searches p = {told.p_best_of_seeds:.2f}")
    if nulls and others:
        words.append(f"{_count(others, 'null arm', 'null arms')} searched elsewhere do not count")
    return Finding(kind, _sentence(words, told))


def few_nulls(count: int) -> str:
    """What a reader must know where null searches are few: how small a rank's p can get at all. "" where they are enough."""
    if not count or count >= FEW_NULLS:
        return ""
    return (
        f"Only {_count(count, 'null search', 'null searches')}: even an arm above all of them has a rank p of "
        f"{1 / (count + 1):.2f}. At least {FEW_NULLS} are needed for 0.05."
    )


def _value(told: Told) -> str:
    bounds = "" if told.low is None or told.high is None else f" [{100 * told.low:.1f}, {100 * told.high:.1f}]"
    return f"{100 * told.value:.1f} %{bounds}"


def _difference(told: Told) -> str:
    assert told.diff is not None and told.diff_low is not None and told.diff_high is not None and told.p_holm is not None
    bounds = f"[{points(100 * told.diff_low)}, {points(100 * told.diff_high)}]"
    return f"{points(100 * told.diff)} points, 95 % interval {bounds}, Holm p {p_text(told.p_holm)}"


def _sentence(words: Sequence[str], told: Told) -> str:
    words = list(words)
    if told.selected == "test":
        grid = "" if told.p_best_of_grid is None else f", p (best of grid) {p_text(told.p_best_of_grid)}"
        words.append(f"selected on the reported items: the best of {told.budget} cells{grid}")
    return "; ".join([*words, f"n = {told.n:,}"]) + "."


def p_text(p: float) -> str:
    """A p-value within a sentence: "= 0.034" or "< 0.001"."""
    return p_value(p).replace("<", "< ") if p < 0.001 else f"= {p_value(p)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def verdicts(study: Study) -> list[ArmVerdict]:
    """The verdict on every reported cell but the baselines, target by target; within a target the largest difference first."""
    keys = [name for name in FAMILY if name not in ("metric", "scorer")]
    found = []
    for _, family in study.reported.groupby(keys, dropna=False, sort=False):
        nulls = family[family["role"] == "null"]
        baselines = family[family["role"] == "baseline"].to_dict("records")
        scores: dict[str, Score | None] = {}
        lines = [_verdict(study, row, nulls, baselines, scores) for _, row in family.iterrows() if row["role"] != "baseline"]
        order = family.set_index("cell")["diff"].fillna(family.set_index("cell")["value"] - 2)
        found += sorted(lines, key=lambda line: (line.role == "null", -order[line.cell]))
    return found


def _verdict(
    study: Study, row: pd.Series[Any], nulls: pd.DataFrame, baselines: list[dict[Any, Any]], scores: dict[str, Score | None]
) -> ArmVerdict:
    told = told_of(row.to_dict())
    against: list[Against] = []
    others = 0
    alike = str(row["null_cells"]).split()
    if told.steered and not told.null and told.diff is not None and told.p_holm is not None and direction(told) > 0:
        for null in nulls.to_dict("records"):
            if null["cell"] not in alike:
                others += 1
            else:
                against.append(_against(study, row["cell"], null, scores))
    names = {name: str(row[name]) for name in ("where", "bench", "items", "arm", "cell", "role", "method")}
    return ArmVerdict(
        **names, value=told.value, values=_values(row.to_dict(), baselines), finding=finding(told, against, others)
    )


def _values(row: dict[Any, Any], baselines: list[dict[Any, Any]]) -> str:
    """Both scores and the cell's settings: "9.0 → 100.0 %, layer 3, alpha 0.5, k 34"."""
    baseline = own_baseline(baselines, row)
    scores = f"{100 * row['value']:.1f} %"
    if baseline is not None:
        scores = f"{100 * baseline['value']:.1f} → {scores}"
    return ", ".join([scores, *searched(row)])


def _against(study: Study, cell: str, null: Mapping[Any, Any], scores: dict[str, Score | None]) -> Against:
    """The arm's cell against a null's, on the items that both answered; without stored verdicts the arm is not above it."""
    for name in (cell, null["cell"]):
        if name not in scores:
            scores[name] = study.score(name)
    ours, theirs = scores[cell], scores[null["cell"]]
    above = False
    if ours is not None and theirs is not None:
        result = paired_scores(ours, theirs)
        above = result.diff > 0 and result.p < LEVEL
    return Against(str(null["arm"]), float(null["value"]), above)


def told_of(row: Mapping[Any, Any]) -> Told:
    """What the rule looks at, from a row of the results."""
    figures = ("low", "high", "diff", "diff_low", "diff_high", "p_holm", "p_best_of_grid", "p_best_of_seeds")
    return Told(
        value=float(row["value"]),
        n=int(row["n"]),
        **{name: figure(row, name) for name in figures},
        selected=row["selected"] if isinstance(row["selected"], str) else None,
        budget=1 if pd.isna(row["budget"]) else int(row["budget"]),
        steered=not pd.isna(row["layer"]),
        null=row["role"] == "null",
    )
