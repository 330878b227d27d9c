"""A checkpoint whose files contradict one another, or ask for what no study does: one sentence before it answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
from safetensors.torch import load_file, save_file

from l2v.checkpoint import ModelSpec
from l2v.config import ModelConfig
from l2v.errors import UserError
from l2v.generation import FOLLOWED, followed
from l2v.sizes import check_areas, check_numbers_of, check_two_processors, check_vocabulary
from l2v.steering.engine.engine import Decoding, Engine, Request, Row
from l2v.steering.engine.reference import generate_apart
from l2v.steering.models import LoadedModel, check_quantizer, load_model
from l2v.steering.prompts import chat_prompt, encode_prompts
from l2v.study.preflight.checkpoints import look
from l2v.study.preflight.problems import Problems

TEXTS, PICTURES, ANSWERS = "config.json", "processor_config.json", "generation_config.json"
OLDER, TOKENS, MARKS = "preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json"


def load(folder: Path) -> LoadedModel:
    return load_model(ModelSpec("tests/copy", path=str(folder), dtype="float32"), "vision")


@pytest.fixture
def copy(llava: LoadedModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(str(llava.spec.path), tmp_path / "copy"))


def change(file: Path, part: str | None, values: dict[str, Any]) -> None:
    """Let a file, or a part of it, say something else."""
    told = json.loads(file.read_text())
    (told if part is None else told[part]).update(values)
    file.write_text(json.dumps(told))


def added(**words: int) -> dict[str, Any]:
    return {"added_tokens_decoder": {str(n): {"content": word, "special": True} for word, n in words.items()}}


# What a file of a checkpoint becomes (None: of a key of its own), and what is told of it.
DISAGREEING: dict[str, tuple[str, dict[str, Any], str]] = {
    "a word of another number": ("added_tokens.json", {"w1": 30}, "gives the number 30 to 'w1', and it is that of"),
    "a word beyond": ("added_tokens.json", {"w1": 9000}, r"gives 'w1' the number 9000, and tokenizer\.json "),
    "a number of another word": ("tokenizer_config.json", added(w1=2), "gives the number 2 to 'w1', and it is that of '</s>'"),
    "two words of a number": ("tokenizer.json", {"w1": 30}, "gives the number 30 to "),
    "a mark that is a word": (
        TOKENS,
        {"pad_token": "w22"},
        r"tokenizer_config\.json' names 'w22' as pad_token, and it is a word",
    ),
    "an end that is a word": (TOKENS, {"eos_token": {"content": "w5"}}, "names 'w5' as eos_token, and it is a word"),
    "marks that are words": (TOKENS, {"extra_special_tokens": ["</s>", "w57"]}, "names 'w57' as extra_special_tokens"),
    "a picture that is a word": (TOKENS, {"boi_token": "w1"}, "names 'w1' as boi_token"),
    "a word in an older file": (MARKS, {"mask_token": "w1"}, r"special_tokens_map\.json' names 'w1' as mask_token"),
    "two beginnings": (MARKS, {"bos_token": "</s>"}, r"two words as bos_token, '<s>' in .* and '</s>' in special_tokens_map"),
    "two ends": (MARKS, {"eos_token": {"content": "<pad>"}}, "two words as eos_token, '</s>' in .* and '<pad>' in"),
    "two sizes": (OLDER, {"size": 14}, r"twice, size=.*28.* in processor_config\.json and 14 in"),
    "two means": (OLDER, {"image_mean": 0.3}, r"twice, image_mean=\[.* and 0\.3 in"),
    "two areas": (OLDER, {"min_pixels": 4096, "size": {"shortest_edge": 3136}}, "min_pixels=4096 of .* and shortest_edge=3136"),
    "two templates": (PICTURES, {"chat_template": "x"}, f"two chat templates that differ, {PICTURES} and chat_template"),
}


@pytest.mark.parametrize("name", DISAGREEING)
def test_files_that_disagree_on_words_are_refused(name: str, copy: Path) -> None:
    """Each answered without a word, and answered other things."""
    file, values, told = DISAGREEING[name]
    held = json.loads((copy / file).read_text()) if (copy / file).exists() else {}
    (held["model"]["vocab"] if file == "tokenizer.json" else held).update(values)
    (copy / file).write_text(json.dumps(held))
    with pytest.raises(UserError, match=told) as error:
        load(copy)
    assert str(copy) in str(error.value)


def test_files_that_say_the_same_in_another_way_are_taken(copy: Path) -> None:
    """What an earlier transformers wrote beside, and a map that is not read where added tokens are listed."""
    made = json.loads((copy / PICTURES).read_text())["image_processor"]
    older = {"image_processor_type": "CLIPFeatureExtractor", "size": 28, "image_mean": made["image_mean"], "crop_size": None}
    (copy / OLDER).write_text(json.dumps(older))
    same = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": "</s>", "additional_special_tokens": ["<image>"]}
    (copy / MARKS).write_text(json.dumps(same))
    check_two_processors(copy)
    check_vocabulary(copy)
    change(copy / PICTURES, "image_processor", {"size": {"shortest_edge": 3136, "longest_edge": 5000}})
    (copy / OLDER).write_text(json.dumps({"size": {"min_pixels": 3136, "max_pixels": 5000}}))
    check_two_processors(copy)
    (copy / PICTURES).unlink()
    (copy / OLDER).write_text(
        json.dumps({"min_pixels": 3136, "max_pixels": 9, "size": {"min_pixels": 3136, "longest_edge": 9}})
    )
    check_areas(copy)
    (copy / MARKS).write_text(json.dumps({"eos_token": "w1"}))
    change(copy / TOKENS, None, added(**{"</s>": 2}))
    check_vocabulary(copy)


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ({"query_pre_attn_scalar": -8}, None, "query_pre_attn_scalar=-8, which must be above 0"),
        ({"rms_norm_eps": 0.5}, None, r"rms_norm_eps=0\.5, which must be at most 0\.01"),
        ({"norm_eps": 1e-5, "layer_norm_epsilon": 0.02}, None, r"layer_norm_epsilon=0\.02, which must be at most"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, 1e6, "rope_type=linear of its rotary .* and default in"),
        ({"rope_theta": 1e4}, 1e6, r"rope_theta=10000\.0 of its rotary .* and 1000000\.0 in"),
        ({"rope_local_base_freq": 5.0}, 1e6, r"rope_local_base_freq=5\.0 of its rotary .* and 10000\.0 in"),
    ],
)
def test_numbers_of_a_config_that_no_model_has(part: dict[str, Any], values: float | None, told: str) -> None:
    """Of Gemma 3 the rotary settings of each kind of block."""
    turns: dict[str, dict[str, Any]] = {"full_attention": {"rope_type": "default", "rope_theta": values},
             "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}  # fmt: skip
    config = {"text_config": part | ({"rope_parameters": turns} if values else {})}
    with pytest.raises(UserError, match=told):
        check_numbers_of(config, "here")
    turns["full_attention"]["rope_theta"] = 1e6
    same = {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"type": "default"}, "rope_parameters": turns}
    check_numbers_of({"text_config": {"rms_norm_eps": 1e-2, **same}}, "here")


SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 4}, {"num_return_sequences": 2}, {"penalty_alpha": 0.6}, {"guidance_scale": 2.0}, {"max_time": 1.0},
    {"stop_strings": ["w1"]}, {"forced_eos_token_id": 2}, {"watermarking_config": {"bias": 9.0}}, {"dola_layers": "low"},
    {"token_healing": True}, {"constraints": [1]}, {"force_words_ids": [[20]]}, {"cache_implementation": "quantized"},
]  # fmt: skip
SCALES: list[dict[str, Any]] = [
    {"image_std": [0, 0, 0]}, {"image_std": 0.0}, {"image_std": [0.5, 0.0, 0.5]}, {"image_std": [-0.5, 0.5, 0.5]},
    {"image_std": [0.5, 0.5]}, {"image_mean": [0.5]}, {"image_mean": "x"}, {"rescale_factor": 0},
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "part", "values"),
    [
        *((ANSWERS, None, values) for values in SEARCHES),
        *((PICTURES, "image_processor", values) for values in SCALES),
        *((TEXTS, None, {"quantization_config": {"quant_method": method}}) for method in ("zzz", "fp8", "gptq")),
    ],
    ids=str,
)
def test_what_it_says_is_refused_by_name(file: str, part: str | None, values: dict[str, Any], copy: Path) -> None:
    """Each of them was computed without a word, or told by another fault's name."""
    change(copy / file, part, values)
    with pytest.raises(UserError) as told:
        load(copy)
    (name, value), said = next(iter(values.items())), str(told.value)
    named = f"quant_method={value['quant_method']}" if name == "quantization_config" else f"{name}={value}"
    assert named in said and str(copy) in said and len(said.splitlines()) == 1, said


