"""The prompts of a few requests through the unsteered model, once, with all that their steered rows need later.

The model itself runs, through its own `generate`; hooks note what every decoder block was called with and what the model
does before, between and after the blocks. So no family needs code of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from l2v.steering.engine.anatomy import Anatomy, Refused, Rotation
from l2v.steering.engine.prefix import prefix_cache
from l2v.steering.engine.reference import generation_options
from l2v.steering.engine.rows import Request, encode_requests
from l2v.steering.write import prompt_positions

# What a block may be called with besides its hidden states, as tensors; anything else would need to be understood first.
KNOWN_TENSORS = ("attention_mask", "position_embeddings", "position_ids", "cache_position")
CACHES = ("past_key_values", "past_key_value", "layer_past")


@dataclass(frozen=True)
class Needs:
    """The blocks after which rows of a window are written: at many prompt tokens (whole), or at the last one only."""

    whole: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()


@dataclass
class Window:
    """Captured prompts, left-padded to one width.

    ids, real: (requests, tokens), the second bool. states: per block its output (requests, tokens, d); last: the same at the
    last token (requests, 1, d). between: what the model adds between a block and the next, where it does. keys, values: per
    block (requests, heads, tokens, head size). calls: per block its keyword arguments, whose tokens begin at column `begun`:
    what stands before is equal in all prompts and was run apart. next_position: the rotary position of the first generated
    token, (dimensions, requests). logits: (requests, vocabulary), float32.
    """

    requests: list[Request]
    ids: Tensor
    real: Tensor
    states: dict[int, Tensor]
    last: dict[int, Tensor]
    between: dict[int, Tensor]
    keys: list[Tensor]
    values: list[Tensor]
    calls: list[dict[str, Any]]
    next_position: Tensor
    logits: Tensor
    image_ids: tuple[int, ...]
    begun: int = 0
    lengths: list[int] = field(init=False)
    prompts: Any = None  # what its rows share, where they do
    _causal: dict[int, list[bool]] = field(default_factory=dict)
    _positions: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lengths = self.real.sum(dim=1).tolist()

    @property
    def width(self) -> int:
        return self.ids.shape[1]

    def close(self) -> None:
        """No more rows enter: prompts may be given back one by one."""
        if self.prompts is not None:
            self.prompts.open = False

    def positions(self, kind: str) -> Tensor:
        """Where prompts are written under `kind`, (requests, tokens) bool."""
        if kind not in self._positions:
            self._positions[kind] = prompt_positions(kind, self.ids, self.real, self.image_ids)
        return self._positions[kind]

    def plainly_causal(self, mask: Tensor, requests: Sequence[int]) -> bool:
        """Whether a block's mask says no more for these unpadded requests than that tokens see what came before."""
        if id(mask) not in self._causal:
            self._causal[id(mask)] = [self._is_causal(mask, request) for request in range(len(self.requests))]
        return all(self._causal[id(mask)][request] for request in requests)

    def _is_causal(self, mask: Tensor, request: int) -> bool:
        start = self.width - self.lengths[request]
        first = max(start, self.begun)
        seen = mask[request if len(mask) > 1 else 0, :, first - self.begun :, start:]
        seen = seen if seen.dtype == torch.bool else seen == 0
        return bool((seen == torch.ones_like(seen).tril(first - start)).all())


