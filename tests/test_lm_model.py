"""The steered model inside lm-eval: the same responses and the same scores as `l2v run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from lm_eval_tasks import write_tasks

from l2v.errors import UserError

pytestmark = pytest.mark.usefixtures("one_index")
STEERED = {
    "target": "mini",
    "method": "l2v",
    "intervention.layer": 3,
    "intervention.alpha": 0.8,
    "intervention.scale": "relative",
    "intervention.cutoff": 34,
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def manager(tasks: Path, one_index: None) -> Any:
    """One index of lm-eval's thousands of task files for all tests."""
    from l2v.verbs.lm_model import task_manager

    return task_manager(str(tasks))


def evaluate(outputs: Path, tasks: list[str], manager: Any, settings: dict[str, Any] = STEERED, **more: Any) -> dict[str, Any]:
    """lm-eval's own evaluation of the steered model."""
    import lm_eval

    import l2v.verbs.lm_model  # noqa: F401  (registers the model)

    args = {**settings, "runtime.outputs": str(outputs), "runtime.progress": False}
    found = lm_eval.simple_evaluate(
        model="l2v",
        model_args=args,
        device="cpu",
        tasks=tasks,
        bootstrap_iters=0,
        task_manager=manager,
        **more,
    )
    assert found is not None
    return dict(found)


