"""The maximum over a grid against its null: by hand, against scipy, and in simulated studies whose truth is known."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from l2v.benchmarks.metrics import Marked, Score
from l2v.errors import UserError
from l2v.study.statistics.best_of_grid import best_of_grid, best_of_grid_permutation, best_of_grid_seeds, grid

SCRIPT = Path(__file__).parents[3] / "experiments" / "statistics" / "simulate.py"
STUDIES = 200
# A test of level 5 % calls more of 200 null studies than this once in a thousand times.
MOST = int(binom.isf(0.001, STUDIES, 0.05))


@pytest.fixture(scope="module")
def simulate() -> Any:
    """The script of experiments/statistics."""
    spec = importlib.util.spec_from_file_location("simulate_statistics", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def verdicts(*rows: str) -> Any:
    """(rows, items) from "+-"."""
    return np.array([[sign == "+" for sign in row] for row in rows])


def test_seeds_by_hand() -> None:
    assert best_of_grid_seeds(0.5, [0.1, 0.2, 0.3]) == pytest.approx(1 / 4)
    assert best_of_grid_seeds(0.2, [0.1, 0.2, 0.3]) == pytest.approx(3 / 4), "a tie counts against the arm"
    assert best_of_grid_seeds(0.0, [0.1] * 19) == pytest.approx(1)
    assert best_of_grid_seeds(0.9, [0.1] * 19) == pytest.approx(0.05)


def marked(right: Any) -> Score:
    """Every item a problem of its own."""
    return Score("accuracy", 0, tuple(Marked(str(i), str(i), (), bool(r)) for i, r in enumerate(right)))


def test_one_cell_is_the_one_sided_exact_mcnemar() -> None:
    base = verdicts("-" * 14 + "+" * 4 + "+-" * 20)[0]
    cell = verdicts("+" * 14 + "-" * 4 + "+-" * 20)
    found = best_of_grid_permutation(cell, base, permutations=20_000)
    assert found.diffs[0] == pytest.approx(10 / 58)
    assert found.p[0] == pytest.approx(binomtest(14, 18, 0.5, alternative="greater").pvalue, abs=0.003)
    both = best_of_grid(grid([marked(cell[0])]), grid([marked(base)]))
    assert both == pytest.approx(binomtest(14, 18, 0.5).pvalue, abs=0.006)


def by_enumeration(sums: Any) -> list[float]:
    """Step-down max-T adjusted p values over all sign changes of (problems, cells), written out from the definition."""
    spread = np.sqrt((sums**2).sum(axis=0))
    t = sums.sum(axis=0) / spread
    order = sorted(range(len(t)), key=lambda c: -t[c])
    flips = [(np.array(s)[:, None] * sums).sum(axis=0) / spread for s in itertools.product([1, -1], repeat=len(sums))]
    p, last = [0.0] * len(t), 0.0
    for place, cell in enumerate(order):
        share = np.mean([max(flip[c] for c in order[place:]) >= t[cell] - 1e-9 for flip in flips])
        p[cell] = last = max(last, float(share))
    return p


@pytest.mark.parametrize("versions", [1, 3])
def test_adjusted_p_values_are_those_of_all_exchanges(versions: int) -> None:
    random = np.random.default_rng(versions)
    base = random.random(11 * versions) < 0.3
    cells = np.array([base, base, *(random.random((3, 11 * versions)) < 0.5)])
    cells[0, ~base] = random.random(int((~base).sum())) < 0.6
    cells[1, :versions] = True
    problems = [str(i // versions) for i in range(11 * versions)]
    found = best_of_grid_permutation(cells, base, problems, permutations=20_000)
    sums = (cells.astype(float) - base).reshape(5, 11, versions).sum(axis=2).T
    assert found.p == pytest.approx(by_enumeration(sums), abs=0.015)


def test_the_dependence_between_cells_is_kept() -> None:
    """96 copies of a cell are one cell; 96 unrelated ones are many."""
    random = np.random.default_rng(0)
    base = np.arange(300) % 2 == 0
    flips = random.random((96, 300)) < 0.1
    unrelated = np.where(flips, ~base, base)
    order = np.argsort([-(row.astype(int) - base).sum() for row in unrelated])
    alone = best_of_grid_permutation(unrelated[order[:1]], base).p[0]
    copies = best_of_grid_permutation(np.repeat(unrelated[order[:1]], 96, axis=0), base).p
    assert copies == pytest.approx([alone] * 96)
    assert best_of_grid_permutation(unrelated, base).p[order[0]] > 5 * alone


def test_a_cell_that_changes_nothing_and_one_that_harms_are_not_better() -> None:
    base = verdicts("+-" * 30)[0]
    found = best_of_grid_permutation([base, base & (np.arange(60) > 30)], base)
    assert (found.best, found.diffs[0]) == (0, 0)
    assert found.p.min() > 0.4


def test_versions_of_a_problem_are_exchanged_together() -> None:
    """Eight problems whose five versions all turn right: 2**-8 and not 2**-40."""
    base, cell = np.zeros(100, dtype=bool), np.arange(100) < 40
    problems = [str(i // 5) for i in range(100)]
    assert best_of_grid_permutation([cell], base, problems).p[0] == pytest.approx(2**-8, abs=0.002)
    assert best_of_grid_permutation([cell], base).p[0] == pytest.approx(1 / 10_001)


def test_a_quiet_cell_is_not_drowned_by_noisy_ones() -> None:
    """Ten clean flips to right beside cells that flip half of all items: the largest difference alone would not see them."""
    random = np.random.default_rng(1)
    base = random.random(200) < 0.5
    noisy = np.where(random.random((50, 200)) < 0.5, ~base, base)
    quiet = base.copy()
    quiet[np.flatnonzero(~base)[:16]] = True
    assert best_of_grid_permutation([*noisy, quiet], base).p[-1] < 0.05


def test_the_same_seed_gives_the_same_p() -> None:
    random = np.random.default_rng(2)
    cells, base = random.random((5, 50)) < 0.5, random.random(50) < 0.5
    first, again = (best_of_grid_permutation(cells, base, permutations=1500, seed=3).p for _ in range(2))
    assert (first == again).all()
    assert (first != best_of_grid_permutation(cells, base, permutations=1500, seed=4).p).any()


def score(right: str, parts: tuple[str, ...] = (), all_right: bool = False, ids: str = "") -> Score:
    """Items of problems of two; with parts, the last two items are of the second part."""
    ids = ids or "abcdefgh"[: len(right)]
    subset = [parts[i >= len(right) - 2] if parts else "" for i in range(len(right))]
    items = [Marked(i, str(n // 2), (s,), r == "+") for n, (i, s, r) in enumerate(zip(ids, subset, right, strict=True))]
    return Score("accuracy", 0, tuple(items), parts, all_right)


def test_a_grid_reads_scores_as_they_are_printed() -> None:
    plain = grid([score("++--"), score("+---")])
    assert plain.values == pytest.approx([0.5, 0.25])
    assert plain.problems == ("0", "0", "1", "1")
    means = grid([score("++++--", ("x", "y")), score("----++", ("x", "y"))])
    assert means.values == pytest.approx([0.5, 0.5]), "subsets weigh the same"
    worst = grid([score("++-+", all_right=True)])
    assert (worst.items, worst.values[0]) == (("0", "1"), 0.5)


def test_p_of_the_best_cell_is_twice_the_one_sided_one() -> None:
    arm = grid([score("-+------"), score("++++++--"), score("--------")])
    base = grid([score("-------+")])
    found = best_of_grid_permutation(arm.verdicts, base.verdicts[0], arm.problems)
    assert (found.best, found.diffs[1], arm.values[1]) == (1, pytest.approx(0.625), 0.75)
    assert best_of_grid(arm, base) == 2 * found.p[1]


def test_items_are_matched_by_id_and_not_by_order() -> None:
    arm = grid([score("++++++--", ids="abcdefgh")])
    turned = best_of_grid(arm, grid([score("++------", ids="ghabcdef")]))
    assert turned == best_of_grid(arm, grid([score("------++")])) == pytest.approx(10 / 16, abs=0.03)
    assert best_of_grid(arm, grid([score("++------")])) == pytest.approx(1 / 2, abs=0.03)


@pytest.mark.parametrize(
    ("arm", "base", "said"),
    [
        (["++--"], ["+-----"], "baseline was scored on other items"),
        (["++--"], ["+---", "+---"], "baseline has 2 cells"),
    ],
)
def test_unlike_things_are_not_compared(arm: list[str], base: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        best_of_grid(*(grid([score(row) for row in rows]) for rows in (arm, base)))


def test_cells_on_other_items_are_no_grid() -> None:
    with pytest.raises(UserError, match="Cell 1 of the grid was scored on other items"):
        grid([score("++--"), score("++-")])
    with pytest.raises(UserError, match="without cells"):
        grid([])


@pytest.mark.parametrize(
    ("cells", "base", "options", "said"),
    [
        ([[True, False]], [True], {}, "baseline 1"),
        ([[True, False]], [True, False], {"problems": ["1"]}, "problems 1"),
        ([[True, False]], [True, False], {"weights": [1.0]}, "weights 1"),
        ([[True, None]], [True, False], {}, "right and wrong"),
        ([[0.3, 0.6]], [True, False], {}, "right and wrong"),
        ([True, False], [True, False], {}, "dimensions"),
        (np.empty((0, 2), dtype=bool), [True, False], {}, "without cells or items"),
        ([[True, False]], [True, False], {"permutations": 0}, "permutations=0"),
    ],
)
def test_input_that_does_not_fit_is_refused(cells: Any, base: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        best_of_grid_permutation(cells, base, **options)
    with pytest.raises(UserError, match="no null seed"):
        best_of_grid_seeds(0.5, [])


def test_a_null_grid_is_called_null_though_its_best_cell_looks_points_better(simulate: Any) -> None:
    random = np.random.default_rng(5)
    found = [simulate.sweep(simulate.World(300), random) for _ in range(STUDIES)]
    looks = np.median([study.diff for study in found])
    assert 0.03 < looks < 0.055
    assert sum(study.permutation for study in found) <= MOST
    assert sum(study.naive for study in found) > 50, "without the correction a third of these would be findings"


def test_a_planted_effect_is_found(simulate: Any) -> None:
    random = np.random.default_rng(6)
    world = simulate.World(1000, effects=simulate.planted(simulate.MIDDLE, 0.06))
    found = [simulate.sweep(world, random) for _ in range(60)]
    assert sum(study.permutation for study in found) >= 53
    assert sum(study.best == simulate.MIDDLE for study in found) >= 57


@pytest.mark.parametrize(("items", "base", "versions"), [(200, 0.1, 1), (500, 0.4, 5)])
def test_null_grids_are_called_at_most_as_often_as_stated(simulate: Any, items: int, base: float, versions: int) -> None:
    random = np.random.default_rng(7)
    found = [simulate.null_sweep(simulate.World(items, base, versions), random) for _ in range(STUDIES)]
    assert sum(study["one-sided: best_of_grid_permutation"] for study in found) <= MOST
    assert sum(study["p (best of grid)"] for study in found) <= int(binom.isf(0.001, STUDIES, 0.025)), "it is twice that"
    assert sum(study["naive: best cell, exact McNemar"] for study in found) > 50


def test_null_arms_among_null_seeds(simulate: Any) -> None:
    random = np.random.default_rng(8)
    name = f"best_of_grid_seeds, {simulate.SEEDS} seeds"
    assert 0 < sum(simulate.seeds(simulate.World(200), random)[name] for _ in range(STUDIES)) <= MOST


def test_the_paired_tests_and_holm_keep_their_level(simulate: Any) -> None:
    random = np.random.default_rng(9)
    arms = [simulate.one_arm(simulate.World(300, versions=5), random) for _ in range(STUDIES)]
    assert sum(arm["paired_scores, sign flips over problems"] for arm in arms) <= MOST
    assert sum(arm["naive: exact McNemar over versions"] for arm in arms) > MOST
    alone = [simulate.one_arm(simulate.World(200), random)["paired, exact McNemar"] for _ in range(STUDIES)]
    assert 0 < sum(alone) <= MOST
    tables = [simulate.family(simulate.World(300), random) for _ in range(STUDIES)]
    assert sum(table["Holm, 12 arms"] for table in tables) <= MOST
    assert sum(table["naive: uncorrected, 12 arms"] for table in tables) > 2 * MOST


@pytest.mark.parametrize("versions", [1, 5])
def test_intervals_hold_the_truth_as_often_as_stated(simulate: Any, versions: int) -> None:
    random = np.random.default_rng(10)
    found = [simulate.coverage(simulate.World(500, versions=versions), random) for _ in range(STUDIES)]
    for name in found[0]:
        missed = STUDIES - sum(study[name] for study in found)
        assert missed > MOST if name.startswith("naive") else missed <= MOST, name
