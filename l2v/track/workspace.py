"""A saved view of a study for Weights & Biases: what W&B's own first view cannot know of cells, arms and null arms.

With a key it is saved in the project; without one the JSON lies in the study's folder until there is.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from l2v.benchmarks.metrics import HEADLINE
from l2v.config import TrackerConfig
from l2v.disk import write_atomically
from l2v.report.study import Study
from l2v.track.grid import heatmaps

SWEPT = ("layer", "alpha", "cutoff", "seed")  # axes of the parallel coordinates, where a study varies them
FILE = "workspace.json"


def workspace(study: Study, tracker: TrackerConfig) -> Any:
    """The view: parallel coordinates, importance, bars by method and swept setting, grids; the study's runs by method."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    figure = f"{study.scorer}/{HEADLINE}"
    varying = [name for name in SWEPT if name in study.results and study.results[name].nunique() > 1]
    columns = [*(wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in ("method", *varying))]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(figure), display_name="accuracy"))
    compared = [
        wr.ParallelCoordinatesPlot(title="Every cell", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=figure),
        *(
            wr.BarPlot(title=f"Mean accuracy by {name}", metrics=[wr.Metric(figure)], groupby=wr.Config(name), orientation="h")
            for name in ("method", *varying)
        ),
        wr.ScatterPlot(title="Length against accuracy", x=wr.SummaryMetric(f"{figure}/tokens"), y=wr.SummaryMetric(figure)),
    ]
    names = list(heatmaps(study.results, study.scorer))  # as they are logged with the study's report
    grids = [wr.MediaBrowser(title="Layer by alpha", media_keys=names, num_columns=2)] if names else []
    return ws.Workspace(
        entity=tracker.entity or "",
        project=tracker.project,
        name=f"l2v {study.name}",
        sections=[
            ws.Section(name="Cells", panels=compared, is_open=True),
            ws.Section(name="Grids", panels=[*grids, wr.RunComparer(diff_only="split")], is_open=True),
        ],
        runset_settings=ws.RunsetSettings(
            filters=f"Config('study') = '{study.name}'" if "'" not in study.name else "",
            groupby=[ws.Config("method")],
        ),
    )


def write_workspace(study: Study, tracker: TrackerConfig, online: bool) -> str:
    """Write the view beside the uploads, and save it in the project where runs go there too; what was done, in a sentence."""
    if online and tracker.entity is None:
        import wandb

        tracker = replace(tracker, entity=wandb.Api().default_entity)
    view = workspace(study, tracker)
    path = study.store.path / "track" / FILE
    spec = json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))
    write_atomically(path, json.dumps(spec, indent=1) + "\n")
    if not online:
        return (
            f"workspace: {path}; with a key (`wandb login`) the same command with tracker.mode=online saves it in the project."
        )
    view.save()
    return f"workspace: {view.url}"
