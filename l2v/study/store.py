"""What is on disk: one folder per cell, appended to as rows finish, and never edited.

Every worker appends to a file of its own in the cell's folder; when all rows are there they are gathered into
responses.jsonl, in the order of the items. A kill at any moment loses at most the rows of the batch in flight: a line torn by
it is not read, and DONE is written last, by rename. Claims (claims.py) keep two workers off the same rows.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import yaml

from l2v.errors import UserError
from l2v.study.cells import SCHEMA, Cell

# libyaml's parser where it was built in: a study has hundreds of small files.
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Record = dict[str, Any]


UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
UNWRITABLE |= {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one sentence; what was stored stays."""
    try:
        yield
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise UserError(
                f"Writing to {path} failed ({error.strerror}); everything stored so far is kept: make room or "
                "permission there, then repeat the command."
            ) from error
        raise


def write_atomically(path: Path, text: str, sync: bool = False) -> None:
    """Replace a file's content in one step: readers see the old or the new one, whole.

    `sync` waits until the disk has it, for what could not be made again after a power failure.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Machines that share the folder may have processes of the same number.
        part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def read_lines(path: Path) -> list[Record]:
    """The records of a JSONL file; a torn last line is left out. Missing file: no records."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line.strip()]


def _drop_torn_line(path: Path) -> None:
    """Cut off what a write that failed half-way left at a file's end, before its one writer goes on."""
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)


