"""Rows that are being answered: they enter from a captured window, run token by token, and leave in any order.

A row is one request under one steering. Its injection at block l leaves everything up to block l as the unsteered prompt had
it, so a row enters with the window's keys and values for those blocks and runs only the blocks above. Long prompts are not
copied: what rows leave as it was, they attend to where it lies (sharing.py). Rows that are still alike run the blocks below
their injections once (tiers.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from l2v.steering.engine.anatomy import Anatomy
from l2v.steering.engine.cache import RowCache, TokenWriter
from l2v.steering.engine.entries import Entry, Lane, Plan, parts_of, write
from l2v.steering.engine.row_group import RowGroup
from l2v.steering.engine.rows import Steering
from l2v.steering.engine.sharing import BatchPart, Prompts, shared
from l2v.steering.engine.tiers import Copies, Places, Tier, as_index, pick, tiers_between
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
        self.tiers = tiers_between([s.layer for s in steerings], len(anatomy.layers))
        self.spots = np.zeros((0, 7), dtype=np.int64)  # per row what `_spot` tells
        self.settled = False  # whether what the tiers work out fits the present rows

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
        offers = [tier.places(entries, [self._layer(entry) for entry in entries]) for tier in self.tiers]
        places = [(tier.count, rows) for tier, (_, rows) in zip(self.tiers, offers, strict=True) for _ in tier.blocks]
        group = RowGroup(self, window, entries, places, width)
        kind = self.sharing(entries[0])[0]
        with self.anatomy.calling():
            logits = (group.run_prompts, group.run_last_tokens, group.share)[kind]()
        lengths = torch.tensor([window.lengths[e.request] for e in entries], device=self.device)
        self.length = torch.cat([self.length, lengths])
        position = window.next_position[:, group.requests].to(self.device)
        self.position = position if first == 0 else torch.cat([self.position, position], dim=1)
        self.entries = [*self.entries, *entries]
        for tier, (of, _) in zip(self.tiers, offers, strict=True):
            tier.move(np.append(tier.of, of))
        self.spots = np.concatenate([self.spots, [self._spot(entry) for entry in entries]])
        self.settled = False
        if not self.arguments:
            self.arguments = [_without_tensors(call) for call in window.calls]
        return logits.to(self.device)

    def _layer(self, entry: Entry) -> int:
        """The block that an entry is written after; the number of blocks where it is not."""
        return len(self.anatomy.layers) if entry.write is None else self.steerings[entry.write].layer

    def _spot(self, entry: Entry) -> tuple[int, ...]:
        """Its columns up to the block `joins` and above it, that block, the block that is written after it while it generates
        (-1: none), and the step at which it entered."""
        joins = len(self.anatomy.layers) if entry.joins is None else entry.joins
        late = entry.write is not None and self.steerings[entry.write].positions != "prompt"
        return *entry.lower, *entry.upper, joins, self._layer(entry) if late else -1, entry.since

    def _reserve(self, entries: Sequence[Entry], rows: int) -> None:
        """Room for entries that enter, and for the first of what they generate."""
        blocks = range(len(self.anatomy.layers))
        ends = [max(entry.columns(block)[1] for entry in entries) for block in blocks]
        some = min(self.new_tokens, 32)
        present = [int(self._columns(self.spots, block)[1].max(initial=0)) for block in blocks]
        self.cache.narrow([max(e + some, p) for e, p in zip(ends, present, strict=True)], len(self.entries))
        self.cache.reserve(rows, [e + some for e in ends], [e + self.new_tokens for e in ends], len(self.entries))

    # -- one token -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token per row, (rows,) long, back to the model; the logits of the next, (rows, vocabulary)."""
        anatomy = self.anatomy
        self._part(tokens)
        if not self.settled:
            self._settle()
        self._widen()
        hidden = anatomy.embed(pick(tokens, self.tiers[0].rise)[:, None])
        rotations = anatomy.rotate(hidden, self.position)
        with anatomy.calling():
            for tier in self.tiers:
                if tier is not self.tiers[0]:
                    hidden = pick(hidden, tier.rise)
                hidden = hidden if tier.plan is None else write(tier.plan, hidden)
                if tier.lane is not None:
                    hidden = self._run(tier, tier.lane, hidden, rotations)
            logits = anatomy.logits(pick(hidden, as_index(self.tiers[-1].of, len(self.entries), self.device))).to(self.device)
        for lane in self._lanes():
            lane.advance()
        self.clock += 1
        self.length = self.length + 1
        self.position = self.position + 1
        return logits

    def _run(self, tier: Tier, lane: Lane, hidden: Tensor, rotations: list[Any]) -> Tensor:
        """The blocks of a tier, one token at every place."""
        anatomy = self.anatomy
        places = pick(self.length, tier.rows)[:, None]
        lane.writer = lane.writer or TokenWriter(self.cache, lane.top if lane.low == lane.top else lane.end, lane.top + 1)
        turned: dict[int, Any] = {}
        for index in tier.blocks:
            call, rotation = self.arguments[index], rotations[index]
            if id(rotation) not in turned:
                turned[id(rotation)] = _of_rows(rotation, tier.rows)
            given = {
                "attention_mask": lane.mask(anatomy.windows[index], hidden.dtype),
                "position_embeddings": turned[id(rotation)],
                "position_ids": places,
            }
            arguments = {name: given.get(name) if value is None else value for name, value in call.items()}
            arguments |= {name: lane.writer for name in CACHES if name in call}
            with shared(anatomy.configs, lane.parts) if lane.parts else nullcontext():
                hidden = anatomy.block(index, hidden, arguments)
        return hidden

    def _lanes(self) -> list[Lane]:
        return [tier.lane for tier in self.tiers if tier.lane is not None]

    def _widen(self) -> None:
        """Room for one token more at every place."""
        lanes = [lane for tier in self.tiers if (lane := tier.lane) is not None for _ in tier.blocks]
        rows = len(self.entries)
        self.cache.reserve(rows, [lane.top + 1 for lane in lanes], [max(lane.most, lane.top + 1) for lane in lanes], rows)

    def _part(self, tokens: Tensor) -> None:
        """Rows whose tokens differ from now on get places of their own; rows that are alike above are alike below."""
        if self.tiers[0].count == len(self.entries):
            return
        found, columns = tokens.cpu().numpy(), self.span
        for tier in self.tiers:
            of, copies = tier.parted(found)
            if not copies:
                return
            self._copy(tier, copies, columns)
            tier.move(of)
            self.settled = False

    def _copy(self, tier: Tier, copies: Copies, columns: int) -> None:
        for block in tier.blocks if copies else ():
            self.cache.copy(block, copies, columns)

    def _settle(self) -> None:
        """What the tiers work out for the present rows."""
        below: Tier | None = None
        for tier in self.tiers:
            tier.settle(below, self.device)
            tier.lane = self._lane(tier) if tier.blocks else None
            tier.plan = self._plan_above(tier)
            below = tier
        self.settled = True

    def _lane(self, tier: Tier) -> Lane:
        """Where the places of a tier lie."""
        block, spots = tier.blocks.start, self.spots[tier.reps]
        starts, ends = self._columns(spots, block)
        most = int((ends - self.clock + spots[:, 6]).max()) + self.new_tokens
        parts = self._parts([self.entries[row] for row in tier.reps.tolist()], block) if self._prompts() else []
        return Lane(
            torch.from_numpy(starts).to(self.device), torch.from_numpy(ends).to(self.device),
            int(ends.max()), int(ends.min()), not starts.any(), most, parts,
        )  # fmt: skip

    def _parts(self, entries: Sequence[Entry], block: int) -> list[BatchPart]:
        return parts_of(entries, block, self.device)

    def _plan_above(self, tier: Tier) -> Plan | None:
        """The write after the block below a tier: of the rows that are written there while they generate."""
        rows = np.flatnonzero(self.spots[:, 5] == tier.blocks.start - 1)
        if tier is self.tiers[0] or not len(rows):
            return None
        rows = rows[np.argsort(tier.of[rows])]
        return self.plan([self.entries[row] for row in rows.tolist()], as_index(tier.of[rows], tier.count, self.device))

    def plan(self, entries: list[Entry], rows: Tensor | None) -> Plan:
        """The write of these entries' vectors to `rows` of a tensor."""
        index = torch.tensor([e.write for e in entries], device=self.device)
        unmoved = [(place, entry) for place, entry in enumerate(entries) if not entry.changed]
        return Plan(unmoved, rows, self.vectors[index], self.alphas[index])

    # -- leaving ---------------------------------------------------------------------------------------------------

    def keep(self, kept: Sequence[int]) -> list[int]:
        """Drop all rows but those at `kept`, which stay in this order and are returned."""
        order = list(kept)
        columns = self.span
        moves = [tier.kept(order) for tier in self.tiers]
        for tier, (of, copies) in zip(self.tiers, moves, strict=True):
            self._copy(tier, copies, columns)
            tier.move(of)
        index = torch.tensor(order, dtype=torch.long, device=self.device)
        self.length, self.position = self.length[index], self.position[:, index]
        left = self._prompts()
        self.entries, self.spots = [self.entries[row] for row in order], self.spots[order]
        self.settled = False
        for prompts in left:
            prompts.drop_all_but({entry.request for entry in self.entries if entry.prompts is prompts})
        return order

    def _columns(self, spots: Places, block: int) -> tuple[Places, Places]:
        """The first column of rows in a block, and the one after their newest token."""
        above = spots[:, 4] < block
        ends = np.where(above, spots[:, 3], spots[:, 1]) + self.clock - spots[:, 6]
        return np.where(above, spots[:, 2], spots[:, 0]), ends

    @property
    def span(self) -> int:
        """The columns that the present rows take in any block."""
        ends = np.maximum(self.spots[:, 1], self.spots[:, 3]) - self.spots[:, 6]
        return int(ends.max()) + self.clock if len(ends) else 0

    def own_columns(self, entry: Entry, width: int) -> int:
        """The columns that an entry from a window of that width will take at most."""
        return self.new_tokens + (1 if entry.prompts is not None and entry.joins is None else width)

    def _prompts(self) -> list[Prompts]:
        return list({id(e.prompts): e.prompts for e in self.entries if e.prompts is not None}.values())

    def release_memory(self) -> None:
        """Give back the memory of all but the present rows."""
        self.cache.shrink(len(self.entries), self.span)

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


def _of_rows(rotation: Any, rows: Tensor | None) -> Any:
    """The rotary positions of some rows; their dimension is the third from the end."""
    parts = rotation if isinstance(rotation, tuple) else (rotation,)
    picked = tuple(pick(part, rows, part.ndim - 3) for part in parts)
    return picked if isinstance(rotation, tuple) else picked[0]
