"""What a run will cost, before it: rows, tokens and hours from declared numbers of items, and how workers would share it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from l2v.config import BenchmarkConfig
from l2v.study.cells import Job, Refusal
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


def summary(plan: Sequence[Job | Refusal]) -> str:
    """Cells by method (rows) and target (columns), each counted once; in brackets those that cannot be computed."""
    targets = list(dict.fromkeys(one.config.target.name for one in plan))
    methods = list(dict.fromkeys(one.config.method.name for one in plan))
    able: dict[tuple[str, str], set[str]] = {}
    unable: Counter[tuple[str, str]] = Counter()
    for one in plan:
        place = (one.config.method.name, one.config.target.name)
        if isinstance(one, Job):
            able.setdefault(place, set()).add(one.cell.id)
        else:
            unable[place] += 1

    def shown(place: tuple[str, str]) -> str:
        cells, lost = len(able.get(place, ())), unable[place]
        return f"{cells} ({lost})" if lost else str(cells or "")

    rows = [["cells", *targets], *([method, *(shown((method, target)) for target in targets)] for method in methods)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True)))
             for row in rows]  # fmt: skip
    if unable:
        lines.append("In brackets: cells that cannot be computed as things are; why stands below.")
    return "\n".join(line.rstrip() for line in lines)


def estimate(jobs: Sequence[Job]) -> str:
    """What a dry run would cost, from declared numbers of items and a stated throughput; of the search, where there is one.

    Prompts are read once for all cells that ask one target the same questions in one style.
    """
    rows, prompts, unknown_items = 0.0, 0.0, set()
    for job in jobs:
        items = declared_items(job.config.benchmark)
        if items is None:
            unknown_items.add(job.config.benchmark.name)
        rows += items or 0
    for group in grouped(jobs):
        prompts += declared_items(group.jobs[0].config.benchmark) or 0
    runtime = jobs[0].config.runtime
    answers, asked = rows * runtime.tokens_per_answer, prompts * runtime.tokens_per_prompt
    text = (
        f"{len(jobs)} cells, about {rows:,.0f} rows: {answers:,.0f} tokens of answers at {runtime.tokens_per_answer:g} each, "
        f"{asked:,.0f} tokens of {prompts:,.0f} prompts at {runtime.tokens_per_prompt:g} each"
    )
    if unknown_items:
        text += f" (without {', '.join(sorted(unknown_items))}: set benchmark.items)"
    if runtime.tokens_per_second:
        reading = runtime.prompt_tokens_per_second or 10 * runtime.tokens_per_second
        hours = (answers / runtime.tokens_per_second + asked / reading) / 3600
        text += f"; {hours:,.1f} GPU-hours at {runtime.tokens_per_second:g} tokens a second, prompts at {reading:g}."
    else:
        text += "; set runtime.tokens_per_second for GPU-hours."
    return text + sharding(jobs)
