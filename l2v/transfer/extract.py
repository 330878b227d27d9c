"""Reading directions: the states of every decoder block at the final token, averaged over pairs (Eq. 1, 2, 5).

Texts are batched, not pairs: a chain of thought is many times as long as a direct answer, and padding one to the other
would cost most of the work. Memory: on the device one batch of texts and its final states; on the CPU the final states of
the pairs of which one text was read, at most WINDOW pairs, and a running mean and two sums per layer.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l2v.errors import UserError
from l2v.steering.control_words import check_control_words
from l2v.steering.pictures import check_text_ids
from l2v.steering.prompts import adds_bos, template_failed
from l2v.transfer.contrast import Chat, Pair
from l2v.transfer.directions import Directions
from l2v.transfer.forward import final_states
from l2v.transfer.partial import PartialStates, TextStates

# An empty block of thoughts at the end of a text.
EMPTY_THOUGHT = re.compile(r"<think>\s*</think>\s*$")
# Characters of a text by which a tokenizer shows that it knows words of it.
BEGINNING = 200
# What a template is tried with.
THOUGHT = "12 + 30 = 42."
# How far the states of a text may lie apart, alone and beside a longer one, as a share of their size: rounding.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.float16: 0.01}
LOW_PRECISION = 0.05
# Texts whose every token's norm goes into the median that `scale=relative` is measured in.
NORM_TEXTS = 64
# Pairs that may wait half read: 512 of 64 layers and width 5120 are 0.7 GB.
WINDOW = 512
# A batch that holds this share of its token budget takes no text shorter than this share of its longest: a device is busy
# with less than a full batch, and padding is work for nothing.
BUSY, SHORTEST = 1 / 8, 0.85


def format_chat(tokenizer: Any, chat: Chat) -> str:
    """The chat as the model's own template writes it; open chats end with the generation prompt.

    Some templates drop a part of an assistant turn (R1-Distill everything up to `</think>`): such a turn is put back
    verbatim. What a template merely sets apart (Qwen3's line breaks around its thoughts) stays as it writes it. Templates of
    image-text models may want content in parts. Raises UserError when the tokenizer has no template, or one that raises or
    leaves out the question or the response.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"The tokenizer of '{getattr(tokenizer, 'name_or_path', '?')}' has no chat template; "
            "choose an instruction-tuned source or add a chat template to its folder."
        )
    if chat.assistant is None:
        return _rendered(tokenizer, chat)
    marker = "l2vresponseplaceholder"
    held = _rendered(tokenizer, replace(chat, assistant=marker))
    if held.count(marker) != 1:
        raise UserError(
            f"The chat template of '{tokenizer.name_or_path}' does not keep an assistant turn; it cannot be a source."
        )
    text = _rendered(tokenizer, chat)
    before, after = held.split(marker)
    if chat.user.strip() not in before:
        told = f"The chat template of '{tokenizer.name_or_path}' writes an answer before its question"
        raise UserError(f"{told}; mend the template.")
    # The question may hold the response's words: only what stands after the question tells whether the response is there.
    said = text[len(before) :] if text.startswith(before) else text[text.find(chat.user.strip()) + len(chat.user.strip()) :]
    if _unspaced(chat.assistant) in _unspaced(said):
        return text
    if "<think>" in chat.assistant:
        before = EMPTY_THOUGHT.sub("", before)  # what Qwen3's template writes before a turn without thoughts
    return before + chat.assistant.strip() + after


def _unspaced(text: str) -> str:
    return "".join(text.split())


def _rendered(tokenizer: Any, chat: Chat) -> str:
    """What the template writes, with the content as plain text, or in parts where plain text would vanish or fail."""
    plain = chat.messages()
    parts = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in plain]
    failure: Exception | None = None
    for turns in (plain, parts):
        try:
            text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=chat.assistant is None))
        except Exception as error:  # a template is a program of the checkpoint's
            failure = failure or error
            continue
        if all(words.strip() in text for words in (chat.user, *(words for turn in chat.history for words in turn))):
            return text
    if failure is not None:
        raise template_failed(tokenizer.name_or_path, failure) from failure
    raise UserError(f"The chat template of '{tokenizer.name_or_path}' leaves out the question; mend the template.")


