"""Whether a model reads plain English: one whose config, weights and tokenizer are not of each other does worse than chance."""

from __future__ import annotations

import math
from typing import Any

import torch

# What every language model has read.
PLAIN = (
    "All human beings are born free and equal in dignity and rights. The capital of France is Paris, and the capital of "
    "Germany is Berlin."
)
# Nats above chance, which is where weights lie that nobody trained: SmolLM2-135M lies 7.6 below it, and 2 or more above it with
# the words of another tokenizer, norms of another family (1 + w) or scaled embeddings.
MARGIN = 1.0
# How far a position's logits may lie apart with and without what follows, as a share of the largest.
ROUNDING = 0.1


def misread(model: Any, tokenizer: Any, where: str) -> str:
    """A sentence where a model finds plain English less likely than any drawn tokens; "" where it does not, where its tokenizer
    lacks the words, and for one that sees what follows or that takes no text alone.
    """
    ids = tokenizer(PLAIN, add_special_tokens=False)["input_ids"]
    if tokenizer.unk_token_id in ids or len(set(ids)) < 2:
        return ""
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else ids[0]
    given = torch.tensor([[begin, *ids[tokenizer.bos_token_id is None :]]], device=model.get_input_embeddings().weight.device)
    try:
        with torch.no_grad():
            logits, alone = (model(input_ids=some).logits[0].float() for some in (given, given[:, :1]))
    except Exception:  # code of many families, of which some want a picture
        return ""
    causal = bool((logits[0] - alone[0]).abs().max() <= ROUNDING * alone.abs().max())
    loss = float(torch.nn.functional.cross_entropy(logits[:-1], given[0, 1:].to(logits.device)))
    chance = math.log(logits.shape[-1])
    if not causal or not loss > chance + MARGIN:
        return ""
    return (
        f"'{where}' finds plain English less likely than drawn tokens ({loss:.1f} nats a token, chance is {chance:.1f}): "
        "unless it was trained on other texts, its config, weights and tokenizer do not belong together."
    )
