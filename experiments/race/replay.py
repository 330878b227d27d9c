"""Races replayed on finished full grids: how many rows they need, and what they lose.

    python experiments/race/replay.py outputs/demo outputs/controls_mini … --orders 1000

Every study is a full grid: all cells of all arms answered the same problems. A replay draws an order of these problems, races
every arm over them with the rule of `l2v.study.race`, and holds the winner against the best cell of the full grid: regret is
the difference of their scores on all problems, in points. `--csv` writes a row per rule, study and kind of arm, `--prior` the
rank correlation of what is known of cells beforehand (`protocol.prior`) with their scores: by cell, by setting (layer and k),
and by cell of the extraction's part and of how answers begin alone. A beginning is the first word of a stored answer here.

A null replay exchanges the verdicts of all cells and of `direct` within each problem, so that no cell differs from another,
races on one half of the problems and tests the winner on the other: how often is it called better than `direct` at 5 %
(one-sided McNemar)? The exact test is conservative: with few discordant problems no outcome has 5 %. Its rate is printed; the
last line has that of the same test with the chance at its edge drawn, whose size is 5 % exactly if the race is honest.

Last line: one JSON object with rows_share, regret_mean, regret_p95 (race, all arms), null_rate, null_low, null_high, orders.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from orders import race_orders
from scipy.stats import binom, binomtest, spearmanr

from l2v.benchmarks.parts import ranked_problems
from l2v.errors import UserError
from l2v.study.cell_folder import CellFolder
from l2v.study.cells import Cell
from l2v.study.plan import norm_reading
from l2v.study.prior import FEW, Signs, changed, rank, signs
from l2v.study.protocol import arm_key, preference
from l2v.study.race import Race, Rule, looks
from l2v.study.store import Store
from l2v.study.workers.directions import directions_path, load_directions
from l2v.transfer.arms import ARMS

Floats = NDArray[np.float64]
CHOSEN = ("layer", "source_layer", "alpha", "cutoff")
# The rules that are compared, with their prior; a random fifth of the cells on all problems is the cheapest thing one can do.
RULES = {
    "race": (Rule(), "none"),
    "race, prior=order": (Rule(), "order"),
    "race, prior=strict": (Rule(), "strict"),
    "halving, eta 2": (Rule(delta=0), "none"),
    "halving, eta 3": (Rule(delta=0, eta=3), "none"),
    "halving, eta 4": (Rule(delta=0, eta=4), "none"),
}
CHECKED = 3  # orders of every arm and rule that are raced by l2v.study.race too
RANDOM = "random fifth of the cells"


@dataclass(frozen=True)
class Arm:
    """One arm's full grid: scores (cells, problems) in the order of preference, and the baseline's (problems,) or None.

    known: what was known of each cell beforehand, None: nothing; settings: which of them differ in alpha alone.
    """

    study: str
    name: str
    null: bool
    scores: Floats
    direct: Floats | None
    known: list[Signs | None]
    settings: list[str]

    @property
    def promise(self) -> list[float | None]:
        """What ranks the cells."""
        return [None if one is None else round(one.promise, 6) for one in self.known]


@dataclass(frozen=True)
class Replay:
    """An arm's replays, (orders,) each.

    rows: share of the full grid's. regret: points lost. close: the full grid's cell, or one within a standard error of it.
    """

    arm: Arm
    rows: Floats
    regret: Floats
    close: NDArray[np.bool_]


Way = Callable[[Arm, int, np.random.Generator], Replay]


def arms_of(folder: Path, least: int) -> Iterator[Arm]:
    """The arms of a study that were searched over at least so many cells, per set of items."""
    store = Store(folder.parent, folder.name).existing()
    groups: dict[object, list[tuple[Cell, Floats, dict[str, str]]]] = defaultdict(list)
    direct: dict[object, tuple[Floats, dict[str, str]]] = {}
    for found in store.finished():
        cell = found.cell()
        if cell.benchmark.part is not None and cell.benchmark.part.block:
            continue  # a look of a race
        asked = (cell.target.name, cell.benchmark.name, cell.benchmark.split, str(cell.benchmark.part))
        verdicts = sorted(found.scores("official"), key=lambda verdict: str(verdict["id"]))
        scores = np.array([verdict["correct"] is True for verdict in verdicts], dtype=np.float64)
        if cell.layer is not None:
            groups[asked, arm_key(cell, CHOSEN)].append((cell, scores, beginnings(cell, found)))
        elif cell.method == "direct":
            direct[asked] = scores, beginnings(cell, found)
    for (asked, _), members in groups.items():  # type: ignore[misc]
        if len(members) >= least:
            members.sort(key=lambda member: preference(member[0]))
            first = members[0][0]
            name = f"{first.method} {first.source.name if first.source else ''} {first.seed} on {first.target.name}"
            plain = direct.get(asked)
            known = [signs_of(cell, str(folder.parent), said, plain[1] if plain else None) for cell, _, said in members]
            settings = [f"{cell.layer} {cell.source_layer} {cell.cutoff}" for cell, *_ in members]
            scores = np.stack([s for _, s, _ in members])
            yield Arm(folder.name, name, ARMS[first.method].null, scores, plain[0] if plain else None, known, settings)


def beginnings(cell: Cell, found: CellFolder) -> dict[str, str]:
    """How a few answers begin: in words, of which a token is mostly one on the miniature."""
    words = 2 if cell.positions == "decode" else 1
    said = {str(row["id"]): str(row["response"]) for row in found.responses()}
    return {item: " ".join(said[item].split()[:words]) for item in ranked_problems(said, 0)[:FEW]}


def signs_of(cell: Cell, outputs: str, said: dict[str, str], plain: dict[str, str] | None) -> Signs | None:
    """What is known of a cell beforehand; None where the target's own direction was not read, or there is no vector."""
    own = directions_path(outputs, norm_reading(cell).id)
    if not own.exists():
        return None
    try:
        found = signs(cell, outputs, load_directions(own).mean.shape[1])
    except UserError:
        return None
    return replace(found, begun=None if plain is None else changed(said, plain))


