"""Rows that are being answered: they enter from a captured window, run token by token, and leave in any order.

A row is one request under one steering. Its injection at block l leaves everything up to block l as the unsteered prompt had
it, so a row enters with the window's keys and values for those blocks and runs only the blocks above. Long prompts are not
copied: what rows leave as it was, they attend to where it lies (sharing.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from l2v.steering.engine.anatomy import Anatomy
from l2v.steering.engine.cache import RowCache, TokenWriter
from l2v.steering.engine.entries import Entry, Lane, Plan, parts_of, write
from l2v.steering.engine.row_group import RowGroup
from l2v.steering.engine.rows import Steering
from l2v.steering.engine.sharing import BatchPart, Prompts, shared
from l2v.steering.engine.window import CACHES, Needs, Window

# How much of a prompt each kind of positions writes: all or many of its tokens, the last one, or none.
WHOLE = ("all", "text", "prompt", "release")
# Prompts of fewer tokens are copied to their rows, which is faster than attending twice.
SHARED_TOKENS = 128


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
        self.plans: dict[int, Plan] | None = None
        self.lanes: list[Lane] = []  # per block; blocks of one lane hold the same one

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
        group = RowGroup(self, window, entries, first, width)
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
                    hidden = write(self.plans[index], hidden)
            logits = anatomy.logits(hidden).to(self.device)
        for lane in {id(lane): lane for lane in self.lanes}.values():
            lane.advance()
        self.clock += 1
        self.length = self.length + 1
        self.position = self.position + 1
        return logits

    def _lanes(self) -> list[Lane]:
        """Per block where rows lie; blocks between two at which rows join have it in common."""
        joins = sorted({entry.joins for entry in self.entries if entry.joins is not None})
        made: dict[int, Lane] = {}
        lanes = []
        for block in range(len(self.anatomy.layers)):
            passed = sum(layer < block for layer in joins)
            if passed not in made:
                made[passed] = self._lane(block)
            lanes.append(made[passed])
        return lanes

    def _lane(self, block: int) -> Lane:
        columns = [entry.columns(block) for entry in self.entries]
        fed = [self.clock - entry.since for entry in self.entries]
        starts = [start for start, _ in columns]
        ends = [end + more for (_, end), more in zip(columns, fed, strict=True)]
        most = max(end for _, end in columns) + self.new_tokens
        return Lane(
            torch.tensor(starts, device=self.device), torch.tensor(ends, device=self.device),
            max(ends), min(ends), not any(starts), most, self._parts(block),
        )  # fmt: skip

    def _parts(self, block: int) -> list[BatchPart]:
        return parts_of(self.entries, block, self.device)

    def _plans(self) -> dict[int, Plan]:
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

    def plan(self, entries: list[Entry], rows: Tensor | None) -> Plan:
        """The write of these entries' vectors to `rows` of a tensor."""
        index = torch.tensor([e.write for e in entries], device=self.device)
        unmoved = [(place, entry) for place, entry in enumerate(entries) if not entry.changed]
        return Plan(unmoved, rows, self.vectors[index], self.alphas[index])

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


def _without_tensors(call: dict[str, Any]) -> dict[str, Any]:
    """A block's arguments with None for what differs from token to token."""
    return {name: None if name in CACHES or isinstance(value, (Tensor, tuple)) else value for name, value in call.items()}
