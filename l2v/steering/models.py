"""Loading models and finding what every family has: decoder blocks, width, image tokens."""

from __future__ import annotations

import gc
import importlib.util
import logging as python_logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from l2v.checkpoint import ATTENTIONS as ATTENTIONS
from l2v.checkpoint import DTYPES as DTYPES
from l2v.checkpoint import QUANTIZATIONS as QUANTIZATIONS
from l2v.checkpoint import ModelFacts as ModelFacts
from l2v.checkpoint import ModelSpec as ModelSpec
from l2v.checkpoint import check_kind, check_loaded, config_values, from_pretrained
from l2v.checkpoint import read_facts as read_facts
from l2v.checkpoint_files import check_cached, check_files
from l2v.collector import resume
from l2v.errors import UserError, unknown
from l2v.generation import check_choice, check_generation
from l2v.steering.chat_templates import check_template, dated
from l2v.steering.half_precision import widen
from l2v.steering.pictures import image_token_ids as image_token_ids
from l2v.steering.processor import apply_settings, check_scaling, check_tiles
from l2v.steering.soundness import check_finite, misread

# What a tokenizer must give back, and what it leaks where its decoder is not the one of its vocabulary.
ROUND_TRIP = "What is 12 + 30? Think step by step."
BYTE_MARKS = ("\u0120", "\u010a", "\u2581")
# The share of a model's tokens that its tokenizer must know.
LEAST_KNOWN = 0.75


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

    @property
    def facts(self) -> ModelFacts:
        """Its depth and width."""
        return ModelFacts(len(self.layers), self.width)


def load_model(spec: ModelSpec, kind: str, device: str = "cpu") -> LoadedModel:
    """Load a `kind` "text" (causal LM) or "vision" (image-text) model, in evaluation mode, on `device`.

    Weights come from safetensors only, and all of them: what a checkpoint lacks, has too much (but for checkpoint.SPARE) or in
    another shape, or that is no finite number, is an error that names it. Raises UserError for a missing folder, an unreachable
    hub, an architecture without the needed class, an unknown setting, quantization without bitsandbytes or a GPU, and weights
    above the device's memory.
    """
    import transformers.modeling_utils  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    resume()
    options = _loading_options(spec, device)
    check_kind(spec, kind)
    check_files(spec, kind)
    python_logging.getLogger("huggingface_hub").setLevel(python_logging.ERROR)
    check_quantizer(config_values(spec).get("quantization_config"), spec.where())
    model = whole_model(AutoModelForImageTextToText if kind == "vision" else AutoModelForCausalLM, spec, options).eval()
    if "device_map" not in options:
        model.to(device)
    widen(model)
    check_generation(model.generation_config.to_dict() if model.generation_config is not None else {}, spec.where())
    check_ends(model.generation_config, model, spec.where())
    tokenizer, processor = load_tokenizer(spec, kind)
    check_cached(spec, kind)
    check_tokenizer(tokenizer, model, spec.where())
    check_tiles(processor, model.config, spec.where())
    if told := misread(model, tokenizer, spec.where()):
        python_logging.getLogger(__name__).warning(told)
    return LoadedModel(spec, model, tokenizer, processor, decoder_layers(model))


def whole_model(auto: Any, spec: ModelSpec, options: dict[str, Any]) -> Any:
    """The model with every tensor from the checkpoint; options: of `from_pretrained`.

    With device_map="meta" no weight is read, and names and shapes are compared all the same. Raises UserError as `load_model`.
    """
    from transformers.utils import logging

    told = logging.get_verbosity()
    logging.disable_progress_bar()
    # transformers' own report of a load is a table of many lines; check_loaded says it in a sentence.
    logging.set_verbosity_error()
    try:
        # A tensor of another shape is told with the others, not by an error that names none.
        model, account = from_pretrained(auto, spec, output_loading_info=True, ignore_mismatched_sizes=True, **options)
    finally:
        logging.set_verbosity(told)
    check_loaded(account, spec.where())
    check_finite(model, spec.where())
    check_tied(model, spec.where())
    return model


def check_tied(model: nn.Module, where: str) -> None:
    """Raise UserError for a config that ties two tensors which the checkpoint holds apart: which is meant, it does not tell."""
    wanted: dict[str, str] = getattr(model, "get_expanded_tied_weights_keys", lambda **_: {})(all_submodels=True)
    apart = sorted(set(wanted) - set(getattr(model, "all_tied_weights_keys", wanted)))
    if apart:
        raise not_tied(where, apart[0], wanted[apart[0]])


