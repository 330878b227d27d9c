"""Decoders that ask more of the engine: what it takes apart is token for token what one row alone gets, and so is the rest."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import families
import odd_families
import pytest
import test_engine as plain
import torch

from l2v.errors import UserError
from l2v.steering.engine.engine import Decoding, Engine, Row, Steering, generate_rows, require_effect
from l2v.steering.models import LoadedModel

STEPS = 8
# Answered by their own generate, and why.
REFUSED = {"phi3_longrope": "the length of the longest row", "glm_moe_dsa": "indexed_attention"}


@pytest.fixture(scope="module", params=sorted(odd_families.ODD))
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, LoadedModel]:
    """Each in turn, saved and loaded."""
    return request.param, odd_families.load(request.param, tmp_path_factory.mktemp(request.param))


def rows() -> list[Row]:
    """Prompts shorter and longer than the windows of these decoders, steered everywhere, at the last token and not at all."""
    settings = [None, families.steering(1, 0, 0.8), families.steering(2, 1, 0.8, "generated")]
    return [(request, s) for s in settings for request in families.requests()]


def test_every_row_is_what_it_is_alone(odd: tuple[str, LoadedModel]) -> None:
    """Sliding windows, two rotary bases, complex rotations; and where neighbours could matter, none do."""
    name, target = odd
    asked, told = rows(), list[str]()
    expected = [generate_rows(target, [row], Decoding(STEPS))[0] for row in asked]
    for share_from in (0, None)[: 1 if name in REFUSED else 2]:
        found = Engine(target, Decoding(STEPS), max_rows=7, tell=told.append, share_from=share_from).answer(asked)
        assert [response for _, response in sorted(found)] == expected
    assert len({response.text for response in expected}) > len(asked) // 2
    if name in REFUSED:
        assert len(told) == 1
        assert REFUSED[name] in told[0]
        assert "alone" in told[0]
    else:
        assert told == []


def test_neighbours_do_matter_to_generate(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The trap above is set: in one padded batch this decoder's answers are others than alone."""
    target = odd_families.load("phi3_longrope", tmp_path_factory.mktemp("longrope"))
    asked: list[Row] = [(request, None) for request in families.requests()]
    together = generate_rows(target, asked, Decoding(STEPS))
    assert together != [generate_rows(target, [row], Decoding(STEPS))[0] for row in asked]


def test_a_prompt_is_held_once(llava: LoadedModel) -> None:
    """Eight cells at generated tokens: rows hold their own tokens alone, and the answers are the same."""
    request = dataclasses.replace(families.requests()[0], text=f"<image>{families.question(60)}")
    asked: list[Row] = [(request, Steering(families.steering(i, 1, 0.8).vector, 1, 0.8, "generated")) for i in range(8)]
    held = {share: _most_bytes(llava, asked, share) for share in (0, None)}
    assert held[0][1] == held[None][1]
    tokens, new = 65, 8
    assert held[0][0] <= held[None][0] * (tokens + 8 * (new + 1)) / (8 * (tokens + new)) * 1.1


def _most_bytes(target: LoadedModel, asked: list[Row], share_from: int | None) -> tuple[int, list[object]]:
    """The most bytes of keys and values that were held after any step, and the answers."""
    from l2v.steering.engine.stepper import Stepper

    most, step = [0], Stepper.step

    def watched(self: Stepper, tokens: torch.Tensor) -> torch.Tensor:
        logits = step(self, tokens)
        most[0] = max(most[0], self.held_bytes)
        return logits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "step", watched)
        found = sorted(Engine(target, Decoding(8), share_from=share_from).answer(asked), key=lambda pair: pair[0])
    return most[0], [response for _, response in found]


# -- what a model cannot answer, and what its processor says too much ------------------------------------------------------


def test_a_question_that_generate_refuses_is_one_sentence(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """As BLIP-2's own, which demands pixel values: told with the question's id, steered or not."""
    own = llava.model.generate

    def demanding(*args: Any, **inputs: Any) -> Any:
        if "pixel_values" not in inputs:
            raise TypeError("generate() missing 1 required positional argument: 'pixel_values'")
        return own(*args, **inputs)

    target = dataclasses.replace(llava, model=copy.copy(llava.model))
    monkeypatch.setattr(target.model, "generate", demanding)
    with_picture, without = families.requests()[0], families.requests()[3]
    list(Engine(target, Decoding(2), tell=lambda _: None).answer([(with_picture, None)]))
    with pytest.raises(UserError, match="'none', which has no picture.*pixel_values"):
        list(Engine(target, Decoding(2), tell=lambda _: None).answer([(without, None)]))
    with pytest.raises(UserError, match="'none', which has no picture"):
        require_effect(target, without, [families.steering(0, 1, 0.8)])


def test_inputs_that_the_model_does_not_know_are_left_out(llava: LoadedModel) -> None:
    """Ovis2's processor returns `grids`, which its generate refuses."""
    processor = copy.copy(llava.processor)

    class Talkative(type(processor)):  # type: ignore[misc]
        def __call__(self, *args: Any, **options: Any) -> Any:
            return dict(super().__call__(*args, **options)) | {"grids": [(1, 1)]}

    processor.__class__ = Talkative
    target = dataclasses.replace(llava, processor=processor)
    asked: list[Row] = [(request, None) for request in families.requests()]
    assert generate_rows(target, asked, Decoding(STEPS)) == generate_rows(llava, asked, Decoding(STEPS))


def test_another_attention_is_run_as_sdpa(llava: LoadedModel) -> None:
    """Kernels that take no four-dimensional mask, as flash attention: the blocks are called with one that does."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register("another", sdpa_attention_forward)
    AttentionMaskInterface.register("another", sdpa_mask)
    model = copy.deepcopy(llava.model)
    model.set_attn_implementation("another")
    target = dataclasses.replace(llava, model=model, layers=model.get_decoder().layers)
    asked = rows()
    expected = generate_rows(target, asked, Decoding(STEPS))
    assert plain.answers(target, asked, Decoding(STEPS)) == expected
    assert model.get_decoder().config._attn_implementation == "another"
