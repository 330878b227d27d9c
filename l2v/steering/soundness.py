"""Whether what was loaded can be a trained model: its numbers, and whether it reads plain English.

One whose config, weights and tokenizer are not of each other does worse than chance.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from l2v.errors import UserError

# Zeros one after the other that no trained matrix holds; parts of a file come by 10 MiB and more.
STRETCH = 2**18
# What every language model has read.
PLAIN = (
    "All human beings are born free and equal in dignity and rights. The capital of France is Paris, and the capital of "
    "Germany is Berlin."
)
# Nats above chance, which is where weights lie that nobody trained. SmolLM2-135M is at 2.7 (chance 10.8), Gemma-3-270M at 2.0
# (chance 12.5) and, with its norms read as w in the place of 1 + w, at 21.9.
MARGIN = 1.0
# How far a position's logits may lie apart with and without what follows, as a share of the largest.
ROUNDING = 0.1


def check_finite(model: nn.Module, where: str) -> None:
    """Raise UserError for a weight that is no finite number, or a stretch of zeros: a model with one answers, and its answers
    mean nothing. Rows of embeddings may be zeros, for words that nobody uses.
    """
    weights = [(name, w.detach()) for name, w in model.named_parameters() if w.is_floating_point() and not w.is_meta]
    for name, weight in weights:
        blocks = weight.reshape(-1)[: weight.numel() // STRETCH * STRETCH].view(-1, STRETCH)
        if not any(word in name for word in ("embed", "wte", "lm_head")) and not bool(blocks.any(dim=1).all()):
            raise UserError(
                f"The checkpoint '{where}' holds {STRETCH:,} zeros on end in {name}, as a part of a download that never came "
                "leaves them; get it again."
            )
    broken = next((name for name, weight in weights if not bool(torch.isfinite(weight).all())), None)
    if broken is not None:
        raise UserError(
            f"The checkpoint '{where}' holds weights that are no finite numbers, in {broken}: get it again, or set a dtype of "
            "a larger range where float16 cannot hold them."
        )


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
