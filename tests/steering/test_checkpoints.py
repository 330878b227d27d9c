"""A checkpoint that is not whole never answers: every tensor, shard and file in turn, by one sentence that names it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from l2v.checkpoint import check_kind, check_loaded, read_facts
from l2v.checkpoint_files import check_files
from l2v.errors import UserError
from l2v.steering import soundness
from l2v.steering.models import LoadedModel, ModelSpec, load_model

WEIGHTS = "model.safetensors"


def spec(folder: Path) -> ModelSpec:
    return ModelSpec("tests/broken", path=str(folder), dtype="float32")


def write(tensors: dict[str, torch.Tensor], folder: Path, name: str = WEIGHTS) -> None:
    save_file(tensors, folder / name, metadata={"format": "pt"})


def settings(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change config.json in place."""
    values = json.loads((folder / "config.json").read_text())
    change(values)
    (folder / "config.json").write_text(json.dumps(values))


@pytest.fixture
def copy(llava: LoadedModel, tmp_path: Path) -> Path:
    """A copy of the small LLaVA to be damaged."""
    return Path(shutil.copytree(str(llava.spec.path), tmp_path / "copy"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two blocks whose head is tied to its embeddings."""
    folder = tmp_path_factory.mktemp("text")
    tokens = families.tokenizer("<image>")
    config = families.text_config(tokens, num_hidden_layers=2, tie_word_embeddings=True)
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_one_weight_that_is_no_number_is_found(copy: Path, value: str) -> None:
    """It spreads over all tokens, and an answer is made of what is left."""
    tensors = load_file(copy / WEIGHTS)
    name = next(name for name in tensors if name.endswith("layers.1.self_attn.q_proj.weight") and "language" in name)
    tensors[name].view(-1)[3] = float(value)
    write(tensors, copy)
    with pytest.raises(UserError, match="no finite numbers, in .*layers.1.self_attn.q_proj.weight") as refused:
        load_model(spec(copy), "vision")
    assert str(copy) in str(refused.value)


def test_a_stretch_of_zeros_is_found(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a part of a download that never came leaves it amid a matrix; words that nobody uses may be zeros."""
    monkeypatch.setattr(soundness, "STRETCH", 128)
    tensors = load_file(copy / WEIGHTS)
    words = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors[words][-20:] = 0
    write(tensors, copy)
    load_model(spec(copy), "vision")
    name = next(name for name in tensors if name.endswith("layers.1.mlp.up_proj.weight"))
    tensors[name].view(-1)[500:760] = 0
    write(tensors, copy)
    with pytest.raises(UserError, match=r"'.*copy' holds 128 zeros on end in .*layers\.1\.mlp\.up_proj\.weight"):
        load_model(spec(copy), "vision")


def test_every_tensor_is_needed(copy: Path) -> None:
    """Each of a LLaVA's in turn is left out: tower, projector, blocks, head."""
    tensors = load_file(copy / WEIGHTS)
    assert len(tensors) > 60
    for name in tensors:
        write({key: value for key, value in tensors.items() if key != name}, copy)
        with pytest.raises(UserError) as told:
            load_model(spec(copy), "vision")
        assert name.split(".", 1)[1] in str(told.value), name


@pytest.mark.parametrize("harm", ["shape", "missing", "unexpected"])
def test_every_tensor_of_a_text_model(text: Path, tmp_path: Path, harm: str) -> None:
    """Of another shape, left out, or one too many beside it; the head that is tied to the embeddings is none of them."""
    folder = Path(shutil.copytree(text, tmp_path / "copy"))
    tensors = load_file(folder / WEIGHTS)
    assert "lm_head.weight" not in tensors
    load_model(spec(folder), "text")
    for name, value in tensors.items():
        changed = dict(tensors)
        if harm == "shape":
            changed[name] = torch.cat([value, value])
        elif harm == "missing":
            del changed[name]
        else:
            changed[name + "_more"] = value.clone()
        write(changed, folder)
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            load_model(spec(folder), "text")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_whole_numbers_are_no_weights(copy: Path, dtype: torch.dtype) -> None:
    """Each tensor in turn, unless a quantization_config says what they stand for; floats of 16 bits are weights."""
    tensors = load_file(copy / WEIGHTS)
    for name in tensors:
        write({**tensors, name: tensors[name].to(dtype)}, copy)
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            check_files(spec(copy), "vision")
    write({**tensors, name: tensors[name].to(torch.bfloat16)}, copy)
    check_files(spec(copy), "vision")


@pytest.mark.parametrize(("layers", "told"), [(9, "decoder block 3, 4, 5, 6 and 2 more"), (2, r"no place for .*layers\.2\.")])
def test_another_number_of_blocks(copy: Path, layers: int, told: str) -> None:
    settings(copy, lambda values: values["text_config"].update(num_hidden_layers=layers))
    with pytest.raises(UserError, match=told):
        load_model(spec(copy), "vision")


def test_another_width_is_told_without_loading(copy: Path) -> None:
    settings(copy, lambda values: values["text_config"].update(hidden_size=64))
    with pytest.raises(UserError, match=r"embed_tokens\.weight of \d+ x 32, .*hidden_size=64"):
        check_files(spec(copy), "vision")


@pytest.fixture
def shards(llava: LoadedModel, copy: Path) -> Path:
    """The copy in several files with their index."""
    (copy / WEIGHTS).unlink()
    llava.model.save_pretrained(copy, max_shard_size="40KB")
    assert len(list(copy.glob("*.safetensors"))) > 2
    load_model(spec(copy), "vision")
    return copy


def test_a_missing_shard(shards: Path) -> None:
    for file in sorted(shards.glob("*.safetensors")):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(UserError, match=file.name):
            check_files(spec(shards), "vision")
        file.write_bytes(content)
    check_files(spec(shards), "vision")


def test_shards_without_their_index(shards: Path) -> None:
    (shards / "model.safetensors.index.json").unlink()
    with pytest.raises(UserError, match=r"holds neither model\.safetensors nor model\.safetensors\.index\.json"):
        check_files(spec(shards), "vision")


def test_an_index_and_its_shards(shards: Path) -> None:
    """It names a shard that is not there, a tensor that is in another one, a place outside, or nothing at all."""
    index = shards / "model.safetensors.index.json"
    whole = json.loads(index.read_text())
    name, other = next(iter(whole["weight_map"])), sorted(set(whole["weight_map"].values()))
    wrong = [
        other[1] if whole["weight_map"][name] == other[0] else other[0],
        "model-00099-of-00099.safetensors",
        "../x.safetensors",
        3,
    ]
    for shard in wrong:
        index.write_text(json.dumps({**whole, "weight_map": {**whole["weight_map"], name: shard}}))
        with pytest.raises(UserError, match="index"):
            check_files(spec(shards), "vision")
    for content in ("", "[]", "{}", index.read_text()[:200], "\xff"):
        index.write_text(content, encoding="latin-1")
        with pytest.raises(UserError, match="index"):
            check_files(spec(shards), "vision")


def test_weights_that_are_there_twice(shards: Path, llava: LoadedModel) -> None:
    """A single file is what transformers reads, whichever of the two is the older one."""
    shutil.copy(Path(str(llava.spec.path)) / WEIGHTS, shards)
    with pytest.raises(UserError, match=f"weights twice, as {WEIGHTS} and as the shards .*delete"):
        check_files(spec(shards), "vision")


def note(file: Path, commit: str, digest: str = "0" * 64, later: float = 1.0) -> None:
    """What `hf download --local-dir` writes of a file that it fetched."""
    notes = file.parent / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True, exist_ok=True)
    (notes / f"{file.name}.metadata").write_text(f"{commit}\n{digest}\n{file.stat().st_mtime + later}\n")


def test_shards_of_two_revisions(shards: Path) -> None:
    """Their names and shapes tell nothing; one that was changed by hand, and other files, may be of whatever revision."""
    first, *others = sorted(shards.glob("*.safetensors"))
    for file in (first, *others):
        note(file, "a" * 40)
    note(shards / "config.json", "b" * 40)
    check_files(spec(shards), "vision")
    note(others[0], "b" * 40, later=-60.0)
    check_files(spec(shards), "vision")
    note(others[0], "b" * 40)
    with pytest.raises(UserError, match=f"two revisions of the hub, .* of aaaaaaa and {others[0].name} of bbbbbbb; repeat"):
        load_model(spec(shards), "vision")


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.01, 0.2, 0.5, 0.9, 0.99, 0.99999])
def test_weights_that_were_cut_off(copy: Path, kept: float) -> None:
    file = copy / WEIGHTS
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=WEIGHTS):
        check_files(spec(copy), "vision")


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "internvl", "idefics2"])
def test_every_file_is_needed(family: str, tmp_path: Path) -> None:
    """Left out, emptied, cut in half, a list: told, never replaced by a guess. A generation config a model may lack."""
    whole = families.load(family, tmp_path / "whole").spec.path
    for file in sorted(Path(str(whole)).iterdir()):
        if file.name in ("generation_config.json", "chat_template.jinja"):
            continue  # the first is no part of every checkpoint; without a template no question can be put (chat_prompt)
        for harm in ("gone", "empty", "half", "list"):
            folder = Path(shutil.copytree(str(whole), tmp_path / f"{file.name}.{harm}"))
            content = file.read_bytes()
            (folder / file.name).write_bytes({"empty": b"", "half": content[: len(content) // 2]}.get(harm, b"[1, 2]"))
            if harm == "gone":
                (folder / file.name).unlink()
            with pytest.raises(UserError) as told:
                read_facts(spec(folder))
                load_model(spec(folder), "vision")
            assert len(str(told.value).splitlines()) == 1


def test_spare_tensors_are_no_error(text: Path, tmp_path: Path) -> None:
    """Buffers of old checkpoints, and heads that predict further tokens."""
    folder = Path(shutil.copytree(text, tmp_path / "copy"))
    spare = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.embeddings.position_ids": torch.arange(4),
        "mtp.fc.weight": torch.ones(4, 4),
    }
    write({**load_file(folder / WEIGHTS), **spare}, folder)
    load_model(spec(folder), "text")
    with pytest.raises(UserError, match="score"):
        check_loaded({"unexpected_keys": ["score.weight", *spare]}, "here")


def test_a_kind_of_model_that_cannot_serve(text: Path, llava: LoadedModel) -> None:
    """Told from config.json alone; kinds that transformers loads both ways are taken both ways."""
    with pytest.raises(UserError, match=r"text model \(llama\).*target"):
        check_kind(spec(text), "vision")
    with pytest.raises(UserError, match=r"image-text model \(llava\).*source"):
        check_kind(llava.spec, "text")
    check_kind(spec(text), "text")
    check_kind(llava.spec, "vision")


@pytest.mark.parametrize(
    ("text_config", "kind"), [({"vision_config": {}, "model_type": "gemma3"}, "text"), ({"image_size": 3}, "vision")]
)
def test_a_kind_that_only_loading_can_tell_is_left_to_it(text_config: dict[str, Any], kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(text_config))
    check_kind(spec(tmp_path), kind)


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (
            {"adapter_config.json": '{"base_model_name_or_path": "org/base"}', "adapter_model.safetensors": "x"},
            "adapter .* 'org/base'",
        ),
        ({"model-q4.gguf": "GGUF"}, "l2v convert model=.*model-q4.gguf"),
        ({}, "no config.json; give the folder"),
        ({"config.json": '{"model_type": "llama"}', "pytorch_model.bin": "x"}, "pickled"),
        ({"config.json": '{"model_type": "llama"}'}, r"no \*\.safetensors"),
    ],
)
def test_what_is_no_whole_checkpoint_is_called_by_its_name(held: dict[str, str], told: str, tmp_path: Path) -> None:
    for name, content in held.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=told):
        load_model(spec(tmp_path), "text")


@pytest.mark.parametrize("name", [WEIGHTS, "generation_config.json", "chat_template.jinja"])
def test_a_link_to_a_file_that_is_not_there_is_named(name: str, text: Path, tmp_path: Path) -> None:
    """As in a snapshot of the hub's cache whose download was broken off; a file that need not be there would be passed over."""
    folder = Path(shutil.copytree(text, tmp_path / "copy"))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../blobs/gone")
    with pytest.raises(UserError, match=f"'{name}'.* download it again"):
        check_kind(spec(folder), "text")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("GGUF")
    with pytest.raises(UserError, match="is a file, .*l2v convert"):
        read_facts(spec(tmp_path / "model.gguf"))


def test_what_files_tell_needs_no_torch(copy: Path, text: Path) -> None:
    code = f"""
import sys
from l2v.checkpoint import ModelSpec, check_kind, read_facts
from l2v.checkpoint_files import check_files
for folder, kind in (({str(copy)!r}, "vision"), ({str(text)!r}, "text")):
    spec = ModelSpec("a/b", path=folder)
    read_facts(spec), check_kind(spec, kind), check_files(spec, kind)
assert not {{"torch", "transformers"}} & set(sys.modules), "imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
