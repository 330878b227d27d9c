"""Tensors from one checkpoint into another, shard by shard: planned and checked before anything is written, resumable.

Memory: one shard of the output (SHARD_BYTES) and what safetensors needs to write it. A shard that is there was written whole
(a temporary name until then) and carries a digest of where it came from; one that fits is not written again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.errors import UserError
from l2v.identity import digest, fingerprint
from l2v.tensors import json_object, read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SHARD_BYTES = 2 * 2**30
DIGEST = "l2v_converted_from"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Move:
    """One new tensor: `part` of the tensor `key` in `file`."""

    file: str
    key: str
    name: str
    part: str


@dataclass(frozen=True)
class Shard:
    """One file of the output and what goes into it."""

    name: str
    moves: tuple[Move, ...]
    size: int


Names = Callable[[str], tuple[tuple[str, str], ...]]
Part = Callable[["Tensor", str], "Tensor"]


def source_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint. Raises UserError where there are none, or one that its index names is missing."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = ", ".join(sorted(p.name for p in folder.glob("*.bin"))[:2])
        what = f"only {others}, which are pickles and not opened" if others else "no weights"
        raise UserError(f"'{folder}' holds {what}; download its .safetensors files.")
    index = folder / INDEX
    if index.exists():
        placed = json_object(index).get("weight_map")
        if not isinstance(placed, dict):
            raise UserError(f"'{index}' holds no weight_map from tensors to files; download it again.")
        named = set(map(str, placed.values()))
        missing = sorted(named - {file.name for file in files})
        if missing:
            raise UserError(f"'{folder}' lacks {missing[0]} ({len(missing)} of {len(named)} shards); download them.")
        return [file for file in files if file.name in named]
    return files


def plan(
    files: Sequence[Path],
    names: Names,
    part: Part,
    expected: dict[str, torch.Size],
    spare: Collection[str] = (),
    limit: int = SHARD_BYTES,
) -> list[Shard]:
    """The output's shards, from headers alone; spare: what of the expected need not be there.

    Raises UserError, before anything is written, for a damaged file, a tensor that is unknown, missing, there twice, or of
    another shape than the model's.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    moves: list[tuple[Move, int]] = []
    seen: dict[str, str] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                for key in sorted(opened.keys()):
                    view = opened.get_slice(key)
                    blank = torch.empty(view.get_shape(), dtype=_dtype(view.get_dtype(), key), device="meta")
                    for name, which in names(key):
                        new = _checked(part(blank, which), name, key, expected, seen)
                        moves.append((Move(file.name, key, name, which), new.numel() * new.element_size()))
        except (SafetensorError, OSError) as error:
            raise UserError(f"'{file}' cannot be read ({error}); download it again.") from error
        read_header(file)  # refuses what a broken-off download left as zeros
    missing = sorted(set(expected) - set(seen) - set(spare))
    if missing:
        raise UserError(
            f"The checkpoint lacks {len(missing)} tensors of the model, '{missing[0]}' among them; download it again."
        )
    return _packed(moves, limit)


def _dtype(name: str, key: str) -> torch.dtype:
    import torch

    known = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
    if name not in known:
        raise UserError(f"The tensor '{key}' is of type {name}; only plain floating point weights are converted.")
    return known[name]


def _checked(new: Tensor, name: str, key: str, expected: dict[str, torch.Size], seen: dict[str, str]) -> Tensor:
    if name in seen:
        raise UserError(f"The tensors '{seen[name]}' and '{key}' would both become '{name}'.")
    if name not in expected:
        raise UserError(f"The tensor '{key}' would become '{name}', which the model does not have.")
    if new.shape != expected[name]:
        raise UserError(
            f"The tensor '{key}' gives '{name}' the shape {tuple(new.shape)}, the model needs {tuple(expected[name])}; "
            "config.json and weights do not belong together."
        )
    seen[name] = key
    return new


def _packed(moves: Sequence[tuple[Move, int]], limit: int) -> list[Shard]:
    """In order, each shard up to `limit` bytes (or one tensor that is larger)."""
    packs: list[tuple[list[Move], int]] = []
    for move, size in moves:
        if not packs or packs[-1][1] + size > limit:
            packs.append(([], 0))
        packs[-1] = ([*packs[-1][0], move], packs[-1][1] + size)
    count = len(packs)
    return [Shard(f"model-{i:05d}-of-{count:05d}.safetensors", tuple(held), n) for i, (held, n) in enumerate(packs, 1)]


def provenance(shard: Shard, folder: Path) -> str:
    """What a shard was made from: its moves, and the content of the files they read."""
    files = sorted({move.file for move in shard.moves})
    read = {file: fingerprint(folder / file) for file in files}
    return digest({"moves": [[m.file, m.key, m.name, m.part] for m in shard.moves], "files": read})


def written(path: Path, mark: str) -> bool:
    """Whether a shard is there, whole, and made from what `mark` says."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return False
    try:
        with safe_open(path, framework="pt") as opened:
            return bool((opened.metadata() or {}).get(DIGEST) == mark)
    except (SafetensorError, OSError):
        return False


def write_shard(shard: Shard, folder: Path, out: Path, part: Part, mark: str) -> None:
    """Read what belongs into one shard, tensor by tensor, and write it; whole or not at all."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for file in dict.fromkeys(move.file for move in shard.moves):
        with safe_open(folder / file, framework="pt") as opened:
            for move in shard.moves:
                if move.file == file:
                    # A copy of its own: parts of one tensor must not share memory in a file.
                    tensors[move.name] = part(opened.get_tensor(move.key), move.part).clone().contiguous()
    temporary = out / f".{shard.name}.part"
    save_file(tensors, temporary, metadata={"format": "pt", DIGEST: mark})
    with temporary.open("rb") as file_to_sync:
        os.fsync(file_to_sync.fileno())
    temporary.replace(out / shard.name)


def index_of(shards: Sequence[Shard]) -> str:
    """The text of the index that names each tensor's file."""
    weights = {move.name: shard.name for shard in shards for move in shard.moves}
    return json.dumps({"metadata": {"total_size": sum(s.size for s in shards)}, "weight_map": weights}, indent=1)
