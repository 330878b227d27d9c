"""Eq. 8 and 9 on bare tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from l2v.steering import inject

ROWS, TOKENS, WIDTH = 3, 5, 96


def hidden(scale: float = 1.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A residual stream (rows, tokens, d)."""
    return (scale * torch.randn(ROWS, TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))).to(dtype)


def vectors() -> torch.Tensor:
    """One vector per row, several times as long as the states at alpha 1."""
    return 3 * torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(1))


ALPHA = torch.tensor([0.1, 0.7, 2.5])


def equations(h: torch.Tensor, v: torch.Tensor, alpha: torch.Tensor) -> np.ndarray:
    """Eq. 8 and 9 token by token in float64."""
    result = np.empty(h.shape)
    for r in range(len(h)):
        for t in range(h.shape[1]):
            before = h[r, t].double().numpy()
            after = before + float(alpha[r]) * v[r].double().numpy()
            result[r, t] = after * np.linalg.norm(before) / np.linalg.norm(after)
    return result


def test_inject_equals_the_equations() -> None:
    """Each row with its own vector and alpha; a single vector serves all rows."""
    np.testing.assert_allclose(inject(hidden(), vectors(), ALPHA).numpy(), equations(hidden(), vectors(), ALPHA), atol=1e-5)
    one = vectors()[0]
    same = equations(hidden(), one.expand(ROWS, -1), ALPHA)
    np.testing.assert_allclose(inject(hidden(), one, ALPHA).numpy(), same, atol=1e-5)


def test_inject_keeps_every_norm() -> None:
    """Eq. 9: to 1e-5 relative, for small and large states."""
    for scale in (1e-3, 1.0, 1e4):
        h = hidden(scale)
        after = inject(h, vectors(), ALPHA)
        assert not torch.equal(after, h)
        torch.testing.assert_close(after.norm(dim=-1), h.norm(dim=-1), rtol=1e-5, atol=0)


def test_alpha_zero_and_masked_positions_stay_bit_for_bit() -> None:
    """Also signed zeros and values that the norm would round; every other position moves."""
    h = hidden()
    h[:, :, :8] = -0.0
    alpha = torch.tensor([0.5, 0.0, 0.5])
    mask = torch.rand(ROWS, TOKENS, generator=torch.Generator().manual_seed(2)) < 0.5
    mask[2, 3] = True
    after = inject(h, vectors(), alpha, mask)
    moved = (after.view(torch.int32) != h.view(torch.int32)).any(dim=-1)
    assert torch.equal(moved, mask & (alpha > 0)[:, None])
    assert mask[0].any()
    assert not mask[0].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_dtype_with_norms_in_float32(dtype: torch.dtype) -> None:
    """The squares of these states overflow float16 and lose their digits in bfloat16; the result is rounded once."""
    h = hidden(300, dtype)
    v = 300 * vectors()
    after = inject(h, v, ALPHA)
    assert after.dtype == dtype
    expected = torch.from_numpy(equations(h, v, ALPHA))
    unit = torch.finfo(dtype).eps
    assert ((after.double() - expected).abs() <= 0.51 * unit * expected.abs() + 1e-3).all()


def test_inject_leaves_its_input_alone() -> None:
    """A new tensor: whoever holds the unsteered states still has them."""
    h = hidden()
    before = h.clone()
    inject(h, vectors(), ALPHA)
    assert torch.equal(h, before)
