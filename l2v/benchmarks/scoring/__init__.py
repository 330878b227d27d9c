"""Scorers by name: what makes verdicts of responses. A number always names its scorer.

official: the benchmark's own rule (where a benchmark published two, the other has a name of its own, as official_int).
robust: strict extraction and equality; abstains rather than guesses. lenient: the released code's substring rule, kept to
show what it adds. judge: an LLM, named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from l2v.benchmarks.base import Answer, Benchmark, Question, Verdict
from l2v.errors import UserError, unknown
from l2v.outside import Registry

Doc = dict[str, Any]
Progress = Callable[[int], Any]


@dataclass(frozen=True)
class Scoring:
    """Where and how scorers compute; no part of what they mean. `judge`: settings of the judge (scoring/judge.py)."""

    judge: Any = None
    workers: int | None = None
    progress: bool = False


@dataclass(frozen=True)
class Asked:
    """What a scorer is given: a benchmark's rows with the answers to them; `tick` counts what is judged."""

    scorer: str
    docs: Benchmark
    rows: Sequence[Doc]
    answers: Sequence[Answer]
    scoring: Scoring
    tick: Progress

    def pairs(self) -> list[tuple[Question, str]]:
        """Question and response; a file that holds extractions only is judged by those."""
        both = zip(self.rows, self.answers, strict=True)
        return [(self.docs.question(doc), answer.text or answer.extraction or "") for doc, answer in both]


def _official(asked: Asked) -> Iterator[Verdict]:
    rule = asked.docs.OFFICIAL[asked.scorer]
    for doc, answer in zip(asked.rows, asked.answers, strict=True):
        yield rule(doc, answer)
        asked.tick(1)


def _robust(asked: Asked) -> list[Verdict]:
    from l2v.benchmarks.scoring.robust import robust_many

    return robust_many(asked.pairs(), asked.tick, asked.scoring.workers)


def _lenient(asked: Asked) -> list[Verdict]:
    from l2v.benchmarks.scoring.lenient import lenient

    return [lenient(*pair) for pair in asked.pairs()]


def _judge(asked: Asked) -> list[Verdict]:
    from l2v.benchmarks.scoring.judge import judge_many

    if asked.scoring.judge is None:
        raise UserError("The scorer 'judge' needs a model: set judge.model=… with judge.base_url=… or judge.lm_eval=….")
    return judge_many(asked.pairs(), asked.scoring.judge, asked.tick)


def _outside(asked: Asked) -> Iterator[Verdict]:
    rule = OUTSIDE[asked.scorer]
    for pair in asked.pairs():
        yield rule(*pair)
        asked.tick(1)


# Every scorer of the package, once.
SCORERS: dict[str, Callable[[Asked], Iterable[Verdict]]] = {
    "official": _official,
    "official_int": _official,
    "robust": _robust,
    "lenient": _lenient,
    "judge": _judge,
}
# Those of other distributions: (question, response) -> verdict.
OUTSIDE: Registry[Callable[[Question, str], Verdict]] = Registry("l2v.scorers", Callable, {})  # type: ignore[arg-type]


def check_scorers(names: Sequence[str], docs: Benchmark | None = None) -> None:
    """Raise UserError for a scorer that does not exist, or that this benchmark has not."""
    for name in names:
        if name not in SCORERS and name not in OUTSIDE:
            raise unknown("scorer", name, (*SCORERS, *OUTSIDE))
        if docs is not None and name.startswith("official") and name not in docs.OFFICIAL:
            raise UserError(f"This benchmark has no scorer '{name}'; its published rules are: {', '.join(docs.OFFICIAL)}.")


def recorded(name: str, scoring: Scoring | None) -> dict[str, Any]:
    """What a scorer's figures must carry along: a judge's model, endpoint, prompt and date; where another one comes from."""
    if name not in SCORERS:
        return {"package": OUTSIDE.package(name)}
    if name != "judge" or scoring is None or scoring.judge is None:
        return {}
    from l2v.benchmarks.scoring.judge import summary

    return {"judge": summary(scoring.judge)}


def score_answers(
    name: str, docs: Benchmark, rows: Sequence[Doc], answers: Sequence[Answer], scoring: Scoring | None = None
) -> list[Verdict]:
    """The verdicts of one scorer on `answers` to `rows`, in order.

    Raises UserError for an unknown scorer, one that the benchmark has not, or a judge without settings.
    """
    from tqdm import tqdm

    scoring = scoring or Scoring()
    check_scorers([name], docs)
    with tqdm(
        total=len(rows), desc=f"scoring: {name}", unit="response", disable=not scoring.progress, delay=1.0, leave=False
    ) as bar:  # one for each cell: none stays behind
        return list(SCORERS.get(name, _outside)(Asked(name, docs, rows, answers, scoring, bar.update)))