@torch.no_grad()
def capture(
    anatomy: Anatomy,
    requests: Sequence[Request],
    needs: Needs,
    inputs: dict[str, Tensor] | None = None,
    begun: int = 0,
) -> Window:
    """Run the prompts of these requests once, unsteered, and keep what `needs` names.

    inputs: what they are as model inputs, where that is known already. begun: so many columns are run a single time, for all of
    them begin with these tokens and no more than their last ones are needed. Raises Refused when the model does something
    between its blocks that the engine does not know.
    """
    target = anatomy.target
    inputs = encode_requests(target, requests) if inputs is None else inputs
    recorder = _Recorder(anatomy, needs, begun)
    options = generation_options(target, 1) | {"output_logits": True, "return_dict_in_generate": True}
    with anatomy.calling():
        if begun:
            options["past_key_values"] = prefix_cache(anatomy, inputs, begun)
        elif anatomy.narrowest is not None:
            from transformers import DynamicCache

            # The model's own cache would drop what is out of a window's sight; blocks that see everything need it all.
            options["past_key_values"] = DynamicCache()
        with recorder.listening():
            output = target.model.generate(**inputs, **options)
    if begun:
        recorder.check_positions(inputs["attention_mask"])
    ids = inputs["input_ids"]
    tokens = ids.shape[1]
    keys, values = _cached(output.past_key_values, len(anatomy.layers), tokens)
    return Window(
        requests=list(requests),
        ids=ids,
        real=inputs["attention_mask"].bool(),
        states=recorder.states,
        last=recorder.last,
        between=recorder.between,
        keys=keys,
        values=values,
        calls=recorder.calls,
        next_position=recorder.next_position(len(requests)),
        logits=output.logits[0],
        image_ids=anatomy.image_ids,
        begun=begun,
    )


def _cached(cache: Any, blocks: int, tokens: int) -> tuple[list[Tensor], list[Tensor]]:
    layers = getattr(cache, "layers", None)
    if layers is None or len(layers) != blocks:
        raise Refused(f"a cache of type {type(cache).__name__}")
    keys: list[Any] = [getattr(layer, "keys", None) for layer in layers]
    values: list[Any] = [getattr(layer, "values", None) for layer in layers]
    for held in (*keys, *values):
        if not isinstance(held, Tensor) or held.ndim != 4 or held.shape[2] != tokens:
            raise Refused(f"a cache of {type(layers[0]).__name__} layers that does not hold every token of the prompt")
    return keys, values


