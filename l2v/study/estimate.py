"""What a run will cost, before it: rows, tokens and hours from numbers of items, and how workers would share it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from l2v.benchmarks.data import count_rows
from l2v.config import BenchmarkConfig
from l2v.errors import UserError
from l2v.study.cells import Job, Refusal
from l2v.study.heats import rule_of
from l2v.study.jobs import RACES, for_report
from l2v.study.plan import grouped, units
from l2v.study.protocol import arms_of
from l2v.study.race import TAKEN, cost, looks, most


def expected_items(chosen: BenchmarkConfig) -> float | None:
    """How many questions a benchmark has by its local lines or its YAML; None where neither is known and no limit is set."""
    part = {None: 1.0, "select": chosen.part_share, "report": 1 - chosen.part_share}[chosen.part]
    local = _local_rows(chosen.path, chosen.split)
    whole = chosen.items if local is None else local
    items = math.inf if whole is None else part * whole
    # Without a number of items, a limit stands for it.
    most = min(items, math.inf if chosen.limit is None else chosen.limit)
    return most if math.isfinite(most) else None


def _local_rows(path: str | None, split: str) -> int | None:
    """How many rows local data holds; None where there are none, or damaged ones: the run itself says so."""
    try:
        return count_rows(path, split) if path else None
    except UserError:
        return None


def sharding(jobs: Sequence[Job]) -> str:
    """How a dry run's work would be divided among the workers; empty where one process does it all."""
    config = jobs[0].config
    workers = config.executor.workers
    if config.executor.name == "local" or workers is None:
        return ""
    groups = grouped(jobs)
    items = [round(expected_items(group.jobs[0].config.benchmark) or 1) for group in groups]
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
    """What a dry run would cost, from numbers of items and a stated throughput; of the search, where there is one.

    Prompts are read once for all cells that ask one target the same questions in one style. Of a race: what is expected and
    the most, with the report.
    """
    unknown = sorted({job.config.benchmark.name for job in jobs if expected_items(job.config.benchmark) is None})
    without = f" (without {', '.join(unknown)}: set benchmark.items)" if unknown else ""
    prompts = sum(_items(group.jobs[0]) for group in grouped(jobs))
    if jobs[0].config.protocol.name in RACES:
        return _race(jobs, prompts, without)
    rows = sum(map(_items, jobs))
    tokens, hours = _tokens(jobs[0], rows, prompts), _hours(jobs[0], [rows], prompts)
    return f"{len(jobs)} cells, about {rows:,.0f} rows: {tokens}{without}{hours}{sharding(jobs)}"


def _items(job: Job) -> float:
    return expected_items(job.config.benchmark) or 0.0


def _race(jobs: Sequence[Job], prompts: float, without: str) -> str:
    """What races are expected to cost, and the most that they may. The report's rows are in both."""
    protocol = jobs[0].config.protocol
    rule, first = rule_of(protocol), jobs[0]
    arms = arms_of(jobs, protocol.choose)
    sizes = Counter((round(_items(members[0])), len(members)) for members in arms.values())
    plans = [(many, cells, looks(n, rule.budget, rule.eta)) for (n, cells), many in sizes.items() if n]
    expected = sum(many * cost(cells, plan, rule.eta) for many, cells, plan in plans) * (TAKEN if rule.delta > 0 else 1.0)
    limit = sum(many * most(cells, plan, rule) for many, cells, plan in plans)
    told = sum(_items(for_report(members[0])) for members in arms.values())
    asked = prompts + sum(_items(for_report(group.jobs[0])) for group in grouped(jobs))
    return (
        f"{len(jobs)} cells in {len(arms)} arms, the race about {expected:,.0f} rows and at most {limit:,.0f}, of "
        f"{sum(map(_items, jobs)):,.0f} of the full grid; the report {told:,.0f} rows. Expected: "
        f"{_tokens(first, expected + told, asked)}{without}{_hours(first, [expected + told, limit + told], asked)}"
    )


def _tokens(job: Job, rows: float, prompts: float) -> str:
    runtime = job.config.runtime
    return (
        f"{rows * runtime.tokens_per_answer:,.0f} tokens of answers at {runtime.tokens_per_answer:g} each, "
        f"{prompts * runtime.tokens_per_prompt:,.0f} tokens of {prompts:,.0f} prompts at {runtime.tokens_per_prompt:g} each"
    )


def _hours(job: Job, rows: Sequence[float], prompts: float) -> str:
    """GPU-hours for these rows, of which a second number is the most."""
    runtime = job.config.runtime
    if not runtime.tokens_per_second:
        return "; set runtime.tokens_per_second for GPU-hours."
    reading = runtime.prompt_tokens_per_second or 10 * runtime.tokens_per_second
    asked = prompts * runtime.tokens_per_prompt / reading
    told = [f"{(n * runtime.tokens_per_answer / runtime.tokens_per_second + asked) / 3600:,.1f}" for n in rows]
    return f"; {' and at most '.join(told)} GPU-hours at {runtime.tokens_per_second:g} tokens a second, prompts at {reading:g}."
