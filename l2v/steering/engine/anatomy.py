"""The parts of a model that the engine calls one by one, found while the model runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from l2v.steering.models import LoadedModel, image_token_ids


class Refused(Exception):
    """The engine cannot take this model apart; the message says why."""


class Anatomy:
    """The parts of a model that the engine calls one by one: embedding, rotary positions, blocks, final norm, head.

    Found while the model runs. Raises Refused for what would not run the same when called from outside.
    """

    def __init__(self, target: LoadedModel) -> None:
        model = target.model
        # What is kept with a target must not hold it: it would outlive its last use.
        self.target = replace(target)
        self.layers = target.layers
        self.embed = model.get_input_embeddings()
        self.head = model.get_output_embeddings()
        text = model.config.get_text_config()
        # Kernels that take no mask of four dimensions (flash attention) are run as sdpa here: the same function.
        self.attention = "eager" if getattr(text, "_attn_implementation", "") == "eager" else "sdpa"
        self.configs = _attention_configs(self.layers, text)
        kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
        if kinds:
            raise Refused(f"decoder blocks of kind {', '.join(sorted(kinds))}")
        self.windows = _sliding_windows(text, len(self.layers))
        if self.embed is None or self.head is None:
            raise Refused("no embedding or no output head of the usual kind")
        self.owner = self._owner(model)
        self.image_ids = image_token_ids(model)
        self.norm: Any = None
        self.rotations: list[Rotation] = []
        self.rotation_of: list[int] = []  # per block

    def _owner(self, model: Any) -> nn.Module:
        """The module whose list of blocks this is."""
        for module in model.modules():
            for child in module.children():
                if isinstance(child, nn.ModuleList) and list(child) == list(self.layers):
                    return module
        raise Refused("decoder blocks that are no list of one module")

    def block(self, index: int, hidden: Tensor, arguments: dict[str, Any]) -> Tensor:
        output = self.layers[index](hidden, **arguments)
        return output[0] if isinstance(output, tuple) else output

    def logits(self, hidden: Tensor) -> Tensor:
        """Final norm and head on (rows, 1, d): (rows, vocabulary), float32."""
        return self.head(self.norm(hidden))[:, -1].float()

    def rotate(self, hidden: Tensor, positions: Tensor) -> list[Any]:
        """What each block gets as `position_embeddings` for one token per row at `positions` (dimensions, rows)."""
        made = [rotation.at(hidden, positions) for rotation in self.rotations]
        return [made[place] for place in self.rotation_of]

    @property
    def narrowest(self) -> int | None:
        """The fewest tokens that a block sees; None when all see everything."""
        return min((window for window in self.windows if window is not None), default=None)

    @contextmanager
    def calling(self) -> Iterator[None]:
        """The decoder runs with an attention that takes masks of four dimensions."""
        changed = [c for c in self.configs if c._attn_implementation_internal != self.attention]
        before = [c._attn_implementation_internal for c in changed]
        for config in changed:
            config._attn_implementation_internal = self.attention
        try:
            yield
        finally:
            for config, name in zip(changed, before, strict=True):
                config._attn_implementation_internal = name


@dataclass(frozen=True)
class Rotation:
    """A module that makes rotary positions, and how the model calls it: "hidden" and "ids" stand where those tensors were."""

    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rank: int  # of the position ids: 3 where positions have dimensions of their own

    def at(self, hidden: Tensor, positions: Tensor) -> Any:
        """Its output for one token per row at `positions` (dimensions, rows)."""
        given = {"hidden": hidden, "ids": positions[0, :, None] if self.rank == 2 else positions[:, :, None]}

        def fill(value: Any) -> Any:
            return given[value] if isinstance(value, str) and value in given else value

        return self.module(*map(fill, self.args), **{name: fill(value) for name, value in self.kwargs.items()})


def _attention_configs(layers: Sequence[nn.Module], text: Any) -> list[Any]:
    """The distinct configs by which the blocks and their decoder choose an attention."""
    found = {id(text): text}
    for layer in layers:
        for module in layer.modules():
            config = getattr(module, "config", None)
            if hasattr(config, "_attn_implementation_internal"):
                found[id(config)] = config
    return list(found.values())


def _sliding_windows(text: Any, blocks: int) -> list[int | None]:
    """Per block how many tokens, itself included, a token sees; None for all. Read off the cache that `generate` would make."""
    from transformers import DynamicCache

    layers = DynamicCache(config=text).layers
    if len(layers) < blocks:
        return [None] * blocks
    return [int(layer.sliding_window) if getattr(layer, "is_sliding", False) else None for layer in layers[:blocks]]
