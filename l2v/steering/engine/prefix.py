"""What all prompts of a window begin with, run once: a system message and demonstrations are the same for every question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from l2v.steering.engine.anatomy import Anatomy
from l2v.steering.engine.reference import generation_options

# Fewer equal tokens are not worth a pass of their own.
PREFIX_TOKENS = 64
# What prompts are given as, without pictures and with pictures that stand in the text alone.
KNOWN_INPUTS = {"input_ids", "attention_mask", "pixel_values", "image_sizes"}


def common_prefix(inputs: dict[str, Tensor], image_ids: Sequence[int] = ()) -> int:
    """How many tokens these left-padded prompts, (rows, tokens), all begin with; 0 where they are not worth it.

    At least one token of every prompt is left: something has to give its logits. The first picture is left with what follows
    it: pictures differ where their tokens do not.
    """
    ids, real = inputs["input_ids"], inputs["attention_mask"].bool()
    if len(ids) < 2 or not set(inputs) <= KNOWN_INPUTS or not bool((real.long().diff(dim=1) >= 0).all()):
        return 0
    lengths = real.sum(dim=1)
    columns = torch.arange(int(lengths.min()) - 1, device=ids.device)
    begun = ids.gather(1, (ids.shape[1] - lengths)[:, None] + columns)
    pictures = torch.isin(begun, torch.tensor(image_ids, dtype=ids.dtype, device=ids.device))
    equal = int(((begun == begun[:1]) & ~pictures).all(dim=0).long().cumprod(dim=0).sum())
    return equal if equal >= PREFIX_TOKENS else 0


def prefix_cache(anatomy: Anatomy, inputs: dict[str, Tensor], count: int) -> Any:
    """The model's cache after the first `count` columns of these prompts, of which the first `count` tokens are equal.

    A shorter prompt is padded: its columns hold fewer of the tokens, and what stands under its padding is seen by none.
    """
    from transformers import DynamicCache

    real = inputs["attention_mask"]
    missing = real.shape[1] - real.sum(dim=1)
    first = inputs["input_ids"][missing.argmin(), :count][None]
    options = generation_options(anatomy.target, 1) | {"return_dict_in_generate": True, "past_key_values": DynamicCache()}
    output = anatomy.target.model.generate(input_ids=first, attention_mask=torch.ones_like(first), **options)
    token = (torch.arange(count, device=real.device) - missing[:, None]).clamp_min(0)
    held = DynamicCache()
    for block, layer in enumerate(output.past_key_values.layers):
        held.update(*(_of_rows(part, token) for part in (layer.keys, layer.values)), block)
    return held


def _of_rows(part: Tensor, token: Tensor) -> Tensor:
    """Of keys or values of one row, (1, heads, tokens, size), those of these tokens, (rows, columns), for every row."""
    return part[0][:, token.to(part.device)].transpose(0, 1)
