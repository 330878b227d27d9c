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
from l2v.report.style import ARM_COLOURS, PALETTE
from l2v.report.tables import study_report
from l2v.study.columns import SETTINGS
from l2v.track.grid import heatmaps
from l2v.transfer.arms import title

AXES = ["method", "source", "target", "split", "part"]  # of the parallel coordinates, where a study varies them
AXES += [column.name for column in SETTINGS if (column.axis or column.choosable) and column.name != "source_layer"]
HUES = 6  # of the palette, the rest is grey and black
MOST_SETS, MOST_NAMED = 12, 60  # sets of runs, and cells that one of them names
FILE, REPORT = "workspace.json", "report.json"


def _compared(study: Study) -> list[Any]:
    """Every cell side by side: parallel coordinates, importance, bars by method and swept setting, length."""
    import wandb_workspaces.reports.v2 as wr

    figure = f"{study.scorer}/{HEADLINE}"
    varying = [name for name in AXES if name == "method" or study.results[name].nunique() > 1]
    columns = [*(wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in varying)]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(figure), display_name="accuracy"))
    return [
        wr.ParallelCoordinatesPlot(title="Every cell", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=figure),
        *(
            wr.BarPlot(
                title=f"Mean accuracy by {name}, of all its cells (line: least to most)",
                title_x=f"share right, scorer {study.scorer}",
                metrics=[wr.Metric(figure)],
                groupby=wr.Config(name),
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
                orientation="h",
            )
            for name in varying
        ),
        wr.ScatterPlot(
            title="Mean output tokens (x) against the share right (y)",
            x=wr.SummaryMetric(f"{figure}/tokens"),
            y=wr.SummaryMetric(figure),
        ),
    ]


def _grids(study: Study) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    names = list(heatmaps(study.results, study.scorer))  # as they are logged with the study's report
    return [wr.MediaBrowser(title="Layer by alpha", media_keys=names, num_columns=2)] if names else []


def _where(**settings: str) -> str:
    """The runs whose settings are these; what a filter cannot quote is left out."""
    return " and ".join(f"Config('{name}') = '{value}'" for name, value in settings.items() if "'" not in value)


def _colours(study: Study) -> dict[str, str]:
    """Every cell in its method's colour, as in all other pictures; null arms in grey."""
    cells = study.rows.drop_duplicates("cell")
    roles = dict(zip(cells["method"], cells["role"], strict=True))
    others = [name for name in roles if name not in ARM_COLOURS]
    found = {name: PALETTE[others.index(name) % HUES] for name in others}
    found |= ARM_COLOURS | {name: ARM_COLOURS["null"] for name, role in roles.items() if role == "null"}
    return {cell: found[method] for cell, method in zip(cells["cell"], cells["method"], strict=True)}


def _sets(study: Study, place: dict[str, str]) -> list[Any]:
    """What is reported, and every method by its source, as sets of runs."""
    import wandb_workspaces.reports.v2 as wr

    colours, own = _colours(study), _where(study=study.name)
    told = list(dict.fromkeys(study.reported["cell"]))
    named = {"reported cells": " and ".join(filter(None, (own, f"ID in {told}")))} if len(told) <= MOST_NAMED else {}
    for method, source in study.rows[["method", "source"]].drop_duplicates().itertuples(index=False):
        several = study.rows[study.rows["method"] == method]["source"].nunique() > 1
        settings = {"study": study.name, "method": str(method)} | ({"source": str(source)} if several else {})
        named[title(str(method)) + (f" from {source}" if several else "")] = _where(**settings)
    return [
        wr.Runset(
            **place, name=name, filters=filters, run_settings={c: wr.RunSettings(color=hue) for c, hue in colours.items()}
        )
        for name, filters in [*named.items()][:MOST_SETS]
    ]


def workspace(study: Study, tracker: TrackerConfig) -> Any:
    """The view: what is compared, the grids, and the study's runs, each in its arm's colour."""
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
        # Not grouped: a chart would show a group's mean in the place of its cells.
        runset_settings=ws.RunsetSettings(
            filters=_where(study=study.name),
            run_settings={cell: ws.RunSettings(color=hue) for cell, hue in _colours(study).items()},
        ),
    )


def report(study: Study, tracker: TrackerConfig) -> Any:
    """The report: the study's table as `l2v report` prints it, then the same figures over its runs."""
    import wandb_workspaces.reports.v2 as wr

    place = {"entity": tracker.entity or "", "project": tracker.project}
    return wr.Report(
        **place,
        title=f"l2v {study.name}",
        description="Every arm beside direct and its null arms.",
        blocks=[
            wr.H1("Table"),
            wr.MarkdownBlock(study_report(study, format="md")),
            wr.H1("Cells"),
            wr.PanelGrid(runsets=_sets(study, place), panels=[*_compared(study), *_grids(study)]),
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


def write_workspace(study: Study, tracker: TrackerConfig, online: bool) -> str:
    """Write both beside the uploads, and save them in the project where runs go there too; what was done, in a sentence.

    Raises UserError where the project does not take them.
    """
    if online and tracker.entity is None:
        with _refused():
            import wandb

            tracker = replace(tracker, entity=wandb.Api().default_entity)
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
