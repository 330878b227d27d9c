"""Responses from anywhere: a file of {id, response or extraction} against a benchmark's rows, without a study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import Answer, Benchmark, Verdict
from l2v.benchmarks.catalogue import open_benchmark
from l2v.benchmarks.harness import check_row
from l2v.benchmarks.metrics import HEADLINE, mark, scores
from l2v.benchmarks.scoring import Scoring, check_scorers, recorded, score_answers
from l2v.disk import read_records, write_atomically
from l2v.errors import UserError

ID_FIELDS = ("id", "pid", "index", "sample_index", "question_id")


@dataclass(frozen=True)
class Answered:
    """Rows with their answers, in the order of the responses."""

    benchmark: str
    docs: Benchmark
    ids: list[str]
    rows: list[dict[str, Any]]
    answers: list[Answer]


def read_answered(benchmark: str, items: str, responses: str) -> Answered:
    """Join responses with a benchmark's rows by id (pid, index, id or sample_index).

    A response record holds `response` (or `prediction`, `answer_text`) or `extraction`, or both. Raises UserError for a
    missing or malformed file, an id that the items lack, an id that comes twice, or a record with neither.
    """
    docs = open_benchmark(benchmark)
    by_id: dict[str, dict[str, Any]] = {}
    own_ids: set[str] = set()
    for doc in read_records(Path(items)):
        named = _names(docs, doc)
        with suppress(KeyError):
            # A field that no rule looks at may be missing.
            check_row(docs, doc, f"'{items}'")
        if named[0] in own_ids:
            raise UserError(f"'{items}' holds item '{named[0]}' twice; keep one.")
        own_ids.add(named[0])
        for own in named:
            by_id.setdefault(own, doc)
    ids, rows, answers, seen = [], [], [], set()
    for record in read_records(Path(responses)):
        name: str | None = next((str(record[field]) for field in ID_FIELDS if record.get(field) is not None), None)
        if name is None:
            raise UserError(f"A record of '{responses}' has no id; give each one of: {', '.join(ID_FIELDS)}.")
        if name not in by_id:
            raise UserError(f"'{responses}' answers item '{name}', which '{items}' does not hold.")
        if name in seen:
            raise UserError(f"'{responses}' answers item '{name}' twice; keep one.")
        seen.add(name)
        ids.append(name)
        rows.append(by_id[name])
        answers.append(_answer(record, name, responses))
    if not ids:
        raise UserError(f"'{responses}' holds no responses.")
    return Answered(benchmark, docs, ids, rows, answers)


def _names(docs: Benchmark, doc: dict[str, Any]) -> list[str]:
    """What a response may call this row: the benchmark's own id first."""
    try:
        own = [docs.item_id(doc)]
    except KeyError as error:
        raise UserError(f"A row of the items has no field {error}; give the benchmark's own fields.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"The id of a row of the items is of another kind than ids are ({error}); mend it.") from error
    return own + [str(doc[field]) for field in ID_FIELDS if doc.get(field) is not None]


def _answer(record: dict[str, Any], name: str, path: str) -> Answer:
    response = next((record[key] for key in ("response", "prediction") if record.get(key) is not None), None)
    extraction = record.get("extraction", record.get("model_answer"))
    if response is None and extraction is None and not {"response", "extraction"} & set(record):
        raise UserError(f"The record of item '{name}' in '{path}' has neither 'response' nor 'extraction'.")
    for key, value in (("response", response), ("extraction", extraction)):
        if isinstance(value, (list, dict)):
            raise UserError(f"The {key} of item '{name}' in '{path}' is a list or an object, no text; give one text an item.")
    return Answer("" if response is None else str(response), None if extraction is None else str(extraction))


def score_file(answered: Answered, scorer: str, scoring: Scoring | None = None) -> list[Verdict]:
    """One scorer's verdicts, in the order of the responses."""
    check_scorers([scorer], answered.docs)
    try:
        return score_answers(scorer, answered.docs, answered.rows, answered.answers, scoring)
    except KeyError as error:
        raise UserError(f"A row of the items has no field {error}; give the benchmark's own fields.") from error


def summary(answered: Answered, scorer: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The closing line: counts and the benchmark's headline score; abstentions count as not right."""
    correct = sum(v.correct is True for v in verdicts)
    rows = dict(zip(answered.ids, answered.rows, strict=True))
    marked = mark(answered.docs, rows, dict(zip(answered.ids, verdicts, strict=True)))
    headline = next(score for score in scores(answered.docs, marked) if score.name == HEADLINE)
    return {
        "benchmark": answered.benchmark,
        "scorer": scorer,
        "n": len(verdicts),
        "correct": correct,
        # What a judge left unjudged is no zero.
        "accuracy": None if any(v.unjudged for v in verdicts) else round(headline.value, 6),
        "unresolved": sum(v.correct is None for v in verdicts),
        **({"unjudged": gaps} if (gaps := sum(v.unjudged for v in verdicts)) else {}),
        "guessed": sum(v.guessed for v in verdicts),
    }


def write_verdicts(
    path: str, answered: Answered, by_scorer: Mapping[str, Sequence[Verdict]], scoring: Scoring | None = None
) -> None:
    """JSONL: one line per response and scorer, with extraction, rule and reason; a judge's with its model, prompt and date."""
    lines = [
        json.dumps({"id": name, "scorer": scorer, **asdict(verdict), **recorded(scorer, scoring)}, ensure_ascii=False)
        for scorer, verdicts in by_scorer.items()
        for name, verdict in zip(answered.ids, verdicts, strict=True)
    ]
    write_atomically(Path(path), "\n".join(lines) + "\n")
