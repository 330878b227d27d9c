"""Rows that are being answered: they enter from a captured window, run token by token, and leave in any order.

A row is one request under one steering. Its injection at block l leaves everything up to block l as the unsteered prompt had
it, so a row enters with the window's keys and values for those blocks and runs only the blocks above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l2v.steering.engine.cache import PromptWriter, RowCache, TokenWriter
from l2v.steering.engine.rows import Steering
from l2v.steering.engine.window import CACHES, Anatomy, Needs, Window
from l2v.steering.hook import inject

# How much of a prompt each kind of positions writes: all or many of its tokens, the last one, or none.
WHOLE = ("all", "text", "prompt", "release")


@dataclass
class Entry:
    """A row in the batch. write: the index of its steering in the batch's table, None for unsteered; changed: whether an
    injection has moved it; [start, end): the cache columns of its tokens.
    """

    request: int
    write: int | None
    changed: bool = False
    start: int = 0
    end: int = 0


@dataclass
class _Plan:
    """What is written after one block: the rows (None: all), their vectors (rows, d) and alphas (rows,).

    unmoved: places and entries that no write has been seen to move yet.
    """

    unmoved: list[tuple[int, Entry]]
    rows: Tensor | None
    vectors: Tensor
    alphas: Tensor


class Stepper:
    """A batch of rows under any mixture of steerings. Entries are told by their place, 0 to n - 1.

    Every method that runs the model leaves the batch as it was when it raises, so that it can be tried again.
    """

    def __init__(self, anatomy: Anatomy, steerings: Sequence[Steering]) -> None:
        self.anatomy = anatomy
        self.steerings = list(steerings)
        self.device = anatomy.target.model.device
        vectors = torch.stack([s.vector.float().cpu() for s in steerings]) if steerings else torch.zeros(0, 1)
        self.vectors = vectors.to(self.device)
        self.alphas = torch.tensor([s.alpha for s in steerings], dtype=torch.float32, device=self.device)
        self.cache = RowCache(len(anatomy.layers))
        self.entries: list[Entry] = []
        self.start = torch.zeros(0, dtype=torch.long, device=self.device)
        self.end = self.start.clone()
        self.position = torch.zeros(1, 0, dtype=torch.long, device=self.device)
        self.arguments: list[dict[str, Any]] = []
        self.plans: dict[int, _Plan] | None = None

    # -- entering --------------------------------------------------------------------------------------------------

    @staticmethod
    def needs(steerings: Sequence[Steering | None]) -> Needs:
        """What a window must keep for rows under these steerings."""
        live = [s for s in steerings if s is not None]
        whole = frozenset(s.layer for s in live if s.positions in WHOLE)
        return Needs(whole, frozenset(s.layer for s in live if s.positions == "generated"))

    def sharing(self, entry: Entry) -> tuple[int, int]:
        """A key to sort entries by before they enter: how much of the prompt they run, and the block above which they do."""
        if entry.write is None or self.steerings[entry.write].positions == "decode":
            return 2, 0
        steering = self.steerings[entry.write]
        return (0 if steering.positions in WHOLE else 1), steering.layer

    @torch.no_grad()
    def enter(self, window: Window, entries: list[Entry], rows: int, columns: int) -> Tensor:
        """Take rows in, sorted by `sharing` and of one first part of it; the logits of their first token, (rows, vocabulary).

        rows, columns: the size that the buffers should at least have.
        """
        first, span = len(self.entries), max((e.end for e in self.entries), default=0)
        width = max(window.lengths[e.request] for e in entries)
        self.cache.reserve(max(rows, first + len(entries)), max(columns, width + 1), first, span)
        group = _Group(self, window, entries, first, width)
        kind = self.sharing(entries[0])[0]
        logits = (group.run_prompts, group.run_last_tokens, group.share)[kind]()
        for entry in entries:
            entry.start, entry.end = width - window.lengths[entry.request], width
        self.start = torch.cat([self.start, torch.tensor([e.start for e in entries], device=self.device)])
        self.end = torch.cat([self.end, torch.tensor([e.end for e in entries], device=self.device)])
        position = window.next_position[:, group.requests].to(self.device)
        self.position = position if first == 0 else torch.cat([self.position, position], dim=1)
        self.entries = [*self.entries, *entries]
        self.plans = None
        if not self.arguments:
            self.arguments = [_without_tensors(call) for call in window.calls]
        return logits.to(self.device)

    # -- one token -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token per row, (rows,) long, back to the model; the logits of the next, (rows, vocabulary)."""
        anatomy, rows = self.anatomy, len(self.entries)
        ends = [entry.end for entry in self.entries]
        span = max(ends) + 1
        self.cache.reserve(rows, span, rows, span - 1)
        if self.plans is None:
            self.plans = self._plans()
        uniform = min(ends) == span - 1
        writer = TokenWriter(self.cache, 0, span - 1 if uniform else self.end, span)
        hidden = anatomy.embed(tokens[:, None])
        given = {
            "attention_mask": None if uniform and not any(e.start for e in self.entries) else self._mask(span, hidden.dtype),
            "position_embeddings": anatomy.rotate(hidden, self.position),
            "position_ids": (self.end - self.start)[:, None],
        }
        for index, call in enumerate(self.arguments):
            arguments = {name: given.get(name) if value is None else value for name, value in call.items()}
            hidden = anatomy.block(index, hidden, arguments | {name: writer for name in CACHES if name in call})
            if index in self.plans:
                hidden = _write(self.plans[index], hidden)
        logits = anatomy.logits(hidden).to(self.device)
        for entry in self.entries:
            entry.end += 1
        self.end = self.end + 1
        self.position = self.position + 1
        return logits

    def _mask(self, span: int, dtype: torch.dtype) -> Tensor:
        """(rows, 1, 1, span), to be added: every token sees its own row, itself included."""
        column = torch.arange(span, device=self.device)
        outside = (column < self.start[:, None]) | (column > self.end[:, None])
        mask = torch.zeros(outside.shape, dtype=dtype, device=self.device).masked_fill_(outside, torch.finfo(dtype).min)
        return mask[:, None, None]

    def _plans(self) -> dict[int, _Plan]:
        """Per block, the rows that are written after it while they generate."""
        by_layer: dict[int, list[int]] = {}
        for row, entry in enumerate(self.entries):
            if entry.write is not None and self.steerings[entry.write].positions != "prompt":
                by_layer.setdefault(self.steerings[entry.write].layer, []).append(row)
        plans = {}
        for layer, rows in by_layer.items():
            index = torch.tensor(rows, device=self.device) if len(rows) < len(self.entries) else None
            plans[layer] = self.plan([self.entries[row] for row in rows], index)
        return plans

    def plan(self, entries: list[Entry], rows: Tensor | None) -> _Plan:
        """The write of these entries' vectors to `rows` of a tensor."""
        index = torch.tensor([e.write for e in entries], device=self.device)
        unmoved = [(place, entry) for place, entry in enumerate(entries) if not entry.changed]
        return _Plan(unmoved, rows, self.vectors[index], self.alphas[index])

    # -- leaving ---------------------------------------------------------------------------------------------------

    def keep(self, kept: Sequence[int]) -> list[int]:
        """Drop all rows but those at `kept` (ascending). The last ones move to the freed places: the old places, in order."""
        count = len(kept)
        gaps = sorted(set(range(count)) - set(kept))
        sources = [row for row in kept if row >= count]
        if gaps:
            self.cache.move(sources, gaps, max(self.entries[row].end for row in sources))
        order = list(range(count))
        for place, row in zip(gaps, sources, strict=True):
            order[place] = row
        index = torch.tensor(order, dtype=torch.long, device=self.device)
        self.start, self.end, self.position = self.start[index], self.end[index], self.position[:, index]
        self.entries = [self.entries[row] for row in order]
        self.plans = None
        return order

    def release_memory(self) -> None:
        """Give back the memory of all but the present rows."""
        self.cache.shrink(len(self.entries), max((e.end for e in self.entries), default=0))


