"""The engine on tiny random checkpoints of the target families, with their own processors."""

from __future__ import annotations

import inspect
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import families
import pytest
import torch

from l2v.errors import UserError
from l2v.steering.engine.engine import Decoding, Request, Steering, encode_requests, generate_rows, require_effect
from l2v.steering.models import LoadedModel, ModelSpec, image_token_ids, load_model, read_facts
from l2v.transfer.contrast import Chat, Pair
from l2v.transfer.extract import extract

STEPS = 8


@pytest.fixture(scope="module", params=sorted(families.FAMILIES))
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Each family in turn, saved and loaded."""
    return families.load(request.param, tmp_path_factory.mktemp(request.param))


def steering(seed: int, layer: int, alpha: float) -> Steering:
    """A vector about as long as the tiny models' states."""
    return Steering(3 * torch.randn(families.WIDTH, generator=torch.Generator().manual_seed(seed)), layer, alpha)


def test_mixed_rows_equal_single_requests(target: LoadedModel, oracle: Any) -> None:
    """Mixed pictures, padding, layers and alphas in one batch, and each request several times: token for token what
    Hugging Face gives for one request under a plain hook, and not what it gives unsteered.
    """
    settings = [steering(0, 0, 0.8), None, steering(1, 2, 0.5)]
    rows = [(request, s) for s, request in itertools.product(settings, families.requests())]
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


def test_image_tokens_are_as_many_as_image_features(target: LoadedModel) -> None:
    """Image positions are the placeholders that features take the place of, no more (markers around them are text, with an
    embedding of their own) and no fewer; a question without images has none.
    """
    inputs = encode_requests(target, families.requests())
    images = torch.isin(inputs["input_ids"], torch.tensor(image_token_ids(target.model))).sum(dim=1)
    get_features = target.model.model.get_image_features
    visual = {name: inputs[name] for name in inspect.signature(get_features).parameters if name in inputs}
    features = get_features(**visual).pooler_output
    assert int(images.sum()) == sum(len(one.flatten(0, -2)) for one in features)
    assert images.tolist()[3] == 0
    assert min(images.tolist()[:3]) >= 3


def test_markers_around_images_are_text(target: LoadedModel) -> None:
    """`positions=text` writes to them: they are no placeholders."""
    markers = (
        "<|vision_start|>",
        "<|vision_end|>",
        "<img>",
        "</img>",
        "<fake_token_around_image>",
        "<global-img>",
        "<row_1_col_1>",
    )
    known = [m for m in markers if m in target.tokenizer.get_vocab()]
    assert not set(target.tokenizer.convert_tokens_to_ids(known)) & set(image_token_ids(target.model))
    image = [m for m in ("<image>", "<|image_pad|>", "<IMG_CONTEXT>") if m in target.tokenizer.get_vocab()]
    assert target.tokenizer.convert_tokens_to_ids(image)[0] in image_token_ids(target.model)
    with_image = generate_rows(target, [(families.requests()[0], Steering(*text_only()))], Decoding(STEPS))
    assert with_image[0].tokens >= 1


def test_bos_stands_once_before_each_prompt(target: LoadedModel) -> None:
    """Whether the template writes it or leaves it to a tokenizer that adds its own (Idefics2), as in the processor's own
    way to the model, and padding, though the checkpoint pads on the right, comes before it.
    """
    saved = json.loads((Path(target.spec.where()) / "tokenizer_config.json").read_text())
    assert saved["padding_side"] == "right"
    assert target.tokenizer("w1")["input_ids"][0] == target.tokenizer.bos_token_id  # the trap is set
    inputs = encode_requests(target, families.requests())
    for request, ids, mask in zip(families.requests(), inputs["input_ids"], inputs["attention_mask"].bool(), strict=True):
        real = ids[mask].tolist()
        assert real.count(target.tokenizer.bos_token_id) == 1
        assert real[0] == target.tokenizer.bos_token_id
        assert mask.tolist() == sorted(mask.tolist())
        assert real == own_ids(target, request)


