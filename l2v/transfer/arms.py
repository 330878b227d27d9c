"""The arms: which vector each injects, and which settings that depends on (METHOD sections 6 and 7).

Every vector has the norm of the unfiltered direction (Eq. 7), so that all arms are compared at equal strength. How each is
made: vectors.py. This module is imported wherever cells are read, so torch waits until a vector is built.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from l2v.errors import UserError, unknown
from l2v.outside import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from l2v.transfer.maps import StateMap
    from l2v.transfer.spectrum import Cutoff


# The learned maps (maps.py), each an arm.
MAPS = ("ridge_neutral", "procrustes", "anchors", "cca", "nonlinear")


@dataclass(frozen=True)
class Arm:
    """A way to make a vector, and which settings it depends on (the others are left out of a cell's identity).

    build: the function of vectors.py, by its name, or "module:function" of another: what plans and reads studies needs this
    table and no torch.
    redraws: the cutoff means nothing but another draw, so that a null arm searches as many cells as the arm it stands against.
    null: its vector has nothing to do with the source's direction, so that its searches say what luck gives.
    learned: it is carried by a map that was fitted on neutral texts: the map's name, "chosen" where `method.map` names it.
    high: it keeps what lies above the cutoff, so that a cutoff at the end of the spectrum leaves nothing.
    bound: it was fitted on the target's own contrast: an upper bound of what a carry-over can do, and no method.
    """

    build: str
    reads: str = "source"  # whose direction: "source" (carried) or "target" (its own)
    uses_cutoff: bool = True
    seeded: bool = False
    needs: str = "mean"  # "mean", "states" of its reader, or "both" (states of source and target)
    redraws: bool = False
    null: bool = False
    learned: str = ""
    high: bool = False
    bound: bool = False


def _learned(name: str, build: str = "carried", null: bool = False) -> Arm:
    seeded = null or name == "nonlinear"
    return Arm(f"l2v.transfer.maps:{build}", uses_cutoff=False, needs="states", learned=name, seeded=seeded, null=null)


_OWN = {
    "l2v": Arm("low_passed"),
    "own_direction": Arm("low_passed", reads="target"),
    "full_band": Arm("whole_band", uses_cutoff=False),
    "high_pass": Arm("high_passed", high=True),
    "own_high_pass": Arm("high_passed", reads="target", high=True),
    "interpolation": Arm("interpolated"),
    "unfiltered_interpolation": Arm("interpolated_unfiltered", uses_cutoff=False),
    "rot": Arm("first_component", reads="target", uses_cutoff=False, needs="states"),
    "ridge": Arm("ridge", uses_cutoff=False, needs="both", bound=True),
    "random": Arm("gaussian", seeded=True, redraws=True, null=True),
    "random_low_pass": Arm("gaussian_low_passed", seeded=True, null=True),
    "permuted": Arm("permuted", seeded=True, null=True),
    "rotated": Arm("rotated", seeded=True, null=True),
    "random_bins": Arm("random_bins", seeded=True, null=True),
    "shuffled_labels": Arm("shuffled_labels", seeded=True, needs="states", null=True),
    "sign_flipped": Arm("sign_flipped"),
    **{name: _learned(name) for name in MAPS},
    "shuffled_map": _learned("chosen", null=True),
    "mapped_random": _learned("chosen", "carried_random", null=True),
}
# With those of other distributions.
ARMS: Registry[Arm] = Registry("l2v.arms", Arm, _OWN)


def is_null(method: str) -> bool:
    """Whether this method is a null arm; False for what is no arm at all."""
    return method in ARMS and ARMS[method].null


def title(method: str) -> str:
    """A method as tables and figures call it."""
    return f"{method} (upper bound)" if is_bound(method) else method


def is_bound(method: str) -> bool:
    """Whether this method has seen what it is to find; False for what is no arm at all."""
    return method in ARMS and ARMS[method].bound


def build_vector(
    arm: str,
    direction: Tensor,
    width: int,
    cutoff: Cutoff | None = None,
    seed: int = 0,
    states: Tensor | None = None,
    target_states: Tensor | None = None,
    carry: StateMap | None = None,
) -> Tensor:
    """The vector that `arm` injects: shape (width,), float32, with the norm of `direction` (d,) (Eq. 7).

    `seed` matters only for arms that draw; the arm's name is mixed into it, so that no two arms share a draw. `states`,
    `target_states`, `carry`: see vectors.ArmInput. Raises UserError for an unknown arm, a cutoff out of range, missing
    states, or a direction that is zero or not finite.
    """
    import torch

    from l2v.transfer import spectrum, vectors

    if arm not in ARMS:
        raise unknown("method", arm, ARMS)
    direction = direction.detach().float().cpu()
    norm = torch.linalg.vector_norm(direction)
    if not (bool(torch.isfinite(norm)) and float(norm) > 0):
        raise UserError("The direction is zero or not finite: there is nothing to inject; choose another layer or contrast.")
    draw = f"{arm}:{seed}" + (f":{cutoff}" if ARMS[arm].redraws and cutoff is not None else "")
    generator = torch.Generator().manual_seed(zlib.crc32(draw.encode()))
    module, _, function = ARMS[arm].build.rpartition(":")
    build: Callable[[vectors.ArmInput], Tensor] = getattr(import_module(module) if module else vectors, function)
    given = vectors.ArmInput(direction, width, cutoff, generator, states, target_states, carry)
    return spectrum.rescale(build(given), norm)
