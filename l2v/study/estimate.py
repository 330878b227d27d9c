"""What a run will cost, before it: rows, tokens and hours from declared numbers of items, and how workers would share it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from l2v.config import BenchmarkConfig
from l2v.study.cells import Job
from l2v.study.plan import grouped, units


def declared_items(chosen: BenchmarkConfig) -> float | None:
    """How many questions a benchmark has by its YAML; None where neither that nor a limit is said."""
    part = {None: 1.0, "select": chosen.part_share, "report": 1 - chosen.part_share}[chosen.part]
    items = math.inf if chosen.items is None else part * chosen.items
    # Without a declared number of items, a limit stands for it.
    most = min(items, math.inf if chosen.limit is None else chosen.limit)
    return most if math.isfinite(most) else None


def sharding(jobs: Sequence[Job]) -> str:
    """How a dry run's work would be divided among the workers; empty where one process does it all."""
    config = jobs[0].config
    workers = config.executor.workers
    if config.executor.name == "local" or workers is None:
        return ""
    groups = grouped(jobs)
    items = [round(declared_items(group.jobs[0].config.benchmark) or 1) for group in groups]
    cut = units(groups, items, config.runtime.cells_per_claim, workers)
    return (
        f"\n{len(cut)} units of up to {max(len(unit.jobs) for unit in cut)} cells for {workers} workers, "
        f"{len(cut) / workers:.1f} each."
    )


def estimate(jobs: Sequence[Job]) -> str:
    """What a dry run would cost, from declared numbers of items and a stated throughput; of the search, where there is one."""
    rows, unknown_items = 0.0, set()
    for job in jobs:
        items = declared_items(job.config.benchmark)
        if items is None:
            unknown_items.add(job.config.benchmark.name)
        rows += items or 0
    runtime = jobs[0].config.runtime
    tokens = rows * runtime.tokens_per_answer
    text = (
        f"{len(jobs)} cells, about {rows:,.0f} rows and {tokens:,.0f} tokens at {runtime.tokens_per_answer:g} tokens an answer"
    )
    if unknown_items:
        text += f" (without {', '.join(sorted(unknown_items))}: set benchmark.items)"
    if runtime.tokens_per_second:
        hours = tokens / runtime.tokens_per_second / 3600
        text += f"; {hours:,.1f} GPU-hours at {runtime.tokens_per_second:g} tokens a second."
    else:
        text += "; set runtime.tokens_per_second for GPU-hours."
    return text + sharding(jobs)
