"""The intervention: add a vector to the residual stream after one decoder block and keep every norm (Eq. 8, 9)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l2v.errors import UserError, unknown
from l2v.steering.models import decoder_layers, image_token_ids
from l2v.steering.positions import POSITIONS as POSITIONS
from l2v.steering.span import Span, as_list


@dataclass(frozen=True)
class Intervention:
    """What to inject, where and how strongly; each setting for all rows at once, or one per row of the batch.

    vector: (d,) or (rows, d), the target's width. layer: decoder block, 0-based; the write is on its output.
    alpha: at least 0; 0 leaves a row untouched bit for bit. positions: one of
    - all: every token, image tokens too; text: every token but image tokens; prompt: the prompt only;
    - generated: the last prompt token (it yields the first generated one) and every generated token;
    - decode: generated tokens as they are fed back; release: prompt token 0 and every generated token (released hook).
    Padding is never touched.

    Use: `with Intervention(v, layer=14, alpha=0.4).applied_to(model): model.generate(**inputs)`.
    """

    vector: Tensor
    layer: int | Sequence[int]
    alpha: float | Sequence[float] = 1.0
    positions: str | Sequence[str] = "all"

    def __post_init__(self) -> None:
        if self.vector.ndim not in (1, 2) or not bool(torch.isfinite(self.vector).all()):
            raise UserError("An intervention's vector must be finite, of shape (d,) or (rows, d).")
        for alpha in as_list(self.alpha):
            if not (math.isfinite(alpha) and alpha >= 0):
                raise UserError(f"alpha={alpha} must be a finite number of at least 0.")
        for positions in as_list(self.positions):
            if positions not in POSITIONS:
                raise unknown("positions", positions, POSITIONS)
        if len(self._row_counts()) > 1:
            raise UserError(f"An intervention's per-row settings have different lengths: {sorted(self._row_counts())}.")

    def _row_counts(self) -> set[int]:
        settings = (self.layer, self.alpha, self.positions)
        counts = {len(s) for s in settings if not isinstance(s, (int, float, str))}
        return counts | ({len(self.vector)} if self.vector.ndim == 2 else set())

    @property
    def rows(self) -> int | None:
        """The number of rows that settings are given for; None when they hold for any batch."""
        return next(iter(self._row_counts()), None)

    def check_target(self, model: Any) -> Sequence[Any]:
        """The decoder blocks of `model`. Raises UserError for a layer, a width or positions that it does not have."""
        layers = decoder_layers(model)
        width = int(model.config.get_text_config().hidden_size)
        if self.vector.shape[-1] != width:
            raise UserError(f"The vector has width {self.vector.shape[-1]}, the model's residual stream {width}.")
        for layer in as_list(self.layer):
            if not 0 <= layer < len(layers):
                raise UserError(f"Layer {layer} is out of range: the target has decoder blocks 0 … {len(layers) - 1}.")
        sees = model.config.get_text_config() is not model.config
        if "text" in as_list(self.positions) and sees and not image_token_ids(model):
            raise UserError("positions=text needs the id of the image token, which this model's config does not name.")
        return layers

    @contextmanager
    def applied_to(self, model: Any, idle_ok: bool = False) -> Iterator[None]:
        """Steer every forward pass of `model` inside the block, through `generate` too, with the cache on or off.

        Raises UserError for a layer out of range or a vector of another width, and InterventionError when a batch of
        several rows comes without its 2-D attention mask, when the batch does not fit the per-row settings, or when a
        row with alpha > 0 was never changed by any write. With `idle_ok`, rows with positions "decode" may go unchanged when no
        generated token was fed back at all.
        """
        layers = self.check_target(model)
        images = image_token_ids(model)
        run = Span(self, images)
        outer, model.generate = model.__dict__.get("generate"), run.watch_generate(model.generate)
        handles = [
            model.register_forward_pre_hook(run.begin, with_kwargs=True),
            model.register_forward_hook(run.end),
        ]
        handles += [layers[i].register_forward_hook(run.writer(i)) for i in run.layers_in_use()]
        handles += [
            layers[i + 1].register_forward_pre_hook(run.late_writer(i), with_kwargs=True)
            for i in run.layers_in_use()
            if i + 1 < len(layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            del model.generate
            if outer is not None:
                model.generate = outer
        run.check_effect(idle_ok)