def own_ids(target: LoadedModel, request: Request) -> list[int]:
    """What the processor's `apply_chat_template` makes of one request."""
    content: list[dict[str, Any]] = []
    images = iter(request.images)
    for index, piece in enumerate(request.text.split("<image>")):
        content += [{"type": "image", "image": next(images)}] if index else []
        content += [{"type": "text", "text": piece}] if piece.strip() else []
    turns = [{"role": "user", "content": content}]
    inputs = target.processor.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    return inputs["input_ids"][0].tolist()


def test_nothing_is_truncated(target: LoadedModel, tmp_path: Path) -> None:
    """A checkpoint whose settings ask for truncation, as training leaves them, cuts neither words nor image tokens."""
    folder = Path(shutil.copytree(target.spec.where(), tmp_path / "copy"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "truncation": True, "max_length": 8}))
    cut = load_model(ModelSpec("tests/cut", path=str(folder), dtype="float32"), "vision")
    assert len(cut.processor(text=[families.question(20)])["input_ids"][0]) == 8  # the trap is set
    for name, value in encode_requests(target, families.requests()).items():
        assert torch.equal(encode_requests(cut, families.requests())[name], value), name


def test_a_prompt_above_the_context_is_refused(target: LoadedModel) -> None:
    """With its length and the limit."""
    with pytest.raises(UserError, match="exceeds the context.*1024"):
        encode_requests(target, [Request("long", families.question(1100))])


def test_a_template_that_loses_the_question_is_refused(target: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of asking about a picture alone."""
    monkeypatch.setattr(target.processor, "chat_template", "{{ bos_token }} assistant :")
    with pytest.raises(UserError, match="leaves out part of a question"):
        encode_requests(target, [Request("a", "w1 w2")])


def test_directions_of_the_target_itself(target: LoadedModel) -> None:
    """Final states of texts without pictures, padded into batches, are those of Hugging Face for one text: positions,
    of several dimensions too, do not move with padding.
    """
    pairs = [Pair(Chat(families.question(n, n), families.question(2 * n, 7)), Chat(families.question(n, n))) for n in (2, 5, 9)]
    found = extract(target.model, target.tokenizer, target.layers, pairs, tokenizer_bos=True)
    u = torch.stack([own_state(target, p.cot) - own_state(target, p.direct) for p in pairs])
    torch.testing.assert_close(found.mean[:-1], u.mean(dim=0), rtol=1e-4, atol=1e-4)
    assert float(found.mean.norm(dim=1).min()) > 0.1


def own_state(target: LoadedModel, chat: Chat) -> torch.Tensor:
    """(layers - 1, d): `hidden_states` at the last token, but for the last block, whose output transformers normalises."""
    turns = [{"role": t["role"], "content": [{"type": "text", "text": t["content"]}]} for t in chat.messages()]
    inputs = target.processor.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=chat.assistant is None
    )
    with torch.no_grad():
        states = target.model(**inputs, output_hidden_states=True).hidden_states
    return torch.stack([state[0, -1] for state in states[1:-1]])


def text_only() -> tuple[torch.Tensor, int, float, str]:
    """Settings that write to all but image tokens."""
    one = steering(0, 1, 0.8)
    return one.vector, one.layer, one.alpha, "text"


def test_every_layer_has_an_effect(target: LoadedModel) -> None:
    """The blocks that were found are the ones that the answer goes through."""
    assert len(target.layers) == families.LAYERS
    require_effect(target, families.requests()[0], [steering(0, layer, 0.3) for layer in range(families.LAYERS)])


def test_facts_agree_with_the_model(target: LoadedModel) -> None:
    """Depth and width read from the config alone are those of the loaded model."""
    facts = read_facts(target.spec)
    assert (facts.layers, facts.width) == (len(target.layers), target.width) == (families.LAYERS, families.WIDTH)
