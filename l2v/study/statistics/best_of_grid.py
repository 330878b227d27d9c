"""Whether the best of a swept grid is better than the best of a grid that does nothing.

The best of 96 useless cells looks several points better than the baseline, and McNemar's test of that one cell does not know
that 95 others were tried. Two nulls, two tests, both about the maximum over the grid:

- no cell differs from the baseline: `best_of_grid_permutation`, from one arm's verdicts alone;
- the arm's direction is no better than a random direction searched as hard: `best_of_grid_seeds`, from null arms.

They answer different questions. If any push helps, a random one too, the first rejects and the second does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2v.benchmarks.metrics import Marked, Score, by_problem
from l2v.errors import UserError

PERMUTATIONS = 10_000

# Signs drawn at once: 1,000 x 1,000 problems in float32 are 4 MB.
CHUNK = 1_000

# Statistics this close are ties; float32 scaling leaves errors of 1e-6, and a tie counts against the arm.
TIE = 1e-5

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """The verdicts of one arm's cells on the same items.

    verdicts: (cells, items), right or not. items: ids, in the order of the columns. problems: each item's problem; versions
    of one problem share it. weights: (items,), what an item adds to the score when right; they sum to 1.
    """

    verdicts: Bools
    items: tuple[str, ...]
    problems: tuple[str, ...]
    weights: Floats

    @property
    def values(self) -> Floats:
        """The score of each cell, (cells,), in [0, 1]."""
        return self.verdicts @ self.weights


def grid(cells: Sequence[Score]) -> Grid:
    """The grid of an arm from one score of each of its cells, in their order; a baseline is a grid of one cell.

    A mean of subsets weighs items so that each subset counts the same; an all-right share has problems for items. Raises
    UserError when there is no cell, or when cells were not scored on the same items.
    """
    if not cells:
        raise UserError("A grid without cells has no best cell; give at least one.")
    rows = [_units(score) for score in cells]
    first = list(rows[0].values())
    for number, row in enumerate(rows):
        _check_same_items(f"Cell {number} of the grid", row.keys(), rows[0].keys())
    verdicts = np.array([[row[item.id].right for item in first] for row in rows], dtype=bool)
    items, problems = tuple(item.id for item in first), tuple(item.problem for item in first)
    return Grid(verdicts, items, problems, _weights(first, cells[0].parts))


def _units(score: Score) -> dict[str, Marked]:
    """What a score is a share of, by id: its items, or for an all-right share its problems."""
    if not score.all_right:
        return {item.id: item for item in score.items}
    right = by_problem((item.problem, item.right) for item in score.items)
    return {problem: Marked(problem, problem, (), ok) for problem, ok in right.items()}


def _weights(items: Sequence[Marked], parts: Sequence[str]) -> Floats:
    """Equal weights, or for a mean of parts equal sums over the parts that have items."""
    part = [next((p for p in parts if p in item.subsets), "") for item in items]
    sizes = {name: part.count(name) for name in dict.fromkeys(part)}
    return np.array([1 / (len(sizes) * sizes[name]) for name in part])


def _check_same_items(what: str, ours: Iterable[str], theirs: Iterable[str]) -> None:
    """Raise UserError unless both hold the same ids."""
    different = set(ours) ^ set(theirs)
    if different:
        example = min(different)
        raise UserError(
            f"{what} was scored on other items ({len(different)} are on one side only, e.g. '{example}'); finish both runs."
        )


@dataclass(frozen=True, eq=False)
class GridTest:
    """A grid against its baseline.

    best: index of the cell with the highest score. diffs: (cells,), score minus the baseline's, in [-1, 1]. p: (cells,),
    adjusted for the whole grid, in [1 / (1 + permutations), 1]; `p[best]` is the p value of "the best cell".
    """

    best: int
    diffs: Floats
    p: Floats


def best_of_grid_permutation(
    cells: ArrayLike,
    baseline: ArrayLike,
    problems: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> GridTest:
    """Adjusted p values of all cells of a grid under "no cell differs from the baseline".

    cells: (cells, items) verdicts; baseline: (items,) verdicts; problems: (items,) labels of items that are exchanged
    together (default: every item alone); weights: (items,), what an item adds to the score (default: 1 / items).

    A permutation exchanges method and baseline for a random half of the problems, the same half in all cells, which keeps
    the dependence between cells. Each cell's statistic is its summed difference over the root of the summed squares of its
    problems' differences (McNemar's z where problems are items), and the grid's is the maximum: step-down max-T of Westfall
    and Young, Resampling-Based Multiple Testing (1993), algorithm 4.1. Studentised, because differences of cells that flip
    many items scatter more: their maximum would be the noisiest cells' and hide a quiet cell that gains. The denominator is
    the same under every exchange and the statistic has tails no heavier than a normal one's, so cells with few flips need
    no special care. One-sided: "best" is a claim of one direction.

    Each cell alone is tested exactly where right and wrong flips are equally likely. The grid is where its vector of
    differences is as likely as its negative; otherwise the exchanges have the right covariances and the level is that of a
    multiplier bootstrap of a maximum (Chernozhukov, Chetverikov and Kato, Annals of Statistics 41 (2013) 2786), measured in
    experiments/statistics. Raises UserError when the shapes do not fit, for values other than verdicts, and for fewer than
    one permutation.
    """
    verdicts, base = _verdicts("cells", cells, 2), _verdicts("baseline", baseline, 1)
    count, items = verdicts.shape
    labels = range(items) if problems is None else problems
    share = np.full(items, 1 / max(items, 1)) if weights is None else np.asarray(weights, dtype=np.float64)
    for name, length in (("baseline", len(base)), ("problems", len(labels)), ("weights", len(share))):
        if length != items:
            raise UserError(f"The cells have {items} items and {name} {length}; give them for the same items.")
    if not count or not items:
        raise UserError("A grid without cells or items has no best cell; give at least one of each.")
    if permutations < 1:
        raise UserError(f"permutations={permutations} must be at least 1.")
    differences = verdicts.astype(np.float64) - base
    # Scaled to counts: then equal weights give whole numbers, which float32 adds without error, and ties stay ties.
    by_problem = _sum_by_problem(differences * (share / share.max()), labels)
    p, observed = _max_t(by_problem.astype(np.float32), permutations, np.random.default_rng(seed))
    diffs = differences @ share
    best = int(np.lexsort((observed, np.round(diffs, 12)))[-1])
    return GridTest(best, diffs, p)


def _verdicts(name: str, values: ArrayLike, dimensions: int) -> Bools:
    """An array of right or not; anything else (a gap, a probability) would silently count as right."""
    array = np.asarray(values)
    if array.ndim != dimensions:
        raise UserError(f"{name} has {array.ndim} dimensions and not {dimensions}; give (cells, items) and (items,).")
    if array.dtype == bool:
        return array
    if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all():
        raise UserError(f"{name} holds something other than right and wrong; count abstentions as wrong first.")
    return array.astype(bool)


def _sum_by_problem(differences: Floats, labels: Sequence[object] | range) -> Floats:
    """(cells, items) summed within problems, as (problems, cells)."""
    row = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    sums = np.zeros((len(row), len(differences)))
    np.add.at(sums, [row[label] for label in labels], differences.T)
    return sums


def _max_t(by_problem: NDArray[np.float32], permutations: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Step-down max-T: adjusted p values (cells,) and the observed statistics (cells,)."""
    problems, cells = by_problem.shape
    spread = np.sqrt((by_problem**2).sum(axis=0))
    # A cell that flips nothing has the statistic 0 under every exchange.
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    observed = by_problem.sum(axis=0) * scale
    order = np.argsort(-observed, kind="stable")
    by_problem, scale, bound = by_problem[:, order], scale[order], observed[order] - TIE
    reached = np.zeros(cells, dtype=np.int64)
    for start in range(0, permutations, CHUNK):
        shape = (min(CHUNK, permutations - start), problems)
        signs = rng.integers(0, 2, size=shape, dtype=np.int8).astype(np.float32) * 2 - 1
        drawn = (signs @ by_problem) * scale
        # Each cell is compared with the maximum over itself and the cells below it.
        maxima = np.maximum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]
        reached += (maxima >= bound).sum(axis=0)
    p = np.empty(cells)
    p[order] = np.maximum.accumulate((1 + reached) / (1 + permutations))
    return p, observed.astype(np.float64)


