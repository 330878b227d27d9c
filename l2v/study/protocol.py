"""From composed configurations to an outcome: a plain sweep, or choosing on one split and reporting on another."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from l2v.benchmarks.base import Item
from l2v.benchmarks.twins import shared
from l2v.config import Config
from l2v.errors import StudyError, UserError, printable
from l2v.study.cells import BenchmarkId, Cell, Job, Refusal
from l2v.study.columns import CHOOSABLE, SETTINGS, Value, preferred, short
from l2v.study.compute import Outcome, failures, run_jobs, unread
from l2v.study.digests import tell_once
from l2v.study.heats import Heat, heats_of, run_heats
from l2v.study.jobs import RACES, for_report
from l2v.study.plan import distinct
from l2v.study.results import ChosenArm, write_results
from l2v.study.score import benchmark_items
from l2v.study.store import Store
from l2v.study.workers.targets import Targets


def run_study(plan: Sequence[Job | Refusal], config: Config) -> Outcome:
    """Run what was planned as one study; the outcome over all phases. config: any of its cells', which agree in what counts."""
    refused = [one for one in plan if isinstance(one, Refusal)]
    for line in failures({f"refused {place}": f"{one.describe()}: {one.reason}" for place, one in enumerate(refused)}):
        print(printable(line), file=sys.stderr)
    jobs = [one for one in plan if isinstance(one, Job)]
    store = Store(config.runtime.outputs, config.study)
    outcome = run_jobs(jobs) if config.protocol.name == "none" else _select_then_report(store, jobs, config)
    outcome.refused = refused
    try:
        outcome.results = write_results(store, {job.cell.id: job.cell for job in jobs})
    except StudyError as error:
        raise StudyError(f"{error} `l2v report study={store.study} page=false` shows what is stored.") from error
    return outcome


def _select_then_report(store: Store, jobs: list[Job], config: Config) -> Outcome:
    """Choose per arm on some items, then tell the chosen cells on others."""
    unread = _unreadable(jobs)
    if not (store.open().path / "selection.json").exists():
        # Until something is chosen, whoever looks at the study shall know that it will be.
        store.write_selection({"protocol": asdict(config.protocol), "arms": []})
    targets = Targets()
    try:
        found = _searched([job for job in jobs if job.cell.id not in unread], config, targets)
        reported = [for_report(job) for job in found.chosen]
        _write_selection(store, config, jobs, found, reported)
        final = run_jobs(reported, targets) if reported else Outcome()
    finally:
        targets.close()
    searched = found.outcome
    return Outcome(searched.values | final.values, searched.failed | unread | final.failed)


def chosen_on(cell: Cell) -> str:
    """The items that a cell's settings were chosen on, in a word or two."""
    part = cell.benchmark.part
    return cell.benchmark.split if part is None else part.describe()


@dataclass(frozen=True)
class ProtocolSearch:
    """What a search found: the outcome of its cells, the chosen one per arm, and each arm's race by the chosen cell."""

    outcome: Outcome
    chosen: list[Job]
    heats: dict[str, Heat] = field(default_factory=dict)


def _searched(jobs: Sequence[Job], config: Config, targets: Targets) -> ProtocolSearch:
    """The best cell of every arm on the items that are chosen on, by all of them or by a race."""
    if config.protocol.name not in RACES:
        outcome = run_jobs(jobs, targets)
        return ProtocolSearch(outcome, choose(jobs, outcome))
    heats = heats_of(list(arms_of(jobs, config.protocol.choose).values()), config.protocol, targets)
    outcome = Outcome(failed=run_heats(heats, targets))
    won = [(heat.winner, heat) for heat in heats if heat.winner is not None]
    return ProtocolSearch(outcome, [job for job, _ in won], {job.cell.id: heat for job, heat in won})


def _write_selection(store: Store, config: Config, jobs: Sequence[Job], found: ProtocolSearch, reported: Sequence[Job]) -> None:
    """selection.json: per arm, its budget (cells searched), the cell that was chosen and the one that reports it."""
    searched, arms = arms_of(jobs, config.protocol.choose), []
    for job, test in zip(found.chosen, reported, strict=True):
        heat = found.heats.get(job.cell.id)
        arms.append(
            ChosenArm(
                arm=job.cell.describe(),
                steered=job.cell.steered,
                chosen_on=chosen_on(job.cell),
                budget=len(searched[arm_key(job.cell, config.protocol.choose)]),
                select=job.cell.id,
                report=test.cell.id,
                problems=len(heat.problems) if heat else 0,
                rounds=heat.rounds if heat else (),
                prior=heat.promises if heat else (),
                cells={one.cell.id: _setting(one.cell, config.protocol.choose) for one in heat.jobs} if heat else {},
            )
        )
    store.write_selection({"protocol": asdict(config.protocol), "arms": [asdict(arm) for arm in arms]})


