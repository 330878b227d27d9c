"""Conversations as tokens and labels: the loss falls on the response and its terminator, whatever the template."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import families
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from l2v.errors import UserError
from l2v.finetune.data import IGNORED, collate, encode_examples, training_chats
from l2v.paths import PACKAGE
from l2v.steering.models import LoadedModel, ModelSpec, load_model
from l2v.transfer.contrast import Chat, ContrastQuestion, load_questions


def said(loaded: Any, chat: Chat) -> list[str]:
    """The tokens of a conversation that count in the loss."""
    row = encode_examples(loaded, [chat]).rows[0]
    assert len(row.ids) == len(row.labels)
    assert all(label in (token, IGNORED) for token, label in zip(row.ids, row.labels, strict=True))
    return [loaded.tokenizer.convert_ids_to_tokens(label) for label in row.labels if label != IGNORED]


@pytest.fixture(scope="module")
def mini() -> LoadedModel:
    """The miniature VLM."""
    return load_model(ModelSpec("l2v/mini-vlm", path=str(PACKAGE / "mini" / "checkpoints" / "vlm")), "vision")


def test_the_response_and_its_end(mini: LoadedModel) -> None:
    """On the miniature's own data: the steps and <eos>, nothing of the question; one BOS."""
    chat = training_chats(load_questions(str(PACKAGE / "mini" / "data" / "contrast.jsonl")))[0]
    assert said(mini, chat) == [*str(chat.assistant).split(), "<eos>"]
    row = encode_examples(mini, [chat]).rows[0]
    assert row.ids.count(mini.tokenizer.bos_token_id) == 1
    assert row.said == 22


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "idefics2"])
def test_a_template_without_an_end(name: str, tmp_path: Path) -> None:
    """The end token is added; BOS stands once where the tokenizer adds it and where the template writes it."""
    loaded = families.load(name, tmp_path)
    assert said(loaded, Chat("w1 w2", "w3 w4 w5")) == ["w3", "w4", "w5", "</s>"]
    ids = encode_examples(loaded, [Chat("w1 w2", "w3")]).rows[0].ids
    assert ids.count(loaded.tokenizer.bos_token_id) == 1
    assert loaded.tokenizer.convert_ids_to_tokens(ids)[0] == "<s>"


def byte_level(template: str) -> Any:
    """A byte-level BPE, whose tokens begin with the blank before a word."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(["USER: what is it ASSISTANT: so it is seven\n" * 50], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template=template)
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=512))
    return SimpleNamespace(
        tokenizer=tokenizer, processor=None, model=SimpleNamespace(config=config), spec=ModelSpec("tests/bpe")
    )


def test_tokens_that_begin_with_a_blank() -> None:
    """The first word of a response counts although its token reaches back; white space after the terminator does not."""
    loaded = byte_level(
        "{% for m in messages %}{{ m['role'].upper() }}: {{ m['content'] }}{% if m['role'] == 'assistant' %}</s>\n"
        "{% else %} {% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )
    pieces = said(loaded, Chat("what is it", "so it is seven"))
    assert "".join(pieces).replace("Ġ", " ") == " so it is seven</s>"


def test_templates_that_rewrite_a_response() -> None:
    """A thought that the template would drop is trained on, as it is read in contrasts (l2v/transfer/extract.py)."""
    loaded = byte_level(
        "{% for m in messages %}{{ m['role'].upper() }}: {{ m['content'].split('it ')[-1] if m['role'] == 'assistant' else "
        "m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %} {% endfor %}"
    )
    assert "".join(said(loaded, Chat("what", "so it is seven"))).replace("Ġ", " ") == " so it is seven</s>"


def test_nothing_is_cut_silently(mini: LoadedModel) -> None:
    """Too long, unanswered, with an image in it: an error each, or, where asked for, left out and counted."""
    texts = training_chats(
        [
            ContrastQuestion("sum of a 3 .", "so a 3"),
            ContrastQuestion("sum of a 3 .", None),
            ContrastQuestion("sum of", "so " * 30),
        ]
    )
    with pytest.raises(UserError, match="1 of 3 texts to fine-tune on have no chain-of-thought response"):
        encode_examples(mini, texts)
    with pytest.raises(UserError, match=r"1 of 2 texts .* longer than 20 tokens \(the longest 38\)"):
        encode_examples(mini, [texts[0], texts[2]], max_length=20)
    with pytest.raises(UserError, match="longer than 512 tokens"):
        encode_examples(mini, [Chat("sum of", "so " * 600)], max_length=10_000)
    kept = encode_examples(mini, texts, max_length=20, unusable="drop")
    assert (len(kept.rows), kept.unanswered, kept.too_long) == (1, 1, 1)
    with pytest.raises(UserError, match="No text is left"):
        encode_examples(mini, texts[1:], max_length=20, unusable="drop")
    with pytest.raises(UserError, match="contains the token of an image"):
        encode_examples(mini, [Chat("sum of <image> .", "so a 3")])
    with pytest.raises(UserError, match="did you mean drop"):
        encode_examples(mini, texts, unusable="dropp")


def test_a_batch_is_padded_on_the_right(mini: LoadedModel) -> None:
    """Padding is masked and carries no label."""
    rows = encode_examples(mini, [Chat("sum of", "so"), Chat("sum of a 3", "so a 3")]).rows
    batch = collate(rows, 0)
    assert batch["input_ids"].shape == (2, len(rows[1].ids))
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(row.ids) for row in rows]
    assert batch["labels"][0, len(rows[0].ids) :].tolist() == [IGNORED] * 4
