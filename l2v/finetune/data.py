"""Conversations as token ids and labels: the loss falls on what the assistant says, its terminator included.

Texts are rendered by the model's own chat template as everywhere else (l2v/transfer/extract.py), one to a row, never packed
and never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l2v.errors import UserError, unknown
from l2v.finetune.settings import UNUSABLE
from l2v.steering.models import LoadedModel, image_token_ids
from l2v.steering.prompts import adds_bos
from l2v.transfer.contrast import Chat, ContrastQuestion
from l2v.transfer.extract import check_chats, format_chat, token_ids

IGNORED = -100  # the label that Hugging Face's losses leave out
MARKER = "l2vresponseplaceholder"


@dataclass(frozen=True)
class TrainingText:
    """One conversation. ids: its tokens; labels: the same where the assistant speaks, -100 elsewhere."""

    ids: list[int]
    labels: list[int]

    @property
    def said(self) -> int:
        """Tokens that count in the loss: the first token of a text is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class TrainingTexts:
    """The conversations to train on, and how many were left out for want of a response or for their length."""

    rows: list[TrainingText]
    unanswered: int = 0
    too_long: int = 0


def training_chats(questions: Sequence[ContrastQuestion]) -> list[Chat]:
    """Question and chain-of-thought response of contrast data, without an instruction; an open chat where there is none."""
    return [Chat(question.text, question.cot) for question in questions]


def encode_examples(
    loaded: LoadedModel, chats: Sequence[Chat], max_length: int | None = None, unusable: str = "error"
) -> TrainingTexts:
    """Token ids and labels of conversations.

    max_length: tokens of the longest conversation; None: the model's context. unusable: what to do about a conversation
    without a response or longer than that: "error", or "drop", which counts them. Raises UserError for one of these under
    "error", when none is left, for a text with an image's token or a control word, and for a template that does not keep the
    response.
    """
    if unusable not in UNUSABLE:
        raise unknown("finetune.unusable", unusable, UNUSABLE)
    limit = _limit(loaded, max_length)
    answered = [chat for chat in chats if chat.assistant and chat.assistant.strip()]
    rows = [_example(loaded, chat) for chat in answered]
    check_chats(loaded.tokenizer, answered)
    fitting = [row for row in rows if len(row.ids) <= limit]
    lost = TrainingTexts(fitting, len(chats) - len(answered), len(rows) - len(fitting))
    if unusable == "error" and lost.unanswered:
        raise UserError(
            f"{lost.unanswered} of {len(chats)} texts to fine-tune on have no chain-of-thought response; mend the data, or "
            "leave them out with finetune.unusable=drop."
        )
    if unusable == "error" and lost.too_long:
        longest = max(len(row.ids) for row in rows)
        raise UserError(
            f"{lost.too_long} of {len(chats)} texts to fine-tune on are longer than {limit} tokens (the longest {longest}); "
            "raise finetune.max_length if the model's context allows it, or leave them out with finetune.unusable=drop."
        )
    if not fitting:
        raise UserError("No text is left to fine-tune on: give conversations with a chain-of-thought response that fit.")
    return lost


def _limit(loaded: LoadedModel, max_length: int | None) -> int:
    """The length that no text may exceed: the smaller of what is asked for and the model's context."""
    context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or 2**31
    if max_length is not None and max_length < 1:
        raise UserError(f"finetune.max_length={max_length} leaves no room for a text; choose a positive number of tokens.")
    return context if max_length is None else min(max_length, context)


def _example(loaded: LoadedModel, chat: Chat) -> TrainingText:
    """Ids, and labels for every token that reaches into the response or its terminator."""
    tokenizer, where = loaded.tokenizer, loaded.spec.where()
    text, start, stop = _rendered(tokenizer, chat)
    ids = token_ids(tokenizer, text, tokenizer_bos=loaded.processor is not None)
    if set(ids) & set(image_token_ids(loaded.model)):
        raise UserError(f"A text to fine-tune '{where}' on contains the token of an image ('{chat.user[:60]}'); take it out.")
    special = loaded.processor is not None and adds_bos(tokenizer, text)
    spans = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)["offset_mapping"]
    # A token may begin with the blank before the response, so what counts is where it ends.
    labels = [
        token if begin < stop and end > max(start, begin) else IGNORED for token, (begin, end) in zip(ids, spans, strict=True)
    ]
    return TrainingText(ids, labels)


def _rendered(tokenizer: Any, chat: Chat) -> tuple[str, int, int]:
    """The conversation as the template writes it, its response's first character, and the end of the response's terminator.

    White space after the terminator is left out: it is never generated. A template that ends a turn with nothing gets the
    tokenizer's end token, or the model would learn never to stop.
    """
    text, marked = format_chat(tokenizer, chat), format_chat(tokenizer, Chat(chat.user, MARKER))
    start = marked.index(MARKER)
    tail = marked[start + len(MARKER) :]
    if not text.startswith(marked[:start]) or not text.endswith(tail):
        raise UserError(
            f"The chat template of '{tokenizer.name_or_path}' writes an assistant turn now this way, now that; where a "
            "response begins cannot be told."
        )
    if not tail.strip() and tokenizer.eos_token:
        text, tail = text + tokenizer.eos_token, tail + tokenizer.eos_token
    return text, start, len(text) - len(tail) + len(tail.rstrip())


def collate(rows: Sequence[TrainingText], pad: int) -> dict[str, Tensor]:
    """A right-padded batch: input_ids, attention_mask and labels, each (rows, tokens of the longest)."""
    width = max(len(row.ids) for row in rows)
    gaps = [width - len(row.ids) for row in rows]
    return {
        "input_ids": torch.tensor([row.ids + [pad] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(row.ids) + [0] * gap for row, gap in zip(rows, gaps, strict=True)]),
        "labels": torch.tensor([row.labels + [IGNORED] * gap for row, gap in zip(rows, gaps, strict=True)]),
    }
