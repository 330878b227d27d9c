"""The low-pass, the resampling and the scale (paper Eq. 3-7) against NumPy in complex128 and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l2v.errors import UserError
from l2v.transfer import spectrum

WIDTHS = [(5120, 3584), (3584, 4096), (160, 96), (97, 60), (60, 97), (96, 96)]


def noise(width: int, seed: int = 0) -> torch.Tensor:
    """A standard normal vector, float32."""
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))


def paper_equations(v: np.ndarray, k: int, width: int) -> np.ndarray:
    """Eq. 3-7 bin by bin in complex128; also shows that what the inverse transform drops is no signal."""
    v = v.astype(np.float64)
    d = len(v)
    spectrum_of_v = np.fft.fft(v.astype(np.complex128))
    masked = {i: spectrum_of_v[i] for i in range(d) if i < k / 2 or i > d - k / 2}
    carried = np.zeros(width, dtype=np.complex128)
    for i, value in masked.items():
        frequency = i if 2 * i < d else i - d  # signed; the Nyquist bin of an even d is -d/2
        if 2 * abs(frequency) < min(d, width):
            carried[frequency % width] = value
    signal = np.fft.ifft(carried)
    assert np.linalg.norm(signal.imag) <= 1e-12 * np.linalg.norm(signal.real)
    return signal.real * np.linalg.norm(v) / np.linalg.norm(signal.real)


def cutoffs(d: int, width: int) -> list[int]:
    """Small, odd, even and full values of k."""
    full = min(d, width)
    return sorted({1, 2, 3, 10, 11, full // 2, full // 2 + 1, full - 1, full})


@pytest.mark.parametrize(("d", "width"), WIDTHS)
def test_chain_equals_paper_equations(d: int, width: int) -> None:
    """low_pass -> resample -> rescale is Eq. 3-7 for odd, even and full k, up and down."""
    v = noise(d) + 1  # some DC, so that k = 1 is not the rounding error of a sum
    for k in cutoffs(d, width):
        chain = spectrum.rescale(spectrum.resample(spectrum.low_pass(v, k), width), v.norm())
        expected = paper_equations(v.numpy(), k, width)
        assert chain.shape == (width,)
        assert chain.dtype == torch.float32
        # A constant's float32 norm is summed less exactly: every square is rounded the same way.
        tolerance = 1e-5 if k > 2 else 3e-5
        assert np.linalg.norm(chain.numpy() - expected) <= tolerance * np.linalg.norm(expected), k


@pytest.mark.parametrize(("d", "width"), WIDTHS)
def test_resample_equals_scipy_without_nyquist_energy(d: int, width: int) -> None:
    """scipy.signal.resample, up to the factor d / width, once a low-pass below the smaller Nyquist bin has run."""
    v = spectrum.low_pass(noise(d), min(d, width) - 1)
    expected = scipy.signal.resample(v.double().numpy(), width) * width / d
    ours = spectrum.resample(v, width).double().numpy() * (width / d) * (width / d)
    assert np.linalg.norm(ours - expected) <= 1e-5 * np.linalg.norm(expected)


def test_resample_drops_the_nyquist_bin() -> None:
    """An alternating vector is all Nyquist: nothing of it is carried, up, down or to its own width."""
    alternating = torch.tensor([1.0, -1.0] * 8)
    for width in (16, 24, 12):
        assert spectrum.resample(alternating, width).abs().max() <= 1e-5
    at_target = torch.cos(2 * torch.pi * 6 * torch.arange(16.0) / 16)  # bin 6 of 16 is the Nyquist bin of 12
    assert spectrum.resample(at_target, 12).abs().max() <= 1e-5


def test_functions_work_on_the_last_dimension() -> None:
    """A stack of vectors gives what each vector gives by itself."""
    stack = torch.stack([noise(60, seed) for seed in range(4)]).reshape(2, 2, 60)
    for function in (
        lambda v: spectrum.low_pass(v, 10),
        lambda v: spectrum.high_pass(v, 10),
        lambda v: spectrum.resample(v, 97),
        lambda v: spectrum.interpolate(v, 97),
        lambda v: spectrum.rescale(v, v.norm(dim=-1) * 3),
    ):
        whole = function(stack)
        for i in range(2):
            for j in range(2):
                torch.testing.assert_close(whole[i, j], function(stack[i, j]), rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(width=st.integers(1, 130), data=st.data())
def test_mask_keeps_conjugate_pairs_and_their_count(width: int, data: st.DataObject) -> None:
    """Symmetric about DC, k bins for odd k and k - 1 for even k, the lowest |frequency| first."""
    k = data.draw(st.integers(1, width))
    kept = spectrum.kept_bins(width, k).numpy()
    assert kept.sum() == (k if k % 2 else k - 1)
    assert all(kept[i] == kept[-i % width] for i in range(width))
    frequency = np.abs(np.fft.fftfreq(width))
    assert kept.all() or frequency[kept].max() < frequency[~kept].min()


@pytest.mark.parametrize("k", [1, 2, 9, 10, 96])
def test_low_passed_spectrum_is_real_in_time(k: int) -> None:
    """With the mask applied, the inverse transform has no imaginary part: taking the real part loses nothing."""
    masked = np.fft.fft(noise(96).double().numpy()) * spectrum.kept_bins(96, k).numpy()
    signal = np.fft.ifft(masked)
    assert np.abs(signal.imag).max() <= 1e-12
    np.testing.assert_allclose(spectrum.low_pass(noise(96), k).numpy(), signal.real, atol=1e-6)


@pytest.mark.parametrize("d", [96, 97])
@pytest.mark.parametrize("k", [1, 2, 40, 41, 95, 96])
def test_high_and_low_pass_add_up(d: int, k: int) -> None:
    """The two are complements, and orthogonal."""
    v = noise(d)
    low, high = spectrum.low_pass(v, k), spectrum.high_pass(v, k)
    torch.testing.assert_close(low + high, v, rtol=0, atol=1e-5)
    assert abs(float(low @ high)) <= 1e-3


@pytest.mark.parametrize("k", [0, -3, 97])
def test_cutoff_outside_the_width_is_refused(k: int) -> None:
    """k counts from 1 to the width."""
    for function in (spectrum.low_pass, spectrum.high_pass):
        with pytest.raises(UserError, match=f"k={k}"):
            function(noise(96), k)


@pytest.mark.parametrize(("d", "width"), [(160, 96), (60, 97)])
def test_cutoff_above_the_smaller_width_is_refused(d: int, width: int) -> None:
    """What the resampling would cut off anyway is no low-pass: k ends at the smaller width."""
    smaller = min(d, width)
    assert spectrum.resolve_cutoff(smaller, noise(d), width) == smaller
    for cutoff in (smaller + 1, max(d, width)):
        with pytest.raises(UserError, match=str(smaller)):
            spectrum.resolve_cutoff(cutoff, noise(d), width)


@pytest.mark.parametrize("d", [96, 97])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.97])
def test_energy_cutoff_is_the_smallest(d: int, share: float) -> None:
    """k reaches the share, k - 1 does not; energies counted over the mask in NumPy."""
    v = noise(d, seed=3)
    k = spectrum.resolve_cutoff(f"energy:{share}", v, d)
    power = np.abs(np.fft.fft(v.double().numpy())) ** 2

    def kept_share(cutoff: int) -> float:
        i = np.arange(d)
        return float(power[(i < cutoff / 2) | (i > d - cutoff / 2)].sum() / power.sum())

    assert kept_share(k) >= share
    assert k == 1 or kept_share(k - 1) < share


def test_energy_cutoff_out_of_reach() -> None:
    """The Nyquist bin belongs to no k: a vector that is nothing else has no energy cutoff."""
    with pytest.raises(UserError, match="Nyquist"):
        spectrum.energy_cutoff(torch.tensor([1.0, -1.0] * 8), 0.9)
    for share in (0.0, 1.0, -0.1, 2.0):
        with pytest.raises(UserError):
            spectrum.energy_cutoff(noise(96), share)


def test_share_cutoff_counts_source_bins() -> None:
    """A float in (0, 1) is a share of the source's spectrum, rounded, at least 1, and bounded by the smaller width."""
    assert spectrum.resolve_cutoff(0.25, noise(160), 96) == 40
    assert spectrum.resolve_cutoff(0.001, noise(160), 96) == 1
    with pytest.raises(UserError, match="k=128"):
        spectrum.resolve_cutoff(0.8, noise(160), 96)


