"""The tensors of a checkpoint by the headers of its safetensors and its index, read in milliseconds. No torch."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from l2v.errors import UserError

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
# Matrices that a trained model has no use for when they are zeros throughout: embeddings, heads and projections.
USED = re.compile(r"(embed_tokens|position_embedding|lm_head|_proj|qkv|wqkv|fc[12]|linear_[12]|w[123]|out_proj)\.weight$")
BLOCK_BYTES = 2**20
# How a file begins that Git left in the place of a large one.
POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Tensor:
    """A tensor as a safetensors header describes it."""

    dtype: str
    shape: tuple[int, ...]


def json_object(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError, naming the file, for anything else."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("no file")  # a pipe would be waited for, a device read without end
        values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' cannot be read as JSON ({shortened(error)}); copy or download it again.") from error
    if not isinstance(values, dict):
        raise UserError(f"'{path}' must hold a JSON object, not a {type(values).__name__}; copy or download it again.")
    return values


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a key that it holds twice, with two values: which is meant, nobody knows."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise ValueError(f"it says two things of {key[:40]}")
    return found


def shortened(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def check_links(folder: Path) -> None:
    """Raise UserError for a link to a file that is not there, as a broken-off download leaves in the hub's cache, and for what
    Git leaves in the place of a large file that it did not fetch."""
    for file in sorted(folder.glob("*")):
        if file.is_symlink() and not file.exists():
            raise UserError(f"'{file.name}' in '{folder}' is a link to a file that is not there; copy or download it again.")
        if file.is_file() and file.stat().st_size < 1024 and file.read_bytes().startswith(POINTER):
            raise UserError(f"'{file.name}' in '{folder}' is a pointer of Git LFS, no file; `git lfs pull` there fetches it.")


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Every tensor that a load will see: of model.safetensors, else of the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if single.is_file() and index.is_file():
        raise UserError(
            f"'{folder}' holds its weights twice, as {single.name} and as the shards of {index.name}, which may differ; delete "
            "the one or the other."
        )
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise UserError(
            f"'{folder}' holds neither {single.name} nor {index.name}, which says what its other *.safetensors hold; copy or "
            "download what is missing."
        )
    placed = json_object(index).get("weight_map")
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
        raise UserError(
            f"The weights in '{file}' are damaged ({shortened(error)}); copy or download the file again."
        ) from error
    _check_zeros(file, header, 8 + length)
    return found


def _check_zeros(file: Path, header: Mapping[str, Any], begin: int) -> None:
    """Raise UserError for a matrix of zeros alone, as a broken-off download leaves that had set room aside for the whole file.

    begin: where the numbers begin. The first row tells of nearly all matrices, and the others are read.
    """
    with file.open("rb") as opened:
        for name, value in header.items():
            start, stop = value["data_offsets"]
            if USED.search(name) and value["dtype"] in WEIGHTS and len(value["shape"]) == 2 and min(value["shape"]) > 1:
                opened.seek(begin + start)
                if _zeros(opened, (stop - start) // value["shape"][0]) and _zeros(opened, begin + stop - opened.tell()):
                    raise UserError(
                        f"The weights in '{file}' are damaged ({name} is zeros throughout, as a download that broke off leaves "
                        "it); copy or download the file again."
                    )


def _zeros(opened: BinaryIO, size: int) -> bool:
    blocks = (opened.read(min(BLOCK_BYTES, size - at)) for at in range(0, size, BLOCK_BYTES))
    return all(block.count(0) == len(block) for block in blocks)


def check_numbers(folder: str, tensors: Mapping[str, Tensor], quantized: object) -> None:
    """Whole numbers and floats of 8 bits are weights only with the quantization_config (`quantized`) that says what they
    stand for, and it says nothing of a checkpoint without any, unless it quantizes while loading."""
    odd = {name: tensor for name, tensor in tensors.items() if tensor.dtype not in WEIGHTS and not COUNTS.search(name)}
    if isinstance(quantized, dict) and not odd and quantized.get("quantization_mode") != "online":
        raise UserError(
            f"The config.json of '{folder}' says that its weights are quantized (quant_method="
            f"{str(quantized.get('quant_method'))[:40]}), and none of them is; get the checkpoint again, or take "
            "quantization_config out of its config.json where they were never quantized."
        )
    if odd and not quantized:
        name, tensor = next(iter(odd.items()))
        raise UserError(
            f"'{folder}' keeps {listed(list(odd))} as {tensor.dtype}, and its config.json has no quantization_config that says "
            "what such numbers stand for; get the checkpoint again."
        )


def check_width(folder: str, tensors: Mapping[str, Tensor], width: int) -> None:
    for name, tensor in tensors.items():
        if EMBEDDINGS.search(name) and not _sees(name) and len(tensor.shape) == 2 and tensor.shape[1] != width:
            raise UserError(
                f"'{folder}' holds {name} of {shape_text(tensor.shape)}, and its config.json says hidden_size={width}; "
                "they do not belong together: get the checkpoint again."
            )


def check_depth(folder: str, tensors: Mapping[str, Tensor], layers: int) -> None:
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


def spare(name: str) -> bool:
    """Whether a checkpoint may hold this tensor beside those of its model (SPARE)."""
    return any(re.search(pattern, name) for pattern in SPARE)


def shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first of these names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
