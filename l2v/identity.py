"""Identities: a hash of canonical JSON for settings, and a fingerprint for local models and data.

Paths are never part of an identity, contents are: a local folder stands for its bytes, so that a retrained checkpoint or
an edited data file gives new cells instead of mixing with old rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, BinaryIO, get_args, get_type_hints

# Files up to this size are hashed whole; of larger ones (weights of tens of GB) the size, evenly spaced samples and, where it
# says which tensors it holds, their names, places and a sample of each: one of them alone may have been trained anew.
WHOLE_FILE_BYTES = 64 * 2**20
SAMPLE_BYTES = 64 * 2**10
SAMPLES = 64
TENSOR_BYTES = 4 * 2**10


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces; equal settings give equal text. NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def settings_of(value: Any) -> dict[str, Any]:
    """A dataclass as `asdict` takes it apart, for hashing: nothing but nested ones is copied, which takes most of the time."""
    held = ((field.name, getattr(value, field.name)) for field in fields(value))
    return {name: settings_of(one) if is_dataclass(one) and not isinstance(one, type) else one for name, one in held}


def rebuilt(kind: Any, values: Mapping[str, Any], whole: bool = False) -> Any:
    """The (nested) dataclass that `asdict` took apart. Raises TypeError for settings that it has not, or lacks.

    whole: what has a default is no less lacking.
    """
    if whole and (odd := sorted(set(values) ^ {field.name for field in fields(kind)})):
        raise TypeError(", ".join(odd))
    held = _held_by(kind)
    return kind(**{k: rebuilt(held[k], v, whole) if k in held and v is not None else v for k, v in values.items()})


@lru_cache(maxsize=64)
def _held_by(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass that hold another one, or may."""
    hints = ((name, get_args(hint) if isinstance(hint, UnionType) else (hint,)) for name, hint in get_type_hints(kind).items())
    return {name: one for name, several in hints for one in several if is_dataclass(one)}


def digest(value: Any, length: int = 16) -> str:
    """The first `length` hexadecimal digits of the SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def sha256(path: Path) -> str:
    """The whole SHA-256 of a file, as package indexes and download pages print it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: str | Path, beside: Callable[[], Mapping[str, Path]] | None = None) -> str:
    """`local:<hash>` of the contents of a file or folder, whatever it is called and wherever it lies.

    Hidden files and caches are left out. beside: the files that it names, by what it calls them; they count wherever they lie.
    Raises FileNotFoundError when nothing is there.
    """
    if _held is None:
        return _looked_at(Path(path), beside)
    key = str(path), beside is not None
    if key not in _held:
        _held[key] = _looked_at(Path(path), beside)
    return _held[key]


# While a grid is planned: what was found at each path, by itself and with what it names.
_held: dict[tuple[str, bool], str] | None = None


@contextmanager
def held_still() -> Iterator[None]:
    """Files are taken to stay as they are meanwhile: `fingerprint` looks at each path once, however many cells name it."""
    global _held
    before, _held = _held, {}
    try:
        yield
    finally:
        _held = before


def _looked_at(path: Path, beside: Callable[[], Mapping[str, Path]] | None) -> str:
    """The fingerprint by a look at every file's size and time."""
    if not path.exists():
        raise FileNotFoundError(path)
    files = [path] if path.is_file() else sorted(p for p in _below(path) if p.is_file())
    named = [
        (str(p.relative_to(path)) if p != path else "", p)
        for p in files
        if not any(part.startswith((".", "__")) for part in p.relative_to(path).parts)
    ]
    there = {os.path.abspath(p) for _, p in named}
    others = sorted(beside().items()) if beside is not None else []
    named += [(name, p) for name, p in others if os.path.abspath(p) not in there and os.path.isfile(p)]
    stands = ((name, p, p.stat()) for name, p in named)
    return _fingerprint(tuple((name, str(p), st.st_size, (st.st_mtime_ns, st.st_ctime_ns)) for name, p, st in stands))


def _below(folder: Path) -> Iterator[Path]:
    """What lies in a folder and in those below it, behind links too: whoever reads the folder follows them."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        # A link to a folder above it would lead round for ever.
        folders[:] = sorted(folders) if (real := os.path.realpath(place)) not in seen else []
        yield from (Path(place, name) for name in names if real not in seen)
        seen.add(real)


@lru_cache(maxsize=256)
def _fingerprint(listing: tuple[tuple[str, str, int, tuple[int, int]], ...]) -> str:
    """The hash over (relative name, path, size, times); the times only decide whether to hash again."""
    total = hashlib.sha256()
    for name, path, size, _ in listing:
        total.update(f"{name}\0{size}\0".encode())
        total.update(_content_hash(Path(path), size))
    return f"local:{total.hexdigest()[:16]}"


def _content_hash(path: Path, size: int) -> bytes:
    content = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE_FILE_BYTES:
            content.update(file.read())
        else:
            places = [((size - SAMPLE_BYTES) * i // (SAMPLES - 1), SAMPLE_BYTES) for i in range(SAMPLES)]
            for place, length in places + (_tensors(file) if path.suffix == ".safetensors" else []):
                file.seek(place)
                content.update(file.read(length))
    return content.digest()


def _tensors(file: BinaryIO) -> list[tuple[int, int]]:
    """Place and length of the header of a safetensors file, and of the middle of each of its tensors; none where it is damaged,
    which reading it tells."""
    try:
        begin = 8 + min(int.from_bytes(file.read(8), "little"), WHOLE_FILE_BYTES)
        header = json.loads(file.read(begin - 8))
        ends = sorted([int(end) for end in one["data_offsets"]] for name, one in header.items() if name != "__metadata__")
        whole = [(begin + a, b - a) for a, b in ends if 0 <= a < b]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [(0, begin), *((a + max(0, size - TENSOR_BYTES) // 2, min(size, TENSOR_BYTES)) for a, size in whole)]
