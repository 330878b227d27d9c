"""From composed configurations to jobs: what all of them share is checked, and every one is resolved by itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from l2v.benchmarks.catalogue import ANY_TASK, open_benchmark
from l2v.benchmarks.scoring import check_scorers
from l2v.benchmarks.scoring.judge_settings import PROMPTS
from l2v.config import BenchmarkConfig, Config, ImpossibleConfig, JudgeConfig
from l2v.errors import StudyError, UserError, unknown
from l2v.identity import held_still
from l2v.study.cells import Job, Refusal
from l2v.study.columns import CHOOSABLE
from l2v.study.questions import part_of
from l2v.study.resolve import resolve
from l2v.study.workers.devices import check_device
from l2v.study.workers.executors import check_executor

RACES = ("race", "halving")
PRIORS = ("none", "order", "strict")
# The parts of a configuration that all cells of one run have in common.
SHARED = ("protocol", "runtime", "tracker", "executor", "judge", "scorer")
PROTOCOLS = ("none", "select_then_test", *RACES)


def plan_jobs(configs: Sequence[Config]) -> list[Job]:
    """The jobs of the first phase, without the configurations that make no cell. Raises UserError as `planned` does."""
    return [job for job in planned(configs) if isinstance(job, Job)]


def planned(configs: Sequence[Config], refuse_all: bool = True) -> list[Job | Refusal]:
    """The first phase, one job per configuration, in order; what is wrong with one of them refuses that one alone.

    Raises UserError for what concerns all of them, and when none makes a cell (not so with refuse_all=False).
    """
    first = configs[0]
    name = first.protocol.name
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    shared = _shared(first)
    _check_runtime(first)
    for config in configs:
        # Configs that share these parts agree in them.
        if all(getattr(config, name) == getattr(first, name) for name in SHARED) and config.study == first.study:
            continue
        _check_runtime(config)
        for key, value in _shared(config).items():
            if value != shared[key]:
                raise UserError(f"All cells of one run must share {key}=…; sweep something else.")
    if name != "none":
        _check_splits(configs)
        configs = [_on(config, config.protocol.select, "select") for config in configs]
    if (tasks := sys.modules.get("l2v.benchmarks.lm_tasks")) is not None:
        tasks.open_task.cache_clear()  # who plans anew, in a notebook, means tasks and their data as they are now
    with held_still():
        found = [_job(config) for config in configs]
    refused = [one for one in found if isinstance(one, Refusal)]
    if refuse_all and len(refused) == len(found):
        raise UserError(" ".join(dict.fromkeys(one.reason for one in refused)))
    return found


def _job(config: Config) -> Job | Refusal:
    """The job of a configuration, or why it makes no cell."""
    if isinstance(config, ImpossibleConfig):
        return Refusal(config, config.why)
    try:
        check_scoring(config.scorer, config.benchmark, config.judge)
        return Job(resolve(config), config)
    except StudyError:
        raise
    except UserError as error:
        return Refusal(config, str(error))


def _check_splits(configs: Sequence[Config]) -> None:
    """Raise UserError unless choosing and reporting happen on different items, and only known settings are chosen."""
    protocol = configs[0].protocol
    if (protocol.select is None) != (protocol.report is None):
        raise UserError("Give both protocol.select and protocol.report, or neither (the split is then divided by problem).")
    if protocol.select is not None and protocol.select == protocol.report:
        raise UserError("protocol.select and protocol.report name the same split; choose on one, report on another.")
    if any(config.benchmark.part is not None for config in configs):
        raise UserError(f"protocol.name={protocol.name} sets benchmark.part itself; leave it out.")
    if any(config.benchmark.part_first is not None or config.benchmark.part_last is not None for config in configs):
        raise UserError("A race sets benchmark.part_first and part_last itself; leave them out.")
    if protocol.prior not in PRIORS:
        raise unknown("protocol.prior", protocol.prior, PRIORS)
    if protocol.name not in RACES and protocol.prior != "none":
        raise UserError(f"protocol.prior={protocol.prior} ranks the cells of a race; add protocol.name=race, or leave it out.")


def _shared(config: Config) -> dict[str, Any]:
    """What all cells of one run have in common, by its full key."""
    parts = {name: asdict(getattr(config, name)) for name in ("protocol", "runtime", "tracker", "executor")}
    nested = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
    return {"study": config.study, "scorer": config.scorer, "judge": asdict(config.judge), **nested}


def _check_runtime(config: Config) -> None:
    """What is no part of a cell and still must make sense before anything is computed."""
    if not config.scorer:
        raise UserError("scorer=[] names no scorer; give at least one.")
    for name in config.protocol.choose:
        if name not in CHOOSABLE:
            raise unknown("protocol.choose", name, sorted({column.name for column in CHOOSABLE.values()}))
    check_device(config.runtime.device)
    check_scorers(config.scorer)
    check_executor(config.executor)


def check_scoring(names: Sequence[str], benchmark: BenchmarkConfig, judge: JudgeConfig) -> None:
    """Raise UserError for scorers that could not score this benchmark, before anything is computed."""
    check_scorers(names, None if benchmark.name == ANY_TASK else open_benchmark(benchmark.name))
    if benchmark.name == ANY_TASK and set(names) - {"official", "judge"}:
        raise UserError(
            "An lm-eval task is scored by its own rule (scorer=official) or by a judge; robust and lenient need the "
            "annotations of a packaged benchmark."
        )
    if "judge" in names and not (judge.model or judge.lm_eval):
        raise UserError("The scorer 'judge' needs a model: set judge.model=… with judge.base_url=…, or judge.lm_eval=….")
    if "judge" in names and judge.prompt not in PROMPTS:
        raise unknown("judge.prompt", judge.prompt, PROMPTS)


def _on(config: Config, split: str | None, part: str) -> Config:
    """The configuration on a split, without one on a part of its own."""
    own = config.benchmark
    return replace(config, benchmark=replace(own, part=part) if split is None else replace(own, split=split))


def for_report(job: Job) -> Job:
    """A job of the selection on the items that are reported."""
    config = _on(job.config, job.config.protocol.report, "report")
    benchmark = replace(job.cell.benchmark, split=config.benchmark.split, part=part_of(config.benchmark))
    return Job(replace(job.cell, benchmark=benchmark), config)
