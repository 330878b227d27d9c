"""The intervention on a tiny LLaVA: which tokens it writes, and that `generate` under it is what it should be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import families
import pytest
import torch
from torch import Tensor

from l2v.errors import InterventionError, UserError
from l2v.steering import Intervention
from l2v.steering.engine.engine import Request, encode_requests
from l2v.steering.hook import POSITIONS
from l2v.steering.models import LoadedModel

LAYER, STEPS = 1, 4


def vector(seed: int = 0) -> Tensor:
    """A vector about as long as the tiny model's states."""
    return 3 * torch.randn(families.WIDTH, generator=torch.Generator().manual_seed(seed))


def requests() -> list[Request]:
    """Prompts of three lengths with the image at the beginning, in the middle and at the end."""
    words = families.question
    return [
        Request("begin", f"<image> {words(4)}", (families.picture(28, 28, 0),)),
        Request("middle", f"{words(9, 1)} <image> {words(3, 2)}", (families.picture(40, 28, 1),)),
        Request("end", f"{words(2, 3)} <image>", (families.picture(28, 56, 2),)),
    ]


def generate(loaded: LoadedModel, inputs: dict[str, Tensor], steps: int = STEPS, **options: Any) -> Tensor:
    """Exactly `steps` greedy tokens per row, by the model's own generate."""
    with torch.no_grad():
        output = loaded.model.generate(**inputs, max_new_tokens=steps, min_new_tokens=steps, do_sample=False, **options)
    return output[:, inputs["input_ids"].shape[1] :]


@contextmanager
def observed(loaded: LoadedModel, layer: int, intervention: Intervention) -> Iterator[list[Tensor]]:
    """Per forward pass, (rows, tokens) bool: where the next block's input differs from this block's own output."""
    before: list[Tensor] = []
    moved: list[Tensor] = []

    def own_output(_module: Any, _args: Any, output: Any) -> None:
        before.append(output.clone())

    def next_input(_module: Any, args: tuple[Any, ...]) -> None:
        moved.append((args[0] != before[-1]).any(dim=-1))

    handles = [
        loaded.layers[layer].register_forward_hook(own_output),  # registered first: runs before the write
        loaded.layers[layer + 1].register_forward_pre_hook(next_input),
    ]
    try:
        with intervention.applied_to(loaded.model):
            yield moved
    finally:
        for handle in handles:
            handle.remove()


def prompt_positions(loaded: LoadedModel, kind: str, ids: Tensor) -> Tensor:
    """Where a left-padded prompt is to be written, token by token, from the ids alone."""
    pad, image = loaded.tokenizer.pad_token_id, loaded.tokenizer.convert_tokens_to_ids("<image>")
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    for r, row in enumerate(ids.tolist()):
        first = next(t for t, token in enumerate(row) if token != pad)
        for t, token in enumerate(row):
            wanted[r, t] = (
                t >= first
                and {
                    "all": True,
                    "text": token != image,
                    "prompt": True,
                    "generated": t == len(row) - 1,
                    "decode": False,
                    "release": t == first,
                }[kind]
            )
    return wanted


# -- which tokens are written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("kind", POSITIONS)
def test_positions_in_generate(llava: LoadedModel, kind: str, cache: bool) -> None:
    """Prompt, padding, images, first and last token, and every decode step, with the cache on and off."""
    inputs = encode_requests(llava, requests())
    ids = inputs["input_ids"]
    prompt = prompt_positions(llava, kind, ids)
    assert (ids == llava.tokenizer.pad_token_id).any()
    with observed(llava, LAYER, Intervention(vector(), LAYER, 0.7, kind)) as moved:
        generate(llava, inputs, use_cache=cache)
    assert len(moved) == STEPS
    for step, found in enumerate(moved):
        fed = torch.full((len(ids), step), kind != "prompt")
        expected = torch.cat([prompt, fed], dim=1) if not cache or step == 0 else fed[:, -1:]
        assert torch.equal(found, expected), (kind, step)


def test_positions_per_row(llava: LoadedModel) -> None:
    """Each row of one batch has its own kind."""
    inputs = encode_requests(llava, [r for r in requests() for _ in range(2)])
    ids = inputs["input_ids"]
    kinds = list(POSITIONS)
    with observed(llava, LAYER, Intervention(vector(), LAYER, 0.7, kinds)) as moved:
        generate(llava, inputs)
    prompt = torch.stack([prompt_positions(llava, kind, ids)[row] for row, kind in enumerate(kinds)])
    assert torch.equal(moved[0], prompt)
    for found in moved[1:]:
        assert found[:, 0].tolist() == [kind != "prompt" for kind in kinds]


