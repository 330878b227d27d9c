"""MathNeuro: the parameters that matter for mathematics and for nothing else are scaled up (arXiv 2410.16930).

    changes = mathneuro(target, math_texts, other_texts, share=0.05, factor=1.1)
    with weights_changed(target, changes): …

As in the released script (bryanchrist/MathNeuro, MathNeuro.py): the importance of a weight is Wanda's |W_ij| ||x_j||, where
||x_j|| is the norm of input feature j over the tokens of one text, summed over the texts of a calibration set; per Linear the
top share by the math set, less the top share by the other set, is multiplied by a factor (1.1 to strengthen, 0 to prune).
|W| is the same for every text, so only the summed norms are kept: one vector per Linear and set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from l2v.errors import UserError
from l2v.steering.models import LoadedModel, input_device
from l2v.steering.prompts import encode_prompts
from l2v.steering.weights import Change, check_writable, language_model

# How far norms may lie apart that should be equal, as a share of their size.
ROUNDING = 0.02


def mathneuro(
    loaded: LoadedModel,
    math: Sequence[str],
    other: Sequence[str],
    share: float = 0.05,
    factor: float = 1.1,
    batch_tokens: int = 16384,
) -> Iterator[Change]:
    """The changes that scale the math-specific parameters, for `weights_changed`.

    math, other: chat-formatted texts of the two calibration sets; the paper takes 500 of each (GSM8K with solutions; RACE,
    MMLU) and finds one nearly enough. share: of each Linear's parameters, above 0 to 1; the released script tries .0001 to
    .15 and tells the best, so it is to be chosen on validation items. factor: 1.1 in the paper.

    Raises UserError for an empty set, a share out of range, weights that cannot be written, texts longer than the context,
    and when no parameter would change.
    """
    if not 0 < share <= 1:
        raise UserError(f"share={share} is no share of a layer's parameters; choose above 0, at most 1.")
    check_writable(loaded.model, loaded.spec.where())
    linears = language_linears(loaded.model)
    norms = [input_norms(loaded, texts, batch_tokens, name) for name, texts in (("math", math), ("non-math", other))]
    return _changes(linears, norms[0], norms[1], share, factor)


def _changes(
    linears: dict[str, nn.Linear], math: dict[str, Tensor], other: dict[str, Tensor], share: float, factor: float
) -> Iterator[Change]:
    changed = 0
    for name, linear in linears.items():
        if name not in math or name not in other:
            continue  # an expert to which no token was sent
        chosen = specific(linear.weight.detach(), math[name], other[name], share)
        count = int(chosen.sum())
        changed += count
        if count:
            yield f"{name}.weight", torch.where(chosen, linear.weight.detach().float() * factor, linear.weight.detach().float())
    if not changed:
        raise UserError(
            f"MathNeuro found no parameter in the top share {share} of the math set alone; choose another share, or "
            "calibration sets that differ."
        )


def language_linears(model: Any) -> dict[str, nn.Linear]:
    """Every Linear of the language model by its name in `model`; lm_head too unless tied to the embeddings, as released."""
    prefix, module = language_model(model)
    found = {prefix + name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    head, words = model.get_output_embeddings(), model.get_input_embeddings()
    if isinstance(head, nn.Linear) and head.weight is not words.weight:
        found[next(name for name, part in model.named_modules() if part is head)] = head
    return found


def importance(weight: Tensor, norms: Tensor) -> Tensor:
    """Wanda's score |W_ij| ||x_j||, (out, in), float32; norms: (in,), summed over texts (`input_norms`)."""
    return weight.abs().float() * norms.to(weight.device, torch.float32)


def top_share(score: Tensor, share: float) -> Tensor:
    """A mask of the floor(share n) entries of the largest score, over the whole matrix."""
    mask = torch.zeros_like(score, dtype=torch.bool).flatten()
    mask[score.flatten().topk(int(share * score.numel())).indices] = True
    return mask.view_as(score)


def specific(weight: Tensor, math: Tensor, other: Tensor, share: float) -> Tensor:
    """The mask of a Linear's parameters in the top share by the math norms and not by the others, (out, in)."""
    return top_share(importance(weight, math), share) & ~top_share(importance(weight, other), share)


def input_norms(
    loaded: LoadedModel, texts: Sequence[str], batch_tokens: int = 16384, name: str = "calibration"
) -> dict[str, Tensor]:
    """Per Linear of the language model, sum over texts of ||x_j|| over the text's tokens: (in,), float64, on the CPU.

    texts: chat-formatted, no image in them. Padding does not count, nor how texts are batched: a model that gives a text other
    states beside a longer one is given one text at a time. batch_tokens: padded tokens per forward pass. name: what to call
    the set in an error. Raises UserError when it is empty.
    """
    if not texts:
        raise UserError(f"The {name} calibration set of MathNeuro is empty; give it at least one text.")
    collector = _Collector(loaded)
    lengths = [len(ids) for ids in loaded.tokenizer(list(texts), add_special_tokens=True)["input_ids"]]
    order = sorted(range(len(texts)), key=lambda i: lengths[i])
    longest = max((i for i in order if 2 * lengths[i] <= batch_tokens), key=lambda i: lengths[i], default=order[0])
    if not _may_batch(loaded, texts[order[0]], texts[longest]):
        batch_tokens = 1
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and lengths[order[stop]] * (stop + 1 - start) <= batch_tokens:
            stop += 1
        collector.read([texts[i] for i in order[start:stop]])
        start = stop
    return collector.norms


def _may_batch(loaded: LoadedModel, short: str, long: str) -> bool:
    """Whether two texts give the same norms together and each alone, up to rounding."""
    together, apart = _Collector(loaded), _Collector(loaded)
    together.read([short, long])
    for text in (short, long):
        apart.read([text])
    far = [torch.linalg.vector_norm(together.norms[n] - norms) > ROUNDING * norms.norm() for n, norms in apart.norms.items()]
    return not any(map(bool, far))


class _Collector:
    """Runs texts through the body of a model and adds up the norms of what its Linears are given."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.linears = language_linears(loaded.model)
        self.head = loaded.model.get_output_embeddings()
        self.norms: dict[str, Tensor] = {}

    def read(self, texts: Sequence[str]) -> None:
        """One batch."""
        inputs = encode_prompts(self.loaded, texts, [[]] * len(texts))
        device = input_device(self.loaded.model)
        inputs = {name: value.to(device) for name, value in inputs.items()}
        mask = inputs["attention_mask"].bool()
        handles = [
            linear.register_forward_pre_hook(self._hook(name, mask))
            for name, linear in self.linears.items()
            if linear is not self.head
        ]
        try:
            with torch.no_grad():
                # The body without the head: logits of long texts would dwarf everything else.
                states = self.loaded.model.base_model(**inputs, use_cache=False)[0]
        finally:
            for handle in handles:
                handle.remove()
        for name, linear in self.linears.items():
            if linear is self.head:
                self._add(name, states, mask)

    def _hook(self, name: str, mask: Tensor) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            self._add(name, args[0], mask)

        return hook

    def _add(self, name: str, states: Tensor, mask: Tensor) -> None:
        if states.numel() != mask.numel() * states.shape[-1]:
            raise UserError(f"MathNeuro cannot read {name}, which is not given every token of a text; it needs dense layers.")
        rows = states.detach().reshape(*mask.shape, -1)  # mixtures hand tokens over in one long row
        rows = rows.float().masked_fill(~mask.to(rows.device)[..., None], 0)
        norms = torch.linalg.vector_norm(rows, dim=1).double().sum(dim=0).cpu()
        self.norms[name] = self.norms[name] + norms if name in self.norms else norms
