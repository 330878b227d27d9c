"""A checkpoint before and after it is loaded: what its files say of it, and whether a load found every tensor. No torch.

A copy or download that broke off must never answer: transformers fills what is missing with random numbers and goes on. The
JSON of a folder and the headers of its safetensors are read in milliseconds, before anything heavy is imported; what only the
model's class can tell is checked from transformers' own account of the load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import l2v.tensors
from l2v.errors import UserError
from l2v.hub import bound_requests, unanswered
from l2v.images import ImageSettings
from l2v.kinds import ENCODERS, TEXTS, has_eyes, types
from l2v.tensors import json_object, listed, shape_text, shortened, spare

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("4bit", "8bit")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential", "cpu", "mps", "cuda", "cuda:0")

# What a model's path must be.
WHOLE = "give the folder of a whole checkpoint: config.json, *.safetensors, tokenizer"


@dataclass(frozen=True)
class ModelSpec:
    """What to load: a hub id with its revision, or a local folder (`path`) that takes its place.

    quantization: None, "4bit" (NF4) or "8bit" (LLM.int8), through bitsandbytes; it changes what the model computes.
    attention: the kernel ("sdpa", "eager", "flash_attention_2"; None: transformers' choice): the same function up to
    rounding. device_map: accelerate's placement; None puts the whole model on one device. images: what differs from the
    checkpoint's own image processor.
    """

    id: str
    revision: str | None = None
    path: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False
    device_map: str | None = None
    quantization: str | None = None
    attention: str | None = None
    images: ImageSettings | None = None

    @property
    def place(self) -> str:
        """The folder or id, as sentences name it; nothing is looked up."""
        return self.id if self.path is None else self.path

    def where(self) -> str:
        """The folder or id that is handed to `from_pretrained`. Raises UserError when the folder is missing."""
        if self.path is None:
            return self.id
        if Path(self.path).is_file():
            convert = f"`l2v convert model={self.path} out=FOLDER` writes one" if self.path.endswith(".gguf") else WHOLE
            raise UserError(f"The path '{self.path}' (for {self.id}) is a file, no folder of a checkpoint; {convert}.")
        if not Path(self.path).is_dir():
            raise UserError(f"The path '{self.path}' (for {self.id}) does not exist; give the folder of a whole checkpoint.")
        return self.path


@dataclass(frozen=True)
class ModelFacts:
    """Depth and width of a model's decoder, as its config tells them."""

    layers: int
    width: int


def read_facts(spec: ModelSpec) -> ModelFacts:
    """Depth and width from the model's config alone; no weights are read. Raises UserError as `load_model` does."""
    if spec.path is not None:
        check_whole(spec)
        file = Path(spec.where()) / "config.json"
        stand = file.stat()
        return _facts(spec, str(file), (stand.st_mtime_ns, stand.st_size))
    return _hub_facts(spec)


@lru_cache(maxsize=64)
def _facts(spec: ModelSpec, file: str, _stand: tuple[int, int]) -> ModelFacts:
    """`_stand`: the file's time and size, so that a mended one is read again."""
    text = text_config(json_object(Path(file)))
    if "num_hidden_layers" in text and "hidden_size" in text:
        return ModelFacts(_whole(text, "num_hidden_layers", file), _whole(text, "hidden_size", file))
    return _library_facts(spec)


@lru_cache(maxsize=64)
def _hub_facts(spec: ModelSpec) -> ModelFacts:
    from huggingface_hub import hf_hub_download

    bound_requests()
    try:
        file = hf_hub_download(spec.id, "config.json", revision=spec.revision)
    except Exception:
        return _library_facts(spec)  # says why it cannot be had
    return _facts(spec, file, (0, 0))


def _library_facts(spec: ModelSpec) -> ModelFacts:
    """Through transformers, whose import takes seconds, for a config that leaves them to its class."""
    from transformers import AutoConfig

    config = from_pretrained(AutoConfig, spec).get_text_config()
    return ModelFacts(int(config.num_hidden_layers), int(config.hidden_size))


def text_config(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model."""
    for name in ("text_config", "llm_config"):
        if isinstance(values.get(name), dict):
            return dict(values[name])
    return values


def _whole(values: Mapping[str, Any], key: str, file: str) -> int:
    value = values[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{key}={str(value)[:40]} in '{file}' must be a whole number of at least 1.")
    return value


# -- before the load -------------------------------------------------------------------------------------------------


def target_kind(spec: ModelSpec) -> str:
    """The kind "text" for a local folder whose config tells of no eyes; else "vision", of which loading tells the rest."""
    if spec.path is None or spec.trust_remote_code or not (file := Path(spec.where()) / "config.json").is_file():
        return "vision"
    return "vision" if has_eyes(json_object(file)) else "text"


def check_whole(spec: ModelSpec) -> None:
    """Raise UserError for a folder that is plainly no whole checkpoint: an adapter, GGUF files, no config.json at all."""
    if spec.path is None:
        return
    l2v.tensors.check_links(folder := Path(spec.where()))
    if (adapter := folder / "adapter_config.json").is_file():
        base = json_object(adapter).get("base_model_name_or_path")
        raise UserError(
            f"'{spec.path}' is an adapter (PEFT) of '{base}', no whole model; write the merged one with peft's "
            "merge_and_unload and save_pretrained, and give its folder."
        )
    if not (folder / "config.json").is_file():
        gguf = next(folder.glob("*.gguf"), None)
        mend = WHOLE if gguf is None else f"`l2v convert model={gguf} out=FOLDER` makes one of its GGUF file"
        if (inner := next(folder.glob("snapshots/*/config.json"), None)) is not None:
            mend = f"it is the hub's cache of a model, of which '{inner.parent}' is a whole checkpoint"
        raise UserError(f"The folder '{spec.path}' holds no config.json; {mend}.")


def check_native(spec: ModelSpec) -> None:
    """Raise UserError for a checkpoint in a format of its own that no image-text class of transformers reads."""
    config = config_values(spec)
    if config.get("model_type") != "internvl_chat":
        return
    mend = f"`l2v convert model={spec.where()} out=FOLDER` rewrites it, then set target.path=FOLDER"
    if (config.get("llm_config") or {}).get("architectures") == ["Phi3ForCausalLM"]:
        mend = "its language model is a Phi-3, which `l2v convert` refuses too: choose another size"
    raise UserError(
        f"'{spec.where()}' is an InternVL checkpoint in its authors' own format, which does not load, with or without "
        "trust_remote_code (its InternVLChatModel is no image-text class, brings no processor, and was written for "
        f"transformers 4); {mend}."
    )


def model_type(spec: ModelSpec) -> object:
    """What a config calls its model; None where it cannot be read, of which loading will tell."""
    return config_values(spec).get("model_type")


def config_values(spec: ModelSpec) -> Mapping[str, Any]:
    """config.json; empty where it cannot be had."""
    if spec.path is not None:
        return json_object(file) if (file := Path(spec.where()) / "config.json").is_file() else {}
    from transformers import PretrainedConfig

    bound_requests()
    try:
        return dict(PretrainedConfig.get_config_dict(spec.id, revision=spec.revision)[0])
    except (OSError, ValueError):
        return {}


def check_kind(spec: ModelSpec, kind: str) -> None:
    """Raise UserError for a checkpoint that is plainly no `kind` of model ("text", "vision"); otherwise loading tells."""
    if kind == "vision":
        check_native(spec)
    check_whole(spec)
    if spec.path is None or spec.trust_remote_code:
        return
    values = json_object(Path(spec.where()) / "config.json")
    name = str(values.get("model_type"))
    if kind == "vision" and not has_eyes(values):
        raise UserError(
            f"'{spec.path}' is a text model ({name}), which sees no pictures; leave target.kind out, or choose another."
        )
    if kind == "text" and name in types(ENCODERS) and not values.get("is_decoder"):
        raise UserError(
            f"'{spec.path}' is an encoder ({name}), which reads every text in both directions and writes none; choose a causal "
            "language model."
        )
    if kind == "text" and isinstance(values.get("vision_config"), dict) and name not in types(TEXTS):
        raise UserError(
            f"'{spec.path}' is an image-text model ({name}), and a text model (causal LM) is wanted here: choose another "
            "source=…, or method=own_direction, which reads the target itself; of a target leave target.kind out."
        )


def from_pretrained(auto: Any, spec: ModelSpec, **options: Any) -> Any:
    """`from_pretrained` with its failures in one sentence: files of others, and code among them, may fail in any way."""
    where = spec.where()
    remote = {} if spec.path else {"revision": spec.revision}
    if not spec.path:
        bound_requests()
    try:
        return auto.from_pretrained(where, trust_remote_code=spec.trust_remote_code, **remote, **options)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise UserError(
                f"'{where}' does not fit the device's memory; use device_map=auto, quantization=4bit or a smaller dtype."
            ) from error
        if isinstance(error, ImportError):
            told = " ".join(str(error).split())[:300].rstrip(".")
            raise UserError(f"'{where}' could not be loaded as {auto.__name__}: {told}; install what it needs.") from error
        code = "it brings code of its own; set trust_remote_code=true if you trust it"
        kind = f"{type(error).__name__}: " if isinstance(error, LookupError) else ""
        reason = code if "trust_remote_code" in str(error) else kind + " ".join(str(error).split()).split(". ")[0][:200]
        if spec.path:
            mend = "pip install -U transformers, which may know it" if "does not recognize" in reason else "get it again"
            told = f"{reason}; {mend} or choose another" if reason != code else code
            raise UserError(f"The folder '{spec.path}' could not be loaded as {auto.__name__}: {told}.") from error
        raise UserError(
            f"The model '{spec.id}' could not be loaded from the hub as {auto.__name__}; if the hub cannot be reached "
            f"from here, download it and set its path (target.path=… or source.path=…). Reason: {unanswered() or reason}"
        ) from error


# -- after the load --------------------------------------------------------------------------------------------------


def check_loaded(account: Mapping[str, Any], where: str) -> None:
    """Raise UserError unless a load found exactly the model's tensors, all of the right shape.

    account: what transformers gives with `output_loading_info=True`: missing_keys, unexpected_keys, mismatched_keys
    (name, shape in the checkpoint, shape in the model) and error_msgs, tied weights and what the class declares left out.
    """
    missing = sorted(account.get("missing_keys", ()))
    mismatched = sorted(account.get("mismatched_keys", ()), key=str)
    unexpected = sorted(name for name in account.get("unexpected_keys", ()) if not spare(name))
    told = []
    if missing:
        told.append(f"it lacks {listed(missing)}")
    if mismatched:
        shapes = [f"{name} ({shape_text(held)} instead of {shape_text(needed)})" for name, held, needed in mismatched]
        told.append(f"another shape than the model's has {listed(shapes)}")
    if unexpected:
        told.append(f"the model has no place for {listed(unexpected)}")
    told += [shortened(ValueError(message)) for message in account.get("error_msgs", ())]
    if told:
        raise UserError(
            f"The checkpoint '{where}' does not fit its config: {'; '.join(told)}. Nothing is made up for tensors: get the "
            "checkpoint again."
        )
