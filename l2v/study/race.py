"""Racing: the cells of one arm answer the same problems look by look, and those that cannot win answer no more.

Nothing here is needed for an honest report: that is made on other problems, whatever stopped the search. What a race can lose
is the better cell, and this says how often: `delta` bounds the chance that the truly best cell is dropped as proven worse; what
is dropped to keep the budget is bounded by nothing, and is told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from l2v.errors import UserError
from l2v.ranges import check_ranges

# Stakes of the bets that are mixed, as shares of the capital: spread so that small and large differences are both found.
STAKES = np.linspace(0.05, 0.95, 19)

# Cells of the arm that a budget is planned for, and what share of a halving's rows a race is expected to take.
PLANNED, TAKEN = 16, 0.94
# A race of many ties takes more than its budget, so many times at the most. A cell that is not expected to have so many
# problems more right than the best answers no more.
MOST, WORTH = 1.75, 0.5

WORSE, UNLIKELY, BUDGET, EQUAL = "worse", "unlikely", "budget", "equal"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How cells are dropped.

    delta: share of error over the whole race of dropping the best cell as worse; 0: successive halving (Jamieson and Talwalkar,
    AISTATS 2016), in which 1 / eta of the cells go on after every look and nothing else is asked. eta: 2 to 4; a race drops
    cells so only to keep its limit. margin: cells that are known to lie so close to the best (score, 0 to 1) count as equal.
    budget: share of the full grid's rows that a race is expected to answer, see `looks`; it takes MOST times that at the most.
    """

    delta: float = 0.05
    margin: float = 0.05
    budget: float = 0.2
    eta: float = 2.0


@dataclass(frozen=True)
class Drop:
    """A cell that answers no more: its score on what it has answered, and why.

    evidence: the e-value against "it is as good as the best"; by Ville's inequality it exceeds 1 / a with chance a at most.
    """

    cell: int
    value: float
    evidence: float
    why: str


@dataclass(frozen=True)
class Look:
    """What is known after `seen` problems: which cells go on, and which were dropped."""

    seen: int
    live: tuple[int, ...]
    dropped: tuple[Drop, ...]


@dataclass(frozen=True)
class Dropped:
    """A cell that goes no further, for the record; see `Drop`."""

    cell: str
    value: float
    evidence: float
    why: str


@dataclass(frozen=True)
class Round:
    """A look of an arm's race, for the record. problems: how many were new in it; seen: how many there were by then.

    cells: ids of the cells that answered them (ids of the whole part, not of its blocks); values: their scores on all seen.
    """

    seen: int
    problems: int
    cells: tuple[str, ...]
    values: tuple[float, ...]
    dropped: tuple[Dropped, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Round:
        """The round that `dataclasses.asdict` took apart."""
        dropped = tuple(Dropped(**one) for one in told["dropped"])
        return cls(told["seen"], told["problems"], tuple(told["cells"]), tuple(told["values"]), dropped)


@dataclass(frozen=True)
class Promise:
    """What is known of a cell before it answers anything (l2v/study/prior.py), for the record.

    value: the greater, the better its rank; None: nothing is known. skipped: whether it does not race.
    """

    cell: str
    value: float | None
    skipped: bool = False


@dataclass
class Race:
    """One arm's race. order: the cells by preference (of equal cells the first goes on); looks: problems seen at each look.

    `answered` takes the scores of the live cells on the problems up to the next look. live: the cells that still run, the best
    first; rows: problems x cells answered so far.
    """

    order: Sequence[int]
    looks: Sequence[int]
    rule: Rule = field(default_factory=Rule)
    live: tuple[int, ...] = field(init=False)
    history: list[Look] = field(default_factory=list, init=False)
    rows: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))) or not self.order:
            raise UserError("A race needs cells, each once in the order of preference.")
        check_ranges(self.rule, "protocol.")
        self.live = tuple(self.order)
        self.rank = {cell: place for place, cell in enumerate(self.order)}

    @property
    def seen(self) -> int:
        """How many problems the live cells have answered."""
        return self.history[-1].seen if self.history else 0

    @property
    def over(self) -> bool:
        """Whether nothing is left to ask: one cell, or none, or all problems."""
        return len(self.live) <= 1 or len(self.history) == len(self.looks)

    @property
    def block(self) -> tuple[int, int]:
        """The problems that are asked next, by rank: the first, and the one behind the last."""
        return self.seen, self.looks[len(self.history)]

    def withdraw(self, cells: Sequence[int]) -> None:
        """Cells that could not answer (they failed) go no further; the race goes on without them."""
        self.live = tuple(cell for cell in self.live if cell not in cells)

    def answered(self, scores: ArrayLike) -> Look:
        """Take (live cells, problems so far) scores in [0, 1], in the order of `live`; returns who goes on."""
        values = np.asarray(scores, dtype=np.float64)
        seen = self.looks[len(self.history)]
        if self.over or values.shape != (len(self.live), seen):
            raise UserError(f"This look takes scores of {len(self.live)} cells on {seen} problems, not {values.shape}.")
        means = values.mean(axis=1)
        # Rounded: equal sums of equal verdicts must tie whatever their order.
        ranked = sorted(range(len(means)), key=lambda i: (-round(float(means[i]), 12), self.rank[self.live[i]]))
        best = ranked[0]
        differences = values[best] - values
        against = evidence(differences)
        self.rows += len(self.live) * (seen - self.seen)
        why = self._why(ranked, against, differences)
        dropped = tuple(Drop(self.live[i], float(means[i]), float(against[i]), why[i]) for i in ranked if i in why)
        self.live = tuple(self.live[i] for i in ranked if i not in why)
        self.history.append(Look(seen, self.live, dropped))
        return self.history[-1]

    def _why(self, ranked: Sequence[int], against: Floats, differences: Floats) -> dict[int, str]:
        """The cells that are dropped now, by their place in `live`, with the reason."""
        why: dict[int, str] = {}
        others = len(self.order) - 1
        if self.rule.delta > 0:
            gains = expected_gain(differences, self.looks[-1]) * self.looks[-1]
            # That a cell has never differed says little at the first look.
            kept = (differences == 0).all(axis=1) & (not self.history)
            why = {i: UNLIKELY for i in ranked[1:] if gains[i] < WORTH and not kept[i]}
            why |= {i: WORSE for i in ranked if against[i] >= others / self.rule.delta}
        rest = [i for i in ranked if i not in why]
        why |= dict.fromkeys(rest[self._room() :], BUDGET)
        rest = [i for i in rest if i not in why]
        if self.rule.delta > 0 and self._equal(differences[rest], others):
            first = min(rest, key=lambda i: self.rank[self.live[i]])
            why |= {i: EQUAL for i in rest if i != first}
        return why

    def _room(self) -> int:
        """How many cells may go on, so that a halving from here on keeps the limit."""
        later = self.looks[len(self.history) + 1 :]
        if self.rule.delta == 0 or not later:
            return room(len(self.live), self.rule.eta, last=not later)
        seen = self.looks[len(self.history)]
        left = most(len(self.order), self.looks, self.rule) - self.rows
        ahead = [look - seen for look in later]
        return next(n for n in range(len(self.live), 0, -1) if n == 1 or cost(n, ahead, self.rule.eta) <= left)

    def _equal(self, differences: Floats, others: int) -> bool:
        """Whether every cell is known to lie within the margin of the best, on either side."""
        level = max(1, others) / self.rule.delta
        return all(bool((evidence(sign * differences, self.rule.margin) >= level).all()) for sign in (1, -1))


