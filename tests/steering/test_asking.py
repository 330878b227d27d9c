"""Earlier turns and a least length, in the engine and in the model's own generate."""

from __future__ import annotations

from functools import partial

import families
import pytest
import torch

from l2v.errors import UserError
from l2v.steering.engine.engine import Decoding, Engine, Request, Row, Steering, generate_rows
from l2v.steering.models import LoadedModel
from l2v.steering.prompts import chat_prompt


def rows(loaded: LoadedModel) -> list[Row]:
    vector = torch.randn(loaded.width, generator=torch.Generator().manual_seed(0))
    steering = Steering(vector, 1, 0.8)
    asked = [
        Request("plain", families.question(5), (families.picture(40, 30),)),
        Request("after turns", families.question(5), (families.picture(40, 30),), history=(("w1 w2", "w3"), ("w4", "w5 w6"))),
        Request("text", families.question(9, 3), history=(("w7", "w8"),)),
    ]
    return [(request, write) for request in asked for write in (None, steering)]


@pytest.mark.parametrize("least", [0, 7])
def test_engine_and_generate_agree(least: int, llava: LoadedModel) -> None:
    decoding = Decoding(12, min_new_tokens=least)
    expected = [answer for row in rows(llava) for answer in generate_rows(llava, [row], decoding)]
    found = dict(Engine(llava, decoding, max_rows=4).answer(rows(llava)))
    assert [found[i] for i in range(len(expected))] == expected
    assert min(answer.tokens for answer in expected) >= least


def test_an_early_end_is_put_off(llava: LoadedModel) -> None:
    """A model that would end at once: its end token becomes the likeliest everywhere."""
    head = llava.model.get_output_embeddings()
    end = llava.tokenizer.eos_token_id
    kept = head.weight.detach().clone()
    try:
        with torch.no_grad():
            head.weight[end] = kept.sum(dim=0) * 0 + 50 * kept[: llava.width].mean(dim=0).sign()
        decoding = Decoding(9, min_new_tokens=5)
        found = dict(Engine(llava, decoding).answer(rows(llava)))
        expected = generate_rows(llava, rows(llava), decoding)
        assert [found[i].tokens for i in range(len(expected))] == [answer.tokens for answer in expected]
        assert min(answer.tokens for answer in expected) >= 5
    finally:
        with torch.no_grad():
            head.weight.copy_(kept)


@pytest.mark.parametrize("least", [0, 3, 6])
def test_the_tokenizers_end_counts_where_the_generation_config_has_none(
    least: int, llava: LoadedModel, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """In the engine and in `generate` alike; a least length puts it off in both."""
    monkeypatch.setattr(llava.model.generation_config, "eos_token_id", None)
    request.addfinalizer(partial(setattr, llava.tokenizer, "eos_token", llava.tokenizer.eos_token))
    llava.tokenizer.eos_token = "w63"  # a word that is often said
    decoding = Decoding(12, min_new_tokens=least)
    asked: list[Row] = [(Request(str(i), families.question(4, i), (families.picture(40, 30, i),)), None) for i in range(30)]
    expected = generate_rows(llava, asked, decoding)
    found = dict(Engine(llava, decoding, max_rows=8).answer(asked))
    assert [found[i] for i in range(30)] == expected
    lengths = [answer.tokens for answer in expected]
    assert least <= min(lengths) < 12  # some end by it
    assert not least or len(set(lengths)) > 1


def test_a_template_that_raises_is_one_sentence(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llava.processor, "chat_template", "{{ raise_exception('turns must alternate') }}")
    with pytest.raises(UserError, match="chat template of .* fails: turns must alternate"):
        chat_prompt(llava, "w9", 0)


def test_earlier_turns_change_the_prompt_and_are_all_in_it(llava: LoadedModel) -> None:
    plain = chat_prompt(llava, "w9", 0)
    told = chat_prompt(llava, "w9", 0, history=(("w1 w2", "w3"),))
    assert told != plain and all(text in told for text in ("w1 w2", "w3", "w9"))


def test_a_least_length_above_the_limit_is_refused() -> None:
    with pytest.raises(UserError, match="min_new_tokens=9"):
        Decoding(5, min_new_tokens=9)
