"""The intervention: add a vector to the residual stream after one decoder block and keep every norm (Eq. 8, 9)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l2v.errors import InterventionError, UserError, unknown
from l2v.steering.models import decoder_layers, image_token_ids
from l2v.steering.positions import POSITIONS as POSITIONS


def inject(hidden: Tensor, vector: Tensor, alpha: Tensor, mask: Tensor | None = None) -> Tensor:
    """h' = h + alpha v, then h' <- h' ||h|| / ||h'|| at every position where `mask` holds (Eq. 8, 9).

    hidden (rows, tokens, d); vector (rows, d) or (d,); alpha (rows,), at least 0; mask (rows, tokens) bool or None for
    all. Norms in float32; the result has hidden's dtype. Rows with alpha 0 and masked positions stay bit for bit.
    """
    before = hidden.float()
    moved = before + alpha.float()[:, None, None] * (vector[:, None] if vector.ndim == 2 else vector)
    norm = torch.linalg.vector_norm(before, dim=-1, keepdim=True)
    moved = moved * (norm / torch.linalg.vector_norm(moved, dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny))
    active = (alpha > 0)[:, None, None]
    if mask is not None:
        active = active & mask[..., None]
    return torch.where(active, moved.to(hidden.dtype), hidden)


def prompt_positions(kind: str, ids: Tensor, real: Tensor, image_ids: Sequence[int]) -> Tensor:
    """Where a prompt is written under `kind` positions, (rows, tokens) bool; `real`: what is no padding, of the same shape."""
    if kind == "text":
        return real & ~torch.isin(ids, torch.tensor(image_ids, device=ids.device, dtype=ids.dtype))
    if kind == "decode":
        return torch.zeros_like(real)
    if kind in ("generated", "release"):
        one = real if kind == "release" else real.flip(1)
        first = one.int().argmax(dim=1, keepdim=True)
        place = first if kind == "release" else real.shape[1] - 1 - first
        return real & (torch.arange(real.shape[1], device=real.device) == place)
    return real


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
        for alpha in _as_list(self.alpha):
            if not (math.isfinite(alpha) and alpha >= 0):
                raise UserError(f"alpha={alpha} must be a finite number of at least 0.")
        for positions in _as_list(self.positions):
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
        for layer in _as_list(self.layer):
            if not 0 <= layer < len(layers):
                raise UserError(f"Layer {layer} is out of range: the target has decoder blocks 0 … {len(layers) - 1}.")
        sees = model.config.get_text_config() is not model.config
        if "text" in _as_list(self.positions) and sees and not image_token_ids(model):
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
        run = _Span(self, images)
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


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, (int, float, str)) else list(value)


class _Span:
    """The state of one `applied_to` block: which rows and positions the current forward pass writes to."""

    def __init__(self, intervention: Intervention, image_ids: tuple[int, ...]) -> None:
        self.spec = intervention
        self.image_ids = image_ids
        self.alphas = torch.tensor(_as_list(intervention.alpha), dtype=torch.float32)
        self.plans: dict[int, _LayerPlan] = {}
        self.batch = 0
        self.inside = False
        self.ran: set[int] = set()  # the written blocks that ran in this pass
        self.mask: Tensor | None = None
        self.generating = False
        self.given_mask: Tensor | None = None  # the attention mask handed to `generate`
        self.prompt_mask: Tensor | None = None  # (rows, prompt tokens) bool: what is no padding
        self.fed_back = False  # whether a generated token went through the model
        self.writes = 0
        self.changed: Tensor | None = None  # (rows,) bool, on the device; read once, when the block ends

    def watch_generate(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """`generate`, noting where a generation begins and which tokens of its prompt are padding.

        The model itself is not told: transformers drops a mask of ones, and turns others into four dimensions.
        """

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.generating, self.given_mask, self.prompt_mask = True, kwargs.get("attention_mask"), None
            try:
                return generate(*args, **kwargs)
            finally:
                self.generating = False

        return watched

    def layers_in_use(self) -> list[int]:
        """Blocks that at least one row with alpha > 0 writes after."""
        layers, alphas = _as_list(self.spec.layer), _as_list(self.spec.alpha)
        rows = max(len(layers), len(alphas))
        layers, alphas = layers * (rows if len(layers) == 1 else 1), alphas * (rows if len(alphas) == 1 else 1)
        return sorted({layer for layer, alpha in zip(layers, alphas, strict=True) if alpha > 0})

    # -- one forward pass of the whole model ---------------------------------------------------------------------

    def begin(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the model runs: work out the positions of this chunk."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None:
            raise InterventionError(
                "The intervention needs input_ids; inputs_embeds alone do not tell which tokens are images."
            )
        if self.spec.rows not in (None, len(ids)):
            raise InterventionError(
                f"The intervention is set for {self.spec.rows} rows, the batch has {len(ids)} (beams and several returned "
                "sequences multiply rows; give settings that hold for all rows instead)."
            )
        past = _cached_tokens(kwargs.get("past_key_values"))
        self.mask = self._chunk_mask(ids, kwargs.get("attention_mask"), past)
        self.inside, self.ran = True, set()
        if self.batch != len(ids):
            self.batch, self.plans = len(ids), {}

    def end(self, _module: Any, _args: Any, _output: Any) -> None:
        """After the model ran: writes outside a pass of the whole model are errors, not stale positions."""
        self.inside, self.mask = False, None

    def _chunk_mask(self, ids: Tensor, attention: Tensor | None, past: int) -> Tensor | None:
        """(rows, tokens) bool: where this chunk is written; None for everywhere."""
        rows, tokens = ids.shape
        if past:
            self.fed_back = True
            if tokens != 1:
                raise InterventionError(
                    "Several tokens after a cached prompt (assisted or chunked decoding) are not supported."
                )
            if "prompt" not in _as_list(self.spec.positions):
                return None
            return self._by_positions(lambda kind: torch.full((rows, 1), kind != "prompt", device=ids.device))
        if not self.generating or self.prompt_mask is None:
            self.prompt_mask = self._real_tokens(ids, self.given_mask if self.generating else attention)
        return self._uncached_mask(ids, self.prompt_mask)

    @staticmethod
    def _real_tokens(ids: Tensor, attention: Tensor | None) -> Tensor:
        """(rows, tokens) bool: what is no padding. Raises InterventionError when a batch does not tell."""
        if attention is None:
            if len(ids) > 1:
                raise InterventionError(
                    "A batch of several rows came without an attention mask: padding cannot be told from text."
                )
            return torch.ones_like(ids, dtype=torch.bool)
        if len(attention) < len(ids) and len(ids) % len(attention) == 0:
            # Beams and several returned sequences: `generate` repeats each row as often as this.
            attention = attention.repeat_interleave(len(ids) // len(attention), dim=0)
        if attention.shape != ids.shape:
            raise InterventionError(
                f"The attention mask has shape {tuple(attention.shape)}, the prompt {tuple(ids.shape)}: padding cannot be "
                "told from text."
            )
        return attention.bool()

    def _uncached_mask(self, ids: Tensor, prompt: Tensor) -> Tensor:
        """Positions of a pass that holds the whole sequence: the prompt (`prompt`: its real tokens) and what was generated."""
        length = prompt.shape[1]
        self.fed_back = self.fed_back or ids.shape[1] > length
        given, prompt = ids[:, :length], prompt.to(ids.device)

        def by_kind(kind: str) -> Tensor:
            generated = torch.full_like(ids[:, length:], kind != "prompt", dtype=torch.bool)
            return torch.cat([prompt_positions(kind, given, prompt, self.image_ids), generated], dim=1)

        return self._by_positions(by_kind)

    def _by_positions(self, by_kind: Callable[[str], Tensor]) -> Tensor:
        kinds = _as_list(self.spec.positions)
        if len(set(kinds)) == 1:
            return by_kind(kinds[0])
        masks = {kind: by_kind(kind) for kind in set(kinds)}
        return torch.stack([masks[kind][row] for row, kind in enumerate(kinds)])

    # -- the write after one block ---------------------------------------------------------------------------------

    def writer(self, layer: int) -> Callable[[Any, Any, Any], Any]:
        """The forward hook for block `layer`."""

        def write(_module: Any, _args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            self.ran.add(layer)
            steered = self._write_after(layer, hidden)
            return (steered, *output[1:]) if isinstance(output, tuple) else steered

        return write

    def late_writer(self, layer: int) -> Callable[[Any, Any, Any], Any]:
        """The forward pre-hook of the block after `layer`, for passes in which the model leaves block `layer` out.

        Llama 3.2 Vision does so with its cross-attending blocks where there is no picture: the residual stream passes them by.
        """

        def write(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if layer in self.ran or not self.inside:
                return None
            if args:
                return (self._write_after(layer, args[0]), *args[1:]), kwargs
            return args, kwargs | {"hidden_states": self._write_after(layer, kwargs["hidden_states"])}

        return write

    def _write_after(self, layer: int, hidden: Tensor) -> Tensor:
        if not self.inside:
            raise InterventionError(
                "A decoder block ran outside a forward pass of the steered model; steer the model that is called."
            )
        if layer not in self.plans:
            self.plans[layer] = self._plan(layer, hidden)
        return self._write(hidden, self.plans[layer])

    def _plan(self, layer: int, hidden: Tensor) -> _LayerPlan:
        rows = hidden.shape[0]
        layers = torch.tensor(_as_list(self.spec.layer)).expand(rows)
        alphas = self.alphas.expand(rows)
        index = ((layers == layer) & (alphas > 0)).nonzero().flatten()
        vector = self.spec.vector.float() if self.spec.vector.ndim == 1 else self.spec.vector.float()[index]
        return _LayerPlan(
            index=None if len(index) == rows else index.to(hidden.device),
            alpha=alphas[index].to(hidden.device),
            vector=vector.to(hidden.device),
        )

    def _write(self, hidden: Tensor, plan: _LayerPlan) -> Tensor:
        mask = None if self.mask is None else self.mask.to(hidden.device)
        if plan.index is None:
            steered = inject(hidden, plan.vector, plan.alpha, mask)
        else:
            part = inject(hidden[plan.index], plan.vector, plan.alpha, None if mask is None else mask[plan.index])
            steered = hidden.index_copy(0, plan.index, part)
        self._note_change(hidden, steered)
        return steered

    def _note_change(self, hidden: Tensor, steered: Tensor) -> None:
        # The prompt and the first tokens suffice to know; later comparisons would only cost time.
        self.writes += 1
        if self.writes > 4 * len(self.plans):
            return
        moved = (hidden != steered).flatten(1).any(dim=1)
        if self.changed is None or len(self.changed) != len(moved):
            self.changed = torch.zeros(len(moved), dtype=torch.bool, device=moved.device)
        self.changed = self.changed | moved.to(self.changed.device)

    def check_effect(self, idle_ok: bool) -> None:
        """Raise InterventionError when a row that should have been steered never was."""
        wanted = self.alphas > 0
        if idle_ok and not self.fed_back:
            wanted = wanted & torch.tensor([kind != "decode" for kind in _as_list(self.spec.positions)])
        if not bool(wanted.any()):
            return
        changed = torch.zeros(1, dtype=torch.bool) if self.changed is None else self.changed.cpu()
        rows = max(len(changed), len(wanted))
        missed = (wanted.expand(rows) & ~changed.expand(rows)).nonzero().flatten().tolist()
        if missed:
            raise InterventionError(
                f"The intervention changed nothing in {len(missed)} of {rows} rows at alpha > 0 (first: row {missed[0]}); "
                "no token was generated at its positions, or the vector has no effect."
            )


@dataclass(frozen=True)
class _LayerPlan:
    """The rows that one block writes (None: all of them), with their alphas (rows,) and vectors (rows, d) or (d,)."""

    index: Tensor | None
    alpha: Tensor
    vector: Tensor


def _cached_tokens(cache: Any) -> int:
    """The number of tokens that a key-value cache holds."""
    return 0 if cache is None else int(cache.get_seq_length())
