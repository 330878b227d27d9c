"""InternVL2's original layout into transformers' own: shapes, numbers, tokens and prompts, and what interrupts it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import families
import internvl2_original as original
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from l2v.convert import shards
from l2v.convert.checkpoint import convert
from l2v.errors import UserError
from l2v.steering.engine.engine import Decoding, Request, generate_rows
from l2v.steering.models import LoadedModel, ModelSpec, load_model
from l2v.steering.prompts import chat_prompt, encode_prompts

KINDS = {
    "internlm2": ("internlm2", False),
    "internlm2_big": ("internlm2", True),
    "qwen2": ("qwen2", False),
    "llama": ("llama", True),
}
SMALL = 60_000  # bytes of a shard: several of them


class Case:
    """One original checkpoint and what became of it."""

    def __init__(self, kind: str, root: Path) -> None:
        backbone, big = KINDS[kind]
        self.source = original.write(root / "original", backbone, big)
        self.config: dict[str, Any] = json.loads((self.source / "config.json").read_text())
        self.weights = {k: v for file in sorted(self.source.glob("*.safetensors")) for k, v in load_file(file).items()}
        self.out = root / "converted"
        self.done = convert(self.source, self.out, lambda _: None, SMALL)
        self.loaded: LoadedModel = load_model(ModelSpec("tests/internvl2", path=str(self.out)), "vision")


@pytest.fixture(scope="module", params=sorted(KINDS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Each backbone in turn, with either kind of vision tower."""
    return Case(request.param, tmp_path_factory.mktemp(request.param))


def test_logits_are_those_of_the_original(case: Case) -> None:
    """With tiles of a picture and text, against the authors' arithmetic restated in plain torch; and the picture counts."""
    request = [families.picture(40, 20, 3)]
    inputs = encode_prompts(case.loaded, [chat_prompt(case.loaded, "<image>the sum of w1", 1)], [request])
    with torch.no_grad():
        found = case.loaded.model(**inputs).logits[0]
        other = case.loaded.model(**{**inputs, "pixel_values": -inputs["pixel_values"]}).logits[0]
    ids = inputs["input_ids"][0].tolist()
    assert inputs["pixel_values"].shape[0] == 3  # two tiles and the thumbnail
    image = case.loaded.model.config.image_token_id
    assert ids.count(image) == 3 * 4
    expected = original.logits(case.weights, case.config, ids, inputs["pixel_values"], image)
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)
    assert float((found - other).abs().max()) > 0.1


def test_every_weight_is_there_once(case: Case) -> None:
    """Nothing was newly initialised, nothing left over: the same numbers, in other places."""
    converted = {k: v for file in case.out.glob("*.safetensors") for k, v in load_file(file).items()}
    assert sum(v.numel() for v in converted.values()) == sum(v.numel() for v in case.weights.values())
    model = dict(case.loaded.model.named_parameters())
    assert set(converted) == set(model)
    assert all(torch.equal(converted[name], model[name]) for name in converted)
    total = sum(float(v.double().square().sum()) for v in case.weights.values())
    assert sum(float(v.double().square().sum()) for v in converted.values()) == pytest.approx(total)
    assert case.done.tensors == len(converted)
    assert case.done.written > 2


