"""Fine-tuning: the loss falls, the tower stays, the checkpoint is one that any target can name, interrupted or not."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from torch import Tensor

from l2v.errors import UserError
from l2v.finetune.data import collate, encode_examples, training_chats
from l2v.finetune.loop import mean_loss
from l2v.finetune.train import FinetuneSettings, finetune
from l2v.mini import chat, problems, splits
from l2v.mini.train import World, accuracy
from l2v.paths import PACKAGE
from l2v.steering.models import LoadedModel, ModelSpec, load_model
from l2v.steering.prompts import chat_prompt, encode_prompts
from l2v.steering.weights import language_model
from l2v.transfer.contrast import Chat, load_questions

TEXTS = [Chat(families.question(3, i), " ".join(f"w{(i + j) % 8}" for j in range(5 + i % 4))) for i in range(8)]
QUICK = FinetuneSettings(learning_rate=1e-2, epochs=3, batch_size=4, micro_batch=2, lora_rank=4, gradient_checkpointing=False)


def quick(**changes: Any) -> FinetuneSettings:
    """Settings of a run of six steps."""
    return FinetuneSettings(**{**vars(QUICK), **changes})


def logits(loaded: LoadedModel) -> Tensor:
    """Of a question with a picture."""
    inputs = encode_prompts(loaded, [chat_prompt(loaded, "<image> w1 w2", 1)], [[families.picture(28, 28)]])
    with torch.no_grad():
        return loaded.model(**inputs).logits


def copied(loaded: LoadedModel) -> dict[str, Tensor]:
    """A copy of every tensor."""
    return {name: tensor.detach().clone() for name, tensor in loaded.model.state_dict().items()}


def changed(loaded: LoadedModel, before: dict[str, Tensor]) -> set[str]:
    """The names of the tensors that are not what they were."""
    return {name for name, tensor in loaded.model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_every_family(name: str, tmp_path: Path) -> None:
    """The loss falls; every weight of the language model is trained, none of tower and projector; the folder gives the same."""
    loaded = families.load(name, tmp_path / "model")
    before, answer = copied(loaded), logits(loaded)
    record = finetune(loaded, TEXTS, QUICK, tmp_path / "out")
    assert record["loss_after"] < 0.6 * record["loss_before"]
    prefix, module = language_model(loaded.model)
    head = {n + ".weight" for n, m in loaded.model.named_modules() if m is loaded.model.get_output_embeddings()}
    assert changed(loaded, before) == {prefix + name for name, _ in module.named_parameters()} | head
    assert record["trainable"] == sum(before[name].numel() for name in changed(loaded, before))
    assert not torch.allclose(logits(loaded), answer, atol=1e-2)
    again = load_model(ModelSpec("tests/out", path=str(tmp_path / "out"), dtype="float32"), "vision")
    assert torch.equal(logits(again), logits(loaded))
    configs = [{**m.config.to_dict(), "_name_or_path": ""} for m in (again.model, load_model(loaded.spec, "vision").model)]
    assert configs[0] == configs[1]
    assert all(parameter.requires_grad and parameter.grad is None for parameter in loaded.model.parameters())
    assert not loaded.model.training


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_lora(name: str, tmp_path: Path) -> None:
    """Only the Linears of the decoder blocks change; the saved folder is a plain checkpoint."""
    pytest.importorskip("peft")
    loaded = families.load(name, tmp_path / "model")
    before = copied(loaded)
    record = finetune(loaded, TEXTS, quick(method="lora", gradient_checkpointing=True), tmp_path / "out")
    assert record["loss_after"] < 0.6 * record["loss_before"]
    assert record["trainable"] < 0.3 * sum(tensor.numel() for tensor in before.values())
    names = changed(loaded, before)
    assert len(names) == 3 * 7
    assert all(name.startswith(language_model(loaded.model)[0] + "layers.") and name.endswith("_proj.weight") for name in names)
    again = load_model(ModelSpec("tests/out", path=str(tmp_path / "out"), dtype="float32"), "vision")
    assert torch.equal(logits(again), logits(loaded))
    assert set(again.model.state_dict()) == set(before)


def test_the_record(tmp_path: Path) -> None:
    """What was run and what came of it, with the checkpoint; the losses are those of the model before and after."""
    loaded = families.load("llava", tmp_path / "model")
    rows = encode_examples(loaded, TEXTS).rows
    before = mean_loss(loaded.model, rows, loaded.tokenizer.pad_token_id)
    steps: list[tuple[int, int]] = []
    record = finetune(loaded, TEXTS, QUICK, tmp_path / "deep" / "out", lambda *done: steps.append(done))
    assert steps == [(i + 1, 6) for i in range(6)]
    assert record["loss_before"] == pytest.approx(before, rel=1e-5)
    assert record["loss_after"] == pytest.approx(mean_loss(loaded.model, rows, loaded.tokenizer.pad_token_id), rel=1e-5)
    assert (record["n"], record["unanswered"], record["too_long"], record["steps"]) == (8, 0, 0, 6)
    assert record["tokens"] == sum(len(str(chat.assistant).split()) + 1 for chat in TEXTS)
    rates = [entry["learning_rate"] for entry in record["history"]]
    assert rates == pytest.approx([1e-2 * 0.5 * (1 + np.cos(np.pi * i / 6)) for i in range(6)])
    stored = json.loads((tmp_path / "deep" / "out" / "finetune.json").read_text())
    assert stored == {key: value for key, value in record.items() if key != "seconds"}
    assert str(tmp_path) not in json.dumps(stored)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    families.check_every_damage(tmp_path / "deep" / "out", every=3)
    # Loading tells the tokenizer to pad on the left; the checkpoint keeps what its maker wrote.
    assert json.loads((tmp_path / "deep" / "out" / "tokenizer_config.json").read_text())["padding_side"] == "right"


def middle_of_largest(path: Path) -> int:
    """A byte of an archive that holds content, and no padding between its members."""
    with zipfile.ZipFile(path) as archive:
        member = max(archive.infolist(), key=lambda one: one.file_size)
    head = path.read_bytes()[member.header_offset :][
        26:30
    ]  # lengths of the name and of the extra field, which come before the data
    return member.header_offset + 30 + sum(struct.unpack("<HH", head)) + member.file_size // 2


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_interrupted_run_goes_on(method: str, tmp_path: Path) -> None:
    """To the same weights, losses and record as one that was not interrupted, dropout included."""
    if method == "lora":
        pytest.importorskip("peft")
    settings = quick(method=method, lora_dropout=0.3)
    whole = families.load("qwen2_vl", tmp_path / "model")
    expected = finetune(whole, TEXTS, settings, tmp_path / "whole")

    def interrupt(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    spec = whole.spec
    with pytest.raises(KeyboardInterrupt):
        finetune(load_model(spec, "vision"), TEXTS, settings, tmp_path / "out", interrupt)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="interrupted run of another model, other settings or texts"):
        finetune(load_model(spec, "vision"), TEXTS[1:], settings, tmp_path / "out")
    # A checkpoint that was replaced since is another base, wherever it lies.
    (added := tmp_path / "model" / "added.txt").write_text("another")
    with pytest.raises(UserError, match="interrupted run of another model"):
        finetune(load_model(spec, "vision"), TEXTS, settings, tmp_path / "out")
    added.unlink()
    state = tmp_path / "out.partial" / "state.pt"
    whole_state = state.read_bytes()
    for place in (middle_of_largest(state), -1):
        harmed = bytearray(whole_state)
        harmed[place] ^= 1
        state.write_bytes(harmed if place > 0 else whole_state[:-100])
        with pytest.raises(UserError, match=r"state\.pt is damaged .*; delete .*, then repeat the command"):
            finetune(load_model(spec, "vision"), TEXTS, settings, tmp_path / "out")
    state.write_bytes(whole_state)
    (tmp_path / "out.partial" / "before.json").write_text("[1.5, ")
    seen: list[int] = []
    loaded = load_model(spec, "vision")
    record = finetune(loaded, TEXTS, settings, tmp_path / "out", lambda done, _: seen.append(done))
    assert seen == [3, 4, 5, 6]  # the first epoch's two steps are not done again
    assert not changed(loaded, copied(whole))
    assert {**record, "seconds": 0} == {**expected, "seconds": 0}
    with pytest.raises(UserError, match="exists already"):
        finetune(loaded, TEXTS, settings, tmp_path / "out")


def test_the_loop_is_the_trainers(tmp_path: Path) -> None:
    """With whole-set batches, where the order does not matter, the losses are those of transformers' Trainer."""
    from transformers import Trainer, TrainingArguments

    settings = quick(batch_size=8, epochs=4, weight_decay=0.1, warmup=0.25)
    ours = finetune(families.load("llava", tmp_path / "model"), TEXTS, settings, tmp_path / "out")
    loaded = families.load("llava", tmp_path / "model")
    for parameter in [*loaded.model.model.vision_tower.parameters(), *loaded.model.model.multi_modal_projector.parameters()]:
        parameter.requires_grad_(False)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "trainer"), num_train_epochs=4, per_device_train_batch_size=2, gradient_accumulation_steps=4,
        learning_rate=1e-2, lr_scheduler_type="cosine", warmup_steps=1, weight_decay=0.1, logging_steps=1, use_cpu=True,
        save_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False, optim="adamw_torch",
    )  # fmt: skip
    rows = encode_examples(loaded, TEXTS).rows
    trainer = Trainer(loaded.model, arguments, data_collator=lambda some: collate(some, 0), train_dataset=rows)
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(theirs) == 4
    assert [entry["loss"] for entry in ours["history"]] == pytest.approx(theirs, rel=1e-5)


