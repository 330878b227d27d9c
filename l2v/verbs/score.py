"""l2v score: apply scorers to stored responses; no model is loaded.

    l2v score study=demo scorer=official,robust,lenient
    l2v score benchmark=mathvista scorer=official items=testmini.json responses=answers.jsonl out=verdicts.jsonl
    l2v score benchmark=lm_eval benchmark.task=mmmu_val responses=samples_mmmu_val.jsonl

The other forms score a file of responses from anywhere: {id, response or extraction}, {id: text}, {question_id, text},
VLMEvalKit's .xlsx or .tsv, samples_*.jsonl of lm-eval or lmms-eval, MathVista's, MATH-V's and MathVerse's own outputs; the form
found is named. items=… are rows in the benchmark's own fields; they may be left out where the file holds them. Printed are the
benchmark's scores with 95 % intervals, and last one JSON line per scorer: n, correct, accuracy, unresolved (the scorer
abstains: not right), guessed (official took the nearest option); unjudged (by a dead judge: exit code 1); missing (items
without an answer: left out, or wrong with missing=wrong).
Scorers: official (the benchmark's own rule), official_int (MathVista's older rule for integers), robust (strict extraction,
symbolic equality; abstains rather than guesses), lenient (the released code's substring rule), judge (an LLM, judge.*).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.config import JudgeConfig
from l2v.errors import UserError, counted, printable
from l2v.verbs.settings import StudySettings, check_unused, parse

if TYPE_CHECKING:
    from l2v.benchmarks.base import Verdict
    from l2v.study.answer_files import AnsweredFile
    from l2v.study.store import Store


@dataclass
class AnsweredBenchmark:
    """The benchmark that a file answers; all but the name are for lm-eval's tasks alone."""

    name: str | None = None  # of a file: the benchmark it answers
    task: str | None = None  # the lm-eval task, for benchmark=lm_eval
    path: str | None = None  # its data, where they are not on the hub
    include_path: str | None = None  # a folder of task files of one's own
    num_fewshot: int | None = None  # None: the task's own
    split: str = "test"  # for the messages alone: a task names its own


@dataclass(frozen=True)
class ResponseSettings(StudySettings):
    """What `l2v score` and `l2v agreement` look at."""

    scorer: str | None = None  # one name, or several with commas; None: official (agreement: all that are stored)
    benchmark: AnsweredBenchmark = field(default_factory=AnsweredBenchmark)
    items: str | None = None  # of a file: .json or .jsonl with rows in the benchmark's own fields; None: the file holds them
    responses: str | None = None  # the file: .json, .jsonl, .xlsx, .tsv or .csv
    missing: str = "skip"  # items of a file without an answer: skip leaves them out, wrong counts them
    out: str | None = None  # a file for verdicts of a file (score, .jsonl) or disagreements (agreement, .csv)
    judge: JudgeConfig = field(default_factory=JudgeConfig)  # for scorer judge
    progress: bool = True  # show the progress bar

    @property
    def of_file(self) -> bool:
        """Whether a file of responses is meant; else a study."""
        return self.benchmark != AnsweredBenchmark() or self.items is not None or self.responses is not None


SETTINGS = ResponseSettings
# Of a file's benchmark: what only an lm-eval task is opened by.
TASK_SETTINGS = ("task", "path", "include_path", "num_fewshot")


def main(arguments: list[str]) -> int:
    """Score the stored responses of a study again and rebuild its results, or score a file of responses."""
    settings = parse(arguments, ResponseSettings)
    scorers = (settings.scorer or "official").split(",")
    if settings.of_file:
        return _score_file(settings, scorers)
    check_unused(settings, ["missing"], "of a study, whose cells answer every item")
    if settings.out is not None:
        raise UserError("out=… names the file of a file's verdicts; a study's are in its folder (cells/*/scores, results.csv).")
    from l2v.study.results import write_results
    from l2v.study.score import rescore, scoring_of, unjudged
    from l2v.study.store import Store

    store = Store(settings.outputs, settings.study).existing()
    folders = store.finished()
    rescore(folders, scorers, scoring_of(settings.judge, settings.outputs, settings.progress))
    write_results(store)
    gaps = sum(bool(unjudged(folder, scorers)) for folder in folders)
    told = f"{len(folders) - gaps} of {len(folders)} cells" if gaps else f"{len(folders)} cells"
    for line in _scored(store, scorers):
        print(printable(line))
    for name in scorers:
        print(f"table by {name}: `l2v report study={settings.study} scorer={name}`")
    print(f"{told} of study '{settings.study}' scored by {', '.join(scorers)}; results: {store.path / 'results.csv'}")
    return int(gaps > 0)


