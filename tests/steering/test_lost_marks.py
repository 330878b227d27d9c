"""Marks around a picture that a tokenizer.json has lost: named by its settings they come back with another number, else they
fall into pieces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import families
import odd_families
import pytest

from l2v.errors import UserError
from l2v.steering.engine.engine import Request
from l2v.steering.engine.rows import encode_plainly
from l2v.steering.models import LoadedModel, ModelSpec, load_model
from l2v.steering.pictures import check_text_ids

LOST = [
    ("internvl", "<img>"), ("internvl", "</img>"), ("internvl", "<IMG_CONTEXT>"), ("qwen2_vl", "<|vision_end|>"),
    ("idefics2", "<fake_token_around_image>"), ("mllama", "<|image|>"), ("gemma3_vision", "<boi>"), ("gemma3_vision", "<eoi>"),
]  # fmt: skip


def without(folder: Path, word: str) -> None:
    """A tokenizer.json that lacks a word; what else names it stays."""
    file = folder / "tokenizer.json"
    told = json.loads(file.read_text())
    del told["model"]["vocab"][word]
    told["added_tokens"] = [token for token in told["added_tokens"] if token["content"] != word]
    file.write_text(json.dumps(told))


def asked(folder: Path) -> None:
    """A question with a picture, one without, and one that holds marks of its own."""
    target = load_model(ModelSpec("tests/copy", path=str(folder), dtype="float32"), "vision")
    for text, pictures in (("<image> w1", [families.picture(40, 30)]), ("w1 <b> w2", [families.picture(40, 30)]), ("w1", [])):
        encode_plainly(target, [Request("1", text, pictures)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A family's folder, written once."""
    at = tmp_path_factory.mktemp("made")

    def of(family: str) -> Path:
        if not (at / family).exists():
            (odd_families if family in odd_families.ODD else families).load(family, at / family)
        return at / family

    return of


@pytest.mark.parametrize(("family", "word"), LOST)
def test_a_lost_mark_is_told_before_an_answer(family: str, word: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    """Each of them was answered without a word."""
    copy = Path(shutil.copytree(made(family), tmp_path / "copy"))
    asked(copy)
    without(copy, word)
    with pytest.raises(UserError, match=rf"The tokenizer of '{copy}' (names '.*', and its vocabulary lacks it|does not know)"):
        asked(copy)


@pytest.mark.parametrize(
    ("name", "told", "side"),
    [("tokenizer_config.json", {"eoi_token": "<boi>"}, "behind"), ("config.json", {"boi_token_index": 40}, "before")],
)
def test_a_mark_that_is_another_one_than_the_config_names(
    name: str, told: dict[str, object], side: str, made: Callable[[str], Path], tmp_path: Path
) -> None:
    """Gemma 3's processor writes what its tokenizer's settings name."""
    copy = Path(shutil.copytree(made("gemma3_vision"), tmp_path / "copy"))
    (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()) | told))
    with pytest.raises(UserError, match=rf"'{copy}' says that token \d+ stands {side} a picture \((boi|eoi)_token_index\)"):
        asked(copy)


def test_a_mark_of_a_text_that_the_vocabulary_lacks(llava: LoadedModel, tmp_path: Path) -> None:
    """As an end of turn that tokenizer_config.json alone names."""
    copy = Path(shutil.copytree(str(llava.spec.path), tmp_path / "copy"))
    file = copy / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"extra_special_tokens": ["<turn>"]}))
    target = load_model(ModelSpec("tests/copy", path=str(copy), dtype="float32"), "vision")
    check_text_ids(target.model, target.tokenizer, [[20, 21]])
    with pytest.raises(UserError, match="names '<turn>', and its vocabulary lacks it"):
        check_text_ids(target.model, target.tokenizer, [[20, target.tokenizer.convert_tokens_to_ids("<turn>")]])