def test_memory_settings_change_nothing(tmp_path: Path) -> None:
    """The same weights, up to rounding, whatever goes through the model at once and is kept of it."""
    weights = []
    for micro_batch, checkpointing in ((4, False), (1, True)):
        loaded = families.load("llava", tmp_path / "model")
        settings = quick(learning_rate=1e-3, micro_batch=micro_batch, gradient_checkpointing=checkpointing)
        finetune(loaded, TEXTS, settings, tmp_path / f"out{micro_batch}")
        weights.append(copied(loaded))
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])


def test_small_steps_are_not_rounded_away(tmp_path: Path) -> None:
    """A bfloat16 model is trained in float32 and saved as bfloat16."""
    families.load("llava", tmp_path / "model")
    loaded = load_model(ModelSpec("tests/llava", path=str(tmp_path / "model"), dtype="bfloat16"), "vision")
    before = copied(loaded)
    finetune(loaded, TEXTS, quick(learning_rate=1e-4, epochs=20), tmp_path / "out")
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert loaded.model.dtype == torch.bfloat16
    moved = (loaded.model.state_dict()[name].float() - before[name].float()).abs()
    # Forty steps of at most 1e-4 each: most are below half a unit in the last place of a weight of 0.25, 5e-4.
    assert 1e-3 < float(moved.mean()) < 4e-3
    again = load_model(ModelSpec("tests/out", path=str(tmp_path / "out")), "vision")
    assert again.model.dtype == torch.bfloat16


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings out of range, a missing package, weights that are quantised, a loss that is no number: a sentence each."""
    loaded = families.load("llava", tmp_path / "model")
    sentences: list[tuple[dict[str, Any], str]] = [
        ({"method": "lroa"}, "did you mean lora"),
        ({"learning_rate": 0.0}, "finetune.learning_rate=0.0 must be above 0"),
        ({"warmup": 1.0}, "finetune.warmup=1.0 must be at least 0 and below 1"),
        ({"micro_batch": 3}, "finetune.batch_size=4 is no multiple of finetune.micro_batch=3"),
        ({"learning_rate": 1e15}, "lower finetune.learning_rate"),
    ]
    for settings, sentence in sentences:
        with pytest.raises(UserError, match=sentence):
            finetune(loaded, TEXTS, quick(**settings), tmp_path / "out")
    assert not [path for path in tmp_path.iterdir() if path.name != "model"]
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"needs the package peft: pip install 'l2v\[finetune\]'"):
        finetune(loaded, TEXTS, quick(method="lora"), tmp_path / "out")


@pytest.mark.parametrize(("method", "rate"), [("full", 5e-4), ("lora", 2e-3)])
def test_the_miniature_learns_to_show_its_steps(method: str, rate: float, tmp_path: Path) -> None:
    """From text alone: a neutral question about a picture, answered directly and at chance before, is answered in steps."""
    if method == "lora":
        pytest.importorskip("peft")
    spec = ModelSpec("l2v/mini-vlm", path=str(PACKAGE / "mini" / "checkpoints" / "vlm"), dtype="float32")
    loaded = load_model(spec, "vision")
    tokenizer = chat.build_tokenizer()
    world = World(tokenizer, chat.build_processor(tokenizer), frozenset(), tmp_path)
    test = splits.draw_splits()["test"]
    few = splits.Split("few", test.problems[:100], test.pictures[:100])

    def right() -> float:
        return accuracy(world, loaded.model, few, True, problems.NEUTRAL_INSTRUCTIONS[1])

    assert right() < 0.25
    texts = training_chats(load_questions(str(PACKAGE / "mini" / "data" / "contrast.jsonl")))
    settings = FinetuneSettings(method, rate, epochs=3, batch_size=20, micro_batch=20, gradient_checkpointing=False)
    record = finetune(loaded, texts, settings, tmp_path / "out")
    assert record["loss_after"] < 0.6 * record["loss_before"]
    assert right() > 0.85