def raced(scores: Floats, rule: Rule) -> Race:
    """The race over (cells, problems) scores, problems in this order."""
    race = Race(range(len(scores)), looks(scores.shape[1], rule.budget, rule.eta), rule)
    while not race.over:
        race.answered(scores[list(race.live)][:, : race.looks[len(race.history)]])
    return race


def by_race(rule: Rule, prior: str) -> Way:
    """Replays of an arm under a rule."""

    def replay(arm: Arm, orders: int, rng: np.random.Generator) -> Replay:
        order, skipped = rank(arm.promise, prior == "strict") if prior != "none" else (list(range(len(arm.scores))), set())
        cells = np.array([cell for cell in order if cell not in skipped])
        drawn = rng.permuted(np.tile(np.arange(arm.scores.shape[1]), (orders, 1)), axis=1)
        rows, winners = race_orders(arm.scores[cells], rule, drawn)
        for place in range(min(CHECKED, orders)):
            race = raced(arm.scores[cells][:, drawn[place]], rule)
            assert (race.rows, race.live[0]) == (rows[place], winners[place]), "orders.py races otherwise than l2v.study.race"
        return judged(arm, rows / arm.scores.size, cells[winners])

    return replay


def by_chance(arm: Arm, orders: int, rng: np.random.Generator) -> Replay:
    """The best of a random fifth of the cells, on all problems."""
    cells, some = len(arm.scores), max(1, round(len(arm.scores) / 5))
    drawn = np.sort(rng.permuted(np.tile(np.arange(cells), (orders, 1)), axis=1)[:, :some], axis=1)
    best = arm.scores.mean(axis=1)[drawn].argmax(axis=1)
    return judged(arm, np.full(orders, some / cells), drawn[np.arange(orders), best])


def judged(arm: Arm, rows: Floats, winners: NDArray[np.int64]) -> Replay:
    """Winners against the full grid."""
    values = arm.scores.mean(axis=1)
    best = float(values.max())
    error = np.sqrt(best * (1 - best) / arm.scores.shape[1])
    return Replay(arm, rows, 100 * (best - values[winners]), values[winners] >= best - error)


