"""A text model as target: through the door that every target takes, and no further where there are pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.checkpoint import ModelSpec, target_kind
from l2v.paths import PACKAGE
from l2v.study.cells import Cell
from l2v.study.resolve import resolve

KIN = PACKAGE / "mini" / "checkpoints" / "kin"
TEXT = ("target=local", f"target.path={KIN}", "target.name=kin", "benchmark=sums", "benchmark.limit=4", "source=mini_base")
CONTRAST = ("contrast=mini", "contrast.per_domain=6")
STEERED = (*TEXT, *CONTRAST, "decoding.max_new_tokens=6", "intervention.cutoff=16", "intervention.scale=relative")


def responses(outputs: Path, study: str) -> dict[str, list[str]]:
    """The responses of a study by cell, in the order of the items."""
    files = sorted((outputs / study / "cells").glob("*/responses.jsonl"))
    return {file.parent.name: [json.loads(line)["response"] for line in file.read_text().splitlines()] for file in files}


def test_the_kind_is_read_from_the_folder(config: Callable[..., Any]) -> None:
    assert target_kind(ModelSpec("x", path=str(KIN))) == "text"
    assert target_kind(ModelSpec("x", path=str(PACKAGE / "mini" / "checkpoints" / "vlm"))) == "vision"
    assert target_kind(ModelSpec("some/hub-id")) == "vision"
    cell, declared = (resolve(config(*words)) for words in (("seed=0",), ("seed=0", "target.kind=vision")))
    assert cell.id == declared.id, "how a target is loaded makes no other cell"


def test_every_kind_of_method_answers(tiny: Callable[..., Any], outputs: Path) -> None:
    """Steered, after worked examples, with changed weights; text positions are all positions, and a model merged with itself is
    itself. The page is written.
    """
    methods = "method=direct,l2v,own_direction,few_shot_cot,mathneuro,merging"
    more = ("source=mini_kin", "intervention.positions=all,text", "intervention.alpha=0.9")
    answer = tiny("--multirun", *STEERED, methods, *more, "study=text", "runtime.page=true")
    assert answer.code == 0, answer.err
    found, cells = responses(outputs, "text"), pd.read_csv(outputs / "text" / "results.csv").drop_duplicates("cell")
    answers = {(row.method, row.positions): tuple(found[row.cell]) for row in cells.fillna("").itertuples()}
    assert len(found) == len(answers) == 8 and all(len(rows) == 4 for rows in answers.values())
    assert answers["merging", ""] == answers["direct", ""]
    for arm in ("l2v", "own_direction"):
        assert answers[arm, "all"] == answers[arm, "text"] != answers["direct", ""]
    assert (outputs / "text" / "report" / "index.html").stat().st_size > 10_000


def test_pictures_are_refused_in_one_sentence(tiny: Callable[..., Any]) -> None:
    answer = tiny(*TEXT, "benchmark=sums_pictures", "method=direct", "study=pictures")
    assert answer.code == 2 and "is a text model and item" in answer.err and len(answer.err.splitlines()) == 1, answer
    answer = tiny(*TEXT, "method=direct", "processor.max_pixels=1000", "study=pictures")
    assert answer.code == 2 and "takes no pictures" in answer.err
    answer = tiny(*TEXT, "method=direct", "target.kind=eyes", "study=pictures")
    assert answer.code == 2 and "target.kind" in answer.err


def test_a_contrast_of_demonstrations_is_another_reading(
    tiny: Callable[..., Any], outputs: Path, config: Callable[..., Any]
) -> None:
    words = ("contrast.kind=demonstrations,prompts", "contrast.shots=2", "method=own_direction", "study=demonstrated")
    assert tiny("--multirun", *STEERED, *words).code == 0
    assert len(responses(outputs, "demonstrated")) == 2
    plain = resolve(config())
    assert plain.contrast is not None and "shots" not in plain.contrast.identity()
    stored = json.loads(json.dumps(plain, default=vars))
    del stored["contrast"]["shots"]  # as a version before demonstrations stored it
    assert Cell.from_dict(stored).id == plain.id


def test_lm_eval_puts_the_same_questions(tiny: Callable[..., Any], outputs: Path) -> None:
    """The task's four examples as turns of the chat are prompt=direct: the same prompts, so the same responses."""
    import lm_eval

    from l2v.verbs.lm_model import task_manager

    assert (
        tiny(
            *TEXT,
            "method=direct",
            "benchmark.prompt=direct",
            "benchmark.split=report",
            "study=door",
            "decoding.stop=['\\n\\n']",
        ).code
        == 0
    )
    (expected,) = responses(outputs, "door").values()
    args = {"target": "local", "target.path": str(KIN), "method": "direct", "runtime.outputs": str(outputs)}
    found = lm_eval.simple_evaluate(
        model="l2v", model_args=args, tasks=["l2v_sums"], num_fewshot=4, apply_chat_template=True, fewshot_as_multiturn=True,
        limit=4, bootstrap_iters=0, task_manager=task_manager(), log_samples=True,
    )  # fmt: skip
    assert [sample["resps"][0][0] for sample in found["samples"]["l2v_sums"]] == expected


@pytest.mark.parametrize("name", ["smollm2", "smollm2_noisy", "gemma3_270m", "smol_reader"])
def test_packaged_models_say_how_they_are_made(
    name: str, l2v: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = l2v("run", f"target={name}", "benchmark=sums", "method=direct", f"runtime.outputs={tmp_path}")
    assert answer.code == 2 and f"`l2v convert model={name}` makes it" in answer.err
