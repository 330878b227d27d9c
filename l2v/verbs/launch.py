"""Between Hydra and the study: composing cells from overrides, and showing what came of them."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from l2v.config import BenchmarkConfig, Config
from l2v.errors import UserError
from l2v.paths import local_path
from l2v.study.defaults import PAPER_CONTRAST, miniature, wants_paper_contrast
from l2v.transfer.arms import ARMS
from l2v.verbs.complaints import sentence

if TYPE_CHECKING:
    from l2v.study.cells import Job
    from l2v.study.compute import Outcome

# Root keys that say how a run goes, not what a cell is; the typed config keeps them, Hydra's own node is dropped.
HYDRA_NODE = "hydra"

# The reasons of the cells that failed in this process; Hydra returns nothing of a multirun to its caller.
FAILED: list[str] = []


def checked(cfg: DictConfig) -> DictConfig:
    """A composed config under the schema's types, without Hydra's own node. Raises UserError for what does not fit."""
    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != HYDRA_NODE])
    try:
        # Plain values, so that a key which was forced in with ++ meets the schema too.
        values = OmegaConf.to_container(plain, resolve=False)
        return cast(DictConfig, OmegaConf.merge(OmegaConf.structured(Config), values))
    except OmegaConfBaseException as error:
        raise UserError(sentence(error)) from error


def typed(cfg: DictConfig) -> Config:
    """A composed config as the schema's dataclass. Raises UserError for a value that is missing or does not fit."""
    return _as_object(checked(cfg))


def _as_object(cfg: DictConfig) -> Config:
    try:
        config = cast(Config, OmegaConf.to_object(cfg))
    except MissingMandatoryValue as error:
        raise UserError(f"Settings without a value: {', '.join(sorted(OmegaConf.missing_keys(cfg)))}.") from error
    except OmegaConfBaseException as error:
        raise UserError(sentence(error)) from error
    for part in (config.source, config.target, config.contrast, config.benchmark):
        part.path = local_path(part.path)
    weights = config.method.weights
    weights.base, weights.checkpoint = local_path(weights.base), local_path(weights.checkpoint)
    return config


def unfitting(config: Config) -> bool:
    """Whether a configuration must be composed again with the paper's contrast (l2v/study/defaults.py)."""
    return wants_paper_contrast(config)


def say_contrast(config: Config) -> None:
    """Tell what was taken, where the method reads it."""
    if config.method.name in ARMS:
        reader = config.target if miniature(config.source) else config.source
        print(f"{PAPER_CONTRAST} is taken, the paper's: no contrast was chosen for {reader.name}.", file=sys.stderr)


