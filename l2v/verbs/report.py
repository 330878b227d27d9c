"""l2v report: the tables of a study, from its stored scores, and its page (outputs/STUDY/report/index.html).

l2v report study=demo                  in colour where there is a terminal; ends with the page's path
l2v report study=demo --format latex   text (default), md, csv or latex; format=latex is the same
l2v report study=mine cells=all        of a grid every cell, not only the best of each arm and its layers by alpha
l2v report study=mine metric=all       every score of the benchmark, not only the headline
l2v report study=mine compare=theirs   two studies on one page
l2v report +experiment=table1          an experiment's study, beside the paper's table where it names one (table.printed)
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.errors import UserError, printable, unknown
from l2v.verbs.settings import StudySettings, check_unused, parse

if TYPE_CHECKING:
    from l2v.report.study import Study


@dataclass(frozen=True)
class ReportSettings(StudySettings):
    experiment: str | None = None  # +experiment=NAME reports that experiment's study
    scorer: str = "official"  # one name, or several with commas
    metric: str | None = None  # one score of the benchmark, or all; None: the headline
    format: str = "text"  # text, md, csv or latex
    cells: str = "best"  # of a grid: best (one per arm, and its accuracies by layer and alpha) or all; md, csv, latex: all
    page: bool = True  # write the page too
    compare: str | None = None  # another study on the same page
    examples: int = 1000  # most responses in the page's browser
    split: str | None = None  # None: the split that the study reports on
    out: str | None = None  # a .csv file for the figures that were measured


SETTINGS = ReportSettings


def main(arguments: list[str]) -> int:
    """Print the headline table of a study and write its page."""
    settings = parse([word.removeprefix("+") for word in arguments], ReportSettings)
    if settings.compare is not None and not settings.page:
        raise UserError("compare=… is told on the page alone, which page=false leaves out; leave one of them out.")
    if settings.experiment is not None:
        return _experiment_report(settings, settings.experiment)
    from l2v.report.study import read_study
    from l2v.report.tables import check_format
    from l2v.study.status import status

    check_format(settings.format)
    if settings.cells not in ("best", "all"):
        raise unknown("cells", settings.cells, ("best", "all"))
    first, *others = settings.scorer.split(",")
    study = read_study(settings.outputs, settings.study, first)
    for scorer in (first, *others):
        _print_table(settings, study.seen_by(scorer))
    _write_files(settings, study)
    with suppress(UserError):
        # What is still at work is a note: a table does not fail by it.
        if told := status(settings.outputs, settings.study).told_open:
            print(printable(told), file=sys.stderr)
    return 0


def _print_table(settings: ReportSettings, study: Study) -> None:
    from l2v.report.tables import on_terminal, study_report

    every = settings.cells == "all"
    print(study_report(study, settings.split, settings.format, metric=settings.metric, color=on_terminal(), every=every))


def _write_files(settings: ReportSettings, study: Study) -> None:
    """Write the figures to `out`, and the page, unless page=false or nothing is finished; its path is told.

    On stderr where stdout is a table to copy.
    """
    if settings.out:
        from l2v.disk import write_atomically
        from l2v.report.tables import measured_csv

        write_atomically(Path(settings.out), measured_csv(study))
    if not settings.page or not len(study.results):
        return
    from l2v.report.page.page import write_page

    path = write_page(study, settings.compare, settings.examples)
    print(f"\npage: {path}", file=sys.stdout if settings.format == "text" else sys.stderr)


def _experiment_report(settings: ReportSettings, name: str) -> int:
    """The table of an experiment file: measured beside printed where the paper has one, else the study's."""
    from l2v.report.paper import experiment, paper_report
    from l2v.report.study import open_study, read_study
    from l2v.report.tables import check_format
    from l2v.study.store import Store

    check_format(settings.format)
    chosen = experiment(name)
    _check_experiment(settings, chosen.study, chosen.printed)
    first, *others = settings.scorer.split(",")
    if chosen.printed:
        # A printed table is shown for a study that was not run, too.
        study = open_study(Store(settings.outputs, chosen.study), first)
    else:
        study = read_study(settings.outputs, chosen.study, first)
    for scorer in (first, *others):
        if chosen.printed:
            print(printable(paper_report(study.seen_by(scorer), chosen.printed, settings.format)))
        else:
            _print_table(settings, study.seen_by(scorer))
    _write_files(settings, study)
    return 0


def _check_experiment(settings: ReportSettings, study: str, printed: str | None) -> None:
    """Refuse what would not be looked at: another study, and a choice of rows where the paper's table says which."""
    if settings.study not in (ReportSettings.study, study):
        raise UserError(f"+experiment={settings.experiment} reports the study '{study}'; leave study={settings.study} out.")
    if printed:
        check_unused(settings, ["metric", "split", "cells"], f"for the paper's table '{printed}', which names its rows")
