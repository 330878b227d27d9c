"""A checkpoint whose parts are not of each other, and fit by name and shape: told when it is loaded."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from l2v.checkpoint import ModelSpec
from l2v.steering.models import LoadedModel, load_model
from l2v.steering.soundness import PLAIN


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that has learned the text by heart."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["<s>", "</s>", "<unk>", *dict.fromkeys(PLAIN.split()), *(f"w{i}" for i in range(64))]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    tokens = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )
    tokens.save_pretrained(folder)
    torch.manual_seed(0)
    model: Any = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            bos_token_id=0, eos_token_id=1, pad_token_id=None, tie_word_embeddings=False,
        )
    )  # fmt: skip
    ids = torch.tensor([[0, *tokens(PLAIN)["input_ids"]]])
    steps = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        steps.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        steps.step()
    model.save_pretrained(folder)
    return folder


def loaded(folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[LoadedModel, list[str]]:
    """The model, and what was told of it."""
    caplog.clear()
    logger = logging.getLogger("l2v.steering.models")
    with caplog.at_level(logging.WARNING, logger.name), pytest.MonkeyPatch.context() as patched:
        # Whatever a library that another test loaded has made of the loggers that were there.
        for name, value in (("disabled", False), ("propagate", False), ("handlers", [caplog.handler])):
            patched.setattr(logger, name, value)
        model = load_model(ModelSpec("tests/copy", path=str(folder), dtype="float32"), "text")
    return model, [record.message for record in caplog.records]


def other_words(folder: Path) -> None:
    """The tokenizer of another model with as many words."""
    told = json.loads((folder / "tokenizer.json").read_text())
    vocab = told["model"]["vocab"]
    many = len(vocab) - 3
    told["model"]["vocab"] = {word: place if place < 3 else 3 + (place + 40) % many for word, place in vocab.items()}
    (folder / "tokenizer.json").write_text(json.dumps(told))


def other_head(folder: Path) -> None:
    """The head of another model of these shapes."""
    file = folder / "model.safetensors"
    held = load_file(file)
    save_file(held | {"lm_head.weight": held["lm_head.weight"].roll(40, 0)}, file, metadata={"format": "pt"})


@pytest.mark.parametrize("damage", [other_words, other_head])
def test_parts_of_two_models_are_told(
    damage: Callable[[Path], None], trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was loaded without a word; the sound one still is."""
    assert loaded(trained, caplog)[1] == []
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    damage(copy)
    (told,) = loaded(copy, caplog)[1]
    assert told.startswith(f"'{copy}' finds plain English less likely than drawn tokens")


def test_weights_that_nobody_trained_and_words_that_nobody_knows_tell_nothing(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.AutoConfig.from_pretrained(copy)).save_pretrained(copy)
    assert loaded(copy, caplog)[1] == []
    shutil.copytree(trained, copy, dirs_exist_ok=True)
    other_words(copy)
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text().replace('"Paris,"', '"Rome,"'))
    assert loaded(copy, caplog)[1] == []
