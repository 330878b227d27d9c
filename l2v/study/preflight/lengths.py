"""Texts, demonstrations and pictures in tokens, against the context of the model that is to read them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from l2v.benchmarks.base import Item
from l2v.config import Config
from l2v.errors import UserError
from l2v.steering.control_words import control_word
from l2v.steering.engine.lengths import ImageTokens, image_sizes
from l2v.steering.engine.rows import Request, encode_plainly
from l2v.steering.models import LoadedModel
from l2v.steering.pictures import check_text_ids, image_token_ids, picture_words
from l2v.steering.prompts import IMAGE_PLACEHOLDER
from l2v.study.cells import Job
from l2v.study.preflight.checkpoints import Checkpoint, check_shapes
from l2v.study.workers.answer import cell_requests
from l2v.study.workers.directions import contrast_questions
from l2v.transfer.contrast import Chat, build_pairs
from l2v.transfer.extract import check_chats, check_pairs, format_chat, token_ids

# Items of a kind (largest picture, widest, longest text) that are put through the processor.
TRIED = 3
# Items of which sizes are looked at, and characters of a token, about.
MOST_ITEMS, CHARACTERS = 2000, 3


def contrast_length(config: Config, reader: Checkpoint) -> tuple[int, int]:
    """Tokens of the contrast's longest text for a reader, and of all of them.

    Of kind `generated` the responses are not there yet: each counts with the tokens that it may have. Raises UserError for
    data that cannot be read and for texts that the reader's chat template cannot hold.
    """
    chosen = config.contrast
    questions = contrast_questions(config, lambda _: None)  # rows that make no pair are noted with the data
    written = chosen.kind == "generated"

    def answer(chats: list[Chat]) -> list[str]:
        return ["x"] * len(chats)

    pairs = build_pairs(chosen.kind, questions, chosen.cot_instruction, chosen.direct_instruction, answer, chosen.shots)
    chats = [chat for pair in pairs for chat in (pair.cot, pair.direct)]
    texts = [format_chat(reader.tokenizer, chat) for chat in chats]
    ids = [token_ids(reader.tokenizer, text, reader.processor is not None) for text in texts]
    check_text_ids(reader.skeleton, reader.tokenizer, ids)
    check_chats(reader.tokenizer, chats)
    if not written:
        check_pairs(ids)
    counts = [*map(len, ids)]
    more = chosen.max_new_tokens if written else 0
    return max(counts) + more, sum(counts) + more * len(counts)


def check_contrast(config: Config, reader: Checkpoint) -> int:
    """All tokens of a contrast. Raises UserError when its longest text exceeds the reader's context."""
    longest, total = contrast_length(config, reader)
    if reader.context is not None and longest > reader.context:
        raise UserError(
            f"The longest text of contrast '{config.contrast.name}' has {longest} tokens, the context of "
            f"'{reader.spec.where()}' holds {reader.context}."
        )
    return total


def prompt_tokens(job: Job, items: Sequence[Item], target: LoadedModel) -> list[int]:
    """Tokens of each of the prompts that were tried: those of the largest and oddest pictures and of the longest texts.

    Raises UserError for the first that exceeds the context of the target, as the run would.
    """
    lengths = []
    for request in hardest(target, cell_requests(job, items)):
        inputs = encode_plainly(target, [request])
        check_pictures(target, inputs)
        lengths.append(int(inputs["input_ids"].shape[1]))
    return lengths


def check_pictures(target: LoadedModel, inputs: Mapping[str, Tensor]) -> None:
    """Raise UserError unless a prompt has the picture tokens that the model puts its pictures in the place of."""
    where, known = target.spec.where(), image_token_ids(target.model)
    own = getattr(target.processor, "image_token_id", None)
    places = sum(int((inputs["input_ids"] == one).sum()) for one in known)
    made = _made(target, inputs)
    # Some name the mark that stands before a picture (Gemma 3, Llama 4), and write the model's own for its places.
    foreign = isinstance(own, int) and own not in known and bool((inputs["input_ids"] == own).any())
    if known and foreign and (not places if made is None else made != places):
        raise UserError(
            f"The processor of '{where}' writes token {own} for a picture, its config.json names {', '.join(map(str, known))}: "
            "they do not belong together; get the checkpoint again."
        )
    if made is not None and made != places:
        raise UserError(
            f"The processor of '{where}' writes {places} tokens for a question's pictures, the model makes {made} of them: "
            "their settings (patch_size and the like) do not belong together; get the checkpoint again."
        )


