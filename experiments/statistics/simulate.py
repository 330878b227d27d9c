"""Do the tests hold their level, and do the intervals cover? Simulated studies in which the truth is known.

    python experiments/statistics/simulate.py                 # 1,000 studies of each kind, one core
    python experiments/statistics/simulate.py --studies 50    # a glance, half a minute

Writes false_positives.csv (no effect anywhere: how often a test says there is one), coverage.csv (how often a 95 % interval
holds the truth), power.csv (null and planted grids of 96 cells: what is found) and smallest_differences.csv (what n items
can show) beside this file, or under --out.

The world: whether an answer is right is whether a normal variable of the item exceeds a threshold. A cell (layer, alpha)
mixes the baseline's variable with one of its own, more so at a larger alpha, and keeps its scale: items flip both ways,
accuracy does not move. An effect lowers the threshold. A cell's own variable is shared by cells of the same layer and of
the same alpha, so the cells of a grid are correlated, as cells that push along one direction are.
"""

from __future__ import annotations

import argparse
import csv
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

from l2v.benchmarks.metrics import Marked, Score
from l2v.study.statistics.best_of_grid import best_of_grid_permutation, best_of_grid_seeds
from l2v.study.statistics.paired import holm, paired, paired_scores, score_interval, wilson
from l2v.study.statistics.power import smallest_difference

