"""Cells and grids from the command line to results.csv: repeats, sweeps, blocks, selection and failures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from l2v.errors import InterventionError, StudyError, UserError
from l2v.steering.engine.rows import Request, Steering
from l2v.study.cells import Job
from l2v.study.compute import Outcome
from l2v.study.digests import sealed_line
from l2v.study.jobs import plan_jobs
from l2v.study.protocol import arm_key, choose
from l2v.study.resolve import resolve
from l2v.study.workers import answer as answering
from l2v.study.workers import finish, making, worker

Rows = Callable[[Path], list[tuple[str, str]]]
Tiny = Callable[..., Any]

GRID = ("--multirun", "study=grid", "method=direct,l2v,random", "intervention.layer=1,2")


@pytest.fixture(scope="module")
def grid(tiny: Tiny, outputs: Path) -> Path:
    """A finished study of five cells: direct once, l2v and random at two layers each."""
    answer = tiny(*GRID)
    assert answer.code == 0, answer.err
    return outputs / "grid"


def table(study: Path) -> list[dict[str, str]]:
    with (study / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model, for reading directions or for answering, becomes an error."""

    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("l2v.steering.models.load_model", load)
    monkeypatch.setattr(making, "load_model", load)


def failing(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, when: Callable[[Sequence[Any]], bool], after: int = 0
) -> None:
    """Answering the rows that `when` picks raises `error` after that many responses."""

    class Failing(answering.Engine):
        def answer(self, rows: Sequence[Any]) -> Iterator[Any]:
            for count, found in enumerate(super().answer(rows)):
                if count == after and when(rows):
                    raise error
                yield found

    monkeypatch.setattr(answering, "Engine", Failing)


def test_one_cell_from_end_to_end(tiny: Tiny, outputs: Path, stored_rows: Rows) -> None:
    answer = tiny("study=one", "method=direct")
    assert (answer.code, answer.err) == (0, "")
    study = outputs / "one"
    (row,) = table(study)
    folder = study / "cells" / row["cell"]
    assert sorted(p.name for p in folder.iterdir() if p.name != "lock") == [
        "DONE",
        "config.yaml",
        "metrics.json",
        "responses.jsonl",
        "scores",
    ]
    stored = stored_rows(study)
    assert len(set(stored)) == len(stored) == 8
    verdicts = [json.loads(line) for line in (folder / "scores" / "official.jsonl").read_text().splitlines()]
    assert [v["id"] for v in verdicts] == [item for _, item in stored]
    assert float(row["value"]) == sum(v["correct"] for v in verdicts) / 8
    assert (row["n"], row["split"], row["method"]) == ("8", "dev", "direct")
    assert str(study / "results.csv") in answer.out


def test_done_is_the_last_file_of_a_cell(grid: Path) -> None:
    for done in grid.glob("cells/*/DONE"):
        written = [p.stat().st_mtime_ns for p in done.parent.rglob("*") if p.is_file() and p != done]
        assert done.stat().st_mtime_ns >= max(written)


