"""Gathering, scoring and closing cells of which every row is stored: several together, so that they wait for the disk once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence

from l2v.benchmarks.scoring import Scoring
from l2v.disk import Made, at_once
from l2v.errors import StudyError
from l2v.study.cells import Job
from l2v.study.plan import Group, block_key, blocks
from l2v.study.score import score_cell
from l2v.study.store import CellFolder
from l2v.study.workers.claims import DONE, FREE, Claim, claim, states
from l2v.study.workers.heartbeat import Heartbeat
from l2v.study.workers.workload import Workload

FINISH = "finish"  # the claim on gathering, scoring and closing a cell
TOGETHER_SECONDS = 1.0  # a cell waits no longer for its mark than others take to be scored


class Finisher:
    """Closes cells of a study for one worker.

    failed: is told of a cell that could not be gathered, scored or closed. Raises StudyError where nothing can be written.
    """

    def __init__(self, work: Workload, worker: Heartbeat, scoring: Scoring, failed: Callable[[Job, Exception], None]) -> None:
        self.work, self.worker, self.scoring, self.failed = work, worker, scoring, failed

    def finish(self, group: Group, jobs: Sequence[Job]) -> int:
        """Close those of which every row is stored and that nobody else closes; how many were, or were tried, here."""
        held: list[Claim] = []
        mine: list[Job] = []
        try:
            for job in jobs:
                if (one := self._claimed(group, job)) is not None:
                    held.append(one)
                    mine.append(job)
            order = [item.id for item in self.work.items(group)]
            folders = {job.cell.id: self._folder(job) for job in mine}
            gathered = self._told(mine, at_once(lambda job: _gathered(folders[job.cell.id], order), mine))
            self._score_and_close(group, [(job, folders[job.cell.id], twice) for job, twice in gathered if twice is not None])
        finally:
            for one in held:
                one.release()
        return len(mine)

    def _folder(self, job: Job) -> CellFolder:
        return self.work.store.folder(job.cell.id)

    def _claimed(self, group: Group, job: Job) -> Claim | None:
        """The claim on closing a cell; None where rows are missing, another worker has it, or it is closed."""
        folder = self._folder(job)
        claimed = states(folder.claims)
        if any(claimed.get(block_key(b), (-1, FREE))[1] != DONE for b in range(len(blocks(len(self.work.items(group)))))):
            return None
        held = claim(folder.claims, FINISH, self.worker)
        if held is not None and folder.done:
            shutil.rmtree(folder.claims, ignore_errors=True)
            return None
        return held

    def _score_and_close(self, group: Group, gathered: Sequence[tuple[Job, CellFolder, int]]) -> None:
        items = {item.id: item for item in self.work.items(group)}
        scored: list[tuple[Job, CellFolder, int]] = []
        began = time.monotonic()
        for job, folder, twice in gathered:
            self.worker.tell(doing="scoring")
            try:
                score_cell(folder, items, self.work.docs(group), list(job.config.scorer), self.scoring)
            except StudyError:
                raise
            except Exception as error:
                self.failed(job, error)
                continue
            scored.append((job, folder, twice))
            if time.monotonic() - began > TOGETHER_SECONDS:
                self._close(scored)
                scored, began = [], time.monotonic()
        self._close(scored)

    def _close(self, scored: Sequence[tuple[Job, CellFolder, int]]) -> None:
        ended = at_once(lambda one: one[1].finish(one[2]), scored)
        self._told([job for job, *_ in scored], ended)

    def _told(self, jobs: Sequence[Job], results: Sequence[Made | Exception]) -> list[tuple[Job, Made]]:
        """The cells with what came of them, but for those that failed."""
        sound: list[tuple[Job, Made]] = []
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, StudyError):
                raise result
            if isinstance(result, Exception):
                self.failed(job, result)
            else:
                sound.append((job, result))
        return sound


def _gathered(folder: CellFolder, order: Sequence[str]) -> int | None:
    """How many rows were stored twice; None where some were handed to a disk and never reached it: they are computed again."""
    try:
        return folder.gather(order)
    except KeyError:
        shutil.rmtree(folder.claims, ignore_errors=True)
        return None
