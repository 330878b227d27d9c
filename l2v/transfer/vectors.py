"""From a direction to the vector that is injected, one small function per arm (METHOD sections 6 and 7).

arms.py lists them with the settings that they depend on, and gives every vector its norm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from l2v.errors import UserError
from l2v.transfer import spectrum
from l2v.transfer.maps import StateMap, fit_ridge
from l2v.transfer.spectrum import Cutoff


@dataclass(frozen=True)
class ArmInput:
    """What an arm may use: the direction (d,), the target's width, the cutoff setting and a seeded generator.

    states (2n, d): the final states the direction is the mean difference of, chain of thought and direct in turn.
    target_states (2n, width): the target's own for the same texts. Both only for arms that need them (Arm.needs).
    carry: the learned map of arms that have one (Arm.learned).
    """

    direction: Tensor
    width: int
    cutoff: Cutoff | None
    generator: torch.Generator
    states: Tensor | None = None
    target_states: Tensor | None = None
    carry: StateMap | None = None

    def differences(self) -> Tensor:
        """u_i of every pair, (n, d)."""
        if self.states is None:
            raise UserError("This method needs the states of every pair; read the directions again.")
        return self.states[::2] - self.states[1::2]

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
    return low_passed(replace(given, direction=given.direction[order]))


def gaussian_low_passed(given: ArmInput) -> Tensor:
    """L2V on a random direction: independent standard normal coordinates of the source's width."""
    return low_passed(replace(given, direction=torch.randn(given.direction.shape[-1], generator=given.generator)))


def rotated(given: ArmInput) -> Tensor:
    """L2V on a direction that was turned by a random rotation of the source's coordinates.

    One rotation per seed, whatever the layer, so that the directions of all layers keep their angles to each other.
    """
    return low_passed(replace(given, direction=_haar_rotated(given.direction, given.generator)))


def _haar_rotated(v: Tensor, generator: torch.Generator) -> Tensor:
    """`v` (d,) under an orthogonal map drawn by Haar measure: a product of Householder reflections of normal vectors of
    length 2 … d (Stewart, SIAM J. Numer. Anal. 17, 1980), applied without forming the d x d matrix, times a random sign."""
    turned = v.double().clone()
    for size in range(2, v.shape[-1] + 1):
        normal = torch.randn(size, generator=generator, dtype=torch.float64)
        # The reflection that takes the normal vector to an axis.
        normal[0] += torch.linalg.vector_norm(normal) * (1.0 if normal[0] >= 0 else -1.0)
        tail = turned[-size:]
        tail -= 2 * normal * (normal @ tail) / (normal @ normal)
    signs = torch.randint(0, 2, v.shape, generator=generator, dtype=torch.float64) * 2 - 1
    return (turned * signs).float()


def sign_flipped(given: ArmInput) -> Tensor:
    """L2V with the opposite sign: away from chain of thought."""
    return -low_passed(given)


def random_bins(given: ArmInput) -> Tensor:
    """As many conjugate pairs as the low-pass keeps, drawn at random among those that both widths have; DC is kept."""
    d = given.direction.shape[-1]
    kept = (int(spectrum.kept_bins(d, given.k()).sum()) - 1) // 2
    shared = (min(d, given.width) - 1) // 2
    pairs = torch.randperm(shared, generator=given.generator)[:kept] + 1
    return spectrum.resample(spectrum.keep_pairs(given.direction, pairs), given.width)


def shuffled_labels(given: ArmInput) -> Tensor:
    """L2V on a direction of mixed-up labels: in each pair, which text counts as the chain of thought is a coin toss."""
    u = given.differences()
    signs = torch.randint(0, 2, (len(u), 1), generator=given.generator) * 2.0 - 1
    return low_passed(replace(given, direction=(signs * u).mean(dim=0)))


def first_component(given: ArmInput) -> Tensor:
    """RoT's reading: the first principal component of the centred differences, unfiltered, signed so that chain of thought
    projects higher than direct answers on average (arXiv 2410.03595)."""
    u = given.differences()
    mean = u.mean(dim=0)
    component = torch.linalg.svd(u - mean, full_matrices=False).Vh[0]
    return component if float(component @ mean) >= 0 else -component


def ridge(given: ArmInput) -> Tensor:
    """The direction through a linear map that was fitted from the source's states to the target's, for the contrast's texts.

    Ridge regression on centred final states; the penalty has the least squared error in 5-fold cross-validation over pairs.
    An upper bound for what a linear carry-over can do: unlike every other arm it has seen the target's own contrast.
    """
    if given.states is None or given.target_states is None:
        raise UserError("Method 'ridge' needs the states of source and target for the same texts.")
    x, y = given.states.double(), given.target_states.double()
    if len(x) != len(y):
        raise UserError(
            "Method 'ridge' needs the same texts for source and target; choose contrast.kind=response_pairs or prompts."
        )
    return (given.direction.double() @ fit_ridge(x, y, torch.arange(len(x)) // 2).weight).float()
