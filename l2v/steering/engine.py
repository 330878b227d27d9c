"""Rows through the model: a row is one request answered under one steering; a batch mixes rows of many cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from l2v.errors import InterventionError
from l2v.steering.hook import Intervention
from l2v.steering.models import LoadedModel, chat_prompt, encode_prompts


@dataclass(frozen=True)
class Request:
    """One question: its text with a literal `<image>` per image, the images (RGB), and the beginning of the answer."""

    id: str
    text: str
    images: tuple[Image.Image, ...] = ()
    prefix: str = ""


@dataclass(frozen=True)
class Steering:
    """What one row is steered with: a vector (d,) of the target's width, a 0-based layer, alpha >= 0, and positions."""

    vector: Tensor
    layer: int
    alpha: float
    positions: str = "all"


@dataclass(frozen=True)
class Decoding:
    """Greedy decoding: at most `max_new_tokens`, ended by the model's end token or one of the `stop` strings."""

    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Response:
    """An answer: its text, the number of generated tokens (end token included), and whether the limit cut it off."""

    text: str
    tokens: int
    truncated: bool


Row = tuple[Request, Steering | None]


def generate_rows(target: LoadedModel, rows: Sequence[Row], decoding: Decoding) -> list[Response]:
    """Answer a batch of rows, left-padded, each under its own steering (None: unsteered). Same order as `rows`.

    Greedy, by the model's own `generate`. When the accelerator's memory runs out, the batch is halved and tried again.
    Raises InterventionError when a steered row with alpha > 0 was not changed at all.
    """
    try:
        return _generate_batch(target, rows, decoding)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(rows) // 2
    return generate_rows(target, rows[:middle], decoding) + generate_rows(target, rows[middle:], decoding)


def _generate_batch(target: LoadedModel, rows: Sequence[Row], decoding: Decoding) -> list[Response]:
    inputs = encode_requests(target, [request for request, _ in rows])
    intervention = combined([steering for _, steering in rows], target.width)
    options = generation_options(target, decoding)
    prompt_length = inputs["input_ids"].shape[1]
    if decoding.stop:
        options["stopping_criteria"] = [_stop_criterion(target.tokenizer, prompt_length, decoding.stop)]
    with torch.no_grad():
        if intervention is None:
            output = target.model.generate(**inputs, **options)
        else:
            # Answers that all end at once leave `positions=decode` nothing to write to; that is no fault of the vector.
            with intervention.applied_to(target.model, idle_ok=decoding.max_new_tokens > 1):
                output = target.model.generate(**inputs, **options)
    return [_response(target, row, decoding) for row in output[:, prompt_length:].tolist()]


def encode_requests(target: LoadedModel, requests: Sequence[Request]) -> dict[str, Any]:
    """Model inputs on the model's device; equal requests are prepared once and repeated as rows."""
    distinct = list({id(r): r for r in requests}.values())
    inputs = _encode(target, distinct)
    if len(distinct) < len(requests):
        one_each = len({len(r.images) for r in distinct}) == 1 and len(distinct[0].images) <= 1
        if one_each and all(len(value) == len(distinct) for value in inputs.values()):
            position = {id(r): i for i, r in enumerate(distinct)}
            index = torch.tensor([position[id(r)] for r in requests])
            inputs = {name: value[index] for name, value in inputs.items()}
        else:
            # Several images, or families that lay the patches of all images end to end: let the processor repeat them.
            inputs = _encode(target, requests)
    dtype = target.model.dtype
    return {name: value.to(target.model.device, dtype if value.is_floating_point() else None) for name, value in inputs.items()}


def _encode(target: LoadedModel, requests: Sequence[Request]) -> dict[str, Tensor]:
    prompts = [chat_prompt(target, r.text, len(r.images), r.prefix) for r in requests]
    return encode_prompts(target, prompts, [r.images for r in requests])


def generation_options(target: LoadedModel, decoding: Decoding) -> dict[str, Any]:
    """Arguments of `generate` for greedy decoding; sampling defaults of the checkpoint are switched off."""
    return {
        "max_new_tokens": decoding.max_new_tokens,
        "do_sample": False,
        "num_beams": 1,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "pad_token_id": target.tokenizer.pad_token_id,
    }


