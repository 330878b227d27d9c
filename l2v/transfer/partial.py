"""States that were read before an interruption: one file per batch, so that a kill loses the batch in flight and no more."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from l2v.disk import write_atomically


@dataclass(frozen=True)
class TextStates:
    """One text: the block outputs at its final token, (layers, d) float32; of some, all tokens' norms (layers, tokens)."""

    final: Tensor
    norms: Tensor | None = None


class PartialStates:
    """The states of texts by their number, kept in a folder; without one, only until they are taken.

    Files of another `key` (other texts, another depth) and files that were cut off or damaged are removed and read again.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder = folder
        self.key = key
        self.memory: dict[int, TextStates] = {}
        self.files: dict[int, tuple[Path, int]] = {}  # text: its file and row
        for path in sorted(folder.glob("*.safetensors")) if folder else []:
            self._index(path)

    def __contains__(self, text: int) -> bool:
        return text in self.memory or text in self.files

    def _index(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                header = file.metadata() or {}
                whole = header.get("key") == self.key
                if whole and "digest" in header:
                    whole = header["digest"] == _digest({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
                texts = file.get_tensor("texts").tolist() if whole else []
        except (SafetensorError, OSError):
            whole = False
        if not whole:
            path.unlink(missing_ok=True)
            return
        self.files |= {text: (path, row) for row, text in enumerate(texts)}

    def add(self, texts: Sequence[int], states: Sequence[TextStates]) -> None:
        """Keep a batch that was just read; on disk it appears whole or not at all."""
        from safetensors.torch import save

        self.memory |= dict(zip(texts, states, strict=True))
        if self.folder is None:
            return
        tensors = {"texts": torch.tensor(list(texts)), "final": torch.stack([s.final for s in states])}
        tensors |= {f"norms.{t}": s.norms.contiguous() for t, s in zip(texts, states, strict=True) if s.norms is not None}
        write_atomically(
            self.folder / f"{texts[0]:06d}.safetensors", save(tensors, {"key": self.key, "digest": _digest(tensors)})
        )

    def take(self, texts: Sequence[int]) -> list[TextStates]:
        """The states of texts that are kept, in this order; memory is given back."""
        return [self.memory.pop(t) if t in self.memory else self._load(t) for t in texts]

    def _load(self, text: int) -> TextStates:
        from safetensors import safe_open

        path, row = self.files[text]
        with safe_open(str(path), framework="pt") as file:
            norms = file.get_tensor(f"norms.{text}") if f"norms.{text}" in file.keys() else None  # noqa: SIM118
            return TextStates(file.get_slice("final")[row], norms)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """The digest of some tensors' names and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()