def test_a_cell_whose_scoring_breaks_is_not_done(
    tiny: Tiny, outputs: Path, stored_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("scorer is broken")

    with monkeypatch.context() as patched:
        patched.setattr(finish, "score_cell", broken)
        assert tiny("study=unscored", "method=direct").code == 1
    assert len(stored_rows(outputs / "unscored")) == 8
    assert not list((outputs / "unscored").glob("cells/*/DONE"))
    with monkeypatch.context() as patched:
        failing(patched, AssertionError("computed again"), lambda rows: True)
        assert tiny("study=unscored", "method=direct").code == 0
    assert len(stored_rows(outputs / "unscored")) == 8


def test_a_grid_computes_each_cell_once(grid: Path, stored_rows: Rows) -> None:
    rows = table(grid)
    told = sorted((r["method"], float(r["layer"] or -1)) for r in rows)
    assert told == [("direct", -1), ("l2v", 1), ("l2v", 2), ("random", 1), ("random", 2)]
    stored = stored_rows(grid)
    assert len(stored) == len(set(stored)) == 5 * 8


def test_a_steerings_effect_is_looked_at_once_in_a_loaded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for every block of items, and on the question alone; pictures are another matter, and a failure is not remembered."""
    tried: list[tuple[int, list[float]]] = []

    def noted(_target: Any, request: Any, steerings: Sequence[Any]) -> None:
        tried.append((len(request.history), [s.alpha for s in steerings]))
        if 0.9 in tried[-1][1]:
            raise InterventionError("changed no logit")

    monkeypatch.setattr(answering, "require_effect", noted)
    target, text = SimpleNamespace(), Request("a", "1 + 1", history=(("2 + 2", "4"),))
    weak, strong, lost = (Steering(torch.ones(4), 1, alpha) for alpha in (0.3, 0.5, 0.9))
    answering._require_effect(target, text, [weak, strong])  # type: ignore[arg-type]
    answering._require_effect(target, text, [replace(weak, vector=torch.ones(4)), strong])  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(InterventionError):
            answering._require_effect(target, text, [weak, lost])  # type: ignore[arg-type]
    answering._require_effect(target, replace(text, images=[Image.new("RGB", (2, 2))]), [weak])  # type: ignore[arg-type]
    assert tried == [(0, [0.3, 0.5]), (0, []), (0, [0.9]), (0, [0.9]), (0, [0.3])]


def test_a_repeat_computes_nothing_and_loads_no_model(grid: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p: p.read_bytes() for p in grid.rglob("*") if p.is_file()}
    no_model(monkeypatch)
    answer = tiny(*GRID)
    assert (answer.code, answer.err) == (0, "")
    assert {p: p.read_bytes() for p in grid.rglob("*") if p.is_file()} == before


def test_another_study_reuses_the_directions(grid: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept for all studies of an outputs folder; only the target is loaded."""

    def load(*_: object) -> None:
        raise AssertionError("the source was loaded again")

    monkeypatch.setattr(making, "load_model", load)
    assert tiny("study=reuse", "benchmark.limit=1").code == 0


def test_rows_of_mixed_cells_equal_rows_of_cells_run_alone(grid: Path, tiny: Tiny, outputs: Path) -> None:
    """A batch holds rows of many cells; each must be answered under its own steering."""
    assert tiny("study=worked_alone", "method=l2v", "intervention.layer=1").code == 0
    (alone,) = table(outputs / "worked_alone")
    texts = [
        {r["id"]: r["response"] for r in map(json.loads, (study / "cells" / alone["cell"] / "responses.jsonl").open())}
        for study in (outputs / "worked_alone", grid)
    ]
    assert texts[0] == texts[1]
    direct = next(r["cell"] for r in table(grid) if r["method"] == "direct")
    unsteered = {r["id"]: r["response"] for r in map(json.loads, (grid / "cells" / direct / "responses.jsonl").open())}
    assert unsteered != texts[0], "steering changed no answer, so this test shows nothing"


@pytest.mark.parametrize(
    ("words", "cells"),
    [
        (("method=l2v", "intervention.layer=range(0,4)"), 4),
        (("method=l2v", "intervention.alpha=choice(0.2,0.4,0.6)"), 3),
        (("method=glob(*interpolation)",), 2),
        (
            ("method=glob(*,exclude=[l2v,direct,finetuned_cot,ties])", "source=mini_base", "seed=0"),
            0,
        ),  # all others, counted below
        (("method=l2v,full_band", "intervention.layer=1,2", "intervention.cutoff=16,32"), 4 + 2),
        (("method=direct,cot_prompt", "intervention.layer=range(0,4)"), 2),
        (("method=random,l2v", "seed=range(0,3)"), 3 + 1),
        (("target=mini,mini_drifted", "source=glob(mini_*,exclude=[mini_base,mini_reasoner])"), 6),
    ],
)
def test_hydras_sweep_grammar_makes_the_cells(words: tuple[str, ...], cells: int, tiny: Tiny) -> None:
    from l2v.verbs.help import group_options

    if "exclude" in words[0]:
        cells = len(group_options("method")) - 4
    answer = tiny("--multirun", "study=dry", "dry_run=true", "list_cells=true", *words)
    assert answer.code == 0, answer.err
    listed = [line.split()[0] for line in answer.out.partition("\n\n")[2].splitlines()]
    assert len(set(listed)) == cells
    assert len(listed) == cells, "a cell is listed more than once"


def test_a_dry_run_writes_nothing(tiny: Tiny, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_model(monkeypatch)
    assert tiny("study=never", "dry_run=true").code == 0
    assert not (outputs / "never").exists()


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects what the launcher hands back to Hydra's sweeper."""
    from hydra_plugins.l2v_plugins.plugins import StudyLauncher

    collected: list[Any] = []
    real = StudyLauncher.launch

    def launch(self: Any, *given: Any, **named: Any) -> Any:
        returned = real(self, *given, **named)
        collected.extend(returned)
        return returned

    monkeypatch.setattr(StudyLauncher, "launch", launch)
    return collected


def test_the_headline_value_of_every_job_reaches_the_sweeper(grid: Path, tiny: Tiny, launched: list[Any]) -> None:
    """What a Hydra sweeper (Optuna, Ax) optimises is the value of results.csv, job by job."""
    assert tiny(*GRID).code == 0
    by_cell = {(r["method"], r["layer"].split(".")[0]): float(r["value"]) for r in table(grid)}
    assert len(launched) == 6
    for job in launched:
        chosen = dict(word.split("=", 1) for word in job.overrides)
        layer = "" if chosen["method"] == "direct" else chosen["intervention.layer"]
        assert job.return_value == pytest.approx(by_cell[chosen["method"], layer])
        assert job.status.name == "COMPLETED"


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[[str], str]:
    """Writes experiment/mine.yaml into a folder of one's own and returns the word that adds it."""

    def write(text: str) -> str:
        (tmp_path / "experiment").mkdir()
        (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}")
        return f"--config-dir={tmp_path}"

    return write


BLOCKS = """
study: blocky
blocks:
  - ["method=direct,cot_prompt"]
  - [method=l2v, "intervention.layer=1,2", "intervention.alpha=0.3,0.5"]
  - [method=random, "seed=0,1"]
"""


def test_blocks_are_the_union_of_their_products(experiment: Callable[[str], str], tiny: Tiny, outputs: Path) -> None:
    answer = tiny("--multirun", experiment(BLOCKS), "+experiment=mine", "benchmark.limit=2")
    assert answer.code == 0, answer.err
    methods = [row["method"] for row in table(outputs / "blocky")]
    assert {m: methods.count(m) for m in methods} == {"direct": 1, "cot_prompt": 1, "l2v": 4, "random": 2}


def test_the_command_line_wins_over_every_block(experiment: Callable[[str], str], tiny: Tiny) -> None:
    words = ("+experiment=mine", "dry_run=true", "list_cells=true", "intervention.layer=3", "seed=7")
    answer = tiny("--multirun", experiment(BLOCKS), *words)
    assert answer.code == 0, answer.err
    lines = answer.out.partition("\n\n")[2].splitlines()
    assert len(lines) == 2 + 2 + 1
    assert all("layer=3" in line for line in lines if line.split()[1] in ("l2v", "random"))
    assert sum("seed=7" in line for line in lines) == 1


def test_an_experiment_of_blocks_needs_multirun(experiment: Callable[[str], str], tiny: Tiny) -> None:
    answer = tiny(experiment(BLOCKS), "+experiment=mine")
    assert answer.code == 2
    assert "--multirun" in answer.err


SELECT = (
    "--multirun",
    "study=chosen",
    "protocol.name=select_then_test",
    "protocol.select=dev",
    "protocol.report=test",
    "method=direct,l2v,random",
    "intervention.layer=1,2",
    "intervention.alpha=0.2,0.5",
    "benchmark.limit=12",
)


@pytest.fixture(scope="module")
def selected(tiny: Tiny, outputs: Path) -> Path:
    """A study that chose layer and alpha on dev and reported on test."""
    answer = tiny(*SELECT)
    assert answer.code == 0, answer.err
    return outputs / "chosen"


def test_every_arm_is_chosen_on_dev_and_reported_on_test(selected: Path) -> None:
    rows = pd.read_csv(selected / "results.csv")
    assert len(rows[rows["split"] == "dev"]) == 1 + 4 + 4
    test = rows[rows["split"] == "test"].set_index("method")
    assert sorted(test.index) == ["direct", "l2v", "random"]
    for method in ("l2v", "random"):
        dev = rows[(rows["split"] == "dev") & (rows["method"] == method)]
        # Best value; ties to the smaller alpha, then the smaller layer (k is the same for all).
        best = dev.sort_values(["value", "alpha", "layer"], ascending=[False, True, True]).iloc[0]
        assert (test.loc[method, "layer"], test.loc[method, "alpha"]) == (best["layer"], best["alpha"])
        assert test.loc[method, "selected"] == "dev"
    assert pd.isna(test.loc["direct", "selected"])
    assert rows[rows["split"] == "dev"]["selected"].isna().all()


def test_the_selection_is_written_down(selected: Path) -> None:
    selection = json.loads((selected / "selection.json").read_text())
    rows = pd.read_csv(selected / "results.csv").set_index("cell")
    assert (selection["protocol"]["select"], selection["protocol"]["report"]) == ("dev", "test")
    assert len(selection["arms"]) == 3
    for arm in selection["arms"]:
        assert (rows.loc[arm["select"], "split"], rows.loc[arm["report"], "split"]) == ("dev", "test")
        assert rows.loc[arm["select"], "method"] == rows.loc[arm["report"], "method"]


def test_holm_corrects_over_the_reported_arms_and_not_over_the_search(selected: Path) -> None:
    rows = pd.read_csv(selected / "results.csv")
    test = rows[(rows["split"] == "test") & rows["p"].notna()].sort_values("p")
    assert len(test) == 2
    small, large = test["p"]
    assert test["p_holm"].tolist() == pytest.approx([min(1, 2 * small), min(1, max(2 * small, large))], rel=1e-4)


def test_the_report_shows_the_reported_cells_and_says_where_they_were_chosen(
    selected: Path, l2v: Callable[..., Any], outputs: Path
) -> None:
    text = l2v("report", "study=chosen", f"outputs={outputs}").out
    assert "chosen on split dev" in text
    assert "reported on split test" in text
    shown = l2v("report", "study=chosen", f"outputs={outputs}", "format=csv").out.splitlines()
    assert len(shown) == 1 + 3
    dev = l2v("report", "study=chosen", f"outputs={outputs}", "format=csv", "split=dev").out.splitlines()
    assert len(dev) == 1 + 9


def test_a_repeated_selection_loads_no_model(selected: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (selected / "results.csv").read_bytes()
    no_model(monkeypatch)
    assert tiny(*SELECT).code == 0
    assert (selected / "results.csv").read_bytes() == before


@pytest.mark.parametrize("order", [1, -1])
def test_ties_go_to_the_smaller_alpha_then_k_then_layer(order: int, config: Callable[..., Any]) -> None:
    """Best to worst; each is beaten by the one before it only through the next rule."""
    settings = [(0.7, 40, 3, 0.5), (0.3, 8, 1, 0.4), (0.3, 8, 2, 0.4), (0.3, 16, 0, 0.4), (0.6, 8, 0, 0.4), (0.1, 8, 0, 0.3)]
    jobs, values = [], {}
    for alpha, k, layer, value in settings:
        made = config(
            f"intervention.alpha={alpha}",
            f"intervention.cutoff={k}",
            f"intervention.layer={layer}",
        )
        jobs.append(Job(resolve(made), made))
        values[jobs[-1].cell.id] = value
    for first in range(len(jobs)):
        (best,) = choose(jobs[first:][::order], Outcome(values=values))
        assert best is jobs[first]


@pytest.mark.parametrize("name", ["weights.share", "weights_share"])
def test_a_share_of_merging_is_chosen_like_a_layer(name: str, config: Callable[..., Any]) -> None:
    """One arm of three shares, of which the best is reported; what is not named in protocol.choose stays an arm of its own."""
    honest = ("protocol.name=select_then_test", "protocol.select=dev", "protocol.report=test", f"protocol.choose=[{name}]")
    merged = ("method.name=merging", "method.weights.kind=linear", "source.path=package:mini/checkpoints/base")
    jobs = plan_jobs([config(*honest, *merged, f"method.weights.share={share}") for share in (0.8, 0.85, 0.9)])
    values = {job.cell.id: value for job, value in zip(jobs, (0.2, 0.6, 0.4), strict=True)}
    (best,) = choose(jobs, Outcome(values=values))
    assert best.cell.weights is not None and best.cell.weights.share == 0.85
    assert len({arm_key(job.cell, ["layer"]) for job in jobs}) == 3


def test_an_arm_without_a_value_is_left_out_of_the_choice(config: Callable[..., Any]) -> None:
    jobs = [Job(resolve(c), c) for c in (config(), config("method.name=random"), config("method.name=direct"))]
    values = {jobs[0].cell.id: 0.5, jobs[2].cell.id: float("nan")}
    assert choose(jobs, Outcome(values=values)) == [jobs[0]]


def test_a_failing_cell_is_set_aside_and_a_repeat_tries_it_again(
    tiny: Tiny, outputs: Path, stored_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--multirun", "study=failing", "method=direct,l2v", "intervention.layer=1,2,3")
    study = outputs / "failing"
    with monkeypatch.context() as patched:
        failing(patched, RuntimeError("the vector is cursed"), lambda rows: any(s and s.layer == 2 for _, s in rows))
        answer = tiny(*words)
    assert "FAILED 1 cells" in answer.err
    assert "the vector is cursed" in answer.err
    assert "Traceback" not in answer.err
    (note,) = study.glob("cells/*/error.txt")
    assert "the vector is cursed" in note.read_text()
    assert "Traceback" in note.read_text()
    assert not (note.parent / "DONE").exists()
    assert len(list(study.glob("cells/*/DONE"))) == len(table(study)) == 3
    finished = {p: p.stat().st_mtime_ns for p in study.glob("cells/*/responses.jsonl") if p.parent != note.parent}

    assert tiny(*words).code == 0
    assert len(table(study)) == 4
    assert not note.exists()
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    stored = stored_rows(study)
    assert len(stored) == len(set(stored)) == 4 * 8
    assert answer.code == 1


def test_rows_of_a_claim_that_was_lost_are_not_stored(
    tiny: Tiny, outputs: Path, stored_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker took over while this one slept: its rows in hand are dropped, and it goes on with what it can claim."""
    lost, before = [True], [-1]
    real_current, real_say = worker.Claim.current, worker.Worker._say

    def current(self: Any) -> bool:
        return not lost[0] and real_current(self)

    def say(self: Any, message: str) -> None:
        if "silent for too long" in message:
            lost[0], before[0] = False, len(stored_rows(outputs / "lost"))
        real_say(self, message)

    monkeypatch.setattr(worker.Claim, "current", current)
    monkeypatch.setattr(worker.Worker, "_say", say)
    assert tiny("study=lost", "method=direct").code == 0
    assert before == [0]
    assert len(stored_rows(outputs / "lost")) == 8


def test_rows_that_never_reached_the_disk_are_computed_again(
    tiny: Tiny, outputs: Path, stored_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine lost its power after a block was marked as done."""
    real, torn = finish.Finisher.finish, [False]

    def finished(self: Any, group: Any, jobs: Any) -> int:
        if not torn[0]:
            torn[0] = True
            (part,) = self._folder(jobs[0]).path.glob("responses.*.jsonl")
            part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:5]))
        return real(self, group, jobs)

    monkeypatch.setattr(finish.Finisher, "finish", finished)
    assert tiny("study=powerless", "method=direct").code == 0
    assert torn[0]
    stored = stored_rows(outputs / "powerless")
    assert len(stored) == len(set(stored)) == 8


def test_a_cell_that_fails_reaches_the_sweeper_as_failed(
    tiny: Tiny, launched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuntimeError("no luck"), lambda rows: any(s is not None for _, s in rows))
    tiny("--multirun", "study=unlucky", "method=direct,l2v", "benchmark.limit=2")
    assert [job.status.name for job in launched] == ["COMPLETED", "FAILED"]
    with pytest.raises(RuntimeError, match="no luck"):
        _ = launched[1].return_value


def test_a_single_cell_that_fails_exits_with_1(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, RuntimeError("no luck"), lambda rows: True)
    answer = tiny("study=single", "method=direct", "benchmark.limit=2")
    assert answer.code == 1
    assert "no luck" in answer.err


@pytest.mark.parametrize(
    ("error", "code"), [(StudyError("mend this"), 2), (UserError("mend this"), 1), (KeyboardInterrupt(), 130)]
)
def test_an_end_in_the_middle_keeps_the_rows_and_a_repeat_goes_on(
    error: BaseException, code: int, tiny: Tiny, outputs: Path, stored_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--multirun", f"study=ended{code}", "method=direct,l2v", "runtime.batch_rows=4", "runtime.cells_per_claim=1")
    study = outputs / f"ended{code}"
    with monkeypatch.context() as patched:
        failing(patched, error, lambda rows: any(s is not None for _, s in rows), after=4)
        answer = tiny(*words)
    assert answer.code == code
    assert "Traceback" not in answer.err
    before = stored_rows(study)
    assert len(before) == 8 + 4
    assert tiny(*words).code == 0
    after = stored_rows(study)
    assert set(before) < set(after)
    assert len(after) == len(set(after)) == 2 * 8


def test_scoring_again_needs_no_model_and_gives_the_same_table(
    grid: Path, l2v: Callable[..., Any], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (grid / "results.csv").read_bytes()
    for path in grid.glob("cells/*/scores/official.jsonl"):
        path.unlink()
    for path in grid.glob("cells/*/metrics.json"):
        path.unlink()
    no_model(monkeypatch)
    answer = l2v("score", "study=grid", "scorer=official", f"outputs={outputs}")
    assert answer.code == 0, answer.err
    assert (grid / "results.csv").read_bytes() == before
    assert len(list(grid.glob("cells/*/scores/official.jsonl"))) == 5


def test_changed_questions_under_the_same_revision_are_refused(
    tiny: Tiny, outputs: Path, config: Callable[..., Any], stored_rows: Rows
) -> None:
    """A hub dataset that moved under one's feet: stored answers belong to other prompts."""
    words = ("study=moved", "method=direct")
    assert tiny(*words).code == 0
    (done,) = (outputs / "moved").glob("cells/*/DONE")
    done.unlink()
    path = done.parent / "responses.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["check"]
    lines[3]["prompt"] = "000000000000"
    path.write_text("".join(sealed_line(line, path.parent.name) for line in lines))
    answer = tiny(*words)
    assert answer.code == 2
    assert lines[3]["id"] in answer.err
    assert len(stored_rows(outputs / "moved")) == 8
