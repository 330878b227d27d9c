"""Choosing tokens: greedy, or drawn so that a row's tokens depend on nothing but its own scores, seed and request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from l2v.errors import UserError
from l2v.steering.engine.rows import Decoding

# Rows whose distributions are held in float64 at a time.
_CHUNK = 64


def draw(seed: int, request_id: str, step: int) -> float:
    """The uniform number in [0, 1) that decides token `step` (0-based) of a request's answer."""
    digest = hashlib.blake2b(f"{seed}\n{step}\n{request_id}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def choose(scores: Tensor, decoding: Decoding, draws: Sequence[float]) -> Tensor:
    """The next token of each row, (rows,) long, from its float32 scores (rows, vocabulary), which are left as they are.

    Greedy at temperature 0, where `draws` is not read; else the token at which the cumulative distribution passes the draw.
    """
    if decoding.temperature == 0:
        return scores.argmax(dim=-1)
    parts = []
    for start in range(0, len(scores), _CHUNK):
        part = scores[start : start + _CHUNK]
        # Not every accelerator has float64.
        part = part.cpu() if part.device.type == "mps" else part
        shares = _distribution(part, decoding).cumsum(dim=-1)
        numbers = torch.tensor(draws[start : start + _CHUNK], dtype=torch.float64, device=part.device)[:, None]
        picked = torch.searchsorted(shares, numbers * shares[:, -1:], right=True).squeeze(1)
        parts.append(torch.minimum(picked, _last_possible(shares)).to(scores.device))
    return torch.cat(parts)


def no_number(scores: Tensor, chosen: Tensor, greedy: bool) -> Tensor:
    """Which rows' scores (rows, vocabulary) name no token, (rows,) bool: a largest one that is infinite or not a number.

    Damaged weights give such scores, and float16 where it overflows; argmax takes the first of them for the best.
    """
    best = scores.gather(1, chosen[:, None].to(scores.device)).squeeze(1) if greedy else scores.amax(dim=-1)
    return ~best.isfinite()


def overflow(where: str, request: str) -> UserError:
    """One sentence for a row whose scores name no token."""
    return UserError(
        f"The scores of a next token are no finite numbers in question '{request}' of '{where}': it overflows in its dtype, or "
        "the vector is too strong for it; set target.dtype=bfloat16 or float32, or a smaller intervention.alpha."
    )


def _last_possible(shares: Tensor) -> Tensor:
    """The last token of each row with a share above 0: where rounding may not push a draw beyond."""
    return (shares < shares[:, -1:]).sum(dim=-1)


def _distribution(scores: Tensor, decoding: Decoding) -> Tensor:
    """Probabilities (rows, vocabulary), float64: temperature, then top_k, then top_p, as in transformers."""
    scores = scores.double() / decoding.temperature
    if 0 < decoding.top_k < scores.shape[-1]:
        least = scores.topk(decoding.top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    shares = scores.softmax(dim=-1)
    if decoding.top_p < 1:
        ordered, order = shares.sort(dim=-1, descending=True, stable=True)
        # A token stays when those before it do not hold the share yet; the likeliest always stays.
        beyond = (ordered.cumsum(dim=-1) - ordered) >= decoding.top_p
        shares = shares.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), 0)
    return shares


class RowSampler:
    """A logits processor for Hugging Face's greedy `generate`: leaves of each row's scores only the token drawn for it."""

    def __init__(self, decoding: Decoding, request_ids: Sequence[str], prompt_length: int) -> None:
        self.decoding = decoding
        self.request_ids = list(request_ids)
        self.prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self.prompt_length
        draws = [draw(self.decoding.seed, request_id, step) for request_id in self.request_ids]
        tokens = choose(scores.float(), self.decoding, draws)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0)


class Numbers:
    """A logits processor for Hugging Face's `generate`: raises where a row's scores name no token; it changes nothing."""

    def __init__(self, where: str, request_ids: Sequence[str]) -> None:
        self.where, self.request_ids = where, list(request_ids)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        lost = (~scores.amax(dim=-1).isfinite()).tolist()
        if True in lost:
            raise overflow(self.where, self.request_ids[lost.index(True)])
        return scores


class Scores:
    """What a model's generation config does to its logits before a token is chosen; for rows of different lengths.

    `processors` are those that the model's own `generate` would use, in their order. `unknown` names those that are not known
    to treat every row by itself.
    """

    KNOWN = (
        "RepetitionPenaltyLogitsProcessor",
        "NoBadWordsLogitsProcessor",
        "SequenceBiasLogitsProcessor",
        "SuppressTokensLogitsProcessor",
        "InfNanRemoveLogitsProcessor",
    )

    def __init__(self, processors: Sequence[Any]) -> None:
        self.processors = list(processors)
        self.unknown = sorted({type(p).__name__ for p in self.processors} - set(self.KNOWN))
        if any(getattr(p, "prompt_ignore_length", None) for p in self.processors):
            self.unknown.append("a repetition penalty that ignores the prompt")
        self.penalties = any(_repeats(p) for p in self.processors)
        biased = [words for p in self.processors for words in getattr(p, "sequence_bias", ())]
        # How many of a row's newest tokens the processors read.
        self.tail = max((len(words) for words in biased), default=0)

    def __call__(self, logits: Tensor, seen: Tensor | None, tails: Sequence[Sequence[int]]) -> Tensor:
        """Scores from logits, both (rows, vocabulary) float32.

        seen: (rows, vocabulary) bool, the tokens that each row holds, needed with `penalties`. tails: the newest `tail` tokens
        of each row, prompt included.
        """
        tokens = torch.tensor([list(t)[-self.tail :] for t in tails], device=logits.device) if self.tail else None
        for processor in self.processors:
            if _repeats(processor):
                assert seen is not None
                # transformers looks the tokens up by their ids, which rows of different lengths do not have in one tensor.
                punished = torch.where(logits < 0, logits * processor.penalty, logits / processor.penalty)
                logits = torch.where(seen, punished, logits)
            else:
                logits = processor(tokens, logits)
        return logits


def _repeats(processor: Any) -> bool:
    return type(processor).__name__ == "RepetitionPenaltyLogitsProcessor"
