"""Linear layers in half precision on a processor without arithmetic for it."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch import Tensor, nn

from l2v.steering.half_precision import FloatLinear, widen
from l2v.steering.models import LoadedModel, ModelSpec, load_model

WITHOUT = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False, "avx512_fp16": False, "amx_fp16": False}


@pytest.fixture(autouse=True)
def old_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: WITHOUT, raising=False)


def small(dtype: torch.dtype = torch.bfloat16) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 24, bias=False)).to(dtype)


def rows(count: int = 5) -> Tensor:
    return torch.randn(count, 48, generator=torch.Generator().manual_seed(1)).bfloat16()


@torch.no_grad()
def test_the_products_are_those_of_the_halves_rounded_once() -> None:
    model = small()
    exact = nn.functional.linear(rows().double(), model[0].weight.double(), model[0].bias.double())
    assert widen(model) == 2
    found = model[0](rows())
    assert found.dtype == torch.bfloat16
    # Rounded to nearest, but where the order of a float32 sum decides between two neighbours.
    assert (found == exact.bfloat16()).double().mean() > 0.99
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("has", ["avx512_bf16", "amx_bf16"])
def test_a_processor_with_such_arithmetic_uses_it(has: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: WITHOUT | {has: True}, raising=False)
    assert widen(small()) == 0


def test_others_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnLinear(nn.Linear):
        pass

    assert widen(small(torch.float32)) == 0
    assert widen(nn.Sequential(OwnLinear(4, 4).bfloat16())) == 0
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "aarch64"}, raising=False)
    assert widen(small()) == 0
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert widen(small()) == 0


def test_copies_never_take_the_memory_of_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 4 * (48 * 96 + 96 * 24)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * needed - 1))
    assert widen(small()) == 0
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * needed))
    assert widen(small()) == 2


@torch.no_grad()
def test_whoever_writes_weights_is_heeded() -> None:
    model, plain = small(), small()
    widen(model)
    before = model(rows())
    model[0].weight.mul_(3)
    model[0].bias.add_(1)
    plain[0].weight.mul_(3)
    plain[0].bias.add_(1)
    assert not torch.equal(model(rows()), before)
    torch.testing.assert_close(model(rows()), plain(rows()), rtol=2**-6, atol=2**-6)
    model.load_state_dict(small().state_dict())
    assert torch.equal(model(rows()), before)
    model[0].weight = nn.Parameter(torch.zeros(96, 48, dtype=torch.bfloat16))
    assert torch.equal(model[0](rows()), model[0].bias.expand(5, -1))
    assert torch.equal(copy.deepcopy(model)(rows()), model(rows()))


def test_the_weights_stay_halves_and_can_be_trained() -> None:
    model = small()
    widen(model)
    with torch.no_grad():
        model(rows())
    state = model.state_dict()
    assert state.keys() == small().state_dict().keys()
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    assert torch.equal(model[0].weight, small()[0].weight)
    model(rows()).sum().backward()
    plain = small()
    plain(rows()).sum().backward()
    assert torch.equal(model[0].weight.grad, plain[0].weight.grad)


@torch.no_grad()
def test_it_refuses_what_a_linear_layer_refuses() -> None:
    model = small()
    widen(model)
    assert isinstance(model[0], FloatLinear)
    with pytest.raises(RuntimeError, match="dtype"):
        model[0](rows().float())
    whole = model.float()
    assert torch.equal(whole(rows().float()), small().float()(rows().float()))


def test_every_model_that_is_loaded_in_halves_computes_so(llava: LoadedModel) -> None:
    def loaded(dtype: str) -> nn.Module:
        return load_model(ModelSpec("tests/llava", path=llava.spec.path, dtype=dtype), "vision").model

    kinds = {type(part) for part in loaded("bfloat16").modules() if isinstance(part, nn.Linear)}
    assert kinds == {FloatLinear}
    assert not any(isinstance(part, FloatLinear) for part in loaded("float32").modules())