def token_ids(tokenizer: Any, text: str, tokenizer_bos: bool = False) -> list[int]:
    """The ids of a chat-formatted text. A text model's template has written every special token: none is added.

    tokenizer_bos: for image-text models, whose templates may leave BOS to the tokenizer. Raises UserError for a text
    without tokens and for a doubled BOS.
    """
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not ids:
        raise UserError("A contrast text is empty after tokenisation.")
    if tokenizer_bos and adds_bos(tokenizer, text):
        ids = list(tokenizer(text, add_special_tokens=True)["input_ids"])
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        raise UserError(f"The chat template of '{tokenizer.name_or_path}' writes two BOS tokens; mend the template.")
    return ids


def extract(
    model: nn.Module,
    tokenizer: Any,
    layers: Sequence[nn.Module],
    pairs: Sequence[Pair],
    provenance: dict[str, Any] | None = None,
    batch_tokens: int = 16384,
    progress: Callable[[int, int], None] | None = None,
    partial: Path | None = None,
    tokenizer_bos: bool = False,
    keep_states: bool = False,
    tell: Callable[[str], None] = warnings.warn,
) -> Directions:
    """Directions of all layers in one pass over the pairs (Eq. 2), with running mean and covariance trace.

    `layers` are the model's decoder blocks. Batches are sorted by length and hold at most `batch_tokens` padded tokens;
    one that exceeds the device's memory is halved. `progress` is told the tokens that are done and their total.
    `partial`: a folder that keeps what was read, batch by batch; a later call with the same texts goes on from there,
    to the same result. The caller deletes it. `tokenizer_bos`: see `token_ids`. `keep_states`: the result holds every
    text's final states, 2n x layers x d. A model whose states of a text change when a longer one stands beside it in a batch
    (attention that sees padding, positions scaled by the batch's length) is read one text at a time; `tell` is told.

    Raises UserError when a text is longer than the model's context or the device's memory, the two texts of every pair
    are equal, or a text holds a control word of the tokenizer's.
    """
    if not pairs:
        raise UserError("The contrast set is empty: there is no direction to read.")
    chats = [chat for pair in pairs for chat in (pair.cot, pair.direct)]
    texts = [token_ids(tokenizer, format_chat(tokenizer, chat), tokenizer_bos) for chat in chats]
    _check_texts(model, tokenizer, texts)
    check_chats(tokenizer, chats)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    reader = _Reader(model, layers, pad)
    if not reader.may_batch(texts, batch_tokens):
        batch_tokens = 1
        tell(
            f"{type(model).__name__} gives a text other states when a longer one stands beside it: its texts are read one at a "
            "time, which takes longer."
        )
    kept = PartialStates(partial, _digest(texts, len(layers), alone=batch_tokens == 1))
    running = _Running(len(layers))
    # The same texts whatever the batches are: evenly spaced over the caller's order, and so over its domains.
    stride = -(-len(texts) // NORM_TEXTS)
    waiting: dict[int, Tensor] = {}
    states = torch.empty(0)
    done, total = 0, sum(map(len, texts))
    for batch in _batches(texts, batch_tokens):
        missing = [t for t in batch if t not in kept]
        if missing:
            measured = [i for i, t in enumerate(missing) if t // 2 % stride == 0]
            kept.add(missing, reader.read([texts[t] for t in missing], measured))
        for t, found in zip(batch, kept.take(batch), strict=True):
            waiting[t] = found.final
            if keep_states:
                if not len(states):
                    states = torch.empty(len(layers), len(texts), found.final.shape[-1], dtype=next(model.parameters()).dtype)
                states[:, t] = found.final
            if found.norms is not None:
                running.norms[t] = found.norms
        complete = sorted({t // 2 for t in batch if t ^ 1 in waiting})
        if complete:
            running.add(torch.stack([waiting.pop(2 * i) - waiting.pop(2 * i + 1) for i in complete], dim=1))
        done += sum(len(texts[t]) for t in batch)
        if progress:
            progress(done, total)
    result = running.result(provenance or {})
    return replace(result, states=states) if keep_states else result


def _digest(texts: Sequence[Sequence[int]], layers: int, alone: bool) -> str:
    """What the kept states of these texts depend on, but for the model."""
    what = [layers, texts, "alone"] if alone else [layers, texts]
    return hashlib.sha256(json.dumps(what, separators=(",", ":")).encode()).hexdigest()


def _check_texts(model: nn.Module, tokenizer: Any, texts: Sequence[list[int]]) -> None:
    config: Any = model.config
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, texts))
    if limit is not None and longest > limit:
        raise UserError(
            f"A contrast text has {longest} tokens, the model's context holds {limit}; nothing is cut silently: "
            "choose shorter data or another source."
        )
    check_text_ids(model, tokenizer, texts)
    check_pairs(texts)


def check_chats(tokenizer: Any, chats: Iterable[Chat]) -> None:
    """Raise UserError for a turn that holds a control word of the tokenizer's, or no word that it knows: what is read would be
    another chat, or the same for every text."""
    chats, where = list(chats), getattr(tokenizer, "name_or_path", "?")
    check_control_words(tokenizer, (words for chat in chats for words in chat.words()), where)
    unknown = tokenizer.unk_token_id
    for words in (words for chat in chats for words in chat.words() if unknown is not None):
        # A beginning that is known spares the rest.
        if all(set(tokenizer(part, add_special_tokens=False)["input_ids"]) == {unknown} for part in (words[:BEGINNING], words)):
            raise UserError(f"A text holds no word that '{where}' knows ({words[:40]!r}); choose other texts or another model.")


def check_pairs(texts: Sequence[Sequence[int]]) -> None:
    """Raise UserError when the texts, 2i and 2i + 1 a pair, are equal in all pairs."""
    if all(c == d for c, d in zip(texts[::2], texts[1::2], strict=True)):
        raise UserError("The two texts of every contrast pair are equal: the direction would be zero; choose other texts.")


def drops_thoughts(tokenizer: Any) -> bool:
    """Whether the chat template leaves the thoughts of an answer out, which `format_chat` puts back."""
    return _unspaced(THOUGHT) not in _unspaced(_rendered(tokenizer, Chat("What is 12 + 30?", f"<think>{THOUGHT}</think>42")))


def _batches(texts: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of texts (2i and 2i + 1 are a pair) by falling length, in batches of at most `batch_tokens` padded tokens.

    Pairs come in windows of WINDOW, the longest first, so that few wait for their other text.
    """
    order = sorted(range(len(texts) // 2), key=lambda i: max(len(texts[2 * i]), len(texts[2 * i + 1])), reverse=True)
    for start in range(0, len(order), WINDOW):
        window = [t for i in sorted(order[start : start + WINDOW]) for t in (2 * i, 2 * i + 1)]
        batch: list[int] = []
        for t in sorted(window, key=lambda t: len(texts[t]), reverse=True):
            # The first text of a batch is its longest and sets the padded width.
            width = len(texts[batch[0]]) if batch else 0
            full = (len(batch) + 1) * width > batch_tokens
            wasteful = len(batch) * width >= BUSY * batch_tokens and len(texts[t]) < SHORTEST * width
            if batch and (full or wasteful):
                yield batch
                batch = []
            batch.append(t)
        yield batch


class _Reader:
    """Batches through the model; remembers how many padded tokens were too many for the device's memory."""

    def __init__(self, model: nn.Module, layers: Sequence[nn.Module], pad: int) -> None:
        self.model, self.layers, self.pad = model, layers, pad
        self.limit: float = float("inf")

    def may_batch(self, texts: Sequence[Sequence[int]], batch_tokens: int) -> bool:
        """Whether the shortest text's states and norms are the same alone and beside the longest that may share a batch.

        Two forward passes; right padding cannot change the longer one. False where nothing that is longer fits beside it.
        """
        short = min(texts, key=len)
        longer = [text for text in texts if len(text) > len(short) and 2 * len(text) <= batch_tokens]
        for beside in sorted(longer, key=len, reverse=True)[:: max(1, len(longer) // 4)]:
            try:
                found = final_states(self.model, self.layers, [short, beside], self.pad, [0])[0]
                alone = final_states(self.model, self.layers, [short], self.pad, [0])[0]
            except torch.OutOfMemoryError:
                continue
            embeddings: Any = self.model.get_input_embeddings()  # type: ignore[operator]
            allowed = TOLERANCE.get(embeddings.weight.dtype, LOW_PRECISION)
            return _apart(found, alone) <= allowed
        return not longer

    def read(self, batch: Sequence[Sequence[int]], measured: Sequence[int]) -> list[TextStates]:
        """`final_states` of a batch, in halves where it does not fit. Raises UserError when a single text does not."""
        padded = len(batch) * max(map(len, batch))
        if padded <= self.limit or len(batch) == 1:
            try:
                return final_states(self.model, self.layers, batch, self.pad, measured)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise UserError(
                        f"A contrast text of {padded} tokens does not fit the device's memory; use source.device_map=auto, "
                        "source.quantization=4bit, a smaller source or shorter data."
                    ) from error
            # Here and not above: the error holds on to the failed batch's tensors.
            self.limit = padded // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        half = len(batch) // 2
        first = self.read(batch[:half], [i for i in measured if i < half])
        return first + self.read(batch[half:], [i - half for i in measured if i >= half])


def _apart(found: TextStates, alone: TextStates) -> float:
    """The largest difference of states and of norms in a layer, as a share of their size there; 0 where both are no numbers."""
    assert found.norms is not None and alone.norms is not None
    shares = []
    for ours, theirs in ((found.final, alone.final), (found.norms, alone.norms)):
        size = torch.linalg.vector_norm(theirs.float(), dim=-1).clamp_min(1e-12)
        shares.append(float((torch.linalg.vector_norm((ours - theirs).float(), dim=-1) / size).nan_to_num(0.0).max()))
    return max(shares)


class _Running:
    """Mean and sums of squares over batches (Chan, Golub & LeVeque's update), float32, on the CPU."""

    def __init__(self, layers: int) -> None:
        self.n = 0
        self.mean = torch.zeros(layers, 1)
        self.spread = torch.zeros(layers)  # sum of ||u_i - mean||^2
        self.squares = torch.zeros(layers)  # sum of ||u_i||^2
        self.norms: dict[int, Tensor] = {}  # (layers, tokens) of the measured texts

    def add(self, u: Tensor) -> None:
        """One batch of u_i, shape (layers, batch, d)."""
        m = u.shape[1]
        mean = u.mean(dim=1)
        delta = mean - self.mean
        self.spread = (
            self.spread + (u - mean[:, None]).square().sum(dim=(1, 2)) + delta.square().sum(dim=1) * (self.n * m / (self.n + m))
        )
        self.mean = self.mean + delta * (m / (self.n + m))
        self.squares = self.squares + u.square().sum(dim=(1, 2))
        self.n += m

    def result(self, provenance: dict[str, Any]) -> Directions:
        if not bool(torch.isfinite(self.mean).all()):
            raise UserError("The source's states are not finite; load it in float32 or bfloat16 (source.dtype=…).")
        return Directions(
            mean=self.mean,
            trace=self.spread / self.n,
            mean_square=self.squares / self.n,
            activation_norm=torch.cat(list(self.norms.values()), dim=1).median(dim=1).values,
            n=self.n,
            provenance=provenance,
        )
