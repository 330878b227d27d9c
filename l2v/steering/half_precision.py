"""Linear layers in half precision on a processor that cannot multiply halves: their weights are held as float32 too.

Such a processor takes bfloat16 apart within every product, at a third of float32's speed. The input in float32, multiplied by a
copy of the weight in float32 and rounded once, is the same sum of the same products (halves are float32 numbers, and kernels
for halves add up in float32); only the order of the sum differs, as it does between two machines. The weights themselves stay
halves: what reads, writes or saves them sees no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from l2v.steering.engine.limits import free_memory

# What a processor has that multiplies such numbers itself.
HALVES = {torch.bfloat16: ("avx512_bf16", "amx_bf16"), torch.float16: ("avx512_fp16", "amx_fp16")}
# Of the memory that is free, what the copies may take; where they need more there are none.
SHARE = 0.25


class FloatLinear(nn.Linear):
    """A linear layer that multiplies by a float32 copy of its half-precision weight, which follows what is written to it."""

    copied: tuple[Any, Tensor, Tensor | None] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """As of `nn.Linear`, which does it itself in training, on another device and in float32."""
        learns = torch.is_grad_enabled() and (input.requires_grad or self.weight.requires_grad)
        if learns or input.device.type != "cpu" or input.dtype not in HALVES or input.dtype != self.weight.dtype:
            return super().forward(input)
        weight, bias = self._floats()
        return nn.functional.linear(input.float(), weight, bias).to(input.dtype)

    def _floats(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in float32: those of the last call while nobody wrote to them."""
        now = tuple((one.data_ptr(), one._version) for one in (self.weight, self.bias) if one is not None)
        if self.copied is None or self.copied[0] != now:
            bias = None if self.bias is None else self.bias.detach().float()
            self.copied = now, self.weight.detach().float(), bias
        return self.copied[1], self.copied[2]


def widen(model: nn.Module) -> int:
    """Let a model's half-precision linear layers compute in float32 where that is quicker and fits; gives their number.

    Kept as they are: layers on another device than the CPU or of a class of their own (quantized ones), everything on a
    processor with arithmetic for halves or that an older torch cannot ask about, and a model whose copies would take more than
    SHARE of the free memory.
    """
    slow = _slow()
    linears = [part for part in model.modules() if type(part) is nn.Linear]
    found = [part for part in linears if part.weight.dtype in slow and part.weight.device.type == "cpu"]
    if not found or 4 * sum(part.weight.numel() for part in found) > SHARE * (free_memory(torch.device("cpu")) or 0):
        return 0
    for part in found:
        part.__class__ = FloatLinear
    return len(found)


def _slow() -> set[torch.dtype]:
    """The kinds of halves that this processor has no arithmetic for."""
    known: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if known.get("architecture") != "x86_64":
        return set()
    return {dtype for dtype, wanted in HALVES.items() if not any(known.get(name) for name in wanted)}
