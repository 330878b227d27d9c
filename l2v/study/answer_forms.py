"""Files of responses in the forms that other toolkits write; each is recognised by its columns and named.

VLMEvalKit's .xlsx and .tsv (index, prediction), lm-eval's and lmms-eval's samples_*.jsonl (doc, filtered_resps), LLaVA's
{question_id, text}, MathVista's released object by pid, MATH-V's jsonl, MathVerse's json (model_answer), {id: text}, and
{id, response or extraction}.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import Answer
from l2v.disk import Record, read_records
from l2v.errors import UserError

ID_FIELDS = ("id", "pid", "index", "sample_index", "question_id")
TABLES = (".xlsx", ".tsv", ".csv")


@dataclass(frozen=True)
class Said:
    """One response. id: as the file calls its item. row: what else the file holds of it, perhaps the item itself.

    unfiltered: the response before a toolkit's own filters, which an lm-eval task applies itself.
    """

    id: str
    answer: Answer
    row: Record
    unfiltered: str | None = None


def read_answer_file(path: str) -> tuple[str, tuple[Said, ...]]:
    """The name of a file's form, and its responses in order.

    Raises UserError for a file that cannot be read, holds none, is of no known form (with the columns it has), or answers an
    item twice (with the ids).
    """
    file = Path(path)
    records = _table(file) if file.suffix.lower() in TABLES else read_records(file)
    if not records:
        raise UserError(f"'{path}' holds no responses.")
    form = _form(file, records)
    said = tuple(_said(form, record, at, path) for at, record in enumerate(_one_filter(form, records)))
    twice = [name for name, count in Counter(s.id for s in said).items() if count > 1]
    if twice:
        told = ", ".join(f"item '{name}'" for name in twice[:10]) + (f" and {len(twice) - 10} more" if len(twice) > 10 else "")
        raise UserError(f"'{path}' answers {told} twice; keep one answer of each.")
    return form, said


def _form(file: Path, records: Sequence[Record]) -> str:
    columns = {name for record in records[:100] for name in record}
    for name, needed in (
        ("samples of lm-eval", {"doc_id", "filtered_resps"}),
        ("samples of lm-eval", {"doc", "filtered_resps"}),
        ("VLMEvalKit's table", {"index", "prediction"}),
        ("MathVerse's outputs", {"sample_index", "model_answer"}),
        ("question_id and text", {"question_id", "text"}),
        ("MATH-V's outputs", {"id", "response", "model_answer"}),
    ):
        if needed <= columns:
            return name
    if not any(name in columns for name in ID_FIELDS):
        raise UserError(
            f"A record of '{file}' has no id; give each one of: {', '.join(ID_FIELDS)}. Its columns are: {_listed(columns)}."
        )
    if columns == {"id", "response"} and file.suffix == ".json":
        return "texts by id"
    if columns & {"response", "prediction", "extraction", "model_answer"}:
        return "MathVista's outputs" if {"response", "extraction"} <= columns else "id and response"
    raise UserError(
        f"The record of item '{_id(records[0])}' in '{file}' has neither 'response' nor 'extraction', nor another form's "
        f"columns (prediction, text, model_answer, filtered_resps). Its columns are: {_listed(columns)}."
    )


def _listed(columns: set[str]) -> str:
    return ", ".join(sorted(map(str, columns))[:30]) or "none"


def _one_filter(form: str, records: Sequence[Record]) -> Sequence[Record]:
    """lm-eval writes a line per item and filter: the first filter's are taken."""
    if not form.startswith("samples"):
        return records
    first = records[0].get("filter")
    return [record for record in records if record.get("filter") == first]


def _id(record: Mapping[str, Any]) -> str | None:
    return next((_name(record[field]) for field in ID_FIELDS if record.get(field) is not None), None)


def _name(value: Any) -> str:
    """A spreadsheet's 3.0 is item 3."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _said(form: str, record: Record, at: int, path: str) -> Said:
    if form.startswith("samples"):
        doc = record.get("doc")
        row = doc if isinstance(doc, dict) else {}
        name = _id(row) or _name(record.get("doc_id", at))
        unfiltered = _first_text(record["resps"]) if record.get("resps") else None
        return Said(name, Answer(_first_text(record["filtered_resps"])), {**row, "doc_id": record.get("doc_id")}, unfiltered)
    name_or_none = _id(record)
    if name_or_none is None:
        raise UserError(f"A record of '{path}' (the {at + 1}th) has no id; give each one of: {', '.join(ID_FIELDS)}.")
    return Said(name_or_none, _answer(form, record, name_or_none, path), record)


def _first_text(found: Any) -> str:
    """The first response of (nested) lists of them."""
    while isinstance(found, (list, tuple)):
        found = found[0] if found else ""
    return _text(found)


def _answer(form: str, record: Record, name: str, path: str) -> Answer:
    fields = ("response", "prediction", *(("text",) if form.startswith("question_id") else ()))
    response = next((record[key] for key in fields if record.get(key) is not None), None)
    extraction = record.get("extraction")
    if record.get("model_answer") is not None:
        # MATH-V's is what was extracted from its response, MathVerse's is the response.
        response, extraction = (
            (response, extraction or record["model_answer"]) if "response" in record else (record["model_answer"], extraction)
        )
    if response is None and extraction is None and not set(record) & {*fields, "extraction", "model_answer"}:
        raise UserError(f"The record of item '{name}' in '{path}' has neither 'response' nor 'extraction'.")
    for key, value in (("response", response), ("extraction", extraction)):
        if isinstance(value, (list, dict)):
            raise UserError(f"The {key} of item '{name}' in '{path}' is a list or an object, no text; give one text an item.")
    return Answer(_text(response), None if extraction is None else _text(extraction))


def _text(value: Any) -> str:
    """A cell as text; an empty one of a table is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else _name(value)


def _table(path: Path) -> list[Record]:
    """The rows of a spreadsheet or of values between tabs or commas, empty cells left out."""
    import pandas as pd

    try:
        if path.suffix.lower() == ".xlsx":
            frame = pd.read_excel(path, dtype=object)
        else:
            separator = "\t" if path.suffix.lower() == ".tsv" else ","
            frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except OSError as error:
        raise UserError(f"The file '{path}' could not be read: {error.strerror or error}.") from error
    except Exception as error:
        raise UserError(f"The file '{path}' is no table that can be read: {' '.join(str(error).split())[:160]}") from error
    return [{str(k): v for k, v in row.items() if not pd.isna(v)} for row in frame.to_dict("records")]


def parsed(value: Any) -> Any:
    """A list or an object that a table holds as text, as itself; other text as it is."""
    if isinstance(value, str) and value[:1] in "[{":
        import ast

        for read in (json.loads, ast.literal_eval):
            try:
                return read(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    return value
