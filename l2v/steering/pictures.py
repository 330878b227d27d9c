"""The places of pictures among tokens: which they are, and that no text holds one of its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from l2v.errors import UserError

# How marks around pictures are spelt: <row_1_col_2>, <|vision_start|>, <img>.
MARK = re.compile(r"</?\|?[A-Za-z][\w-]*\|?>")
# What configs call the marks before and behind a picture.
AROUND = [
    ("vision_start_token_id", "vision_end_token_id"), ("image_start_token_id", "image_end_token_id"),
    ("boi_token_index", "eoi_token_index"), ("boi_token_id", "eoi_token_id"),
]  # fmt: skip
_HOMELESS: WeakKeyDictionary[Any, dict[int, str]] = WeakKeyDictionary()


def image_token_ids(model: Any) -> tuple[int, ...]:
    """The ids of image (and video) positions in a prompt, from the model's config; empty for text models.

    Image positions are the placeholders that the model replaces by image features, as many as there are features:
    `<image>` (LLaVA, LLaVA-NeXT with its row ends, Idefics2 and 3, SmolVLM), `<|image_pad|>` (Qwen-VL), `<IMG_CONTEXT>`
    (InternVL). What stands around them is text with a word embedding of its own: `<|vision_start|>`, `<img>`,
    `<fake_token_around_image>`, `<global-img>`, `<row_1_col_2>`.
    """
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    found = {getattr(model.config, name, None) for name in names}
    return tuple(sorted(int(i) for i in found if i is not None))


def picture_words(model: Any, tokenizer: Any) -> list[str]:
    """How the tokenizer writes those positions, as far as it knows them."""
    return [word for word in tokenizer.convert_ids_to_tokens(list(image_token_ids(model))) if word is not None]


def check_text_ids(model: Any, tokenizer: Any, texts: Iterable[Sequence[int]]) -> None:
    """Raise UserError for a token of a text that the model has no embedding of, or that it takes for a picture."""
    used = {id_ for ids in texts for id_ in ids}
    check_known(model, tokenizer, used)
    if own := used & set(image_token_ids(model)):
        raise _picture_word(model.config.name_or_path, tokenizer.convert_ids_to_tokens(min(own)))


def check_picture_words(model: Any, tokenizer: Any, prompts: Sequence[str], images: Sequence[Sequence[Any]]) -> None:
    """Raise UserError for a prompt that holds more places for pictures than it has pictures."""
    words = picture_words(model, tokenizer)
    for prompt, own in zip(prompts, images, strict=True) if words else ():
        if sum(map(prompt.count, words)) > len(own):
            raise _picture_word(model.config.name_or_path, next(word for word in words if word in prompt))


def check_marks(model: Any, tokenizer: Any, ids: Sequence[int], bare: str) -> None:
    """Raise UserError for marks of a picture that a template or processor writes and its tokenizer does not know, and for one
    that the model's config names and a prompt with a picture lacks.

    ids: of that prompt, without padding; bare: the prompt as it would be without the picture.
    """
    where, unknown = model.config.name_or_path, tokenizer.unk_token_id
    written, said = set(MARK.findall(tokenizer.decode(ids))), "".join(bare.split()).casefold()
    strange = {mark for mark in written if mark.casefold() not in said and mark != tokenizer.unk_token}
    lost = {mark for mark in strange if tokenizer.convert_tokens_to_ids(mark) in (None, unknown)}
    if not lost and unknown in ids and list(ids).count(unknown) > tokenizer(bare)["input_ids"].count(unknown):
        lost = {f"what it writes for a picture (there stands {tokenizer.unk_token})"}
    if lost:
        raise UserError(
            f"The tokenizer of '{where}' does not know {min(lost)}, and its processor does: they do not belong together; get "
            "the checkpoint again."
        )
    if not set(ids) & set(image_token_ids(model)):
        return
    rows, needed = int(model.get_input_embeddings().weight.shape[0]), {"vision_start_token_id"}
    for pair in AROUND:
        # Ids beyond the vocabulary are a class's own for want of others.
        marks = {name: id_ for name in pair if isinstance(id_ := getattr(model.config, name, None), int) and id_ < rows}
        gone = [name for name in marks if marks[name] not in ids]
        if gone and (needed & set(gone) or len(gone) < len(marks)):
            side = "before" if gone[0] == pair[0] else "behind"
            raise UserError(
                f"The config.json of '{where}' says that token {marks[gone[0]]} stands {side} a picture ({gone[0]}), and there "
                "is none in a prompt; mend the chat template, or get the checkpoint again."
            )


def _picture_word(where: str, word: str) -> UserError:
    return UserError(
        f"A text holds '{word}', which '{where}' reads as the place of a picture, and there is none for it; take it out, or "
        "choose other texts."
    )


def check_known(model: Any, tokenizer: Any, used: Collection[int]) -> None:
    """Raise UserError for a token that the model has no embedding of, on a GPU it would end the process, or that stands in none
    of the tokenizer's files: named in its settings alone, it got a number that the model learned nothing of.
    """
    rows, where = int(model.get_input_embeddings().weight.shape[0]), model.config.name_or_path
    if (highest := max(used)) >= rows:
        raise UserError(
            f"The tokenizer of '{where}' gives token {highest}, and the model knows {rows}: they do not belong together; get "
            "the checkpoint again."
        )
    for id_ in (_homeless(tokenizer).keys() & used) - set(image_token_ids(model)):
        raise UserError(
            f"The tokenizer of '{where}' names '{_homeless(tokenizer)[id_]}', and its vocabulary lacks it: it would be read as "
            f"token {id_}, which the model never learned; get the checkpoint again."
        )


def _homeless(tokenizer: Any) -> dict[int, str]:
    """Tokens that were put behind a vocabulary when it was loaded, for it does not hold them."""
    if tokenizer not in _HOMELESS:
        core: Any = getattr(tokenizer, "backend_tokenizer", None)
        told = tokenizer.init_kwargs.get("added_tokens_decoder")
        added = tokenizer.added_tokens_decoder.items() if told and core is not None else ()
        strange = {id_: token.content for id_, token in added if id_ not in told}
        _HOMELESS[tokenizer] = {id_: word for id_, word in strange.items() if core.model.token_to_id(word) is None}
    return _HOMELESS[tokenizer]