def best_of_grid_seeds(arm_best: float, null_bests: Sequence[float]) -> float:
    """The best score of an arm's grid among the best scores of S null seeds' grids: p = (1 + #{null >= arm}) / (1 + S).

    Exact when arm and seeds were searched alike, whatever the scores' distribution, and coarse: below 19 seeds no result is
    significant at 5 %. B. Phipson and G. K. Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010) 39.
    Raises UserError without a seed.
    """
    if not len(null_bests):
        raise UserError("There is no null seed to compare the best cell with; run a null arm with the same grid.")
    return (1 + sum(null >= arm_best - 1e-12 for null in null_bests)) * (1 / (1 + len(null_bests)))


def best_of_grid(arm: Grid, baseline: Grid) -> float:
    """p of the best cell of `arm` against the baseline (a grid of one cell), adjusted for the search; at most 1.

    Twice the one-sided `best_of_grid_permutation`: two-sided as McNemar's beside it, and the exchanges alone call too many
    useless grids better where baselines are nearly always right (experiments/statistics). Raises UserError when the baseline
    has several cells, and when it was scored on other items. The order of the items may differ.
    """
    if len(baseline.verdicts) != 1:
        raise UserError(f"The baseline has {len(baseline.verdicts)} cells; give one.")
    _check_same_items("The baseline", baseline.items, arm.items)
    place = {item: i for i, item in enumerate(baseline.items)}
    base = baseline.verdicts[0][[place[item] for item in arm.items]]
    found = best_of_grid_permutation(arm.verdicts, base, arm.problems, arm.weights)
    return min(1.0, 2 * float(found.p[found.best]))
