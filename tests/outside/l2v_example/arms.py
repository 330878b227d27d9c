"""An arm: the direction with its coordinates in reverse order. `reversed_direction` runs where vectors are built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2v.transfer.arms import Arm

if TYPE_CHECKING:
    from torch import Tensor

    from l2v.transfer.vectors import ArmInput

MIRROR = Arm("l2v_example.arms:reversed_direction", uses_cutoff=False, null=True)


def reversed_direction(given: ArmInput) -> Tensor:
    """The first `width` coordinates from the other end; shape (width,)."""
    return given.direction.flip(0)[: given.width]
