"""Prompts: a question in a model's chat format, and the inputs of a batch of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import Image
from torch import Tensor

from l2v.errors import UserError
from l2v.steering.control_words import check_control_words
from l2v.steering.models import LoadedModel
from l2v.steering.pictures import check_known, check_picture_words, picture_words

IMAGE_PLACEHOLDER = "<image>"


def chat_prompt(loaded: LoadedModel, text: str, images: int, prefix: str = "", history: Sequence[tuple[str, str]] = ()) -> str:
    """The prompt string of one user turn in the model's chat format, ready for an answer; after `history`, text turns.

    `text` holds one literal `<image>` per image where it belongs; without any, the images come first. `prefix` is
    appended as the beginning of the answer, control words and all. Raises UserError for another number of images than
    `<image>`s, a control word in a turn, a missing chat template, or one that raises or leaves part of the question out.
    """
    holder = loaded.processor if loaded.processor is not None else loaded.tokenizer
    if not getattr(holder, "chat_template", None):
        raise UserError(f"'{loaded.spec.place}' has no chat template; add chat_template.jinja to its folder.")
    parts = loaded.processor is not None
    if images and not parts:
        raise UserError(
            f"'{loaded.spec.place}' is a text model, and a question has a picture; choose other questions or target."
        )
    if not (text.strip() or images):
        raise UserError("A question is empty; mend the data, or leave it out with another benchmark.split or part.")
    pieces, content = _interleaved(text, images) if parts else ([text], text)
    said = [(role, words) for turn in history for role, words in zip(("user", "assistant"), turn, strict=True)]
    check_words(loaded, [*pieces, *(words for _, words in said)])
    turns: list[dict[str, Any]] = [{"role": r, "content": [{"type": "text", "text": t}] if parts else t} for r, t in said]
    turns.append({"role": "user", "content": content})
    try:
        prompt = str(holder.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of the checkpoint's
        raise template_failed(loaded.spec.place, error) from error
    check_written(prompt, [*(words for _, words in said), *pieces], loaded.spec.place)
    return prompt + prefix


def check_written(prompt: str, said: Sequence[str], where: str) -> None:
    """Raise UserError unless a chat template has written all that is said, turn after turn."""
    place = 0
    for words in map(str.strip, said):
        if (place := prompt.find(words, place)) < 0:
            did = "writes the turns of a question in another order" if words in prompt else "leaves out part of a question"
            raise UserError(f"The chat template of '{where}' {did}; mend the template.")
        place += len(words)


def check_words(loaded: LoadedModel, texts: Sequence[str]) -> None:
    """Raise UserError for a control word in a text; of the places of pictures `encode_prompts` tells."""
    told = picture_words(loaded.model, loaded.tokenizer)
    check_control_words(loaded.tokenizer, texts, loaded.spec.place, told)


def template_failed(where: str, error: Exception) -> UserError:
    """The sentence for a chat template that raises."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"The chat template of '{where}' fails: {reason}; mend the template or choose another model.")


def _interleaved(text: str, images: int) -> tuple[list[str], Any]:
    """The pieces of text between images, and the turn's content parts."""
    pieces = text.split(IMAGE_PLACEHOLDER)
    if len(pieces) == 1:
        pieces = [""] * images + pieces
    if len(pieces) - 1 != images:
        raise UserError(f"A question names {len(pieces) - 1} images with {IMAGE_PLACEHOLDER} but comes with {images}.")
    content: list[dict[str, str]] = []
    for index, piece in enumerate(pieces):
        if index:
            content.append({"type": "image"})
        if piece.strip():
            content.append({"type": "text", "text": piece})
    return pieces, content


def adds_bos(tokenizer: Any, text: str) -> bool:
    """Whether an image-text model's tokenizer is to add its special tokens: always, but where the template wrote a BOS.

    Templates of LLaVA-1.5 and Idefics2 leave BOS to the tokenizer, Llama-3's writes it; `apply_chat_template` of the
    processors decides by this rule, that of text tokenizers never adds any.
    """
    return tokenizer.bos_token is None or not text.startswith(tokenizer.bos_token)


