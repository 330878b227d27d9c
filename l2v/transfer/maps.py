"""Learned carry-overs: maps from a source's states to a target's, fitted on the states of both at the same places of texts.

Each takes x (n, d) and y (n, width), float64, and `texts` (n,), the text that a row is from: penalties and sizes are chosen,
and training is stopped, on texts that were left out. A fit sees these states and nothing else; which texts they are of is its
caller's (neutral.py: none of a contrast).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from l2v.disk import write_atomically
from l2v.errors import UserError
from l2v.transfer.directions import file_digest

if TYPE_CHECKING:
    from l2v.transfer.vectors import ArmInput

# Strengths of the ridge penalty that cross-validation chooses from, as shares of the mean squared norm of the states.
PENALTIES = tuple(10.0**e for e in range(-6, 3))
FOLDS = 5
# Eigenvalues below this share of the largest are rounding.
FLOOR = 1e-9
# Canonical pairs that cross-validation chooses from, as shares of all.
PAIRS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
# What is added to each block's eigenvalues before its states are whitened, as a share of the mean squared norm.
WHITENING = 1e-4
ANCHORS = 1024
# Shares of their strongest direction below which the anchors' others are noise.
ANCHOR_FLOORS = (0.01, 0.03, 0.1, 0.2, 0.4)
HIDDEN, STEPS, BATCH, RATE, LOOKS = 128, 300, 256, 5e-3, 25


@dataclass(frozen=True)
class StateMap:
    """y = offset + (x - shift) weight + gelu((x - shift) first + bias) second; the latter where it is no affine map.

    shift (d,), weight (d, width), offset (width,), first (d, hidden), bias (hidden,), second (hidden, width); float32.
    reconstruction: R^2 on texts that the fit had not seen, by block of the source that was tried; source_layer: the block that
    x is of. provenance: what it depends on, whole. seconds: of the processor, that all its fits took.
    """

    shift: Tensor
    weight: Tensor
    offset: Tensor
    hidden: tuple[Tensor, Tensor, Tensor] | None = None
    source_layer: int = 0
    reconstruction: dict[int, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """The states (n, d) as the target would have them, (n, width)."""
        centred = x.to(self.weight.dtype) - self.shift
        y = self.offset + centred @ self.weight
        if self.hidden is not None:
            first, bias, second = self.hidden
            y = y + functional.gelu(centred @ first + bias) @ second
        return y

    @property
    def held_out(self) -> float:
        """R^2 of the block it is from, on texts left out."""
        return self.reconstruction[self.source_layer]

    def save(self, path: Path) -> None:
        """Write one safetensors file by an atomic rename."""
        from safetensors.torch import save

        tensors = {"shift": self.shift, "weight": self.weight, "offset": self.offset}
        if self.hidden is not None:
            tensors |= dict(zip(("first", "bias", "second"), self.hidden, strict=True))
        tensors = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
        tried = list(self.reconstruction.items())
        facts = {"source_layer": self.source_layer, "reconstruction": tried, "seconds": self.seconds}
        header = {"facts": json.dumps(facts), "provenance": json.dumps(self.provenance, sort_keys=True)}
        write_atomically(path, save(tensors, header | {"digest": file_digest(tensors, header)}), sync=True)

    @classmethod
    def load(cls, path: Path) -> StateMap:
        """Read a file written by `save`. Raises UserError when it is not one, or damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header.pop("digest") != file_digest(tensors, header):
                raise ValueError("its content is not what was written")
            facts = json.loads(header["facts"])
            given = {name: tensors[name] for name in ("shift", "weight", "offset")}
            hidden = (tensors["first"], tensors["bias"], tensors["second"]) if "first" in tensors else None
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise UserError(f"{path} is not a file of a map ({error}); delete it and it is computed again.") from error
        reconstruction = {int(block): float(value) for block, value in facts["reconstruction"]}
        return cls(**given, hidden=hidden, source_layer=int(facts["source_layer"]), reconstruction=reconstruction,
                   provenance=json.loads(header["provenance"]), seconds=float(facts["seconds"]))  # fmt: skip