def test_only_rows_with_alpha_and_this_layer_are_written(llava: LoadedModel) -> None:
    """A row at another layer, and a row at alpha 0, leave this block's output bit for bit."""
    inputs = encode_requests(llava, requests())
    with observed(llava, LAYER, Intervention(vector(), [LAYER, 0, LAYER], [0.7, 0.7, 0.0])) as moved:
        generate(llava, inputs)
    assert torch.stack([found.any(dim=1) for found in moved]).tolist() == [[True, False, False]] * STEPS


@pytest.mark.parametrize("kind", POSITIONS)
def test_positions_in_a_plain_forward_with_right_padding(llava: LoadedModel, kind: str) -> None:
    """Outside `generate` a pass is all prompt; its last token is the last real one, wherever the padding stands."""
    left = encode_requests(llava, requests())
    real = [row[mask.bool()] for row, mask in zip(left["input_ids"], left["attention_mask"], strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(real, batch_first=True, padding_value=llava.tokenizer.pad_token_id)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(r) for r in real], batch_first=True)
    assert not mask.all()
    expected = torch.zeros_like(ids, dtype=torch.bool)
    for r, row in enumerate(real):
        expected[r, : len(row)] = prompt_positions(llava, kind, row[None])[0]
    spec = Intervention(vector(), LAYER, 0.7, kind)

    def run() -> list[Tensor]:
        with observed(llava, LAYER, spec) as moved, torch.no_grad():
            llava.model(input_ids=ids, attention_mask=mask, pixel_values=left["pixel_values"])
        return moved

    if kind == "decode":
        with pytest.raises(InterventionError, match="changed nothing"):
            run()
    else:
        (found,) = run()
        assert torch.equal(found, expected)


def test_the_write_keeps_norms_and_is_the_equation(llava: LoadedModel) -> None:
    """Inside the model: what the next block receives is Eq. 8-9 of this block's output."""
    inputs = encode_requests(llava, requests()[:1])
    before: list[Tensor] = []
    after: list[Tensor] = []
    handles = [
        llava.layers[LAYER].register_forward_hook(lambda _module, _args, output: before.append(output.clone())),
        llava.layers[LAYER + 1].register_forward_pre_hook(lambda _module, args: after.append(args[0].clone())),
    ]
    try:
        with Intervention(vector(), LAYER, 0.7).applied_to(llava.model):
            generate(llava, inputs, steps=1)
    finally:
        for handle in handles:
            handle.remove()
    h = before[0].double()
    moved = h + 0.7 * vector().double()
    expected = moved * h.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(after[0].double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after[0].double().norm(dim=-1), h.norm(dim=-1), rtol=1e-5, atol=0)


# -- what is generated -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", POSITIONS)
def test_cache_on_and_off_give_the_same_tokens(llava: LoadedModel, kind: str) -> None:
    """And for at least one row tokens that differ from the unsteered ones."""
    inputs = encode_requests(llava, requests())
    with Intervention(vector(), LAYER, 0.9, kind).applied_to(llava.model):
        cached = generate(llava, inputs, steps=8)
        uncached = generate(llava, inputs, steps=8, use_cache=False)
    assert torch.equal(cached, uncached)
    assert not torch.equal(cached, generate(llava, inputs, steps=8))


def mixed_settings(count: int) -> tuple[Tensor, list[int], list[float], list[str]]:
    """`count` rows of different vectors, layers, alphas (some 0) and positions."""
    vectors = torch.stack([vector(seed) for seed in range(count)])
    layers = [i % families.LAYERS for i in range(count)]
    alphas = [(0.4, 0.9, 0.0, 1.5)[i % 4] for i in range(count)]
    return vectors, layers, alphas, [POSITIONS[i % len(POSITIONS)] for i in range(count)]


@pytest.mark.parametrize("padded", [True, False])
def test_mixed_rows_equal_single_rows(llava: LoadedModel, padded: bool) -> None:
    """A batch of 12 different rows is, token for token, 12 runs of one row under one plain intervention."""
    asked = [requests()[i % 3 if padded else 0] for i in range(12)]
    vectors, layers, alphas, kinds = mixed_settings(12)
    inputs = encode_requests(llava, asked)
    assert padded is not bool(inputs["attention_mask"].all())
    with Intervention(vectors, layers, alphas, kinds).applied_to(llava.model):
        together = generate(llava, inputs, steps=8)
    plain = generate(llava, inputs, steps=8)
    differs = []
    for row, request in enumerate(asked):
        alone = encode_requests(llava, [request])
        with Intervention(vectors[row], layers[row], alphas[row], kinds[row]).applied_to(llava.model):
            single = generate(llava, alone, steps=8)[0]
        assert together[row].tolist() == single.tolist(), (row, layers[row], alphas[row], kinds[row])
        differs.append(not torch.equal(together[row], plain[row]))
        assert alphas[row] > 0 or not differs[row]
    assert sum(differs) >= 6


