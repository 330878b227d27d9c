"""Texts, demonstrations and pictures in tokens, against the context of the model that is to read them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from l2v.benchmarks.base import Item
from l2v.config import Config
from l2v.errors import UserError
from l2v.steering.models import LoadedModel, chat_prompt, check_vocabulary, encode_prompts, image_token_ids
from l2v.study.cells import Job
from l2v.study.preflight.checkpoints import Checkpoint
from l2v.study.workers.answer import cell_requests
from l2v.study.workers.directions import contrast_questions
from l2v.transfer.contrast import Chat, build_pairs
from l2v.transfer.extract import check_pairs, format_chat, token_ids

# Items of a kind (largest picture, widest, longest text) that are put through the processor.
TRIED = 3
# Items of which sizes are looked at.
MOST_ITEMS = 2000


def contrast_length(config: Config, reader: Checkpoint) -> tuple[int, int]:
    """Tokens of the contrast's longest text for a reader, and of all of them.

    Of kind `generated` the responses are not there yet: each counts with the tokens that it may have. Raises UserError for
    data that cannot be read and for texts that the reader's chat template cannot hold.
    """
    chosen = config.contrast
    questions = contrast_questions(config)
    written = chosen.kind == "generated"

    def answer(chats: list[Chat]) -> list[str]:
        return ["x"] * len(chats)

    pairs = build_pairs(chosen.kind, questions, chosen.cot_instruction, chosen.direct_instruction, answer, chosen.shots)
    texts = [format_chat(reader.tokenizer, chat) for pair in pairs for chat in (pair.cot, pair.direct)]
    ids = [token_ids(reader.tokenizer, text, reader.processor is not None) for text in texts]
    check_vocabulary(reader.skeleton, max(map(max, ids)))
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


def prompt_tokens(job: Job, items: Sequence[Item], target: LoadedModel) -> float:
    """Mean tokens of the prompts that were tried: those of the largest and oddest pictures and of the longest texts.

    Raises UserError for the first that exceeds the context of the target, as the run would.
    """
    tried = hardest(items)
    lengths = []
    for request in cell_requests(job, tried):
        prompt = chat_prompt(target, request.text, len(request.images), request.prefix, request.history)
        inputs = encode_prompts(target, [prompt], [request.images])
        check_pictures(target, inputs)
        lengths.append(int(inputs["input_ids"].shape[1]))
    return sum(lengths) / len(lengths)


def check_pictures(target: LoadedModel, inputs: Mapping[str, Tensor]) -> None:
    """Raise UserError unless a prompt has the picture tokens that the model puts its pictures in the place of.

    How many the model makes of them is asked of its modules without weights; of families that cannot tell so, nothing is said.
    """
    where, known = target.spec.where(), image_token_ids(target.model)
    own = getattr(target.processor, "image_token_id", None)
    if isinstance(own, int) and known and own not in known:
        raise UserError(
            f"The processor of '{where}' writes token {own} for a picture, its config.json names {', '.join(map(str, known))}: "
            "they do not belong together; get the checkpoint again."
        )
    try:
        takes = inspect.signature(target.model.get_image_features).parameters
        given = {name: one.to("meta") if one.is_floating_point() else one for name, one in inputs.items() if name in takes}
        with torch.no_grad():
            features = target.model.get_image_features(**given)
        parts = getattr(features, "pooler_output", features)
        made = sum(part.numel() for part in parts) // target.width
    except Exception:  # code of many families, of which not all runs without weights
        return
    places = sum(int((inputs["input_ids"] == one).sum()) for one in known)
    if made != places:
        raise UserError(
            f"The processor of '{where}' writes {places} tokens for a question's pictures, the model makes {made} of them: "
            "their settings (patch_size and the like) do not belong together; get the checkpoint again."
        )


def hardest(items: Sequence[Item]) -> list[Item]:
    """The items that most likely have the most tokens: by area and by shape of their pictures, and by their words."""
    looked = items[:: max(1, len(items) // MOST_ITEMS)]

    def area(item: Item) -> float:
        return sum(image.width * image.height for image in item.images)

    def shape(item: Item) -> float:
        return max((max(i.width / i.height, i.height / i.width) for i in item.images), default=0.0)

    chosen = [one for key in (area, shape, lambda item: len(item.text)) for one in sorted(looked, key=key)[-TRIED:]]
    return list({item.id: item for item in chosen}.values())
