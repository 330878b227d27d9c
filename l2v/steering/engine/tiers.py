"""Which rows run a block for themselves: rows of one question whose tokens are equal so far share all blocks below their
injections, and keys and values there, until their tokens part.

A write after block l leaves everything up to block l as the unsteered model has it, so that there a row is told by its question
and its tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from l2v.steering.engine.entries import Entry, Lane, Plan

Places = npt.NDArray[np.int64]
# Places whose keys and values are copied, (from, to).
Copies = list[tuple[int, int]]


@dataclass
class Tier:
    """The blocks from the one after a written block to the next written one.

    of: per row of the batch its place, the row of the cache that it has in these blocks; count: places in use. What follows is
    worked out anew whenever rows come, part or leave. reps, rows: the first row of every place; rise: the place below of every
    place, in the lowest tier its row; None for either where that changes nothing. lane: where tokens lie; plan: the write
    between the tier below and this one.
    """

    blocks: range
    of: Places = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    count: int = 0
    reps: Places = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    rows: Tensor | None = None
    rise: Tensor | None = None
    lane: Lane | None = None
    plan: Plan | None = None

    def places(self, entries: Sequence[Entry], layers: Sequence[int]) -> tuple[list[int], list[int]]:
        """For rows that enter together: the place of each, and which of them is the first at every new place.

        layers: the block that each is written after, the number of blocks for none. Rows that are written below these blocks
        get places of their own.
        """
        shared: dict[int, int] = {}
        of, firsts = list[int](), list[int]()
        for number, (entry, layer) in enumerate(zip(entries, layers, strict=True)):
            place = self.count + len(firsts)
            if layer >= self.blocks.start:
                place = shared.setdefault(entry.request, place)
            if place == self.count + len(firsts):
                firsts.append(number)
            of.append(place)
        return of, firsts

    def parted(self, tokens: Places) -> tuple[Places, Copies]:
        """Places under the next tokens of all rows: where rows at one place differ, all but one kind get a new place."""
        keys = self.of * (1 + int(tokens.max())) + tokens
        _, rows, kind = np.unique(keys, return_index=True, return_inverse=True)
        old = self.of[rows]  # per kind, ascending
        parts = np.append(False, old[1:] == old[:-1])
        new = old.copy()
        new[parts] = self.count + np.arange(parts.sum())
        return new[kind], list(zip(old[parts].tolist(), new[parts].tolist(), strict=True))

    def kept(self, rows: Sequence[int]) -> tuple[Places, Copies]:
        """Places when only these rows stay, in this order: the last places move to those that fall free."""
        used, place = np.unique(self.of[list(rows)], return_inverse=True)
        gaps = np.setdiff1d(np.arange(len(used)), used)
        new, tail = used.copy(), len(used) - len(gaps)
        new[tail:] = gaps
        return new[place], list(zip(used[tail:].tolist(), gaps.tolist(), strict=True))

    def move(self, of: Places) -> None:
        self.of, self.count = of, int(of.max(initial=-1)) + 1

    def settle(self, below: Tier | None, device: torch.device) -> None:
        """Work out which row stands for each place, and where the places stand in the tier below."""
        self.reps = np.unique(self.of, return_index=True)[1]
        self.rows = as_index(self.reps, len(self.of), device)
        self.rise = self.rows if below is None else as_index(below.of[self.reps], below.count, device)


def as_index(places: Places, among: int, device: torch.device) -> Tensor | None:
    """As a tensor; None where these are all, in order."""
    whole = len(places) == among and bool((places == np.arange(among)).all())
    return None if whole else torch.from_numpy(places).to(device)


def tiers_between(layers: Sequence[int], blocks: int) -> list[Tier]:
    """The tiers of a decoder whose rows are written after these blocks; the last one may hold no block."""
    starts = [0, *sorted({layer + 1 for layer in layers})]
    return [Tier(range(start, end)) for start, end in zip(starts, [*starts[1:], blocks], strict=True)]


def pick(tensor: Tensor, index: Tensor | None, dim: int = 0) -> Tensor:
    """Those of its rows; all where the index is None."""
    return tensor if index is None else tensor.index_select(dim, index.to(tensor.device))