def not_tied(where: str, name: str, other: str) -> UserError:
    """The sentence for two tensors that differ and should be one."""
    return UserError(
        f"The config.json of '{where}' ties {name} to {other}, and its files hold two that differ; set "
        "tie_word_embeddings=false there where both are meant, or get the checkpoint again."
    )


def check_quantizer(settings: Any, where: str) -> None:
    """Raise UserError for a kind of quantization that transformers does not know: it would take the numbers for weights."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as KNOWN

    if not isinstance(settings, dict) or not settings or {"load_in_4bit", "load_in_8bit"} & set(settings):
        return
    if (method := settings.get("quant_method")) not in KNOWN:
        raise UserError(
            f"The config.json of '{where}' says quant_method={str(method)[:40]}, which transformers does not know; pip install "
            "-U transformers, or choose a checkpoint that is not quantized."
        )


def _loading_options(spec: ModelSpec, device: str) -> dict[str, Any]:
    """The arguments of `from_pretrained` for a spec's precision, attention and placement."""
    if spec.dtype not in DTYPES:
        raise unknown("dtype", spec.dtype, DTYPES)
    if spec.attention is not None and spec.attention not in ATTENTIONS:
        raise unknown("attention", spec.attention, ATTENTIONS)
    dtype: Any = spec.dtype if spec.dtype == "auto" else getattr(torch, spec.dtype)
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
    if spec.attention:
        options["attn_implementation"] = spec.attention
    if spec.device_map:
        _, named, card = spec.device_map.partition("cuda:")
        if named and not (card.isdecimal() and int(card) < torch.cuda.device_count()):
            raise UserError(f"device_map={spec.device_map} is not on this machine; `l2v doctor` lists what is.")
        options["device_map"] = spec.device_map
    elif device.startswith("cuda") and importlib.util.find_spec("accelerate"):
        # Straight to the device: a 32B model need not fit the host's memory too.
        options["device_map"] = {"": device}
    if spec.quantization is not None:
        if spec.quantization not in QUANTIZATIONS:
            raise unknown("quantization", spec.quantization, QUANTIZATIONS)
        options["quantization_config"] = _quantization(spec, device)
    return options


def _quantization(spec: ModelSpec, device: str) -> Any:
    """The bitsandbytes settings. Raises UserError where they cannot run."""
    missing = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"quantization={spec.quantization} needs {' and '.join(missing)}: pip install {' '.join(missing)}.")
    if not device.startswith("cuda"):
        raise UserError(
            f"quantization={spec.quantization} needs a CUDA GPU, the device is '{device}'; leave quantization out or set "
            "runtime.device=cuda where there is one."
        )
    from transformers import BitsAndBytesConfig

    if spec.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.bfloat16 if spec.dtype == "auto" else getattr(torch, spec.dtype)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)


def check_tokenizer(tokenizer: Any, model: Any, where: str) -> None:
    """Raise UserError for a tokenizer that loses spaces or is of another model; it then pads left, with a token that is known.

    What fills up is never read, so a pad token that the model has no embedding of, as fine-tuned models often bring, is no
    fault of theirs.
    """
    check_round_trip(tokenizer, where)
    check_size(tokenizer, model, where)
    rows, end, pad = int(model.get_input_embeddings().weight.shape[0]), tokenizer.eos_token_id, tokenizer.pad_token_id
    fills = pad is not None and pad < rows
    if end is not None and end >= rows and not (fills and getattr(model.generation_config, "eos_token_id", None) is not None):
        raise UserError(
            f"The tokenizer of '{where}' ends texts with token {end}, and the model knows {rows}: they do not belong together; "
            "get the checkpoint again."
        )
    _check_end(tokenizer, getattr(model.generation_config, "eos_token_id", None), where)
    tokenizer.padding_side = "left"
    if not fills:
        tokenizer.pad_token = tokenizer.eos_token


def _check_end(tokenizer: Any, given: Any, where: str) -> None:
    """Raise UserError for a generation config that ends answers with words alone: it was made for other tokens."""
    ends = given if isinstance(given, list) else [given]
    known = all(isinstance(one, int) and tokenizer.convert_ids_to_tokens(one) for one in ends)
    if known and tokenizer.eos_token_id is not None and not tokenizer.added_tokens_decoder.keys() & set(ends):
        raise UserError(
            f"The generation_config.json of '{where}' ends answers with token {given} ('{tokenizer.decode(ends)}'), a word "
            f"like others, and its tokenizer with '{tokenizer.eos_token}': they do not belong together; get it again."
        )


