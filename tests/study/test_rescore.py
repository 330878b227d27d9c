"""Scoring stored responses again holds them against the questions that were asked, or says why it cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.paths import PACKAGE
from l2v.study import score


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


def test_other_questions_and_golds_under_the_same_revision_are_refused(
    l2v: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an lm-eval task whose own code reads its data, which has no fingerprint; of other golds a run says it too."""
    given = ("study=moved", f"runtime.outputs={tmp_path}", "benchmark.limit=4", "runtime.progress=false", "runtime.page=false")
    assert l2v("run", *given, "method=direct").code == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("moved/**/*") if path.is_file()}
    real, again = score.load_items, ("score", "study=moved", f"outputs={tmp_path}")
    golds = {"gold": "x"}
    for other in ({"text": "Another question?"}, {"history": (("Before?", "Yes."),)}, golds):

        def moved(*asked: Any, other: dict[str, Any] = other) -> list[Any]:
            first, second, *rest = real(*asked)
            return [first, replace(second, **other, doc=second.doc | {"answer": "x"} if other is golds else second.doc), *rest]

        monkeypatch.setattr(score, "load_items", moved)
        answers = [l2v(*again)]
        if other is golds:
            answers.append(l2v("run", *given, "method=budget_matched", "method.min_new_tokens=2"))
        for answer in answers:
            assert answer.code == 2 and "under the same revision" in answer.err, answer.err
            assert "restore" in answer.err and len(answer.err.splitlines()) == 1
        assert {path: path.read_bytes() for path in before} == before
    for path in tmp_path.glob("moved/items/*"):
        path.unlink()
    assert l2v(*again).code == 0
