"""Loading models and finding what every family has: decoder blocks, width, image tokens, chat format."""

from __future__ import annotations

import gc
import json
import logging as python_logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from l2v.errors import UserError, unknown

DTYPES = ("auto", "float32", "bfloat16", "float16")
IMAGE_PLACEHOLDER = "<image>"


@dataclass(frozen=True)
class ModelSpec:
    """What to load: a hub id with its revision, or a local folder (`path`) that takes its place."""

    id: str
    revision: str | None = None
    path: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False
    device_map: str | None = None

    def where(self) -> str:
        """The folder or id that is handed to `from_pretrained`. Raises UserError when the folder is missing."""
        if self.path is None:
            return self.id
        if not Path(self.path).is_dir():
            raise UserError(f"The model folder '{self.path}' (for {self.id}) does not exist; mend its path.")
        return self.path


@dataclass(frozen=True)
class ModelFacts:
    """Depth and width of a model's decoder, as its config tells them."""

    layers: int
    width: int


@dataclass
class LoadedModel:
    """A model with its tokenizer; `processor` is None for text models. `layers` are the decoder blocks in order."""

    spec: ModelSpec
    model: Any
    tokenizer: Any
    processor: Any | None
    layers: Sequence[nn.Module]

    @property
    def width(self) -> int:
        """The size of the residual stream."""
        return int(self.model.config.get_text_config().hidden_size)


@lru_cache(maxsize=64)
def read_facts(spec: ModelSpec) -> ModelFacts:
    """Depth and width from the model's config alone; no weights are read. Raises UserError as `load_model` does."""
    local = Path(spec.where()) / "config.json" if spec.path else None
    if local is not None and local.is_file():
        # Without transformers, whose import takes seconds: listing a finished study should not.
        values = json.loads(local.read_text(encoding="utf-8"))
        text = values.get("text_config", values)
        if "num_hidden_layers" in text and "hidden_size" in text:
            return ModelFacts(int(text["num_hidden_layers"]), int(text["hidden_size"]))
    from transformers import AutoConfig

    config = _from_pretrained(AutoConfig, spec).get_text_config()
    return ModelFacts(int(config.num_hidden_layers), int(config.hidden_size))


def load_model(spec: ModelSpec, kind: str, device: str = "cpu") -> LoadedModel:
    """Load a `kind` "text" (causal LM) or "vision" (image-text) model, in evaluation mode, on `device`.

    Weights come from safetensors only. Raises UserError for a missing folder, an unreachable hub, an architecture
    without the needed class, or an unknown dtype.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
    from transformers.utils import logging

    if spec.dtype not in DTYPES:
        raise unknown("dtype", spec.dtype, DTYPES)
    dtype: Any = spec.dtype if spec.dtype == "auto" else getattr(torch, spec.dtype)
    placement = {"device_map": spec.device_map} if spec.device_map else {}
    auto = AutoModelForImageTextToText if kind == "vision" else AutoModelForCausalLM
    logging.disable_progress_bar()
    python_logging.getLogger("huggingface_hub").setLevel(python_logging.ERROR)
    model = _from_pretrained(auto, spec, dtype=dtype, use_safetensors=True, **placement).eval()
    if not spec.device_map:
        model.to(device)
    if kind == "vision":
        processor = _from_pretrained(AutoProcessor, spec)
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
    else:
        processor, tokenizer = None, _from_pretrained(AutoTokenizer, spec)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LoadedModel(spec, model, tokenizer, processor, decoder_layers(model))


def _from_pretrained(auto: Any, spec: ModelSpec, **options: Any) -> Any:
    """`from_pretrained` with its failures in one sentence."""
    where = spec.where()
    remote = {} if spec.path else {"revision": spec.revision}
    try:
        return auto.from_pretrained(where, trust_remote_code=spec.trust_remote_code, **remote, **options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        if spec.path:
            raise UserError(f"The folder '{spec.path}' could not be loaded as {auto.__name__}: {reason}") from error
        raise UserError(
            f"The model '{spec.id}' could not be loaded from the hub as {auto.__name__}; if the hub cannot be reached "
            f"from here, download it and set its path (target.path=… or source.path=…). Reason: {reason}"
        ) from error


def decoder_layers(model: Any) -> Sequence[nn.Module]:
    """The decoder blocks of any text or image-text model, found through `get_decoder()`.

    Raises UserError when there are not exactly as many as the text config says.
    """
    expected = int(model.config.get_text_config().num_hidden_layers)
    decoder = model.get_decoder()
    for _ in range(4):
        if isinstance(getattr(decoder, "layers", None), nn.ModuleList):
            break
        inner = decoder.get_decoder() if hasattr(decoder, "get_decoder") else None
        if inner is None or inner is decoder:
            break
        decoder = inner
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        lists = [m for m in decoder.modules() if isinstance(m, nn.ModuleList) and len(m) == expected]
        layers = lists[0] if len(lists) == 1 else None
    if layers is None or len(layers) != expected:
        raise UserError(
            f"The decoder blocks of {type(model).__name__} were not found ({expected} expected); "
            "this architecture needs an entry in l2v/steering/models.py."
        )
    return list(layers)


def image_token_ids(model: Any) -> tuple[int, ...]:
    """The ids that stand for image (and video) positions in a prompt, from the model's config; empty for text models."""
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    found = {getattr(model.config, name, None) for name in names}
    return tuple(sorted(int(i) for i in found if i is not None))


