"""Keys and values of the rows that are being answered, in buffers that are written in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Buffers grow by whole steps of so many tokens, and by at least a quarter, so that growth is rare.
_STEP = 32


class RowCache:
    """Per decoder block one buffer (rows, heads, columns, head size) for keys and one for values.

    A row's tokens lie in consecutive columns, wherever they begin; blocks have columns of their own number. Rows 0 to n - 1 are
    in use, n by block; who uses the cache knows n and the columns of each row. Buffers begin as zeros: what a row's
    mask hides must still be a number.
    """

    def __init__(self, blocks: int) -> None:
        self.keys: list[Tensor | None] = [None] * blocks
        self.values: list[Tensor | None] = [None] * blocks
        self.rows = 0
        self.columns = [0] * blocks

    def reserve(self, rows: int, columns: Sequence[int], most: Sequence[int], used: int) -> None:
        """Make room for `rows` and, per block, `columns`, of which no more than `most` will be needed; `used` rows are kept."""
        taller = rows > self.rows
        self.rows = max(rows, self.rows)
        for block, wanted in enumerate(columns):
            wider = wanted > self.columns[block]
            if wider:
                step = -(-max(wanted, self.columns[block] * 5 // 4) // _STEP) * _STEP
                self.columns[block] = max(wanted, min(step, most[block]))
            if taller or wider:
                self._grow(block, used)

    def narrow(self, columns: Sequence[int], used: int) -> None:
        """Give back blocks that hold more than twice the columns that are needed from now on; `used` rows are kept.

        Rows come sorted by length: buffers that long rows have left are far too wide for those that follow.
        """
        for block, wanted in enumerate(columns):
            if self.columns[block] <= 2 * wanted + _STEP:
                continue
            self.columns[block] = wanted
            for buffers in (self.keys, self.values):
                old = buffers[block]
                if old is not None:
                    buffers[block] = old[:, :, :wanted].clone() if used else None

    def _grow(self, block: int, used: int) -> None:
        for buffers in (self.keys, self.values):
            old = buffers[block]
            if old is not None and (old.shape[0] < self.rows or old.shape[2] < self.columns[block]):
                new = old.new_zeros(self.rows, old.shape[1], self.columns[block], old.shape[3])
                new[:used, :, : old.shape[2]] = old[:used]
                buffers[block] = new

    def shrink(self, rows: int, columns: int) -> None:
        """Give back all memory but that of the first `rows` and `columns`."""
        self.rows = rows
        for buffers in (self.keys, self.values):
            for block, old in enumerate(buffers):
                buffers[block] = None if old is None or rows == 0 else old[:rows, :, :columns].clone()
        self.columns = [min(held, columns) if rows else 0 for held in self.columns]

    @property
    def bytes(self) -> int:
        """What all buffers hold."""
        return sum(b.numel() * b.element_size() for b in (*self.keys, *self.values) if b is not None)

    def buffers(self, block: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The two buffers of a block, made on first use in the shape and place of what is to be written."""
        keys, values = self.keys[block], self.values[block]
        if keys is None or values is None:
            keys = key.new_zeros(self.rows, key.shape[1], self.columns[block], key.shape[3])
            values = value.new_zeros(self.rows, value.shape[1], self.columns[block], value.shape[3])
            self.keys[block], self.values[block] = keys, values
        return keys, values

    def put(self, block: int, first: int, key: Tensor, value: Tensor) -> None:
        """Write keys and values (rows, heads, columns, head size) to rows from `first` on, from column 0 on."""
        for buffer, new in zip(self.buffers(block, key, value), (key, value), strict=True):
            buffer[first : first + new.shape[0], :, : new.shape[2]] = new

    def copy(self, block: int, pairs: Sequence[tuple[int, int]], columns: int) -> None:
        """Copy rows of a block, (from, to), their first so many columns; none is copied both from and to."""
        sources, places = [source for source, _ in pairs], [place for _, place in pairs]
        for buffer in (self.keys[block], self.values[block]):
            if buffer is None:
                continue
            try:
                buffer[places, :, :columns] = buffer[sources, :, :columns]
            except torch.OutOfMemoryError:
                for source, place in pairs:
                    buffer[place, :, :columns].copy_(buffer[source, :, :columns])


class PromptWriter:
    """What a block gets as its cache while whole prompts run: the prompt attends to itself, and is kept in rows from the
    block's `first` on."""

    def __init__(self, cache: RowCache, first: Sequence[int]) -> None:
        self.cache, self.first = cache, first

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Called by the attention of block `layer_idx` with (rows, heads, tokens, head size)."""
        self.cache.put(layer_idx, self.first[layer_idx], key, value)
        return key, value

    def get_seq_length(self, _layer: int = 0) -> int:
        """No token came before."""
        return 0


class TokenWriter:
    """What a block gets as its cache while one token per row runs: it is added to the row, which attends to all of itself.

    columns: where each row's token belongs, (rows,) on the device, or one number for all. Rows begin at the block's `first`, or
    at 0.
    """

    def __init__(self, cache: RowCache, columns: Tensor | int, span: int, first: Sequence[int] | None = None) -> None:
        self.cache, self.first, self.columns, self.span = cache, first, columns, span
        self.places: dict[tuple[Any, ...], Tensor] = {}

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Called by the attention of block `layer_idx` with (rows, heads, 1, head size); gives views of the buffers."""
        first = 0 if self.first is None else self.first[layer_idx]
        rows = slice(first, first + key.shape[0])
        keys, values = self.cache.buffers(layer_idx, key, value)
        for buffer, new in ((keys, key), (values, value)):
            if isinstance(self.columns, int):
                buffer[rows, :, self.columns] = new[:, :, 0]
            else:
                place = self._places(buffer, first, new.shape[0])
                buffer.view(-1, new.shape[-1]).index_copy_(0, place, new.reshape(-1, new.shape[-1]))
        return keys[rows, :, : self.span], values[rows, :, : self.span]

    def _places(self, buffer: Tensor, first: int, rows: int) -> Tensor:
        """Where each row's and head's token belongs in a buffer of that shape, seen as a list of tokens; (rows * heads,)."""
        assert isinstance(self.columns, Tensor)
        shape = (buffer.device, first, rows, *buffer.shape[:3])
        if shape not in self.places:
            _, heads, columns = buffer.shape[:3]
            row = torch.arange(first, first + rows, device=buffer.device)[:, None]
            head = torch.arange(heads, device=buffer.device)
            column = self.columns[:rows, None].to(buffer.device)
            self.places[shape] = ((row * heads + head) * columns + column).flatten()
        return self.places[shape]

    def get_seq_length(self, _layer: int = 0) -> int:
        """The tokens that came before, at most."""
        return self.span - 1