def _stop_criterion(tokenizer: Any, prompt_length: int, stops: Sequence[str]) -> Any:
    """A stopping criterion for `generate`: a row is done once its generated text holds a stop string.

    transformers' own one takes the vocabulary apart and fails on tokenizers that cannot spell its probe word. A string
    of c characters ends within the last c tokens, and a few more for characters of several bytes.
    """
    tail = max(len(stop) for stop in stops) + 8

    def met(ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        texts = [tokenizer.decode(row) for row in ids[:, prompt_length:][:, -tail:]]
        return torch.tensor([any(stop in text for stop in stops) for text in texts], device=ids.device)

    return met


def combined(steerings: Sequence[Steering | None], width: int) -> Intervention | None:
    """One intervention with a vector, layer, alpha and positions per row; None when no row is steered."""
    if not any(s is not None and s.alpha > 0 for s in steerings):
        return None
    still = Steering(torch.zeros(width), 0, 0.0)
    rows = [s or still for s in steerings]
    return Intervention(
        vector=torch.stack([s.vector.float().cpu() for s in rows]),
        layer=[s.layer for s in rows],
        alpha=[s.alpha for s in rows],
        positions=[s.positions for s in rows],
    )


def _response(target: LoadedModel, ids: list[int], decoding: Decoding) -> Response:
    ends = _end_ids(target)
    length = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
    ended = length > 0 and ids[length - 1] in ends
    decode = target.tokenizer.decode
    # A stop string may be a special token. What follows the token that completed it is filling, whatever the pad token is.
    if any(stop in decode(ids[:length]) for stop in decoding.stop):
        length = next(i for i in range(1, length + 1) if any(stop in decode(ids[:i]) for stop in decoding.stop))
        ended = True
    text = decode(ids[:length], skip_special_tokens=True)
    text = text[: min((text.find(stop) for stop in decoding.stop if stop in text), default=len(text))]
    return Response(text, length, truncated=not ended and length >= decoding.max_new_tokens)


def _end_ids(target: LoadedModel) -> set[int]:
    eos = target.model.generation_config.eos_token_id
    if eos is None:
        eos = target.tokenizer.eos_token_id
    return set(eos) if isinstance(eos, list) else {eos}


def batched(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Consecutive batches of at most `size` rows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def check_effect(target: LoadedModel, request: Request, steerings: Sequence[Steering]) -> list[int]:
    """Which of the steerings change no logit of the first two generated tokens of one request (indices; normally none).

    A write can move the residual stream and still be lost, in a block whose output nothing reads; this looks at what
    comes out. Raises InterventionError when a write itself changed nothing.
    """
    steered = [i for i, s in enumerate(steerings) if s.alpha > 0]
    if not steered:
        return []
    rows: list[Steering | None] = [None, *(steerings[i] for i in steered)]
    inputs = encode_requests(target, [request] * len(rows))
    intervention = combined(rows, target.width)
    assert intervention is not None
    options = generation_options(target, Decoding(max_new_tokens=2)) | {"min_new_tokens": 2}
    with torch.no_grad(), intervention.applied_to(target.model):
        output = target.model.generate(**inputs, **options, output_logits=True, return_dict_in_generate=True)
    # Equal rows of one batch may differ by rounding; a write that moves less than that has no effect either.
    same = torch.stack([(s - s[:1]).abs().amax(dim=1) <= 1e-6 * s.abs().max() for s in output.logits]).all(dim=0)
    return [i for row, i in enumerate(steered, start=1) if bool(same[row])]


def require_effect(target: LoadedModel, request: Request, steerings: Sequence[Steering]) -> None:
    """Raise InterventionError when a steering with alpha > 0 changes no logit; see `check_effect`."""
    lost = check_effect(target, request, steerings)
    if lost:
        first = steerings[lost[0]]
        raise InterventionError(
            f"Steering at layer {first.layer} with alpha={first.alpha} ({first.positions}) changed no logit: the write is lost "
            "in this model."
        )
