"""Any generate_until task of lm-eval as a benchmark: its prompts, settings, filters, metrics and groups."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pandas as pd
import pytest
from lm_eval_tasks import write_tasks
from PIL import Image

from l2v.benchmarks.base import Answer, Item
from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.lm_data import data_commit
from l2v.benchmarks.lm_tasks import TaskDecoding, decoding_of, open_task
from l2v.errors import UserError
from l2v.study.jobs import plan_jobs
from l2v.study.score import benchmark_items

pytestmark = pytest.mark.usefixtures("one_index")


def ref(task: str, folder: Path, **more: Any) -> DataRef:
    return DataRef("lm_eval", "task", "lm_eval", task=task, include_path=str(folder), **more)


def test_prompts_are_those_that_lm_eval_builds(tasks: Path) -> None:
    """One worked example in front, from the training rows, as the task file asks."""
    items = open_task(ref("tiny_sums", tasks)).items(None)
    example, question = (json.loads((tasks / f"{s}.jsonl").read_text().splitlines()[0]) for s in ("train", "test"))
    assert len(items) == 12
    assert items[0].text == f"sum of {example['digits']} . {example['answer']}\n\nsum of {question['digits']} ."
    assert items[0].gold == question["answer"]
    assert items[0].id == "tiny_sums:0"


def test_the_chain_of_thought_style_adds_one_sentence(tasks: Path) -> None:
    plain, asked = (open_task(ref("tiny_sums", tasks)).items(1, style)[0].text for style in ("direct", "cot"))
    assert asked == plain + "\nLet's think step by step."


def test_examples_that_are_drawn_are_the_same_for_every_style_part_and_process(tasks: Path, tmp_path: Path) -> None:
    """lm-eval draws them question by question: who asked twice got others the second time."""
    folder = write_tasks(tmp_path / "tasks")
    drawn = (folder / "tiny_sums.yaml").read_text().replace("fewshot_config: {sampler: first_n}\n", "")
    drawn = drawn.replace("task: tiny_sums", "task: drawn").replace(str(folder / "train"), str(folder / "test"))
    (folder / "drawn.yaml").write_text(drawn)
    task = open_task(ref("drawn", folder))
    first = [item.text for item in task.items(None)]
    assert len({text.split("\n\n")[0] for text in first}) > 1
    assert [item.text for item in task.items(None)] == first
    assert [item.text for item in task.items(None, "cot")] == [f"{text}\nLet's think step by step." for text in first]
    assert [item.text for item in task.items(5)] == first[:5]
    assert [item.text for item in open_task.__wrapped__(ref("drawn", folder)).items(None)] == first


def test_a_guess_of_a_task_is_the_same_whenever_it_is_scored(tmp_path: Path) -> None:
    """As MMMU's for an answer that names no option: verdicts were others at every `l2v score`."""
    folder = write_tasks(tmp_path / "tasks")
    (folder / "guess.py").write_text(
        "import random\ndef guess(doc, results):\n    return {'exact_match': random.randint(0, 1)}\n"
    )
    text = (folder / "tiny_sums.yaml").read_text().replace("task: tiny_sums", "task: guessed")
    (folder / "guessed.yaml").write_text(text.replace("filter_list", "process_results: !function guess.guess\nfilter_list"))
    task = open_task(ref("guessed", folder))
    items = task.items(None)

    def verdicts(order: list[Item]) -> dict[str, bool | None]:
        return {item.id: task.official(item.doc, Answer("x")).correct for item in order}

    assert verdicts(items) == verdicts(items[::-1]) and len(set(verdicts(items).values())) == 2


def test_fewshot_examples_can_be_left_out(tasks: Path) -> None:
    items = open_task(ref("tiny_sums", tasks, num_fewshot=0)).items(2)
    assert [item.text.count("sum of") for item in items] == [1, 1]


def test_images_come_with_their_item(tasks: Path) -> None:
    items = open_task(ref("tiny_pictures", tasks)).items(3)
    assert [len(item.images) for item in items] == [1, 1, 1]
    assert items[0].images[0].mode == "RGB"
    assert items[0].text == "sum of <image> ."


def test_local_data_that_were_replaced_are_read_anew(tasks: Path, tmp_path: Path) -> None:
    """Of the same name, size and time `datasets` would take its copy; the files that the task names are not meant."""
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_bytes((tasks / f"{split}.jsonl").read_bytes())
    test = tmp_path / "test.jsonl"

    def golds() -> list[str]:
        return [item.gold for item in open_task.__wrapped__(ref("tiny_sums", tasks, path=str(tmp_path))).items(None)]

    before = golds()
    turned(test)
    assert golds() == [*before[1:], before[0]] != before


