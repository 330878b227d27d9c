"""The write itself (Eq. 8, 9), and where in a prompt it happens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
