"""What is on disk: one folder per cell, appended to as rows finish, and never edited.

Every worker appends to a file of its own in the cell's folder; when all rows are there they are gathered into
responses.jsonl, in the order of the items. A kill at any moment loses at most the rows of the batch in flight: a line torn by
it is not read, and DONE is written last, by rename. Claims (claims.py) keep two workers off the same rows.

What is read back is checked first (digests.py). A damaged row of an open cell is computed again; what is damaged of a finished
one is refused by name, with what to do about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from l2v.disk import Record, alone, make_folder, read_bytes, whole_lines, write_atomically
from l2v.errors import UserError
from l2v.paths import plain_name
from l2v.study.cell_folder import CellFolder
from l2v.study.cells import SCHEMA
from l2v.study.digests import DIGEST, content_digest, has_check, open_lines, read_sealed, sealed, sealed_line, tell_once

__all__ = ["CellFolder", "Store"]

TOLD = 36  # studies that are named where another one was asked for


class Store:
    def __init__(self, outputs: str | Path, study: str) -> None:
        if not str(outputs).strip():
            raise UserError("The folder of all studies is empty text; name one (outputs=…, of `l2v run` runtime.outputs=…).")
        self.path = Path(outputs) / study
        self.study = study

    def open(self) -> Store:
        """Create the study or check that it was written under this schema. Raises UserError otherwise."""
        plain_name(self.study)
        stamp = self._stamp()
        if stamp is None:
            self._write_stamp()
        elif stamp.get("schema") != SCHEMA:
            raise UserError(
                f"{self.path} was written under schema {stamp.get('schema')}, this version writes {SCHEMA}; keep that study as "
                "it is and choose another study=… name."
            )
        return self

    def existing(self) -> Store:
        """The study, which must be there. Raises UserError with the studies that are."""
        plain_name(self.study)
        if not (self.path / "study.json").exists():
            if (self.path / "cells").is_dir():
                raise UserError(f"{self.path}/study.json is missing; repeat the command of `l2v run`, which writes it again.")
            there = sorted(p.parent.name for p in self.path.parent.glob("*/study.json"))
            listed = ", ".join(there[:TOLD]) + (f" and {len(there) - TOLD} more" if len(there) > TOLD else "")
            close = get_close_matches(self.study, there, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"There is no study '{self.study}' in {self.path.parent} (there: {listed or 'none'}){hint or '.'}")
        if (cells := self.path / "cells").exists() and not cells.is_dir():
            raise UserError(f"{cells} is no folder; remove it and repeat the command of `l2v run`, which writes it again.")
        return self.open()

    def _stamp(self) -> Record | None:
        """study.json: the schema, the study, the digests of its selection, tables and page; None where it is missing."""
        path = self.path / "study.json"
        if not path.exists():
            return None
        found = read_sealed(path, "delete it and repeat the command of `l2v run`, which writes it again.")
        if not isinstance(found.get("schema"), int) or not isinstance(found.get("reports", {}), dict):
            raise UserError(f"{path} is damaged; delete it and repeat the command of `l2v run`, which writes it again.")
        return found

    def _write_stamp(self, results: str | None = None, reports: Mapping[str, str] | None = None) -> None:
        make_folder(self.path)
        # A run, a score and a report may each know something new of it at once.
        with alone(self.path):
            before: Record = {}
            with suppress(UserError):
                before = self._stamp() or {}
            content: Record = {"schema": SCHEMA, "study": self.study, "results": results or before.get("results")}
            content["reports"] = {**before.get("reports", {}), **(reports or {})}
            with suppress(UserError):
                # One that is missing or damaged is told where it is read.
                content["selection"] = read_sealed(self.path / "selection.json", _SELECT_AGAIN).get(DIGEST)
            write_atomically(self.path / "study.json", json.dumps(sealed(content)), sync=True)

    def selection(self) -> Record:
        """selection.json: which cell of each arm was chosen on which split; empty for a plain sweep.

        Raises UserError where it is damaged, not this study's, or missing though the study chose.
        """
        path, stamp = self.path / "selection.json", self._stamp() or {}
        if not path.exists():
            if stamp.get("selection") is not None:
                raise UserError(f"{path} is missing; {_SELECT_AGAIN}")
            return {}
        found = read_sealed(path, _SELECT_AGAIN)
        if not _is_selection(found):
            raise UserError(f"{path} is damaged; {_SELECT_AGAIN}")
        if DIGEST in stamp and stamp.get("selection") != found.get(DIGEST):
            raise UserError(f"{path} is not the one that this study wrote last; {_SELECT_AGAIN}")
        return found

    def write_selection(self, content: Record) -> None:
        write_atomically(self.path / "selection.json", json.dumps(sealed(content), indent=1), sync=True)
        self._write_stamp()

    def write_results(self, text: str) -> None:
        """Replace results.csv, which is made from what is stored."""
        write_atomically(self.path / "results.csv", text)
        self._write_stamp(content_digest(text.encode()))

    def write_reports(self, texts: Mapping[str, str]) -> Path:
        """Replace tables, or the page, in the report's folder, by name; returns the folder."""
        folder = self.path / "report"
        for name, text in texts.items():
            write_atomically(folder / name, text)
        self._write_stamp(reports={name: content_digest(text.encode()) for name, text in texts.items()})
        return folder

    def check_tables(self) -> None:
        """Raise UserError for a results.csv, or a table or page of the report, that is another one than was written last."""
        if (path := self.path / "results.csv").exists() and self.results() is None:
            raise UserError(f"{path} is not what was written last; `l2v score study={self.study}` writes it again.")
        for name, known in (self._stamp() or {}).get("reports", {}).items():
            path = self.path / "report" / name
            if path.exists() and content_digest(read_bytes(path)) != known:
                again = f"delete it, and `l2v report study={self.study}` writes the page, `l2v run` the tables again"
                raise UserError(f"{path} is not what was written last; {again}.")

    def results(self) -> bytes | None:
        """results.csv as it was written last; None where it is missing or another one now."""
        path, stamp = self.path / "results.csv", self._stamp() or {}
        data = path.read_bytes() if path.is_file() else None
        return None if data is None or stamp.get("results") not in (None, content_digest(data)) else data

    def items_path(self, key: str) -> Path:
        """The file that describes the items of a benchmark."""
        return self.path / "items" / f"{key}.jsonl"

    def write_items(self, key: str, records: list[Record]) -> None:
        """Describe the items of a benchmark: id, problem, subsets, question, gold. A file that says the same is left alone.

        Raises UserError where it tells other golds: verdicts by the one and by the other must not stand in one table.
        """
        text = "".join(sealed_line(record, key) for record in records)
        path = self.items_path(key)
        if path.is_file() and path.read_bytes() == text.encode():
            return
        known: dict[str, Any] = {}
        with suppress(UserError):
            # A damaged one is written again.
            known = {record["id"]: record.get("gold") for record in self.items(key)}
        changed = next((r for r in records if known.get(r["id"], r.get("gold")) != r.get("gold")), None)
        if changed is not None:
            raise UserError(
                f"The gold of item '{changed['id']}' is {changed['gold']!r} now, and {path} says {known[changed['id']]!r}: the "
                "data changed under the same revision; restore them or, where the new golds are meant, delete that file and "
                f"`l2v score study={self.study}` holds every answer against them."
            )
        write_atomically(path, text, sync=True)

    def items(self, key: str) -> list[Record]:
        """The description of a benchmark's items; empty when there is none. Raises UserError for a damaged one."""
        path = self.items_path(key)
        found = open_lines(read_bytes(path), key)
        if not all(record is not None and _is_item(record) for record in found):
            raise UserError(f"{path} is damaged; `l2v score study={self.study}` writes it again.")
        return [record for record in found if record is not None]

    def items_sealed(self, key: str) -> bool:
        """Whether every line that describes an item carries a check."""
        return all(has_check(line) for line in whole_lines(read_bytes(self.items_path(key))))

    def seal(self) -> int:
        """Add digests to study.json and selection.json where they have none; returns to how many."""
        selection = self.selection()
        old = [content for content in (self._stamp() or {}, selection) if content and DIGEST not in content]
        if selection and DIGEST not in selection:
            write_atomically(self.path / "selection.json", json.dumps(sealed(selection), indent=1), sync=True)
        if old:
            self._write_stamp()
        return len(old)

    def folder(self, cell_id: str) -> CellFolder:
        """The folder of a cell, whether it exists or not."""
        return CellFolder(self.path / "cells" / cell_id)

    def finished(self) -> list[CellFolder]:
        """The folders of all finished cells, by id."""
        return [CellFolder(p.parent) for p in sorted((self.path / "cells").glob("*/DONE"))]

    def last_finished(self) -> str:
        """When the last of the finished cells was finished, for a reader; "" for none. One that is damaged is not asked."""
        times: list[datetime] = []
        for folder in self.finished():
            with suppress(UserError, OSError):
                times.append(folder.finished_at())
        return f"{max(times):%Y-%m-%d %H:%M} UTC" if times else ""

    def whole(self) -> list[CellFolder]:
        """The folders of all finished cells, by id. Raises UserError with the first of which not everything is there."""
        folders, old = self.finished(), False
        for folder in folders:
            if reason := folder.damage():
                raise UserError(reason)
            old = old or folder.mark() is None
        if old:
            tell_once(f"Study '{self.study}' was written without digests; `l2v doctor study={self.study}` adds them.")
        return folders


_SELECT_AGAIN = "repeat the command of `l2v run`, which writes it again from what is stored."


def _is_selection(found: Record) -> bool:
    arms, protocol = found.get("arms"), found.get("protocol")
    keys = {"arm", "steered", "chosen_on", "select", "report"}
    return (
        isinstance(protocol, dict)
        and {"select", "report", "choose"} <= set(protocol)
        and isinstance(arms, list)
        and all(isinstance(arm, dict) and keys <= set(arm) for arm in arms)
    )


def _is_item(record: Record) -> bool:
    subsets = record.get("subsets")
    return isinstance(record.get("problem"), str) and isinstance(subsets, list) and all(isinstance(s, str) for s in subsets)