@pytest.mark.parametrize("cutoff", ["0.25", "40"])
def test_quoted_cutoff_means_the_same_number(cutoff: str) -> None:
    """Quotes around a number on the command line or in YAML do not turn a share into an energy."""
    v = noise(160)
    assert spectrum.resolve_cutoff(cutoff, v, 160) == spectrum.resolve_cutoff(spectrum.parse_cutoff(cutoff), v, 160) == 40


@pytest.mark.parametrize(("cutoff", "parsed"), [(1, 1), (400, 400), ("400", 400), (0.5, 0.5), ("energy:0.9", 0.9)])
def test_parse_cutoff_accepts(cutoff: spectrum.Cutoff, parsed: float) -> None:
    """A k is an int, a share is a float."""
    value = spectrum.parse_cutoff(cutoff)
    assert value == parsed
    assert isinstance(value, type(parsed))


@pytest.mark.parametrize(
    "cutoff", [0, -3, 1.5, float("nan"), float("inf"), "energy:2", "energy:0", "energy:1", "energy:", "abc", "", True, False]
)
def test_parse_cutoff_refuses(cutoff: spectrum.Cutoff) -> None:
    """What is neither a k, a share nor an energy, with the value in the message; True is not k=1."""
    with pytest.raises(UserError, match=r"intervention\.cutoff"):
        spectrum.parse_cutoff(cutoff)


