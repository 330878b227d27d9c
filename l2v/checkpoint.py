"""A checkpoint before and after it is loaded: what its files say of it, and whether a load found every tensor. No torch.

A copy or download that broke off must never answer: transformers fills what is missing with random numbers and goes on. The
JSON of a folder and the headers of its safetensors are read in milliseconds, before anything heavy is imported; what only the
model's class can tell is checked from transformers' own account of the load.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from l2v.errors import UserError
from l2v.images import ImageSettings

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZATIONS = ("4bit", "8bit")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")

# Tensors that a checkpoint may hold beside those of its model, as patterns of their names; nothing is computed with them:
# buffers that are worked out anew from the config, and the heads of Qwen's and GLM's multi-token prediction. What a class of
# transformers declares itself (tied weights, _keys_to_ignore_on_load_unexpected) never comes this far.
SPARE = (r"rotary_emb\.inv_freq$", r"(^|\.)position_ids$", r"\.attn(ention)?\.(bias|masked_bias)$", r"(^|\.)mtp\.")
# Tensors that count or point and are no weights; the word embeddings; the number of a decoder block.
COUNTS = re.compile("|".join((*SPARE, r"(_ids|_index|_indices|_idx|_mask|num_batches_tracked)$")))
EMBEDDINGS = re.compile(r"(^|\.)embed_tokens\.weight$")
BLOCKS = re.compile(r"(?:^|\.)layers\.(\d+)\.")
# Bytes of an element by the name of its type in a safetensors header; the whole numbers among them are no weights.
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1}
SIZES |= {"BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "C64": 8}
WEIGHTS = ("F64", "F32", "F16", "BF16")
# Above this a header is no header (safetensors' own limit).
MOST_HEADER = 100_000_000
# Files of which a checkpoint has one.
VOCABULARIES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
# Words of which a config of a model with eyes has one in a key.
EYES = ("vision", "visual", "image", "img", "vq_config")


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


@dataclass(frozen=True)
class Tensor:
    """A tensor as a safetensors header describes it."""

    dtype: str
    shape: tuple[int, ...]


def read_facts(spec: ModelSpec) -> ModelFacts:
    """Depth and width from the model's config alone; no weights are read. Raises UserError as `load_model` does."""
    if spec.path is not None:
        file = Path(spec.where()) / "config.json"
        if not file.is_file():
            raise UserError(f"The folder '{spec.path}' holds no config.json; it is no checkpoint of a model.")
        stand = file.stat()
        return _facts(spec, str(file), (stand.st_mtime_ns, stand.st_size))
    return _hub_facts(spec)


@lru_cache(maxsize=64)
def _facts(spec: ModelSpec, file: str, _stand: tuple[int, int]) -> ModelFacts:
    """`_stand`: the file's time and size, so that a mended one is read again."""
    text = _text_config(_json(Path(file)))
    if "num_hidden_layers" in text and "hidden_size" in text:
        return ModelFacts(_whole(text, "num_hidden_layers", file), _whole(text, "hidden_size", file))
    return _library_facts(spec)


@lru_cache(maxsize=64)
def _hub_facts(spec: ModelSpec) -> ModelFacts:
    from huggingface_hub import hf_hub_download

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


