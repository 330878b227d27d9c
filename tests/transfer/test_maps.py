"""Learned maps against scikit-learn's and scipy's, under a rotation of the source, and on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression, Ridge
from torch import Tensor

from l2v.errors import UserError
from l2v.transfer.arms import MAPS, build_vector
from l2v.transfer.maps import FITS, PENALTIES, StateMap, canonical_pairs, fit_best_layer, reconstruction
from l2v.transfer.neutral import shuffled

TEXTS = torch.arange(240) // 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(width: int = 6, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """States of which one are the others' under a linear map, with noise and means of their own."""
    x = drawn(240, 10) * torch.linspace(0.3, 2, 10) + 3
    return x, x @ drawn(10, width, seed=1) + noise * drawn(240, width, seed=2) - 1


def fitted(name: str, x: Tensor, y: Tensor, texts: Tensor = TEXTS) -> StateMap:
    return FITS[name](x, y, texts, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rows", [240, 8], ids=["tall", "wide"])
def test_ridge_is_scikit_learns_with_the_penalty_that_its_folds_choose(rows: int) -> None:
    x, y = (part[:rows] for part in linear())
    fold = TEXTS[:rows] % 5
    ours = fitted("ridge_neutral", x, y, TEXTS[:rows])

    def sklearn(seen: Tensor, penalty: float) -> Ridge:
        scale = float((x[seen] - x[seen].mean(dim=0)).square().sum() / int(seen.sum()))
        return Ridge(alpha=penalty * scale).fit(x[seen].numpy(), y[seen].numpy())

    folds = [fold == f for f in range(5) if bool((fold == f).any())]
    errors = [sum(np.square(sklearn(~f, p).predict(x[f].numpy()) - y[f].numpy()).sum() for f in folds) for p in PENALTIES]
    theirs = sklearn(torch.ones(rows, dtype=torch.bool), PENALTIES[int(np.argmin(errors))])
    assert torch.allclose(ours(x), torch.tensor(theirs.predict(x.numpy())), atol=1e-6)
    assert torch.allclose(ours.weight, torch.tensor(theirs.coef_.T), atol=1e-6)


def test_procrustes_is_scipys_rotation_with_one_scale() -> None:
    x, y = linear(width=10)
    centred = x - x.mean(dim=0), y - y.mean(dim=0)
    rotation, size = orthogonal_procrustes(*(part.numpy() for part in centred))
    expected = torch.tensor(rotation * size / float(centred[0].square().sum()))
    assert torch.allclose(fitted("procrustes", x, y).weight, expected, atol=1e-8)


def test_procrustes_between_widths_keeps_every_angle_of_the_shared_axes() -> None:
    x = drawn(240, 10)
    weight = fitted("procrustes", x, x @ torch.linalg.qr(drawn(10, 4, seed=1))[0]).weight
    values = torch.linalg.svdvals(weight)
    assert values[:4].max() / values[:4].min() < 1 + 1e-6


def test_canonical_correlations_are_scikit_learns() -> None:
    x, y = linear(width=4, noise=2.0)
    model = CCA(n_components=4, max_iter=5000, tol=1e-12).fit(x.numpy(), y.numpy())
    ours, theirs = canonical_pairs(x, y)[1], model.transform(x.numpy(), y.numpy())
    assert ours.tolist() == pytest.approx(
        [np.corrcoef(a, b)[0, 1] for a, b in zip(theirs[0].T, theirs[1].T, strict=True)], abs=1e-4
    )


def test_all_canonical_pairs_are_least_squares() -> None:
    x, y = linear()
    into, correlations, out = canonical_pairs(x, y)
    assert torch.allclose(
        into * correlations @ out, torch.tensor(LinearRegression().fit(x.numpy(), y.numpy()).coef_.T), atol=1e-8
    )
    assert reconstruction(fitted("cca", x, y), x, y) > 0.98


def test_anchors_need_no_fit_where_the_angles_are_the_same() -> None:
    """Into another basis and another scale every angle is kept: the states come back, whatever the anchors."""
    x = drawn(240, 10)
    y = 3 * x @ torch.linalg.qr(drawn(14, 10, seed=1))[0].T
    assert reconstruction(fitted("anchors", x, y), x, y) > 0.999


def test_the_nonlinear_map_finds_what_no_affine_one_does_and_comes_back_by_its_seed() -> None:
    x = drawn(480, 3)
    y, texts = (x @ drawn(3, 4, seed=1)).abs(), torch.arange(480) // 4
    ours = fitted("nonlinear", x, y, texts)
    assert reconstruction(ours, x, y) > 0.8 > 0.3 > reconstruction(fitted("ridge_neutral", x, y, texts), x, y)
    assert torch.equal(fitted("nonlinear", x, y, texts)(x), ours(x))


@pytest.mark.parametrize("name", MAPS)
def test_a_rotation_of_the_source_changes_no_map_but_it_changes_l2v(name: str) -> None:
    x, y = linear()
    rotation = torch.linalg.qr(drawn(10, 10, seed=7))[0]
    contrast = (drawn(20, 10, seed=8) + 3).float()
    contrast[::2] += drawn(10, seed=9).float()
    vectors = []
    for basis in (torch.eye(10, dtype=torch.float64), rotation):
        turned = contrast @ basis.float()
        direction = (turned[::2] - turned[1::2]).mean(dim=0)
        carry = fit_best_layer(name, lambda _layer, b=basis: x @ b, [0], y, TEXTS, 0)
        vectors.append((build_vector(name, direction, 6, states=turned, carry=carry), build_vector("l2v", direction, 6, 4)))
    ours, lowpass = (float(torch.cosine_similarity(a, b, dim=0)) for a, b in zip(*vectors, strict=True))
    assert ours > 0.999
    assert lowpass < 0.9


def test_an_affine_map_carries_the_direction_itself() -> None:
    x, y = linear()
    carry = fit_best_layer("ridge_neutral", lambda _layer: x, [0], y, TEXTS, 0)
    states = drawn(20, 10, seed=4).float()
    direction = (states[::2] - states[1::2]).mean(dim=0)
    vector = build_vector("ridge_neutral", direction, 6, states=states, carry=carry)
    assert torch.allclose(vector, direction.norm() * torch.nn.functional.normalize(direction @ carry.weight, dim=0), atol=1e-4)
    random = build_vector("mapped_random", direction, 6, states=states, carry=carry, seed=1)
    assert not torch.allclose(random, build_vector("mapped_random", direction, 6, states=states, carry=carry, seed=2), atol=0.1)
    assert float(random.norm()) == pytest.approx(float(direction.norm()), rel=1e-4)
    with pytest.raises(UserError, match="read the directions again"):
        build_vector("cca", direction, 6, states=states)


def test_the_block_that_reconstructs_unseen_texts_is_taken() -> None:
    x, y = linear()
    blocks = {2: drawn(240, 10, seed=5), 4: x}
    carry = fit_best_layer("ridge_neutral", blocks.__getitem__, list(blocks), y, TEXTS, 0)
    assert carry.source_layer == 4 and carry.held_out == carry.reconstruction[4] > 0.9
    assert abs(carry.reconstruction[2]) < 0.2, "nothing to find: no better than the mean on texts left out"


def test_shuffled_texts_stand_in_each_others_place_whole() -> None:
    order = shuffled(TEXTS, 1)
    assert sorted(order.tolist()) == list(range(240))
    assert torch.equal(order % 4, torch.arange(240) % 4)
    assert torch.equal(TEXTS[order].view(60, 4), TEXTS[order].view(60, 4)[:, :1].expand(60, 4))
    x, y = linear()
    assert fit_best_layer("ridge_neutral", lambda _layer: x, [0], y[order], TEXTS, 0).held_out < 0.2


@pytest.mark.parametrize("name", ["ridge_neutral", "nonlinear"])
def test_a_map_comes_back_from_disk_or_is_refused(name: str, tmp_path: Path) -> None:
    x, y = linear()
    path = tmp_path / "map.safetensors"
    carry = replace(fit_best_layer(name, lambda _layer: x, [3], y, TEXTS, 0), provenance={"a": 1})
    carry.save(path)
    again = StateMap.load(path)
    assert torch.equal(again(x), carry(x))
    assert (again.source_layer, again.reconstruction, again.provenance) == (3, carry.reconstruction, {"a": 1})
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not a file of a map"):
        StateMap.load(path)