def test_a_quantization_that_nobody_knows_is_refused() -> None:
    check_quantizer({"quant_method": "gptq", "bits": 4}, "here")
    check_quantizer({"load_in_4bit": True}, "here")
    for settings in ({"quant_method": "zzz"}, {"bits": 4}):
        with pytest.raises(UserError, match="'here' says quant_method=.*transformers does not know"):
            check_quantizer(settings, "here")


def test_a_tied_head_that_is_another_one(copy: Path) -> None:
    """A config that ties them takes two that are equal, and no two that differ."""
    weights = load_file(copy / "model.safetensors")
    head, words = (next(name for name in weights if name.endswith(end)) for end in ("lm_head.weight", "embed_tokens.weight"))
    change(copy / TEXTS, None, {"tie_word_embeddings": True})
    change(copy / TEXTS, "text_config", {"tie_word_embeddings": True})
    with pytest.raises(UserError, match=r"ties .*lm_head\.weight to .*differ; set tie_word_embeddings=false"):
        load(copy)
    save_file(weights | {head: weights[words].clone()}, copy / "model.safetensors", metadata={"format": "pt"})
    load(copy)


def test_what_asks_for_nothing_and_what_saves_time_changes_no_answer(llava: LoadedModel, copy: Path) -> None:
    rows: list[Row] = [(Request(str(i), families.question(5, i), (families.picture(40, 30, i),)), None) for i in range(3)]
    expected = generate_apart(llava, rows, Decoding(8))
    nothing = {"num_beams": 1, "num_return_sequences": 1, "guidance_scale": 1.0, "stop_strings": None, "token_healing": False}
    faster = {"prompt_lookup_num_tokens": 3, "assistant_early_exit": 1, "is_assistant": True, "return_dict_in_generate": True}
    change(copy / ANSWERS, None, nothing | faster | {"do_sample": True, "temperature": 0.1, "max_length": 3})
    loaded, told = load(copy), list[str]()
    assert generate_apart(loaded, rows, Decoding(8)) == expected
    found = dict(Engine(loaded, Decoding(8), tell=told.append).answer(rows))
    assert [found[i] for i in range(3)] == expected and not told