def _text_config(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the language model."""
    for name in ("text_config", "llm_config"):
        if isinstance(values.get(name), dict):
            return dict(values[name])
    return values


def _json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError, naming the file, for anything else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' cannot be read as JSON ({_short(error)}); copy or download it again.") from error
    if not isinstance(values, dict):
        raise UserError(f"'{path}' must hold a JSON object, not a {type(values).__name__}; copy or download it again.")
    return values


def _whole(values: Mapping[str, Any], key: str, file: str) -> int:
    value = values[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{key}={str(value)[:40]} in '{file}' must be a whole number of at least 1.")
    return value


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


# -- before the load -------------------------------------------------------------------------------------------------


def check_kind(spec: ModelSpec, kind: str) -> None:
    """Raise UserError for a local checkpoint that is plainly no `kind` of model ("text", "vision"); otherwise loading tells."""
    file = Path(spec.where()) / "config.json"
    if spec.path is None or spec.trust_remote_code or not file.is_file():
        return
    values = _json(file)
    name = str(values.get("model_type"))
    if kind == "vision" and not any(word in key.lower() for key in values for word in EYES):
        raise UserError(
            f"'{spec.path}' is a text model ({name}), which sees no pictures; a target is an image-text model: choose another "
            "target=…, or use this one as source."
        )
    if kind == "text" and isinstance(values.get("vision_config"), dict) and name not in _text_types():
        raise UserError(
            f"'{spec.path}' is an image-text model ({name}); a source is a text model (causal LM): choose another source=…, or "
            "method=own_direction, which reads the target itself."
        )


@lru_cache(maxsize=1)
def _text_types() -> frozenset[str]:
    """The kinds of models that load as text models, as transformers' own table says; read, for importing it brings torch."""
    found = importlib.util.find_spec("transformers")
    table = Path(found.origin).parent / "models" / "auto" / "modeling_auto.py" if found and found.origin else None
    if table is None or not table.is_file():
        return frozenset()
    for node in ast.walk(ast.parse(table.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if [getattr(target, "id", "") for target in targets] == ["MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"]:
                strings = (n.elts[0] for n in ast.walk(node) if isinstance(n, ast.Tuple) and n.elts)
                return frozenset(str(n.value) for n in strings if isinstance(n, ast.Constant))
    return frozenset()


def check_files(spec: ModelSpec, kind: str) -> None:
    """What the files of a local checkpoint tell: whether tokenizer and, for `kind` "vision", processor are there; whether its
    safetensors are all there and whole, hold what the index says, keep weights as floating-point numbers, and fit the depth
    and width of the config.

    Raises UserError, naming file and tensor. Nothing is checked of a hub id, of code of its own, or of a folder without
    safetensors: loading will say why.
    """
    if spec.path is None or spec.trust_remote_code:
        return
    folder = Path(spec.where())
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return
    # Without its settings a tokenizer is made up by the model's type, and splits words in another way.
    _needed(folder, ("tokenizer_config.json",), "the settings of its tokenizer")
    _needed(folder, VOCABULARIES, "the vocabulary of its tokenizer")
    if kind == "vision":
        _needed(folder, PROCESSORS, "the settings of its processor, without which it takes no pictures")
    told = [(file, file.stat()) for file in (*files, *sorted(folder.glob("*.json"))) if file.is_file()]
    _checked(str(folder), tuple((str(file), stand.st_size, stand.st_mtime_ns) for file, stand in told))


def _needed(folder: Path, names: Sequence[str], what: str) -> None:
    """Raise UserError unless one of these files is in the folder, and those that are JSON can be read."""
    there = [folder / name for name in names if (folder / name).is_file()]
    if not there:
        raise UserError(f"'{folder}' lacks {what} ({' or '.join(names[:2])}); copy or download the checkpoint again.")
    for file in there:
        if file.suffix == ".json" and file.name in ("tokenizer_config.json", *PROCESSORS):
            _json(file)


@lru_cache(maxsize=64)
def _checked(folder: str, _stands: tuple[tuple[str, int, int], ...]) -> None:
    place = Path(folder)
    config = _json(place / "config.json") if (place / "config.json").is_file() else {}
    tensors = _tensors(place)
    if "quantization_config" not in config:
        _check_numbers(folder, tensors)
    text = _text_config(config)
    if isinstance(text.get("hidden_size"), int) and not {"quantization_config", "word_embed_proj_dim"} & {*config, *text}:
        _check_width(folder, tensors, text["hidden_size"])
    if isinstance(text.get("num_hidden_layers"), int):
        _check_depth(folder, tensors, text["num_hidden_layers"])


def _tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor that a load will see: of model.safetensors, else of the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in read_header(file).items()}
    placed = _json(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(shard, str) for shard in placed.values()):
        raise UserError(f"'{index}' holds no weight_map from tensors to files; copy or download it again.")
    found: dict[str, Tensor] = {}
    for shard in sorted(set(placed.values())):
        file = folder / shard
        if Path(shard).name != shard or not file.is_file():
            raise UserError(f"'{index}' names '{shard}', which is not in the folder; copy or download it again.")
        held = read_header(file)
        lacking = [name for name, where in placed.items() if where == shard and name not in held]
        if lacking:
            raise UserError(f"'{file}' lacks {listed(lacking)}, which its index places there; copy or download it again.")
        found |= held
    return found


def read_header(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises UserError for a file that is cut off, too long or no safetensors."""
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(size - 8, MOST_HEADER):
                raise ValueError("the header is longer than the file")
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        found = {name: Tensor(str(value["dtype"]), tuple(map(int, value["shape"]))) for name, value in header.items()}
        end = max((int(value["data_offsets"][1]) for value in header.values()), default=0)
        if size != 8 + length + end:
            raise ValueError(f"{size:,} bytes are there, {8 + length + end:,} were written")
        for name, value in header.items():
            start, stop = value["data_offsets"]
            if stop - start != math.prod(found[name].shape) * SIZES.get(found[name].dtype, 0) and found[name].dtype in SIZES:
                raise ValueError(f"{name} has another size than its shape says")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, struct.error) as error:
        raise UserError(f"The weights in '{file}' are damaged ({_short(error)}); copy or download the file again.") from error
    return found


def _check_numbers(folder: str, tensors: Mapping[str, Tensor]) -> None:
    """Whole numbers and floats of 8 bits are weights only with the quantization_config that says what they stand for."""
    odd = {name: tensor for name, tensor in tensors.items() if tensor.dtype not in WEIGHTS and not COUNTS.search(name)}
    if odd:
        name, tensor = next(iter(odd.items()))
        raise UserError(
            f"'{folder}' keeps {listed(list(odd))} as {tensor.dtype}, and its config.json has no quantization_config that says "
            "what such numbers stand for; get the checkpoint again."
        )


def _check_width(folder: str, tensors: Mapping[str, Tensor], width: int) -> None:
    for name, tensor in tensors.items():
        if EMBEDDINGS.search(name) and not _sees(name) and len(tensor.shape) == 2 and tensor.shape[1] != width:
            raise UserError(
                f"'{folder}' holds {name} of {_shape(tensor.shape)}, and its config.json says hidden_size={width}; they do not "
                "belong together: get the checkpoint again."
            )


def _check_depth(folder: str, tensors: Mapping[str, Tensor], layers: int) -> None:
    found = {int(place.group(1)) for name in tensors if not _sees(name) and (place := BLOCKS.search(name))}
    missing = [str(number) for number in range(layers) if number not in found]
    if found and missing:
        raise UserError(
            f"'{folder}' holds no tensors of decoder block {listed(missing)}, and its config.json says "
            f"num_hidden_layers={layers}; get the checkpoint again."
        )


def _sees(name: str) -> bool:
    """Whether a tensor belongs to a tower, by its name."""
    return any(word in name for word in ("vision", "visual", "image", "audio", "resampler", "perceiver", "qformer"))


def from_pretrained(auto: Any, spec: ModelSpec, **options: Any) -> Any:
    """`from_pretrained` with its failures in one sentence: files of others, and code among them, may fail in any way."""
    where = spec.where()
    remote = {} if spec.path else {"revision": spec.revision}
    try:
        return auto.from_pretrained(where, trust_remote_code=spec.trust_remote_code, **remote, **options)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise UserError(
                f"'{where}' does not fit the device's memory; use device_map=auto, quantization=4bit or a smaller dtype."
            ) from error
        code = "it brings code of its own; set trust_remote_code=true if you trust it"
        reason = code if "trust_remote_code" in str(error) else " ".join(str(error).split()).split(". ")[0][:200]
        if spec.path:
            raise UserError(f"The folder '{spec.path}' could not be loaded as {auto.__name__}: {reason}") from error
        raise UserError(
            f"The model '{spec.id}' could not be loaded from the hub as {auto.__name__}; if the hub cannot be reached "
            f"from here, download it and set its path (target.path=… or source.path=…). Reason: {reason}"
        ) from error


# -- after the load --------------------------------------------------------------------------------------------------


def spare(name: str) -> bool:
    """Whether a checkpoint may hold this tensor beside those of its model (SPARE)."""
    return any(re.search(pattern, name) for pattern in SPARE)


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
        shapes = [f"{name} ({_shape(held)} instead of {_shape(needed)})" for name, held, needed in mismatched]
        told.append(f"another shape than the model's has {listed(shapes)}")
    if unexpected:
        told.append(f"the model has no place for {listed(unexpected)}")
    told += [_short(ValueError(message)) for message in account.get("error_msgs", ())]
    if told:
        raise UserError(
            f"The checkpoint '{where}' does not fit its config: {'; '.join(told)}. Nothing is made up for tensors: get the "
            "checkpoint again."
        )


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first of these names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