def test_alpha_zero_is_the_unsteered_model(llava: LoadedModel) -> None:
    """Logits and all, bit for bit."""
    inputs = encode_requests(llava, requests())

    def logits() -> Tensor:
        with torch.no_grad():
            options = {"output_logits": True, "return_dict_in_generate": True, "do_sample": False}
            return torch.stack(llava.model.generate(**inputs, max_new_tokens=STEPS, min_new_tokens=STEPS, **options).logits)

    plain = logits()
    with Intervention(vector(), LAYER, [0.0, 0.0, 0.0]).applied_to(llava.model):
        assert torch.equal(logits(), plain)
    with Intervention(vector(), LAYER, 0.7).applied_to(llava.model):
        assert not torch.equal(logits(), plain)
    assert torch.equal(logits(), plain)


def test_consecutive_generations_do_not_share_positions(llava: LoadedModel) -> None:
    """One block around prompts of several lengths and batch sizes: each gives what a block of its own gives."""
    batches = [requests()[1:], requests()[:1], requests(), requests()[2:]]
    spec = Intervention(vector(), LAYER, 0.9, "generated")
    own = []
    for batch in batches:
        with spec.applied_to(llava.model):
            own.append(generate(llava, encode_requests(llava, batch)))
    with spec.applied_to(llava.model):
        for batch, expected in zip(batches, own, strict=True):
            assert torch.equal(generate(llava, encode_requests(llava, batch)), expected)


def test_nested_interventions_both_write(llava: LoadedModel) -> None:
    """The outer one is back in force when the inner one ends."""
    inputs = encode_requests(llava, requests())
    outer, inner = Intervention(vector(0), 0, 0.9), Intervention(vector(1), 2, 0.9)
    with outer.applied_to(llava.model):
        alone = generate(llava, inputs, steps=8)
        with inner.applied_to(llava.model):
            both = generate(llava, inputs, steps=8)
        again = generate(llava, inputs, steps=8)
    with inner.applied_to(llava.model):
        other = generate(llava, inputs, steps=8)
    assert torch.equal(alone, again)
    assert not torch.equal(both, alone)
    assert not torch.equal(both, other)


def test_beams_under_settings_for_all_rows(llava: LoadedModel) -> None:
    """Settings that hold for any row serve beam search too, as the error for per-row settings advises."""
    inputs = encode_requests(llava, requests())
    per_row = Intervention(vector().expand(3, -1), LAYER, 0.9)
    with pytest.raises(InterventionError, match="beams"), per_row.applied_to(llava.model):
        generate(llava, inputs, num_beams=2)
    plain = generate(llava, inputs, steps=8, num_beams=2)
    with Intervention(vector(), LAYER, 0.9).applied_to(llava.model):
        steered = generate(llava, inputs, steps=8, num_beams=2)
    assert steered.shape == plain.shape
    assert not torch.equal(steered, plain)


# -- what is refused -------------------------------------------------------------------------------------------------


def test_an_intervention_without_effect_is_an_error(llava: LoadedModel) -> None:
    """No token at its positions, or a vector of zeros: never a silent baseline."""
    inputs = encode_requests(llava, requests())
    with (
        pytest.raises(InterventionError, match="3 of 3 rows"),
        Intervention(vector(), LAYER, 0.7, "decode").applied_to(llava.model),
    ):
        generate(llava, inputs, steps=1)
    zero = torch.zeros(families.WIDTH)
    with pytest.raises(InterventionError, match="changed nothing"), Intervention(zero, LAYER, 0.7).applied_to(llava.model):
        generate(llava, inputs)
    vectors = torch.stack([vector(), zero, zero])
    with pytest.raises(InterventionError, match="1 of 3 rows.*row 1"):  # noqa: SIM117
        with Intervention(vectors, LAYER, [0.7, 0.7, 0.0]).applied_to(llava.model):
            generate(llava, inputs)
    with pytest.raises(InterventionError, match="changed nothing"), Intervention(vector(), LAYER, 0.7).applied_to(llava.model):
        pass


def test_a_batch_that_does_not_tell_its_padding_is_an_error(llava: LoadedModel) -> None:
    """In a plain forward and in `generate`; a single row needs no mask."""
    inputs = encode_requests(llava, requests())
    bare = {name: value for name, value in inputs.items() if name != "attention_mask"}
    spec = Intervention(vector(), LAYER, 0.7)
    with pytest.raises(InterventionError, match="attention mask"), spec.applied_to(llava.model), torch.no_grad():
        llava.model(**bare)
    with pytest.raises(InterventionError, match="attention mask"), spec.applied_to(llava.model):
        generate(llava, bare)
    alone = encode_requests(llava, requests()[:1])
    with spec.applied_to(llava.model), torch.no_grad():
        masked = llava.model(**alone).logits
        del alone["attention_mask"]
        assert torch.equal(llava.model(**alone).logits, masked)


