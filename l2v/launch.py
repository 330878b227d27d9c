"""Between Hydra and the study: composing cells from overrides, and showing what came of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from l2v.config import Config
from l2v.errors import UserError
from l2v.paths import PACKAGE

# Root keys that say how a run goes, not what a cell is; the typed config keeps them, Hydra's own node is dropped.
HYDRA_NODE = "hydra"


def register_resolvers() -> None:
    """`${package:mini/data}` is a path inside the installed package, in a checkout and in a wheel."""
    OmegaConf.register_new_resolver("package", lambda inner: str(PACKAGE / inner), replace=True)


def typed(cfg: DictConfig) -> Config:
    """A composed config as the schema's dataclass. Raises UserError for a value that is missing or cannot be resolved."""
    from omegaconf.errors import OmegaConfBaseException

    plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != HYDRA_NODE])
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), plain)
        missing = OmegaConf.missing_keys(merged)
        if missing:
            raise UserError(f"Settings without a value: {', '.join(sorted(missing))}.")
        return cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0]) from error


def composed(loader: Any, master: DictConfig, jobs: Sequence[Sequence[str]]) -> list[tuple[Config, DictConfig]]:
    """Every job's config, typed and as composed by Hydra.

    Jobs that differ in values alone (not in which group files they choose) share one composition: a grid of hundreds of
    cells chooses among a few dozen files, and composing is the slow part.
    """
    cache: dict[tuple[str, ...], DictConfig] = {}
    configs = []
    for overrides in jobs:
        groups, values = _split_overrides(loader, overrides)
        if groups not in cache:
            cache[groups] = loader.load_sweep_config(master, list(groups))
        cfg = cache[groups]
        if values:
            from hydra.core.override_parser.overrides_parser import OverridesParser

            cfg = cfg.copy()
            OmegaConf.set_struct(cfg, True)
            parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(values))
            loader._apply_overrides_to_config(parsed, cfg)
        configs.append((typed(cfg), cfg))
    return configs


def _split_overrides(loader: Any, overrides: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Overrides that choose a file of a config group, and overrides of single values."""
    groups: list[str] = []
    values: list[str] = []
    for override in overrides:
        key = override.lstrip("+~").split("=")[0].split("@")[0]
        chooses = override.startswith(("+", "~")) or bool(loader.get_group_options(key))
        (groups if chooses else values).append(override)
    return tuple(groups), tuple(values)


def run_configs(configs: Sequence[Config]) -> tuple[list[float | None], list[str | None]]:
    """Run (or, with dry_run, list) the cells; returns value and failure per config, and prints what a person wants to know."""
    from l2v.study.protocol import plan_jobs, run_study

    first = configs[0]
    if first.dry_run:
        for job in plan_jobs(configs):
            print(f"{job.cell.id}  {job.cell.describe()}")
        return [None] * len(configs), [None] * len(configs)
    jobs, outcome = run_study(configs)
    values = [outcome.values.get(job.cell.id) for job in jobs]
    failed = [outcome.failed.get(job.cell.id) for job in jobs]
    _tell(first, len({job.cell.id for job in jobs}), outcome.failed)
    return values, failed


def _tell(config: Config, cells: int, failed: dict[str, str]) -> None:
    from l2v.report.tables import print_report

    print_report(config.runtime.outputs, config.study, scorer=config.scorer[0])
    results = Path(config.runtime.outputs) / config.study / "results.csv"
    print(f"\n{cells} cells of study '{config.study}'; results: {results}")
    by_reason: dict[str, list[str]] = {}
    for cell_id, reason in failed.items():
        by_reason.setdefault(reason.split(": ", 1)[-1], []).append(cell_id)
    for reason, ids in by_reason.items():
        shown = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
        traceback = results.parent / "cells" / ids[0] / "error.txt"
        print(f"FAILED {len(ids)} cells ({shown}): {reason} (traceback: {traceback})", file=sys.stderr)
