"""A worker's way through a study: claim a unit, answer its missing rows, store them, finish cells, go on when one fails.

Any number of workers, on any machines that share the study's folder, may walk through the same study at once.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any

from tqdm import tqdm

from l2v.disk import Record, at_once
from l2v.errors import StudyError, UserError, counted, printable
from l2v.study.cells import Cell, Job
from l2v.study.plan import Unit, block_key, blocks, fitting, from_place, job_readings, readings, shuffled, units
from l2v.study.provenance import note_work
from l2v.study.score import prompt_hashes, scoring_of
from l2v.study.store import CellFolder
from l2v.study.workers.answer import Answered, answer
from l2v.study.workers.claims import DONE, FREE, HELD, Claim, alive, claim_all, states
from l2v.study.workers.directions import directions_path, ensure_directions
from l2v.study.workers.finish import Finisher
from l2v.study.workers.heartbeat import Heartbeat
from l2v.study.workers.maps import ensure_maps, map_path
from l2v.study.workers.run import Run, note_aside, note_failure
from l2v.study.workers.workload import Workload

# How soon and how late a worker looks again at what others hold, and how many units it looks at before it waits.
POLL_SECONDS, LONGEST_POLL, LOOKED_UNITS = 0.5, 10.0, 16
TOLD_FAILURES = 3  # a failing cell's reason is told so often; all of them stand in the outcome

Tell = Callable[[str], None]
# What a worker holds: a claim per cell's id and key of a block of items.
Held = dict[tuple[str, str], Claim]


class AskedToEndError(Exception):
    """This worker was asked to end; what it had in hand is stored."""


class TakenOverError(Exception):
    """Another worker took over what this one had claimed, because it was silent for too long."""


class Found(Enum):
    """What a worker found of a unit: nothing to do any more, something that it did, or others at work."""

    CLOSED = auto()
    WORKED = auto()
    HELD = auto()


class Worker:
    """One worker's pass over a study.

    note: is told what it does. place: where in the plan it begins, 0 to 1. bar: is told of every stored row.
    """

    def __init__(
        self, work: Workload, run: Run, worker: Heartbeat, device: str, note: Tell, place: float = 0.0, bar: Any = None
    ) -> None:
        self.work, self.run_record, self.worker, self.device, self.bar = work, run, worker, device, bar
        self.config = work.jobs[0].config
        self.note = note
        scoring = scoring_of(self.config.judge, self.config.runtime.outputs, progress=False)
        self.finisher = Finisher(work, worker, scoring, self._failed)
        sizes = [len(work.items(group)) for group in work.groups]
        cut = units(work.groups, sizes, self.config.runtime.cells_per_claim, run.workers)
        self.units = from_place(cut, place)
        self.failed: dict[str, str] = {}
        self.told: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.done: set[str] = set()
        self.noted = False
        self.targets = work.targets

    def run(self) -> None:
        """Read directions, then answer unit by unit until every cell is done or set aside, here or elsewhere.

        Raises AskedToEndError when the worker was asked to end, StudyError for what ends the whole command, and UserError for
        what is wrong with its only cell.
        """
        todo = [job for job in self.work.jobs if not self._folder(job).done]
        self.worker.tell(doing="reading directions")
        outputs = self.config.runtime.outputs
        needed = [directions_path(outputs, reading) for reading in readings(todo)]
        needed += [map_path(outputs, one.id) for job in todo if (one := fitting(job.cell)) is not None]
        if not all(path.exists() for path in needed):
            # The models that they are read from need the room.
            self.targets.release()
        ensure_directions(todo, self.device, self.note, self.worker, self._no_directions)
        ensure_maps(todo, self.device, self.note, self.worker, self._no_directions)
        try:
            self._walk()
        finally:
            self.targets.restore()
            self.worker.tell(doing="")

    def _walk(self) -> None:
        waiting, pause = deque(self.units), POLL_SECONDS
        while waiting and not self.run_record.over():
            looked = [waiting.popleft() for _ in range(min(LOOKED_UNITS, len(waiting)))]
            found = [self._attend(unit) for unit in looked]
            waiting.extend(unit for unit, state in zip(looked, found, strict=True) if state is not Found.CLOSED)
            if Found.WORKED in found:
                pause = POLL_SECONDS
            elif Found.CLOSED not in found:
                # Others hold what was looked at. A thousand idle workers must not ask for everything all the time: each looks
                # now and then at a few units of what is left, every second one of the target that it has in memory.
                self.worker.tell(doing="waiting for others")
                self._sleep(pause)
                pause = min(1.5 * pause, LONGEST_POLL)
                waiting = deque(shuffled(waiting, self.targets.held))
        self.run_record.note_over()

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._may_go_on()
            if self.worker.parent is not None and self.run_record.over():
                # The next phase may have begun. A process with a driver has few beside it, who all may look so often.
                return
            time.sleep(min(POLL_SECONDS, seconds))

    def _may_go_on(self) -> None:
        if self.worker.asked_to_end:
            raise AskedToEndError("asked to end")

    def _say(self, message: str) -> None:
        tqdm.write(printable(message), file=sys.stderr)

    def _folder(self, job: Job) -> CellFolder:
        return self.work.store.folder(job.cell.id)

    def _closed(self, job: Job) -> bool:
        """Whether a cell is done or was set aside, here or elsewhere; looked up until it is."""
        cell_id, folder = job.cell.id, self._folder(job)
        if cell_id in self.done or cell_id in self.failed:
            return True
        if folder.done:
            self.done.add(cell_id)
            return True
        reason = self.run_record.failed_here(folder)
        if reason is not None:
            self._note_aside(job.cell, reason)
        return reason is not None

    def _attend(self, unit: Unit) -> Found:
        """Do what can be done of a unit now."""
        self._may_go_on()
        jobs: list[Job] = []
        wanted: list[tuple[Job, int]] = []
        for job in unit.jobs:
            if self._closed(job):
                continue
            if self.failures[job.cell.id] > self.run_record.retries and not self._alone():
                # It failed here often enough: another worker has to see it fail before it counts as the cell's own fault.
                return Found.HELD
            claimed = states(self._folder(job).claims)
            todo = [b for b in unit.blocks if claimed.get(block_key(b), (-1, FREE))[1] != DONE]
            # Whoever holds one of its cells has the unit; the first that is held tells.
            if any(self._held(job, b, *claimed[block_key(b)]) for b in todo if block_key(b) in claimed):
                return Found.HELD
            jobs.append(job)
            wanted += [(job, b) for b in todo]
        if not jobs:
            return Found.CLOSED
        if not wanted:
            # Its rows are all there: what is left is to close cells, once the other blocks are there too.
            finished = self.finisher.finish(unit.group, jobs)
            return Found.WORKED if finished else Found.HELD
        claims = claim_all([(self._folder(job).claims, block_key(b)) for job, b in wanted], self.worker)
        if claims is None:
            return Found.HELD
        held = {(job.cell.id, block_key(b)): one for (job, b), one in zip(wanted, claims, strict=True)}
        for job in jobs:
            if self._folder(job).done:
                # Finished between the look and the claim, which made its folder of claims anew.
                shutil.rmtree(self._folder(job).claims, ignore_errors=True)
        done: set[str] = set()
        try:
            claimed_jobs = {job.cell.id: job for job, _ in wanted if not self._folder(job).done}
            if claimed_jobs:
                self._answer_unit(unit, list(claimed_jobs.values()), held, done)
        except TakenOverError:
            self._say(f"{self.worker.name} was silent for too long: others took over {len(jobs)} of its cells.")
            return Found.HELD
        finally:
            for (cell_id, _), one in held.items():
                one.release(done=cell_id in done)
        self.finisher.finish(unit.group, jobs)
        return Found.WORKED

    def _held(self, job: Job, block: int, generation: int, mark: str) -> bool:
        return mark == HELD and alive(self._folder(job).claims, block_key(block), generation, self.worker)

    def _note_aside(self, cell: Cell, reason: str) -> None:
        self.failed[cell.id] = f"{cell.describe()}: {reason}"
        self.told[reason] += 1
        if self.told[reason] <= TOLD_FAILURES:
            self._say(f"FAILED {cell.id} {self.failed[cell.id]}")

    # -- answering ---------------------------------------------------------------------------------------------------

    def _answer_unit(self, unit: Unit, jobs: Sequence[Job], held: Held, done: set[str]) -> None:
        """Answer a claimed unit; when that fails, its cells one by one, so that one bad cell costs no other.

        `done` collects the ids of the cells whose rows of this unit are all stored.
        """
        try:
            self._answer(unit, jobs, held)
        except (StudyError, AskedToEndError, TakenOverError):
            raise
        except Exception as error:
            if len(jobs) == 1:
                self._failed(jobs[0], error)
                return
            for job in jobs:
                self._answer_unit(unit, [job], held, done)
            return
        done |= {job.cell.id for job in jobs}

    def _alone(self) -> bool:
        return self.run_record.workers == 1 or self.worker.alone(self.run_record.key)

    def _failed(self, job: Job, error: Exception) -> None:
        """Count a failure. One broken machine must not fail a whole study: with others at work, two of them have to see it.

        What the user must mend is not tried again here. Raises it where there is no other cell.
        """
        mendable = isinstance(error, UserError)
        self._raise_if_all(error)
        self.failures[job.cell.id] += 1 + self.run_record.retries if mendable else 1

        def aside(failures: int, workers: int) -> bool:
            return (mendable or failures > self.run_record.retries) and (workers > 1 or self._alone())

        reason = note_failure(self.run_record, self._folder(job), self.worker.name, error, aside)
        if self.run_record.failed_here(self._folder(job)) is not None:
            self._note_aside(job.cell, reason)

    def _no_directions(self, reading: str, error: Exception) -> None:
        """Set the cells aside that need directions or a map which could not be had; the others go on."""
        self._raise_if_all(error)
        for job in self.work.jobs:
            needed = {one.id for one in (*job_readings(job.cell), fitting(job.cell)) if one is not None}
            if not self._closed(job) and reading in needed:
                self._note_aside(job.cell, note_aside(self.run_record, job, self.worker.name, error))

    def _raise_if_all(self, error: Exception) -> None:
        """A command of one cell ends with what the user must mend, as one sentence."""
        if isinstance(error, UserError) and len(self.run_record.cells) == 1:
            raise error

    def _answer(self, unit: Unit, jobs: Sequence[Job], held: Held) -> None:
        items = self.work.items(unit.group)
        cut = blocks(len(items))
        block_of = {items[place].id: block_key(b) for b in unit.blocks for place in cut[b]}
        folders = {job.cell.id: self._folder(job) for job in jobs}
        asked = prompt_hashes(items)

        def mine(job: Job, item: str) -> bool:
            return (job.cell.id, block_of.get(item, "")) in held

        def keep(rows: Sequence[Answered], seconds: float) -> None:
            """Append responses to their cells' folders, as far as this worker still holds them."""
            records: dict[str, list[Record]] = {}
            lost = False
            current: dict[tuple[str, str], bool] = {}
            for job, request, response in rows:
                key = (job.cell.id, block_of[request.id])
                if key not in current:
                    current[key] = held[key].current()
                if not current[key]:
                    lost = True
                    continue
                record = {"id": request.id, "response": response.text, "tokens": response.tokens}
                record |= {"truncated": response.truncated, "seconds": round(seconds / len(rows), 6)}
                record |= {"prompt": asked[request.id], "worker": self.worker.name}
                # Of a first claim it is not told: what is gathered is then the line as it stands.
                later = {"generation": held[key].generation} if held[key].generation else {}
                records.setdefault(job.cell.id, []).append(record | later)
            if records and not self.noted:
                note_work(self.work.store, self.run_record.command, self.device)
                self.noted = True
            for cell_id, lines in records.items():
                folders[cell_id].append(self.worker.name, lines)
            stored = sum(map(len, records.values()))
            self.worker.count(stored)
            if self.bar is not None:
                self.bar.update(stored)
            if lost:
                raise TakenOverError("taken over")
            self._may_go_on()

        try:
            for begun in at_once(lambda job: folders[job.cell.id].begin(job.cell, job.locations()), jobs):
                if isinstance(begun, Exception):
                    raise begun
            target = self.targets.of(jobs[0], self.device, self._loading)
            self.worker.tell(doing=f"answering {counted(len(jobs), 'cell')}: {jobs[0].cell.describe()}")
            answer(target, jobs, folders, items, mine, keep, self._say)
        finally:
            for folder in folders.values():
                folder.close()

    def _loading(self, target: str) -> None:
        self.worker.tell(doing=f"loading {target}")
        self.note(f"loading target {target}")
