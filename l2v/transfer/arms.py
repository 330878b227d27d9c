"""The arms: from a direction to the vector that is injected, one small function each (METHOD sections 6 and 7).

Every vector has the norm of the unfiltered direction (Eq. 7), so that all arms are compared at equal strength.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from l2v.errors import UserError, unknown
from l2v.transfer import spectrum
from l2v.transfer.spectrum import Cutoff


@dataclass(frozen=True)
class ArmInput:
    """What an arm may use: the direction (d,), the target's width, the cutoff setting and a seeded generator."""

    direction: Tensor
    width: int
    cutoff: Cutoff | None
    generator: torch.Generator

    def k(self) -> int:
        """The cutoff as k for this direction and width."""
        if self.cutoff is None:
            raise UserError("This method needs intervention.cutoff.")
        return spectrum.resolve_cutoff(self.cutoff, self.direction, self.width)


def low_passed(given: ArmInput) -> Tensor:
    """L2V itself: low-pass, then resampling (Eq. 3-6)."""
    return spectrum.resample(spectrum.low_pass(given.direction, given.k()), given.width)


def whole_band(given: ArmInput) -> Tensor:
    """Resampling without a low-pass: L2V at the largest cutoff, k = the smaller width."""
    return spectrum.resample(given.direction, given.width)


def high_passed(given: ArmInput) -> Tensor:
    """The complement of the mask, then resampling (Fig. 2a)."""
    return spectrum.resample(spectrum.high_pass(given.direction, given.k()), given.width)


def interpolated(given: ArmInput) -> Tensor:
    """Table 2 "w interpolation", caption's reading: the low-pass stays, linear interpolation replaces the resampling."""
    return spectrum.interpolate(spectrum.low_pass(given.direction, given.k()), given.width)


def interpolated_unfiltered(given: ArmInput) -> Tensor:
    """Table 2 "w interpolation", the text's reading: interpolation replaces the low-pass; nothing is filtered."""
    return spectrum.interpolate(given.direction, given.width)


def gaussian(given: ArmInput) -> Tensor:
    """A random direction: independent standard normal coordinates of the target's width."""
    return torch.randn(given.width, generator=given.generator)


def permuted(given: ArmInput) -> Tensor:
    """L2V on a direction whose source coordinates were put in a random order first: same values, no spatial meaning."""
    order = torch.randperm(given.direction.shape[-1], generator=given.generator)
    shuffled = ArmInput(given.direction[order], given.width, given.cutoff, given.generator)
    return low_passed(shuffled)


@dataclass(frozen=True)
class Arm:
    """A way to make a vector, and which settings it depends on (the others are left out of a cell's identity)."""

    build: Callable[[ArmInput], Tensor]
    reads: str = "source"  # whose direction: "source" (carried) or "target" (its own)
    uses_cutoff: bool = True
    seeded: bool = False


ARMS: dict[str, Arm] = {
    "l2v": Arm(low_passed),
    "own_direction": Arm(low_passed, reads="target"),
    "full_band": Arm(whole_band, uses_cutoff=False),
    "high_pass": Arm(high_passed),
    "interpolation": Arm(interpolated),
    "unfiltered_interpolation": Arm(interpolated_unfiltered, uses_cutoff=False),
    "random": Arm(gaussian, uses_cutoff=False, seeded=True),
    "permuted": Arm(permuted, seeded=True),
}


def build_vector(arm: str, direction: Tensor, width: int, cutoff: Cutoff | None = None, seed: int = 0) -> Tensor:
    """The vector that `arm` injects: shape (width,), float32, with the norm of `direction` (d,) (Eq. 7).

    `seed` matters only for arms that draw; the arm's name is mixed into it, so that no two arms share a draw.
    Raises UserError for an unknown arm, a cutoff out of range, or a direction that is zero or not finite.
    """
    if arm not in ARMS:
        raise unknown("method", arm, ARMS)
    direction = direction.detach().float().cpu()
    norm = torch.linalg.vector_norm(direction)
    if not (bool(torch.isfinite(norm)) and float(norm) > 0):
        raise UserError("The direction is zero or not finite: there is nothing to inject; choose another layer or contrast.")
    generator = torch.Generator().manual_seed(zlib.crc32(f"{arm}:{seed}".encode()))
    return spectrum.rescale(ARMS[arm].build(ArmInput(direction, width, cutoff, generator)), norm)
