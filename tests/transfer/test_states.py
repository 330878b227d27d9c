"""Arms that are made of every pair's states: RoT's component, shuffled labels and the ridge map; and the states in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from l2v.errors import UserError
from l2v.transfer.arms import build_vector
from l2v.transfer.directions import Directions, Summary
from l2v.transfer.vectors import ArmInput, first_component, ridge


def interleaved(cot: torch.Tensor, direct: torch.Tensor) -> torch.Tensor:
    return torch.stack([cot, direct], dim=1).flatten(0, 1)


def given(states: torch.Tensor, width: int = 8, target: torch.Tensor | None = None, seed: int = 0) -> ArmInput:
    direction = (states[::2] - states[1::2]).mean(dim=0)
    return ArmInput(direction, width, None, torch.Generator().manual_seed(seed), states, target)


def test_rots_component_is_the_axis_of_most_variance_not_the_mean() -> None:
    """Differences that all point along axis 0 but vary along axis 1: centring leaves axis 1."""
    random = torch.Generator().manual_seed(0)
    n = 60
    cot, direct = torch.zeros(n, 8), torch.zeros(n, 8)
    cot[:, 0] = 5.0
    cot[:, 1] = 3.0 * torch.randn(n, generator=random) + 0.5
    component = first_component(given(interleaved(cot, direct)))
    assert abs(float(component[1])) > 0.99
    expected = np.linalg.svd((cot - direct - (cot - direct).mean(0)).numpy())[2][0]
    assert abs(float(component @ torch.tensor(expected))) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rots_sign_is_that_chain_of_thought_projects_higher(sign: float) -> None:
    random = torch.Generator().manual_seed(1)
    u = torch.randn(50, 8, generator=random) * torch.tensor([4.0] + [0.1] * 7)
    u[:, 0] += sign
    states = interleaved(u, torch.zeros_like(u))
    component = first_component(given(states))
    assert float((states[::2] @ component).mean()) > float((states[1::2] @ component).mean())
    assert np.sign(float(component[0])) == sign


def test_shuffled_labels_are_a_mean_of_signed_differences() -> None:
    """One pair: only the sign can change. Many pairs: nothing of the direction is left on average."""
    one = interleaved(torch.ones(1, 8), torch.zeros(1, 8))
    seen = {float(build_vector("shuffled_labels", torch.ones(8), 8, 3, seed, one)[0]) > 0 for seed in range(12)}
    assert seen == {True, False}
    random = torch.Generator().manual_seed(2)
    v = torch.randn(8, generator=random)
    states = interleaved(v + torch.randn(400, 8, generator=random), torch.zeros(400, 8))
    vectors = torch.stack([build_vector("shuffled_labels", v, 8, 7, seed, states) for seed in range(40)])
    kept = build_vector("l2v", v, 8, 7)
    cosines = torch.nn.functional.cosine_similarity(vectors, kept[None])
    assert abs(float(cosines.mean())) < 0.25 and (cosines > 0).any() and (cosines < 0).any()


def test_ridge_finds_a_linear_map_that_is_there() -> None:
    random = torch.Generator().manual_seed(3)
    x = torch.randn(240, 12, generator=random)
    w = torch.randn(12, 8, generator=random)
    y = x @ w + 0.01 * torch.randn(240, 8, generator=random) + 3.0
    mapped = ridge(given(x, 8, y))
    true = (x[::2] - x[1::2]).mean(dim=0) @ w
    assert float(torch.nn.functional.cosine_similarity(mapped, true, dim=0)) > 0.999


def test_ridge_is_the_closed_form_in_the_primal() -> None:
    """With noise the map is the textbook's (X^T X + cI)^-1 X^T Y for one of the penalties."""
    from l2v.transfer.maps import PENALTIES

    random = torch.Generator().manual_seed(4)
    x, y = torch.randn(40, 6, generator=random).double(), torch.randn(40, 5, generator=random).double()
    mapped = ridge(given(x.float(), 5, y.float())).double()
    xc, yc, v = x - x.mean(0), y - y.mean(0), (x[::2] - x[1::2]).mean(0)
    scale = xc.square().sum() / len(xc)
    fits = [v @ torch.linalg.solve(xc.T @ xc + p * scale * torch.eye(6).double(), xc.T @ yc) for p in PENALTIES]
    assert min(float((mapped - fit).norm() / fit.norm()) for fit in fits) < 1e-4


