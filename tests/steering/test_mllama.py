"""Llama 3.2 Vision as a target: its cross-attending blocks make it a family of its own."""

from __future__ import annotations

from typing import Any

import families
import pytest
import torch

from l2v.steering.engine.engine import Decoding, Request, Steering, generate_rows
from l2v.steering.models import LoadedModel, image_token_ids

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


def test_pictures_matter(target: LoadedModel) -> None:
    """They do not stand among the tokens, and still the answer depends on them."""
    rows = [(Request("a", "<image> w1 w2", (families.picture(40, 40, seed),)), None) for seed in range(4)]
    assert len({answer.text for answer in generate_rows(target, rows, Decoding(STEPS))}) > 1
    assert len(image_token_ids(target.model)) == 1