def test_the_prompt_is_the_authors(case: Case) -> None:
    """System message, turns and picture as their `chat` writes them; BOS only where their tokenizer adds one."""
    inputs = encode_prompts(case.loaded, [chat_prompt(case.loaded, "<image>the sum", 1)], [[families.picture(16, 16)]])
    system = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
    prompt = chat_prompt(case.loaded, "<image>the sum", 1)
    assert prompt == (
        f"<|im_start|>system\n{system}<|im_end|><|im_start|>user\n<IMG_CONTEXT>\nthe sum<|im_end|><|im_start|>assistant\n"
    )
    ids = inputs["input_ids"][0].tolist()
    tokens = case.loaded.tokenizer.convert_ids_to_tokens(ids)
    assert tokens[tokens.index("<img>") : tokens.index("</img>") + 1] == ["<img>", *["<IMG_CONTEXT>"] * 4, "</img>"]
    has_bos = case.config["llm_config"]["model_type"] != "qwen2"
    assert tokens[0] == ("<s>" if has_bos else "<|im_start|>")
    assert tokens.count("<s>") == int(has_bos)
    assert set(case.loaded.model.generation_config.eos_token_id) >= {case.loaded.tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_it_answers(case: Case) -> None:
    """Through the engine, as any target."""
    answers = generate_rows(case.loaded, [(Request("a", "<image>the sum", (families.picture(30, 60),)), None)], Decoding(4))
    assert answers[0].tokens >= 1


@pytest.fixture(scope="module")
def internlm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One original checkpoint to be spoilt in copies."""
    return original.write(tmp_path_factory.mktemp("original"), "internlm2")


def test_sentencepiece_is_spelt_alike(internlm2: Path, tmp_path: Path) -> None:
    """Against a restatement of SentencePiece's joining, bytes for strangers, and back to the same text."""
    from transformers.convert_slow_tokenizer import import_protobuf

    from l2v.convert.processor import build_tokenizer

    proto = import_protobuf().ModelProto()
    proto.ParseFromString((internlm2 / "tokenizer.model").read_bytes())
    scores = {p.piece: p.score for p in proto.pieces if p.type == 1}
    tokenizer = build_tokenizer(internlm2, "")
    for text in ("the sum of a the is", "  thesum,is 3\n\nof", "Zürich 中 the", "ssumum ttheof"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids == original.spelt(text, tokenizer.get_vocab(), scores), text
        assert tokenizer.decode(ids) == text
    assert tokenizer("<|im_start|>the<img>")["input_ids"][0] == tokenizer.bos_token_id
    settings = json.loads((internlm2 / "tokenizer_config.json").read_text())
    for i, token in settings["added_tokens_decoder"].items():
        assert tokenizer.convert_tokens_to_ids(token["content"]) == int(i)
    assert len(tokenizer("<|im_end|><IMG_CONTEXT>", add_special_tokens=False)["input_ids"]) == 2


def test_interrupted_it_goes_on(internlm2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole shards stay as they are, a torn one and one of another source are written again; no config before the end."""
    out, count = tmp_path / "out", 0
    real = shards.write_shard

    def dies(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        real(*arguments)

    monkeypatch.setattr(shards, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        convert(internlm2, out, lambda _: None, SMALL)
    monkeypatch.undo()
    assert not (out / "config.json").exists()
    first, second = sorted(out.glob("*.safetensors"))
    times = first.stat().st_mtime_ns
    second.write_bytes(second.read_bytes()[:-7])
    done = convert(internlm2, out, lambda _: None, SMALL)
    assert first.stat().st_mtime_ns == times
    assert done.kept == 1
    assert json.loads((out / "config.json").read_text())["model_type"] == "internvl"
    again = convert(internlm2, out, lambda _: None, SMALL)
    assert (again.written, again.kept) == (0, done.written + 1)
    changed = shutil.copytree(internlm2, tmp_path / "changed")
    file = sorted(changed.glob("*.safetensors"))[0]
    weights = load_file(file)
    key = sorted(weights)[0]
    save_file({**weights, key: weights[key] + 1}, file)
    assert convert(changed, out, lambda _: None, SMALL).written >= 1


def spoil_config(folder: Path, **changes: Any) -> None:
    """Change config.json; a key with two underscores stands for a nested one."""
    path = folder / "config.json"
    values = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, leaf = key.partition("__")
        if leaf:
            values[part][leaf] = value
        else:
            values[key] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llm_config__architectures": ["Phi3ForCausalLM"]}, "Phi-3"),
        ({"llm_config__architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
        ({"model_type": "llava"}, "authors' layout"),
        ({"ps_version": "v1"}, "ps_version"),
        ({"use_llm_lora": 16}, "use_llm_lora"),
        ({"llm_config__intermediate_size": 96}, "do not belong together"),
        ({"llm_config__num_hidden_layers": 4}, "lacks 9 tensors"),
        ({"llm_config__num_hidden_layers": 2}, "which the model does not have"),
        ({"llm_config__num_key_value_heads": 6}, "80 rows of queries, keys and values are none of 6 heads of 3"),
        ({"template": "vicuna"}, "prompt template"),
    ],
)
def test_what_does_not_fit_is_refused(internlm2: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """In a sentence, and before anything is written."""
    folder = shutil.copytree(internlm2, tmp_path / "copy")
    spoil_config(folder, **changes)
    with pytest.raises(UserError, match=message):
        convert(folder, tmp_path / "out", lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_head_beside_the_embedding_that_it_is_tied_to(internlm2: Path, tmp_path: Path) -> None:
    """One that differs was left out without a word; an equal one changes nothing."""
    folder = shutil.copytree(internlm2, tmp_path / "copy")
    spoil_config(folder, llm_config__tie_word_embeddings=True)
    convert(folder, tmp_path / "apart", lambda _: None)
    with pytest.raises(UserError, match=r"ties lm_head\.weight to .*, and its files hold two that differ"):
        load_model(ModelSpec("tests/apart", path=str(tmp_path / "apart"), dtype="float32"), "vision")
    for keep in (True, False):
        weights = {key: value for file in sorted(internlm2.glob("*.safetensors")) for key, value in load_file(file).items()}
        head, words = "language_model.output.weight", "language_model.model.tok_embeddings.weight"
        weights = {key: value for key, value in weights.items() if key != head} | (
            {head: weights[words].clone()} if keep else {}
        )
        for file in folder.glob("*.safetensors*"):
            file.unlink()
        save_file(weights, folder / "model.safetensors")
        convert(folder, tmp_path / f"same{keep}", lambda _: None)
        load_model(ModelSpec("tests/same", path=str(tmp_path / f"same{keep}"), dtype="float32"), "vision")


def test_damaged_and_foreign_files_are_refused(internlm2: Path, tmp_path: Path) -> None:
    """A torn shard, a missing one, an unknown tensor, pickles, and a folder that holds something else."""
    out = tmp_path / "out"
    folder = shutil.copytree(internlm2, tmp_path / "copy")
    files = sorted(folder.glob("*.safetensors"))
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        convert(folder, out, lambda _: None)
    files[1].write_bytes(whole[: -len(whole) // 2] + bytes(len(whole) - len(whole[: -len(whole) // 2])))
    with pytest.raises(UserError, match="is zeros throughout"):
        convert(folder, out, lambda _: None)
    files[1].unlink()
    with pytest.raises(UserError, match="lacks model-00002-of-00002"):
        convert(folder, out, lambda _: None)
    for name in ("model.safetensors.index.json", "tokenizer_config.json", "config.json"):
        text = (folder / name).read_bytes()
        (folder / name).write_bytes(text[: len(text) // 2])
        with pytest.raises(UserError, match=f"{name}' cannot be read as JSON"):
            convert(folder, out, lambda _: None)
        (folder / name).write_bytes(text)
    files[1].write_bytes(whole)
    save_file({**load_file(files[0]), "language_model.surprise.weight": torch.zeros(2)}, files[0])
    with pytest.raises(UserError, match="surprise"):
        convert(folder, out, lambda _: None)
    for file in files:
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="pickles"):
        convert(folder, out, lambda _: None)
    out.mkdir()
    save_file({"a": torch.zeros(1)}, out / "mine.safetensors")
    with pytest.raises(UserError, match=r"mine\.safetensors"):
        convert(internlm2, out, lambda _: None)


def test_memory_holds_a_shard(case: Case) -> None:
    """No shard above the limit but those of one tensor."""
    for file in case.out.glob("*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            assert len(opened.keys()) == 1 or file.stat().st_size < SMALL + 20_000


def test_what_was_converted_is_used_whole_or_not_at_all(internlm2: Path, tmp_path: Path) -> None:
    """Its shards are several: each of them damaged, and tensors of each."""
    convert(internlm2, tmp_path / "out", lambda _: None, 4 * SMALL)
    families.check_every_damage(tmp_path / "out", every=9)


def test_the_command(internlm2: Path, tmp_path: Path, l2v: Any) -> None:
    """Converts to a folder that runs as target.path; without a model, from a folder that is none, or offline: exit code 2."""
    out = tmp_path / "out"
    answer = l2v("convert", f"model={internlm2}", f"out={out}")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1].endswith(f"target.path={out}")
    load_model(ModelSpec("tests/internvl2", path=str(out)), "vision")
    assert l2v("convert", f"model={internlm2}", f"out={internlm2}").code == 2
    for words in (
        ("model=nobody/nothing", "out=x"),
        ("out=x",),
        (f"model={tmp_path}", "out=x"),
        ("model=a", "out=b", "shard_gb=0"),
    ):
        refused = l2v("convert", *words)
        assert refused.code == 2
        assert "Traceback" not in refused.err
        assert len(refused.err.strip().splitlines()) == 1
