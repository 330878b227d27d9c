"""`l2v track`: upload what a dashboard lacks of a study."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from l2v.config import ReportConfig
from l2v.errors import UserError
from l2v.verbs.store_door import parse

if TYPE_CHECKING:
    from l2v.track.ledger import Swept


def track_verb(arguments: list[str]) -> int:
    """Upload every run of a study that is not there yet, or that changed since. Exit code 1: some uploads failed."""
    from l2v.track.tracker import check_tracker

    config = parse(arguments)
    if config.tracker.name == "none":
        raise UserError("tracker=none uploads nothing; choose tracker=wandb or tracker=trackio.")
    check_tracker(config.tracker)
    # Pictures come from data that are on this machine; nothing is fetched for them.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    return _track(config)


def _track(config: ReportConfig) -> int:
    from tqdm import tqdm

    from l2v.study.store import Store
    from l2v.track.cells import CellRuns
    from l2v.track.ledger import Ledger, distinct, sweep
    from l2v.track.study import whole_study
    from l2v.track.tracker import open_tracker

    store = Store(config.outputs, config.study).existing()
    cells = CellRuns(config.outputs, config.study, config.tracker.examples)
    tracker = open_tracker(config.tracker, store.path / "track" / config.tracker.name)
    try:
        planned = list(distinct(whole_study(cells, config.scorer)))
        with tqdm(total=len(planned), unit="run", disable=not config.progress, file=sys.stderr, delay=1) as bar:

            def tick(swept: Swept) -> None:
                bar.update(len(swept.uploaded) + len(swept.there) + len(swept.failed) - bar.n)

            swept = sweep(tracker, Ledger(store.path, config.tracker), planned, tick)
        told = tracker.told()
    finally:
        tracker.finish()
    _tell(config, swept, told)
    return 1 if swept.failed else 0


def _tell(config: ReportConfig, swept: Swept, told: str) -> None:
    """What happened, and what can be done next."""
    new, old = swept.count("run")
    more, before = swept.count("extract", "score", "report")
    others = f"; {more} other runs (directions, scorers, report) uploaded, {before} already there"
    print(f"{new} cells uploaded, {old} already there{others} ({config.tracker.name}, project '{config.tracker.project}').")
    if told:
        print(told)
    if swept.failed:
        first = next(iter(swept.failed.items()))
        given_up = " Given up after that many in a row." if swept.given_up else ""
        print(f"{len(swept.failed)} uploads failed (first: {first[0]}, {first[1]}).{given_up}", file=sys.stderr)
