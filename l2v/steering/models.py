"""Loading models and finding what every family has: decoder blocks, width, image tokens, chat format."""

from __future__ import annotations

import gc
import importlib.util
import inspect
import logging as python_logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from l2v.checkpoint import ATTENTIONS as ATTENTIONS
from l2v.checkpoint import DTYPES as DTYPES
from l2v.checkpoint import QUANTIZATIONS as QUANTIZATIONS
from l2v.checkpoint import ModelFacts as ModelFacts
from l2v.checkpoint import ModelSpec as ModelSpec
from l2v.checkpoint import check_files, check_kind, check_loaded, from_pretrained
from l2v.checkpoint import read_facts as read_facts
from l2v.collector import resume
from l2v.errors import UserError, unknown
from l2v.steering.pictures import check_picture_words, check_vocabulary
from l2v.steering.pictures import image_token_ids as image_token_ids
from l2v.steering.processor import apply_settings

IMAGE_PLACEHOLDER = "<image>"
# What a tokenizer must give back, and what it leaks where its decoder is not the one of its vocabulary.
ROUND_TRIP = "What is 12 + 30? Think step by step."
BYTE_MARKS = ("\u0120", "\u010a", "\u2581")


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
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    resume()
    options = _loading_options(spec, device)
    check_kind(spec, kind)
    check_files(spec, kind)
    python_logging.getLogger("huggingface_hub").setLevel(python_logging.ERROR)
    model = whole_model(AutoModelForImageTextToText if kind == "vision" else AutoModelForCausalLM, spec, options).eval()
    if "device_map" not in options:
        model.to(device)
    tokenizer, processor = load_processor(spec) if kind == "vision" else (from_pretrained(AutoTokenizer, spec), None)
    check_round_trip(tokenizer, spec.where())
    check_ends(model.generation_config, model, spec.where())
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
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
    return model