def encode_prompts(
    loaded: LoadedModel, prompts: Sequence[str], images: Sequence[Sequence[Image.Image]], which: str = "a question"
) -> dict[str, Tensor]:
    """Model inputs for a left-padded batch of chat prompts and their images (RGB). BOS stands once, nothing is cut.

    which: what a processor's refusal calls the question.

    Raises UserError for a doubled BOS, a missing pad mask, images that the processor refuses, a text that holds the place of
    a picture, or a prompt longer than the model's context.
    """
    check_picture_words(loaded.model, loaded.tokenizer, prompts, images)
    inputs, where = _tokenized(loaded, prompts, images, which), loaded.spec.place
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is None:
        raise UserError(f"The processor of '{where}' gives no attention mask; padding could not be told from text.")
    if not bool(mask[:, -1].all()):
        raise UserError(f"The processor of '{where}' pads on the right; generation needs left padding.")
    bos = (ids == (-1 if loaded.tokenizer.bos_token_id is None else loaded.tokenizer.bos_token_id)) & mask.bool()
    if bool((bos[:, 1:] & bos[:, :-1]).any()):
        raise UserError(f"A prompt for '{where}' begins with two BOS tokens; mend its chat template.")
    limit = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    longest = int(mask.sum(dim=1).max())
    check_known(loaded.model, loaded.tokenizer, set(ids[mask.bool()].tolist()))
    if limit is not None and longest > limit:
        raise UserError(
            f"A prompt of {longest} tokens exceeds the context of '{where}' ({limit}): give fewer or shorter method.shots, or "
            "smaller images."
        )
    return inputs


def check_last(loaded: LoadedModel, last: Sequence[int], prompts: Sequence[str]) -> None:
    """Raise UserError for a prompt of an image-text model that its end token ends: the answer would be another text's.

    Text models with templates that write it after every turn, a question's too, were trained so.
    """
    end = loaded.tokenizer.eos_token_id
    if loaded.processor is None or end is None or end not in last:
        return
    word = loaded.tokenizer.eos_token
    wrote = prompts[list(last).index(end)].rstrip().endswith(word)
    who, mend = ("chat template", "mend the template") if wrote else ("tokenizer", "set add_eos_token=false, or get it again")
    raise UserError(f"The {who} of '{loaded.spec.place}' ends a question with '{word}', which ends a text; {mend}.")


@lru_cache(maxsize=16)
def _accepted(family: Any) -> frozenset[str]:
    """The inputs that `generate` hands on to a model; it refuses others, as Ovis2's `grids`, unknown to the model."""
    calls = (family.forward, family.generate, family.prepare_inputs_for_generation)
    return frozenset(name for call in calls for name in inspect.signature(call).parameters) | {"input_ids", "attention_mask"}


def _tokenized(
    loaded: LoadedModel, prompts: Sequence[str], images: Sequence[Sequence[Image.Image]], which: str
) -> dict[str, Tensor]:
    """Ids, mask and pictures. Truncation is switched off, also where a checkpoint's own settings ask for it."""
    options: dict[str, Any] = {
        "padding": True,
        "padding_side": "left",
        "truncation": False,
        "return_tensors": "pt",
        "add_special_tokens": loaded.processor is not None and adds_bos(loaded.tokenizer, prompts[0]),
    }
    if loaded.processor is None:
        return dict(loaded.tokenizer(list(prompts), **options))
    flat = [list(group) for group in images]
    try:
        inputs = dict(loaded.processor(text=list(prompts), **({"images": flat} if any(flat) else {}), **options))
        family: Any = type(loaded.model)
        return {name: value for name, value in inputs.items() if name in _accepted(family)}
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:  # code of the checkpoint's family
        reason = " ".join(f"{'' if isinstance(error, ValueError) else f'{type(error).__name__}: '}{error}".split())[:200]
        raise UserError(
            f"The processor of '{loaded.spec.place}' refuses {which}: {reason.rstrip('.')}; its chat template and "
            "its processor must fit each other, and the question."
        ) from error
