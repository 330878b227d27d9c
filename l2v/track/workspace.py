"""A saved view and a report of a study for Weights & Biases: what W&B's first view cannot know of cells, arms and null arms.

With a key they are saved in the project; without one their JSON lies in the study's folder until there is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from l2v.benchmarks.metrics import HEADLINE
from l2v.config import TrackerConfig
from l2v.disk import write_atomically
from l2v.errors import StudyError, UserError
from l2v.report.study import Study
from l2v.report.tables import study_report
from l2v.track.grid import heatmaps

SWEPT = ("layer", "alpha", "cutoff", "seed")  # axes of the parallel coordinates, where a study varies them
FILE, REPORT = "workspace.json", "report.json"


def _compared(study: Study) -> list[Any]:
    """Every cell side by side: parallel coordinates, importance, bars by method and swept setting, length."""
    import wandb_workspaces.reports.v2 as wr

    figure = f"{study.scorer}/{HEADLINE}"
    varying = [name for name in SWEPT if name in study.results and study.results[name].nunique() > 1]
    columns = [*(wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in ("method", *varying))]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(figure), display_name="accuracy"))
    return [
        wr.ParallelCoordinatesPlot(title="Every cell", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=figure),
        *(
            wr.BarPlot(title=f"Mean accuracy by {name}", metrics=[wr.Metric(figure)], groupby=wr.Config(name), orientation="h")
            for name in ("method", *varying)
        ),
        wr.ScatterPlot(title="Length against accuracy", x=wr.SummaryMetric(f"{figure}/tokens"), y=wr.SummaryMetric(figure)),
    ]


def _grids(study: Study) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    names = list(heatmaps(study.results, study.scorer))  # as they are logged with the study's report
    return [wr.MediaBrowser(title="Layer by alpha", media_keys=names, num_columns=2)] if names else []


def _runs(study: Study) -> str:
    return f"Config('study') = '{study.name}'" if "'" not in study.name else ""


def workspace(study: Study, tracker: TrackerConfig) -> Any:
    """The view: what is compared, the grids, and the study's runs by method."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    grids = [*_grids(study), wr.RunComparer(diff_only="split")]
    return ws.Workspace(
        entity=tracker.entity or "",
        project=tracker.project,
        name=f"l2v {study.name}",
        sections=[
            ws.Section(name="Cells", panels=_compared(study), is_open=True),
            ws.Section(name="Grids", panels=grids, is_open=True),
        ],
        runset_settings=ws.RunsetSettings(filters=_runs(study), groupby=[ws.Config("method")]),
    )


def report(study: Study, tracker: TrackerConfig) -> Any:
    """The report: the study's table as `l2v report` prints it, then the same figures over its runs."""
    import wandb_workspaces.reports.v2 as wr

    place = {"entity": tracker.entity or "", "project": tracker.project}
    runs = wr.Runset(**place, name=study.name, filters=_runs(study), groupby=["config.method"])
    return wr.Report(
        **place,
        title=f"l2v {study.name}",
        description="Every arm beside direct and its null arms.",
        blocks=[
            wr.H1("Table"),
            wr.MarkdownBlock(study_report(study, format="md")),
            wr.H1("Cells"),
            wr.PanelGrid(runsets=[runs], panels=[*_compared(study), *_grids(study)]),
        ],
    )


@contextmanager
def _refused() -> Iterator[None]:
    """The failures of the packages and of the network, in one sentence."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:
        raise UserError(
            f"The view and the report could not be saved in the project ({error}); repeat the command, or without a key "
            "(tracker.mode=offline) take their JSON."
        ) from error


def _default_entity() -> str | None:
    with _refused():
        import wandb

        found: str | None = wandb.Api().default_entity
        return found


def write_workspace(study: Study, tracker: TrackerConfig, online: bool) -> str:
    """Write both beside the uploads, and save them in the project where runs go there too; what was done, in a sentence.

    Raises UserError where the project does not take them.
    """
    if online and tracker.entity is None:
        tracker = replace(tracker, entity=_default_entity())
    folder = study.store.path / "track"
    shown = {FILE: workspace(study, tracker), REPORT: report(study, tracker)}
    with _refused():
        for name, one in shown.items():
            spec = json.loads(one._to_model().model_dump_json(by_alias=True, exclude_none=True))
            write_atomically(folder / name, json.dumps(spec, indent=1) + "\n")
            if online:
                one.save()
    if online:
        return f"workspace: {shown[FILE].url}\nreport: {shown[REPORT].url}"
    return (
        f"workspace: {folder / FILE}; report: {folder / REPORT}; with a key (`wandb login`) the same command with "
        "tracker.mode=online saves both in the project."
    )
