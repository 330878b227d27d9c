"""The studies of an outputs folder as a server holds them: each read once, and again when something of it has changed."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from threading import RLock
from urllib.parse import quote

import pandas as pd

from l2v.errors import UserError
from l2v.paths import plain_name
from l2v.report.page.facts import still_open
from l2v.report.page.page import render
from l2v.report.study import Study, read_study
from l2v.study.status import studies
from l2v.study.store import Store

REST = 5.0  # of a study that grows: so many times as long as reading it took passes before it is read again
LEAST_REST = 2.0  # seconds
MOST_READ = 60  # done cells of a study without results.csv that the index reads


def mark(store: Store) -> str:
    """What a study's page depends on, as a digest: the commands, which cells are done, scored and failed, since when, and what
    was chosen."""
    told = ("runs/*/run.json", "cells/*/DONE", "cells/*/metrics.json", "cells/*/error.txt", "selection.json")
    paths = [path for name in told for path in store.path.glob(name)]
    found = []
    for path in sorted(paths):
        try:
            found.append(f"{path.parent.name} {path.name} {path.stat().st_mtime_ns}")
        except OSError:  # it may go while we look
            continue
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def address(study: str) -> str:
    """The path of a study's page; what belongs to it lies below."""
    return f"/studies/{quote(study, safe='')}/"


@dataclass(frozen=True)
class ServedStudy:
    """A study as it was read: under which mark, when, beside which state of its results.csv, and how many seconds it took."""

    study: Study
    mark: str
    at: float
    table: int | None
    took: float
    examples: int

    @cached_property
    def was_open(self) -> bool:
        """Whether cells of it were missing."""
        return bool(still_open(self.study))

    @cached_property
    def page(self) -> str:
        """Its page, which asks this server for the rest."""
        return render(self.study, None, self.examples, served=address(self.study.name), mark=self.mark)


class Shelf:
    """Every study under one folder. All methods may be called from several threads."""

    def __init__(self, outputs: str, scorer: str | None, examples: int) -> None:
        self.outputs, self.scorer, self.examples = Path(outputs), scorer, examples
        self._shown: dict[str, ServedStudy] = {}
        self._lock = RLock()

    def names(self) -> list[str]:
        return sorted(studies(str(self.outputs)))

    def shown(self, name: str) -> ServedStudy:
        """A study, read again where it has changed and the last reading is long enough ago.

        Raises UserError for a name that is none, an unknown study, and one that cannot be read and never could.
        """
        plain_name(name)
        if name not in self.names():
            raise UserError(f"There is no study '{name}' in {self.outputs}.")
        with self._lock:
            old = self._shown.get(name)
            now = time.monotonic()
            if old is not None and now - old.at < max(LEAST_REST, REST * old.took):
                return old
            current = mark(Store(self.outputs, name))
            if old is None or current != old.mark:
                try:
                    self._shown[name] = self._read(name, current, now)
                except UserError:
                    # Between the end of a cell and its verdicts: what was read last stands.
                    if old is None:
                        raise
            return self._shown[name]

    def _read(self, name: str, current: str, begun: float) -> ServedStudy:
        table = self._stamp(name)
        study = read_study(str(self.outputs), name)
        if self.scorer in study.scorers:
            study = study.seen_by(str(self.scorer))
        done = time.monotonic()
        return ServedStudy(study, current, done, table, done - begun, self.examples)

    def _stamp(self, name: str) -> int | None:
        """What changes with a study's results.csv; by whose clock a shared disk stamps it nobody knows."""
        try:
            return (self.outputs / name / "results.csv").stat().st_mtime_ns
        except OSError:
            return None

    def table(self, name: str) -> pd.DataFrame:
        """A study's rows: as read last, as its results.csv has them or, of a small one that still runs, as its cells do.

        Raises UserError for a large one without results.csv, which its own page reads.
        """
        path = self.outputs / name / "results.csv"
        shown, data = self._shown.get(name), Store(self.outputs, name).results()
        if data is not None and (shown is None or self._stamp(name) != shown.table):
            return pd.read_csv(BytesIO(data), low_memory=False)
        if shown is None and sum(1 for _ in path.parent.glob("cells/*/DONE")) > MOST_READ:
            raise UserError("its results are on its page: no run has come to its end yet")
        return self.shown(name).study.results