Fit = Callable[[Tensor, Tensor, Tensor, torch.Generator], StateMap]


def _folds(texts: Tensor) -> Iterator[Tensor]:
    """Masks of the rows that are left out, fold by fold; all rows of a text together. None where there is but one text."""
    place = torch.unique(texts, return_inverse=True)[1]
    for fold in range(min(FOLDS, int(place.max()) + 1)):
        held = place % FOLDS == fold
        if not bool(held.all()):
            yield held


@dataclass(frozen=True)
class _Spectrum:
    """Centred rows by their principal axes: values (r,) of x^T x, axes (d, r) and their mean (d,)."""

    mean: Tensor
    values: Tensor
    axes: Tensor

    @classmethod
    def of(cls, x: Tensor) -> _Spectrum:
        mean = x.mean(dim=0)
        centred = x - mean
        wide = x.shape[1] > len(x)
        values, axes = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
        kept = values > FLOOR * values[-1].clamp_min(1e-300)
        values, axes = values[kept].flip(0), axes[:, kept].flip(1)
        return cls(mean, values, centred.T @ axes / values.sqrt() if wide else axes)


@dataclass(frozen=True)
class _Settings:
    """The weights that settings of one fit give, setting i being into * shares[i] @ out: (d, r), (settings, r), (r, width)."""

    into: Tensor
    shares: Tensor
    out: Tensor

    def weight(self, setting: int) -> Tensor:
        return self.into * self.shares[setting] @ self.out

    def errors(self, x: Tensor, y: Tensor) -> Tensor:
        """Squared error of every setting on centred states, (settings,)."""
        scores = x @ self.into
        return torch.stack([(scores * share @ self.out - y).square().sum() for share in self.shares])


def fit_ridge(x: Tensor, y: Tensor, texts: Tensor, _generator: torch.Generator | None = None) -> StateMap:
    """Affine map by ridge regression; the penalty has the least squared error over texts left out (arXiv 2506.00653)."""

    def settings(x: Tensor, y: Tensor) -> _Settings:
        found = _Spectrum.of(x)
        penalties = torch.tensor(PENALTIES, dtype=x.dtype)[:, None] * (found.values.sum() / len(x))
        return _Settings(found.axes, 1 / (found.values + penalties), found.axes.T @ ((x - found.mean).T @ (y - y.mean(dim=0))))

    return _affine(x, y, _best(settings, x, y, texts))


def fit_cca(x: Tensor, y: Tensor, texts: Tensor, _generator: torch.Generator | None = None) -> StateMap:
    """Through the canonical pairs of directions (Hotelling 1936), each shrunk by its correlation, as many as do best on texts
    left out: with all of them it is least squares."""

    def settings(x: Tensor, y: Tensor) -> _Settings:
        into, correlations, out = canonical_pairs(x, y, WHITENING)
        pairs = len(correlations)
        kept = torch.tensor([max(1, round(share * pairs)) for share in PAIRS])[:, None]
        return _Settings(into, correlations * (torch.arange(pairs) < kept), out)

    return _affine(x, y, _best(settings, x, y, texts))


