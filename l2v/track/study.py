"""The runs of a study as a whole: one per scorer, and the report, which sums up what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.disk import Record, read_bytes
from l2v.identity import digest
from l2v.report.paper import paper_table, printed_beside
from l2v.report.race import looks_table
from l2v.report.study import Study, open_study
from l2v.report.tables import headline
from l2v.study.columns import COLUMNS, COMPARED, SEARCHED, names
from l2v.study.digests import analyses, check_analysis
from l2v.track.cells import FORMAT, CellRuns, flat
from l2v.track.grid import heatmaps
from l2v.track.ledger import Planned
from l2v.track.tracker import Artifact, File, Scalar, Table, TrackedPicture, TrackedRun, clean, slug

# What a cell's figures mean beside others; the figures themselves are the cell's own.
BESIDE = ["cell", "scorer", "metric", *names(COMPARED, SEARCHED)]
GRID = [*(name for name in COLUMNS if name not in ("cell", "study", "seconds")), "cell"]


def whole_study(cells: CellRuns, scorer: str | None = None) -> Iterator[Planned]:
    """Every run that a study should have: its directions and cells, its scorers, and the report. None before a cell is done.

    scorer: whose figures the report shows; None: official, or the first there is.
    """
    study = open_study(cells.store)
    folders = cells.finished()
    if not folders:
        return
    results = study.results
    compared: dict[str, list[Record]] = {}
    for row in results[BESIDE].to_dict("records"):
        compared.setdefault(row["cell"], []).append({str(k): v for k, v in row.items() if k != "cell" and not pd.isna(v)})
    yield from cells.plan(folders, compared)
    scorers = study.scorers
    for name in scorers:
        rows = results[(results["scorer"] == name) & (results["metric"] == HEADLINE)]
        content = digest([FORMAT, rows.to_csv(index=False)])
        run_id = f"score-{slug(cells.store.study)}-{name}"
        yield Planned(run_id, "score", content, partial(_score_run, run_id, cells.store.study, name, rows))
    if scorers:
        preferred = [name for name in (scorer, "official") if name in scorers] + scorers
        yield _report(study.seen_by(preferred[0]))


def as_table(frame: pd.DataFrame) -> Table:
    """A frame whose columns are numbers and text."""
    rows = [tuple(_shown(value) for value in row) for row in frame.itertuples(index=False)]
    return Table(tuple(map(str, frame.columns)), tuple(rows))


def _shown(value: Any) -> Scalar | None:
    found = flat({"value": None if pd.isna(value) else getattr(value, "item", lambda: value)()})
    return found.get("value")


def _score_run(run_id: str, study: str, scorer: str, rows: pd.DataFrame) -> TrackedRun:
    names = [str(name) for name in rows if str(name).endswith("_share") and rows[name].notna().all()]
    shares = {name: float((rows[name] * rows["n"]).sum() / rows["n"].sum()) for name in names}
    return TrackedRun(
        id=run_id,
        name=f"{study} scored by {scorer}",
        group=study,
        job_type="score",
        tags=(scorer,),
        # Not figures of a run that a dashboard would draw beside the cells' accuracies.
        config={"study": study, "scorer": scorer, "cells": len(rows), "responses": int(rows["n"].sum()), **flat(shares)},
        tables={"cells": as_table(_columns(rows, GRID))},
    )


def _columns(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """These columns, without the empty ones."""
    return rows[[name for name in names if name in rows and rows[name].notna().any()]]


def _report(study: Study) -> Planned:
    study.store.check_tables()
    files = _report_files(study.store.path)
    hashes = {name: hashlib.sha256(read_bytes(file.path)).hexdigest() for name, file in files.items()}
    run_id = f"report-{slug(study.name)}"
    return Planned(run_id, "report", digest([FORMAT, study.scorer, hashes]), partial(_report_run, run_id, study, files))


def _report_files(study: Path) -> dict[str, File]:
    paths = [study / "results.csv", study / "selection.json", *sorted((study / "report").glob("*"))]
    paths += sorted((study / "lat").glob("*/*"))
    return {path.relative_to(study).as_posix(): File(path) for path in paths if path.is_file() and path.name[0] != "."}


def _report_run(run_id: str, study: Study, files: dict[str, File]) -> TrackedRun:
    name, scorer, folder = study.name, study.scorer, study.store.path
    shown = headline(study, None, set(study.selection.reports.values()))
    page = folder / "report" / "index.html"
    return TrackedRun(
        id=run_id,
        name=f"report of {name}",
        group=name,
        job_type="report",
        tags=tuple(sorted({str(name)[:64] for name in (*shown["target"], *shown["benchmark"])})),
        config={
            "study": name,
            "scorer": scorer,
            "cells": study.results["cell"].nunique(),
            "reported": shown["cell"].nunique(),
            **_raced(study),
        },
        tables={
            "grid": as_table(_columns(shown, GRID)),
            **({"race": as_table(looks_table(study))} if study.selection.raced else {}),
            **{f"paper/{p}": as_table(paper_table(study, p)) for p in printed_beside(name)},
        },
        figures=heatmaps(study.results, scorer),
        pictures=_lat_pictures(folder),
        pages={"page": page} if page.exists() else {},
        produced=(Artifact(f"report-{slug(name)}", "report", files, {"scorer": scorer}),),
    )


def _raced(study: Study) -> dict[str, Scalar]:
    """What the study's races took of the full grid's rows x cells; empty without one."""
    return dict(zip(("raced_rows", "raced_of"), study.selection.raced_rows, strict=True)) if study.selection.raced else {}


def _lat_pictures(study: Path) -> dict[str, TrackedPicture]:
    """The pictures that `l2v analyze` left in outputs/<study>/lat/<name>/."""
    found = {}
    for told in analyses(study):
        for figure in check_analysis(told)["figures"]:
            # A name, never a way out of the folder.
            png = told.parent / Path(str(figure["png"])).name
            if png.is_file():
                caption = f"{figure.get('title', '')}. {figure.get('note', '')}".strip(". ")
                found[f"lat/{told.parent.name}/{figure['id']}"] = TrackedPicture(png.read_bytes(), clean(caption))
    return found
