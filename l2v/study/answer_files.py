"""Responses from anywhere: a file of them (answer_forms.py) against a benchmark's rows, without a study."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import Answer, Benchmark, Verdict
from l2v.benchmarks.catalogue import ANY_TASK, DataRef
from l2v.benchmarks.harness import load_items, open_docs
from l2v.benchmarks.metrics import HEADLINE, Score, mark, scores
from l2v.benchmarks.rows import check_row
from l2v.benchmarks.scoring import Scoring, check_scorers, recorded, score_answers
from l2v.disk import Record, read_records, write_atomically
from l2v.errors import UserError
from l2v.study.answer_forms import ID_FIELDS, Said, parsed, read_answer_file
from l2v.study.statistics.paired import score_interval

SKIP, WRONG = "skip", "wrong"
MISSING = "missing"


@dataclass(frozen=True)
class AnsweredFile:
    """Rows with their answers, in the order of the responses. absent: items without an answer; form: the file's."""

    benchmark: str
    docs: Benchmark
    ids: list[str]
    rows: list[Record]
    answers: list[Answer]
    form: str = ""
    absent: tuple[tuple[str, Record], ...] = ()
    count_absent: bool = False

    @property
    def told(self) -> str:
        """What was read, in a sentence."""
        whole = len(self.ids) + len(self.absent)
        text = f"{self.form}: {len(self.ids):,} of {whole:,} items answered"
        if self.absent:
            text += (
                "; the others count as wrong" if self.count_absent else "; the others are left out (missing=wrong counts them)"
            )
        return text


def read_answered(source: DataRef, items: str | None, responses: str, missing: str = SKIP) -> AnsweredFile:
    """Join responses with a benchmark's rows by id (pid, index, id, sample_index or question_id).

    source: the benchmark. items: its rows, in its own fields; None takes them from the responses' own file, for an lm-eval
    task from its data. missing: whether items without an answer are left out (skip) or wrong.
    Raises UserError for a file that is missing, malformed or of an unknown form, an id that the items lack or that comes
    twice, and responses that plainly belong to other items.
    """
    if missing not in (SKIP, WRONG):
        raise UserError(f"missing={missing}: items without an answer are left out (missing=skip) or wrong (missing=wrong).")
    form, found = read_answer_file(responses)
    docs = open_docs(source)
    if source.name != ANY_TASK and any(set(s.row) == {"doc_id"} for s in found):
        raise UserError(f"'{responses}' ({form}) has no 'doc' beside its doc_id, which only counts; write samples with docs.")
    known = _known(source, docs, items, responses, found)
    ids, rows, answers = [], [], []
    for said in found:
        name = said.id if said.id in known else f"{source.task}:{said.row.get('doc_id', said.id)}"
        if name not in known:
            place = f"'{items}'" if items else f"the data of '{source.task or source.name}'"
            raise UserError(f"'{responses}' answers item '{said.id}', which {place} does not hold.")
        ids.append(name if name == said.id else said.id)
        rows.append(known[name])
        whole = said.unfiltered if source.name == ANY_TASK else None
        answers.append(said.answer if whole is None else Answer(whole))
    _check_fit(docs, rows, found, responses)
    answered = {id(row) for row in rows}
    absent = {id(row): (name, row) for name, row in reversed(known.items()) if id(row) not in answered}
    return AnsweredFile(source.name, docs, ids, rows, answers, form, tuple(reversed(absent.values())), missing == WRONG)


def _known(source: DataRef, docs: Benchmark, items: str | None, responses: str, said: Sequence[Said]) -> dict[str, Record]:
    """The items by every name that a response may call them by."""
    if source.name == ANY_TASK:
        return {item.id: item.doc for item in load_items(source, "direct")}
    if items is not None:
        found = _read_items(docs, items)
    else:
        found = [_item(source.name, s.row) for s in said]
        _check_items(docs, found, [s.row for s in said], responses)
    by_name: dict[str, Record] = {}
    for doc in found:
        for name in _names(docs, doc):
            by_name.setdefault(name, doc)
    return by_name


def _read_items(docs: Benchmark, items: str) -> list[Record]:
    """The rows of a file of items, each checked. Raises UserError for an id that comes twice."""
    found = read_records(Path(items))
    own: set[str] = set()
    for doc in found:
        name = _names(docs, doc)[0]
        with suppress(KeyError):
            # A field that no rule looks at may be missing.
            check_row(docs, doc, f"'{items}'")
        try:
            docs.subsets(doc), docs.problem(doc)
        except KeyError as error:
            raise UserError(f"Item '{name}' of '{items}' has no field {error}, which its scores need; mend it.") from error
        if name in own:
            raise UserError(f"'{items}' holds item '{name}' twice; keep one.")
        own.add(name)
    return found