def null_called(arm: Arm, rule: Rule, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether the winner of a race among exchanged verdicts is called better than the baseline on the other half.

    By the exact test, and by the same test with the chance at its edge drawn.
    """
    assert arm.direct is not None
    everything = rng.permuted(np.vstack([arm.direct, arm.scores]), axis=0)
    everything = everything[:, rng.permutation(everything.shape[1])]
    half = everything.shape[1] // 2
    winner = raced(everything[1:, :half], rule).live[0]
    direct, found = everything[0, half:], everything[1 + winner, half:]
    gained, lost = int(((found == 1) & (direct == 0)).sum()), int(((found == 0) & (direct == 1)).sum())
    above = float(binom.sf(gained, gained + lost, 0.5))
    here = float(binom.pmf(gained, gained + lost, 0.5))
    return above + here <= 0.05, above + rng.random() * here <= 0.05


def correlations(arms: list[Arm]) -> pd.DataFrame:
    """Spearman's rank correlation, within arms, of what was known beforehand with the full grid's scores.

    by cell: of all cells. by setting: of layer and k, with the mean over alpha, of which nothing is known beforehand. Arms
    whose cells differ (by 20 points and more) are told apart from those at chance.
    """
    found = []
    for arm in arms:
        parts = {
            "promise": arm.promise,
            "read": [None if one is None else replace(one, begun=None).promise for one in arm.known],
            "begun": [None if one is None else one.begun for one in arm.known],
        }
        known = pd.DataFrame({**parts, "score": arm.scores.mean(axis=1), "setting": arm.settings}).dropna()
        means = known.groupby("setting")[["promise", "score"]].mean()
        differ = "differ" if np.ptp(known["score"]) >= 0.2 else "at chance"
        row: dict[str, object] = {"study": arm.study, "arms": "null" if arm.null else "other", "cells": differ}
        ways = (
            ("by_cell", known, "promise"),
            ("by_setting", means, "promise"),
            ("read", known, "read"),
            ("begun", known, "begun"),
        )
        for name, of, figure in ways:
            varied = len(of) > 2 and of[figure].nunique() > 1 and of["score"].nunique() > 1
            row[name] = spearmanr(of[figure], of["score"]).statistic if varied else np.nan
        found.append(row)
    groups = pd.DataFrame(found).groupby(["study", "arms", "cells"])
    means = groups[["by_cell", "by_setting", "read", "begun"]].mean().round(2)
    return pd.concat([groups.size().rename("n_arms"), means], axis=1).reset_index()


def table(replays: dict[str, list[Replay]]) -> pd.DataFrame:
    """A row per rule, study and kind of arm."""
    found = []
    for rule, ran in replays.items():
        kinds: dict[tuple[str, str], list[Replay]] = defaultdict(list)
        for one in ran:
            kinds["all", "all"].append(one)
            kinds[one.arm.study, "null" if one.arm.null else "other"].append(one)
        for (study, kind), members in kinds.items():
            regret, rows, close = (
                np.concatenate([getattr(one, name) for one in members]) for name in ("regret", "rows", "close")
            )
            found.append(
                {
                    "rule": rule,
                    "study": study,
                    "arms": kind,
                    "n_arms": len(members),
                    "cells": round(float(np.mean([len(one.arm.scores) for one in members])), 1),
                    "replays": len(regret),
                    "rows_share": round(float(rows.mean()), 4),
                    "close": round(float(close.mean()), 4),
                    "regret_mean": round(float(regret.mean()), 3),
                    "regret_p95": round(float(np.quantile(regret, 0.95)), 3),
                }
            )
    return pd.DataFrame(found)


def main() -> None:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--nulls", type=int, default=1000)
    parser.add_argument("--least", type=int, default=4, help="cells of an arm's grid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--prior", type=Path)
    words = parser.parse_args()
    arms = [arm for study in words.studies for arm in arms_of(study, words.least)]
    if not arms:
        parser.error("no study holds an arm that was searched over enough cells")
    ways: dict[str, Way] = {name: by_race(rule, prior) for name, (rule, prior) in RULES.items()} | {RANDOM: by_chance}
    replays = {
        name: [way(arm, words.orders, np.random.default_rng([words.seed, place])) for place, arm in enumerate(arms)]
        for name, way in ways.items()
    }
    found, known = table(replays), correlations(arms)
    print(found.to_string(index=False))
    print(known.to_string(index=False))
    for path, content in ((words.csv, found), (words.prior, known)):
        if path:
            content.to_csv(path, index=False)
    rng = np.random.default_rng(words.seed)
    against = [arm for arm in arms if arm.direct is not None]
    called = [null_called(against[i % len(against)], Rule(), rng) for i in range(words.nulls)]
    exact, drawn = (sum(one) for one in zip(*called, strict=True))
    told = [binomtest(count, words.nulls).proportion_ci(method="wilson") for count in (exact, drawn)]
    print(f"null replays called by the exact test: {exact} of {words.nulls} [{told[0].low:.4f}, {told[0].high:.4f}]")
    race = found[(found["rule"] == "race") & (found["study"] == "all")].iloc[0]
    summary = {name: float(race[name]) for name in ("rows_share", "regret_mean", "regret_p95")}
    summary |= {"null_rate": drawn / words.nulls, "null_low": round(told[1].low, 4), "null_high": round(told[1].high, 4)}
    print(json.dumps(summary | {"orders": words.orders}))


if __name__ == "__main__":
    main()
