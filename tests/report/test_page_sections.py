"""What chips look like, and what only some studies have: printed figures, several scorers, pictures of states, lm-eval."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from lm_eval_tasks import write_tasks
from page_helpers import block, write_lat, written
from PIL import Image

from l2v.disk import write_atomically
from l2v.report.page.page import styles
from l2v.report.page.sections import lat
from l2v.report.study import open_study, read_study
from l2v.report.verdicts import KINDS
from l2v.study.cells import BenchmarkId, Cell, ModelId
from l2v.study.questions import benchmark_id
from l2v.study.results import build_results
from l2v.study.score import benchmark_items, prompt_hashes, rescore, stored_benchmark
from l2v.study.store import Store


def test_what_was_never_held_against_a_null_looks_no_better_than_what_was() -> None:
    css = styles()

    def look(kind: str) -> tuple[str, str]:
        (colour,) = {rule.group(2) for rule in re.finditer(r"([^{}]+)\{\s*background: var\(--(\w+)bg\)", css)
                     if f".chip.{kind}" in rule.group(1).replace(",", " ").split()}  # fmt: skip
        return KINDS[kind][0], colour

    assert look("untested") == look("above_some") == ("△", "half")
    assert look("above_nulls") == look("above") == ("▲", "good")
    assert "no null" in KINDS["untested"][1]


def test_lat_pictures_come_along_and_broken_ones_cost_a_sentence(copied_pair: Path) -> None:
    good = {"id": "dispersion", "title": "Dispersion", "note": "…", "png": "a.png", "csv": "numbers.csv"}
    folder = write_lat(copied_pair, [good, good | {"csv": "../../results.csv"}, {"id": "map", "png": "numbers.csv"}])
    shown, notes = lat(read_study(str(copied_pair.parent), "pair", "official"))
    (only,) = shown[0]["figures"]
    assert only["csv"] == "k,kept\n16,0.3\n" and base64.b64decode(only["png"]) == (folder / "a.png").read_bytes()
    assert len(notes) == 2 and "leads out of its folder" in notes[0] and "not a PNG" in notes[1]
    assert f'src="data:image/png;base64,{only["png"]}"' in written(copied_pair)
    (folder / "lat.json").write_text("{")
    page = written(copied_pair)
    assert "lat/abc could not be read" in page


def test_scorers_are_held_against_each_other(copied_pair: Path, l2v: Callable[..., Any]) -> None:
    answer = l2v("score", "study=pair", f"outputs={copied_pair.parent}", "scorer=robust", "progress=false")
    assert answer.code == 0, answer.err
    page = written(copied_pair, scorer="robust")
    assert "of 16 responses" in page and 'id="t-agreement"' in page
    assert block(page, "data")["scorer"] == "robust"


def write_mathvista(folder: Path) -> Path:
    """Four questions in MathVista's fields, two to a picture; the answer is always 20."""
    folder.mkdir()
    rows = []
    for i in range(4):
        Image.new("RGB", (300, 200), (60 * (i // 2), 0, 0)).save(folder / f"{i}.png")
        kind = {"category": "math-targeted-vqa", "task": "geometry problem solving", "skills": ["geometry reasoning"]}
        asked = {"pid": str(i), "question": f"How large is angle {i}?", "query": "?", "image": f"{i}.png", "unit": None}
        answer = {"choices": ["10", "20"], "answer": "20", "question_type": "multi_choice", "answer_type": "text"}
        metadata = kind | {"language": "english", "context": "geometry diagram"}
        rows.append(asked | answer | {"precision": None, "metadata": metadata})
    (folder / "testmini.json").write_text(json.dumps(rows))
    return folder


def test_measured_stands_beside_printed(tmp_path: Path) -> None:
    """A study with the name and target of an experiment that has a printed table."""
    data = write_mathvista(tmp_path / "data")
    locations = {"benchmark": str(data), "benchmark_include": None}
    config = stored_benchmark(BenchmarkId("mathvista", "AI4Math/MathVista", "", "testmini", None, "direct"), locations)
    target = ModelId("qwen2_vl_7b", "Qwen/Qwen2-VL-7B-Instruct", "main", "bfloat16")
    cell = Cell("direct", target, benchmark_id(config, "direct"), 64, [])
    store = Store(tmp_path, "table1").open()
    folder = store.folder(cell.id)
    folder.begin(cell, locations)
    answers = ["20", "10", "20", "20"]
    prompts = prompt_hashes(benchmark_items(cell.benchmark, config))
    rows = [
        {
            "id": str(i),
            "prompt": prompts[str(i)],
            "response": f'The answer is "{a}".',
            "tokens": 5,
            "truncated": False,
            "seconds": 0.1,
        }
        for i, a in enumerate(answers)
    ]
    write_atomically(folder.path / "responses.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    folder.finish()
    rescore(store.finished(), ["official"])
    build_results(store)
    page = written(tmp_path / "table1")
    printed = pd.read_csv("l2v/report/printed/table1.csv")
    line = printed[(printed["target"] == "qwen2_vl_7b") & (printed["method"] == "direct")].iloc[0]
    row = page[page.index('id="t-printed"') :].split("<tbody>")[1].split("</tr>")[0]
    cells = [text.split("</td>")[0] for text in row.split("<td>")[1:]]
    assert cells[:2] == ["qwen2_vl_7b", "direct"] and f"{line['mathvista']:.1f}" in cells
    assert "75.0 [30.1, 95.4]" in cells and "4" in cells and f"{75 - line['mathvista']:+.1f}" in cells
    # Wilson's interval of 3 in 4, from a table; the only arm is the baseline.
    assert "there is no arm to judge" in page
    shown = block(page, "examples-data")
    assert all("math" in item["subsets"] for item in shown["items"])
    # Equal pictures are stored once.
    by_item = {item["id"]: item["images"][0] for item in shown["items"]}
    assert len(shown["pictures"]) == 2 and by_item["0"] == by_item["1"] != by_item["2"] == by_item["3"]


def test_an_lm_eval_tasks_own_figures_have_a_page(tiny: Callable[..., Any], outputs: Path, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    given = ("benchmark=lm_eval", "benchmark.task=tiny_pictures", f"benchmark.include_path={tasks}", "benchmark.limit=null")
    answer = tiny("--multirun", "study=sections_task", "method=direct,l2v", *given)
    assert answer.code == 0, answer.err
    page = written(outputs / "sections_task")
    table = block(page, "data")["tables"][0]
    assert table["extra"]["bench"] == {"one": "tiny_pictures"}
    assert any("exact_match" in metric for metric in table["columns"]["metric"]["words"])
    data = block(page, "examples-data")
    assert data["note"] == "" and len(data["pictures"]) == 8 == len(data["items"])


def test_one_name_for_two_revisions_is_kept_apart_and_told(copied_pair: Path) -> None:
    rows = build_results(Store(copied_pair.parent, "pair"))
    rows.loc[rows["method"] == "l2v", "target_revision"] = "local:other"
    study = open_study(Store(copied_pair.parent, "pair"), "official", rows)
    assert set(study.rows["where"]) == {"mini @other", f"mini @{rows['target_revision'].iloc[0].removeprefix('local:')[:7]}"}
    page = written(copied_pair, results=rows)
    assert "One target name stands for several revisions" in page


def test_two_tasks_of_lm_eval_are_no_two_revisions(copied_pair: Path) -> None:
    rows = build_results(Store(copied_pair.parent, "pair"))
    steered = rows["method"] == "l2v"

    def told() -> bool:
        study = open_study(Store(copied_pair.parent, "pair"), "official", rows)
        return any("One benchmark name stands for several revisions" in line for line in study.warnings())

    rows["task"] = "chartqa"
    rows.loc[steered, ["task", "benchmark_revision"]] = ["mmmu_val", "mmmu_val@1"]
    assert not told()
    rows.loc[steered, "task"] = "chartqa"
    assert told()
    rows["task"] = None
    assert told()


def test_what_must_be_known_of_a_study_is_told_of_the_one_beside_it_too(seen: Path, tmp_path: Path) -> None:
    """No baseline, what is not finished, on which items settings were chosen, what it was run with."""
    whole, less = (Path(shutil.copytree(seen, tmp_path / name)) for name in ("whole", "less"))
    rows = pd.read_csv(less / "results.csv")
    shutil.rmtree(less / "cells" / rows[rows["method"] == "direct"]["cell"].iloc[0])
    for path in (next(less.glob("cells/*/DONE")), *less.glob("runs/*/over")):
        path.unlink()
    told = " ".join(written(whole, compare="less").split())
    mine, other = told[told.index('<p class="lede">') : told.index("</header>")].split('<p class="lede"><bdi>less</bdi>: ')
    assert "<bdi>whole</bdi>: 9 finished cells" in mine and "No baseline" not in mine and "not finished" not in mine
    assert other.startswith("7 finished cells") and "No baseline: the arm direct was not run" in other
    assert "2 of 9 cells not finished" in other and all('class="protocol"' in head for head in (mine, other))
    run = told[told.index('id="run"') :]
    places = [run.index(words) for words in ("<h3><bdi>whole</bdi>", "9 finished", "<h3><bdi>less</bdi>", "7 finished")]
    assert places == sorted(places)
