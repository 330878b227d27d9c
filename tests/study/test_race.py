"""The race: what its evidence is worth, who goes on, and what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from l2v.errors import UserError
from l2v.study.race import (
    BUDGET,
    EQUAL,
    STAKES,
    UNLIKELY,
    WORSE,
    Race,
    Rule,
    evidence,
    expected_gain,
    looks,
    most,
)


def run(scores: np.ndarray, rule: Rule | None = None) -> Race:
    race = Race(range(len(scores)), looks(scores.shape[1], (rule or Rule()).budget), rule or Rule())
    while not race.over:
        race.answered(scores[list(race.live)][:, : race.looks[len(race.history)]])
    return race


def test_evidence_is_the_mixed_capital_of_the_bets_one_by_one() -> None:
    differences = np.array([[1.0, 0.0, -1.0, 1.0, 0.5], [0.0] * 5, [-1.0] * 5])
    capital = np.ones((3, len(STAKES)))
    for problem in differences.T:
        capital *= 1 + STAKES * problem[:, None]
    assert evidence(differences) == pytest.approx(capital.mean(axis=1))
    assert evidence(differences)[1] == 1.0 and evidence(differences)[2] < 1


def test_evidence_rarely_rejects_a_true_hypothesis_however_often_it_is_looked_at() -> None:
    """Ville: over all looks together, e >= 20 happens in at most 5 % of the races between equal cells."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 2, (2000, 300)).astype(float) - rng.integers(0, 2, (2000, 300))
    crossed = np.zeros(2000, dtype=bool)
    for seen in range(5, 301, 5):
        crossed |= evidence(steps[:, :seen]) >= 20
    share, error = crossed.mean(), norm.ppf(0.999) * np.sqrt(0.05 * 0.95 / 2000)
    assert 0 < share <= 0.05 + error


def test_evidence_grows_without_bound_where_one_cell_is_better() -> None:
    assert evidence(np.array([[1.0] * 20]))[0] > 1000 > evidence(np.array([[1.0] * 4]))[0]


def test_the_margin_asks_whether_a_cell_can_be_much_better() -> None:
    """Cells that never differ are known to be equal within a tenth after a hundred problems, not after ten."""
    assert evidence(np.zeros((1, 100)), margin=0.1)[0] > 100 > 10 > evidence(np.zeros((1, 10)), margin=0.1)[0]


def test_a_clearly_better_cell_wins_and_the_others_are_dropped_as_worse() -> None:
    scores = np.zeros((16, 200))
    scores[11] = 1.0
    race = run(scores)
    assert race.live[0] == 11 and race.seen < 100
    assert {drop.why for look in race.history for drop in look.dropped} <= {WORSE, BUDGET}
    assert all(drop.evidence >= 15 / 0.05 for look in race.history for drop in look.dropped if drop.why == WORSE)


def test_of_equal_cells_the_preferred_one_wins() -> None:
    race = run(np.ones((8, 400)))
    assert {drop.why for look in race.history for drop in look.dropped} == {UNLIKELY} and race.seen == race.looks[1]
    graded = 0.5 + np.random.default_rng(0).choice([-0.05, 0.05], (8, 4000))
    assert race.live[0] == 0
    assert EQUAL in {drop.why for look in run(graded, Rule(margin=0.2)).history for drop in look.dropped}
    assert Race([3, 1, 2, 0], looks(40, 0.2)).answered(np.ones((4, looks(40, 0.2)[0]))).live[0] == 3


@pytest.mark.parametrize("cells", [2, 3, 12, 96, 160])
@pytest.mark.parametrize("problems", [20, 200, 1000])
def test_without_drops_for_worse_the_budget_holds(cells: int, problems: int) -> None:
    rng = np.random.default_rng(1)
    race = run(rng.integers(0, 2, (cells, problems)).astype(float), Rule(delta=0, budget=0.25))
    assert race.rows <= 0.25 * cells * problems + cells * race.looks[0]
    assert race.rows == sum(
        (look.seen - before) * live
        for look, before, live in zip(
            race.history,
            [0, *(look.seen for look in race.history)],
            [cells, *(len(look.live) for look in race.history)],
            strict=False,
        )
    )


def test_the_expected_gain_is_a_normal_tails_mean_and_nothing_is_left_to_gain_at_the_end() -> None:
    rng = np.random.default_rng(3)
    differences = rng.integers(0, 2, (4, 40)) - rng.integers(0, 2, (4, 40)) * 0.5
    error = differences.std(axis=1) / np.sqrt(40) * np.sqrt(1 - 40 / 200)
    expected = [norm.expect(lambda x: max(x, 0), loc=-m, scale=e) for m, e in zip(differences.mean(axis=1), error, strict=True)]
    assert expected_gain(differences, 200) == pytest.approx(expected, abs=1e-6)
    assert not expected_gain(differences, 40).any()


@pytest.mark.parametrize("cells", [2, 3, 12, 96])
@pytest.mark.parametrize("problems", [5, 37, 200])
def test_a_race_of_ties_keeps_its_limit(cells: int, problems: int) -> None:
    """Coins: no cell is worse, and all of them differ all the time."""
    rng = np.random.default_rng(4)
    scores = rng.integers(0, 2, (cells, problems)).astype(float)
    race = run(scores)
    limit = most(cells, race.looks, race.rule)
    assert race.rows <= limit <= max(35 * cells * problems / 100, cells * race.looks[0])
    if problems == 200:
        assert 0.2 * cells * problems < race.rows, "what is still tied goes on beyond the budget"


def test_the_truly_best_cell_is_seldom_dropped_as_worse() -> None:
    """delta bounds the whole race: 12 cells, the best two points above the rest."""
    rng, lost = np.random.default_rng(2), 0
    for _ in range(300):
        scores = (rng.random((12, 200)) < np.r_[0.52, [0.5] * 11][:, None]).astype(float)
        race = run(scores, Rule(delta=0.05))
        lost += any(drop.cell == 0 and drop.why == WORSE for look in race.history for drop in look.dropped)
    assert lost <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_looks_end_with_all_problems_and_double() -> None:
    for problems in (1, 2, 5, 37, 200, 1000):
        found = looks(problems, 0.2)
        assert found[-1] == problems and all(b > a for a, b in zip(found, found[1:], strict=False))
        assert all(b == 2 * a for a, b in zip(found, found[1:-1], strict=False))


@pytest.mark.parametrize("rule", [Rule(delta=1.0), Rule(delta=float("nan")), Rule(margin=-1), Rule(budget=0), Rule(eta=5)])
def test_settings_out_of_range_are_told(rule: Rule) -> None:
    with pytest.raises(UserError, match=r"protocol\.(delta|margin|budget|eta)="):
        Race([0], [1], rule)


def test_scores_of_another_shape_are_refused() -> None:
    race = Race(range(3), [5, 10])
    with pytest.raises(UserError, match="3 cells on 5 problems"):
        race.answered(np.zeros((3, 4)))
