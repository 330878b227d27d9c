"""l2v score: apply scorers to stored responses; no model is loaded.

    l2v score study=demo scorer=official,robust,lenient
    l2v score benchmark=mathvista scorer=official items=testmini.json responses=answers.jsonl out=verdicts.jsonl

The second form scores a file of {id, response or extraction} from anywhere against rows in the benchmark's own fields
(id: id, pid, index or sample_index) and ends with one JSON line per scorer: n, correct, accuracy, unresolved (the scorer
abstains: not right), guessed (official took the nearest option); unjudged (by a dead judge: exit code 1).
Scorers: official (the benchmark's own rule), official_int (MathVista's older rule for integers), robust (strict extraction,
symbolic equality; abstains rather than guesses), lenient (the released code's substring rule), judge (an LLM, judge.*).
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from l2v.config import JudgeConfig
from l2v.errors import UserError
from l2v.verbs.settings import StudySettings, parse

if TYPE_CHECKING:
    from l2v.benchmarks.base import Verdict
    from l2v.study.answer_files import Answered

# What belongs to a file of responses alone.
OF_A_FILE = ("benchmark", "items", "responses")


@dataclass(frozen=True)
class ResponseSettings(StudySettings):
    """What `l2v score` and `l2v agreement` look at."""

    scorer: str | None = None  # one name, or several with commas; None: official (agreement: all that are stored)
    benchmark: str | None = None  # of a file: the benchmark it answers
    items: str | None = None  # of a file: .json or .jsonl with rows in the benchmark's own fields
    responses: str | None = None  # the file: .json or .jsonl with id and response or extraction
    out: str | None = None  # a file for verdicts of a file (score, .jsonl) or disagreements (agreement, .csv)
    judge: JudgeConfig = field(default_factory=JudgeConfig)  # for scorer judge
    progress: bool = True  # show the progress bar

    @property
    def of_file(self) -> bool:
        """Whether a file of responses is meant; else a study."""
        return any(getattr(self, key) is not None for key in OF_A_FILE)


SETTINGS = ResponseSettings


def main(arguments: list[str]) -> int:
    """Score the stored responses of a study again and rebuild its results, or score a file of responses."""
    settings = parse(arguments, ResponseSettings)
    scorers = (settings.scorer or "official").split(",")
    if settings.of_file:
        return _score_file(settings, scorers)
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
    print(f"{told} of study '{settings.study}' scored by {', '.join(scorers)}; results: {store.path / 'results.csv'}")
    return int(gaps > 0)


def _score_file(settings: ResponseSettings, scorers: list[str]) -> int:
    """Score a file of responses; the last line is one JSON object (with several scorers, one line each)."""
    from l2v.study.answer_files import summary, write_verdicts
    from l2v.study.score import scoring_of

    answered, verdicts = file_verdicts(settings, scorers)
    if settings.out:
        write_verdicts(settings.out, answered, verdicts, scoring_of(settings.judge, settings.outputs, settings.progress))
    for name in scorers:
        print(json.dumps(summary(answered, name, verdicts[name])))
    unjudged = [verdict for name in scorers for verdict in verdicts[name] if verdict.unjudged]
    if unjudged:
        print(f"{len(unjudged)} responses were not judged ({unjudged[0].reason}): no accuracy.", file=sys.stderr)
    return int(bool(unjudged))


def file_verdicts(settings: ResponseSettings, scorers: list[str]) -> tuple[Answered, dict[str, list[Verdict]]]:
    """A file's responses beside their rows, and each scorer's verdicts. Raises UserError for a file that does not fit."""
    from l2v.study.answer_files import read_answered, score_file
    from l2v.study.score import scoring_of

    missing = [key for key in OF_A_FILE if getattr(settings, key) is None]
    if missing:
        raise UserError(f"Scoring a file needs benchmark=…, items=… and responses=…; missing: {', '.join(missing)}.")
    if settings.study != StudySettings.study:
        raise UserError(f"study={settings.study} and a file of responses are two things to score; name one of them.")
    assert settings.benchmark is not None and settings.items is not None and settings.responses is not None
    answered = read_answered(settings.benchmark, settings.items, settings.responses)
    scoring = scoring_of(settings.judge, settings.outputs, settings.progress)
    return answered, {name: score_file(answered, name, scoring) for name in scorers}
