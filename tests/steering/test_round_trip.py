"""A tokenizer that loses the spaces of a text is refused; byte-level, sentence-piece-like and word-level ones are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import families
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from l2v.errors import UserError
from l2v.paths import PACKAGE
from l2v.steering.models import ROUND_TRIP, check_round_trip


def byte_level() -> Any:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.train_from_iterator([ROUND_TRIP], trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return core


def test_tokenizers_that_give_the_text_back_pass() -> None:
    check_round_trip(PreTrainedTokenizerFast(tokenizer_object=byte_level()), "sound")
    check_round_trip(families.tokenizer("<image>"), "without these words")
    for name in ("base", "vlm"):
        check_round_trip(AutoTokenizer.from_pretrained(PACKAGE / "mini" / "checkpoints" / name), name)


@pytest.mark.parametrize(
    ("pieces", "decoder", "back"),
    [
        # What transformers 5 before 5.22 put into R1-Distill-Llama's: spaces are gone before the vocabulary sees them.
        (pre_tokenizers.Metaspace(prepend_scheme="never", split=False), decoders.Fuse(), "Whatis12"),
        # Its other half: the right ids, and the byte-level marks in what is read back.
        (pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.Fuse(), "\u0120is"),
    ],
)
def test_one_that_loses_spaces_is_refused(pieces: Any, decoder: Any, back: str) -> None:
    core = byte_level()
    core.pre_tokenizer, core.decoder = pieces, decoder
    with pytest.raises(UserError, match=rf"'broken'.*{back}.*pip install -U transformers"):
        check_round_trip(PreTrainedTokenizerFast(tokenizer_object=core), "broken")


def test_r1s_layout_survives_the_installed_transformers(tmp_path: Path) -> None:
    """R1-Distill-Llama names LlamaTokenizerFast and ships a byte-level vocabulary: what the lower bound in pyproject is for."""
    byte_level().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizerFast"}))
    for kind in ("llama", "qwen2"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        check_round_trip(AutoTokenizer.from_pretrained(tmp_path), kind)
