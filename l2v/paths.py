"""Where the packaged data lies, in a checkout and in an installed wheel, and what paths and names that a user gives may be."""

from __future__ import annotations

import os
import re
from pathlib import Path

from l2v.errors import UserError

PACKAGE = Path(__file__).resolve().parent
CHECKPOINTS = PACKAGE / "mini" / "checkpoints"  # the shipped miniature's models
LONGEST_NAME = 120  # characters of a study's name: with what is put around it, a file's name has room
# What stands for itself in Hydra's grammar.
PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)


def conf_dir() -> Path:
    """The folder of the packaged configs: `l2v/conf` in a wheel, `conf/` beside the package in a checkout."""
    return _packed("conf")


def claims_file() -> Path:
    """The paper's claims: within the package in a wheel, `experiments/paper/claims.yaml` in a checkout."""
    return _packed("experiments/paper/claims.yaml")


def _packed(place: str) -> Path:
    """What lies beside the package in a checkout and, by its own name, inside of it in a wheel (pyproject.toml)."""
    inside = PACKAGE / Path(place).name
    return inside if inside.exists() else PACKAGE.parent / place


def world_path(path: str | None, world: str, worlds: Path) -> str | None:
    """Where a model of the miniature lies in another world: below `worlds`, where that world has one of its own."""
    if world == "0" or path is None or Path(path).parent != CHECKPOINTS:
        return path
    name = Path(path).name
    if not (worlds / world / "checkpoints").is_dir():
        raise UserError(f"runtime.world={world}: {worlds / world} holds no models; `make worlds` trains them.")
    own = worlds / world / "checkpoints" / name
    return str(own) if own.is_dir() else path


def local_path(path: str | None) -> str | None:
    """A path setting as a path: `package:mini/data` lies inside the installed package, `~` is the user's home."""
    if path is None:
        return None
    inside = path.removeprefix("package:")
    return str(PACKAGE / inside if inside != path else from_home(path))


def from_home(path: str) -> Path:
    """A path in which `~` is the user's home, and `~` of a user who is not there a part of a name, as a shell has it."""
    return Path(os.path.expanduser(path))


def quoted(word: str) -> str:
    """A word key=value as Hydra's grammar takes it where the value is a path that is there, or begins at home (`~`).

    The shell has taken quotes away; a comma within a path that is there parts no values.
    """
    key, _, value = word.partition("=")
    if value[:1] in ("'", '"', "[", "{") or not ("/" in value or key.endswith("path")) or "${" in value:
        return word
    whole = os.path.exists(from_home(value))
    parts = [value] if whole else value.split(",")
    if not whole and not any(part.startswith("~/") for part in parts):
        return word
    return f"{key}={','.join(part if PLAIN_PATH.fullmatch(part) else _in_quotes(part) for part in parts)}"


def _in_quotes(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


def plain_name(study: str) -> str:
    """A study's name, which is that of a folder directly under outputs. Raises UserError for another one."""
    odd = not study.strip() or study in (".", "..", "cache") or any(sign in "/\\" or not sign.isprintable() for sign in study)
    if odd or study != study.strip() or len(study.encode("utf-8", "replace")) > LONGEST_NAME:
        shown = study if len(study) <= LONGEST_NAME else f"{study[:LONGEST_NAME]}…"
        raise UserError(f"study={shown!r} must be a plain folder name other than 'cache', of at most {LONGEST_NAME} bytes.")
    return study
