"""What was lost or changed beside a study's cells: marks, heartbeats, jobs, tables, analyses. None of it is passed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v.errors import UserError
from l2v.identity import digest
from l2v.report.page.sections import lat
from l2v.report.study import read_study
from l2v.study.cells import Job
from l2v.study.checkup import check_study
from l2v.study.digests import PICTURE, TABLE, content_digest, sealed
from l2v.study.resolve import resolve
from l2v.study.workers.heartbeat import host_key, workers_folder
from l2v.study.workers.run import Run, read_jobs, read_run, write_jobs
from l2v.track.cells import CellRuns
from l2v.track.ledger import Planned
from l2v.track.study import whole_study

PNG = b"\x89PNG\r\n\x1a\n"


def runs(study: Path) -> list[Planned]:
    """What a tracker would be given."""
    return list(whole_study(CellRuns(study.parent, study.name, 2)))


def test_a_cell_whose_mark_is_gone_is_missed_by_all_that_read(copied_pair: Path, l2v: Callable[..., Any]) -> None:
    where = (f"study={copied_pair.name}", f"outputs={copied_pair.parent}")
    for lost in copied_pair.glob("cells/*/DONE"):
        lost.unlink()
        for verb in ("agreement", "report", "score"):
            answer = l2v(verb, *where)
            assert answer.code == 2 and f"{lost} is missing" in answer.err, answer
        told = " ".join(l2v("status", *where).out.split())
        assert "DONE is missing" in told and "repeat `l2v run`" in told
        with pytest.raises(UserError, match="DONE is missing"):
            runs(copied_pair)


def test_figures_that_were_changed_or_taken_out_are_made_again(copied_pair: Path, l2v: Callable[..., Any]) -> None:
    """Of two scorers; a row that is gone leaves no gap in what is there, and is missed all the same."""
    where = (f"study={copied_pair.name}", f"outputs={copied_pair.parent}")
    assert l2v("score", *where, "scorer=lenient").code == 0
    path, other = sorted(copied_pair.glob("cells/*/metrics.json"))
    rows = json.loads(path.read_text())
    assert {row["scorer"] for row in rows} == {"official", "lenient"}
    plain = [{key: value for key, value in row.items() if "digest" not in key} for row in rows]
    harms = {
        "a value": [rows[0] | {"value": 0.123}, *rows[1:]], "the first": rows[1:], "the last": rows[:-1], "all": [],
        "a scorer": [row for row in rows if row["scorer"] == "official"], "one twice": [*rows, rows[0]],
        "another cell's": json.loads(other.read_text()), "digests": plain,
    }  # fmt: skip
    for name, harmed in harms.items():
        path.write_text(json.dumps(harmed))
        answer = l2v("report", *where, "page=false")
        assert answer.code == 2 and f"{path} " in answer.err and "`l2v score study=pair` makes it again" in answer.err, name
        assert l2v("score", *where).code == 0
        found = {(row["scorer"], row["metric"]): row for row in json.loads(path.read_text())}
        assert found == {(row["scorer"], row["metric"]): row for row in rows}, name


def test_a_heartbeat_that_lost_a_key_is_no_worker(copied_pair: Path, l2v: Callable[..., Any]) -> None:
    shown = {"worker": "w", "host": host_key(), "pid": 1, "born": "x", "study": copied_pair.name}
    folder = workers_folder(copied_pair.parent)
    folder.mkdir(parents=True, exist_ok=True)
    for key in ("worker", "host", "pid", "born"):
        (folder / f"{key}.json").write_text(json.dumps({k: v for k, v in shown.items() if k != key}))
    answer = l2v("status", f"study={copied_pair.name}", f"outputs={copied_pair.parent}", "format=json")
    assert (answer.code, json.loads(answer.out)["workers"]) == (0, [])


def test_jobs_of_a_run_are_read_whole_or_not_at_all(config: Callable[..., Any], tmp_path: Path) -> None:
    run = Run(tmp_path / "s" / "runs" / "r", "a", "processes", 1, 0)
    jobs = [Job(resolve(chosen), chosen) for chosen in (config(), config("intervention.layer=1"))]
    write_jobs(run, jobs)
    path = run.path / "jobs.jsonl"
    data = path.read_bytes()
    assert [job.cell for job in read_jobs(run)] == [job.cell for job in jobs]
    lines = data.splitlines(keepends=True)
    harms = [
        b"",
        data[:-20],
        b"".join(lines[:-1]),
        b"".join([*lines[:1], *lines[2:]]),
        data.replace(b"mini_kin", b"mini_kio", 1),
    ]
    for harmed in [*harms, None]:
        path.unlink() if harmed is None else path.write_bytes(harmed)
        with pytest.raises(UserError, match=r"jobs\.jsonl is missing or damaged; repeat the command of `l2v run`"):
            read_jobs(run)


@pytest.mark.parametrize("name", ["attempt", "executor", "command", "cells", "items"])
def test_the_record_of_a_run_without_a_digest_holds_texts_and_numbers(name: str, tmp_path: Path) -> None:
    told = {"attempt": "a", "executor": "local", "workers": 1, "retries": 0, "command": "l2v run"}
    told |= {"cells": {"c": "a cell"}, "items": {"c": 1}}
    path = tmp_path / "s" / "runs" / digest(["c"])
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps(told))
    assert read_run(path).attempt == "a"
    for odd in (float("nan"), {"c": float("nan")}):
        (path / "run.json").write_text(json.dumps(told | {name: odd}))
        with pytest.raises(UserError, match=r"run\.json holds no record of a run; repeat the command of `l2v run`"):
            read_run(path)


def test_a_table_and_an_analysis_that_were_changed_are_not_passed_on(copied_pair: Path) -> None:
    table = copied_pair / "results.csv"
    whole = table.read_bytes()
    table.write_bytes(whole.replace(b"0.", b"1.", 1))
    with pytest.raises(UserError, match=r"results\.csv is not what was written last; `l2v score study=pair` writes it again"):
        runs(copied_pair)
    table.write_bytes(whole)
    folder = copied_pair / "lat" / "one"
    folder.mkdir(parents=True)
    (folder / "d.png").write_bytes(PNG)
    (folder / "d.csv").write_text("k,share\n1,0.5\n")
    figure = {"id": "d", "png": "d.png", "csv": "d.csv", TABLE: content_digest(b"k,share\n1,0.5\n")}
    figure[PICTURE] = content_digest(PNG)
    (folder / "lat.json").write_text(json.dumps(sealed({"title": "t", "figures": [figure]})))
    study = read_study(str(copied_pair.parent), copied_pair.name)
    assert (len(lat(study)[0]), lat(study)[1]) == (1, [])
    assert runs(copied_pair)[-1].build().pictures
    for name, other in (("d.csv", b"k,share\n1,0.6\n"), ("d.png", PNG + b"x")):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(other)
        assert (lat(study)[0], len(lat(study)[1])) == ([], 1) and f"{name} is damaged" in lat(study)[1][0]
        with pytest.raises(UserError, match=rf"{name} is damaged; repeat its `l2v analyze`"):
            runs(copied_pair)[-1].build()
        assert [problem for problem in check_study(study.store).problems if name in problem]
        (folder / name).write_bytes(whole)
    (folder / "lat.json").write_text("{")
    with pytest.raises(UserError, match=r"lat\.json is damaged; repeat its `l2v analyze`"):
        runs(copied_pair)[-1].build()
    # Its page, which is written last, tells of one that is gone.
    (folder / "lat.json").unlink()
    assert not lat(study)[1] and not check_study(study.store).problems and not runs(copied_pair)[-1].build().pictures
    (folder / "index.html").touch()
    assert lat(study) == ([], ["lat/one could not be read (FileNotFoundError); run `l2v analyze` again."])
    with pytest.raises(UserError, match=r"lat\.json cannot be read .*; repeat its `l2v analyze`"):
        runs(copied_pair)[-1].build()
    assert [problem for problem in check_study(study.store).problems if "lat.json" in problem]