def canonical_pairs(x: Tensor, y: Tensor, whitening: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Directions into the canonical variates of x (d, r), their correlations (r,), and the way back to y (r, width)."""
    ours, theirs = _Spectrum.of(x), _Spectrum.of(y)
    roots = [(s.values + whitening * s.values.sum()).sqrt() for s in (ours, theirs)]
    cross = (ours.axes / roots[0]).T @ ((x - ours.mean).T @ (y - theirs.mean)) @ (theirs.axes / roots[1])
    left, correlations, right = torch.linalg.svd(cross, full_matrices=False)
    return ours.axes / roots[0] @ left, correlations, right @ (theirs.axes * roots[1]).T


def fit_procrustes(x: Tensor, y: Tensor, _texts: Tensor, _generator: torch.Generator | None = None) -> StateMap:
    """A rotation and one scale between the principal axes of both, as many as both have (Schönemann 1966)."""
    ours, theirs = _Spectrum.of(x), _Spectrum.of(y)
    rank = min(len(ours.values), len(theirs.values))
    a, b = ours.axes[:, :rank], theirs.axes[:, :rank]
    left, values, right = torch.linalg.svd(a.T @ ((x - ours.mean).T @ (y - theirs.mean)) @ b)
    return _affine(x, y, a @ (left @ right) @ b.T * (values.sum() / ours.values[:rank].sum()))


def fit_anchors(x: Tensor, y: Tensor, texts: Tensor, _generator: torch.Generator | None = None) -> StateMap:
    """A state by its angles to anchors, states of given texts, and the state of the target with the nearest such angles (least
    squares), at the length it has in the source times the ratio of lengths (arXiv 2209.15430, 2605.09875). How many directions
    of the anchors count has the least squared error over texts left out."""

    def settings(x: Tensor, y: Tensor) -> _Settings:
        chosen = torch.linspace(0, len(x) - 1, min(ANCHORS, len(x))).long()
        ours, theirs = x - x.mean(dim=0), y - y.mean(dim=0)
        a, b = functional.normalize(ours[chosen], dim=1), functional.normalize(theirs[chosen], dim=1)
        ratio = (theirs.square().sum() / ours.square().sum()).sqrt()
        left, strengths, right = torch.linalg.svd(b, full_matrices=False)
        kept = strengths > torch.tensor(ANCHOR_FLOORS, dtype=b.dtype)[:, None] * strengths[0]
        return _Settings(ratio * a.T @ left, kept / strengths.clamp_min(torch.finfo(b.dtype).tiny), right)

    return _affine(x, y, _best(settings, x, y, texts))


def fit_nonlinear(x: Tensor, y: Tensor, texts: Tensor, generator: torch.Generator) -> StateMap:
    """A perceptron of one hidden layer beside a linear way, by AdamW on whitened states; of its looks at a fifth of the texts,
    which it is not trained on, the best counts (after arXiv 2503.04429)."""
    held = next(_folds(texts), torch.zeros(len(x), dtype=torch.bool))
    spectrum, offset = _Spectrum.of(x), y.mean(dim=0)
    scores = (x - spectrum.mean) @ spectrum.axes
    # An axis has no sign of its own: the score farthest from zero is positive, whatever the basis of x.
    axes = spectrum.axes * scores.gather(0, scores.abs().argmax(dim=0, keepdim=True)).sign()
    axes = axes * (len(x) / (spectrum.values + WHITENING * spectrum.values.sum())).sqrt()
    size = (y - offset).square().mean().sqrt()
    inputs, wanted = ((x - spectrum.mean) @ axes).float(), ((y - offset) / size).float()
    straight, first, bias, second = _trained(inputs, wanted, held, generator)
    hidden = (axes @ first.double(), bias.double(), second.double() * size)
    return StateMap(spectrum.mean, axes @ straight.double() * size, offset, hidden)


def _trained(inputs: Tensor, wanted: Tensor, held: Tensor, generator: torch.Generator) -> list[Tensor]:
    """The weights (linear way, first, bias, second) of the look with the least error on the rows held back."""
    rank, width = inputs.shape[1], wanted.shape[1]
    shapes = ((rank, width), (rank, HIDDEN), (HIDDEN,), (HIDDEN, width))
    scales = (0.0, 1 / math.sqrt(rank), 0.0, 0.0)
    weights = [(torch.randn(s, generator=generator) * scale).requires_grad_() for s, scale in zip(shapes, scales, strict=True)]

    def loss(rows: Tensor) -> Tensor:
        straight, first, bias, second = weights
        x = inputs[rows]
        return (x @ straight + functional.gelu(x @ first + bias) @ second - wanted[rows]).square().mean()

    seen, unseen = (~held).nonzero()[:, 0], held.nonzero()[:, 0]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    best, least = [w.detach().clone() for w in weights], math.inf
    for step in range(1, STEPS + 1):
        rows = seen[torch.randint(len(seen), (BATCH,), generator=generator)]
        optimiser.zero_grad()
        torch.autograd.backward(loss(rows))
        optimiser.step()
        schedule.step()
        if step % LOOKS == 0:
            with torch.no_grad():
                error = float(loss(unseen)) if len(unseen) else 0.0
            if error <= least:
                best, least = [w.detach().clone() for w in weights], error
    return best


def _affine(x: Tensor, y: Tensor, weight: Tensor) -> StateMap:
    return StateMap(x.mean(dim=0), weight, y.mean(dim=0))


def _best(settings: Callable[[Tensor, Tensor], _Settings], x: Tensor, y: Tensor, texts: Tensor) -> Tensor:
    """Of the weights that settings give, those of the setting with the least error on texts left out."""
    errors = torch.zeros(1)
    for held in _folds(texts):
        seen = settings(x[~held], y[~held])
        errors = errors + seen.errors(x[held] - x[~held].mean(dim=0), y[held] - y[~held].mean(dim=0))
    return settings(x, y).weight(int(errors.argmin()))


# The maps by the name of their arm.
FITS: dict[str, Fit] = {
    "ridge_neutral": fit_ridge,
    "procrustes": fit_procrustes,
    "anchors": fit_anchors,
    "cca": fit_cca,
    "nonlinear": fit_nonlinear,
}


def reconstruction(fitted: StateMap, x: Tensor, y: Tensor) -> float:
    """R^2 of the mapped states over those of the target, held against the mean of the states that were fitted."""
    mapped, wanted = fitted(x.double()), y.double()
    return 1 - float((wanted - mapped).square().sum() / (wanted - fitted.offset).square().sum())


def fit_best_layer(
    name: str,
    sources: Callable[[int], Tensor],
    layers: Sequence[int],
    y: Tensor,
    texts: Tensor,
    seed: int,
    provenance: dict[str, Any] | None = None,
) -> StateMap:
    """The map from the block of `layers` that reconstructs texts left out best, fitted again on all of them.

    sources: the states (n, d) of a block of the source; y (n, width), those of the target's block. One block is held at a time.
    """
    begun = time.process_time()
    held = torch.unique(texts, return_inverse=True)[1] % FOLDS == FOLDS - 1
    found: dict[int, float] = {}
    for layer in layers:
        x = sources(layer).double()
        fitted = FITS[name](x[~held], y[~held].double(), texts[~held], torch.Generator().manual_seed(seed))
        found[layer] = reconstruction(fitted, x[held], y[held])
    best = max(found, key=found.__getitem__)
    whole = FITS[name](sources(best).double(), y.double(), texts, torch.Generator().manual_seed(seed))
    if not all(bool(torch.isfinite(part).all()) for part in (whole.weight, whole.offset, *(whole.hidden or ()))):
        raise UserError(
            f"The map '{name}' is not finite; load both models in float32 or bfloat16, or choose more neutral texts."
        )
    straight = {"shift": whole.shift.float(), "weight": whole.weight.float(), "offset": whole.offset.float()}
    hidden = None if whole.hidden is None else (whole.hidden[0].float(), whole.hidden[1].float(), whole.hidden[2].float())
    return StateMap(
        **straight, hidden=hidden, source_layer=best, reconstruction=found, provenance=provenance or {},
        seconds=time.process_time() - begun,
    )  # fmt: skip


def carried(given: ArmInput) -> Tensor:
    """What the map makes of each pair's two states, and the mean of the differences; for an affine map, of the direction."""
    cot, direct = _contrast_states(given)
    return _moved(given, cot, direct)


def carried_random(given: ArmInput) -> Tensor:
    """The same of a random direction of the source, as long as its own, from the direct texts' states."""
    _, direct = _contrast_states(given)
    drawn = torch.randn(given.direction.shape[-1], generator=given.generator)
    return _moved(given, direct + drawn * (given.direction.norm() / drawn.norm()), direct)


def _contrast_states(given: ArmInput) -> tuple[Tensor, Tensor]:
    if given.states is None or given.carry is None:
        raise UserError("A learned map needs the states of every pair and the map; read the directions again.")
    return given.states[::2].float(), given.states[1::2].float()


def _moved(given: ArmInput, end: Tensor, start: Tensor) -> Tensor:
    assert given.carry is not None
    return (given.carry(end) - given.carry(start)).mean(dim=0)
