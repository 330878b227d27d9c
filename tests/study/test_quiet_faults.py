"""Faults with which a checkpoint answered all the same, or that only a question's turn told: named before a run, and no cell
of theirs is computed."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from study.test_more_faults import put, questions
from study.test_preflight import BASE, WORDS, changed, text_model, texts

ANSWERS, PICTURES = "generation_config.json", "processor_config.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def rope(**values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0, **values}}


# The family that is spoilt, what is put into which file (a part of config.json or of the image processor), and what is told.
SPOILT: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "stretched": ("llava_next", "text_config", rope(factor=-2.0), r"factor=-2\.0, which must be at least 1"),
    "unturned": ("llava_next", "text_config", rope(rope_theta=0), "rope_theta=0, which must be above 0"),
    "single": ("llava_next", "text_config", rope(rope_type="longrope", short_factor=[1.0], long_factor=[1.0] * 4),
               "short_factor=1 numbers, which must be 4"),
    "two_turns": ("llava_next", "text_config", {"rope_theta": 1e6}, r"=1000000\.0 of its rotary positions, and 10000\.0"),
    "rooted": ("llava_next", "text_config", {"rms_norm_eps": -1.0}, r"rms_norm_eps=-1\.0, which must be above 0"),
    "unrooted": ("llava_next", "text_config", {"rms_norm_eps": float("inf")}, "eps=inf, which must be a finite number"),
    "windowless": ("idefics2", "text_config", {"sliding_window": -5}, "sliding_window=-5, which must be above 0"),
    "unwindowed": ("qwen2_5_vl", "vision_config", {"window_size": 6}, "window_size=6, which must be at least 8"),
    "far_block": ("qwen2_5_vl", "vision_config", {"fullatt_block_indexes": [7]}, r"\[7\], which must be blocks from 0 to 1"),
    "other_tiles": ("llava_next", "image_processor", {"image_grid_pinpoints": [[14, 28], [28, 14], [28, 28], [42, 14]]},
                    r"other shapes of tiles in image_grid_pinpoints \(\[42, 14\]"),
    "few_tiles": ("internvl", "image_processor", {"min_patches": 5, "max_patches": 2}, "at least 5 and at most 2 tiles"),
    "edges": ("idefics2", "image_processor", {"size": {"shortest_edge": 40, "longest_edge": 28}}, "at least 40 and at most 28"),
    "long_patches": ("qwen2_vl", "image_processor", {"temporal_patch_size": 4}, r"another size .* \(192 values a patch"),
    "wide_patches": ("qwen2_5_vl", "image_processor", {"patch_size": 8}, r"another size .* \(384 values a patch"),
    "many_tiles": ("mllama", "image_processor", {"max_image_tiles": 6}, "do not fit each other, .* fails with its processor"),
    "unpunished": ("mllama", ANSWERS, {"repetition_penalty": 0}, "repetition_penalty=0, which must be a number above 0"),
    "spelt": ("llava_next", ANSWERS, {"no_repeat_ngram_size": "3"}, "no_repeat_ngram_size=3, which must be a whole number"),
    "flat_words": ("llava_next", ANSWERS, {"bad_words_ids": [5]}, r"bad_words_ids=\[5\], which must be a list of lists"),
    "biased": ("llava_next", ANSWERS, {"sequence_bias": {"5": -1.0}}, "which must be a list of pairs"),
    "startless": ("llava_next", ANSWERS, {"exponential_decay_length_penalty": [1]}, "which must be a start and a factor"),
    "roomless": ("llava_next", ANSWERS, {"min_new_tokens": 9}, "min_new_tokens=9, and an answer has at most 4"),
    "foreign": ("llava_next", ANSWERS, {"eos_token_id": [20, 21]}, r"ends answers with token \[20, 21\] .* a word like others"),
    "endless": ("llava_next", ANSWERS, {"suppress_tokens": [2]}, r"forbids what ends an answer \(eos_token_id=2\)"),
    "unending": ("llava_next", ANSWERS, {"bad_words_ids": [[2]]}, r"forbids what ends an answer .*by bad_words_ids"),
    "speechless": ("llava_next", ANSWERS, {"begin_suppress_tokens": [*range(100)]}, "leaves no token to choose"),
}  # fmt: skip
TEMPLATES = {
    "twice": ("llava_next", " {{ part['text'] }}", " {{ part['text'] }} {{ part['text'] }}", "writes a question twice"),
    "random": ("llava_next", " assistant :", " assistant : {{ range(99)|random }}", "writes another prompt each time"),
    "ended": (
        "llava_next",
        " assistant :{% endif %}",
        " assistant : </s>{% endif %}",
        "template .* ends a question with '</s>'",
    ),
    "bom": ("llava_next", "{{ bos_token }}", "\ufeff{{ bos_token }}", "writes a byte order mark"),
    "unended": ("qwen2_vl", "<|vision_end|>", "", r"stands behind a picture \(vision_end_token_id\), and there is none"),
    "unmarked": ("qwen2_vl", "<|vision_start|>", "", "vision_start_token_id.*, and there is none in a prompt"),
}


def without(folder: Path, word: str) -> None:
    """A tokenizer that has lost one of its model's marks."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        told = json.loads((folder / file).read_text())
        told.get("model", {}).get("vocab", {}).pop(word, None)
        if "added_tokens" in told:
            told["added_tokens"] = [token for token in told["added_tokens"] if token["content"] != word]
        (folder / file).write_text(json.dumps(told))


