"""l2v run: one cell, or with --multirun a grid of cells, with Hydra's whole sweep grammar.

    l2v run source=mini_kin target=mini method=l2v intervention.layer=2 intervention.alpha=0.5
    l2v run --multirun intervention.layer=0,1,2,3 intervention.alpha=0.2,0.4 method=l2v,random seed=0
    l2v run --multirun +experiment=demo

Finished rows are stored at once and never computed again: repeat a command to go on where it stopped.
Options: --multirun (-m); --config-dir DIR adds your own configs; --cfg job shows the composed config and stops.
What is wrong with one cell costs that cell alone; a misspelt setting, or a word typed here that has no sense, ends all.
Exit code: 0 all cells done, 1 some failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.config import Config
from l2v.errors import UserError, counted, printable

if TYPE_CHECKING:
    from l2v.report.study import Study
    from l2v.study.cells import Job, Refusal
    from l2v.study.compute import Outcome

PARTS = (
    "study", "source", "target", "processor", "contrast", "neutral", "method", "benchmark", "intervention", "decoding",
    "protocol", "seed",
    "scorer", "judge", "runtime", "executor", "tracker", "experiment", "blocks", "where", "dry_run", "list_cells",
)  # fmt: skip

# The reasons of the cells that failed in this process; Hydra returns nothing of a multirun to its caller.
FAILED: list[str] = []
# Where a multirun's configurations are kept instead of being run (see `composed`).
KEPT: ContextVar[list[Config] | None] = ContextVar("KEPT", default=None)


def main(arguments: list[str]) -> int:
    """Compose, and run what is missing: 0 when all cells are done, 1 when some failed."""
    from l2v.study.provenance import COMMAND
    from l2v.verbs.compose import command_line

    FAILED.clear()
    COMMAND.set(shlex.join(["l2v", "run", *arguments]))
    config = command_line(arguments, PARTS)
    if config is None:
        return int(bool(FAILED))
    if config.blocks:
        raise UserError("This experiment is a grid of cells; run it with `l2v run --multirun …`.")
    run_configs([config])
    # Under a protocol the cell that failed may be another than the configuration's: the one that reports it.
    return int(bool(FAILED))


def composed(words: list[str], verb: str = "run") -> list[Config]:
    """The configurations that `l2v run` would carry out with these words; none when Hydra only printed."""
    from l2v.study.provenance import COMMAND
    from l2v.verbs.compose import command_line

    COMMAND.set(shlex.join(["l2v", verb, *words]))
    configs: list[Config] = []
    token = KEPT.set(configs)
    try:
        config = command_line(words, PARTS)
    finally:
        KEPT.reset(token)
    if config is not None:
        configs.append(config)
        if config.blocks:
            raise UserError(f"This experiment is a grid of cells; use `l2v {verb} --multirun …`.")
    return configs


def run_configs(configs: Sequence[Config]) -> tuple[list[float | None], list[str | None]]:
    """Run (or, with dry_run, list) the cells; returns value and failure per config, and prints what a person wants to know."""
    from l2v.study.jobs import planned
    from l2v.track.trackers import check_names

    if (kept := KEPT.get()) is not None:
        kept.extend(configs)
        return [None] * len(configs), [None] * len(configs)
    first = configs[0]
    check_names(first.tracker)
    plan = planned(configs)
    if first.dry_run:
        return [None] * len(configs), _list(plan, first)
    # What is refused waits for nothing that only work needs, which takes time to load.
    from l2v.track.agent import agent_run
    from l2v.track.follower import followed

    with followed(first.runtime.outputs, first.study, first.tracker, agent_run(configs)) as lost:
        came = _carried_out(plan, first)
    FAILED.extend(lost.values())
    return came


def _carried_out(plan: Sequence[Job | Refusal], config: Config) -> tuple[list[float | None], list[str | None]]:
    from l2v.study.cells import Job
    from l2v.study.protocol import run_study
    from l2v.study.workers.executors import Submitted

    try:
        outcome = run_study(plan, config)
    except Submitted as message:
        print(message)
        return [None] * len(plan), [None] * len(plan)
    found = [job if isinstance(job, Job) else None for job in plan]
    values = [outcome.values.get(job.cell.id) if job else None for job in found]
    FAILED.extend(outcome.failed.values())
    _tell(config, {job.cell.id for job in found if job}, outcome)
    refused = _refused(plan)
    return values, [outcome.failed.get(job.cell.id) if job else why for job, why in zip(found, refused, strict=True)]


def _refused(plan: Sequence[Job | Refusal]) -> list[str | None]:
    """Why each configuration makes no cell, where it does not; named, and remembered for the exit code."""
    from l2v.study.cells import Refusal
    from l2v.study.compute import failures

    reasons = {place: f"{one.describe()}: {one.reason}" for place, one in enumerate(plan) if isinstance(one, Refusal)}
    FAILED.extend(reasons.values())
    for line in failures({str(place): reason for place, reason in reasons.items()}):
        print(printable(line), file=sys.stderr)
    return [reasons.get(place) for place in range(len(plan))]


def _list(plan: Sequence[Job | Refusal], config: Config) -> list[str | None]:
    """How many cells, what they would cost, and on demand which; for an executor that sends files away, the file.

    Returns why there is no cell.
    """
    from l2v.study.cells import Job
    from l2v.study.estimate import estimate, summary
    from l2v.study.model_files import answers_changed
    from l2v.study.plan import distinct
    from l2v.study.workers.executors import preview

    jobs = distinct([one for one in plan if isinstance(one, Job)])
    print(printable(summary(plan)))
    if config.list_cells:
        print()
    for job in jobs if config.list_cells else ():
        print(printable(f"{job.cell.id}  {job.cell.describe()}"))
    print(estimate(jobs), file=sys.stderr)
    targets = {job.config.target.path: job.config.target for job in jobs}
    for told in filter(None, map(answers_changed, targets.values())):
        print(printable(told), file=sys.stderr)
    path = str((Path(config.runtime.outputs) / config.study / "runs" / "ID").absolute())
    if (sent := preview(config.executor, path)) is not None:
        print(f"\n{sent}", end="")
    return _refused(plan)


def _tell(config: Config, cells: set[str], outcome: Outcome) -> None:
    from l2v.report.study import open_study
    from l2v.report.tables import print_report
    from l2v.study.store import Store

    study = open_study(Store(config.runtime.outputs, config.study), results=outcome.results)
    shown = cells if config.protocol.name == "none" else None
    # A judge that judged nothing leaves nothing to show; why is told below.
    judged = not len(outcome.results) or config.scorer[0] in study.scorers
    if judged:
        study = study.seen_by(config.scorer[0])
        print_report(study, shown)
    results = Path(config.runtime.outputs) / config.study / "results.csv"
    print(f"\n{counted(len(cells), 'cell')} of study '{config.study}'; results: {results}")
    by_reason: dict[str, list[str]] = {}
    for cell_id, reason in outcome.failed.items():
        by_reason.setdefault(reason.partition("]: ")[2], []).append(cell_id)
    for reason, ids in by_reason.items():
        named = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
        traceback = results.parent / "cells" / ids[0] / "error.txt"
        known = traceback.is_file() and traceback.read_text(encoding="utf-8").startswith("Traceback")
        where = f" (traceback: {traceback})" if known else ""
        first = outcome.failed[ids[0]].partition("]: ")[0]
        print(printable(f"FAILED {len(ids)} cells ({named}; {first}]): {reason}{where}"), file=sys.stderr)
    if config.runtime.page and judged and len(outcome.results):
        _write_page(study)


def _write_page(study: Study) -> None:
    """The study's page, last; everything is stored already, and a page that cannot be drawn is no failed run."""
    from l2v.report.page.page import write_page

    try:
        path = write_page(study)
    except Exception as error:
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}."
        again = f"`l2v report study={study.name}` draws it again."
        print(printable(f"The page could not be drawn. {why} All else is kept, and {again}"), file=sys.stderr)
        return
    print(f"page: {path}")
