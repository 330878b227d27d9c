"""A checkpoint looked at without its weights: config, files, tokenizer, processor and chat template."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from l2v.checkpoint import ModelFacts, ModelSpec, check_kind, from_pretrained
from l2v.checkpoint_files import check_cached, check_files
from l2v.config import ModelConfig
from l2v.errors import UserError
from l2v.generation import check_generation, followed
from l2v.steering.models import (
    LoadedModel,
    check_ends,
    check_quantizer,
    check_round_trip,
    check_tokenizer,
    load_tokenizer,
    not_tied,
    whole_model,
)
from l2v.steering.pictures import MARK
from l2v.steering.processor import check_tiles
from l2v.study.model_files import check_declared, kind_of_target, model_spec
from l2v.study.preflight.problems import Problems
from l2v.transfer.contrast import Chat
from l2v.transfer.extract import drops_thoughts, format_chat, token_ids

AUTO = {"text": AutoModelForCausalLM, "vision": AutoModelForImageTextToText}
BASE = "method.weights.base"
# The shade between 0 and 1 that towers were trained to see as zero, and what the distance to it is divided by: none of them
# fails with another family's image processor.
_HALF, _CLIP = ((0.5,) * 3, (0.5,) * 3), (tuple(OPENAI_CLIP_MEAN), tuple(OPENAI_CLIP_STD))
SHADES = dict.fromkeys(("siglip_vision_model", "idefics2_vision", "idefics3_vision", "smolvlm_vision"), _HALF)
SHADES |= dict.fromkeys(("clip_vision_model", "qwen2_vl_vision", "qwen2_5_vl_vision", "mllama_vision_model"), _CLIP)
SHADES |= {"internvl_vision": (tuple(IMAGENET_DEFAULT_MEAN), tuple(IMAGENET_DEFAULT_STD))}
NEAR = 0.02
# Rows of a tensor that tell it from another one.
BEGINNING = 64
SAMPLE = Chat("What is 12 + 30?", "<think>12 + 30 = 42.</think>The answer is 42.")


@dataclass
class Checkpoint:
    """What was found of a checkpoint; None for what could not be had."""

    spec: ModelSpec
    kind: str
    config: Any = None
    tokenizer: Any = None
    processor: Any = None

    @property
    def context(self) -> int | None:
        """The most tokens of a text."""
        limit = getattr(self.config.get_text_config(), "max_position_embeddings", None) if self.config else None
        return None if limit is None else int(limit)

    def without_weights(self) -> LoadedModel | None:
        """The model as far as prompts need it; None where its tokenizer could not be had."""
        if self.config is None or self.tokenizer is None or (self.kind == "vision" and self.processor is None):
            return None
        with suppress(Exception):  # told when its weights were looked for
            return LoadedModel(self.spec, self.skeleton, self.tokenizer, self.processor, [])
        return None

    @cached_property
    def skeleton(self) -> Any:
        """The model's modules with the shapes of its weights and nothing in them."""
        with torch.device("meta"):
            return AUTO[self.kind].from_config(self.config, trust_remote_code=self.spec.trust_remote_code)

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(p.numel() for p in self.skeleton.parameters())


def look(config: ModelConfig, role: str, spec: ModelSpec | None, problems: Problems, cells: Iterable[str]) -> Checkpoint:
    """Everything that can be told of a source or target; what is wrong becomes a problem of these cells."""
    cells = tuple(cells)
    if config.path is None:
        print(f"Reading '{config.id}' from the hub or its cache.", file=sys.stderr)
    kind = kind_of_target(config) if role == "target" else "text"
    found = Checkpoint(spec or model_spec(config), kind)
    with problems.of(cells, _reach(config, role)):
        _config(found)
    if found.config is None:
        return found
    with problems.of(cells, f"{role}.layers=null {role}.width=null, or the numbers of the checkpoint in its YAML"):
        text = found.config.get_text_config()
        check_declared(config, ModelFacts(int(text.num_hidden_layers), int(text.hidden_size)))
    with problems.of(cells):
        check_files(found.spec, kind)
        if config.path and not config.trust_remote_code and not hasattr(found.config, "quantization_config"):
            found.skeleton = whole_model(AUTO[kind], found.spec, {"device_map": "meta", "use_safetensors": True})
            _check_tied(found)
            _check_forward(found)
        else:
            found.skeleton  # noqa: B018  what its config cannot make is told here
    if (own := getattr(found.config, "quantization_config", None)) is not None:
        with problems.of(cells):
            _check_quantizer(found.spec, own)
    asked: dict[str, Any] = {}
    if "skeleton" in vars(found):
        with problems.of(cells):
            asked = _check_answers(found)
            if role == "target" and (told := followed(asked, found.spec.where())):
                problems.note(told, "every answer follows it, as its own generate would", cells)
    if found.spec.quantization is not None:
        with problems.of(cells, f"pip install 'l2v[quantization]', or {role}.quantization=null"):
            _check_package(found.spec, f"quantization={found.spec.quantization}", ("bitsandbytes", "accelerate"))
    if found.spec.attention == "flash_attention_2":
        with problems.of(cells, f"pip install flash-attn, or {role}.attention=null"):
            _check_package(found.spec, "attention=flash_attention_2", ("flash_attn",))
    if found.spec.device_map is not None:
        with problems.of(cells, f"pip install accelerate, or {role}.device_map=null"):
            _check_package(found.spec, f"device_map={found.spec.device_map}", ("accelerate",))
    with problems.of(cells):
        tokenizer, processor = load_tokenizer(found.spec, kind)
        check_cached(found.spec, kind, constants.HF_HUB_OFFLINE)
        check_tiles(processor, found.config, found.spec.where())
        found.tokenizer, found.processor = tokenizer, processor
    if found.tokenizer is not None:
        with problems.of(cells):
            if "skeleton" in vars(found):
                check_tokenizer(found.tokenizer, found.skeleton, found.spec.where())
            else:
                check_round_trip(found.tokenizer, found.spec.where())
        _notes(found, role, problems, cells, asked)
        # A target's template is told of with its prompts.
        if role != "target":
            with problems.of(cells):
                token_ids(found.tokenizer, format_chat(found.tokenizer, SAMPLE))
    return found


