"""How long prompts are, before any picture is opened: what batches are sorted by and cut by."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from l2v.errors import UserError
from l2v.steering.engine.rows import Request, prompt_text
from l2v.steering.models import LoadedModel

# Image tokens of a picture whose size or processor tells nothing.
_UNKNOWN = 576

Size = tuple[int, int]


def prompt_lengths(target: LoadedModel, requests: Sequence[Request]) -> list[int]:
    """Tokens of each prompt, image tokens included, from texts and the sizes of pictures.

    Exact where the processor tells how many tokens a size makes, up to markers around a picture; else an estimate.
    """
    tokens = ImageTokens(target.processor)
    return [_text_tokens(target, request) + sum(map(tokens, image_sizes(request.images))) for request in requests]


def image_sizes(images: Sequence[Any]) -> list[Size | None]:
    """(width, height) of each image, None where only opening it would tell.

    Sequences that read their files when asked may say sizes by an attribute `sizes`.
    """
    if isinstance(images, (tuple, list)):
        return [getattr(image, "size", None) for image in images]
    sizes = getattr(images, "sizes", None)
    return list(sizes) if sizes is not None else [None] * len(images)


def _text_tokens(target: LoadedModel, request: Request) -> int:
    """Tokens of the text; a picture's placeholder is one of them."""
    try:
        return len(target.tokenizer(prompt_text(target, request), add_special_tokens=False)["input_ids"])
    except UserError:
        return len(request.text)  # told when its turn comes


class ImageTokens:
    """Tokens of one picture by its size, asked of the processor once per size."""

    def __init__(self, processor: Any) -> None:
        # What transformers' processors tell serving engines; not all of them have it.
        self.ask = getattr(processor, "_get_num_multimodal_tokens", None)
        self.fixed = next(
            (n for n in (getattr(processor, name, None) for name in ("image_seq_len", "image_seq_length")) if n), None
        )
        # How many crops SmolVLM makes of a size.
        self.crops = getattr(getattr(processor, "image_processor", None), "get_number_of_image_patches", None)
        self.known: dict[Size | None, int] = {}

    def __call__(self, size: Size | None) -> int:
        if size not in self.known:
            self.known[size] = self._count(size)
        return self.known[size]

    def _count(self, size: Size | None) -> int:
        if size is not None and self.ask is not None:
            try:
                return int(self.ask(image_sizes=[(size[1], size[0])])["num_image_tokens"][0])
            except Exception:  # a method that is not public may do anything; its answer is a convenience
                self.ask = None
        if self.fixed and size is not None and self.crops is not None:
            with suppress(Exception):
                return int(self.fixed) * int(self.crops(size[1], size[0], {})[0])
        if self.fixed:
            return int(self.fixed)
        if size is None:
            return max(self.known.values(), default=_UNKNOWN)
        return max(1, size[0] * size[1] // 784)
