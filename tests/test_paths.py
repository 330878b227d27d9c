"""Folders as they are typed: the path that the shell hands over is the path that is read, whatever signs it has."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v import paths
from l2v.verbs.compose import command_line, compose
from l2v.verbs.run import PARTS

NAMES = [
    "plain",
    "two words",
    "a,b",
    "k=v",
    "größe 模型",
    "(1)",
    "it's",
    "x{y}",
    "a:b",
    "#1",
    "50%",
    "[2]",
    "a&b",
    'say "a"',
    "$x",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_read_as_it_was_typed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    word = f"target.path={tmp_path / name}"
    for found in (command_line([word, "method=direct"], PARTS), compose([word, "method=direct"])):
        assert found is not None and found.target.path == str(tmp_path / name)


def test_home_is_found_with_and_without_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my models" / "a").mkdir(parents=True)
    for typed in ("~/my models/a", "'~/my models/a'", '"~/my models/a"', str(tmp_path / "my models" / "a")):
        found = compose([f"target.path={typed}", "method=direct"])
        assert found.target.path == str(tmp_path / "my models" / "a"), typed
    assert compose(["target.path=~/not there", "method=direct"]).target.path == str(tmp_path / "not there")


def test_relative_paths_links_and_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "größe 2").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "größe 2")
    for typed in ("größe 2", "./größe 2", "größe 2/", "link", "link/"):
        path = compose([f"target.path={typed}", "method=direct"]).target.path
        assert Path(path) == Path(typed) and Path(path).is_dir()


def test_a_sweep_over_paths_stays_one(l2v: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma parts values, but where it is a part of a path that is there."""
    import shutil

    from l2v.paths import CHECKPOINTS

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("m1", "m2", "a,b"):
        shutil.copytree(CHECKPOINTS / "vlm", tmp_path / name)
    words = ("dry_run=true", "list_cells=true", "method=direct", f"runtime.outputs={tmp_path / 'o'}")
    many = l2v("run", "--multirun", "target=local", "target.path=~/m1,~/m2", *words)
    assert many.code == 0 and "direct on m1" in many.out and "direct on m2" in many.out, many.err
    one = l2v("run", "--multirun", "target=local", f"target.path={tmp_path / 'a,b'}", *words)
    assert one.code == 0 and "direct on a,b" in one.out, one.err


def test_words_that_hydra_cannot_read_are_told_with_quotes_for_the_shell(l2v: Callable[..., Any]) -> None:
    answer = l2v("run", "target.path=/none/größe")
    assert answer.code == 2 and """quote such text, for the shell too: "key='…'".""" in answer.err


def test_a_wheel_holds_what_lies_beside_the_package_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = paths.PACKAGE.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    places = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert [root / source for source in places] == [paths.conf_dir(), paths.claims_file()]
    for place in places.values():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    monkeypatch.setattr(paths, "PACKAGE", tmp_path / "l2v")
    assert [tmp_path / place for place in places.values()] == [paths.conf_dir(), paths.claims_file()]