def test_ridge_shrinks_more_where_there_is_nothing_to_find() -> None:
    random = torch.Generator().manual_seed(5)
    x, noise = torch.randn(60, 30, generator=random), torch.randn(60, 8, generator=random)
    y = x[:, :8]
    assert float(ridge(given(x, 8, noise)).norm()) < 0.2 * float(ridge(given(x, 8, y)).norm())


@pytest.mark.parametrize("arm", ["rot", "shuffled_labels", "ridge"])
def test_missing_states_are_told(arm: str) -> None:
    with pytest.raises(UserError, match="states"):
        build_vector(arm, torch.ones(8), 8, 4)


def test_unequal_texts_are_told() -> None:
    with pytest.raises(UserError, match="same texts"):
        build_vector("ridge", torch.ones(8), 4, None, 0, torch.randn(10, 8), torch.randn(12, 4))


def test_random_redraws_for_every_cutoff() -> None:
    """The null arm searches as many cells as l2v: another k is another draw."""
    v = torch.randn(32, generator=torch.Generator().manual_seed(6))
    assert not torch.allclose(build_vector("random", v, 32, 8, 0), build_vector("random", v, 32, 16, 0))


def test_states_are_kept_beside_the_means_they_give(tmp_path: Path) -> None:
    states = torch.randn(3, 10, 4)
    means = states[:, ::2].sub(states[:, 1::2]).mean(dim=1)
    path = tmp_path / "d.safetensors"
    Directions(means, torch.ones(3), torch.ones(3), torch.ones(3), 5, {}, states.bfloat16()).save(path)
    assert Directions.has_states(path)
    loaded = Directions.load_states(path, 2)
    assert loaded.dtype == torch.float32
    assert torch.allclose(loaded, states[2], atol=0.02, rtol=0.01)
    Directions(means, torch.ones(3), torch.ones(3), torch.ones(3), 5).save(path)
    assert not Directions.has_states(path)
    with pytest.raises(UserError, match="holds no states"):
        Directions.load_states(path, 0)


def test_a_summary_is_what_the_file_holds_layer_by_layer(tmp_path: Path) -> None:
    """Read with numpy; states in bfloat16, which numpy does not know, stay where they are."""
    means, trace, square, norm = torch.randn(3, 4), torch.rand(3), torch.rand(3), torch.rand(3)
    path = tmp_path / "d.safetensors"
    Directions(means, trace, square, norm, 5, {"model": "m"}, torch.randn(3, 10, 4).bfloat16()).save(path)
    found = Summary.load(path)
    assert (found.width, found.n, found.provenance) == (4, 5, {"model": "m"})
    assert found.norm == pytest.approx([sum(x * x for x in row) ** 0.5 for row in means.tolist()])
    for told, written in ((found.trace, trace), (found.mean_square, square), (found.activation_norm, norm)):
        assert told.tolist() == written.tolist()
    path.write_bytes(b"no directions")
    with pytest.raises(UserError, match="not a file of directions"):
        Summary.load(path)


@pytest.mark.parametrize(
    "arm", ["rot", "ridge", "shuffled_labels", "random_low_pass", "rotated", "random_bins", "sign_flipped"]
)
def test_every_arm_runs_as_a_cell(arm: str, tiny: Callable[..., Any], outputs: Path) -> None:
    """Also after a reading without states: it is read again, with the same mean."""
    assert tiny("study=plainread", "method=l2v", "benchmark.limit=2").code == 0
    answer = tiny(f"study=arm-{arm}", f"method={arm}", "benchmark.limit=2", "intervention.cutoff=16")
    assert answer.code == 0, answer.err
    assert len(list((outputs / f"arm-{arm}" / "cells").glob("*/DONE"))) == 1
