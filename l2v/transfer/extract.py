"""Reading directions: the states of every decoder block at the final token, averaged over pairs (Eq. 1, 2, 5).

Memory: one batch of texts, and per layer a running mean and two sums; never n x layers x d states at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l2v.errors import UserError
from l2v.transfer.contrast import Chat, Pair

# Texts whose every token's norm goes into the median that `scale=relative` is measured in.
NORM_TEXTS = 64


@dataclass(frozen=True)
class Directions:
    """The directions of one model for one contrast, all layers.

    mean: v(l), shape (layers, d), float32 (Eq. 2). trace: the trace of the covariance of u_i, shape (layers,) (METHOD 5).
    mean_square: mean ||u_i||^2, shape (layers,). activation_norm: the median ||h|| over tokens, shape (layers,).
    n: the number of pairs. provenance: the settings they came from, whole.
    """

    mean: Tensor
    trace: Tensor
    mean_square: Tensor
    activation_norm: Tensor
    n: int
    provenance: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write one safetensors file with n and the provenance in its header, by an atomic rename."""
        from safetensors.torch import save_file

        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file(tensors, str(part), metadata={"n": str(self.n), "provenance": json.dumps(self.provenance, sort_keys=True)})
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Directions:
        """Read a file written by `save`. Raises UserError when it is not one."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in _TENSORS}
            return cls(**tensors, n=int(header["n"]), provenance=json.loads(header["provenance"]))
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise UserError(f"{path} is not a file of directions ({error}); delete it and it is computed again.") from error


_TENSORS = ("mean", "trace", "mean_square", "activation_norm")


def format_chat(tokenizer: Any, chat: Chat) -> str:
    """The chat as the model's own template writes it; open chats end with the generation prompt.

    Some templates rewrite an assistant turn (R1-Distill drops everything up to `</think>`): such a turn is put back
    verbatim. Raises UserError when the tokenizer has no template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"The tokenizer of '{getattr(tokenizer, 'name_or_path', '?')}' has no chat template; "
            "choose an instruction-tuned source or add a chat template to its folder."
        )
    render = tokenizer.apply_chat_template
    if chat.assistant is None:
        return str(render(chat.messages(), tokenize=False, add_generation_prompt=True))
    marker = "l2vresponseplaceholder"
    held = str(render(Chat(chat.user, marker).messages(), tokenize=False))
    if held.count(marker) != 1:
        raise UserError(
            f"The chat template of '{tokenizer.name_or_path}' does not keep an assistant turn; it cannot be a source."
        )
    text = str(render(chat.messages(), tokenize=False))
    # Templates either trim a response or leave it; any other change of it is undone.
    return text if text == held.replace(marker, chat.assistant) else held.replace(marker, chat.assistant.strip())


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a chat-formatted text. The template has written every special token; none is added a second time."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        raise UserError(f"The chat template of '{tokenizer.name_or_path}' writes two BOS tokens; mend the template.")
    if not ids:
        raise UserError("A contrast text is empty after tokenisation.")
    return ids


def final_states(
    model: nn.Module, layers: Sequence[nn.Module], batch: Sequence[Sequence[int]], pad: int
) -> tuple[Tensor, list[Tensor]]:
    """One forward pass: the block outputs at each text's final token, and the norms of all its tokens.

    Returns states (layers, texts, d) float32 and, per text, norms (layers, tokens) float32. Texts are padded on the right,
    which a causal model's earlier tokens cannot see.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(ids) for ids in batch], device=device)
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in batch], device=device)
    mask = (torch.arange(width, device=device) < lengths[:, None]).long()
    states: list[Tensor] = []
    norms: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        states.append(hidden[torch.arange(len(batch), device=hidden.device), lengths.to(hidden.device) - 1].float())
        norms.append(torch.linalg.vector_norm(hidden.float(), dim=-1))

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.no_grad():
            # The body without the language-model head: logits of long texts would dwarf the states.
            body: Any = model.base_model
            body(input_ids=ids, attention_mask=mask, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if len(states) != len(layers):
        raise RuntimeError(f"{len(states)} of {len(layers)} decoder blocks ran in a forward pass")
    all_norms = torch.stack([n.cpu() for n in norms])
    return torch.stack([s.cpu() for s in states]), [all_norms[:, i, : len(ids)] for i, ids in enumerate(batch)]


def extract(
    model: nn.Module,
    tokenizer: Any,
    layers: Sequence[nn.Module],
    pairs: Sequence[Pair],
    provenance: dict[str, Any] | None = None,
    batch_tokens: int = 16384,
    progress: Callable[[int], None] | None = None,
) -> Directions:
    """Directions of all layers in one pass over the pairs (Eq. 2), with running mean and covariance trace.

    `layers` are the model's decoder blocks. Batches are sorted by length and hold at most `batch_tokens` padded
    tokens. Raises UserError when a text is longer than the model's context, or the two texts of a pair are equal.
    """
    if not pairs:
        raise UserError("The contrast set is empty: there is no direction to read.")
    encoded = [
        (token_ids(tokenizer, format_chat(tokenizer, p.cot)), token_ids(tokenizer, format_chat(tokenizer, p.direct)))
        for p in pairs
    ]
    _check_lengths(model, encoded)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    running = _Running(len(layers))
    stride = -(-2 * len(encoded) // NORM_TEXTS)
    for batch in _batches(encoded, batch_tokens):
        cot, cot_norms = final_states(model, layers, [encoded[i][0] for i in batch], pad)
        direct, direct_norms = final_states(model, layers, [encoded[i][1] for i in batch], pad)
        running.add(cot - direct)
        # The same texts whatever the batches are: evenly spaced over the caller's order, and so over its domains.
        for i, *both in zip(batch, cot_norms, direct_norms, strict=True):
            if i % stride == 0:
                running.norms += both
        if progress:
            progress(len(batch))
    return running.result(provenance or {})


def _check_lengths(model: nn.Module, encoded: Sequence[tuple[list[int], list[int]]]) -> None:
    config: Any = model.config
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    longest = max(max(len(c), len(d)) for c, d in encoded)
    if limit is not None and longest > limit:
        raise UserError(
            f"A contrast text has {longest} tokens, the model's context holds {limit}; nothing is cut silently: "
            "choose shorter data or another source."
        )
    if all(c == d for c, d in encoded):
        raise UserError("The two texts of every contrast pair are equal; the direction would be zero.")


def _batches(encoded: Sequence[tuple[list[int], list[int]]], batch_tokens: int) -> Iterator[list[int]]:
    """Indices of pairs, sorted by falling length, in batches of at most `batch_tokens` padded tokens a side."""
    lengths = [max(map(len, pair)) for pair in encoded]
    batch: list[int] = []
    for i in sorted(range(len(encoded)), key=lambda i: lengths[i], reverse=True):
        # The first text of a batch is its longest and sets the padded width.
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


class _Running:
    """Mean and sums of squares over batches (Chan, Golub & LeVeque's update), float32, on the CPU."""

    def __init__(self, layers: int) -> None:
        self.n = 0
        self.mean = torch.zeros(layers, 1)
        self.spread = torch.zeros(layers)  # sum of ||u_i - mean||^2
        self.squares = torch.zeros(layers)  # sum of ||u_i||^2
        self.norms: list[Tensor] = []

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
            activation_norm=torch.cat(self.norms, dim=1).median(dim=1).values,
            n=self.n,
            provenance=provenance,
        )
