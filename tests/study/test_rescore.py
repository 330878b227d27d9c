"""Scoring stored responses again holds them against the questions that were asked, or says why it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from l2v.paths import PACKAGE


def test_edited_golds_are_refused(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """The same ids with other answers: one sentence, exit code 2, and the stored verdicts stay."""
    data = tmp_path / "data"
    shutil.copytree(PACKAGE / "mini" / "data", data)
    given = ("study=edited", f"runtime.outputs={tmp_path}", f"benchmark.path={data}", "benchmark.limit=4", "method=direct")
    assert l2v("run", *given, "runtime.progress=false", "runtime.device=cpu").code == 0
    again = ("score", "study=edited", f"outputs={tmp_path}")
    assert l2v(*again).code == 0
    before = (tmp_path / "edited" / "results.csv").read_bytes()
    rows = pd.read_parquet(data / "dev.parquet")
    rows["answer"] = "x"
    rows.to_parquet(data / "dev.parquet")
    answer = l2v(*again)
    assert answer.code == 2
    assert "is not what the cell was computed on" in answer.err
    assert (tmp_path / "edited" / "results.csv").read_bytes() == before