def run(
    tiny: Callable[..., Any], outputs: Path, study: str, *more: str, settings: dict[str, Any] = STEERED
) -> list[dict[str, Any]]:
    """The stored responses of the same cell by `l2v run`, in the order of the data."""
    words = [f"{key}={value}" for key, value in settings.items()]
    answer = tiny(f"study={study}", *words, *more)
    assert answer.code == 0, answer.err
    (path,) = (outputs / study / "cells").glob("*/responses.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("templated", [False, True], ids=["plain", "chat template"])
@pytest.mark.parametrize("task", ["tiny_pictures", "tiny_sums"])
def test_both_ways_give_the_same_responses_and_scores(
    task: str, templated: bool, tasks: Path, manager: Any, tiny: Callable[..., Any], outputs: Path
) -> None:
    """Also through lm-eval's chat template, where the example of tiny_sums stays in the one user turn."""
    study = f"ways-{task}-{templated}"
    stored = run(tiny, outputs, study, "benchmark=lm_eval", f"benchmark.task={task}", f"benchmark.include_path={tasks}",
                 "benchmark.limit=8")  # fmt: skip
    theirs = evaluate(outputs, [task], manager, limit=8, apply_chat_template=templated, fewshot_as_multiturn=False)
    assert [sample["resps"][0][0] for sample in theirs["samples"][task] if sample["filter"] == "loose"] == [
        record["response"] for record in sorted(stored, key=lambda r: int(r["id"].split(":")[1]))
    ]
    results = pd.read_csv(outputs / study / "results.csv").set_index("metric")["value"]
    assert results["exact_match,loose"] == pytest.approx(theirs["results"][task]["exact_match,loose"])


def test_a_packaged_benchmark_gives_the_same_both_ways(tiny: Callable[..., Any], outputs: Path, manager: Any) -> None:
    stored = run(tiny, outputs, "ways-mini", "benchmark.split=test", "benchmark.limit=8")
    theirs = evaluate(outputs, ["l2v_mini"], manager, limit=8)
    assert [s["resps"][0][0] for s in theirs["samples"]["l2v_mini"]] == [r["response"] for r in stored]
    value = pd.read_csv(outputs / "ways-mini" / "results.csv")["value"].iloc[0]
    assert theirs["results"]["l2v_mini"]["accuracy,none"] == pytest.approx(value)
    assert value > 0.5, "the steering of this test is one that works"


def test_steering_changes_what_lm_eval_sees(outputs: Path, manager: Any) -> None:
    plain = evaluate(outputs, ["l2v_mini"], manager, settings={"target": "mini", "method": "direct"}, limit=8)
    steered = evaluate(outputs, ["l2v_mini"], manager, limit=8)
    assert [s["resps"] for s in plain["samples"]["l2v_mini"]] != [s["resps"] for s in steered["samples"]["l2v_mini"]]


def test_a_turn_that_the_chat_template_leaves_out_is_refused(outputs: Path) -> None:
    """lm-eval's system_instruction, too, is part of what is asked."""
    from l2v.errors import UserError
    from l2v.verbs.lm_model import L2VModel

    model = L2VModel(target="mini", method="direct", **{"runtime.outputs": str(outputs)})
    template = str(model._template_holder.chat_template)
    asked = [{"role": "system", "content": "sum of"}, {"role": "user", "content": "<image> ."}]
    spoken = "in messages | rejectattr('role', 'equalto', 'system')"
    model._template_holder.chat_template = template.replace("in messages", spoken)
    with pytest.raises(UserError, match="leaves out part of a question"):
        model.apply_chat_template(asked)
    model._template_holder.chat_template = "{{ raise_exception('no system turns') }}"
    with pytest.raises(UserError, match="chat template of .* fails: no system turns"):
        model.apply_chat_template(asked)


def test_lm_evals_cache_gets_every_request_with_all_its_arguments(outputs: Path, manager: Any, tmp_path: Path) -> None:
    """Two pictures under one text are two keys; a second evaluation asks the model nothing."""
    cache = str(tmp_path / "cache")
    first = evaluate(outputs, ["tiny_pictures"], manager, limit=6, use_cache=cache)
    from l2v.verbs import lm_model

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model was asked again")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lm_model.L2VModel, "_answer", never)
        second = evaluate(outputs, ["tiny_pictures"], manager, limit=6, use_cache=cache)
    texts = [[s["resps"] for s in found["samples"]["tiny_pictures"]] for found in (first, second)]
    assert texts[0] == texts[1]


def test_the_command_line_prints_lm_evals_table_and_writes_its_outputs(
    l2v: Callable[..., Any], outputs: Path, tasks: Path, tmp_path: Path
) -> None:
    args = ",".join(f"{key}={value}" for key, value in {**STEERED, "runtime.outputs": outputs}.items())
    answer = l2v("lm-eval", "--tasks", "l2v_mini,tiny_sums", "--include_path", tasks, "--model_args", args, "--limit", 4,
                 "--device", "cpu", "--output_path", tmp_path / "lm", "--log_samples")  # fmt: skip
    assert answer.code == 0, answer.err
    assert "l2v_mini" in answer.out and "tiny_sums" in answer.out and "exact_match" in answer.out
    (written,) = (tmp_path / "lm").rglob("results_*.json")
    assert json.loads(written.read_text())["config"]["model"] == "l2v"
    assert len(list((tmp_path / "lm").rglob("samples_*.jsonl"))) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--tasks", "no_such_task", "--model_args", "target=mini,method=direct"), "no_such_task"),
        (("--tasks", "l2v_mini", "--model_args", "target=mini,methd=direct"), "methd"),
        (("--model", "hf", "--tasks", "l2v_mini"), "always evaluates"),
        (("x",), "--tasks"),
        (("--tasks", "l2v_mini", "--nosuch"), "unrecognized arguments: --nosuch"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[str, ...], sentence: str, l2v: Callable[..., Any]) -> None:
    answer = l2v("lm-eval", *words)
    assert answer.code == 2
    assert sentence in answer.err and len(answer.err.splitlines()) == 1


def test_a_packaged_task_that_did_not_load_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from l2v.verbs import lm_model

    monkeypatch.setattr(lm_model, "task_folders", lambda: [str(tmp_path)])
    with pytest.raises(UserError, match="did not load"):
        lm_model.task_manager()


@pytest.mark.parametrize(
    ("words", "device"), [((), "cpu"), (("--device", "cuda:7"), "cuda:7"), (("--config", "{folder}/given.yaml"), "cuda:3")]
)
def test_a_device_that_nobody_chose_is_not_lm_evals_cuda(
    words: tuple[str, ...], device: str, l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without --device the model takes runtime.device; a device that was asked for, here or in a file, is lm-eval's word."""
    from l2v.verbs import lm_model

    asked: list[str] = []

    def pick(name: str) -> str:
        asked.append(name)
        raise UserError("far enough")

    monkeypatch.setattr(lm_model, "pick_device", pick)
    (tmp_path / "given.yaml").write_text("device: cuda:3\n")
    given = [word.format(folder=tmp_path) for word in words]
    args = "target=mini,method=direct,runtime.device=cpu"
    answer = l2v("lm-eval", "--tasks", "l2v_mini", "--model_args", args, "--limit", 1, *given)
    assert "far enough" in answer.err
    assert asked == [device]
