"""Prompts that are held once: rows attend to them without a copy, and to their own tokens, and the two parts are merged.

A softmax over two sets of keys is the mean of the softmaxes over each, weighted by their sums of exponentials (as in Hydragen,
Juravsky et al. 2024, and cascade attention). All rows of one prompt are queries of one product with its keys.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l2v.steering.engine.anatomy import Refused
from l2v.steering.engine.window import Window

# The name under which transformers' attention layers find `_attention`.
NAME = "l2v_shared_prompts"
# What an attention layer may hand on besides queries, keys, values and mask without changing the result.
_HARMLESS = ("position_ids", "cache_position", "position_embeddings")


class Prompts:
    """Keys and values of a window's prompts but for their last tokens, at the blocks where rows share them.

    Every row holds its prompt's last token itself: some rows are written there, and masks are the same for all.
    """

    def __init__(self, window: Window, blocks: Sequence[int]) -> None:
        wanted = set(blocks)
        self.keys = [k[:, :, :-1] if block in wanted else None for block, k in enumerate(window.keys)]
        self.values = [v[:, :, :-1] if block in wanted else None for block, v in enumerate(window.values)]
        self.real = window.real[:, :-1]
        self.places = {request: request for request in range(len(window.requests))}
        self.open = True  # whether rows of it may still enter
        self.masks: dict[torch.dtype, Tensor | None] = {}

    def __len__(self) -> int:
        return len(self.real)

    @property
    def bytes(self) -> int:
        """What keys and values hold."""
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values) if t is not None)

    def mask(self, like: Tensor) -> Tensor | None:
        """(prompts, 1, 1, tokens), to be added; None where nothing is padding."""
        if like.dtype not in self.masks:
            padding = ~self.real
            low = torch.finfo(like.dtype).min
            mask = torch.zeros(padding.shape, dtype=like.dtype, device=padding.device).masked_fill_(padding, low)
            self.masks[like.dtype] = mask[:, None, None] if bool(padding.any()) else None
        held = self.masks[like.dtype]
        return held if held is None else held.to(like.device)

    def drop_all_but(self, requests: set[int]) -> None:
        """Give back prompts that no row needs any more, once they are half of what is held; none while rows may enter."""
        if self.open or 2 * len(requests) > len(self):
            return
        kept = sorted(requests, key=self.places.__getitem__)
        index = torch.tensor([self.places[request] for request in kept], dtype=torch.long)
        cut = int(self.real[index.to(self.real.device)].any(dim=0).int().argmax())
        for held in (self.keys, self.values):
            for block, tensor in enumerate(held):
                held[block] = None if tensor is None else tensor[index.to(tensor.device), :, cut:]
        self.real = self.real[index.to(self.real.device), cut:]
        self.places = {request: place for place, request in enumerate(kept)}
        self.masks = {}


@dataclass(frozen=True)
class BatchPart:
    """The rows of one pass that attend to the same prompts.

    rows: (n,), None for all of the pass. arranged: (prompts * most,), the rows prompt by prompt, filled up with any; None when
    they lie so already. back: (n,), where each row is among the arranged.
    """

    prompts: Prompts
    most: int
    rows: Tensor | None
    arranged: Tensor | None
    back: Tensor | None


def arrange(prompts: Prompts, rows: Sequence[int], requests: Sequence[int], total: int, device: Any) -> BatchPart:
    """The part that `rows` of a pass of `total` rows make, of these requests of the window."""
    slots = [prompts.places[request] for request in requests]
    seen = [0] * len(prompts)
    ranks = []
    for slot in slots:
        ranks.append(seen[slot])
        seen[slot] += 1
    most = max(seen)
    back = [slot * most + rank for slot, rank in zip(slots, ranks, strict=True)]
    arranged = [rows[0]] * (len(prompts) * most)
    for place, row in zip(back, rows, strict=True):
        arranged[place] = row

    def index(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    everything = list(range(total))
    in_order = arranged == everything
    return BatchPart(
        prompts,
        most,
        None if list(rows) == everything else index(list(rows)),
        None if in_order else index(arranged),
        None if back == list(range(len(arranged))) else index(back),
    )


class _Current(threading.local):
    """What the block that runs now shares, and whether its attention has asked."""

    parts: Sequence[BatchPart] = ()
    asked = False


_current = _Current()


@contextmanager
def shared(configs: Sequence[Any], parts: Sequence[BatchPart]) -> Iterator[None]:
    """While the block is open, attention layers with these configs attend to `parts` as well.

    Raises Refused when none of them asked for it.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    before = [config._attn_implementation_internal for config in configs]
    _current.parts, _current.asked = parts, False
    for config in configs:
        config._attn_implementation_internal = NAME
    try:
        yield
    finally:
        _current.parts = ()
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation_internal = name
    if not _current.asked:
        raise Refused("attention that does not go through transformers' interface")


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
    softcap: float | None = None, **more: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attention of one token per row, query (rows, heads, 1, d), to its own keys (rows, key heads, tokens, d) and its prompt's.

    Gives (rows, 1, heads, d), as transformers expects it.
    """
    strange = [name for name, given in more.items() if isinstance(given, Tensor) and name not in _HARMLESS]
    if strange:
        raise Refused(f"attention that is given {', '.join(strange)}")
    _current.asked = True
    rows, heads, _, size = query.shape
    groups = key.shape[1]
    scale = size**-0.5 if scaling is None else scaling
    query = query.reshape(rows, groups, heads // groups, size)
    found, weight = _attend(query, key, value, attention_mask, scale, softcap)
    for part in _current.parts:
        other, theirs = _to_prompts(part, query, module.layer_idx, scale, softcap)
        if part.rows is None:
            found = _merge(found, weight, other, theirs)
        else:
            at = part.rows.to(found.device)
            found = found.index_copy(0, at, _merge(found[at], weight[at], other, theirs))
    return found.reshape(rows, 1, heads, -1), None


def _to_prompts(part: BatchPart, query: Tensor, block: int, scale: float, softcap: float | None) -> tuple[Tensor, Tensor]:
    """The part's rows (n, groups, heads of a group, d) and their log-sum-exps, attending to their prompts alone."""
    keys, values, prompts = part.prompts.keys[block], part.prompts.values[block], len(part.prompts)
    assert keys is not None and values is not None
    _, groups, each, size = query.shape
    picked = query if part.arranged is None else query[part.arranged.to(query.device)]
    picked = picked.view(prompts, part.most, groups, each, size).transpose(1, 2).reshape(prompts, groups, -1, size)
    found, weight = _attend(picked, keys, values, part.prompts.mask(keys), scale, softcap)
    found = found.view(prompts, groups, part.most, each, -1).transpose(1, 2).reshape(-1, groups, each, found.shape[-1])
    weight = weight.view(prompts, groups, part.most, each).transpose(1, 2).reshape(-1, groups, each)
    if part.back is not None:
        back = part.back.to(found.device)
        found, weight = found[back], weight[back]
    return found, weight


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, softcap: float | None
) -> tuple[Tensor, Tensor]:
    """Softmax attention and the log-sum-exp of its scores, float32; all of rank 4, the mask (…, 1, 1, tokens) is added."""
    if query.device.type == "cpu" and softcap is None and key.shape[-1] == value.shape[-1]:
        # The kernel under PyTorch's own attention on the CPU; it alone gives the log-sum-exp as well.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        found, weight = kernel(query, key, value, 0.0, False, attn_mask=mask, scale=scale)
        return found, weight.float()
    scores = (query @ key.transpose(-1, -2)).float() * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask.float()
    return scores.softmax(dim=-1).to(value.dtype) @ value, scores.logsumexp(dim=-1)


def _merge(one: Tensor, weight: Tensor, other: Tensor, theirs: Tensor) -> Tensor:
    """The attention over both sets of keys, from that over each and its log-sum-exp."""
    share = torch.sigmoid(theirs - weight)[..., None]
    return torch.lerp(one.float(), other.float(), share).to(one.dtype)
