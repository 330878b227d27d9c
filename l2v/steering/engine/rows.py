"""What goes in and comes out: requests, how each row is steered and decoded, and its response."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from l2v.errors import UserError
from l2v.steering.models import LoadedModel
from l2v.steering.pictures import check_marks
from l2v.steering.prompts import IMAGE_PLACEHOLDER, chat_prompt, check_last, encode_prompts


@dataclass(frozen=True)
class Request:
    """One question: its text with a literal `<image>` per image, the images (RGB), and the beginning of the answer.

    images: any sequence; one that opens its files when it is read is read when the request's turn comes.
    templated: the text is a complete prompt in the model's own chat format already, image markers included, and is not put
    through the chat template.
    """

    id: str
    text: str
    images: Sequence[Image.Image] = ()
    prefix: str = ""
    templated: bool = False
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Steering:
    """What one row is steered with: a vector (d,) of the target's width, a 0-based layer, alpha >= 0, and positions."""

    vector: Tensor
    layer: int
    alpha: float
    positions: str = "all"


@dataclass(frozen=True)
class Decoding:
    """At most `max_new_tokens`, ended by the model's end token (not before `min_new_tokens`) or one of the `stop` strings.

    temperature 0 is greedy. Above 0, tokens are drawn from the distribution at that temperature, cut to the `top_k` likeliest
    (0: all) and then to the likeliest that hold a share of `top_p` (0 to 1). Every draw depends on `seed`, the request's id
    and the token's place alone, so an answer does not depend on its neighbours. Raises UserError for values out of range.
    """

    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens={self.max_new_tokens} must be at least 1.")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise UserError(
                f"min_new_tokens={self.min_new_tokens} must lie between 0 and max_new_tokens={self.max_new_tokens}."
            )
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"temperature={self.temperature} must be a finite number of at least 0 (0: greedy).")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p={self.top_p} must lie above 0 and be at most 1 (1: all tokens).")
        if self.top_k < 0:
            raise UserError(f"top_k={self.top_k} must be at least 0 (0: all tokens).")
        if "" in self.stop:
            raise UserError("An empty stop string would end every answer at once; leave it out.")


@dataclass(frozen=True)
class Response:
    """An answer: its text, the number of generated tokens (end token included), and whether the limit cut it off."""

    text: str
    tokens: int
    truncated: bool


Row = tuple[Request, Steering | None]


def encode_requests(target: LoadedModel, requests: Sequence[Request]) -> dict[str, Any]:
    """Model inputs on the model's device, left-padded; equal requests are prepared once and repeated as rows."""
    distinct = list({id(r): r for r in requests}.values())
    inputs = encode_plainly(target, distinct)
    if len(distinct) < len(requests):
        one_each = len({len(r.images) for r in distinct}) == 1 and len(distinct[0].images) <= 1
        if one_each and all(len(value) == len(distinct) for value in inputs.values()):
            position = {id(r): i for i, r in enumerate(distinct)}
            index = torch.tensor([position[id(r)] for r in requests])
            inputs = {name: value[index] for name, value in inputs.items()}
        else:
            # Several images, or families that lay the patches of all images end to end: let the processor repeat them.
            inputs = encode_plainly(target, requests)
    return on_device(target, inputs)


