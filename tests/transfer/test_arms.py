"""The arms: vectors of equal strength and the target's width, each its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from l2v.errors import UserError
from l2v.transfer import spectrum
from l2v.transfer.arms import ARMS, build_vector

SOURCE, TARGET, K = 160, 96, 40


def direction(seed: int = 0) -> torch.Tensor:
    """A direction with more energy at low frequencies than at high ones, and a norm that is not 1."""
    v = torch.randn(SOURCE, generator=torch.Generator().manual_seed(seed))
    return 3.7 * v + 5 * spectrum.low_pass(v, 30)


def vector(arm: str, seed: int = 0, width: int = TARGET) -> torch.Tensor:
    """The arm's vector for the shared direction and cutoff."""
    # A learned map's seed decides how it is fitted.
    fitted = 12 + (seed if ARMS[arm].learned and ARMS[arm].seeded else 0)
    mixing = torch.randn(SOURCE, width, generator=torch.Generator().manual_seed(fitted))
    cutoff = K if ARMS[arm].uses_cutoff else None
    return build_vector(arm, direction(), width, cutoff, seed, *states(width), carry=lambda found: found @ mixing)


def states(width: int = TARGET) -> tuple[torch.Tensor, torch.Tensor]:
    """Final states of ten pairs whose mean difference is the direction, and a target's for the same texts."""
    random = torch.Generator().manual_seed(11)
    noise = torch.randn(20, SOURCE, generator=random)
    u = noise[::2] - noise[1::2]
    source = noise.clone()
    source[::2] += direction() - u.mean(dim=0)
    return source, torch.randn(20, width, generator=random) + source[:, :1]


@pytest.mark.parametrize("arm", sorted(ARMS))
@pytest.mark.parametrize("width", [60, 96, 160, 233])
def test_every_arm_has_the_norm_of_the_direction_and_the_width_of_the_target(arm: str, width: int) -> None:
    """Eq. 7, for carrying down, across and up."""
    if arm == "rot":
        width = SOURCE  # read in the target itself and carried nowhere
    made = vector(arm, width=width)
    assert made.shape == (width,)
    assert made.dtype == torch.float32
    assert float(made.norm()) == pytest.approx(float(direction().norm()), rel=1e-5)


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_seed_matters_for_drawn_arms_only(arm: str) -> None:
    """The same seed repeats the vector; another seed changes it exactly for the arms that draw."""
    assert torch.equal(vector(arm, seed=1), vector(arm, seed=1))
    assert torch.equal(vector(arm, seed=1), vector(arm, seed=2)) is not ARMS[arm].seeded


def test_a_draw_leaves_the_global_generator_alone() -> None:
    """Vectors do not depend on what was drawn before, nor change what is drawn after."""
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = vector("random")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(vector("random"), first)


def test_arms_differ() -> None:
    """No arm is another one under a second name; own_direction differs by whose direction it reads."""
    # Learned maps differ by their map alone (tests/transfer/test_maps.py), which is the same here: one of each way to carry.
    carried = {arm.build: name for name, arm in ARMS.items() if arm.learned}
    alike = {name for name, arm in ARMS.items() if arm.learned} - set(carried.values())
    arms = sorted(set(ARMS) - alike - {"own_direction", "own_high_pass", "rot"})
    made = {arm: vector(arm) for arm in arms}
    for i, first in enumerate(arms):
        for second in arms[i + 1 :]:
            assert float(cosine_similarity(made[first], made[second], dim=0)) < 0.999, (first, second)
    assert ARMS["own_direction"].reads == ARMS["own_high_pass"].reads == ARMS["rot"].reads == "target"
    assert all(ARMS[arm].reads == "source" for arm in arms)


def test_own_direction_is_the_low_passed_direction_of_the_target() -> None:
    """At equal widths nothing is resampled: Table 2 "w VLM" is the low-pass alone."""
    own = direction(seed=5)[:TARGET].contiguous()
    expected = spectrum.rescale(spectrum.low_pass(own, K), own.norm())
    torch.testing.assert_close(build_vector("own_direction", own, TARGET, K), expected, rtol=1e-5, atol=1e-5)


def test_l2v_holds_low_frequencies_and_high_pass_the_others() -> None:
    """Energy of the carried vectors inside the low-pass mask: all of it, and none; of the target's own, in two parts."""
    own = direction(seed=5)[:TARGET].contiguous()
    low_part, high_part = (build_vector(arm, own, TARGET, K) for arm in ("own_direction", "own_high_pass"))
    assert abs(float(cosine_similarity(low_part, high_part, dim=0))) < 1e-5
    parts = torch.stack([low_part, high_part], dim=1).double()
    left = own.double() - parts @ torch.linalg.lstsq(parts, own.double()[:, None]).solution[:, 0]
    # The Nyquist bin, which resampling drops, is all that is left.
    assert np.abs(np.fft.rfft(left.numpy()))[:-1].max() < 1e-4 * float(own.norm())
    low = spectrum.kept_bins(TARGET, K).numpy()
    share = {arm: np.abs(np.fft.fft(vector(arm).double().numpy())) ** 2 for arm in ("l2v", "high_pass")}
    assert share["l2v"][low].sum() / share["l2v"].sum() == pytest.approx(1, abs=1e-6)
    assert share["high_pass"][low].sum() / share["high_pass"].sum() == pytest.approx(0, abs=1e-6)


