"""Decoders that ask more of the engine: what it takes apart is token for token what one row alone gets, and so is the rest."""

from __future__ import annotations

import dataclasses

import families
import odd_families
import pytest
import test_engine as plain
import torch

from l2v.steering.engine.engine import Decoding, Engine, Row, Steering, generate_rows
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
    settings = [None, plain.steering(1, 0, 0.8), plain.steering(2, 1, 0.8, "generated")]
    return [(request, s) for s in settings for request in plain.requests()]


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
    asked: list[Row] = [(request, None) for request in plain.requests()]
    together = generate_rows(target, asked, Decoding(STEPS))
    assert together != [generate_rows(target, [row], Decoding(STEPS))[0] for row in asked]


def test_a_prompt_is_held_once(llava: LoadedModel) -> None:
    """Eight cells at generated tokens: rows hold their own tokens alone, and the answers are the same."""
    request = dataclasses.replace(plain.requests()[0], text=f"<image>{families.question(60)}")
    asked: list[Row] = [(request, Steering(plain.steering(i, 1, 0.8).vector, 1, 0.8, "generated")) for i in range(8)]
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