@pytest.mark.parametrize("cutoff", [1.0, "1.0", 400.0, "4e2", "1e0"])
def test_a_whole_float_is_neither_a_share_nor_a_k(cutoff: spectrum.Cutoff) -> None:
    """.5 is half of the spectrum, so 1.0 could be all of it or k=1: refused, with the way to write either."""
    with pytest.raises(UserError, match=rf"cutoff={cutoff} may mean .*write {int(float(cutoff))} for k"):
        spectrum.parse_cutoff(cutoff)


def test_rescale_gives_the_norm() -> None:
    """Eq. 7: the direction stays, the norm is the given one."""
    v = noise(96)
    scaled = spectrum.rescale(v, 7.5)
    assert float(scaled.norm()) == pytest.approx(7.5, rel=1e-6)
    assert float(torch.nn.functional.cosine_similarity(scaled, v, dim=0)) == pytest.approx(1, abs=1e-6)


def test_rescale_refuses_what_is_no_vector() -> None:
    """Zeros, values that are not finite, and the rounding noise that a filter leaves must not be blown up."""
    v = noise(4096)
    constant = torch.ones(4096)
    for nothing in (
        torch.zeros(96),
        torch.tensor([1.0, float("nan")]),
        torch.tensor([1.0, float("inf")]),
        spectrum.high_pass(constant, 1),  # a constant without its DC: rounding
        spectrum.high_pass(v, 4095) * 1e-6,
    ):
        with pytest.raises(UserError, match="zero or not finite"):
            spectrum.rescale(nothing, 64.0)
    with pytest.raises(UserError, match="zero or not finite"):
        spectrum.rescale(torch.stack([v, torch.zeros(4096)]), torch.tensor([1.0, 1.0]))


@pytest.mark.parametrize(("d", "width"), [(160, 96), (96, 160), (97, 60), (60, 97)])
def test_interpolate_equals_numpy_on_the_half_pixel_grid(d: int, width: int) -> None:
    """Output j samples the input at (j + 1/2) d / width - 1/2, linearly, clamped at the ends."""
    v = noise(d)
    position = (np.arange(width) + 0.5) * d / width - 0.5
    expected = np.interp(position, np.arange(d), v.double().numpy())
    np.testing.assert_allclose(spectrum.interpolate(v, width).numpy(), expected, atol=1e-4)