def zeros(folder: Path, end: str) -> None:
    """Weights of which one matrix is zeros."""
    file = folder / "model.safetensors"
    held = {name: torch.zeros_like(one) if name.endswith(end) else one for name, one in load_file(file).items()}
    save_file(held, file, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folders, the experiment that meets each of them beside two cells that are sound, and what is told of each."""
    import families

    at = tmp_path_factory.mktemp("quiet")
    for family in ("llava_next", "qwen2_vl", "qwen2_5_vl", "internvl", "idefics2", "smolvlm", "mllama"):
        families.load(family, at / family)
    sound, data, short = text_model(at / "sound"), questions(at / "data"), texts(at / "short.jsonl", 4)
    told: dict[str, str] = {}
    for name, (family, part, values, what) in SPOILT.items():
        if part.endswith(".json"):
            changed(at / family, at / name, part, **values)
        else:
            put(at / family, at / name, part, PICTURES if part == "image_processor" else "config.json", **values)
        told[name] = what
    for name, (family, old, new, what) in TEMPLATES.items():
        shutil.copytree(at / family, at / name)
        text = (at / name / "chat_template.jinja").read_text()
        assert old in text
        (at / name / "chat_template.jinja").write_text(text.replace(old, new))
        told[name] = what
    for name, family in (("rowless", "smolvlm"), ("ends", "idefics2"), ("two_files", "qwen2_vl"), ("headless", "llava_next"),
                         ("pointer", "llava_next"), ("said_twice", "llava_next"), ("unclosed", "internvl"),
                         ("templates", "llava_next")):  # fmt: skip
        shutil.copytree(at / family, at / name)
    without(at / "rowless", "<row_1_col_2>")
    core = json.loads((at / "ends" / "tokenizer.json").read_text())
    core["post_processor"]["single"].append({"SpecialToken": {"id": "</s>", "type_id": 0}})
    core["post_processor"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}
    (at / "ends" / "tokenizer.json").write_text(json.dumps(core))
    (at / "two_files" / "preprocessor_config.json").write_text(json.dumps({"patch_size": 4, "image_mean": [0.4] * 3}))
    zeros(at / "headless", "lm_head.weight")
    said = (at / "said_twice" / "config.json").read_text().rstrip().removesuffix("}")
    (at / "said_twice" / "config.json").write_text(said + ', "vision_feature_layer": -2}')
    without(at / "unclosed", "</img>")
    other = (at / "llava_next" / "chat_template.jinja").read_text().replace(" assistant :", " assistant : w1")
    (at / "templates" / "chat_template.json").write_text(json.dumps({"chat_template": other}))
    (at / "pointer" / "tokenizer.json").write_text(POINTER)
    shutil.copytree(at / "llava_next", at / "cache" / "snapshots" / "abc")
    told |= {
        "rowless": "does not know what it writes for a picture",
        "ends": "tokenizer .* ends a question with '</s>'",
        "two_files": "sets pictures twice, image_mean",
        "headless": "lm_head.weight is zeros throughout",
        "pointer": "'tokenizer.json' in .* is a pointer of Git LFS",
        "said_twice": "it says two things of vision_feature_layer",
        "unclosed": "names '</img>', and its vocabulary lacks it",
        "templates": "holds two chat templates that differ",
        "cache": "holds no config.json",
    }
    shutil.copytree(sound, at / "zero_source")
    zeros(at / "zero_source", "down_proj.weight")
    config = transformers.BertConfig(vocab_size=80, hidden_size=32, num_hidden_layers=3, num_attention_heads=4)
    transformers.BertForMaskedLM(config).save_pretrained(at / "encoder")
    shutil.copytree(sound, at / "encoder", dirs_exist_ok=True, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    changed(sound, at / "padded", "config.json", pad_token_id=9999)
    sources = {"zero_source": "zeros throughout", "encoder": r"is an encoder \(bert\)", "padded": "Padding_idx"}
    asked = ["benchmark=mathvista", "benchmark.id=x/y", "benchmark.revision=null", f"benchmark.path={data}"]

    def cell(target: str, source: str = "sound", method: str = "direct") -> list[str]:
        models = [f"target.path={at / target}", f"source.path={at / source}"]
        return [*BASE, f"method={method}", *models, f"contrast.path={short}", "contrast.name=short", *asked]

    blocks = [
        cell("llava_next", "sound", "direct,l2v"),
        *(cell(name) for name in told),
        *(cell("llava_next", name, "l2v") for name in sources),
    ]
    (at / "experiment").mkdir()
    (at / "experiment" / "quiet.yaml").write_text(f"# @package _global_\nstudy: quiet\nblocks: {json.dumps(blocks)}\n")
    return at, told | sources


def test_each_is_named_once_before_a_run_and_none_is_computed(
    quiet: tuple[Path, dict[str, str]], l2v: Callable[..., Any], tmp_path: Path
) -> None:
    at, told = quiet
    words = ("--multirun", "--config-dir", str(at), "+experiment=quiet", f"runtime.outputs={tmp_path}", *WORDS)
    answer = l2v("preflight", "format=json", *words)
    assert answer.code == 1 and "Traceback" not in answer.err, answer.err
    found = json.loads(answer.out)
    problems = [one["what"] for one in found["problems"]]
    missed = [
        name for name, what in told.items() if not any(f"{at / name}" in one and re.search(what, one) for one in problems)
    ]
    assert not missed, (missed, answer.out)
    assert len(found["problems"]) == len(told), answer.out
    assert (found["cells"], found["blocked"]) == (len(told) + 2, len(told))
    run = l2v("run", *words)
    assert run.code == 1 and "Traceback" not in run.err and "[transformers]" not in run.err, run.err
    assert len(list((tmp_path / "quiet").glob("cells/*/DONE"))) == 2, run.err
