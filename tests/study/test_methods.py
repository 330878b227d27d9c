"""Methods beyond injected vectors: what stands before the question and in the answer, and changed weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.steering.models import load_model
from l2v.study.model_files import model_spec
from l2v.study.resolve import resolve
from l2v.study.workers.answer import cell_decoding, cell_requests

Tiny = Callable[..., Any]


def responses(study: Path) -> dict[str, list[dict[str, Any]]]:
    """Stored responses by method."""
    table = pd.read_csv(study / "results.csv")
    return {
        row["method"]: [json.loads(line) for line in (study / "cells" / row["cell"] / "responses.jsonl").open()]
        for _, row in table.iterrows()
    }


@pytest.fixture(scope="module")
def study(tiny: Tiny, outputs: Path) -> Path:
    """Every way of asking, on eight items."""
    words = ("--multirun", "study=asking", "method=direct,few_shot_cot,forced_prefix,budget_matched,mathneuro")
    answer = tiny(*words, "method.min_new_tokens=9")
    assert answer.code == 0, answer.err
    return outputs / "asking"


def test_worked_examples_make_the_miniature_reason(study: Path) -> None:
    said = responses(study)
    assert all(len(r["response"].split()) > 10 for r in said["few_shot_cot"])
    assert sum(len(r["response"].split()) > 10 for r in said["direct"]) == 0


def test_examples_stand_before_the_question_as_turns(config: Callable[..., Any]) -> None:
    from l2v.benchmarks.base import Item
    from l2v.steering.prompts import chat_prompt
    from l2v.study.cells import Job

    chosen = config("method.name=few_shot_cot", "method.shots=2")
    (request,) = cell_requests(Job(resolve(chosen), chosen), [Item("i", "sum of w .", "1", {})])
    assert len(request.history) == 2
    target = load_model(model_spec(chosen.target), "vision")
    prompt = chat_prompt(target, request.text, 0, history=request.history)
    places = [prompt.index(text) for turn in request.history for text in turn] + [prompt.index("sum of w .")]
    assert places == sorted(places)
    assert prompt.count("user :") == 3


def test_the_answer_begins_with_the_prefix_that_is_given(study: Path, config: Callable[..., Any]) -> None:
    assert resolve(config("method.name=forced_prefix", "method.prefix=auto")).prefix == " so"
    steps = [r["response"] for r in responses(study)["forced_prefix"]]
    assert all(text.startswith("a ") for text in steps), "the first step follows the opener, which is not part of the answer"


def test_no_answer_of_the_length_control_ends_early(study: Path) -> None:
    said = responses(study)
    assert min(r["tokens"] for r in said["budget_matched"]) >= 9 > max(r["tokens"] for r in said["direct"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("method=few_shot_cot", "method.shots=0"), "method.shots"),
        (("method=few_shot_cot", "method.shots=10000"), "worked examples"),
        (("method=budget_matched", "method.min_new_tokens=0"), "min_new_tokens"),
        (("method=finetuned_cot",), "method.weights.checkpoint"),
        (("method=finetuned_cot", "method.weights.checkpoint=nowhere"), "nowhere"),
        (("method=ties",), "method.weights.base"),
        (("method=merging", "method.weights.kind=averaging"), "layer_swap"),
        (("method=merging", "source=mini_kin"), "width 160 against 4 of 96"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(words: tuple[str, ...], sentence: str, tiny: Tiny) -> None:
    answer = tiny("study=refused", *words)
    assert answer.code == 2
    assert sentence in answer.err
    assert "Traceback" not in answer.err


def test_refused_cells_are_told_apart_by_what_they_are_swept_over(tiny: Tiny) -> None:
    words = ("study=refused", "source=mini_kin", "dry_run=true", "method=merging,direct", "method.weights.share=0.4,0.6")
    (told,) = [line for line in tiny("--multirun", *words).err.splitlines() if line.startswith("FAILED 2 cells")]
    assert "merging on mini kind=linear share=0.4 [" in told and "merging on mini kind=linear share=0.6 [" in told


def test_what_was_chosen_of_an_arm_without_a_vector_stands_in_the_table(tiny: Tiny) -> None:
    words = ("study=shares", "source=mini_base", "benchmark.limit=4", "protocol.name=select_then_test", "protocol.select=dev",
             "protocol.report=test", "protocol.choose=[weights.share]", "method=merging", "method.weights.share=0.1,0.3",
             )  # fmt: skip
    answer = tiny("--multirun", *words)
    assert answer.code == 0, answer.err
    (heading,) = [line for line in answer.out.splitlines() if line.startswith("arm")]
    assert "weights share" in heading, answer.out


def test_finetuning_writes_a_checkpoint_that_runs_and_weights_come_back(
    l2v: Callable[..., Any], tiny: Tiny, outputs: Path, tmp_path: Path
) -> None:
    """The fine-tuned miniature answers in steps; merging and layer swap change answers; direct is the same before and after."""
    done = {}
    for model, name in (("target", "sft"), ("source", "reasoner")):
        words = ("+finetune=mini", "source=mini_base", f"finetune.model={model}", f"finetune.out={tmp_path / name}")
        done[name] = l2v("finetune", *words, f"runtime.outputs={outputs}", "runtime.progress=false", "runtime.device=cpu")
        assert done[name].code == 0, done[name].err
    before, after = done["sft"].out.split("loss ")[1].split(" nats")[0].split(" -> ")
    assert float(after) < 0.8 * float(before)
    words = ("source=mini_base", f"source.path={tmp_path / 'reasoner'}", "source.name=reasoner",
             f"method.weights.checkpoint={tmp_path / 'sft'}")  # fmt: skip
    answer = tiny("--multirun", "study=weights", *words, "method=finetuned_cot,merging,direct", "method.weights.share=0.5")
    assert answer.code == 0, answer.err
    said = responses(outputs / "weights")
    assert all(len(r["response"].split()) > 10 for r in said["finetuned_cot"] + said["merging"])
    assert tiny("study=plain", "method=direct").code == 0
    plain = responses(outputs / "plain")["direct"]
    assert [r["response"] for r in said["direct"]] == [r["response"] for r in plain]
    table = pd.read_csv(outputs / "weights" / "results.csv").set_index("method")
    assert table.loc["finetuned_cot", "diff"] > 0, "it is compared with direct on its own base model"
    again = l2v("finetune", "+finetune=mini", f"finetune.out={tmp_path / 'sft'}", "runtime.progress=false")
    assert again.code == 2 and "exists already" in again.err


def test_decoding_of_a_cell_carries_its_sampling(config: Callable[..., Any]) -> None:
    decoding = cell_decoding(resolve(config("decoding.temperature=0.7", "decoding.top_k=5", "decoding.seed=3")))
    assert (decoding.temperature, decoding.top_k, decoding.top_p, decoding.seed) == (0.7, 5, 1.0, 3)
    assert cell_decoding(resolve(config())).temperature == 0


def test_sampling_does_not_depend_on_what_was_already_stored(tiny: Tiny, outputs: Path) -> None:
    """A study of two halves equals one run: every row draws from a stream of its own."""
    words = ("method=direct", "decoding.temperature=1.5", "decoding.seed=1")
    assert tiny("study=drawn", *words).code == 0
    assert tiny("study=drawn2", *words, "runtime.batch_rows=3").code == 0
    texts = [{r["id"]: r["response"] for r in responses(outputs / name)["direct"]} for name in ("drawn", "drawn2")]
    assert texts[0] == texts[1]
    assert len(set(texts[0].values())) > 1
    assert tiny("study=drawn3", "method=direct", "decoding.temperature=1.5", "decoding.seed=2").code == 0
    assert {r["id"]: r["response"] for r in responses(outputs / "drawn3")["direct"]} != texts[0]