def _stand_in(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return "hidden" if value.is_floating_point() else "ids"


class _Recorder:
    """Notes one forward pass of the blocks and of what stands around them."""

    def __init__(self, anatomy: Anatomy, needs: Needs, begun: int = 0) -> None:
        self.anatomy, self.needs, self.begun = anatomy, needs, begun
        self.lowest = min(needs.whole | needs.last, default=len(anatomy.layers))
        self.states: dict[int, Tensor] = {}
        self.last: dict[int, Tensor] = {}
        self.between: dict[int, Tensor] = {}
        self.calls: list[dict[str, Any]] = []
        self.embedding: Any = None
        self.rotations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.after: list[Any] = []
        self.previous: Tensor | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hooks on the blocks and on the other children of their owner, for the time of the block."""
        handles = []
        for index, layer in enumerate(self.anatomy.layers):
            handles.append(layer.register_forward_pre_hook(self._before(index), with_kwargs=True))
            handles.append(layer.register_forward_hook(self._after(index)))
        for child in self.anatomy.owner.children():
            if not isinstance(child, nn.ModuleList):
                handles.append(child.register_forward_hook(self._beside, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._settle()

    def _before(self, index: int) -> Any:
        def note(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if len(self.calls) != index:
                raise Refused("decoder blocks that do not run once each, in order")
            hidden = args[0] if args else kwargs.get("hidden_states")
            if len(args) > 1 or not isinstance(hidden, Tensor):
                raise Refused("decoder blocks called with more than their hidden states by place")
            self.calls.append({name: value for name, value in kwargs.items() if name != "hidden_states"})
            if index > self.lowest and self.previous is not hidden:
                before = self.previous.to(hidden.device) if self.previous is not None else torch.zeros_like(hidden)
                if not torch.equal(before, hidden):
                    self.between[index - 1] = hidden - before

        return note

    def _after(self, index: int) -> Any:
        def note(_module: Any, _args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            self.previous = hidden
            if index in self.needs.whole:
                self.states[index] = hidden
            if index in self.needs.last:
                self.last[index] = hidden[:, -1:].clone()

        return note

    def _beside(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if len(self.calls) == len(self.anatomy.layers):
            self.after.append(module)
        elif module is not self.anatomy.embed:
            self.rotations.append((module, args, kwargs, output))

    def _settle(self) -> None:
        """Which module is what; checked against what the blocks were called with."""
        anatomy = self.anatomy
        if len(self.calls) != len(anatomy.layers):
            raise Refused("decoder blocks that the model does not all run")
        if len(self.after) != 1:
            raise Refused(f"{len(self.after)} modules after the last decoder block, where a final norm was expected")
        anatomy.norm = self.after[0]
        for call in self.calls:
            self._check_call(call)
        embeddings = [call.get("position_embeddings") for call in self.calls]
        if any(e is None for e in embeddings):
            raise Refused("decoder blocks that work out rotary positions themselves")
        distinct = list({id(e): e for e in embeddings}.values())
        made = [self._made(e) for e in distinct]
        self.position_ids = made[0][1]
        if any(ids is not self.position_ids and not torch.equal(ids, self.position_ids) for _, ids in made):
            raise Refused("rotary positions made from different position ids")
        anatomy.rotations = [rotation for rotation, _ in made]
        order = [id(e) for e in distinct]
        anatomy.rotation_of = [order.index(id(e)) for e in embeddings]

    def _made(self, embedding: Any) -> tuple[Rotation, Tensor]:
        """The call that made these rotary positions, and its position ids."""
        found = [r for r in self.rotations if r[3] is embedding]
        if len(found) != 1:
            raise Refused("rotary positions that no module of the decoder made")
        module, args, kwargs, _ = found[0]
        kinds = getattr(module, "rope_type", "default")
        kinds = set(kinds.values()) if isinstance(kinds, dict) else {kinds}
        if kinds & {"dynamic", "longrope"}:
            raise Refused("rotary positions that depend on the length of the longest row")
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        if sorted(v.is_floating_point() for v in tensors) != [False, True]:
            raise Refused("rotary positions made from more than hidden states and position ids")
        ids = next(v for v in tensors if not v.is_floating_point())
        named = {name: _stand_in(value) for name, value in kwargs.items()}
        return Rotation(module, tuple(_stand_in(v) for v in args), named, ids.ndim), ids

    def _check_call(self, call: dict[str, Any]) -> None:
        if sum(name in CACHES and value is not None for name, value in call.items()) != 1:
            raise Refused("decoder blocks without a cache of the usual name")
        for name, value in call.items():
            if name in KNOWN_TENSORS or name in CACHES or value is None or isinstance(value, (bool, int, float, str)):
                continue
            raise Refused(f"decoder blocks called with '{name}' ({type(value).__name__})")
        mask = call.get("attention_mask")
        square = isinstance(mask, Tensor) and mask.ndim == 4 and mask.shape[2] + self.begun == mask.shape[3]
        if mask is not None and not square:
            raise Refused("attention masks that are not (rows, heads, tokens, tokens)")

    def check_positions(self, real: Tensor) -> None:
        """Raises Refused where a model does not count on from what was run apart, or adds to it between its blocks."""
        counted = (real.cumsum(dim=1) - 1)[:, self.begun :]
        found = self.position_ids.to(counted.device).expand(*self.position_ids.shape[:-2], *counted.shape)
        if self.between or not torch.equal(found * real[:, self.begun :], (counted * real[:, self.begun :]).expand_as(found)):
            raise Refused("positions that are not counted on from a prompt's beginning")

    def next_position(self, requests: int) -> Tensor:
        """One more than the last prompt token's, as `generate` counts on: (dimensions, requests)."""
        last = self.position_ids[..., -1] + 1
        last = last if last.ndim == 2 else last[None]
        return last.expand(last.shape[0], requests)
