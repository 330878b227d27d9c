"""Neutral texts: the same places for models of different tokenizers, states as the model has them, and interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from l2v.checkpoint import ModelSpec
from l2v.errors import UserError
from l2v.mini import chat, problems
from l2v.paths import PACKAGE
from l2v.steering.models import load_model
from l2v.transfer import neutral
from l2v.transfer.contrast import Chat

DATA = str(PACKAGE / "mini" / "texts" / "neutral.parquet")
COLUMNS = {"question": "question", "response": "response", "domain": "domain"}
ANSWERED = Chat("sum of a 3 b 1 c 4 d 1 e 5 f 9 . think step by step", "so a 3 =3 b 1 =4 thus 4")


@pytest.fixture(scope="module")
def stranger() -> Any:
    return load_model(ModelSpec("stranger", path=str(PACKAGE / "mini" / "checkpoints" / "stranger_a")), "text", "cpu")


def test_the_shipped_texts_hold_no_problem_of_a_split_and_the_plain_ones_no_steps() -> None:
    from l2v.mini.splits import draw_splits

    taken = {problem.key for split in draw_splits().values() for problem in split.problems}
    for domain in ("plain", "mixed"):
        chats = neutral.load_chats(DATA, None, "train", COLUMNS, [domain], None, 0)
        assert len(chats) == 4000
        assert not taken & {"".join(word for word in one.user.split() if word.isdigit()) for one in chats}
        assert not any(phrase in one.user for one in chats for phrase in problems.STEP_INSTRUCTIONS)
        steps = sum(problems.shows_steps(one.assistant or "") for one in chats)
        assert steps == 0 if domain == "plain" else 400 < steps < 800
        assert sum(one.assistant is None for one in chats) == 2000


def test_fewer_texts_are_the_first_of_more() -> None:
    more, fewer, other = (
        neutral.load_chats(DATA, None, "train", COLUMNS, ["plain"], n, s) for n, s in ((50, 0), (20, 0), (20, 1))
    )
    assert more[:20] == fewer != other
    with pytest.raises(UserError, match=r"neutral.texts=5000: .* holds 4000 texts of domain plain"):
        neutral.load_chats(DATA, None, "train", COLUMNS, ["plain"], 5000, 0)


@pytest.mark.parametrize("pieces", [False, True], ids=["words", "pieces"])
def test_a_place_is_where_the_same_words_have_been_read(pieces: bool) -> None:
    tokenizer = chat.build_tokenizer(pieces)
    ends = neutral.word_ends(ANSWERED, 5)
    ids, places = neutral.token_places(tokenizer, ANSWERED, ends, False)
    texts = {"user": ANSWERED.user, "assistant": ANSWERED.assistant or ""}
    assert {turn for turn, _ in ends} == set(texts), "places lie in both turns"
    for (turn, end), place in zip(ends, places, strict=False):
        assert tokenizer.decode(ids[: place + 1]).endswith(texts[turn][:end])
    assert places[-1] == len(ids) - 1 and len(set(places)) == 6


def test_a_text_of_few_words_is_read_as_often_as_the_others() -> None:
    ids, places = neutral.token_places(chat.build_tokenizer(), Chat("sum"), neutral.word_ends(Chat("sum"), 3), False)
    assert len(places) == 4 and places[-1] == len(ids) - 1
    assert neutral.word_ends(ANSWERED, 0) == []


def read(stranger: Any, folder: Path, chats: list[Chat], **more: Any) -> None:
    neutral.read_states(stranger.model, stranger.tokenizer, stranger.layers, chats, 3, folder, {"of": "test"}, **more)


def test_states_are_the_models_own_at_the_places(stranger: Any, tmp_path: Path) -> None:
    chats = [ANSWERED, Chat("sum of a 3"), Chat("what is it ?", "it 4")]
    read(stranger, tmp_path / "states", chats)
    for i, one in enumerate(chats):
        ids, places = neutral.token_places(stranger.tokenizer, one, neutral.word_ends(one, 2), False)
        with torch.no_grad():
            hidden = stranger.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer in range(3):
            found = neutral.load_states(tmp_path / "states", layer)[3 * i : 3 * i + 3]
            assert torch.allclose(found, hidden[layer + 1][0, places], atol=1e-4)


class Stop(Exception):
    """An interruption from outside."""


def test_an_interrupted_reading_goes_on_to_the_same_states(stranger: Any, tmp_path: Path) -> None:
    chats = neutral.load_chats(DATA, None, "train", COLUMNS, ["mixed"], 12, 0)
    asked: list[int] = []

    def stop(done: int, _total: int) -> None:
        asked.append(done)
        if done >= 4:
            raise Stop

    with pytest.raises(Stop):
        read(stranger, tmp_path / "a", chats, batch_tokens=80, progress=stop)
    assert not (tmp_path / "a").exists()
    first = len(asked)
    read(stranger, tmp_path / "a", chats, batch_tokens=80, progress=lambda done, _: asked.append(done))
    assert asked == sorted(set(asked)) and asked[first] > 4, "nothing is read twice"
    read(stranger, tmp_path / "b", chats)
    for layer in range(4):
        assert torch.allclose(*(neutral.load_states(tmp_path / name, layer) for name in "ab"), atol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_partial_file_that_was_lost_is_read_again(stranger: Any, tmp_path: Path) -> None:
    """Mapped into memory it comes back full of zeros, under a note that says what was read into it."""
    chats = neutral.load_chats(DATA, None, "train", COLUMNS, ["mixed"], 6, 0)

    def stop(done: int, _total: int) -> None:
        if done >= 3:
            raise Stop

    for name, harm in (("lost", lambda path: path.unlink()), ("cut", lambda path: path.write_bytes(path.read_bytes()[:4000]))):
        with pytest.raises(Stop):
            read(stranger, tmp_path / name, chats, batch_tokens=80, progress=stop)
        harm(tmp_path / f"{name}.partial" / "states.bin")
        read(stranger, tmp_path / name, chats, batch_tokens=80)
    read(stranger, tmp_path / "whole", chats)
    for name in ("lost", "cut"):
        assert torch.allclose(neutral.load_states(tmp_path / name, 2), neutral.load_states(tmp_path / "whole", 2), atol=1e-4)


def test_states_of_another_model_block_or_text_are_refused(stranger: Any, tmp_path: Path) -> None:
    read(stranger, tmp_path / "states", [ANSWERED])
    assert neutral.block_count(tmp_path / "states") == 4
    assert neutral.load_states(tmp_path / "states", 1, {"of": "test"}).shape[0] == 3
    with pytest.raises(UserError, match=r"001\.safetensors holds other states than its place says; delete its folder"):
        neutral.load_states(tmp_path / "states", 1, {"of": "others"})
    (tmp_path / "states" / "003.safetensors").replace(tmp_path / "states" / "001.safetensors")
    with pytest.raises(UserError, match="holds other states than its place says"):
        neutral.load_states(tmp_path / "states", 1)
    assert neutral.block_count(tmp_path / "states") == 4, "a block that is gone is missed"


def test_damaged_states_are_refused(stranger: Any, tmp_path: Path) -> None:
    read(stranger, tmp_path / "states", [ANSWERED])
    path = tmp_path / "states" / "001.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        neutral.load_states(tmp_path / "states", 1)
    with pytest.raises(UserError, match="holds no states"):
        neutral.load_states(tmp_path / "states", 9)


def test_a_text_longer_than_the_context_is_refused(stranger: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="A neutral text has 60. tokens, the model's context holds 512"):
        read(stranger, tmp_path / "states", [Chat("sum " * 600)])
