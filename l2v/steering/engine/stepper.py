"""Rows that are being answered: they enter from a captured window, run token by token, and leave in any order.

A row is one request under one steering. Its injection at block l leaves everything up to block l as the unsteered prompt had
it, so a row enters with the window's keys and values for those blocks and runs only the blocks above. Long prompts are not
copied: what rows leave as it was, they attend to where it lies (sharing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from l2v.steering.engine.cache import PromptWriter, RowCache, TokenWriter
from l2v.steering.engine.rows import Steering
from l2v.steering.engine.sharing import BatchPart, Prompts, arrange, shared
from l2v.steering.engine.window import CACHES, Anatomy, Needs, Window
from l2v.steering.hook import inject

# How much of a prompt each kind of positions writes: all or many of its tokens, the last one, or none.
WHOLE = ("all", "text", "prompt", "release")
# Prompts of fewer tokens are copied to their rows, which is faster than attending twice.
SHARED_TOKENS = 128


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
class _Plan:
    """What is written after one block: the rows (None: all), their vectors (rows, d) and alphas (rows,).

    unmoved: places and entries that no write has been seen to move yet.
    """

    unmoved: list[tuple[int, Entry]]
    rows: Tensor | None
    vectors: Tensor
    alphas: Tensor


@dataclass
class _Lane:
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
        """Every row has one token more."""
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


class Stepper:
    """A batch of rows under any mixture of steerings. Entries are told by their place, 0 to n - 1.

    new_tokens: how many a row generates at most. share_from: prompts of so many tokens are held once for all their rows; None:
    never. Every method that runs the model leaves the batch as it was when it raises, so that it can be tried again.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        steerings: Sequence[Steering],
        new_tokens: int,
        share_from: int | None = SHARED_TOKENS,
    ) -> None:
        self.anatomy = anatomy
        self.steerings = list(steerings)
        self.new_tokens, self.share_from = new_tokens, share_from
        self.device = anatomy.target.model.device
        vectors = torch.stack([s.vector.float().cpu() for s in steerings]) if steerings else torch.zeros(0, 1)
        self.vectors = vectors.to(self.device)
        self.alphas = torch.tensor([s.alpha for s in steerings], dtype=torch.float32, device=self.device)
        self.cache = RowCache(len(anatomy.layers))
        self.entries: list[Entry] = []
        self.clock = 0
        self.length = torch.zeros(0, dtype=torch.long, device=self.device)
        self.position = torch.zeros(1, 0, dtype=torch.long, device=self.device)
        self.arguments: list[dict[str, Any]] = []
        self.plans: dict[int, _Plan] | None = None
        self.lanes: list[_Lane] = []  # per block; blocks of one lane hold the same one

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

    def share(self, window: Window, entries: Sequence[Entry]) -> None:
        """Hold the prompts of a window once for these entries, all that will enter from it, where that is worth it.

        Call `window.close()` when all have.
        """
        narrow = self.anatomy.narrowest
        fits = narrow is None or window.width + self.new_tokens <= narrow
        if self.share_from is None or window.width < self.share_from or min(window.lengths) < 2 or not fits:
            return
        joins = [self._joins(entry) for entry in entries]
        blocks = len(self.anatomy.layers)
        lowest = blocks if None in joins else 1 + max(layer for layer in joins if layer is not None)
        window.prompts = Prompts(window, range(lowest))
        for entry, layer in zip(entries, joins, strict=True):
            entry.prompts, entry.joins = window.prompts, layer
        for block in range(lowest, blocks):
            # Every row runs these blocks for the whole prompt and has keys of its own there.
            window.keys[block], window.values[block] = (t[block][:, :, :0].clone() for t in (window.keys, window.values))

    def _joins(self, entry: Entry) -> int | None:
        """The block above which a row has a prompt of its own; None where it leaves all but the last token as it is."""
        part, layer = self.sharing(entry)
        return layer if part == 0 else None

    @torch.no_grad()
    def enter(self, window: Window, entries: list[Entry], rows: int) -> Tensor:
        """Take rows in, sorted by `sharing` and of one first part of it; the logits of their first token, (rows, vocabulary).

        rows: how many the buffers should at least have room for.
        """
        first = len(self.entries)
        width = max(window.lengths[e.request] for e in entries)
        for entry in entries:
            own = (width - window.lengths[entry.request], width)
            entry.since = self.clock
            entry.lower = entry.upper = own
            if entry.prompts is not None:
                entry.lower = (0, 1)
                entry.upper = own if entry.joins is not None else (0, 1)
        self._reserve(entries, max(rows, first + len(entries)))
        group = _RowGroup(self, window, entries, first, width)
        kind = self.sharing(entries[0])[0]
        with self.anatomy.calling():
            logits = (group.run_prompts, group.run_last_tokens, group.share)[kind]()
        lengths = torch.tensor([window.lengths[e.request] for e in entries], device=self.device)
        self.length = torch.cat([self.length, lengths])
        position = window.next_position[:, group.requests].to(self.device)
        self.position = position if first == 0 else torch.cat([self.position, position], dim=1)
        self.entries = [*self.entries, *entries]
        self.plans = None
        if not self.arguments:
            self.arguments = [_without_tensors(call) for call in window.calls]
        return logits.to(self.device)

    def _reserve(self, entries: Sequence[Entry], rows: int) -> None:
        """Room for entries that enter, and for the first of what they generate."""
        blocks = range(len(self.anatomy.layers))
        ends = [max(entry.columns(block)[1] for entry in entries) for block in blocks]
        some = min(self.new_tokens, 32)
        present = [max((self._end(entry, block) for entry in self.entries), default=0) for block in blocks]
        self.cache.narrow([max(e + some, p) for e, p in zip(ends, present, strict=True)], len(self.entries))
        self.cache.reserve(rows, [e + some for e in ends], [e + self.new_tokens for e in ends], len(self.entries))

    # -- one token -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token per row, (rows,) long, back to the model; the logits of the next, (rows, vocabulary)."""
        anatomy, rows = self.anatomy, len(self.entries)
        if self.plans is None:
            self.plans, self.lanes = self._plans(), self._lanes()
        spans = [lane.top + 1 for lane in self.lanes]
        self.cache.reserve(rows, spans, [max(lane.most, lane.top + 1) for lane in self.lanes], rows)
        hidden = anatomy.embed(tokens[:, None])
        rotations = anatomy.rotate(hidden, self.position)
        places = self.length[:, None]
        with anatomy.calling():
            for index, call in enumerate(self.arguments):
                lane = self.lanes[index]
                lane.writer = lane.writer or TokenWriter(
                    self.cache, 0, lane.top if lane.low == lane.top else lane.end, lane.top + 1
                )
                given = {
                    "attention_mask": lane.mask(anatomy.windows[index], hidden.dtype),
                    "position_embeddings": rotations[index],
                    "position_ids": places,
                }
                arguments = {name: given.get(name) if value is None else value for name, value in call.items()}
                arguments |= {name: lane.writer for name in CACHES if name in call}
                with shared(anatomy.configs, lane.parts) if lane.parts else nullcontext():
                    hidden = anatomy.block(index, hidden, arguments)
                if index in self.plans:
                    hidden = _write(self.plans[index], hidden)
            logits = anatomy.logits(hidden).to(self.device)
        for lane in {id(lane): lane for lane in self.lanes}.values():
            lane.advance()
        self.clock += 1
        self.length = self.length + 1
        self.position = self.position + 1
        return logits

    def _lanes(self) -> list[_Lane]:
        """Per block where rows lie; blocks between two at which rows join have it in common."""
        joins = sorted({entry.joins for entry in self.entries if entry.joins is not None})
        made: dict[int, _Lane] = {}
        lanes = []
        for block in range(len(self.anatomy.layers)):
            passed = sum(layer < block for layer in joins)
            if passed not in made:
                made[passed] = self._lane(block)
            lanes.append(made[passed])
        return lanes

    def _lane(self, block: int) -> _Lane:
        columns = [entry.columns(block) for entry in self.entries]
        fed = [self.clock - entry.since for entry in self.entries]
        starts = [start for start, _ in columns]
        ends = [end + more for (_, end), more in zip(columns, fed, strict=True)]
        most = max(end for _, end in columns) + self.new_tokens
        return _Lane(
            torch.tensor(starts, device=self.device), torch.tensor(ends, device=self.device),
            max(ends), min(ends), not any(starts), most, self._parts(block),
        )  # fmt: skip

    def _parts(self, block: int) -> list[BatchPart]:
        return parts_of(self.entries, block, self.device)

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
            self.cache.move(sources, gaps, self._columns([self.entries[row] for row in sources]))
        order = list(range(count))
        for place, row in zip(gaps, sources, strict=True):
            order[place] = row
        index = torch.tensor(order, dtype=torch.long, device=self.device)
        self.length, self.position = self.length[index], self.position[:, index]
        left = self._prompts()
        self.entries = [self.entries[row] for row in order]
        self.plans = None
        for prompts in left:
            prompts.drop_all_but({entry.request for entry in self.entries if entry.prompts is prompts})
        return order

    def _end(self, entry: Entry, block: int) -> int:
        """The column after an entry's newest token."""
        return entry.columns(block)[1] + self.clock - entry.since

    def _columns(self, entries: Sequence[Entry]) -> int:
        """The columns that these entries take in any block."""
        return max((max(e.lower[1], e.upper[1]) + self.clock - e.since for e in entries), default=0)

    @property
    def span(self) -> int:
        """The columns that the present rows take."""
        return self._columns(self.entries)

    def own_columns(self, entry: Entry, width: int) -> int:
        """The columns that an entry from a window of that width will take at most."""
        return self.new_tokens + (1 if entry.prompts is not None and entry.joins is None else width)

    def _prompts(self) -> list[Prompts]:
        return list({id(e.prompts): e.prompts for e in self.entries if e.prompts is not None}.values())

    def release_memory(self) -> None:
        """Give back the memory of all but the present rows."""
        self.cache.shrink(len(self.entries), self._columns(self.entries))

    def row_bytes(self, window: Window, entries: Sequence[Entry]) -> int:
        """Keys and values that the largest of these rows of a window will hold for itself."""
        sizes = [
            sum(t[block].shape[1] * t[block].shape[3] * t[block].element_size() for t in (window.keys, window.values))
            for block in range(len(self.anatomy.layers))
        ]

        width = max(window.width, self.span)  # buffers are as wide as the longest row

        def own(entry: Entry) -> int:
            return sum(size * (self.new_tokens + (1 if entry.shares(b) else width)) for b, size in enumerate(sizes))

        return max(map(own, entries), default=0)

    @property
    def held_bytes(self) -> int:
        """Keys and values of the rows in the batch and of the prompts that they share."""
        return self.cache.bytes + sum(prompts.bytes for prompts in self._prompts())


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


