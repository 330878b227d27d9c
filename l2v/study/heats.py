"""The races of a study: every arm runs alone, all of them ask the same blocks, and each look is computed as cells of its own.

A cell's answers to one block of problems are a cell: claimed, stored, finished and found again like any other, by any executor.
A race that was interrupted therefore takes the same decisions again from what is stored, and two that run at once agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from l2v.benchmarks.harness import open_docs
from l2v.benchmarks.parts import ranked_problems
from l2v.config import ProtocolConfig
from l2v.study.cells import BenchmarkId, Job
from l2v.study.compute import run_jobs
from l2v.study.questions import data_ref
from l2v.study.race import Dropped, Look, Promise, Race, Round, Rule, looks
from l2v.study.score import benchmark_items
from l2v.study.store import Store
from l2v.study.workers.targets import Targets


def rule_of(protocol: ProtocolConfig) -> Rule:
    """The rule that a protocol names; `halving` never drops a cell as proven worse."""
    delta = protocol.delta if protocol.name == "race" else 0.0
    return Rule(delta, protocol.margin, protocol.budget, protocol.eta)


def race_questions(job: Job) -> tuple[list[str], dict[str, str]]:
    """What a race asks of a job's cell: its problems in the order in which it asks them, and item -> problem."""
    docs = open_docs(data_ref(job.config.benchmark))
    found = {item.id: docs.problem(item.doc) for item in benchmark_items(job.cell.benchmark, job.config.benchmark)}
    return ranked_problems(found.values(), job.config.benchmark.part_seed), found


@dataclass
class Heat:
    """One arm's race over its jobs, which stand in the order of preference and ask the whole of the part.

    problems: in the order in which it asks them; problem_of: item -> problem.
    promises: of all cells of the arm, where they were ranked beforehand, with those that do not race.
    """

    jobs: list[Job]
    race: Race
    problems: list[str]
    problem_of: dict[str, str]
    promises: tuple[Promise, ...] = ()
    rounds: tuple[Round, ...] = ()
    scores: dict[str, list[float]] = field(default_factory=dict)

    @property
    def winner(self) -> Job | None:
        """The cell that is reported; None when all failed."""
        return self.jobs[self.race.live[0]] if self.race.live else None

    def asked(self) -> list[Job]:
        """The jobs of the next look, in the order of the live cells."""
        return [self.jobs[cell].on(*self.race.block) for cell in self.race.live]

    def take(self, store: Store, scorer: str, failed: set[str]) -> None:
        """Read what the live cells answered, and drop those that cannot win; `failed`: ids of the cells that could not."""
        asked = dict(zip(self.race.live, self.asked(), strict=True))
        self.race.withdraw([cell for cell, job in asked.items() if job.cell.id in failed])
        if len(self.race.live) <= 1:
            return
        first, last = self.race.block
        for cell in self.race.live:
            verdicts = store.folder(asked[cell].cell.id).scores(scorer)
            self.scores.setdefault(self.jobs[cell].cell.id, []).extend(self._by_problem(verdicts, self.problems[first:last]))
        live = [self.jobs[cell].cell.id for cell in self.race.live]
        found = np.array([self.scores[name] for name in live])
        self._note(live, found, self.race.answered(found), last - first)

    def _by_problem(self, verdicts: Sequence[dict[str, object]], problems: Sequence[str]) -> list[float]:
        """The share of right answers of each problem, in this order."""
        right: dict[str, list[bool]] = {problem: [] for problem in problems}
        for verdict in verdicts:
            right[self.problem_of[str(verdict["id"])]].append(verdict["correct"] is True)
        return [float(np.mean(right[problem])) for problem in problems]

    def _note(self, live: Sequence[str], scores: np.ndarray, look: Look, problems: int) -> None:
        dropped = tuple(
            Dropped(self.jobs[drop.cell].cell.id, round(drop.value, 6), float(f"{drop.evidence:.4g}"), drop.why)
            for drop in look.dropped
        )
        values = tuple(round(float(value), 6) for value in scores.mean(axis=1))
        self.rounds = (*self.rounds, Round(look.seen, problems, tuple(live), values, dropped))


def heats_of(arms: Sequence[list[Job]], protocol: ProtocolConfig, targets: Targets) -> list[Heat]:
    """Arms at the start of their races. Raises UserError when their questions, or what ranks them, cannot be read."""
    promised: Sequence[tuple[Promise, ...]] = [()] * len(arms)
    if protocol.prior != "none":
        from l2v.study.prior import ranked

        arms, promised = ranked(arms, protocol.prior == "strict", targets)
    rule, asked, found = rule_of(protocol), dict[BenchmarkId, tuple[list[str], dict[str, str]]](), []
    for jobs, promises in zip(arms, promised, strict=True):
        benchmark = jobs[0].cell.benchmark
        if benchmark not in asked:
            asked[benchmark] = race_questions(jobs[0])
        problems, problem_of = asked[benchmark]
        race = Race(range(len(jobs)), looks(len(problems), rule.budget, rule.eta), rule)
        found.append(Heat(jobs, race, problems, problem_of, promises))
    return found


def run_heats(heats: Sequence[Heat], targets: Targets) -> dict[str, str]:
    """Run all races to their end, look by look, the looks of all arms together; returns the cells that failed, with why."""
    failed: dict[str, str] = {}
    while running := [heat for heat in heats if not heat.race.over]:
        # Arms that have seen less go first: all of them ask the same block, and share its prompts.
        seen = min(heat.race.seen for heat in running)
        running = [heat for heat in running if heat.race.seen == seen]
        config = running[0].jobs[0].config
        store = Store(config.runtime.outputs, config.study)
        outcome = run_jobs([job for heat in running for job in heat.asked()], targets)
        failed |= outcome.failed
        for heat in running:
            heat.take(store, config.scorer[0], set(outcome.failed))
    return failed
