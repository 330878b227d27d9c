"""Llama 3.2 Vision as a target: its cross-attending blocks make it a family of its own."""

from __future__ import annotations

from typing import Any

import families
import pytest
import torch

from l2v.steering.engine.engine import Decoding, Engine, Request, Steering, generate_rows
from l2v.steering.models import LoadedModel, image_token_ids
from l2v.transfer.contrast import Chat, Pair
from l2v.transfer.extract import extract

STEPS = 6


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny random one."""
    return families.load("mllama", tmp_path_factory.mktemp("mllama"))


def test_rows_equal_single_requests(target: LoadedModel, oracle: Any) -> None:
    """Plain and steered at every block, the cross-attending one too, in one batch of prompts of different lengths: what
    Hugging Face gives for one request under a plain hook."""
    asked = [
        Request("a", f"<image>{families.question(5)}", (families.picture(56, 28, 0),)),
        Request("b", f"<image>{families.question(9, 1)}", (families.picture(20, 44, 1),)),
    ]
    vector = 3 * torch.randn(families.WIDTH, generator=torch.Generator().manual_seed(0))
    settings = [None, *(Steering(vector, layer, 0.8) for layer in range(families.LAYERS))]
    rows = [(request, s) for s in settings for request in asked]
    answers = generate_rows(target, rows, Decoding(STEPS))
    end = target.tokenizer.eos_token_id
    for (request, s), answer in zip(rows, answers, strict=True):
        ids = oracle(target, request, None if s is None else (s.vector, s.layer, s.alpha), STEPS)
        text = target.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)
        assert (answer.text, answer.tokens) == (text, len(ids)), (request.id, s and s.layer)
    assert all(answers[2 * i : 2 * i + 2] != answers[:2] for i in range(1, len(settings)))


def test_rows_without_a_picture(target: LoadedModel, oracle: Any) -> None:
    """The cross-attending block is left out; a write after it is one before the next block, and the engine falls back.

    The oracle writes after block 0 instead, whose output is what passes the block that is left out.
    """
    asked = [Request(str(n), families.question(n, n)) for n in (4, 9)]
    vector = 3 * torch.randn(families.WIDTH, generator=torch.Generator().manual_seed(0))
    told: list[str] = []
    settings = [None, *(Steering(vector, layer, 0.8) for layer in range(families.LAYERS))]
    rows = [(request, s) for s in settings for request in asked]
    found = dict(Engine(target, Decoding(STEPS), tell=told.append).answer(rows))
    end = target.tokenizer.eos_token_id
    for place, (request, s) in enumerate(rows):
        write = None if s is None else (s.vector, 0 if s.layer == 1 else s.layer, s.alpha)
        ids = oracle(target, request, write, STEPS)
        assert found[place].text == target.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids), (
            request.id,
            s and s.layer,
        )
    assert found[0] != found[4]
    assert len(told) == 1


def test_directions_of_texts_pass_the_block_that_is_left_out(target: LoadedModel) -> None:
    """Its state is that of the block before."""
    pairs = [Pair(Chat(families.question(n, n), families.question(2 * n, 7)), Chat(families.question(n, n))) for n in (2, 5)]
    mean = extract(target.model, target.tokenizer, target.layers, pairs, tokenizer_bos=True).mean
    assert torch.equal(mean[1], mean[0])
    assert not torch.equal(mean[2], mean[1])


def test_pictures_matter(target: LoadedModel) -> None:
    """They do not stand among the tokens, and still the answer depends on them."""
    rows = [(Request("a", "<image> w1 w2", (families.picture(40, 40, seed),)), None) for seed in range(4)]
    assert len({answer.text for answer in generate_rows(target, rows, Decoding(STEPS))}) > 1
    assert len(image_token_ids(target.model)) == 1