def chat_prompt(loaded: LoadedModel, text: str, images: int, prefix: str = "") -> str:
    """The prompt string of one user turn in the model's chat format, ready for an answer.

    `text` holds one literal `<image>` per image where it belongs; without any, the images come first.
    `prefix` is appended as the beginning of the answer.
    """
    holder = loaded.processor if loaded.processor is not None else loaded.tokenizer
    pieces = text.split(IMAGE_PLACEHOLDER)
    if len(pieces) == 1:
        pieces = [""] * images + pieces
    if len(pieces) - 1 != images:
        raise UserError(f"A question names {len(pieces) - 1} images with {IMAGE_PLACEHOLDER} but comes with {images}.")
    content: list[dict[str, str]] = []
    for index, piece in enumerate(pieces):
        if index:
            content.append({"type": "image"})
        if piece.strip():
            content.append({"type": "text", "text": piece})
    turns: list[dict[str, Any]] = [{"role": "user", "content": content if loaded.processor is not None else text}]
    if not getattr(holder, "chat_template", None):
        raise UserError(f"'{loaded.spec.where()}' has no chat template; add chat_template.jinja to its folder.")
    return str(holder.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)) + prefix


def encode_prompts(loaded: LoadedModel, prompts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> dict[str, Tensor]:
    """Model inputs for a left-padded batch of chat prompts and their images (RGB).

    Raises UserError for a doubled BOS, a missing pad mask, or a prompt longer than the model's context: nothing is
    truncated.
    """
    extra: dict[str, Any] = {"padding": True, "return_tensors": "pt", "add_special_tokens": False}
    if loaded.processor is not None:
        flat = [list(group) for group in images]
        visual = {"images": flat} if any(flat) else {}
        inputs = loaded.processor(text=list(prompts), **visual, **extra)
    else:
        loaded.tokenizer.padding_side = "left"
        inputs = loaded.tokenizer(list(prompts), **extra)
    inputs = dict(inputs)
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is None:
        raise UserError(
            f"The processor of '{loaded.spec.where()}' gives no attention mask; padding could not be told from text."
        )
    if len(prompts) > 1 and not bool(mask[:, -1].all()):
        raise UserError(f"The processor of '{loaded.spec.where()}' pads on the right; generation needs left padding.")
    bos = loaded.tokenizer.bos_token_id
    if bos is not None and loaded.tokenizer.pad_token_id != bos and bool(((ids[:, 1:] == bos) & (ids[:, :-1] == bos)).any()):
        raise UserError(f"A prompt for '{loaded.spec.where()}' begins with two BOS tokens; mend its chat template.")
    limit = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    longest = int(mask.sum(dim=1).max())
    if limit is not None and longest > limit:
        raise UserError(f"A prompt of {longest} tokens exceeds the context of '{loaded.spec.where()}' ({limit}).")
    return inputs


def release_memory() -> None:
    """Give the memory of dropped models back, on the accelerator too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
