"""Rows that enter a batch together: from the unsteered prompts of a window through the blocks above their injections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from l2v.steering.engine.cache import PromptWriter, TokenWriter
from l2v.steering.engine.entries import Entry, parts_of, write
from l2v.steering.engine.sharing import BatchPart, shared
from l2v.steering.engine.window import CACHES, Window

if TYPE_CHECKING:
    from l2v.steering.engine.stepper import Stepper


class RowGroup:
    """Rows of one window that enter together; prompts end at column `width`.

    places: per block the first of their places, and the row that comes first at each; those that run the block stand first.
    """

    def __init__(
        self, stepper: Stepper, window: Window, entries: list[Entry], places: list[tuple[int, list[int]]], width: int
    ) -> None:
        self.stepper, self.window, self.entries, self.places, self.width = stepper, window, entries, places, width
        self.first = [first for first, _ in places]
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
        writer = TokenWriter(self.stepper.cache, last, last + 1, self.first)
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
        return write(self.stepper.plan(entries, None), hidden, mask[:, column:])

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
                call[name] = value[column - self.window.begun :]
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
            dim, first = tensor.ndim - rank, column - self.window.begun
            cut = tensor.narrow(dim + 1, first, tensor.shape[dim + 1] - first)
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
        cut = mask[:, :, column - self.window.begun :, self.window.width - self.width :]
        return cut if len(cut) == 1 else cut[self.requests.to(cut.device)]

    def _share_keys(self, running: Sequence[int]) -> None:
        """Give the places whose rows a block did not run (all but its first so many) the unsteered keys and values."""
        skip = self.window.width - (1 if self.sharing else self.width)
        for block, (count, (first, rows)) in enumerate(zip(running, self.places, strict=True)):
            if count < len(rows):
                keys, values = self.window.keys[block], self.window.values[block]
                requests = self.requests[rows[count:]].to(keys.device)
                self.stepper.cache.put(block, first + count, keys[:, :, skip:][requests], values[:, :, skip:][requests])


def _parts(value: Any) -> Sequence[Tensor]:
    """Cosines and sines, or one tensor of complex numbers."""
    return (value,) if isinstance(value, Tensor) else value
