"""One arm's race in many orders of its problems at once: the rule of `l2v.study.race` over arrays, for right and wrong alone.

replay.py races the first orders of every arm by `l2v.study.race` itself, and ends where the two differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l2v.study.race import STAKES, WORTH, Rule, cost, expected_gain, looks, most, room

Ints = NDArray[np.int64]
SMALL = 1e-7  # the preferred of two equal cells stands before the other by this


def race_orders(scores: NDArray[np.float64], rule: Rule, orders: Ints) -> tuple[Ints, Ints]:
    """(rows, winner) of the race in every one of (orders, problems); scores: (cells, problems), 0 or 1, the preferred first."""
    cells = len(scores)
    right = scores.astype(bool)[:, orders].transpose(1, 0, 2)
    live = np.ones((len(orders), cells), dtype=bool)
    rows, seen, every = np.zeros(len(orders), dtype=np.int64), 0, np.arange(len(orders))
    plan = looks(scores.shape[1], rule.budget, rule.eta)
    for look in plan:
        count = live.sum(axis=1)
        if (count <= 1).all():
            break
        rows += np.where(count > 1, count * (look - seen), 0)
        seen = look
        key = np.where(live, right[:, :, :look].sum(axis=2) - SMALL * np.arange(cells), -1.0)
        best = right[every, key.argmax(axis=1), :look][:, None]
        up, down = (best & ~right[:, :, :look]).sum(axis=2), (~best & right[:, :, :look]).sum(axis=2)
        going = live & ~_worse(up, down, rule, cells)
        if rule.delta > 0:
            first = np.arange(cells) == key.argmax(axis=1)[:, None]
            kept = first | ((up + down == 0) & (look == plan[0]))
            going &= kept | (_gains(up, down, look, plan[-1]) * plan[-1] >= WORTH)
        going &= _places(np.where(going, key, -1.0)) < _room(count, rows, plan, look, cells, rule)[:, None]
        equal = _equal(up, down, look, rule, cells) | ~going
        first = np.arange(cells) == going.argmax(axis=1)[:, None]
        going &= first | ~equal.all(axis=1)[:, None]
        live = np.where((count > 1)[:, None], going, live)
    return rows, live.argmax(axis=1)


def _room(count: Ints, rows: Ints, plan: list[int], look: int, cells: int, rule: Rule) -> Ints:
    if rule.delta == 0 or look == plan[-1]:
        return np.array([room(n, rule.eta, last=look == plan[-1]) for n in range(cells + 1)])[count]
    ahead = [later - look for later in plan if later > look]
    costs = np.array([cost(n, ahead, rule.eta) for n in range(2, cells + 1)])
    return 1 + (costs <= (most(cells, plan, rule) - rows)[:, None]).sum(axis=1)


def _gains(up: Ints, down: Ints, seen: int, problems: int) -> NDArray[np.float64]:
    """`expected_gain` of every pair of counts, computed once a pair."""
    pairs, places = np.unique(np.stack([up.ravel(), down.ravel()]), axis=1, return_inverse=True)
    differences = [[1.0] * u + [-1.0] * d + [0.0] * (seen - u - d) for u, d in pairs.T]
    return expected_gain(np.array(differences), problems)[places.reshape(up.shape)]


def _places(key: NDArray[np.float64]) -> Ints:
    return (-key).argsort(axis=1).argsort(axis=1)


def _capital(up: Ints, down: Ints, same: Ints, margin: float) -> NDArray[np.float64]:
    """The e-value after so many problems that the best alone, the cell alone, and both or neither had right."""
    stakes = STAKES / (1 + margin)
    gains = [np.log1p(stakes * (value + margin)) for value in (1, -1, 0)]
    log = sum(n[..., None] * gain for n, gain in zip((up, down, same), gains, strict=True))
    return np.exp(np.minimum(log, 700)).mean(axis=-1)


def _worse(up: Ints, down: Ints, rule: Rule, cells: int) -> NDArray[np.bool_]:
    if rule.delta == 0:
        return np.zeros(up.shape, dtype=bool)
    return _capital(up, down, np.zeros_like(up), 0.0) >= (cells - 1) / rule.delta


def _equal(up: Ints, down: Ints, seen: int, rule: Rule, cells: int) -> NDArray[np.bool_]:
    if rule.delta == 0:
        return np.zeros(up.shape, dtype=bool)
    same, level = seen - up - down, max(1, cells - 1) / rule.delta
    return (_capital(up, down, same, rule.margin) >= level) & (_capital(down, up, same, rule.margin) >= level)
