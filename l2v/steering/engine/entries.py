"""The rows of a batch: which request each is, what is written into it, and where its tokens lie in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from l2v.steering.engine.sharing import BatchPart, Prompts, arrange
from l2v.steering.write import inject


@dataclass
class Entry:
    """A row in the batch. write: the index of its steering in the batch's table, None for unsteered; changed: whether an
    injection has moved it.

    lower, upper: the cache columns [start, end) that its tokens took when it entered, in blocks up to `joins` and above it;
    since: the step at which that was. prompts: what it shares in the lower blocks, None where it holds a copy.
    """

    request: int
    write: int | None
    changed: bool = False
    prompts: Prompts | None = None
    lower: tuple[int, int] = (0, 0)
    upper: tuple[int, int] = (0, 0)
    joins: int | None = None
    since: int = 0

    def columns(self, block: int) -> tuple[int, int]:
        """Its columns in a block when it entered."""
        return self.upper if self.joins is not None and self.joins < block else self.lower

    def shares(self, block: int) -> bool:
        """Whether it attends to a prompt that is held once."""
        return self.prompts is not None and (self.joins is None or self.joins >= block)


@dataclass
class Plan:
    """What is written after one block: the rows (None: all), their vectors (rows, d) and alphas (rows,).

    unmoved: places and entries that no write has been seen to move yet.
    """

    unmoved: list[tuple[int, Entry]]
    rows: Tensor | None
    vectors: Tensor
    alphas: Tensor


@dataclass
class Lane:
    """Where the rows' tokens lie in some blocks, [start, end) per row, and what of their prompts they share there.

    top, low: the largest and smallest `end`; filled: whether every row begins at column 0; most: columns that rows will need.
    """

    start: Tensor
    end: Tensor
    top: int
    low: int
    filled: bool
    most: int
    parts: list[BatchPart]
    masks: dict[int | None, Tensor | None] = field(default_factory=dict)
    writer: Any = None

    def advance(self) -> None:
        self.end, self.top, self.low, self.masks, self.writer = self.end + 1, self.top + 1, self.low + 1, {}, None

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """(rows, 1, 1, top + 1), to be added: the new token, at column `end`, sees its own row as far as `window` tokens reach,
        itself included; None when it sees every column."""
        if window not in self.masks:
            self.masks[window] = self._mask(window, dtype)
        return self.masks[window]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        reaches = window is None or self.top < window
        if reaches and self.low == self.top and self.filled:
            return None
        column = torch.arange(self.top + 1, device=self.end.device)
        first = self.start if window is None else torch.maximum(self.start, self.end - window + 1)
        outside = (column < first[:, None]) | (column > self.end[:, None])
        mask = torch.zeros(outside.shape, dtype=dtype, device=self.end.device)
        return mask.masked_fill_(outside, torch.finfo(dtype).min)[:, None, None]


def parts_of(entries: Sequence[Entry], block: int, device: Any) -> list[BatchPart]:
    """What the entries of one pass share at a block, window by window."""
    rows: dict[int, list[int]] = {}
    for row, entry in enumerate(entries):
        if entry.shares(block):
            rows.setdefault(id(entry.prompts), []).append(row)
    parts = []
    for members in rows.values():
        prompts = entries[members[0]].prompts
        assert prompts is not None
        parts.append(arrange(prompts, members, [entries[row].request for row in members], len(entries), device))
    return parts


def write(plan: Plan, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
    """Inject, and note which entries it moved until all have been."""
    device = hidden.device
    part = hidden if plan.rows is None else hidden[plan.rows.to(device)]
    moved = inject(part, plan.vectors.to(device), plan.alphas.to(device), mask if mask is None else mask.to(device))
    if plan.unmoved:
        changed = (part != moved).flatten(1).any(dim=1).tolist()
        for place, entry in plan.unmoved:
            entry.changed = changed[place]
        plan.unmoved = [(place, entry) for place, entry in plan.unmoved if not entry.changed]
    return moved if plan.rows is None else hidden.index_copy(0, plan.rows.to(device), moved)