def _made(target: LoadedModel, inputs: Mapping[str, Tensor]) -> int | None:
    """How many tokens the model makes of a prompt's pictures, by its config or asked of its modules; None: neither tells."""
    config: Any = target.model.config
    vision: Any = getattr(config, "vision_config", None)
    grid, mask = inputs.get("image_grid_thw"), inputs.get("pixel_attention_mask")
    if grid is not None and hasattr(vision, "spatial_merge_size"):  # Qwen-VL
        _check_patches(target, inputs, vision)
        return int(grid.prod(dim=1).sum()) // int(vision.spatial_merge_size) ** 2
    if mask is not None:  # Idefics, SmolVLM; a crop without pixels only fills up a batch
        crops = int(mask.flatten(0, 1).any(dim=2).any(dim=1).sum())
        if hasattr(config, "perceiver_config"):
            return crops * int(config.perceiver_config.resampler_n_latents)
        if hasattr(config, "scale_factor"):
            return crops * math.prod(side // vision.patch_size for side in mask.shape[2:]) // int(config.scale_factor) ** 2
    try:
        if not hasattr(target.model, "get_image_features"):  # Mllama, whose blocks look at a picture beside the text
            with torch.no_grad():
                target.model(**{name: one.to("meta") for name, one in inputs.items()})
            return None
        takes = inspect.signature(target.model.get_image_features).parameters
        given = {name: one.to("meta") if one.is_floating_point() else one for name, one in inputs.items() if name in takes}
        with torch.no_grad():
            features = target.model.get_image_features(**given)
        return sum(part.numel() for part in getattr(features, "pooler_output", features)) // target.width
    except IndexError as error:
        raise UserError(
            f"'{target.spec.where()}' cannot read a picture by its config.json ({error}: vision_feature_layer and the like); "
            "get the checkpoint again."
        ) from error
    except ValueError as error:
        if "doesn't match model" not in str(error):
            return None
        raise _another_size(target, error) from error
    except Exception as error:  # code of many families, of which not all runs without weights
        check_shapes(error, target.spec.where(), "processor")
        return None


def _check_patches(target: LoadedModel, inputs: Mapping[str, Tensor], vision: Any) -> None:
    """Raise UserError where a patch has another number of values than its model's (temporal_patch_size and the like)."""
    frames, side = getattr(vision, "temporal_patch_size", None), getattr(vision, "patch_size", None)
    values = inputs["pixel_values"].shape[-1]
    channels = getattr(vision, "in_channels", 3)
    if isinstance(frames, int) and isinstance(side, int) and values != channels * frames * side * side:
        raise _another_size(target, f"{values} values a patch")


def _another_size(target: LoadedModel, told: object) -> UserError:
    what = f"The processor of '{target.spec.where()}' makes pictures of another size than its model takes ({told})"
    return UserError(f"{what}; get the checkpoint again.")


def hardest(target: LoadedModel, requests: Sequence[Request]) -> list[Request]:
    """One with a word that no text may hold, and those that most likely have the most tokens, of pictures and of words."""
    words = picture_words(target.model, target.tokenizer)
    measured = requests[:: max(1, len(requests) // MOST_ITEMS)]
    tokens = ImageTokens(target.processor)

    def odd(request: Request) -> bool:
        said = " ".join((request.text.replace(IMAGE_PLACEHOLDER, ""), *(text for turn in request.history for text in turn)))
        named = request.text.count(IMAGE_PLACEHOLDER)
        pictured = named not in (0, len(request.images)) or any(word in said for word in words)
        return pictured or control_word(target.tokenizer, said) is not None

    def made(request: Request) -> float:
        return sum(map(tokens, image_sizes(request.images))) + len(request.text) / CHARACTERS

    def area(request: Request) -> float:
        return sum(width * height for width, height in filter(None, image_sizes(request.images)))

    def shape(request: Request) -> float:
        return max((max(w / h, h / w) for w, h in filter(None, image_sizes(request.images))), default=0.0)

    keys: tuple[Callable[[Request], float], ...] = (made, area, shape, lambda request: len(request.text))
    chosen = [*filter(odd, requests)][:1] + [one for key in keys for one in sorted(measured, key=key)[-TRIED:]]
    return list({request.id: request for request in chosen}.values())