def evidence(differences: Floats, margin: float = 0.0) -> Floats:
    """(cells,) e-values against "the mean of `differences` is at most 0", valid however often they are looked at.

    differences: (cells, problems) in [-1, 1], problems in random order. With a margin: against "the mean of -differences is at
    least `margin`", that is, large where the cell is known to be less than a margin better. The capital of a bettor who stakes
    a fixed share on every problem, mixed over STAKES: a nonnegative martingale of mean at most 1 under the hypothesis
    (Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 86 (2024), section 4).
    """
    levels, places = np.unique(differences, return_inverse=True)
    places = places.reshape(differences.shape)
    counts = np.stack([(places == i).sum(axis=1) for i in range(len(levels))], axis=1)
    # A bet pays at least nothing: its worst outcome is -1 - margin.
    stakes = STAKES / (1 + margin)
    log = counts @ np.log1p(stakes * (levels + margin)[:, None])
    most = log.max(axis=1, keepdims=True)
    return np.asarray(np.exp(np.minimum(most[:, 0], 700)) * np.exp(log - most).mean(axis=1))


def expected_gain(differences: Floats, problems: int) -> Floats:
    """(cells,) score that each cell may be expected to lie above the best, on all problems; 0 to 1.

    differences: (cells, seen), the best one's scores minus the cell's. The mean over all problems of the part of a normal
    distribution that lies above 0, with the mean and the standard error of the differences seen (expected improvement; Jones,
    Schonlau and Welch, J. Global Optimization 13 (1998)); what is seen already cannot change.
    """
    from scipy.special import ndtr

    seen = differences.shape[1]
    means = -differences.mean(axis=1)
    spread = differences.std(axis=1) * np.sqrt((1 - seen / problems) / seen)
    z = means / np.where(spread > 0, spread, 1)
    above = spread * (np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) + z * ndtr(z))
    return np.asarray(np.where(spread > 0, above, 0.0))


def most(cells: int, looks: Sequence[int], rule: Rule) -> int:
    """The rows (problems x cells) that a race may take: MOST times its budget, the first look in any case."""
    if rule.delta == 0 or cells <= 1:
        return cost(cells, looks, rule.eta)
    return min(cells * looks[-1], max(cells * looks[0], int(MOST * rule.budget * cells * looks[-1])))


def looks(problems: int, budget: float, eta: float = 2.0) -> list[int]:
    """How many problems have been answered at each look: a first few, then twice as many each time, at last all.

    The first look is as late as it can be while a halving of PLANNED cells takes 1 / TAKEN of `budget` of the full grid's rows.
    It does not depend on the number of cells: all arms, and layers that are added later, answer the same blocks. A race of ten
    times as many cells takes about a tenth more.
    """
    if problems < 1:
        raise UserError("A race needs at least one problem to choose on.")
    first = 1
    for candidate in range(1, problems + 1):
        if TAKEN * cost(PLANNED, _doubled(candidate, problems), eta) <= budget * problems * PLANNED:
            first = candidate
    return _doubled(first, problems)


def cost(cells: int, looks: Sequence[int], eta: float) -> int:
    """The rows (problems x cells) of a halving at these looks."""
    rows = seen = 0
    for place, look in enumerate(looks):
        if cells <= 1:
            break
        rows, seen = rows + cells * (look - seen), look
        cells = room(cells, eta, last=place + 1 == len(looks))
    return rows


def room(cells: int, eta: float, last: bool) -> int:
    """How many of these cells may go on after a look."""
    return 1 if last else max(1, round(cells / eta))


def _doubled(first: int, problems: int) -> list[int]:
    found = [first]
    while found[-1] * 2 < problems:
        found.append(found[-1] * 2)
    return [*(n for n in found if n < problems), problems]
