"""What the tests of reports share: one finished study, which they read or copy and never change."""

from __future__ import annotations

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
