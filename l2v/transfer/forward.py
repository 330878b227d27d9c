"""One forward pass over texts, and what of the blocks' outputs is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from l2v.steering.models import input_device
from l2v.transfer.partial import TextStates


def run_blocks(
    model: nn.Module, layers: Sequence[nn.Module], batch: Sequence[Sequence[int]], pad: int, look: Callable[[int, Tensor], None]
) -> list[int]:
    """One forward pass; `look` is shown every block's output (texts, tokens, d). Returns whose output is each block's own.

    Texts are padded on the right, which a causal model's earlier tokens cannot see: no attention mask is needed, and
    attention keeps its fastest kernel.
    """
    longest = max(map(len, batch))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in batch], device=input_device(model))
    ran: list[int] = []

    def keeper(block: int) -> Any:
        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            ran.append(block)
            look(block, output[0] if isinstance(output, tuple) else output)

        return keep

    handles = [layer.register_forward_hook(keeper(block)) for block, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            # The body without the language-model head: logits of long texts would dwarf the states.
            body: Any = model.base_model
            body(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if 0 not in ran:
        raise RuntimeError(f"{len(ran)} of {len(layers)} decoder blocks ran in a forward pass, the first was not among them")
    # Blocks that attend to pictures are left out where there is none: the residual stream passes them by as it was.
    return [max(b for b in ran if b <= block) for block in range(len(layers))]


def states_at(
    model: nn.Module, layers: Sequence[nn.Module], batch: Sequence[Sequence[int]], pad: int, places: Sequence[Sequence[int]]
) -> Tensor:
    """The block outputs at the same number of tokens of each text, (texts, layers, places, d) float32 on the CPU."""
    states: dict[int, Tensor] = {}
    rows = torch.arange(len(batch))[:, None]

    def look(block: int, hidden: Tensor) -> None:
        states[block] = hidden[rows.to(hidden.device), torch.tensor(places, device=hidden.device)].float().cpu()

    ran = run_blocks(model, layers, batch, pad, look)
    return torch.stack([states[block] for block in ran], dim=1)


def final_states(
    model: nn.Module, layers: Sequence[nn.Module], batch: Sequence[Sequence[int]], pad: int, measured: Sequence[int] = ()
) -> list[TextStates]:
    """One forward pass: the block outputs at each text's final token, and for rows in `measured` all tokens' norms."""
    lengths = [len(ids) for ids in batch]
    states: dict[int, Tensor] = {}
    norms: dict[int, Tensor] = {}

    def look(block: int, hidden: Tensor) -> None:
        rows = torch.arange(len(batch), device=hidden.device)
        states[block] = hidden[rows, torch.tensor(lengths, device=hidden.device) - 1].float()
        if measured:
            norms[block] = torch.linalg.vector_norm(hidden[list(measured)], dim=-1, dtype=torch.float32)

    ran = run_blocks(model, layers, batch, pad, look)
    device = input_device(model)
    final = torch.stack([states[block].to(device) for block in ran], dim=1).cpu()
    all_norms = torch.stack([norms[block].to(device) for block in ran], dim=1).cpu() if measured else None
    found = [TextStates(final[i]) for i in range(len(batch))]
    for place, i in enumerate(measured):
        assert all_norms is not None
        found[i] = TextStates(final[i], all_norms[place, :, : lengths[i]])
    return found
