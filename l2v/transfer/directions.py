"""The directions of one model for one contrast: what is kept of a reading, and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from l2v.disk import write_atomically
from l2v.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Directions:
    """The directions of one model for one contrast, all layers.

    mean: v(l), shape (layers, d), float32 (Eq. 2). trace: the trace of the covariance of u_i, shape (layers,) (METHOD 5).
    mean_square: mean ||u_i||^2, shape (layers,). activation_norm: the median ||h|| over tokens, shape (layers,).
    n: the number of pairs. provenance: the settings they came from, whole.
    states: what the means were made of, where asked for: the final states, shape (layers, 2n, d) in the model's dtype; text
    2i is the chain of thought and text 2i + 1 the direct one of pair i.
    """

    mean: Tensor
    trace: Tensor
    mean_square: Tensor
    activation_norm: Tensor
    n: int
    provenance: dict[str, Any] = field(default_factory=dict)
    states: Tensor | None = None

    def save(self, path: Path) -> None:
        """Write one safetensors file with n and the provenance in its header, by an atomic rename."""
        from safetensors.torch import save

        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        if self.states is not None:
            tensors["states"] = self.states.contiguous()
        header = {"n": str(self.n), "provenance": json.dumps(self.provenance, sort_keys=True)}
        write_atomically(path, save(tensors, header | {"digests": json.dumps(_digests(tensors, header))}), sync=True)

    def with_states(self, path: Path) -> Directions:
        """These directions with all states of their file, as they are stored."""
        from safetensors import safe_open

        if not self.has_states(path):
            return self
        with safe_open(str(path), framework="pt") as file:
            return replace(self, states=file.get_tensor("states"))

    @classmethod
    def load(cls, path: Path) -> Directions:
        """Read a file written by `save`. Raises UserError when it is not one."""
        tensors, n, provenance = _read(path, "pt")
        return cls(**tensors, n=n, provenance=provenance)

    @staticmethod
    def has_states(path: Path) -> bool:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="numpy") as file:
                return "states" in file.keys()  # noqa: SIM118
        except (SafetensorError, OSError):
            return False

    @staticmethod
    def load_states(path: Path, layer: int) -> Tensor:
        """The final states of one block, (2n, d) float32; the other blocks are not read. Raises UserError without them."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                states = file.get_slice("states")[layer]
                known = json.loads((file.metadata() or {}).get("digests", "{}")).get("states")
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{path} holds no states ({error}); delete it and it is computed again.") from error
        if known is not None and tensor_digest(states) != known[layer]:
            raise UserError(f"The states of block {layer} in {path} are damaged; delete it and it is computed again.")
        return states.float()

    @classmethod
    def check(cls, path: Path) -> None:
        """Read all of a file, its states too. Raises UserError as `load` and `load_states`."""
        layers = len(cls.load(path).mean)
        for layer in range(layers if cls.has_states(path) else 0):
            cls.load_states(path, layer)


@dataclass(frozen=True)
class Summary:
    """What a file of directions says of each layer, arrays of shape (layers,): `norm` is the length of v(l), the others as in
    Directions. Read with numpy, for what lists directions and never computes with them."""

    norm: Array
    trace: Array
    mean_square: Array
    activation_norm: Array
    width: int
    n: int
    provenance: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> Summary:
        """Read a file written by `Directions.save`. Raises UserError when it is not one."""
        tensors, n, provenance = _read(path, "numpy")
        mean = tensors.pop("mean")
        return cls(np.linalg.norm(mean, axis=1), **tensors, width=mean.shape[1], n=n, provenance=provenance)


_TENSORS = ("mean", "trace", "mean_square", "activation_norm")


def _read(path: Path, framework: str) -> tuple[dict[str, Any], int, dict[str, Any]]:
    """A file's tensors but the states, its number of pairs and its provenance."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no plain file")
        with safe_open(str(path), framework=framework) as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        n, provenance = int(header["n"]), json.loads(header["provenance"])
        known = json.loads(header["digests"]) if "digests" in header else None
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} is not a file of directions ({error}); delete it and it is computed again.") from error
    numbers = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    shapes = {array.shape for name, array in numbers.items() if name != "mean"}
    fit = numbers["mean"].ndim == 2 and shapes == {numbers["mean"].shape[:1]}
    fit = fit and all(array.dtype == np.float32 for array in numbers.values())
    if not fit or (known is not None and not _are_whole(tensors, header, known)):
        raise UserError(f"{path} is damaged or was edited; delete it and it is computed again.")
    return tensors, n, provenance


def has_digests(path: Path) -> bool:
    """Whether a file that `load` takes carries digests; one of a version before them does not."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy") as file:
        return "digests" in (file.metadata() or {})


def _are_whole(tensors: Mapping[str, Any], header: Mapping[str, str], known: Any) -> bool:
    """Whether the tensors, the number of pairs and the provenance are those that were written."""
    if not isinstance(known, dict):
        return False
    states = {"states": known["states"]} if "states" in known else {}
    return bool(known == _sum({name: tensor_digest(tensor) for name, tensor in tensors.items()} | states, header))


def _digests(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> dict[str, Any]:
    """The digest of every tensor, of the states one per block, which are read one at a time; and of these and the header."""
    found: dict[str, Any] = {name: tensor_digest(tensor) for name, tensor in tensors.items() if name != "states"}
    if "states" in tensors:
        found["states"] = [tensor_digest(block) for block in tensors["states"]]
    return _sum(found, header)


def _sum(digests: dict[str, Any], header: Mapping[str, str]) -> dict[str, Any]:
    content = json.dumps([digests, header["n"], header["provenance"]], sort_keys=True)
    return digests | {"all": hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}


def file_digest(tensors: Mapping[str, Any], header: Mapping[str, str]) -> str:
    """What a file of tensors holds, each one's digest and its header's words."""
    return json.dumps([sorted((name, tensor_digest(tensor)) for name, tensor in tensors.items()), sorted(header.items())])


def tensor_digest(tensor: Any) -> str:
    """The digest of a tensor's or an array's bytes."""
    if not isinstance(tensor, np.ndarray):
        import torch

        tensor = tensor.contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(np.ascontiguousarray(tensor).data, digest_size=16).hexdigest()
