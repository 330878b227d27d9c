"""Paths that are no file and no folder, or may not be looked at: one sentence that names them, and nothing waits."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
LONG = "n" * 300


def made(kind: str, folder: Path, suffix: str) -> str:
    """A path of that kind."""
    path = folder / f"x{suffix}"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        short = Path("/tmp") / f"l2v-{os.getpid()}{suffix}"  # a socket's path has few characters
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(short))
        short.rename(path)
    elif kind in ("/dev/zero", "/dev/null", "/none/such"):
        path.symlink_to(kind)
    elif kind == "a link to itself":
        path.symlink_to(path.name)
    elif kind == "a long name":
        return str(folder / f"{LONG}{suffix}")
    elif kind == "nobody's home":
        return f"~nosuchuser/x{suffix}"
    elif kind == "a NUL":
        return f"{folder}/x\0{suffix}"
    else:
        path.touch()
    return str(path)


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Nobody may look into the folder; root becomes another meanwhile."""
    folder.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


KINDS = ("a pipe", "a socket", "/dev/zero", "/dev/null", "/none/such", "a link to itself", "a long name", "nobody's home",
         "a NUL", "a closed folder")  # fmt: skip
# A setting that names a path, and the words before it.
PLACES: dict[str, tuple[str, ...]] = {
    "benchmark.path": ("run", "method=direct"),
    "contrast.path": ("run", "method=l2v"),
    "neutral.path": ("run", "method=ridge_neutral", "neutral.name=x"),
    "source.path": ("run", "method=l2v"),
    "target.path": ("run", "method=direct"),
    "method.weights.checkpoint": ("run", "method=finetuned_cot"),
    "--config-dir": ("run", "method=direct"),
    "responses": ("score", "benchmark=mathvista"),
    "items": ("score", "benchmark=mathvista", "responses={whole}"),
    "outputs": ("report", "study=x"),
    "model": ("convert", "out={whole}.out"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", PLACES)
def test_such_a_path_is_one_sentence(key: str, kind: str, l2v: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    whole = tmp_path / "whole.jsonl"
    whole.write_text('{"id": "1", "response": "2"}\n')
    path = made(kind, tmp_path / "in", ".jsonl")
    verb, *words = (word.replace("{whole}", str(whole)) for word in PLACES[key])
    words += ["dry_run=true", f"runtime.outputs={tmp_path}"] if verb == "run" else []
    if kind == "a closed folder":
        with closed(tmp_path / "in"):
            answer = l2v(verb, *words, f"{key}={path}")
    else:
        answer = l2v(verb, *words, f"{key}={path}")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1), answer
    shown = path.replace("\0", "")
    assert key in answer.err or Path(shown).name[:80] in answer.err, answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("kind", ["a pipe", "/dev/zero"])
@pytest.mark.parametrize("key", ["target.path", "source.path", "model"])
def test_so_is_such_a_config_in_a_checkpoint(key: str, kind: str, l2v: Callable[..., Any], tmp_path: Path) -> None:
    """A pipe would be waited for, a device read until the memory is full."""
    (tmp_path / "in").mkdir()
    path = Path(made(kind, tmp_path / "in", ".json"))
    path.rename(path.with_name("config.json"))
    (path.parent / "model.safetensors").touch()
    verb, *words = (word.replace("{whole}", str(tmp_path / "whole")) for word in PLACES[key])
    answer = l2v(verb, *words, f"{key}={path.parent}", *([f"runtime.outputs={tmp_path}"] if verb == "run" else []))
    assert (answer.code, len(answer.err.splitlines())) == (2, 1), answer
    assert str(path.parent) in answer.err and "config.json" in answer.err