def _notes(found: Checkpoint, role: str, problems: Problems, cells: Sequence[str], asked: dict[str, Any]) -> None:
    """What is worth knowing of a tokenizer and costs no cell; asked: the generation config."""
    where = found.spec.where()
    with suppress(Exception):  # what a template fails with is told where it is used
        if found.tokenizer.chat_template and drops_thoughts(found.tokenizer):
            problems.note(f"The chat template of '{where}' drops the thoughts of an answer.", "l2v puts them back", cells)
    with suppress(Exception):
        rendered, behind = _written(found)
        if lost := next((mark for mark in MARK.findall(rendered) if _in_pieces(found.tokenizer, mark)), None):
            so = "the model was trained so, or the template is another model's"
            problems.note(f"The chat template of '{where}' writes '{lost}', which its tokenizer cuts to pieces.", so, cells)
        first = next(iter(found.tokenizer(behind, add_special_tokens=False)["input_ids"]), None)
        end = asked.get("eos_token_id") or found.tokenizer.eos_token_id
        mark = found.tokenizer.added_tokens_decoder.get(first)
        ends = end if isinstance(end, list) else [end]
        plain = {one: found.tokenizer.decode([one]) for one in {*ends} - {None, *found.tokenizer.added_tokens_decoder}}
        if role == "target" and (words := [f"{one} ('{word}')" for one, word in plain.items() if not MARK.search(word)]):
            what = f"'{where}' ends answers at token {words[0]}, a word like others."
            problems.note(what, "an answer is cut there; eos_token_id of its generation_config.json names it", cells)
        if role == "target" and mark and first not in (found.tokenizer.unk_token_id, *ends):
            so = "answers go on behind it, to decoding.max_new_tokens; decoding.stop=… or eos_token_id of a copy may name it"
            problems.note(f"The chat template of '{where}' ends a turn with '{mark.content}', which ends no answer.", so, cells)
    if role != "target":
        return
    with suppress(Exception):
        images, kind = found.processor.image_processor, found.config.vision_config.model_type
        # Our own miniatures have shades of their own.
        centre, spread = (None, None) if found.spec.id.startswith("l2v/") else SHADES.get(kind, (None, None))
        own = (images.image_mean, images.image_std) if images.do_normalize else ([0] * 3, [1] * 3)
        for does, usual, given in (("centres pictures on", centre, own[0]), ("divides pictures by", spread, own[1])):
            if usual and max(abs(a - b) for a, b in zip(given, usual, strict=True)) > NEAR:
                so = f"{kind} was trained with {', '.join(f'{n:.3f}' for n in usual)}; this one may not have been"
                shades = ", ".join(str(round(float(n), 3)) for n in given)
                problems.note(f"The image processor of '{where}' {does} {shades}.", so, cells)
                break
    with suppress(Exception):
        scaled = dict(images.size).get("shortest_edge") if images.do_resize else None
        if images.do_center_crop and scaled != (cut := max(filter(None, dict(images.crop_size).values()))):
            how = f" that it scales to {scaled}" if scaled else " as they are"
            what = f"The image processor of '{where}' keeps the middle {cut} pixels of pictures{how}."
            problems.note(what, "what lies around them is not seen, or black", cells)
    with suppress(Exception):
        if _opens_no_answer(found.processor or found.tokenizer, found.kind):
            so = "an answer begins where the question ends, which is right for a model that was trained so"
            problems.note(f"The chat template of '{where}' writes nothing before an answer.", so, cells)
    if found.spec.path is None:
        return
    if found.tokenizer.eos_token_id is None and found.config.get_text_config().eos_token_id is None:
        problems.note(f"'{where}' names no end token.", "answers end at decoding.max_new_tokens alone", cells)
    elif not (Path(found.spec.path) / "generation_config.json").is_file():
        problems.note(
            f"'{where}' holds no generation_config.json.",
            f"answers end at the end token of its tokenizer or config ({found.tokenizer.eos_token})",
            cells,
        )


