"""The engine on tiny random checkpoints of the target families, with their own processors."""

from __future__ import annotations

import itertools
from typing import Any

import families
import pytest
import torch

from l2v.errors import UserError
from l2v.steering.engine import Decoding, Request, Steering, encode_requests, generate_rows, require_effect
from l2v.steering.models import LoadedModel, ModelSpec, image_token_ids, load_model, read_facts

STEPS = 8


@pytest.fixture(scope="module", params=sorted(families.FAMILIES))
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Each family in turn, saved and loaded."""
    return families.load(request.param, tmp_path_factory.mktemp(request.param))


def requests() -> list[Request]:
    """Pictures of three shapes, two in one question, and none: prompts of different lengths."""
    words, picture = families.question, families.picture
    return [
        Request("wide", f"<image>{words(4)}", (picture(56, 28, 0),)),
        Request("tall", f"{words(9, 1)} <image> {words(3, 2)}", (picture(20, 44, 1),)),
        Request("two", f"<image> w1 <image> {words(2, 3)}", (picture(28, 28, 2), picture(60, 30, 3))),
        Request("none", words(6, 4)),
    ]


def steering(seed: int, layer: int, alpha: float) -> Steering:
    """A vector about as long as the tiny models' states."""
    return Steering(3 * torch.randn(families.WIDTH, generator=torch.Generator().manual_seed(seed)), layer, alpha)


def test_mixed_rows_equal_single_requests(target: LoadedModel, oracle: Any) -> None:
    """Mixed pictures, padding, layers and alphas in one batch, and each request several times: token for token what
    Hugging Face gives for one request under a plain hook, and not what it gives unsteered.
    """
    settings = [steering(0, 0, 0.8), None, steering(1, 2, 0.5)]
    rows = [(request, s) for s, request in itertools.product(settings, requests())]
    inputs = encode_requests(target, [request for request, _ in rows])
    assert not inputs["attention_mask"].all()
    assert inputs["attention_mask"][:, -1].all()
    answers = generate_rows(target, rows, Decoding(STEPS))
    end = target.tokenizer.eos_token_id
    for (request, s), answer in zip(rows, answers, strict=True):
        ids = oracle(target, request, None if s is None else (s.vector, s.layer, s.alpha), STEPS)
        text = target.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)
        assert (answer.text, answer.tokens) == (text, len(ids)), (request.id, s and s.layer)
    plain = answers[4:8]
    assert len({answer.text for answer in plain}) >= 3
    assert sum(answer != plain[i % 4] for i, answer in enumerate(answers)) >= 4


def test_pictures_matter(target: LoadedModel) -> None:
    """The same question with another picture of the same shape is another answer: the images reach the decoder."""
    rows = [(Request("a", "<image> w1 w2", (families.picture(40, 40, seed),)), None) for seed in range(4)]
    assert len({answer.text for answer in generate_rows(target, rows, Decoding(STEPS))}) > 1


def test_image_tokens_are_found(target: LoadedModel) -> None:
    """Every image position of the prompt, and none of a question without images, has an id that the model names."""
    ids = encode_requests(target, requests())["input_ids"]
    images = torch.isin(ids, torch.tensor(image_token_ids(target.model))).sum(dim=1).tolist()
    assert all(count >= 3 for count in images[:3])
    assert images[3] == 0
    with_image = generate_rows(target, [(requests()[0], Steering(*text_only()))], Decoding(STEPS))
    assert with_image[0].tokens >= 1


def text_only() -> tuple[torch.Tensor, int, float, str]:
    """Settings that write to all but image tokens."""
    one = steering(0, 1, 0.8)
    return one.vector, one.layer, one.alpha, "text"


def test_every_layer_has_an_effect(target: LoadedModel) -> None:
    """The blocks that were found are the ones that the answer goes through."""
    assert len(target.layers) == families.LAYERS
    require_effect(target, requests()[0], [steering(0, layer, 0.3) for layer in range(families.LAYERS)])


def test_facts_agree_with_the_model(target: LoadedModel) -> None:
    """Depth and width read from the config alone are those of the loaded model."""
    facts = read_facts(target.spec)
    assert (facts.layers, facts.width) == (len(target.layers), target.width) == (families.LAYERS, families.WIDTH)


def test_models_that_cannot_be_loaded_are_user_errors(llava: LoadedModel, tmp_path: Any) -> None:
    """A missing folder, an empty one, an unknown dtype: one sentence that names it."""
    with pytest.raises(UserError, match="does not exist"):
        load_model(ModelSpec("tests/none", path=str(tmp_path / "none")), "vision")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_model(ModelSpec("tests/empty", path=str(tmp_path)), "vision")
    with pytest.raises(UserError, match="bfloat16"):
        load_model(ModelSpec("tests/llava", path=llava.spec.path, dtype="bfloat"), "vision")
