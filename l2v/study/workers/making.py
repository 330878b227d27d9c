"""What the cache lacks is made once: by the worker that claims it first, while others make something else or wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from weakref import ref

from l2v.config import Config
from l2v.disk import disk_errors
from l2v.errors import StudyError, UserError
from l2v.steering.models import LoadedModel, load_model, release_memory
from l2v.study.digests import tell_once
from l2v.study.model_files import check_declared, reader
from l2v.study.plan import NeutralReading, Reading
from l2v.study.questions import check_planned
from l2v.study.workers.claims import claim
from l2v.study.workers.heartbeat import Heartbeat

# How soon a worker looks again at what another one makes.
POLL_SECONDS = 0.5

Failed = Callable[[str, Exception], None]
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Task:
    """Something of the cache: where it lies, whether it is there and whole, how it is made, and what it is made from."""

    path: Path
    made: Callable[[], bool]
    make: Callable[[], None]
    needs: tuple[Path, ...] = ()


class Readers:
    """The models that texts are read with, one in memory at a time."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._key: Any = None
        self._loaded: LoadedModel | None = None
        self._unloadable: dict[Any, UserError] = {}

    def get(self, reading: Reading | NeutralReading, config: Config) -> LoadedModel:
        """The model of a reading. Raises UserError for one that cannot be loaded: it is tried once and told to all readings."""
        key, read = (reading.model, reading.role), config.source if reading.role == "source" else config.target
        if key in self._unloadable:
            raise self._unloadable[key]
        if self._key != key or self._loaded is None:
            self.release()
            try:
                self._key, self._loaded = key, load_model(*reader(config, reading.role), self._device)
                check_planned(reading.role, read.path, reading.model)
                check_declared(read, self._loaded.facts)
            except UserError as error:
                self.release()
                self._unloadable[key] = error
                raise
        return self._loaded

    def release(self) -> None:
        if self._loaded is not None:
            model, self._loaded = ref(self._loaded.model), None
            release_memory(model)


def make_missing(
    tasks: Sequence[Task], config: Config, readers: Readers, worker: Heartbeat | None, failed: Failed | None,
    say: Callable[[str], object], doing: str, awaited: str,
) -> None:  # fmt: skip
    """Make what is not made yet; returns when all of it is there, given up, or this worker was asked to end.

    worker: this process, where it already shows signs of life. failed: is told of what fails (its id), and the others go on;
    without it the error is raised. A StudyError always is. doing, awaited: this in words, and what others make.
    """
    waiting = [task for task in tasks if not task.made()]
    if not waiting:
        return
    lost: dict[str, Exception] = {}
    told = False
    with ExitStack() as stack:
        own = Heartbeat(config.runtime.outputs, config.executor.heartbeat, config.executor.expire)
        worker = worker or stack.enter_context(own)
        stack.callback(readers.release)
        worker.tell(doing=doing)
        while waiting := [task for task in waiting if not _attend(task, worker, lost, failed)]:
            readers.release()
            if not told:
                say(f"waiting for {awaited}")
                told = True
            if worker.asked_to_end:
                return
            time.sleep(POLL_SECONDS)


def _attend(task: Task, worker: Heartbeat, lost: dict[str, Exception], failed: Failed | None) -> bool:
    """Make something unless it is there or another one makes it; True when it is made or given up."""
    if task.made():
        return True
    if any(not need.exists() and need.stem not in lost for need in task.needs) or worker.asked_to_end:
        return False
    mine = claim(task.path.parent / "claims", task.path.stem, worker)
    if mine is None:
        return False
    try:
        # Another one may have made it between the look and the claim.
        if not task.made():
            if error := next((lost[need.stem] for need in task.needs if need.stem in lost), None):
                raise error
            with disk_errors(task.path):
                task.make()
    except StudyError:
        raise
    except Exception as failure:
        # One that was silent for too long finds its place taken, and its files gone.
        if not mine.current() or task.made():
            return False
        if failed is None:
            raise
        failed(task.path.stem, failure)
        # Where it was raised, a model may still be in memory.
        lost[task.path.stem] = failure.with_traceback(None)
    finally:
        mine.release()
    return True


def can_be_read(path: Path, load: Callable[[Path], object]) -> bool:
    """Whether a file of the cache is there and whole; that one is damaged is told."""
    if not path.exists():
        return False
    try:
        load(path)
    except UserError as error:
        tell_once(f"{str(error).split(';')[0]}; it is computed again.")
        return False
    return True


def held(path: Path, load: Callable[[Path], Loaded]) -> Loaded:
    """A file of the cache, loaded once. Raises UserError for one that is missing, and what `load` raises."""
    try:
        found: Loaded = _held(load, path, path.stat().st_mtime_ns)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); repeat the command, which computes it again.") from error
    return found


@lru_cache(maxsize=128)
def _held(load: Callable[[Path], Any], path: Path, _written: int) -> Any:
    return load(path)