def check_round_trip(tokenizer: Any, where: str) -> None:
    """Raise UserError for a tokenizer that loses the spaces of a text, or more of it: what a model reads would be another text.

    transformers 5 before 5.22 does so to byte-level vocabularies that name LlamaTokenizer, as R1-Distill-Llama's. A vocabulary
    without these words tells nothing; one of small letters alone is one.
    """
    ids = tokenizer(ROUND_TRIP, add_special_tokens=False)["input_ids"]
    back = tokenizer.decode(ids)
    same = "".join(back.split()) == "".join(ROUND_TRIP.split())
    if (same and back.split() != ROUND_TRIP.split()) or any(mark in back for mark in BYTE_MARKS):
        raise UserError(
            f"The tokenizer of '{where}' turns {ROUND_TRIP!r} into {back!r}: it loses spaces under this version of "
            "transformers; pip install -U transformers, or mend its tokenizer_config.json."
        )
    if "".join(back.split()).casefold() != "".join(ROUND_TRIP.split()).casefold() and tokenizer.unk_token_id not in ids:
        raise UserError(
            f"The tokenizer of '{where}' turns {ROUND_TRIP!r} into {back!r}: a model would read another text; get it again."
        )


def check_size(tokenizer: Any, model: Any, where: str) -> None:
    """Raise UserError for a tokenizer of a much smaller model: its ids are all known, and mean other words.

    Embeddings are padded by less than a hundredth in practice.
    """
    known, rows = len(tokenizer), int(model.get_input_embeddings().weight.shape[0])
    if known < LEAST_KNOWN * rows:
        raise UserError(
            f"The tokenizer of '{where}' knows {known} tokens, its model {rows}: they do not belong together; get the "
            "checkpoint again."
        )


def check_ends(generation: Any, model: Any, where: str) -> None:
    """Raise UserError where what ends an answer is no token of the model, or one that may not be chosen, every answer
    would run to its limit."""
    given = generation.eos_token_id if generation is not None else None
    ends, rows = (given if isinstance(given, list) else [given]), int(model.get_input_embeddings().weight.shape[0])
    if ends and not any(end is None or (isinstance(end, int) and 0 <= end < rows) for end in ends):
        raise UserError(
            f"The generation_config.json of '{where}' ends answers at eos_token_id={given!r}, which is none of its {rows} "
            "tokens; get the checkpoint again."
        )
    if generation is not None:
        check_choice(generation.to_dict(), rows, where)


def load_tokenizer(spec: ModelSpec, kind: str) -> tuple[Any, Any]:
    """Tokenizer and, of `kind` "vision", processor, with templates that know no date but DAY."""
    from transformers import AutoTokenizer
    from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

    tokenizer, processor = load_processor(spec) if kind == "vision" else (from_pretrained(AutoTokenizer, spec), None)
    # Nothing is cut to it; texts above it are told by the model's own context.
    tokenizer.model_max_length = VERY_LARGE_INTEGER
    for holder in filter(None, (tokenizer, processor)):
        if isinstance(template := getattr(holder, "chat_template", None), str):
            holder.chat_template = dated(template)
    check_template(processor or tokenizer, processor is not None, spec.where())
    return tokenizer, processor


def load_processor(spec: ModelSpec) -> tuple[Any, Any]:
    """Tokenizer and processor. Raises UserError when the checkpoint has a tokenizer alone, or pictures would be no numbers."""
    from transformers import AutoProcessor

    processor = from_pretrained(AutoProcessor, spec)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise UserError(f"'{spec.where()}' has no processor for images; it cannot be a target.")
    check_scaling(getattr(processor, "image_processor", None), spec.where())
    if spec.images is not None:
        apply_settings(processor, spec.images, spec.where())
    if not getattr(tokenizer, "chat_template", None):
        # Older checkpoints keep the template with the processor only; directions of a target are read through its tokenizer.
        tokenizer.chat_template = getattr(processor, "chat_template", None)
    return tokenizer, processor


def input_device(model: Any) -> torch.device:
    """Where `model` takes token ids (device_map): its embedding's device; the CPU when accelerate keeps that offloaded."""
    device: torch.device = model.get_input_embeddings().weight.device
    return torch.device("cpu") if device.type == "meta" else device


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
            f"The decoder blocks of {type(model).__name__} were not found: below its get_decoder() is no one list of the "
            f"{expected} blocks that its config tells of. Give a checkpoint in transformers' own format; for another "
            "architecture, decoder_layers in l2v/steering/models.py must learn where they are."
        )
    return list(layers)


def release_memory(*dropped: weakref.ref[nn.Module]) -> None:
    """Give the memory of dropped models back, on the accelerator too; where one is still there, cycles are searched for it."""
    if torch.cuda.is_available() or any(model() is not None for model in dropped):
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
