"""A run inside a sweep of Weights & Biases: the agent opened one run, and there the cell's own run is logged, nothing else.

wandb puts whatever a process logs under an agent into that one run, whatever id it asks for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from l2v.config import Config, TrackerConfig
from l2v.errors import UserError
from l2v.track.ledger import Planned
from l2v.track.tracker import TrackedRun


@dataclass(frozen=True)
class AgentRun:
    """The run that an agent opened, and the cell that it is for."""

    run: str
    cell: str

    def of(self, planned: Iterable[Planned]) -> Iterator[Planned]:
        """The cell's run alone, under the agent's id."""
        for one in planned:
            if one.id == self.cell:
                yield replace(one, id=self.run, build=partial(self._built, one))

    def _built(self, planned: Planned) -> TrackedRun:
        return replace(planned.build(), id=self.run)


def agent_id(tracker: TrackerConfig) -> str | None:
    """The id of the run that an agent of a sweep gave to this process; None outside of a sweep."""
    return os.environ.get("WANDB_RUN_ID") if tracker.name == "wandb" and os.environ.get("WANDB_SWEEP_ID") else None


def agent_run(configs: Sequence[Config]) -> AgentRun | None:
    """What an agent asked for; None outside of a sweep.

    Raises UserError for a command of several cells, and for one that would not tell the metric of the documents' sweep.
    """
    run = agent_id(configs[0].tracker)
    if run is None:
        return None
    if "official" not in configs[0].scorer:
        raise UserError(
            "Runs of a W&B sweep are compared by official/accuracy, which this command would not log; add it: "
            f"scorer={','.join(['official', *configs[0].scorer])} (a sweep may name another scorer's metric all the same)."
        )
    from l2v.study.jobs import plan_jobs
    from l2v.study.plan import distinct

    cells = [job.cell.id for job in distinct(plan_jobs(configs))]
    if len(cells) != 1:
        raise UserError(
            f"An agent of a W&B sweep opens one run per command, and this one has {len(cells)} cells: sweep in the sweep's "
            "YAML, or run the grid by itself (without WANDB_SWEEP_ID)."
        )
    return AgentRun(run, cells[0])