class CellFolder:
    """The files of one cell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: dict[str, IO[str]] = {}

    @property
    def id(self) -> str:
        """The cell's id, which is the folder's name."""
        return self.path.name

    @property
    def claims(self) -> Path:
        """The folder of the claims on this cell's rows."""
        return self.path / "claims"

    @property
    def done(self) -> bool:
        """Whether every response of the cell is stored."""
        return (self.path / "DONE").exists()

    def cell(self) -> Cell:
        """The cell that this folder holds. Raises UserError for another schema or a config that was edited."""
        settings = self.settings()
        if settings.get("schema") != SCHEMA:
            raise UserError(
                f"{self.path} was written under schema {settings.get('schema')}, this version writes {SCHEMA}; keep that study "
                "as it is and choose another study=… name."
            )
        if not isinstance(settings.get("cell"), dict):
            raise UserError(f"{self.path}/config.yaml is missing or damaged; delete that folder and run again.")
        cell = Cell.from_dict(settings["cell"])
        if cell.id != self.id:
            raise UserError(
                f"{self.path}/config.yaml no longer matches its folder's id; it was edited. Restore or delete the folder."
            )
        return cell

    def settings(self) -> Record:
        """config.yaml: schema, the cell, and where its models and data lay."""
        try:
            loaded = yaml.load((self.path / "config.yaml").read_text(encoding="utf-8"), Loader=SafeLoader)
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{self.path}/config.yaml is missing or damaged; delete that folder and run again.") from error
        return loaded if isinstance(loaded, dict) else {}

    def begin(self, cell: Cell, locations: Record) -> None:
        """Write config.yaml unless it is there; several workers may do so at once."""
        if (self.path / "config.yaml").exists():
            self.cell()
        else:
            content = {"schema": SCHEMA, "id": cell.id, "cell": asdict(cell), "locations": locations}
            write_atomically(self.path / "config.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True), sync=True)

    def responses(self) -> list[Record]:
        """The stored responses: of a finished cell in the order of its items, else as they finished.

        A row that a worker stored after its claim had been taken over gives way to the one of the later claim.
        """
        # In this order: what another worker gathers meanwhile is in the whole file before its parts are gone.
        parts = [] if self.done else [read_lines(part) for part in sorted(self.path.glob("responses.*.jsonl"))]
        whole = read_lines(self.path / "responses.jsonl")
        if not parts:
            return whole
        gathered = {record["id"] for record in whole}
        found = {record["id"]: record for record in whole}
        for record in itertools.chain(*parts):
            kept = found.get(record["id"])
            if kept is None or (record["id"] not in gathered and record["generation"] > kept["generation"]):
                found[record["id"]] = record
        return list(found.values())

    def append(self, worker: str, records: Iterable[Record]) -> None:
        """Append a worker's responses, one line each, and hand them to the operating system."""
        path = self.path / f"responses.{worker}.jsonl"
        with disk_errors(path):
            if worker not in self._parts:
                _drop_torn_line(path)
                self._parts[worker] = path.open("a", encoding="utf-8")
            self._parts[worker].write("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
            self._parts[worker].flush()

    def close(self) -> None:
        """Close the files of responses."""
        parts, self._parts = self._parts, {}
        for file in parts.values():
            with disk_errors(self.path):
                file.close()

    def gather(self, order: Sequence[str]) -> int:
        """Put all responses into responses.jsonl, in this order of items, and remove the workers' files.

        Returns how many rows were stored more than once: by a worker that slept through the end of its claim.
        """
        found = {record["id"]: record for record in self.responses()}
        for record in found.values():
            record.pop("generation", None)  # which claim it was computed under: of no interest any more
        lines = [json.dumps(found[item], ensure_ascii=False) + "\n" for item in order]
        self.close()
        parts = sorted(self.path.glob("responses.*.jsonl"))
        stored = [record["id"] for part in parts for record in read_lines(part)]
        write_atomically(self.path / "responses.jsonl", "".join(lines), sync=True)
        for part in parts:
            part.unlink(missing_ok=True)
        return len(stored) - len(set(stored))

    def finish(self, stored_twice: int = 0) -> None:
        """Mark the cell as complete; DONE is written last, and only traces of the work are removed after it."""
        with disk_errors(self.path):
            (self.path / "responses.jsonl").stat()
            for trace in (self.path / "error.txt", *self.path.glob("failures.*.jsonl")):
                trace.unlink(missing_ok=True)
        write_atomically(self.path / "DONE", json.dumps({"stored_twice": stored_twice}), sync=True)
        shutil.rmtree(self.claims, ignore_errors=True)

    def write_scores(self, scorer: str, verdicts: list[Record], metrics: list[Record]) -> None:
        """Replace one scorer's verdicts and its rows in metrics.json."""
        write_atomically(
            self.path / "scores" / f"{scorer}.jsonl",
            "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in verdicts),
        )
        others = [m for m in self.metrics() if m["scorer"] != scorer]
        write_atomically(self.path / "metrics.json", json.dumps(others + metrics, indent=1))

    def scores(self, scorer: str) -> list[Record]:
        """One scorer's verdicts; empty when it was not applied."""
        return read_lines(self.path / "scores" / f"{scorer}.jsonl")

    def metrics(self) -> list[Record]:
        """One row per metric and scorer."""
        path = self.path / "metrics.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


class Store:
    """One study: outputs/<study>."""

    def __init__(self, outputs: str | Path, study: str) -> None:
        self.path = Path(outputs) / study
        self.study = study

    def open(self) -> Store:
        """Create the study or check that it was written under this schema. Raises UserError otherwise."""
        stamp = self.path / "study.json"
        if stamp.exists():
            try:
                schema = json.loads(stamp.read_text(encoding="utf-8"))["schema"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f"{stamp} is damaged; restore it or choose another study=… name.") from error
            if schema != SCHEMA:
                raise UserError(
                    f"{self.path} was written under schema {schema}, this version writes {SCHEMA}; keep that study as it is "
                    "and choose another study=… name."
                )
        else:
            write_atomically(stamp, json.dumps({"schema": SCHEMA, "study": self.study}))
        return self

    def existing(self) -> Store:
        """The study, which must be there. Raises UserError with the studies that are."""
        if not (self.path / "study.json").exists():
            there = sorted(p.parent.name for p in self.path.parent.glob("*/study.json"))
            raise UserError(f"There is no study '{self.study}' in {self.path.parent} (there: {', '.join(there) or 'none'}).")
        return self.open()

    def has_items(self, key: str) -> bool:
        """Whether the items of a benchmark are described in this study."""
        return (self.path / "items" / f"{key}.jsonl").exists()

    def write_items(self, key: str, records: list[Record]) -> None:
        """Describe the items of a benchmark: id, problem, subsets, question, gold."""
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        write_atomically(self.path / "items" / f"{key}.jsonl", lines)

    def items(self, key: str) -> list[Record]:
        """The description of a benchmark's items; empty when there is none."""
        return read_lines(self.path / "items" / f"{key}.jsonl")

    def folder(self, cell_id: str) -> CellFolder:
        """The folder of a cell, whether it exists or not."""
        return CellFolder(self.path / "cells" / cell_id)

    def finished(self) -> list[CellFolder]:
        """The folders of all finished cells, by id."""
        return [CellFolder(p.parent) for p in sorted((self.path / "cells").glob("*/DONE"))]
