"""Low-pass and resampling of a direction over its hidden coordinates (paper Eq. 3-4 and 6-7; METHOD sections 2-4).

Every function works on the last dimension, in float32, and returns a new tensor.
`k` always counts both halves of the spectrum: bin i of a vector of width d is kept when i < k/2 or i > d - k/2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from l2v.errors import UserError
from l2v.transfer.cutoff import Cutoff as Cutoff
from l2v.transfer.cutoff import parse_cutoff as parse_cutoff


def kept_bins(width: int, k: int) -> Tensor:
    """The low-pass mask, shape (width,), bool (Eq. 4). Symmetric about DC, so a real vector stays real.

    With even k these are DC and k/2 - 1 conjugate pairs, k - 1 bins in all; the Nyquist bin is never kept.
    Raises UserError for k < 1 or k > width.
    """
    if not 1 <= k <= width:
        raise UserError(f"The cutoff k={k} must lie between 1 and the width {width}.")
    i = torch.arange(width, dtype=torch.float64)
    return (i < k / 2) | (i > width - k / 2)


def low_pass(v: Tensor, k: int) -> Tensor:
    """`v` (…, d) with only the lowest frequencies left (Eq. 3, 4); same shape, float32."""
    return _filtered(v, kept_bins(v.shape[-1], k))


def high_pass(v: Tensor, k: int) -> Tensor:
    """The complement of `low_pass`: v - low_pass(v, k), computed in the spectrum (paper Fig. 2a); same shape."""
    return _filtered(v, ~kept_bins(v.shape[-1], k))


def _filtered(v: Tensor, keep: Tensor) -> Tensor:
    spectrum = torch.fft.fft(v.float())
    return torch.fft.ifft(spectrum * keep.to(v.device)).real


def keep_pairs(v: Tensor, pairs: Tensor) -> Tensor:
    """`v` (…, d) with only DC and the conjugate pairs of these frequencies left (`pairs`: ints in 1 … (d - 1) // 2)."""
    d = v.shape[-1]
    keep = torch.zeros(d, dtype=torch.bool)
    keep[0] = True
    keep[pairs] = True
    keep[d - pairs] = True
    return _filtered(v, keep)


def resample(v: Tensor, width: int) -> Tensor:
    """`v` (…, d) carried to (…, width) by truncating or zero-padding its spectrum (Eq. 6; arXiv 2407.21750).

    DC and the non-Nyquist bins of the smaller width are copied; the rest of the new spectrum is zero. Equal to
    `scipy.signal.resample` up to the factor d / width when `v` holds no energy at the smaller width's Nyquist bin.
    """
    d = v.shape[-1]
    if width < 1:
        raise UserError(f"The target width must be at least 1, not {width}.")
    spectrum = torch.fft.fft(v.float())
    carried = torch.zeros(*v.shape[:-1], width, dtype=spectrum.dtype, device=v.device)
    pairs = (min(d, width) - 1) // 2
    carried[..., : pairs + 1] = spectrum[..., : pairs + 1]
    if pairs:
        carried[..., -pairs:] = spectrum[..., -pairs:]
    return torch.fft.ifft(carried).real


def interpolate(v: Tensor, width: int) -> Tensor:
    """`v` (…, d) carried to (…, width) by linear interpolation over the index (paper Table 2, "w interpolation").

    Sample positions are those of `torch.nn.functional.interpolate` with its default half-pixel grid.
    """
    flat = v.float().reshape(1, -1, v.shape[-1])
    return functional.interpolate(flat, size=width, mode="linear").reshape(*v.shape[:-1], width)


def rescale(v: Tensor, norm: Tensor | float) -> Tensor:
    """`v` (…, d) with the given Euclidean norm (Eq. 7).

    Raises UserError when `v` is not finite or has less than 1e-5 of that norm: what a filter leaves of rounding errors
    must not be blown up to a vector of full strength.
    """
    norm = torch.as_tensor(norm, dtype=torch.float64, device=v.device)
    length = torch.linalg.vector_norm(v.double(), dim=-1, keepdim=True)
    floor = 1e-5 * (norm.unsqueeze(-1) if norm.ndim else norm)
    if not bool(torch.isfinite(length).all()) or bool((length <= floor).any()):
        raise UserError("The filtered direction is zero or not finite: no vector is left to inject; choose another cutoff.")
    return (v.double() / length * (norm.unsqueeze(-1) if norm.ndim else norm)).float()


def energy_cutoff(v: Tensor, share: float) -> int:
    """The smallest k whose low-pass keeps at least `share` (0 < share < 1) of |FFT(v)|^2; `v` has shape (d,).

    The Nyquist bin belongs to no k, so a share above what all other bins hold is a UserError.
    """
    if not 0 < share < 1:
        raise UserError(f"An energy cutoff must lie between 0 and 1, not {share:g}.")
    d = v.shape[-1]
    power = torch.fft.fft(v.double()).abs().square()
    reached = power[0]
    # k = 2m + 1 is the smallest k that keeps DC and m pairs.
    for m in range((d - 1) // 2 + 1):
        if m:
            reached = reached + power[m] + power[d - m]
        if reached >= share * power.sum():
            return 2 * m + 1
    raise UserError(f"No cutoff keeps {share:.0%} of the energy: the Nyquist bin, which no low-pass keeps, holds too much.")


def resolve_cutoff(cutoff: Cutoff, v: Tensor, width: int) -> int:
    """A cutoff setting as k for the direction `v` (d,) and a target of `width`.

    Accepts k itself (an int, 1 … min(d, width)), a share of the source spectrum (a float in (0, 1)) and "energy:0.9".
    Raises UserError for anything else, and for a k above the smaller width.
    """
    smaller = min(v.shape[-1], width)
    share = parse_cutoff(cutoff)
    if isinstance(cutoff, str) and cutoff.startswith("energy:"):
        k = energy_cutoff(v, share)
    else:
        k = share if isinstance(share, int) else max(1, round(share * v.shape[-1]))
    if not 1 <= k <= smaller:
        raise UserError(
            f"The cutoff {cutoff} gives k={k}, outside 1 … {smaller} (the smaller of the widths {v.shape[-1]} and {width})."
        )
    return k