def test_passes_that_cannot_be_steered_are_errors(llava: LoadedModel) -> None:
    """Another number of rows, several tokens after a cache, embeddings without ids, a part of the model by itself."""
    inputs = encode_requests(llava, requests())
    spec = Intervention(vector(), LAYER, 0.7)
    with pytest.raises(InterventionError, match="2 rows"), Intervention(vector(), [0, 1]).applied_to(llava.model):
        generate(llava, inputs)
    embeds = torch.randn(1, 3, families.WIDTH)
    with torch.no_grad():
        with pytest.raises(InterventionError, match="input_ids"), spec.applied_to(llava.model):
            llava.model(inputs_embeds=embeds)
        with pytest.raises(InterventionError, match="outside"), spec.applied_to(llava.model):
            llava.model.model.language_model(inputs_embeds=embeds)
        alone = encode_requests(llava, requests()[:1])
        with pytest.raises(InterventionError, match="Several tokens"), spec.applied_to(llava.model):
            cache = llava.model(**alone, use_cache=True).past_key_values
            llava.model(input_ids=torch.tensor([[10, 11]]), past_key_values=cache)


def test_bad_settings_are_user_errors(llava: LoadedModel) -> None:
    """Each names the value; unknown positions name the nearest."""
    bad = [
        ({"alpha": -0.1}, "-0.1"),
        ({"alpha": float("nan")}, "nan"),
        ({"alpha": float("inf")}, "inf"),
        ({"alpha": [0.5, -1.0]}, "-1.0"),
        ({"positions": "al"}, "did you mean all"),
        ({"positions": ["all", "image"]}, "image"),
        ({"layer": [0, 1], "alpha": [0.1, 0.2, 0.3]}, "different lengths"),
    ]
    for settings, message in bad:
        with pytest.raises(UserError, match=message):
            Intervention(**({"vector": vector(), "layer": LAYER} | settings))  # type: ignore[arg-type]
    for wrong in (torch.full((families.WIDTH,), float("nan")), torch.zeros(1, 1, families.WIDTH)):
        with pytest.raises(UserError, match="finite, of shape"):
            Intervention(wrong, LAYER)
    for spec, message in (
        (Intervention(torch.ones(families.WIDTH + 1), LAYER), f"{families.WIDTH + 1}.*{families.WIDTH}"),
        (Intervention(vector(), families.LAYERS), f"Layer {families.LAYERS}.*0 … {families.LAYERS - 1}"),
        (Intervention(vector(), -1), "Layer -1"),
        (Intervention(vector(), [0, 99, 1]), "Layer 99"),
    ):
        with pytest.raises(UserError, match=message), spec.applied_to(llava.model):
            pass


# -- what is left behind ---------------------------------------------------------------------------------------------


def hooks(model: Any) -> int:
    """The number of hooks on all modules."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_nothing_is_left_on_the_model(llava: LoadedModel) -> None:
    """No hook, `generate` as it was, the same tokens as before; also after errors inside and on leaving."""
    inputs = encode_requests(llava, requests())
    before, plain = hooks(llava.model), generate(llava, inputs)
    spec = Intervention(vector(), LAYER, 0.7)
    with spec.applied_to(llava.model):
        generate(llava, inputs)
        assert hooks(llava.model) > before
    with pytest.raises(ZeroDivisionError), spec.applied_to(llava.model):
        raise ZeroDivisionError
    with pytest.raises(InterventionError), spec.applied_to(llava.model):
        pass
    with pytest.raises(InterventionError), Intervention(vector(), [0, 1]).applied_to(llava.model):
        generate(llava, inputs)
    with pytest.raises(UserError), Intervention(vector(), 99).applied_to(llava.model):
        pass
    assert hooks(llava.model) == before
    assert "generate" not in vars(llava.model)
    assert torch.equal(generate(llava, inputs), plain)


def test_a_generate_of_the_users_own_is_put_back(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance attribute survives, and is what runs inside."""
    calls: list[int] = []
    original = llava.model.generate

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(llava.model, "generate", counted)
    with Intervention(vector(), LAYER, 0.7).applied_to(llava.model):
        generate(llava, encode_requests(llava, requests()))
    assert llava.model.generate is counted
    assert calls == [1]


def test_usable_without_hydra() -> None:
    """Importing everything in the two packages loads none of the experiment's dependencies."""
    code = (
        "import importlib, pkgutil, sys, l2v.transfer, l2v.steering\n"
        "names = [m.name for p in (l2v.transfer, l2v.steering) for m in pkgutil.iter_modules(p.__path__, p.__name__ + '.')]\n"
        "assert len(names) >= 7, names\n"
        "[importlib.import_module(n) for n in names]\n"
        "print(sorted({'hydra', 'omegaconf', 'wandb', 'lm_eval', 'datasets', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
