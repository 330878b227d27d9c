"""A study keeps the commands that it was computed by, and the machines, versions and commit of its workers."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import l2v
from l2v.study import provenance


def kept(outputs: Path, study: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (outputs / study / "provenance.jsonl").read_text().splitlines()]


def test_a_study_tells_what_it_was_computed_by(tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path) -> None:
    words = ("target=mini", "method=direct", "study=provenance", "judge.base_url=http://me:secret@localhost:1/v1")
    assert tiny(*words).code == 0
    [first] = kept(outputs, "provenance")
    assert first["command"].startswith("l2v run ") and "method=direct" in first["command"]
    assert "secret" not in first["command"] and "http://localhost:1/v1" in first["command"]
    assert first["versions"]["torch"] == importlib.metadata.version("torch") and "CPU" in first["hardware"][-1]
    assert tiny(*words).code == 0
    assert len(kept(outputs, "provenance")) == 1  # nothing was computed, and nothing is told twice
    assert tiny(*words, "benchmark.limit=9").code == 0
    assert [("benchmark.limit=9" in one["command"]) for one in kept(outputs, "provenance")] == [False, True]
    assert l2v("report", "study=provenance", f"outputs={outputs}").code == 0
    page = (outputs / "provenance" / "report" / "index.html").read_text()
    assert "benchmark.limit=9" in page and f"transformers {first['versions']['transformers']}" in page


@pytest.mark.parametrize("damage", [b"", b"\xff\n", b"[1]\n", b'{"command": 1, "versions": [], "hardware": {}}\n', b"{"])
def test_a_damaged_record_costs_itself_alone(
    tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path, damage: bytes
) -> None:
    assert tiny("target=mini", "method=direct", "study=provenance_damaged").code == 0
    (outputs / "provenance_damaged" / "provenance.jsonl").write_bytes(damage)
    answer = l2v("report", "study=provenance_damaged", f"outputs={outputs}")
    assert answer.code == 0 and "direct" in answer.out


def test_the_commit_is_that_of_the_installed_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout says its commit and whether it was changed; a copy inside of another project's repository does not say its."""
    package = tmp_path / "l2v"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(l2v, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(importlib.metadata.PathDistribution, "read_text", lambda self, name: None)

    def git(*words: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit() -> str | None:
        provenance.commit.cache_clear()
        return provenance.commit()

    assert commit() is None
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "another project")
    assert commit() is None
    git("add", "l2v")
    git("commit", "-q", "-m", "l2v")
    assert commit() == git("rev-parse", "HEAD")
    (package / "__init__.py").write_text("changed = True")
    assert commit() == f"{git('rev-parse', 'HEAD')}, changed"
    told = json.dumps({"url": "https://a.b", "vcs_info": {"vcs": "git", "commit_id": "c" * 40}})
    monkeypatch.setattr(l2v, "__file__", "/nowhere/l2v/__init__.py")
    monkeypatch.setattr(importlib.metadata.PathDistribution, "read_text", lambda self, name: told)
    assert commit() == "c" * 40
    monkeypatch.undo()
    provenance.commit.cache_clear()


def test_no_command_without_one() -> None:
    token = provenance.COMMAND.set(None)
    assert provenance.given() is None
    provenance.COMMAND.reset(token)