def turned(file: Path) -> None:
    """The first row of a file goes last; its size and time stay."""
    seen, rows = file.stat(), file.read_text().splitlines()
    file.write_text("\n".join([*rows[1:], rows[0]]) + "\n")
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert file.stat().st_size == seen.st_size


@pytest.mark.parametrize("place", [".", "elsewhere", "a copy of its own"])
def test_what_a_tasks_own_file_names_is_read_anew_and_part_of_the_cell(
    tmp_path: Path, place: str, config: Callable[..., Any]
) -> None:
    """Beside the task file it is known with that folder, elsewhere by itself; the task file may say where copies are kept."""
    from l2v.study.resolve import resolve

    folder = write_tasks(tmp_path / "tasks")
    test, task = folder / "test.jsonl", folder / "tiny_sums.yaml"
    if place == "elsewhere":
        task.write_text(task.read_text().replace(str(test), str(tmp_path / "te*.jsonl")))
        test = test.rename(tmp_path / "test.jsonl")
    elif place != ".":
        task.write_text(task.read_text().replace("dataset_kwargs: {", f"dataset_kwargs: {{cache_dir: {tmp_path / 'kept'}, "))

    def found() -> tuple[list[str], str]:
        open_task.cache_clear()
        golds = [item.gold for item in open_task(ref("tiny_sums", folder)).items(None)]
        words = ("benchmark.name=lm_eval", "benchmark.path=null", f"benchmark.include_path={folder}", "method.name=direct")
        return golds, resolve(config(*words, "benchmark.task=tiny_sums")).id

    before, cell = found()
    turned(test)
    assert found()[0] == [*before[1:], before[0]] != before
    assert found()[1] != cell


LOADERS = """import datasets, json
from lm_eval.api.task import ConfigurableTask

def rows(**_):
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in open("ROWS")])}

class Own(ConfigurableTask):
    def __init__(self, config):
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def download(self, *args, **kwargs):
        self.dataset = rows()
"""


@pytest.mark.parametrize("loader", ["custom_dataset: !function loaders.rows", "class: !function loaders.Own"])
def test_rows_that_a_tasks_own_python_makes_are_part_of_the_cell_and_not_replaced(
    loader: str, tmp_path: Path, config: Callable[..., Any]
) -> None:
    """Where it reads them nobody can say; they are known by what they are."""
    from l2v.study.resolve import resolve

    folder = write_tasks(tmp_path / "tasks")
    file = (folder / "test.jsonl").rename(tmp_path / "elsewhere.jsonl")
    (folder / "loaders.py").write_text(LOADERS.replace("ROWS", str(file)))
    task = (folder / "tiny_sums.yaml").read_text().replace("fewshot_split: train\nnum_fewshot: 1", "")
    lines = [line for line in task.splitlines() if not line.startswith(("dataset_", "fewshot_config"))]
    (folder / "own.yaml").write_text("\n".join([loader, *lines]).replace("tiny_sums", "own"))

    def found() -> tuple[list[str], str]:
        open_task.cache_clear()
        golds = [item.gold for item in open_task(ref("own", folder)).items(None)]
        words = ("benchmark.name=lm_eval", "benchmark.path=null", f"benchmark.include_path={folder}", "method.name=direct")
        return golds, resolve(config(*words, "benchmark.task=own")).id

    before, cell = found()
    assert found() == (before, cell)
    turned(file)
    assert found()[0] == [*before[1:], before[0]] != before and found()[1] != cell
    with pytest.raises(UserError, match="'own' makes its rows by Python of its own, which benchmark.path"):
        open_task.__wrapped__(ref("own", folder, path=str(tmp_path)))


BESIDE = """import datasets, json
from lm_eval.api.task import ConfigurableTask

def rows(*_):
    return datasets.Dataset.from_list([json.loads(line) for line in open("ROWS")])

def text(doc):
    return open("ROWS").readline() + doc["digits"]

class Own(ConfigurableTask):
    def __init__(self, config):
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def test_docs(self):
        return rows()
"""
LINES = {
    "class": "class: !function beside.Own",
    "process": "process_docs: !function beside.rows",
    "shown": "fewshot_config: {sampler: first_n, samples: !function beside.rows}\nnum_fewshot: 1",
    "text": "doc_to_text: !function beside.text",
    "include": "include: INCLUDED",
    "picture": "doc_to_image: [digits]",
}