def _opens_no_answer(holder: Any, kind: str) -> bool:
    """Whether a template knows no generation prompt; Mistral's turns end with a mark that is one."""
    turn = {"role": "user", "content": [{"type": "text", "text": "x"}] if kind == "vision" else "x"}
    shown = [str(holder.apply_chat_template([turn], tokenize=False, add_generation_prompt=one)) for one in (True, False)]
    return shown[0] == shown[1] and not shown[0].rstrip().endswith("[/INST]")


def _written(found: Checkpoint) -> tuple[str, str]:
    """A turn and its answer as a template writes them, and what it writes behind; "" where it drops the answer."""
    holder, said = found.processor or found.tokenizer, Chat("What is 12 + 30?", "It is 42.").messages()
    turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in said] if found.processor else said
    whole = str(holder.apply_chat_template(turns, tokenize=False))
    _, there, behind = whole.rpartition(said[-1]["content"])
    return whole, behind.strip() if there else ""


def _in_pieces(tokenizer: Any, mark: str) -> bool:
    return tokenizer.convert_tokens_to_ids(mark) in (None, tokenizer.unk_token_id) and mark != tokenizer.unk_token


def _reach(config: ModelConfig, role: str) -> str:
    """The mend for a checkpoint that cannot be read; the sentence's own for a folder."""
    if config.path is not None:
        return ""
    if role == BASE:
        return f"{BASE}=FOLDER of a copy, or the id of the LLM that both models descend from"
    return f"{role}.path=FOLDER of a copy; `hf auth login` where it is gated; {role}.id and revision where they are misspelt"


def _config(found: Checkpoint) -> None:
    check_kind(found.spec, found.kind)
    config = from_pretrained(AutoConfig, found.spec)
    if not found.spec.trust_remote_code and type(config) not in AUTO[found.kind]._model_mapping:
        what = "image-text model" if found.kind == "vision" else "text model"
        raise UserError(f"'{found.spec.where()}' ({config.model_type}) is no {what} of transformers; choose another.")
    found.config = config


def _check_tied(found: Checkpoint) -> None:
    """As `check_tied`, which needs weights, by the beginnings of the two tensors in the files."""
    where = found.spec.where()
    for name, other in getattr(found.skeleton, "get_expanded_tied_weights_keys", lambda **_: {})(all_submodels=True).items():
        ends = [".".join(one.split(".")[-2:]) for one in (name, other)]
        held: list[Any] = []
        for file in sorted(Path(where).glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                names = [key for key in list(opened.keys()) if key.endswith(tuple(ends))]
                held += [opened.get_slice(key)[:BEGINNING] for key in names]
        if len(held) == len(ends) and not torch.equal(*held):
            raise not_tied(where, name, other)


def _check_forward(found: Checkpoint) -> None:
    """Raise UserError where the shapes in a config, each of which may be right, do not fit each other."""
    try:
        with torch.no_grad():
            found.skeleton(input_ids=torch.ones(1, 4, dtype=torch.long, device="meta"))
    except Exception as error:  # code of many families, of which not all runs without weights
        check_shapes(error, found.spec.where(), "config.json")


def check_shapes(error: Exception, where: str, part: str) -> None:
    """Raise UserError for an error that says two sizes do not fit; another one says nothing of a model without weights."""
    if isinstance(error, RuntimeError) and re.search(r"\b(sizes?|shapes?)\b", str(error)):
        told = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(
            f"The settings of '{where}' do not fit each other, for its model fails with its {part} ({told}); get the "
            "checkpoint again."
        ) from error


def _check_answers(found: Checkpoint) -> dict[str, Any]:
    """What a generation config asks for, and where there is none what the model's own config does."""
    try:
        asked = GenerationConfig.from_pretrained(found.spec.where(), revision=found.spec.revision or "main")
    except (OSError, ValueError):
        if found.spec.path is None:  # no hub, it may be
            return {}
        asked = found.skeleton.generation_config
    check_generation(asked.to_dict(), found.spec.where())
    check_ends(asked, found.skeleton, found.spec.where())
    found.skeleton.generation_config = asked
    return dict(asked.to_dict())


def _check_quantizer(spec: ModelSpec, settings: Any) -> None:
    """The packages of a checkpoint's own quantization; whether there is a GPU for it is another machine's question."""
    from transformers.quantizers import AutoHfQuantizer

    check_quantizer(settings if isinstance(settings, dict) else settings.to_dict(), spec.where())
    try:
        AutoHfQuantizer.from_config(settings, pre_quantized=True).validate_environment(device_map=None)
    except ImportError as error:
        raise UserError(f"The quantized weights of '{spec.where()}' need a package: {error}; install it.") from error
    except Exception:  # no GPU, most of all
        return


def _check_package(spec: ModelSpec, setting: str, packages: Sequence[str]) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{setting} of '{spec.where()}' needs {' and '.join(missing)}.")