# What each key is set to, given the answers without it as ids; whatever chooses among tokens, generate's own included.
ASKED: dict[str, Callable[[list[list[int]]], Any]] = {
    "repetition_penalty": lambda _: 1.4,
    "encoder_repetition_penalty": lambda _: 1.5,
    "no_repeat_ngram_size": lambda _: 1,
    "encoder_no_repeat_ngram_size": lambda _: 1,
    "bad_words_ids": lambda answers: [answers[0][:1], answers[1][1:3]],
    "min_length": lambda _: 18,
    "min_new_tokens": lambda _: 7,
    "suppress_tokens": lambda answers: [0, 1, 3, 4, 5, 6, 7, answers[0][0]],
    "begin_suppress_tokens": lambda answers: [ids[0] for ids in answers],
    "sequence_bias": lambda answers: [[[answers[0][0]], -9.0]],
    "exponential_decay_length_penalty": lambda _: [1, 9.0],
}
HARMLESS: dict[str, Any] = {"forced_bos_token_id": 20, "renormalize_logits": True, "max_length": 9, "min_p": 0.3}


def test_answers_are_those_of_the_models_own_generate(
    llava: LoadedModel, copy: Path, oracle: Callable[..., list[int]], recwarn: pytest.WarningsRecorder
) -> None:
    """Whatever its generation config changes is followed to the token, and told; what changes nothing is not told."""
    assert set(ASKED) == set(FOLLOWED)
    requests = [Request(str(i), f"<image> {families.question(3 + i, i)}", (families.picture(40, 30, i),)) for i in range(3)]
    whole = [oracle(llava, request) for request in requests]
    # The end comes early, so that what puts it off can be seen.
    own = json.loads((copy / ANSWERS).read_text())
    own["eos_token_id"] = [own["eos_token_id"], whole[0][2], whole[1][4]]

    def answered(settings: dict[str, Any]) -> list[list[int]]:
        (copy / ANSWERS).write_text(json.dumps(own | settings))
        loaded = load(copy)
        told = followed(loaded.model.generation_config.to_dict(), "here")
        assert [key for key in settings if f"{key}=" in told] == [key for key in settings if key in FOLLOWED]
        expected = [oracle(loaded, request) for request in requests]
        found = dict(Engine(loaded, Decoding(8)).answer([(request, None) for request in requests]))
        decode = loaded.tokenizer.decode
        assert [found[i].text for i in range(3)] == [decode(ids, skip_special_tokens=True) for ids in expected], settings
        return expected

    plain = answered({})
    same = {key for key, make in ASKED.items() if answered({key: make(whole)}) == plain}
    assert not same, same
    assert answered(HARMLESS) == plain
    assert not [one for one in recwarn if "Unfeasible" in str(one.message)]


