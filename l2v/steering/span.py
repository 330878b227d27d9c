"""The time in which an intervention is applied: what each forward pass covers, where it is written to, what it changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from l2v.errors import InterventionError
from l2v.steering.write import inject, prompt_positions

if TYPE_CHECKING:
    from l2v.steering.hook import Intervention


def as_list(value: Any) -> list[Any]:
    """A setting per row; one for all rows is a list of one."""
    return [value] if isinstance(value, (int, float, str)) else list(value)


class Span:
    """The state of one `applied_to` block: which rows and positions the current forward pass writes to."""

    def __init__(self, intervention: Intervention, image_ids: tuple[int, ...]) -> None:
        self.spec = intervention
        self.image_ids = image_ids
        self.alphas = torch.tensor(as_list(intervention.alpha), dtype=torch.float32)
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
        layers, alphas = as_list(self.spec.layer), as_list(self.spec.alpha)
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
            if "prompt" not in as_list(self.spec.positions):
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
        kinds = as_list(self.spec.positions)
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
        layers = torch.tensor(as_list(self.spec.layer)).expand(rows)
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
            wanted = wanted & torch.tensor([kind != "decode" for kind in as_list(self.spec.positions)])
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
