"""Uploading what is missing: a ledger of finished uploads, and one pass over the runs that a study should have.

The ledger is a file of lines, appended to when an upload is over. An upload that was interrupted has no line and is done
again under the same run id; a run whose content changed since (a cell that was scored again) too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l2v.config import TrackerConfig
from l2v.disk import alone, append_line, make_folder, read_bytes, whole_lines
from l2v.track.tracker import TrackedRun, Tracker, slug

# A tracker that fails so often in a row is given up for this pass.
MOST_FAILURES = 3


@dataclass(frozen=True)
class Planned:
    """A run that a study should have. content: changes with whatever the run would hold; build: makes it."""

    id: str
    job_type: str
    content: str
    build: Callable[[], TrackedRun]


@dataclass
class Swept:
    """What a pass did: run ids by what happened to them; `failed` with the reason."""

    uploaded: list[Planned] = field(default_factory=list)
    there: list[Planned] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    given_up: bool = False

    def count(self, *job_types: str) -> tuple[int, int]:
        """How many runs of these kinds were uploaded, and how many were there already."""
        return sum(p.job_type in job_types for p in self.uploaded), sum(p.job_type in job_types for p in self.there)


class Ledger:
    """outputs/<study>/track/<tracker>-<project>.jsonl: a line per finished upload; the last one of a run counts."""

    def __init__(self, study: Path, config: TrackerConfig) -> None:
        where = "-".join(name for name in (config.name, config.entity, config.project) if name)
        self.path = study / "track" / f"{slug(where)}.jsonl"

    def read(self) -> dict[str, dict[str, Any]]:
        """The last line of each run id; a torn line is passed over."""
        found: dict[str, dict[str, Any]] = {}
        for line in whole_lines(read_bytes(self.path)):
            try:
                entry = json.loads(line)
                found[entry["id"]] = entry
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, planned: Planned, place: str) -> None:
        """Note a finished upload, on disk before this returns."""
        entry = {"id": planned.id, "job_type": planned.job_type, "content": planned.content, "place": place}
        append_line(self.path, entry | {"time": round(time.time(), 3)})


def distinct(planned: Iterable[Planned]) -> Iterator[Planned]:
    """Each run once, where it comes first: cells share directions."""
    seen: set[str] = set()
    for run in planned:
        if run.id not in seen:
            seen.add(run.id)
            yield run


def sweep(
    tracker: Tracker,
    ledger: Ledger,
    planned: Iterable[Planned],
    told: Callable[[Swept], None] = lambda _: None,
    again: bool = True,
) -> Swept:
    """Upload the planned runs that the tracker lacks; `told` is called after each. No error of a tracker leaves this function.

    `again`: upload runs whose content changed too; without it, a run that was uploaded once is left as it is.
    """
    swept = Swept()
    in_a_row = 0
    make_folder(ledger.path.parent)
    # Only one process uploads a study at a time; the others wait.
    with alone(ledger.path.parent):
        known = ledger.read()
        for run in planned:
            entry = known.get(run.id)
            if entry and tracker.has(run.id, entry["place"]) and (entry["content"] == run.content or not again):
                swept.there.append(run)
                continue
            try:
                tracker.upload(run.build())
                ledger.add(run, tracker.place)
                swept.uploaded.append(run)
                in_a_row = 0
            except Exception as error:
                swept.failed[run.id] = reason(error)
                in_a_row += 1
            told(swept)
            if in_a_row == MOST_FAILURES:
                swept.given_up = True
                break
    return swept


def reason(error: BaseException) -> str:
    """An error in one line, without any key that is in the environment."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    for name, value in os.environ.items():
        if name.endswith(("_KEY", "_TOKEN")) and len(value) >= 8:
            text = text.replace(value, f"${name}")
    return text
