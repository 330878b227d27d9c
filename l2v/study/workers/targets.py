"""The target in memory: one at a time, with the weights that a cell asks for; kept from one phase of a command to the next.

So are worker processes with targets of their own, where the executor starts any.

torch is imported with the first target: a command that finds everything finished needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from l2v.errors import UserError
from l2v.study.cells import Job, ModelId
from l2v.study.model_files import check_declared, kind_of_target
from l2v.study.questions import check_planned

if TYPE_CHECKING:
    from l2v.steering.models import LoadedModel


class Crew(Protocol):
    """Worker processes that wait for the next phase."""

    def end(self) -> None:
        """Ask them to end, and see that they do."""


class Targets:
    """Loads the target of a job, and keeps it until another one is asked for. `release` gives its memory back.

    crew: the processes that hold others, which `close` ends too.
    """

    def __init__(self) -> None:
        self.crew: Crew | None = None
        self._key: Any = None
        self._loaded: LoadedModel | None = None
        self._unloadable: dict[Any, UserError] = {}
        self._weights = ExitStack()
        self._weights_of: Any = None

    @property
    def held(self) -> ModelId | None:
        """Which one is in memory."""
        return None if self._loaded is None else self._key[0]

    def of(self, job: Job, device: str, tell: Callable[[str], None]) -> LoadedModel:
        """The job's target with the weights its cell asks for; `tell` is given its name before it is loaded.

        Raises UserError when it cannot be loaded; its other cells need not try, and are told the same.
        """
        weights = job.cell.weights
        key = (job.cell.target, weights.checkpoint if weights else None, device)
        if self._loaded is None or self._key != key:
            self.release()
            if key in self._unloadable:
                raise self._unloadable[key]
            try:
                tell(job.config.target.name)
                self._key, self._loaded = key, _load(job, device)
            except UserError as error:
                self._unloadable[key] = error
                raise
        wanted = (weights, job.cell.source if weights else None)
        if weights is None or wanted != self._weights_of:
            self.restore()
        if weights is not None and self._weights_of is None:
            from l2v.study.workers.weights import changed

            self._weights.enter_context(changed(self._loaded, job))
            self._weights_of = wanted
        return self._loaded

    def restore(self) -> None:
        self._weights_of = None
        self._weights.close()

    def release(self) -> None:
        self.restore()
        if self._loaded is not None:
            from l2v.steering.models import release_memory

            model, self._loaded = ref(self._loaded.model), None
            release_memory(model)

    def dismiss(self) -> None:
        """End the processes that hold others."""
        if self.crew is not None:
            crew, self.crew = self.crew, None
            crew.end()

    def close(self) -> None:
        """Drop the target here, and the processes that hold others."""
        try:
            self.release()
        finally:
            self.dismiss()


def _load(job: Job, device: str) -> LoadedModel:
    from l2v.steering.models import load_model
    from l2v.study.workers.weights import target_spec

    spec, weights = target_spec(job), job.cell.weights
    target = load_model(spec, kind_of_target(job.config.target), device)
    check_planned("target", spec.path, (weights and weights.checkpoint) or job.cell.target)
    check_declared(job.config.target, target.facts)
    return target