@pytest.mark.parametrize("kind", LINES)
def test_what_a_task_of_ones_own_asks_is_part_of_the_cell_wherever_it_comes_from(
    kind: str, tmp_path: Path, config: Callable[..., Any]
) -> None:
    """Neither the task's folder nor its data change; who plans again, as a notebook does, gets what is there now."""
    folder, file, shared = write_tasks(tmp_path / "tasks"), tmp_path / "elsewhere.jsonl", tmp_path / "shared.yaml"
    file.write_bytes((folder / "test.jsonl").read_bytes())
    (folder / "beside.py").write_text(BESIDE.replace("ROWS", str(file)))
    shared.write_text('doc_to_text: "sum of {{digits}} ."\n')
    row: dict[str, Any] = {"digits": str(tmp_path / "one.png"), "answer": "1"}
    if kind == "picture":
        (folder / "test.jsonl").write_text(json.dumps(row) + "\n")
    Image.new("RGB", (4, 4), "white").save(row["digits"])
    task = (folder / "tiny_sums.yaml").read_text().replace("fewshot_split: train\nnum_fewshot: 1", "")
    dropped = ("fewshot_config", *(["doc_to_text"] if kind in ("text", "include") else []))
    lines = [line for line in task.splitlines() if not line.startswith(dropped)]
    told = LINES[kind].replace("INCLUDED", str(shared))
    (folder / "own.yaml").write_text("\n".join([told, *lines]).replace("tiny_sums", "own"))
    given = ("benchmark.name=lm_eval", "benchmark.path=null", f"benchmark.include_path={folder}", "method.name=direct")

    def planned() -> tuple[str, list[Any]]:
        (job,) = plan_jobs([config(*given, "benchmark.task=own")])
        items = benchmark_items(job.cell.benchmark, job.config.benchmark)
        return job.cell.id, [(item.text, item.gold, [image.tobytes() for image in item.images]) for item in items]

    before = planned()
    assert planned() == before
    turned(file)
    shared.write_text(shared.read_text().replace("sum", "the sum"))
    Image.new("RGB", (4, 4), "black").save(row["digits"])
    now = planned()
    assert now[1] != before[1] and now[0] != before[0]


def test_rows_are_known_by_what_they_are_however_they_lie_in_memory() -> None:
    rows = [{"n": i, "text": "x" * i if i % 7 else None, "image": {"bytes": bytes([i]), "path": None}} for i in range(250)]
    whole = datasets.Dataset.from_list(rows)
    parts = [datasets.Dataset.from_list(some, features=whole.features) for some in (rows[:130], rows[130:], rows)]

    def told(found: Any) -> str:
        task = SimpleNamespace(dataset={"test": found}, get_config=lambda _: told, download=None)
        return data_commit(task)

    joined = datasets.concatenate_datasets(parts)
    alike = [whole, joined.select(range(250)), joined.select(range(250, 500)), rows]
    assert len({told(one) for one in alike}) == 1 and told(whole) != told(whole.select([*range(1, 250), 0]))


def test_decoding_is_the_tasks_own(tasks: Path) -> None:
    assert open_task(ref("tiny_sums", tasks)).decoding() == TaskDecoding(6, ("zzz", "user"))
    with pytest.raises(UserError, match="different generation settings"):
        open_task(ref("tiny_both", tasks)).decoding()


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"until": "\n\n"}, TaskDecoding(256, ("\n\n",))),
        ({"until": [], "max_gen_toks": 8, "temperature": 0.7, "do_sample": False}, TaskDecoding(8, ())),
        ({"do_sample": True, "temperature": 0.7, "top_p": 0.9}, TaskDecoding(256, (), 0.7, 0.9)),
    ],
)
def test_generation_kwargs_are_read_as_lm_eval_means_them(kwargs: dict[str, Any], expected: TaskDecoding) -> None:
    assert decoding_of(kwargs, "x") == expected


def test_a_setting_that_cannot_be_honoured_is_an_error() -> None:
    with pytest.raises(UserError, match="num_beams"):
        decoding_of({"num_beams": 4}, "The task 'x'")


def test_the_first_filter_decides_and_every_filter_is_scored(tasks: Path) -> None:
    task = open_task(ref("tiny_sums", tasks))
    items = task.items(3)
    said = [f"ans {items[0].gold}", f"well {items[1].gold}", "nothing"]
    verdicts = [task.official(item.doc, Answer(text)) for item, text in zip(items, said, strict=True)]
    assert [v.correct for v in verdicts] == [True, False, False]
    assert verdicts[0].rule == "exact_match,strict"
    own = {s.metric: s.value for s in task.own_scores([i.doc for i in items], [Answer(t) for t in said])}
    assert own == {"exact_match,strict": pytest.approx(1 / 3), "exact_match,loose": pytest.approx(2 / 3)}