def test_what_a_config_asks_of_answers_where_there_is_no_generation_config(copy: Path) -> None:
    """It is followed by a run, and told before one; what no answer is made by is refused there, too."""

    def told(**values: Any) -> tuple[list[str], list[str]]:
        change(copy / TEXTS, None, values)
        change(copy / TEXTS, "text_config", values)
        problems = Problems()
        look(ModelConfig(id="tests/copy", name="copy", path=str(copy), dtype="float32"), "target", None, problems, ["x"])
        return [one.what for one in problems.all()], [one.what for one in problems.notes()]

    (copy / ANSWERS).unlink()
    faults, notes = told(repetition_penalty=5.0, eos_token_id=[2, 29])
    assert not faults and any("repetition_penalty=5.0" in note for note in notes), (faults, notes)
    assert any("ends answers at token 29 ('w21'), a word like others" in note for note in notes), notes
    assert followed(load(copy).model.generation_config.to_dict(), "here")
    assert "asks for num_beams=4" in told(num_beams=4)[0][0]
    with pytest.raises(UserError, match="asks for num_beams=4"):
        load(copy)


def test_a_tokenizer_without_a_bos_adds_what_the_processor_adds(copy: Path) -> None:
    """Its own marks stand where `apply_chat_template` puts them: always, but where the template wrote a BOS."""
    told = json.loads((copy / "tokenizer_config.json").read_text())
    del told["bos_token"]
    (copy / "tokenizer_config.json").write_text(json.dumps(told))
    loaded = load(copy)
    turns = [{"role": "user", "content": [{"type": "text", "text": "w1 w2"}]}]
    whole = loaded.processor.apply_chat_template(turns, tokenize=True, return_dict=True, add_generation_prompt=True)
    inputs = encode_prompts(loaded, [chat_prompt(loaded, "w1 w2", 0)], [[]])
    assert loaded.tokenizer.bos_token is None and inputs["input_ids"].tolist() == whole["input_ids"]
    assert inputs["input_ids"][0, 0] == 1


def test_a_setting_that_its_own_generate_breaks_on_is_one_sentence(copy: Path) -> None:
    change(copy / TEXTS, None, {"return_dict": False})
    rows: list[Row] = [(Request("17", "w1", ()), None)]
    with pytest.raises(UserError, match=r"cannot answer question '17'.*AttributeError"):
        list(Engine(load(copy), Decoding(4)).answer(rows))


def beyond(folder: Path, *words: str) -> None:
    """Give these words ids that the model has no embeddings of."""
    told = json.loads((folder / "tokenizer.json").read_text())
    for word in words:
        told["model"]["vocab"][word] = 700 + len(word)
        next(token for token in told["added_tokens"] if token["content"] == word)["id"] = 700 + len(word)
    (folder / "tokenizer.json").write_text(json.dumps(told))


@pytest.mark.parametrize("word", ["<pad>", "</s>"])
def test_a_pad_or_end_token_without_an_embedding_is_never_read(word: str, llava: LoadedModel, copy: Path) -> None:
    """What fills up is not looked at, and the generation config says what ends an answer."""
    beyond(copy, word)
    rows: list[Row] = [(Request(str(n), families.question(n, n), (families.picture(40, 30),)), None) for n in (3, 9)]
    loaded = load(copy)
    assert loaded.tokenizer.pad_token_id < 700
    assert dict(Engine(loaded, Decoding(6)).answer(rows)) == dict(Engine(llava, Decoding(6)).answer(rows))


@pytest.mark.parametrize("words", [("</s>",), ("<pad>", "</s>")])
def test_an_end_token_that_no_model_writes_is_refused(words: tuple[str, ...], copy: Path) -> None:
    beyond(copy, *words)
    if len(words) == 1:
        change(copy / ANSWERS, None, {"eos_token_id": None})
        change(copy / TEXTS, "text_config", {"eos_token_id": None})
    with pytest.raises(UserError, match="ends texts with token 704, and the model knows"):
        load(copy)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_template_that_writes_the_day_writes_the_same_one_every_day(quote: str, copy: Path) -> None:
    template = copy / "chat_template.jinja"
    now = "{{ bos_token }} {% if strftime_now is defined %}{{ strftime_now( X%d %b %YX ) }}{% endif %}".replace("X", quote)
    template.write_text(template.read_text().replace("{{ bos_token }}", now))
    assert "26 Jul 2024" in chat_prompt(load(copy), "w1 w2", 1)


def test_questions_without_a_word_and_turns_in_another_order_are_refused(copy: Path) -> None:
    with pytest.raises(UserError, match="question is empty"):
        chat_prompt(load(copy), "  ", 0)
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text().replace("messages %}", "messages|reverse %}"))
    loaded = load(copy)
    assert "w1" in chat_prompt(loaded, "w1", 1)
    with pytest.raises(UserError, match="in another order"):
        chat_prompt(loaded, "w1", 1, history=(("w2", "w3"),))
