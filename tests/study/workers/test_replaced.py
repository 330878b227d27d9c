"""What is replaced between the plan and its reading, as while a job waits in a queue, is told and nothing is made of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.errors import UserError
from l2v.paths import PACKAGE
from l2v.study.cells import Job
from l2v.study.compute import run_jobs
from l2v.study.resolve import resolve

MINI = PACKAGE / "mini"
PLACES = {
    "source": MINI / "checkpoints" / "base", "target": MINI / "checkpoints" / "vlm",
    "contrast": MINI / "data" / "contrast.jsonl", "neutral": MINI / "texts" / "neutral.parquet", "benchmark": MINI / "data",
    "method.weights.base": MINI / "checkpoints" / "base", "method.weights.checkpoint": MINI / "checkpoints" / "vlm",
}  # fmt: skip
READ = {
    "l2v": ["source", "contrast"], "direct": ["target", "benchmark"], "own_direction": ["target"], "few_shot_cot": ["contrast"],
    "ridge_neutral": ["neutral", "target"], "linear": ["source"], "ties": ["method.weights.base"], "mathneuro": ["contrast"],
    "checkpoint": ["method.weights.checkpoint"],
}  # fmt: skip
WORDS = {
    "few_shot_cot": ["method.shots=1"],
    **{kind: ["method.name=merging", f"method.weights.kind={kind}"] for kind in ("linear", "ties")},
    "mathneuro": ["method.weights.kind=mathneuro"],
    "checkpoint": ["method.name=finetuned_cot", "method.weights.kind=checkpoint"],
}  # fmt: skip
SMALL = ("runtime.device=cpu", "runtime.progress=false", "benchmark.limit=2", "contrast.per_domain=20", "neutral.texts=40")


@pytest.mark.parametrize(("method", "role"), [(method, role) for method, roles in READ.items() for role in roles])
def test_what_was_replaced_meanwhile_is_told(method: str, role: str, config: Callable[..., Any], tmp_path: Path) -> None:
    place = tmp_path / PLACES[role].name
    (shutil.copytree if PLACES[role].is_dir() else shutil.copy2)(PLACES[role], place)
    words = [f"method.name={method}", f"source.path={PLACES['source']}", f"method.weights.base={PLACES['source']}"]
    words += [*WORDS.get(method, []), f"runtime.outputs={tmp_path / 'outputs'}", *SMALL]
    asked = config(*words, f"{role if role.startswith('method.') else f'{role}.path'}={place}")
    job = Job(resolve(asked), asked)
    if place.is_dir():
        (place / "added.txt").write_text("something else")
    elif place.suffix == ".parquet":
        pd.read_parquet(place).iloc[::-1].to_parquet(place)
    else:
        place.write_bytes(place.read_bytes() + b"\n")
    with pytest.raises(UserError) as told:
        run_jobs([job])
    called = "target" if method == "checkpoint" else role
    assert str(place) in str(told.value) and (f"{place} is no more the {called} that" in str(told.value) or role == "benchmark")
