"""The shipped miniature: checkpoints load as stock architectures, data are sound, and it behaves as promised."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, load_dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
    ProcessorMixin,
)

import l2v.mini
from l2v.mini import models, problems

HOME = Path(l2v.mini.__file__).parent
CHECKPOINTS = HOME / "checkpoints"
TEXT_MODELS = ("base", "kin", "stranger_a", "stranger_b")
VISION_MODELS = ("vlm", "vlm_drifted")


@lru_cache
def vlm(name: str) -> PreTrainedModel:
    return AutoModelForImageTextToText.from_pretrained(CHECKPOINTS / name)


@lru_cache
def processor() -> ProcessorMixin:
    return AutoProcessor.from_pretrained(CHECKPOINTS / "vlm")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    files = {name: str(HOME / "data" / f"{name}.parquet") for name in ("dev", "test")}
    return load_dataset("parquet", data_files=files, cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def contrast() -> list[dict[str, str]]:
    return [json.loads(line) for line in (HOME / "data" / "contrast.jsonl").read_text().splitlines()]


def asked(instruction: str) -> str:
    content = [{"type": "text", "text": "sum of"}, {"type": "image"}, {"type": "text", "text": f". {instruction}"}]
    return processor().apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def inputs_for(rows: Dataset, instruction: str) -> dict[str, torch.Tensor]:
    return processor()(
        images=[[picture] for picture in rows["image"]],
        text=[asked(instruction)] * len(rows),
        add_special_tokens=False,
        return_tensors="pt",
    )


def accuracy(rows: Dataset, instruction: str) -> float:
    inputs = inputs_for(rows, instruction)
    written = vlm("vlm").generate(**inputs)[:, inputs["input_ids"].shape[1] :]
    responses = processor().batch_decode(written, skip_special_tokens=True)
    verdicts = [problems.read_answer(said) == right for said, right in zip(responses, rows["answer"], strict=True)]
    return float(np.mean(verdicts))


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_text_model_solves_a_question_in_steps(name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINTS / name)
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINTS / name)
    question = problems.instruct(problems.text_question(problems.SumProblem((3, 1, 4, 1, 5, 9))), "think step by step")
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    said = tokenizer.decode(model.generate(**inputs)[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said.partition(" ")[2] == "a 3 =3 b 1 =4 c 4 =8 d 1 =9 e 5 =4 f 9 =3 thus 3"


@pytest.mark.parametrize("name", [*TEXT_MODELS, *VISION_MODELS])
def test_weights_are_float32_and_small_enough_to_commit(name: str) -> None:
    weights = CHECKPOINTS / name / "model.safetensors"
    assert 1e6 < weights.stat().st_size < 4e6
    assert json.loads((CHECKPOINTS / name / "config.json").read_text())["dtype"] == "float32"


def test_drifted_vlm_is_the_same_function_in_another_basis(benchmark: dict[str, Dataset]) -> None:
    inputs = inputs_for(benchmark["dev"].select(range(8)), "what is it ?")
    with torch.no_grad():
        plain, drifted = (vlm(name)(**inputs, output_hidden_states=True) for name in VISION_MODELS)
    assert torch.allclose(plain.logits, drifted.logits, atol=1e-3)
    spectra = [torch.fft.rfft(output.hidden_states[2]) for output in (plain, drifted)]
    gap = (spectra[0] - spectra[1]).abs().flatten(0, 1).amax(0)
    assert gap[: models.SHARED_BINS].max() < 1e-3
    assert gap[models.SHARED_BINS :].min() > 0.1


def test_grown_model_is_the_same_function_at_another_width() -> None:
    base = AutoModelForCausalLM.from_pretrained(CHECKPOINTS / "base")
    grown = models.grow(base, models.WIDE, models.KIN_MLP)
    ids = torch.arange(5, 60)[None]
    with torch.no_grad():
        assert torch.allclose(base(input_ids=ids).logits, grown(input_ids=ids).logits, atol=1e-3)
        # A basis change that skipped the frequency domain would keep the logits too.
        narrow, wide = (torch.fft.rfft(model.get_input_embeddings()(ids)) for model in (base, grown))
    kept = models.WIDTH // 2
    assert torch.allclose(wide[..., :kept], narrow[..., :kept] * (models.WIDE / models.WIDTH) ** 0.5, atol=1e-4)
    assert wide[..., kept + 1 :].abs().max() < 1e-4


def test_splits_share_no_problem_and_state_right_answers(
    benchmark: dict[str, Dataset],
    contrast: list[dict[str, str]],
) -> None:
    keys = {name: benchmark[name]["digits"] for name in ("dev", "test")}
    keys["contrast"] = ["".join(word for word in row["question"].split() if word.isdigit()) for row in contrast]
    assert {name: len(set(members)) for name, members in keys.items()} == {"dev": 200, "test": 500, "contrast": 200}
    assert len({key for members in keys.values() for key in members}) == 900
    for name in ("dev", "test"):
        totals = [str(sum(map(int, key)) % 10) for key in keys[name]]
        assert totals == list(benchmark[name]["answer"])
        assert all(question.count("<image>") == 1 for question in benchmark[name]["question"])
        assert {picture.size for picture in benchmark[name]["image"]} == {(36, 36)}
    for row, key in zip(contrast, keys["contrast"], strict=True):
        total = str(sum(map(int, key)) % 10)
        assert problems.read_answer(row["cot"]) == problems.read_answer(row["direct"]) == total
        assert problems.shows_steps(row["cot"]) and not problems.shows_steps(row["direct"])


def test_steps_help_and_a_neutral_question_does_not_invite_them(benchmark: dict[str, Dataset]) -> None:
    rows = benchmark["dev"].select(range(64))
    assert accuracy(rows, "think step by step") >= 0.9
    assert accuracy(rows, "what is it ?") <= 0.3


def test_an_image_becomes_nine_tokens_and_its_pixels_are_only_scaled(benchmark: dict[str, Dataset]) -> None:
    rows = benchmark["dev"].select(range(1))
    inputs = inputs_for(rows, "")
    assert int((inputs["input_ids"] == vlm("vlm").config.image_token_id).sum()) == 9
    scaled = np.asarray(rows[0]["image"], dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1
    assert np.allclose(inputs["pixel_values"][0].numpy(), scaled, atol=1e-5)


def test_chat_template_renders_parts_in_their_order_with_one_bos_and_ended_turns() -> None:
    assert asked("").strip() == "<bos> user : sum of <image> . assistant :"
    turns = [{"role": "user", "content": "sum of a 3 ."}, {"role": "assistant", "content": "ans 3"}]
    tokenizer = processor().tokenizer
    text = tokenizer.apply_chat_template(turns * 2, tokenize=False)
    assert text == "<bos> user : sum of a 3 . assistant : ans 3<eos> user : sum of a 3 . assistant : ans 3<eos>"
    once = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert once == tokenizer.apply_chat_template(turns * 2, tokenize=True)["input_ids"]
    assert [once.count(tokenizer.bos_token_id), once.count(tokenizer.eos_token_id)] == [1, 2]
    # The trap that the post-processor sets on purpose.
    assert tokenizer(text)["input_ids"] == [tokenizer.bos_token_id, *once]


def test_tokenizer_ignores_the_kind_of_white_space_and_knows_unknown_words() -> None:
    tokenizer = processor().tokenizer
    ids = tokenizer(" sum\n of<image>  zebra ", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "sum of <image> <unk>"
    padded = tokenizer(["a", "a b"], add_special_tokens=False, padding=True)["input_ids"]
    assert padded[0][0] == tokenizer.pad_token_id


def test_rendering_depends_on_the_seed_only() -> None:
    problem = problems.SumProblem((3, 1, 4, 1, 5, 9))
    first, again, other = (problems.render(problem, np.random.default_rng(seed)).tobytes() for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_a_response_cut_off_in_its_steps_has_no_answer() -> None:
    whole = problems.step_response(problems.SumProblem((3, 1, 4, 1, 5, 9)), np.random.default_rng(0))
    assert problems.read_answer(whole) == "3"
    assert problems.read_answer(whole.rsplit(" ", 1)[0]) is None
    assert problems.read_answer(whole.rsplit(" ", 5)[0]) is None
