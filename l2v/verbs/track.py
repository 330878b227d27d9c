"""l2v track: upload what a tracker lacks of a study; nothing is uploaded twice, however often it is repeated.

l2v track study=demo                           Weights & Biases; offline where no key is known
l2v track study=demo workspace=true            and a saved view and a report: parallel coordinates, bars, grids, table
l2v track study=demo tracker=trackio           trackio, which keeps its runs on this disk
l2v run --multirun … tracker=wandb             the same while the cells finish
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from l2v.config import TrackerConfig
from l2v.errors import UserError, printable
from l2v.verbs.settings import StudySettings, parse

if TYPE_CHECKING:
    from l2v.study.store import Store
    from l2v.track.ledger import Swept


@dataclass(frozen=True)
class TrackSettings(StudySettings):
    scorer: str | None = None  # whose figures the study's report shows; None: official, or the first there is
    progress: bool = True  # show the progress bar
    workspace: bool = False  # write a saved view and a report of the study too, with a key into the project (wandb)
    tracker: TrackerConfig = field(default_factory=lambda: TrackerConfig(name="wandb"))  # tracker=wandb or trackio


SETTINGS = TrackSettings


def main(arguments: list[str]) -> int:
    """Upload every run of a study that is not there yet, or that changed since. Exit code 1: some uploads failed."""
    from l2v.benchmarks.scoring import check_scorers
    from l2v.track.agent import agent_id
    from l2v.track.trackers import check_tracker

    settings = parse(arguments, TrackSettings)
    if settings.tracker.name == "none":
        raise UserError("tracker=none uploads nothing; choose tracker=wandb or tracker=trackio.")
    check_tracker(settings.tracker)
    if settings.scorer is not None:
        check_scorers([settings.scorer])
    if settings.workspace and settings.tracker.name != "wandb":
        raise UserError(f"workspace=true is a view of Weights & Biases; tracker={settings.tracker.name} has none.")
    if settings.workspace and find_spec("wandb_workspaces") is None:
        raise UserError("workspace=true needs the package 'wandb-workspaces': pip install 'l2v[workspaces]'")
    if agent_id(settings.tracker) is not None:
        raise UserError("Inside a W&B sweep everything falls into the agent's one run; track the study outside of it.")
    # Pictures come from data that are on this machine; nothing is fetched for them.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    return _track(settings)


def _track(settings: TrackSettings) -> int:
    from tqdm import tqdm

    from l2v.study.store import Store
    from l2v.track.cells import CellRuns
    from l2v.track.ledger import Ledger, distinct, sweep
    from l2v.track.study import whole_study
    from l2v.track.trackers import open_tracker

    store = Store(settings.outputs, settings.study).existing()
    cells = CellRuns(settings.outputs, settings.study, settings.tracker.examples)
    tracker = open_tracker(settings.tracker, store.path / "track" / settings.tracker.name)
    try:
        planned = list(distinct(whole_study(cells, settings.scorer)))
        with tqdm(total=len(planned), unit="run", disable=not settings.progress, file=sys.stderr, delay=1) as bar:

            def tick(swept: Swept) -> None:
                bar.update(len(swept.uploaded) + len(swept.there) + len(swept.failed) - bar.n)

            swept = sweep(tracker, Ledger(store.path, settings.tracker), planned, tick)
        told = tracker.told()
    finally:
        tracker.finish()
    _tell(settings, swept, told, tracker.place)
    if settings.workspace:
        print(_workspace(settings, store, tracker.place))
    return 1 if swept.failed else 0


def _workspace(settings: TrackSettings, store: Store, place: str) -> str:
    from l2v.report.study import open_study
    from l2v.track.workspace import write_workspace

    return write_workspace(open_study(store, settings.scorer), settings.tracker, place == "online")


def _tell(settings: TrackSettings, swept: Swept, told: str, place: str) -> None:
    """What happened, and what can be done next."""
    new, old = swept.count("run")
    more, before = swept.count("extract", "score", "report")
    done = "uploaded" if place == "online" else "written"
    others = f"; {more} other runs (directions, scorers, report) {done}, {before} already there"
    print(f"{new} cells {done}, {old} already there{others} ({settings.tracker.name}, project '{settings.tracker.project}').")
    if told:
        print(printable(told))
    if swept.failed:
        first = next(iter(swept.failed.items()))
        given_up = " Given up after that many in a row." if swept.given_up else ""
        print(printable(f"{len(swept.failed)} uploads failed (first: {first[0]}, {first[1]}).{given_up}"), file=sys.stderr)