def test_interpolation_arms_are_the_two_readings() -> None:
    """With and without the low-pass before numpy.interp."""
    v = direction()
    position = (np.arange(TARGET) + 0.5) * SOURCE / TARGET - 0.5
    for arm, signal in (("interpolation", spectrum.low_pass(v, K)), ("unfiltered_interpolation", v)):
        expected = np.interp(position, np.arange(SOURCE), signal.double().numpy())
        expected *= float(v.norm()) / np.linalg.norm(expected)
        np.testing.assert_allclose(vector(arm).numpy(), expected, atol=1e-4)


def test_permuted_keeps_nothing_of_the_low_pass_but_its_norm() -> None:
    """Over many orders the mean similarity to L2V is what chance gives; each has the same norm."""
    kept = vector("l2v")
    smooth = direction() - direction().mean()  # the mean is all that a permutation cannot move
    l2v = build_vector("l2v", smooth, TARGET, K)
    drawn = [build_vector("permuted", smooth, TARGET, K, seed) for seed in range(40)]
    similarity = torch.stack([cosine_similarity(v, l2v, dim=0) for v in drawn])
    # Both lie in the K - 1 kept dimensions less DC: chance has a spread of about 1 / sqrt(38).
    assert float(similarity.abs().max()) < 0.65
    assert abs(float(similarity.mean())) < 0.1
    assert all(float(v.norm()) == pytest.approx(float(smooth.norm()), rel=1e-5) for v in drawn)
    assert float(vector("permuted").norm()) == pytest.approx(float(kept.norm()), rel=1e-5)


def test_random_does_not_depend_on_the_direction_but_for_its_norm() -> None:
    """A Gaussian vector in the target's space; each coordinate has mean 0 and the same spread."""
    first, second = build_vector("random", direction(1), 4096, seed=3), build_vector("random", 2 * direction(2), 4096, seed=3)
    assert float(cosine_similarity(first, second, dim=0)) == pytest.approx(1, abs=1e-5)
    unit = first / first.std()
    assert abs(float(unit.mean())) < 0.1
    assert float((unit.abs() < 1).float().mean()) == pytest.approx(0.683, abs=0.03)


def test_drawn_arms_share_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arm's name is in the seed: two arms that draw alike draw differently."""
    monkeypatch.setitem(ARMS, "random_again", ARMS["random"])
    for seed in range(3):
        assert abs(float(cosine_similarity(vector("random", seed), vector("random_again", seed), dim=0))) < 0.5


def test_unknown_arm_names_the_nearest() -> None:
    """A misspelt method is answered with the one that was meant."""
    with pytest.raises(UserError, match="high_pass"):
        build_vector("highpass", direction(), TARGET, K)


def test_high_pass_of_the_whole_band_is_refused() -> None:
    """Its complement is empty (or the Nyquist bin, which is not carried)."""
    for width, k in ((SOURCE, SOURCE), (97, 97)):
        with pytest.raises(UserError, match="zero or not finite"):
            build_vector("high_pass", direction()[:width], width, k)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("arm", sorted(ARMS))
def test_a_zero_or_non_finite_direction_is_refused(arm: str, value: float) -> None:
    """For every arm, also those that take the direction's norm alone."""
    with pytest.raises(UserError, match="zero or not finite"):
        build_vector(arm, torch.full((SOURCE,), value), TARGET, K)


@pytest.mark.parametrize("arm", sorted(arm for arm in ARMS if ARMS[arm].uses_cutoff and not ARMS[arm].redraws))
def test_a_cutoff_that_is_missing_or_too_large_is_refused(arm: str) -> None:
    """An arm without the cutoff that it needs, and a k above the smaller width."""
    with pytest.raises(UserError, match="cutoff"):
        build_vector(arm, direction(), TARGET, None, 0, *states())
    with pytest.raises(UserError, match="k=97"):
        build_vector(arm, direction(), TARGET, 97, 0, *states())


def test_half_precision_directions_are_read_in_float32() -> None:
    """A bfloat16 direction gives the vector of its own float32 values, and is left as it was."""
    half = direction().bfloat16()
    before = half.clone()
    assert torch.equal(build_vector("l2v", half, TARGET, K), build_vector("l2v", half.float(), TARGET, K))
    assert torch.equal(half, before)
