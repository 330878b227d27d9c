"""A user's own YAML that is broken, foreign or a bomb ends in one sentence that names the file, before anything grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES = {
    "a bomb": BOMB.encode(),
    "torn": b"path: [x\n",
    "tagged": b"path: !!python/object/apply:os.system ['true']\n",
    "latin-1": "path: caf\xe9\n".encode("latin-1"),
    "NUL": b"path: a\x00b\n",
    "UTF-16": "path: x\n".encode("utf-16"),
    "a key twice": b"path: a\npath: b\n",
    "thousands of brackets": b"path: " + b"[" * 5000 + b"]" * 5000,
    "an alias of itself": b"path: &a [*a]\n",
    "ten thousand digits": b"layers: 1" + b"0" * 10000,
}


@pytest.mark.parametrize("kind", FILES)
def test_a_damaged_config_is_named(kind: str, l2v: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    file = tmp_path / "target" / "mine.yaml"
    file.write_bytes(FILES[kind])
    answer = l2v("run", "--config-dir", tmp_path, "target=mine", f"runtime.outputs={tmp_path}", "dry_run=true")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1), answer
    assert str(file) in answer.err and len(answer.err) < 500


def test_aliases_in_measure_are_read(l2v: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "contrast").mkdir()
    (tmp_path / "contrast" / "mine.yaml").write_text("defaults: [mini]\nname: &n mine\nsplit: *n\n")
    answer = l2v("run", "--config-dir", tmp_path, "contrast=mine", f"runtime.outputs={tmp_path}", "dry_run=true")
    assert answer.code == 0, answer.err


OUTSIDE = [("run", "+experiment=../config"), ("report", "+experiment=../config"), ("run", "target=../x")]


@pytest.mark.parametrize(("verb", "word"), OUTSIDE)
def test_a_choice_is_a_name(verb: str, word: str, l2v: Callable[..., Any]) -> None:
    answer = l2v(verb, word)
    assert (answer.code, len(answer.err.splitlines())) == (2, 1), answer
    assert word.partition("=")[2] in answer.err


def test_escapes_never_reach_the_terminal(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Of a config they are refused, of a claim they are shown."""
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine.yaml").write_text('defaults: [mini]\nname: "a\\e[2Jb"\n')
    answer = l2v("run", "--config-dir", tmp_path, "target=mine", f"runtime.outputs={tmp_path}", "dry_run=true")
    assert answer.code == 2 and "target.name='a\\x1b[2Jb'" in answer.err
    says = '- {id: one, where: T, says: "\\e[2Jworse", experiment: none, cells: {method: l2v}}\n'
    (tmp_path / "claims.yaml").write_text(says)
    told = l2v("claims", f"file={tmp_path / 'claims.yaml'}", f"outputs={tmp_path}")
    assert told.code == 0 and "\\x1b[2Jworse" in told.out
    assert "\x1b" not in answer.err + told.out + told.err
