"""The door from Hydra's `--multirun` to l2v's plan. Hydra looks for plug-ins in `hydra_plugins` and nowhere else.

The launcher receives all jobs of a multirun at once, so that cells which share a model are computed together; it returns
each job's headline metric, so that sweepers which optimise it work as well. The sweeper is Hydra's own, plus `blocks`:
an experiment may be the union of several products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from l2v.errors import UserError
from l2v.paths import quoted
from l2v.verbs.sweep import check_size

HERE = "hydra_plugins.l2v_plugins.plugins"
_store = ConfigStore.instance().store
_store(group="hydra/launcher", name="l2v", node={"_target_": f"{HERE}.StudyLauncher"}, provider="l2v")
_store(
    group="hydra/sweeper",
    name="l2v",
    node={"_target_": f"{HERE}.BlockSweeper", "max_batch_size": None, "params": {}},
    provider="l2v",
)


class StudyLauncher(Launcher):
    """Composes every job, hands all of them to the study at once, and returns a value per job.

    typed_words: those of the command line, where the jobs come from blocks; None: nothing tells them apart.
    """

    typed_words: Sequence[str] | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs."""
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs as one study. A failed cell's job carries its error, as Hydra expects."""
        from l2v.verbs.compose import compose_jobs
        from l2v.verbs.run import run_configs

        setup_globals()
        loader = self.hydra_context.config_loader
        configs = compose_jobs(loader, self.config, job_overrides, self.typed_words)
        if initial_job_idx and configs[0].protocol.name != "none":
            name = configs[0].protocol.name
            raise UserError(f"protocol.name={name} compares all cells at once; this sweeper launches them bit by bit.")
        values, failed = run_configs(configs)
        returns = []
        folder, name = str(self.config.hydra.sweep.dir), self.config.hydra.job.name
        for index, overrides in enumerate(job_overrides):
            job = JobReturn(overrides=list(overrides), working_dir=folder, task_name=name)
            job.status = JobStatus.FAILED if failed[index] else JobStatus.COMPLETED
            job.return_value = RuntimeError(failed[index]) if failed[index] else values[index]
            returns.append(job)
        return returns


class BlockSweeper(BasicSweeper):
    """Hydra's sweep grammar, over `blocks` when the experiment has them: the union of one product per block.

    Command-line overrides apply to every block and win over it. `where` adds words to the jobs that hold certain others.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """All jobs of all blocks in one launch; a block's values stand before the command line's."""
        assert self.config is not None and self.launcher is not None and self.hydra_context is not None
        blocks: list[list[str]] = [[*map(quoted, block)] for block in self.config.get("blocks") or [[]]]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        found: dict[tuple[str, ...], None] = {}
        parsed = [parser.parse_overrides([*self._parse_config(), *block, *arguments]) for block in blocks]
        check_size(parsed, int(self.config.runtime.most_cells))
        rules = {rule: list(words) for rule, words in (self.config.get("where") or {}).items()}
        for overrides in parsed:
            for batch in self.split_arguments(overrides, None):
                found.update(dict.fromkeys(with_words(job, rules, arguments) for job in batch))
        jobs = [list(job) for job in found]
        if not jobs:
            raise UserError(f"This sweep is empty: one of {' '.join(arguments)} matches no value.")
        if isinstance(self.launcher, StudyLauncher) and self.config.get("blocks"):
            self.launcher.typed_words = arguments
        # The launcher composes, and so checks, every job before it runs the first one.
        size = self.max_batch_size or len(jobs)
        returns = []
        for first in range(0, len(jobs), size):
            returns.append(self.launcher.launch(jobs[first : first + size], initial_job_idx=first))
        return returns


def with_words(job: Sequence[str], where: Mapping[str, Sequence[str]], arguments: Sequence[str]) -> tuple[str, ...]:
    """A job with the words of every rule whose own words (key=value, with commas between) it holds; the command line wins."""
    held = dict(word.partition("=")[::2] for word in job)
    given = {word.partition("=")[0] for word in arguments}
    more = [
        word
        for rule, words in where.items()
        if all(held.get(key) == value for key, _, value in (part.partition("=") for part in rule.split(",")))
        for word in words
        if word.partition("=")[0] not in given
    ]
    return (*job, *more)