class _RowGroup:
    """Rows of one window that enter together, in cache rows from `first` on; prompts end at column `width`."""

    def __init__(self, stepper: Stepper, window: Window, entries: list[Entry], first: int, width: int) -> None:
        self.stepper, self.window, self.entries, self.first, self.width = stepper, window, entries, first, width
        self.anatomy = stepper.anatomy
        self.requests = torch.tensor([e.request for e in entries], device=stepper.device)
        self.sharing = entries[0].prompts is not None
        self.selected: dict[tuple[int, int], Any] = {}
        self.parts: dict[int, list[BatchPart]] = {}

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
        last = 0 if self.sharing else self.width - 1
        writer = TokenWriter(self.stepper.cache, self.first, last, last + 1)
        hidden, _ = self._climb(self.window.last, writer, self.window.width - 1, self._shared)
        return self.anatomy.logits(hidden)

    def _shared(self, count: int) -> Any:
        """Around a block: its first `count` rows, one token each, attend to the prompts that they share."""
        if not self.sharing:
            return nullcontext()
        if count not in self.parts:
            # Nothing of these rows but their last token is their own, at any block.
            self.parts[count] = parts_of(self.entries[:count], 0, self.stepper.device)
        return shared(self.anatomy.configs, self.parts[count])

    def _climb(
        self, states: dict[int, Tensor], writer: Any, column: int, around: Callable[[int], Any] = lambda _: nullcontext()
    ) -> tuple[Tensor, list[int]]:
        """Block by block: rows join after the block that they are injected at, in the order of `entries`.

        column: the window column from which on tokens run. around: a context for a block of so many rows. Returns the last
        block's output, (rows, tokens, d), and per block how many rows it ran.
        """
        window, hidden, running = self.window, None, []
        steerings = [self.stepper.steerings[e.write] for e in self.entries if e.write is not None]
        for index in range(len(self.anatomy.layers)):
            count = 0 if hidden is None else len(hidden)
            running.append(count)
            if hidden is not None:
                arguments = self._arguments(index, count, column, writer)
                with around(count):
                    hidden = self.anatomy.block(index, hidden, arguments)
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
                if self.sharing and column == self.window.width - 1:
                    call[name] = None  # one column of its own; what it shares has a mask of its own
            elif name == "position_embeddings":
                parts = [self._first(self._cut(part, column, 3), count, 3) for part in _parts(value)]
                call[name] = tuple(parts) if isinstance(value, tuple) else parts[0]
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
        skip = self.window.width - (1 if self.sharing else self.width)
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


def _parts(value: Any) -> Sequence[Tensor]:
    """Cosines and sines, or one tensor of complex numbers."""
    return (value,) if isinstance(value, Tensor) else value


def _without_tensors(call: dict[str, Any]) -> dict[str, Any]:
    """A block's arguments with None for what differs from token to token."""
    return {name: None if name in CACHES or isinstance(value, (Tensor, tuple)) else value for name, value in call.items()}