class _Group:
    """Rows of one window that enter together, in cache rows from `first` on; prompts end at column `width`."""

    def __init__(self, stepper: Stepper, window: Window, entries: list[Entry], first: int, width: int) -> None:
        self.stepper, self.window, self.entries, self.first, self.width = stepper, window, entries, first, width
        self.anatomy = stepper.anatomy
        self.requests = torch.tensor([e.request for e in entries], device=stepper.device)
        self.selected: dict[tuple[int, int], Any] = {}

    def share(self) -> Tensor:
        """The whole prompt is the unsteered one."""
        self._share_keys([0] * len(self.anatomy.layers))
        return self.window.logits[self.requests.to(self.window.logits.device)]

    def run_prompts(self) -> Tensor:
        """Every prompt token goes through the blocks above the injection."""
        writer = PromptWriter(self.stepper.cache, self.first)
        hidden, running = self._climb(self.window.states, writer, self.window.width - self.width)
        self._share_keys(running)
        return self.anatomy.logits(hidden[:, -1:])

    def run_last_tokens(self) -> Tensor:
        """The last prompt token alone goes through them, and sees the unsteered rest."""
        self._share_keys([0] * len(self.anatomy.layers))
        writer = TokenWriter(self.stepper.cache, self.first, self.width - 1, self.width)
        hidden, _ = self._climb(self.window.last, writer, self.window.width - 1)
        return self.anatomy.logits(hidden)

    def _climb(self, states: dict[int, Tensor], writer: Any, column: int) -> tuple[Tensor, list[int]]:
        """Block by block: rows join after the block that they are injected at, in the order of `entries`.

        column: the window column from which on tokens run. Returns the last block's output, (rows, tokens, d), and per block
        how many rows it ran.
        """
        window, hidden, running = self.window, None, []
        steerings = [self.stepper.steerings[e.write] for e in self.entries if e.write is not None]
        for index in range(len(self.anatomy.layers)):
            count = 0 if hidden is None else len(hidden)
            running.append(count)
            if hidden is not None:
                hidden = self.anatomy.block(index, hidden, self._arguments(index, count, column, writer))
            joining = [row for row, s in enumerate(steerings) if s.layer == index]
            if joining:
                begun = self._begin(states[index], joining, column)
                hidden = begun if hidden is None else torch.cat([hidden.to(begun.device), begun])
            if hidden is not None and index in window.between:
                added = window.between[index][:, column:]
                hidden = hidden + added[self.requests[: len(hidden)].to(added.device)].to(hidden.device)
        assert hidden is not None
        return hidden, running

    def _begin(self, states: Tensor, rows: list[int], column: int) -> Tensor:
        """The injected output of the block at which these rows join."""
        window, entries = self.window, [self.entries[row] for row in rows]
        requests = self.requests[rows[0] : rows[-1] + 1].to(states.device)
        tokens = window.width - column
        hidden = states[requests, -tokens:]
        mask = torch.stack(
            [window.positions(self.stepper.steerings[e.write].positions)[e.request] for e in entries if e.write is not None]
        )
        return _write(self.stepper.plan(entries, None), hidden, mask[:, column:])

    def _arguments(self, index: int, count: int, column: int, writer: Any) -> dict[str, Any]:
        """What block `index` is called with for the first `count` rows: what the model itself called it with."""
        call = dict(self.window.calls[index])
        for name, value in call.items():
            if name in CACHES and value is not None:
                call[name] = writer
            elif name == "attention_mask":
                call[name] = self._first(self._mask(value, column), count, 4)
            elif name == "position_embeddings":
                call[name] = tuple(self._first(self._cut(part, column, 3), count, 3) for part in value)
            elif name == "position_ids" and value is not None:
                call[name] = self._first(self._cut(value, column, 2), count, 2)
            elif name == "cache_position" and value is not None:
                call[name] = value[column:]
        return call

    def _first(self, tensor: Tensor | None, count: int, rank: int) -> Tensor | None:
        """The first rows of a tensor whose rows are its rank-th dimension from the end."""
        if tensor is None or tensor.shape[-rank] == 1:
            return tensor
        return tensor.narrow(tensor.ndim - rank, 0, count)

    def _cut(self, tensor: Tensor, column: int, rank: int) -> Tensor:
        """The rows' entries of a tensor (..., requests or 1, tokens, ...), from `column` on; worked out once."""
        key = (id(tensor), rank)
        if key not in self.selected:
            dim = tensor.ndim - rank
            cut = tensor.narrow(dim + 1, column, tensor.shape[dim + 1] - column)
            self.selected[key] = cut if cut.shape[dim] == 1 else cut.index_select(dim, self.requests.to(cut.device))
        return self.selected[key]

    def _mask(self, mask: Tensor | None, column: int) -> Tensor | None:
        """The rows' attention masks; None when attention is plainly causal, or a single token sees its whole row."""
        if mask is None:
            return None
        key = (id(mask), 4)
        if key not in self.selected:
            self.selected[key] = self._cut_mask(mask, column)
        return self.selected[key]

    def _cut_mask(self, mask: Tensor, column: int) -> Tensor | None:
        requests = sorted({e.request for e in self.entries})
        padded = any(self.window.lengths[request] < self.width for request in requests)
        if self.anatomy.attention == "sdpa" and not padded and self.window.plainly_causal(mask, requests):
            return None
        cut = mask[:, :, column:, self.window.width - self.width :]
        return cut if len(cut) == 1 else cut[self.requests.to(cut.device)]

    def _share_keys(self, running: Sequence[int]) -> None:
        """Give the rows that a block did not run (all but its first so many) the unsteered keys and values."""
        skip = self.window.width - self.width
        for block, count in enumerate(running):
            if count < len(self.entries):
                keys, values = self.window.keys[block], self.window.values[block]
                requests = self.requests[count:].to(keys.device)
                self.stepper.cache.put(block, self.first + count, keys[:, :, skip:][requests], values[:, :, skip:][requests])


def _write(plan: _Plan, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
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


def _without_tensors(call: dict[str, Any]) -> dict[str, Any]:
    """A block's arguments with None for what differs from token to token."""
    return {name: None if name in CACHES or isinstance(value, (Tensor, tuple)) else value for name, value in call.items()}