def on_device(target: LoadedModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inputs where the model is, numbers in its dtype."""
    dtype = target.model.dtype
    return {name: value.to(target.model.device, dtype if value.is_floating_point() else None) for name, value in inputs.items()}


def encode_plainly(target: LoadedModel, requests: Sequence[Request]) -> dict[str, Tensor]:
    """What the processor makes of a batch, on the CPU. Raises UserError as `encode_prompts` does."""
    which = f"question '{requests[0].id}'" if len(requests) == 1 else "a question"
    prompts = [prompt_text(target, request) for request in requests]
    inputs = encode_prompts(target, prompts, [r.images for r in requests], which)
    check_last(target, inputs["input_ids"][:, -1].tolist(), prompts)
    if len(requests[0].images):  # one of a batch tells of all
        held = inputs["input_ids"][0][inputs["attention_mask"][0].bool()]
        bare = replace(requests[0], text=requests[0].text.replace(IMAGE_PLACEHOLDER, " "), images=())
        without = prompts[0] if bare.templated or not bare.text.strip() else prompt_text(target, bare)
        check_marks(target.model, target.tokenizer, held.tolist(), without)
    return inputs


def request_key(request: Request) -> object:
    """What makes two requests the same: their texts and image objects."""
    # Other sequences may make their images anew at every reading: only the sequence itself tells that they are the same.
    held = isinstance(request.images, (tuple, list))
    images = tuple(map(id, request.images)) if held else id(request.images)
    return request.id, request.text, request.prefix, request.templated, request.history, images


def steering_key(steering: Steering) -> object:
    """What makes two steerings the same: what they write, how much of it and where."""
    vector = steering.vector.detach().float().cpu().contiguous().numpy().tobytes()
    return steering.layer, steering.alpha, steering.positions, hashlib.blake2b(vector).digest()


def prompt_text(target: LoadedModel, request: Request) -> str:
    """The whole prompt as the tokenizer gets it. Raises UserError as `chat_prompt` does."""
    if request.templated:
        return request.text + request.prefix
    return chat_prompt(target, request.text, len(request.images), request.prefix, request.history)


def batched(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Consecutive batches of at most `size` rows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def end_ids(target: LoadedModel) -> set[int]:
    """The tokens that end an answer: those of the generation config, else the tokenizer's; none where neither knows one."""
    eos = target.model.generation_config.eos_token_id
    if eos is None:
        eos = target.tokenizer.eos_token_id
    return set(eos) if isinstance(eos, list) else set() if eos is None else {eos}


def response(target: LoadedModel, ids: Sequence[int], decoding: Decoding) -> Response:
    """The response that generated `ids` make; what follows the end token or a completed stop string is ignored."""
    ends = end_ids(target)
    length = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
    ended = length > 0 and ids[length - 1] in ends
    decode = target.tokenizer.decode
    # A stop string may be a special token. What follows the token that completed it is filling, whatever the pad token is.
    if decoding.stop and any(stop in decode(ids[:length]) for stop in decoding.stop):
        length = next(i for i in range(1, length + 1) if any(stop in decode(ids[:i]) for stop in decoding.stop))
        ended = True
    text = decode(ids[:length], skip_special_tokens=True)
    text = text[: min((text.find(stop) for stop in decoding.stop if stop in text), default=len(text))]
    return Response(text, length, truncated=not ended and length >= decoding.max_new_tokens)


class StopStrings:
    """Tells when generated tokens have completed a stop string.

    transformers' own criterion takes the vocabulary apart and fails on tokenizers that cannot spell its probe word. A string
    of c characters ends within the last c tokens, and a few more for characters of several bytes.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        self.decode = tokenizer.decode
        self.stops = tuple(stops)
        self.tail = max((len(stop) for stop in stops), default=0) + 8
        self.last = {stop[-1] for stop in stops}
        # Only a token that writes a string's last character can complete it. Blanks and characters of several bytes do not
        # show in a token by itself, and a decoder that tidies up may move them.
        self.always = any(not c.isascii() or c.isspace() for c in self.last) or bool(
            getattr(tokenizer, "clean_up_tokenization_spaces", False)
        )
        self.candidates: dict[int, bool] = {}

    def met(self, ids: Sequence[int]) -> bool:
        """Whether the newest of the generated `ids` completes a stop string."""
        if not self.stops or not (self.always or self._may_complete(ids[-1])):
            return False
        text = self.decode(ids[-self.tail :])
        return any(stop in text for stop in self.stops)

    def _may_complete(self, token: int) -> bool:
        if token not in self.candidates:
            piece = self.decode([token])
            self.candidates[token] = any(character in piece for character in self.last)
        return self.candidates[token]