def _scored(store: Store, scorers: list[str]) -> list[str]:
    """A line per benchmark, scorer and metric: of how many cells, and from which value to which."""
    import pandas as pd

    from l2v.benchmarks.metrics import HEADLINE
    from l2v.report.study import abstaining

    results = pd.read_csv(store.path / "results.csv")
    found = results[results["scorer"].isin(scorers) & results["value"].notna()]
    lines = []
    for (benchmark, scorer, metric), rows in found.groupby(["benchmark", "scorer", "metric"], sort=False):
        low, high = 100 * rows["value"].min(), 100 * rows["value"].max()
        value = f"{low:.1f} %" if low == high else f"{low:.1f} to {high:.1f} %"
        lines.append(f"{benchmark} {scorer} {metric}: {counted(len(rows), 'cell')} of {int(rows['n'].max()):,} items, {value}")
    headlines = found[found["metric"] == HEADLINE]
    return [*lines, *(f"NOTE: {line}" for line in abstaining(headlines, store.study))]


def _score_file(settings: ResponseSettings, scorers: list[str]) -> int:
    """Score a file of responses; the last line is one JSON object (with several scorers, one line each)."""
    from l2v.study.answer_files import summary, table, write_verdicts
    from l2v.study.score import scoring_of

    answered, verdicts = file_verdicts(settings, scorers)
    if settings.out:
        write_verdicts(settings.out, answered, verdicts, scoring_of(settings.judge, settings.outputs, settings.progress))
    print(printable(answered.told))
    for name in scorers:
        print(printable(f"\n{table(answered, name, verdicts[name])}"))
    print()
    for name in scorers:
        print(json.dumps(summary(answered, name, verdicts[name])))
    unjudged = [verdict for name in scorers for verdict in verdicts[name] if verdict.unjudged]
    if unjudged:
        print(printable(f"{len(unjudged)} responses were not judged ({unjudged[0].reason}): no accuracy."), file=sys.stderr)
    return int(bool(unjudged))


def file_verdicts(settings: ResponseSettings, scorers: list[str]) -> tuple[AnsweredFile, dict[str, list[Verdict]]]:
    """A file's responses beside their rows, and each scorer's verdicts. Raises UserError for a file that does not fit."""
    from l2v.benchmarks.catalogue import ANY_TASK, DataRef
    from l2v.config import BenchmarkConfig, taken
    from l2v.study.answer_files import read_answered, score_file
    from l2v.study.jobs import check_scoring
    from l2v.study.score import scoring_of

    named = {"benchmark": settings.benchmark.name, "responses": settings.responses}
    lacking = [key for key, value in named.items() if value is None]
    of_task = [f"benchmark.{name}" for name in TASK_SETTINGS if getattr(settings.benchmark, name) is not None]
    if lacking:
        of_file = f" ({', '.join(of_task)} is of a file's)" if of_task else ""
        raise UserError(f"Scoring a file needs benchmark=… and responses=…; missing: {', '.join(lacking)}{of_file}.")
    if settings.study != StudySettings.study:
        raise UserError(f"study={settings.study} and a file of responses are two things to score; name one of them.")
    benchmark = settings.benchmark
    assert benchmark.name is not None and settings.responses is not None
    if benchmark.name != ANY_TASK and of_task:
        raise UserError(f"{', '.join(of_task)} is for benchmark=lm_eval alone; rows of other benchmarks come by items=….")
    for key, place in (("items", settings.items), ("responses", settings.responses)):
        if place is not None and not Path(place).is_file():
            raise UserError(f"{key}={place} is no file that is there; name one.")
    if benchmark.name == ANY_TASK and settings.items is not None:
        raise UserError("An lm-eval task reads its items itself: leave items=… out, and set benchmark.path=… for other data.")
    source = taken(DataRef, benchmark, id="")
    check_scoring(scorers, BenchmarkConfig(name=benchmark.name), settings.judge)
    answered = read_answered(source, settings.items, settings.responses, settings.missing)
    scoring = scoring_of(settings.judge, settings.outputs, settings.progress)
    return answered, {name: score_file(answered, name, scoring) for name in scorers}