LAYERS, ALPHAS = 12, 8
CELLS = LAYERS * ALPHAS
PERMUTATIONS = 1_000
SEEDS = 19
VERSIONS = 5
SHARED = np.float32(0.8)  # of the variance of every variable, between versions of a problem

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True)
class World:
    """items: in all; base: the baseline's accuracy; versions: items per problem, which share most of every variable.

    kept: correlation of a cell's variable with the baseline's at the smallest and the largest alpha. effects: gain in
    accuracy by cell; every other cell has none. independent: cells that have nothing in common, nor with the baseline.
    """

    items: int
    base: float = 0.4
    versions: int = 1
    kept: tuple[float, float] = (0.99, 0.85)
    effects: dict[int, float] = field(default_factory=dict)
    independent: bool = False

    def __str__(self) -> str:
        items = f"{self.items // self.versions} problems x {self.versions}" if self.versions > 1 else f"{self.items} items"
        if self.independent:
            return f"{items}, independent cells"
        return items if self.kept == World.kept else f"{items}, cells keep {self.kept[0]:g} to {self.kept[1]:g}"

    def normal(self, random: Random, *shape: int) -> Floats:
        """Standard normal variables of the items, (*shape, items)."""
        own = random.standard_normal((*shape, self.items), dtype=np.float32)
        if self.versions == 1:
            return own
        shared = random.standard_normal((*shape, self.items // self.versions), dtype=np.float32)
        return np.sqrt(1 - SHARED) * own + np.sqrt(SHARED) * np.repeat(shared, self.versions, axis=-1)

    def grid(self, random: Random, start: Floats) -> Bools:
        """Verdicts of an arm's 96 cells, (cells, items); the cell of layer l and alpha a is l * ALPHAS + a."""
        if self.independent:
            return self.normal(random, CELLS) > np.float32(norm.isf(self.base))
        layer, alpha, own = self.normal(random, LAYERS, 1), self.normal(random, ALPHAS), self.normal(random, LAYERS, ALPHAS)
        pushed = np.float32(np.sqrt(0.5)) * layer + np.float32(np.sqrt(0.3)) * alpha + np.float32(np.sqrt(0.2)) * own
        kept = np.linspace(*self.kept, ALPHAS, dtype=np.float32)[:, None]
        mixed = (kept * start + np.sqrt(1 - kept**2) * pushed).reshape(CELLS, self.items)
        gains = np.array([self.effects.get(cell, 0.0) for cell in range(CELLS)])
        return mixed > norm.isf(self.base + gains).astype(np.float32)[:, None]

    def right(self, start: Floats) -> Bools:
        """The baseline's verdicts."""
        return start > np.float32(norm.isf(self.base))

    def arm(self, random: Random, start: Floats, kept: float = 0.9, gain: float = 0.0) -> Bools:
        """Verdicts of one cell, chosen beforehand."""
        mixed = np.float32(kept) * start + np.float32(np.sqrt(1 - kept**2)) * self.normal(random)
        return mixed > np.float32(norm.isf(self.base + gain))

    def problems(self) -> list[str]:
        """Each item's problem."""
        return [str(item // self.versions) for item in range(self.items)]

    def score(self, right: Bools) -> Score:
        """The verdicts as a score of a run."""
        marked = [
            Marked(str(i), problem, (), bool(ok)) for i, (problem, ok) in enumerate(zip(self.problems(), right, strict=True))
        ]
        return Score("accuracy", float(right.mean()), tuple(marked))


def by_id(right: Bools) -> dict[str, bool]:
    """Verdicts as `paired` takes them."""
    return {str(i): bool(ok) for i, ok in enumerate(right)}


def mcnemar(cells: Bools, base: Bools) -> NDArray[np.float64]:
    """Two-sided exact McNemar p values of cells (cells, items), as `paired` gives them one by one."""
    right, wrong = (cells & ~base).sum(axis=1), (base & ~cells).sum(axis=1)
    return np.minimum(1, 2 * binom.cdf(np.minimum(right, wrong), right + wrong, 0.5))


def one_arm(world: World, random: Random) -> dict[str, bool]:
    """An arm whose cell was chosen beforehand, against the baseline."""
    start = world.normal(random)
    ours, base = world.arm(random, start), world.right(start)
    by_item = paired(by_id(ours), by_id(base)).p <= 0.05
    if world.versions == 1:
        return {"paired, exact McNemar": by_item}
    by_problem = paired_scores(world.score(ours), world.score(base)).p <= 0.05
    return {"paired_scores, sign flips over problems": by_problem, "naive: exact McNemar over versions": by_item}


def family(world: World, random: Random, arms: int = 12, real: int = 0) -> dict[str, bool]:
    """Arms against one baseline, the first `real` with a gain of 10 points: is any of the others called different?"""
    start = world.normal(random)
    verdicts = np.array([world.arm(random, start, gain=0.1 if i < real else 0.0) for i in range(arms)])
    p = list(mcnemar(verdicts, world.right(start)))
    name = f"{arms} arms, {real} of them real" if real else f"{arms} arms"
    return {f"Holm, {name}": min(holm(p)[real:]) <= 0.05, f"naive: uncorrected, {name}": min(p[real:]) <= 0.05}


@dataclass(frozen=True)
class Sweep:
    """What the tests make of one swept grid. best: the cell with the highest score; diff: its difference to the baseline."""

    best: int
    diff: float
    permutation: bool
    one_sided: bool
    max_mean: bool
    bonferroni: bool
    naive: bool


CALLS = ("permutation", "one_sided", "max_mean", "bonferroni", "naive")


def sweep(world: World, random: Random) -> Sweep:
    """One study: 96 cells, the best picked on the items it is tested on."""
    start = world.normal(random)
    cells, base = world.grid(random, start), world.right(start)
    problems, seed = world.problems() if world.versions > 1 else None, int(random.integers(1 << 31))
    found = best_of_grid_permutation(cells, base, problems, permutations=PERMUTATIONS, seed=seed)
    p, best = mcnemar(cells, base), found.best
    gain = float(found.diffs[best])
    return Sweep(
        best=best,
        diff=gain,
        permutation=2 * found.p[best] <= 0.05,
        one_sided=found.p[best] <= 0.05,
        max_mean=2 * max_mean_p(cells, base, world.versions, np.random.default_rng(seed)) <= 0.05,
        bonferroni=gain > 0 and p[best] * CELLS <= 0.05,
        naive=gain > 0 and p[best] <= 0.05,
    )


def max_mean_p(cells: Bools, base: Bools, versions: int, random: Random) -> float:
    """The alternative to max-T: the same exchanges, but the largest difference not divided by its spread."""
    sums = (cells.astype(np.float32) - base).reshape(len(cells), -1, versions).sum(axis=2).T
    signs = random.integers(0, 2, size=(PERMUTATIONS, len(sums)), dtype=np.int8).astype(np.float32) * 2 - 1
    return (1 + int(((signs @ sums).max(axis=1) >= sums.sum(axis=0).max()).sum())) / (1 + PERMUTATIONS)


def null_sweep(world: World, random: Random) -> dict[str, bool]:
    """Is the best cell of a grid without any effect called better?"""
    found = sweep(world, random)
    return {
        "p (best of grid)": found.permutation,
        "one-sided: best_of_grid_permutation": found.one_sided,
        "Bonferroni over the cells": found.bonferroni,
        "naive: best cell, exact McNemar": found.naive,
    }


def seeds(world: World, random: Random) -> dict[str, bool]:
    """An arm against 19 null seeds with the same items, baseline and budget."""
    start = world.normal(random)
    worlds = [world] + [replace(world, effects={})] * SEEDS
    bests = [float(one.grid(random, start).mean(axis=1).max()) for one in worlds]
    return {f"best_of_grid_seeds, {SEEDS} seeds": best_of_grid_seeds(bests[0], bests[1:]) <= 0.05}


def coverage(world: World, random: Random, gain: float = 0.05) -> dict[str, bool]:
    """Do the intervals of a score and of a difference hold the truth?"""
    start = world.normal(random)
    ours, base = world.score(world.arm(random, start, gain=gain)), world.score(world.right(start))
    low, high = score_interval(base)
    both = paired_scores(ours, base)
    kind = (
        ("Wilson", "paired bootstrap") if world.versions == 1 else ("bootstrap over problems", "paired bootstrap over problems")
    )
    found = {f"score: {kind[0]}": low <= world.base <= high, f"difference: {kind[1]}": both.low <= gain <= both.high}
    if world.versions > 1:
        low, high = wilson(sum(item.right for item in base.items), world.items)
        found["naive: Wilson over versions"] = low <= world.base <= high
    return found


Study = Callable[[World, Random], dict[str, bool]]

NULLS: list[tuple[Study, World]] = [
    (one_arm, World(200)),
    (one_arm, World(1000)),
    (one_arm, World(500, base=0.1)),
    (one_arm, World(500, versions=VERSIONS)),
    (one_arm, World(150, versions=VERSIONS)),
    (family, World(500)),
    (partial(family, real=6), World(500)),
    (null_sweep, World(200)),
    (null_sweep, World(500)),
    (null_sweep, World(1000)),
    (null_sweep, World(500, base=0.1)),
    (null_sweep, World(200, base=0.1)),
    (null_sweep, World(200, base=0.1, kept=(0.5, 0.2))),
    (null_sweep, World(500, versions=VERSIONS)),
    (seeds, World(200)),
    *((null_sweep, World(200, base=base)) for base in (0.05, 0.9, 0.97)),
    *((null_sweep, World(200, base=base, independent=True)) for base in (0.05, 0.1, 0.4, 0.9, 0.97)),
]
COVERED: list[tuple[Study, World]] = [
    (coverage, World(100)),
    (coverage, World(500)),
    (coverage, World(500, base=0.1)),
    (coverage, World(500, versions=VERSIONS)),
    (coverage, World(150, versions=VERSIONS)),
]


def planted(cell: int, gain: float, bump: bool = False) -> dict[int, float]:
    """A gain at one cell, and with `bump` half of it at the cells beside it."""
    layer, alpha = divmod(cell, ALPHAS)
    beside = [(layer - 1, alpha), (layer + 1, alpha), (layer, alpha - 1), (layer, alpha + 1)] if bump else []
    there = {a + ALPHAS * b: gain / 2 for b, a in beside if 0 <= b < LAYERS and 0 <= a < ALPHAS}
    return {**there, cell: gain}


# Small alphas flip few items, large ones many.
QUIET, MIDDLE, LOUD = 5 * ALPHAS, 5 * ALPHAS + 3, 5 * ALPHAS + 7
GRIDS = [("no effect", World(n)) for n in (200, 300, 500, 1000)]
GRIDS += [("no effect", World(500, base=0.1))]
for points in (3, 6):
    GRIDS += [
        (f"{points} points at one quiet cell", World(1000, effects=planted(QUIET, points / 100))),
        (f"{points} points at one middle cell", World(1000, effects=planted(MIDDLE, points / 100))),
        (f"{points} points at one loud cell", World(1000, effects=planted(LOUD, points / 100))),
        (f"{points} points, half of it beside", World(1000, effects=planted(MIDDLE, points / 100, bump=True))),
    ]
SEEDED = ("no effect", "6 points at one middle cell", "3 points at one middle cell")


def rates(plan: Sequence[tuple[Study, World]], studies: int) -> Iterator[dict[str, Any]]:
    """Rows: how often each claim came out true, with a 95 % interval."""
    for number, (study, world) in enumerate(plan):
        random = np.random.default_rng([studies, number])
        found = [study(world, random) for _ in range(studies)]
        for name in found[0]:
            yes = sum(bool(one[name]) for one in found)
            yield {"what": name, "data": str(world), "base": world.base, **rate(yes, studies)}


def rate(yes: int, studies: int) -> dict[str, Any]:
    """A share of studies with its Wilson interval."""
    low, high = wilson(yes, studies)
    return {"studies": studies, "share": f"{yes / studies:.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}"}


def false_positives(studies: int) -> Iterator[dict[str, Any]]:
    """Null studies. within: whether a true rate of at most 5 % is compatible with the share (a binomial test at 1 %)."""
    for row in rates(NULLS, studies):
        yes = round(float(row["share"]) * studies)
        yield row | {"within": "yes" if binom.sf(yes - 1, studies, 0.05) > 0.01 else "no"}


def powers(studies: int) -> Iterator[dict[str, Any]]:
    """Swept grids: how much better the best cell looks (median, 5 % and 95 %), and how often each test calls it better."""
    for number, (name, world) in enumerate(GRIDS):
        random = np.random.default_rng([studies, 100 + number])
        found = [sweep(world, random) for _ in range(studies)]
        calls = {test: sum(bool(getattr(one, test)) for one in found) for test in CALLS}
        if name in SEEDED:
            calls["seeds"] = sum(next(iter(seeds(world, random).values())) for _ in range(studies))
        low, middle, high = np.quantile([one.diff for one in found], [0.05, 0.5, 0.95])
        looks = {"best_diff": f"{middle:.3f}", "best_diff_5": f"{low:.3f}", "best_diff_95": f"{high:.3f}"}
        hits = f"{sum(one.best in world.effects for one in found) / studies:.3f}" if world.effects else ""
        for test, yes in calls.items():
            row = {"planted": name, "data": str(world), "base": world.base, "test": test, **rate(yes, studies)}
            yield row | looks | {"best_is_planted": hits}


def smallest(designs: Sequence[int] = (200, 304, 500, 1000, 1500, 3040)) -> Iterator[dict[str, Any]]:
    """The smallest gain that the exact McNemar test shows with power 0.8: alone, as one of 12 (Bonferroni), and clustered."""
    for n in designs:
        for discordance in (0.05, 0.1, 0.2, 0.3):
            kinds = {"alone": {}, "one_of_12": {"alpha": 0.05 / 12}, "design_effect_2": {"design_effect": 2.0}}
            found = {kind: smallest_difference(n, discordance, **options) for kind, options in kinds.items()}
            yield {"n": n, "discordance": discordance} | {kind: f"{value:.4f}" for kind, value in found.items()}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A table, also printed."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(path.name, *(", ".join(f"{value}" for value in row.values()) for row in rows), sep="\n  ", flush=True)


def main() -> None:
    """The four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    gc.freeze()  # statsmodels collects garbage in every correction; what is loaded by now is not looked at again
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "false_positives.csv", list(false_positives(args.studies)))
    write(args.out / "coverage.csv", list(rates(COVERED, args.studies)))
    write(args.out / "power.csv", list(powers(max(1, args.studies // 5))))
    write(args.out / "smallest_differences.csv", list(smallest()))


if __name__ == "__main__":
    main()
