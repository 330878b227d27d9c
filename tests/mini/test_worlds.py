"""Worlds of other seeds: their own draws, a finished model kept, and strangers that read other tokens at other places."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from l2v.mini import chat, problems, train
from l2v.mini.train import Schedule


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps in place of hundreds; nobody asks the models anything."""
    for name in ("BASE", "STRANGER", "ODD_STRANGER"):
        monkeypatch.setattr(train, name, Schedule(2, 1e-3))
    monkeypatch.setattr(train, "measure", lambda *_: "")


def weights(out: Path, name: str) -> bytes:
    return (out / "checkpoints" / name / "model.safetensors").read_bytes()


def test_worlds_differ_by_their_seeds_alone(tmp_path: Path) -> None:
    for world in ("0", "1"):
        train.main(["--models", "base", "--world", world, "--threads", "1", "--out", str(tmp_path / world)])
    assert weights(tmp_path / "0", "base") != weights(tmp_path / "1", "base")
    assert (tmp_path / "0" / "data" / "test.parquet").is_file()
    assert not (tmp_path / "1" / "data").exists()  # all worlds answer the shipped questions


def test_no_two_models_of_any_world_share_a_seed_and_the_shipped_ones_keep_theirs() -> None:
    tokenizer = chat.build_tokenizer()
    made = [train.World(tokenizer, chat.build_processor(tokenizer), frozenset(), Path(), world) for world in train.WORLDS]
    seeds = [[world.seed(name) for name in train.NAMES] for world in made]
    assert seeds[0] == [1, 2, 3, 4, 5, 6]
    assert len({seed for of_world in seeds for seed in of_world}) == len(made) * len(train.NAMES)


def test_a_finished_model_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--world", "odd", "--models", "stranger_a", "--threads", "1", "--missing", "--out", str(tmp_path)]
    train.main(words)
    folder = tmp_path / "checkpoints" / "stranger_a"
    before = (folder / "model.safetensors").stat().st_mtime_ns
    (folder.parent / ".stranger_b.unfinished").mkdir()  # as a kill in the middle of writing leaves it
    train.main([*words, "--models", "stranger_a,stranger_b"])
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert "stranger_a: finished before" in capsys.readouterr().out
    assert sorted(path.name for path in folder.parent.iterdir()) == ["stranger_a", "stranger_b"]


def test_odd_strangers_have_another_build_and_read_the_same_words(tmp_path: Path) -> None:
    train.main(["--world", "odd", "--models", "stranger_a", "--threads", "1", "--out", str(tmp_path)])
    config = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoints" / "stranger_a").config
    assert (config.hidden_size, config.num_hidden_layers) == (128, 6)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "checkpoints" / "stranger_a")
    assert tokenizer.tokenize("think =3") == ["thi", "##nk", "=", "##3"]
    words = " ".join(problems.vocabulary())
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == words
    assert len(ids) > len(chat.build_tokenizer()(words, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("words", [["--world", "1"], ["--world", "odd", "--models", "vlm", "--out", "x"]])
def test_a_world_needs_its_own_folder_and_its_own_models(words: list[str]) -> None:
    with pytest.raises(SystemExit, match="--out outputs/worlds/1|--models: unknown vlm"):
        train.main(words)