def compose(overrides: Sequence[str], config_dir: str | None = None) -> Config:
    """The typed configuration of one cell, composed outside of Hydra's command line. Raises UserError for bad settings."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    from l2v.config import register
    from l2v.paths import conf_dir

    register()
    GlobalHydra.instance().clear()
    more = [f"hydra.searchpath=[file://{Path(config_dir).absolute()}]"] if config_dir else []
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            config = typed(hydra_compose("config", overrides=[*more, *overrides]))
            if not wants_paper_contrast(config):
                return config
            say_contrast(config)
            return typed(hydra_compose("config", overrides=[*more, *overrides, PAPER_CONTRAST]))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(sentence(error)) from error


def composed(loader: Any, master: DictConfig, jobs: Sequence[Sequence[str]]) -> list[tuple[Config, DictConfig]]:
    """Every job's config, typed and as composed by Hydra (without Hydra's own node).

    Jobs that differ in values alone (not in which group files they choose) share one composition: a grid of hundreds of
    cells chooses among a few dozen files, and composing is the slow part.
    """
    parser = OverridesParser.create(config_loader=loader)
    is_group = lru_cache(maxsize=None)(lambda key: bool(loader.get_group_options(key)))
    by_files: dict[tuple[str, ...], DictConfig] = {}

    def one(files: tuple[str, ...], values: list[str]) -> tuple[Config, DictConfig]:
        if files not in by_files:
            by_files[files] = checked(loader.load_sweep_config(master, list(files)))
        cfg = by_files[files]
        if values:
            cfg = copy.deepcopy(cfg)
            loader._apply_overrides_to_config(parser.parse_overrides(values), cfg)
        return _as_object(cfg), cfg

    configs, said = [], set()
    for overrides in jobs:
        files = tuple(o for o in overrides if o.startswith(("+", "~")) or is_group(o.split("=")[0].split("@")[0]))
        values = [o for o in overrides if o not in files]
        found = one(files, values)
        if wants_paper_contrast(found[0]):
            if (models := (found[0].source.name, found[0].target.name)) not in said:
                say_contrast(found[0])
            said.add(models)
            found = one((*files, PAPER_CONTRAST), values)
        configs.append(found)
    return configs


def run_configs(configs: Sequence[Config]) -> tuple[list[float | None], list[str | None]]:
    """Run (or, with dry_run, list) the cells; returns value and failure per config, and prints what a person wants to know."""
    from l2v.study.plan import distinct
    from l2v.study.protocol import plan_jobs, run_study
    from l2v.study.workers.executors import Submitted, preview
    from l2v.track.follower import followed

    first = configs[0]
    if first.dry_run:
        jobs = distinct(plan_jobs(configs))
        for job in jobs:
            print(f"{job.cell.id}  {job.cell.describe()}")
        print(estimate(jobs), file=sys.stderr)
        path = str((Path(first.runtime.outputs) / first.study / "runs" / "ID").absolute())
        if (sent := preview(first.executor, path)) is not None:
            print(f"\n{sent}", end="")
        return [None] * len(configs), [None] * len(configs)
    with followed(first.runtime.outputs, first.study, first.tracker):
        try:
            jobs, outcome = run_study(configs)
        except Submitted as message:
            print(message)
            return [None] * len(configs), [None] * len(configs)
        values = [outcome.values.get(job.cell.id) for job in jobs]
        FAILED.extend(outcome.failed.values())
        failed = [outcome.failed.get(job.cell.id) for job in jobs]
        _tell(first, {job.cell.id for job in jobs}, outcome)
    return values, failed


def declared_items(chosen: BenchmarkConfig) -> float | None:
    """How many questions a benchmark has by its YAML; None where neither that nor a limit is said."""
    part = {None: 1.0, "select": chosen.part_share, "report": 1 - chosen.part_share}[chosen.part]
    items = math.inf if chosen.items is None else part * chosen.items
    # Without a declared number of items, a limit stands for it.
    most = min(items, math.inf if chosen.limit is None else chosen.limit)
    return most if math.isfinite(most) else None


def sharding(jobs: Sequence[Job]) -> str:
    """How a dry run's work would be divided among the workers; empty where one process does it all."""
    from l2v.study.plan import grouped, units

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


def _tell(config: Config, cells: set[str], outcome: Outcome) -> None:
    from l2v.report.tables import print_report

    shown = cells if config.protocol.name == "none" else None
    print_report(config.runtime.outputs, config.study, config.scorer[0], outcome.results, shown)
    results = Path(config.runtime.outputs) / config.study / "results.csv"
    print(f"\n{len(cells)} cells of study '{config.study}'; results: {results}")
    by_reason: dict[str, list[str]] = {}
    for cell_id, reason in outcome.failed.items():
        by_reason.setdefault(reason.split(": ", 1)[-1], []).append(cell_id)
    for reason, ids in by_reason.items():
        named = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
        traceback = results.parent / "cells" / ids[0] / "error.txt"
        where = f" (traceback: {traceback})" if traceback.exists() else ""
        print(f"FAILED {len(ids)} cells ({named}): {reason}{where}", file=sys.stderr)
    if config.runtime.page and len(outcome.results):
        _write_page(config, outcome)


def _write_page(config: Config, outcome: Outcome) -> None:
    """The study's page, last; everything is stored already, and a page that cannot be drawn is no failed run."""
    from l2v.report.page.page import write_page

    try:
        path = write_page(config.runtime.outputs, config.study, config.scorer[0], results=outcome.results)
    except Exception as error:
        again = f"`l2v report study={config.study}` draws it again"
        print(f"The page could not be drawn ({type(error).__name__}: {error}); {again}.", file=sys.stderr)
        return
    print(f"page: {path}")