def _names(docs: Benchmark, doc: Record) -> list[str]:
    """What a response may call this row: the benchmark's own id first."""
    try:
        own = [docs.item_id(doc)]
    except KeyError as error:
        raise UserError(f"A row of the items has no field {error}; give the benchmark's own fields.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"The id of a row of the items is of another kind than ids are ({error}); mend it.") from error
    return own + [str(doc[field]) for field in ID_FIELDS if doc.get(field) is not None]


# VLMEvalKit calls every item's id index, and its tables have no field of fields.
_INDEX = {"mathvista": "pid", "mathvision": "id", "mathverse": "sample_index"}
_FLAT = ("category", "context", "grade", "language", "skills", "source", "split", "task", "subject", "subfield")


def _item(benchmark: str, record: Record) -> Record:
    """A response's record as an item: the benchmark's names for VLMEvalKit's columns, lists for texts, MMStar's options."""
    item = {
        name: parsed(value) if name in ("choices", "options", "metadata", "decoded_image") else value
        for name, value in record.items()
        if value != "" or name == "question"
    }
    if isinstance(places := item.get("precision"), str):
        with suppress(ValueError):
            item["precision"] = float(places)
    if (own := _INDEX.get(benchmark)) and own not in item and "index" in item:
        item[own] = str(item["index"]).removesuffix(".0")
    if benchmark in ("mathvista", "mathverse") and "metadata" not in item:
        item["metadata"] = {name: parsed(record[name]) for name in _FLAT if name in record}
    if benchmark == "mathvision" and "options" not in item:
        item["options"] = item.get("choices") or []
    letters = [letter for letter in "ABCDEF" if record.get(letter) is not None]
    question = str(record.get("question", ""))
    if benchmark == "mmstar" and letters and "Options:" not in question and "(A)" not in question:
        item["question"] = f"{question}\nOptions: " + ", ".join(f"{letter}: {record[letter]}" for letter in letters)
    return item


def _check_items(docs: Benchmark, items: Sequence[Record], held: Sequence[Record], responses: str) -> None:
    """Raise UserError unless a file's records hold the items, too."""
    for item, row in zip(items, held, strict=True):
        try:
            if not docs.gold(item):
                raise KeyError("answer")
            check_row(docs, item, f"'{responses}'")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            lacking = f" (no {error})" if isinstance(error, KeyError) else ""
            raise UserError(
                f"'{responses}' does not hold the benchmark's items beside the responses{lacking}; give items=FILE. Its "
                f"columns are: {', '.join(sorted(map(str, row)))}."
            ) from error


def _check_fit(docs: Benchmark, rows: Sequence[Record], said: Sequence[Said], responses: str) -> None:
    """Raise UserError where a file's own questions show that its ids count otherwise than the items do."""
    pairs = [
        (str(s.row["question"]), str(row["question"]))
        for s, row in zip(said, rows, strict=True)
        if {"question"} <= set(s.row) & set(row)
    ]
    other = sum(" ".join(a.split())[:40] not in " ".join(b.split()) for a, b in pairs)
    if pairs and other > len(pairs) / 2:
        raise UserError(
            f"The ids of '{responses}' do not fit the items: {other} of {len(pairs)} questions are others (its numbers may "
            "start at another one)."
        )


def score_file(answered: AnsweredFile, scorer: str, scoring: Scoring | None = None) -> list[Verdict]:
    """One scorer's verdicts, in the order of the responses."""
    check_scorers([scorer], answered.docs)
    try:
        return score_answers(scorer, answered.docs, answered.rows, answered.answers, scoring)
    except KeyError as error:
        raise UserError(f"A row of the items has no field {error}; give the benchmark's own fields.") from error


def file_scores(answered: AnsweredFile, verdicts: Sequence[Verdict]) -> list[Score]:
    """Every score that the benchmark prints, the headline first; items without an answer are wrong where they count."""
    rows = dict(zip(answered.ids, answered.rows, strict=True))
    by_id = dict(zip(answered.ids, verdicts, strict=True))
    if answered.count_absent:
        rows |= dict(answered.absent)
        by_id |= {name: Verdict(False, None, MISSING, "the file holds no answer") for name, _ in answered.absent}
    return scores(answered.docs, mark(answered.docs, rows, by_id))


def table(answered: AnsweredFile, scorer: str, verdicts: Sequence[Verdict]) -> str:
    """The benchmark's scores with 95 % intervals, a line each, for a reader."""
    found = file_scores(answered, verdicts)
    width = max(len(score.name) for score in found)
    lines = [f"{scorer:{width}}   accuracy % [95 %]       n"]
    for score in found:
        low, high = (100 * bound for bound in score_interval(score))
        lines.append(f"{score.name:{width}}   {100 * score.value:5.1f} [{low:5.1f}, {high:5.1f}]  {len(score.items):6,}")
    return "\n".join(lines)


def summary(answered: AnsweredFile, scorer: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The closing line: counts and the benchmark's headline score; abstentions count as not right."""
    correct = sum(v.correct is True for v in verdicts)
    headline = next(score for score in file_scores(answered, verdicts) if score.name == HEADLINE)
    absent = {"missing": len(answered.absent)} if answered.absent else {}
    return {
        "benchmark": answered.benchmark,
        "scorer": scorer,
        "n": len(verdicts) + (len(answered.absent) if answered.count_absent else 0),
        "correct": correct,
        # What a judge left unjudged is no zero.
        "accuracy": None if any(v.unjudged for v in verdicts) else round(headline.value, 6),
        "unresolved": sum(v.correct is None for v in verdicts),
        **({"unjudged": gaps} if (gaps := sum(v.unjudged for v in verdicts)) else {}),
        "guessed": sum(v.guessed for v in verdicts),
        **absent,
    }


def write_verdicts(
    path: str, answered: AnsweredFile, by_scorer: Mapping[str, Sequence[Verdict]], scoring: Scoring | None = None
) -> None:
    """JSONL: one line per response and scorer, with extraction, rule and reason; a judge's with its model, prompt and date."""
    lines = [
        json.dumps({"id": name, "scorer": scorer, **asdict(verdict), **recorded(scorer, scoring)}, ensure_ascii=False)
        for scorer, verdicts in by_scorer.items()
        for name, verdict in zip(answered.ids, verdicts, strict=True)
    ]
    write_atomically(Path(path), "\n".join(lines) + "\n")
