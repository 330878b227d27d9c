"""l2v report: the tables of a study, from its stored scores, and its page (outputs/STUDY/report/index.html).

l2v report study=demo                  in colour where there is a terminal; ends with the page's path
l2v report study=demo --format latex   text (default), md, csv or latex; format=latex is the same
l2v report study=mine metric=all       every score of the benchmark, not only the headline
l2v report study=mine compare=theirs   two studies on one page
l2v report +experiment=table1          an experiment's study, beside the paper's table where it names one (table.printed)
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.errors import UserError, unknown
from l2v.verbs.settings import StudySettings, parse

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReportSettings(StudySettings):
    """Settings of `l2v report`."""

    experiment: str | None = None  # +experiment=NAME reports that experiment's study
    scorer: str = "official"  # one name, or several with commas
    metric: str | None = None  # one score of the benchmark, or all; None: the headline
    format: str = "text"  # text, md, csv or latex
    page: bool = True  # write the page too
    compare: str | None = None  # another study on the same page
    examples: int = 1000  # most responses in the page's browser
    split: str | None = None  # None: the split that the study reports on
    out: str | None = None  # a .csv file for the figures that were measured


SETTINGS = ReportSettings


def main(arguments: list[str]) -> int:
    """Print the headline table of a study and write its page."""
    settings = parse([word.removeprefix("+") for word in arguments], ReportSettings)
    if settings.experiment is not None:
        return _experiment_report(settings, settings.experiment)
    results = None
    for scorer in settings.scorer.split(","):
        results = _print_table(settings, scorer, results)
    _write_files(settings, results)
    return 0


def _print_table(settings: ReportSettings, scorer: str, results: pd.DataFrame | None) -> pd.DataFrame:
    """Print a study's table; returns its results, which are built once."""
    from l2v.report.tables import check_format, on_terminal, study_report
    from l2v.study.results import build_results
    from l2v.study.store import Store

    check_format(settings.format)
    if results is None:
        results = build_results(Store(settings.outputs, settings.study).existing())
    chosen = (settings.outputs, settings.study, scorer, settings.split, settings.format)
    print(study_report(*chosen, results=results, metric=settings.metric, color=on_terminal()))
    return results


def _write_files(settings: ReportSettings, results: pd.DataFrame | None) -> None:
    """Write the figures to `out`, and the page, unless page=false or nothing is finished; its path is told.

    On stderr where stdout is a table to copy.
    """
    first = settings.scorer.split(",")[0]
    if settings.out:
        from l2v.disk import write_atomically
        from l2v.report.tables import measured_csv

        write_atomically(Path(settings.out), measured_csv(settings.outputs, settings.study, first, results))
    if not settings.page or results is None or not len(results):
        return
    from l2v.report.page.page import write_page

    path = write_page(settings.outputs, settings.study, first, settings.compare, settings.examples, results)
    print(f"\npage: {path}", file=sys.stdout if settings.format == "text" else sys.stderr)


def _experiment_report(settings: ReportSettings, name: str) -> int:
    """The table of an experiment file: measured beside printed where the paper has one, else the study's."""
    import yaml

    from l2v.paths import conf_dir
    from l2v.report.paper import paper_report
    from l2v.report.tables import check_format
    from l2v.study.results import build_results
    from l2v.study.store import Store

    check_format(settings.format)
    path = conf_dir() / "experiment" / f"{name}.yaml"
    if not path.is_file():
        raise unknown("experiment", name, [p.stem for p in path.parent.glob("*.yaml")])
    chosen = yaml.safe_load(path.read_text(encoding="utf-8"))
    printed = (chosen.get("table") or {}).get("printed")
    _check_experiment(settings, chosen["study"], printed)
    settings = replace(settings, study=chosen["study"])
    store = Store(settings.outputs, settings.study)
    # A printed table is shown for a study that was not run, too.
    results = build_results(store) if (store.path / "study.json").exists() else None
    for scorer in settings.scorer.split(","):
        if printed:
            print(paper_report(settings.outputs, settings.study, printed, scorer, settings.format, results))
        else:
            results = _print_table(settings, scorer, results)
    _write_files(settings, results)
    return 0


def _check_experiment(settings: ReportSettings, study: str, printed: str | None) -> None:
    """Refuse what would not be looked at: another study, and a choice of rows where the paper's table says which."""
    if settings.study not in (ReportSettings.study, study):
        raise UserError(f"+experiment={settings.experiment} reports the study '{study}'; leave study={settings.study} out.")
    if printed and (settings.metric, settings.split) != (None, None):
        raise UserError(f"The paper's table '{printed}' names its rows; leave metric=… and split=… out.")