def check_finite(model: nn.Module, where: str) -> None:
    """Raise UserError for a weight that is no finite number: a model with one answers, and its answers mean nothing."""
    weights = ((name, w) for name, w in model.named_parameters() if w.is_floating_point() and not w.is_meta)
    broken = next((name for name, weight in weights if not bool(torch.isfinite(weight.detach()).all())), None)
    if broken is not None:
        raise UserError(
            f"The checkpoint '{where}' holds weights that are no finite numbers, in {broken}: get it again, or set a dtype of "
            "a larger range where float16 cannot hold them."
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


def check_round_trip(tokenizer: Any, where: str) -> None:
    """Raise UserError for a tokenizer that loses the spaces of a text: what a model reads would be another text.

    transformers 5 before 5.22 does so to byte-level vocabularies that name LlamaTokenizer, as R1-Distill-Llama's. A vocabulary
    without these words tells nothing.
    """
    back = tokenizer.decode(tokenizer(ROUND_TRIP, add_special_tokens=False)["input_ids"])
    same = "".join(back.split()) == "".join(ROUND_TRIP.split())
    if (same and back.split() != ROUND_TRIP.split()) or any(mark in back for mark in BYTE_MARKS):
        raise UserError(
            f"The tokenizer of '{where}' turns {ROUND_TRIP!r} into {back!r}: it loses spaces under this version of "
            "transformers; pip install -U transformers, or mend its tokenizer_config.json."
        )


def check_ends(generation: Any, model: Any, where: str) -> None:
    """Raise UserError where what ends an answer is no token of the model: every answer would run to its limit."""
    given = generation.eos_token_id if generation is not None else None
    ends, rows = (given if isinstance(given, list) else [given]), int(model.get_input_embeddings().weight.shape[0])
    if ends and not any(end is None or (isinstance(end, int) and 0 <= end < rows) for end in ends):
        raise UserError(
            f"The generation_config.json of '{where}' ends answers at eos_token_id={given!r}, which is none of its {rows} "
            "tokens; get the checkpoint again."
        )


def load_processor(spec: ModelSpec) -> tuple[Any, Any]:
    """Tokenizer and processor. Raises UserError when the checkpoint has a tokenizer alone."""
    from transformers import AutoProcessor

    processor = from_pretrained(AutoProcessor, spec)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise UserError(f"'{spec.where()}' has no processor for images; it cannot be a target.")
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


def chat_prompt(loaded: LoadedModel, text: str, images: int, prefix: str = "", history: Sequence[tuple[str, str]] = ()) -> str:
    """The prompt string of one user turn in the model's chat format, ready for an answer; after `history`, text turns.

    `text` holds one literal `<image>` per image where it belongs; without any, the images come first. `prefix` is
    appended as the beginning of the answer. Raises UserError for another number of images than `<image>`s, a missing
    chat template, or one that raises or leaves part of the question out.
    """
    holder = loaded.processor if loaded.processor is not None else loaded.tokenizer
    if not getattr(holder, "chat_template", None):
        raise UserError(f"'{loaded.spec.where()}' has no chat template; add chat_template.jinja to its folder.")
    parts = loaded.processor is not None
    if images and not parts:
        raise UserError(
            f"'{loaded.spec.where()}' is a text model, and a question has a picture; choose other questions or target."
        )
    pieces, content = _interleaved(text, images) if parts else ([text], text)
    said = [(role, words) for turn in history for role, words in zip(("user", "assistant"), turn, strict=True)]
    turns: list[dict[str, Any]] = [{"role": r, "content": [{"type": "text", "text": t}] if parts else t} for r, t in said]
    turns.append({"role": "user", "content": content})
    try:
        prompt = str(holder.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of the checkpoint's
        raise template_failed(loaded.spec.where(), error) from error
    if any(piece.strip() not in prompt for piece in (*pieces, *(words for _, words in said))):
        raise UserError(f"The chat template of '{loaded.spec.where()}' leaves out part of a question; mend the template.")
    return prompt + prefix


def template_failed(where: str, error: Exception) -> UserError:
    """The sentence for a chat template that raises."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"The chat template of '{where}' fails: {reason}; mend the template or choose another model.")


def _interleaved(text: str, images: int) -> tuple[list[str], Any]:
    """The pieces of text between images, and the turn's content parts."""
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
    return pieces, content


def adds_bos(tokenizer: Any, text: str) -> bool:
    """Whether an image-text model's tokenizer is to add its special tokens: only where the template wrote no BOS.

    Templates of LLaVA-1.5 and Idefics2 leave BOS to the tokenizer, Llama-3's writes it; `apply_chat_template` of the
    processors decides by this rule, that of text tokenizers never adds any.
    """
    return tokenizer.bos_token is not None and not text.startswith(tokenizer.bos_token)


def encode_prompts(loaded: LoadedModel, prompts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> dict[str, Tensor]:
    """Model inputs for a left-padded batch of chat prompts and their images (RGB). BOS stands once, nothing is cut.

    Raises UserError for a doubled BOS, a missing pad mask, images that the processor refuses, a text that holds the place of
    a picture, or a prompt longer than the model's context.
    """
    check_picture_words(loaded.model, loaded.tokenizer, prompts, images)
    inputs, where = _tokenized(loaded, prompts, images), loaded.spec.where()
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is None:
        raise UserError(f"The processor of '{where}' gives no attention mask; padding could not be told from text.")
    if not bool(mask[:, -1].all()):
        raise UserError(f"The processor of '{where}' pads on the right; generation needs left padding.")
    bos = (ids == (-1 if loaded.tokenizer.bos_token_id is None else loaded.tokenizer.bos_token_id)) & mask.bool()
    if bool((bos[:, 1:] & bos[:, :-1]).any()):
        raise UserError(f"A prompt for '{where}' begins with two BOS tokens; mend its chat template.")
    limit = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    longest = int(mask.sum(dim=1).max())
    check_vocabulary(loaded.model, int(ids.max()))
    if limit is not None and longest > limit:
        raise UserError(
            f"A prompt of {longest} tokens exceeds the context of '{where}' ({limit}): give fewer or shorter method.shots, or "
            "smaller images."
        )
    return inputs


def _accepted(model: Any) -> set[str]:
    """The inputs that `generate` hands on to the model; it refuses others, as Ovis2's `grids`, unknown to the model."""
    calls = (model.forward, model.generate, model.prepare_inputs_for_generation)
    return {name for call in calls for name in inspect.signature(call).parameters} | {"input_ids", "attention_mask"}


def _tokenized(loaded: LoadedModel, prompts: Sequence[str], images: Sequence[Sequence[Image.Image]]) -> dict[str, Tensor]:
    """Ids, mask and pictures. Truncation is switched off, also where a checkpoint's own settings ask for it."""
    options: dict[str, Any] = {
        "padding": True,
        "padding_side": "left",
        "truncation": False,
        "return_tensors": "pt",
        "add_special_tokens": loaded.processor is not None and adds_bos(loaded.tokenizer, prompts[0]),
    }
    if loaded.processor is None:
        return dict(loaded.tokenizer(list(prompts), **options))
    flat = [list(group) for group in images]
    try:
        inputs = dict(loaded.processor(text=list(prompts), **({"images": flat} if any(flat) else {}), **options))
        return {name: value for name, value in inputs.items() if name in _accepted(loaded.model)}
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:  # code of the checkpoint's family
        reason = " ".join(f"{'' if isinstance(error, ValueError) else f'{type(error).__name__}: '}{error}".split())[:200]
        raise UserError(
            f"The processor of '{loaded.spec.where()}' refuses a question: {reason.rstrip('.')}; its chat template and "
            "its processor must fit each other, and the question."
        ) from error


def release_memory(*dropped: weakref.ref[nn.Module]) -> None:
    """Give the memory of dropped models back, on the accelerator too; where one is still there, cycles are searched for it."""
    if torch.cuda.is_available() or any(model() is not None for model in dropped):
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
