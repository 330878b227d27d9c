"""What the tests of reports share: one finished study, which they read or copy and never change, and nobody's account."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def pair(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A baseline and an arm, scored by the official rule alone."""
    answer = tiny("--multirun", "study=pair", "method=direct,l2v")
    assert answer.code == 0, answer.err
    return outputs / "pair"


@pytest.fixture
def copied_pair(pair: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(pair, tmp_path / "pair", ignore=shutil.ignore_patterns("report"))
    return tmp_path / "pair"


@pytest.fixture(scope="session")
def without_account() -> Callable[[pytest.MonkeyPatch, Path], None]:
    """Takes every key out of the environment, and the home folder of the person who runs the tests."""

    def hide(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "TRACKIO_", "NETRC"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(home))

    return hide


@pytest.fixture
def no_account(without_account: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No tracker finds an account in this test."""
    without_account(monkeypatch, tmp_path)