def _setting(cell: Cell, chosen: Sequence[str]) -> str:
    """What tells a cell from the others of its arm, in words."""
    found = [(CHOOSABLE[name].word, short(CHOOSABLE[name].of(cell))) for name in chosen]
    return ", ".join(f"{word} {value}" for word, value in found if value)


def _unreadable(jobs: Sequence[Job]) -> dict[str, str]:
    """Read the questions to be reported on before hours are spent on the search; the cells whose cannot be read, with why.

    Raises UserError when that is all of them.
    """
    store = Store(jobs[0].config.runtime.outputs, jobs[0].config.study)
    pending = [job for job in jobs if not store.folder(job.cell.id).done]
    found: dict[str, str] = {}
    reasons: dict[BenchmarkId, UserError | None] = {}
    for job in pending:
        reported = for_report(job)
        benchmark = reported.cell.benchmark
        if benchmark not in reasons:
            reasons[benchmark] = unread(partial(check_held_out, job, reported, _questions))
        if (error := reasons[benchmark]) is not None:
            found[job.cell.id] = f"{job.cell.describe()}: {error}"
            if len(found) == len(distinct(jobs)):
                raise error
    return found


def _questions(job: Job) -> list[Item]:
    return benchmark_items(job.cell.benchmark, job.config.benchmark)


def check_held_out(job: Job, reported: Job, questions: Callable[[Job], list[Item]]) -> None:
    """Raise UserError when the questions of either cannot be read, or most of what is reported on is also chosen on.

    Fewer such questions are told: of some benchmarks' splits a few are equal. questions: the items of a job.
    """
    report = questions(reported)
    found = shared(report, questions(job))
    if not found:
        return
    (item, earlier), (here, there) = found[0], (chosen_on(reported.cell), chosen_on(job.cell))
    told = (
        f"{len(found)} of the {len(report)} questions of '{here}', which is reported on, are also in '{there}', which is "
        f"chosen on (first: '{item.id}' as '{earlier.id}')"
    )
    if 2 * len(found) > len(report):
        raise UserError(f"{told}: nothing would be held out; mend the data, or choose and report on other splits.")
    tell_once(f"{told}; for these the figures are not held out.")


def choose(jobs: Sequence[Job], outcome: Outcome) -> list[Job]:
    """The best cell of each arm on the selection split; of equal ones the first by `preference`.

    Arms of which no cell was computed are left out (their failures are in the outcome).
    """
    best: dict[tuple[Value, ...], tuple[tuple[float | str, ...], Job]] = {}
    for job in jobs:
        cell = job.cell
        value = outcome.values.get(cell.id)
        if value is None or math.isnan(value):
            continue
        rank = (-value, *preference(cell))
        arm = arm_key(cell, job.config.protocol.choose)
        if arm not in best or rank < best[arm][0]:
            best[arm] = (rank, job)
    return [job for _, job in best.values()]


def preference(cell: Cell) -> tuple[float | str, ...]:
    """Of cells with equal scores the first by this goes on."""
    return (*preferred(partial(getattr, cell)), cell.id)


def arm_key(cell: Cell, chosen: Sequence[str]) -> tuple[Value, ...]:
    """What two cells of one arm share: every setting but those that are chosen."""
    free = [CHOOSABLE[name] for name in chosen]
    return tuple(column.of(cell) for column in SETTINGS if column not in free)


def arms_of(jobs: Sequence[Job], chosen: Sequence[str]) -> dict[tuple[Value, ...], list[Job]]:
    """The distinct jobs of every arm, by its key, those that are preferred first."""
    arms: dict[tuple[Value, ...], list[Job]] = {}
    for job in sorted(distinct(jobs), key=lambda job: preference(job.cell)):
        arms.setdefault(arm_key(job.cell, chosen), []).append(job)
    return arms