@pytest.mark.parametrize("weighted", [True, False])
def test_a_groups_score_is_weighted_as_its_file_says(weighted: bool, tmp_path: Path) -> None:
    task = open_task(ref("tiny_both", write_tasks(tmp_path / "t", weighted)))
    items = task.items(None)
    # Every sum in words is right, no sum in a picture.
    said = [Answer(i.gold if i.id.startswith("tiny_sums") else "") for i in items]
    own = {s.metric: s for s in task.own_scores([i.doc for i in items], said)}
    assert own["tiny_both/exact_match,loose"].value == pytest.approx(12 / 20 if weighted else 0.5)
    assert own["tiny_both/exact_match,loose"].n == 20


def test_a_task_that_does_not_exist_is_told_with_the_nearest(tasks: Path) -> None:
    with pytest.raises(UserError, match="no task 'tiny_sum'.*tiny_sums"):
        open_task(ref("tiny_sum", tasks))


def test_a_broken_task_file_is_an_error(tasks: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("task: bad_task\nfoo: [")
    with pytest.raises(UserError, match="no task 'bad_task'"):
        open_task(ref("bad_task", tmp_path))


def test_a_task_of_another_type_is_refused(tasks: Path, tmp_path: Path) -> None:
    content = (tasks / "tiny_sums.yaml").read_text().replace("tiny_sums", "tiny_choice")
    head, _, tail = content.partition("generation_kwargs")
    choice = head.replace("generate_until", "multiple_choice") + 'doc_to_choice: ["1", "2"]\nmetadata: {version: 1.0}\n'
    (tmp_path / "choice.yaml").write_text(choice.replace('doc_to_target: "{{answer}}"', "doc_to_target: 0"))
    with pytest.raises(UserError, match="'tiny_choice' is of type multiple_choice"):
        open_task(ref("tiny_choice", tmp_path))


def test_data_that_cannot_be_had_is_one_sentence(tmp_path: Path, tasks: Path) -> None:
    text = (tasks / "tiny_sums.yaml").read_text().replace("tiny_sums", "tiny_lost").replace("test.jsonl", "lost.jsonl")
    (tmp_path / "lost.yaml").write_text(text)
    with pytest.raises(UserError, match="'tiny_lost' did not load"):
        open_task(ref("tiny_lost", tmp_path))


def test_the_task_and_its_examples_make_another_cell(tasks: Path, config: Callable[..., Any]) -> None:
    from l2v.study.resolve import resolve

    given = ("benchmark.name=lm_eval", "benchmark.path=null", f"benchmark.include_path={tasks}", "method.name=direct")
    cells = [resolve(config(*given, f"benchmark.task={t}", *more)) for t, more in
             (("tiny_sums", ()), ("tiny_pictures", ()), ("tiny_sums", ("benchmark.num_fewshot=0",)))]  # fmt: skip
    assert len({cell.id for cell in cells}) == 3
    assert (cells[0].max_new_tokens, cells[0].stop) == (6, ["zzz", "user"])
    longer = resolve(config(*given, "benchmark.task=tiny_sums", "decoding.max_new_tokens=9", "decoding.stop=[x]"))
    assert (longer.max_new_tokens, longer.stop) == (9, ["x"]), "what is asked for wins over the task"


def test_a_task_runs_as_a_cell_and_its_own_metrics_are_in_the_results(
    tasks: Path, tiny: Callable[..., Any], outputs: Path
) -> None:
    given = ("study=anytask", "benchmark=lm_eval", "benchmark.task=tiny_sums", f"benchmark.include_path={tasks}")
    answer = tiny("--multirun", *given, "method=direct,cot_prompt", "benchmark.limit=5")
    assert answer.code == 0, answer.err
    assert tiny(*given, "benchmark.prompt=terse", "method=direct").code == 2
    results = pd.read_csv(outputs / "anytask" / "results.csv")
    assert set(results["metric"]) == {"accuracy", "exact_match,strict", "exact_match,loose"}
    assert set(results["n"]) == {5}
    assert (results["task"] == "tiny_sums").all()
    folder = next((outputs / "anytask" / "cells").iterdir())
    assert "max_new_tokens: 6" in (folder / "config.yaml").read_text()
    assert tiny(*given, "method=direct", "benchmark.limit=5", "scorer=[robust]").code == 2
