"""The responses of one cell: appended to as rows finish, gathered when all are there, and checked when read."""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from l2v.disk import (
    Record,
    disk_errors,
    drop_torn_line,
    read_bytes,
    while_unchanged,
    whole_lines,
    write_atomically,
)
from l2v.errors import UserError
from l2v.study.cell_config import CellConfig
from l2v.study.digests import (
    DIGEST,
    content_digest,
    has_check,
    is_whole,
    open_line,
    open_lines,
    proven_lines,
    read_json,
    sealed_line,
    tell_once,
    twice,
)

# A response, and the line that it was read from.
Row = tuple[Record, bytes]


class CellResponses(CellConfig):
    """The files of one cell's responses, and DONE, which says what they are."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._parts: dict[str, BinaryIO] = {}
        # What is to stand in DONE of the rows that this object gathered, until it closes the cell: nobody replaces those.
        self._gathered: Record | None = None

    def responses(self) -> list[Record]:
        """The stored responses: of a finished cell in the order of its items, else the sound ones as they finished.

        A row that a worker stored after its claim had been taken over gives way to the one of the later claim. Raises UserError
        for a finished cell whose responses are not what it was finished with.
        """
        if self._gathered is not None or self.done:
            reason, rows = self._finished_rows()
            if reason:
                raise UserError(reason)
            return rows
        return [row for row, _ in self._open_rows()[0].values()]

    def _open_rows(self) -> tuple[dict[str, Row], int]:
        """The rows of an open cell by item, and how many its workers' files hold more than once."""
        # In this order: what another worker gathers meanwhile is in the whole file before its parts are gone.
        parts = [self._sound_rows(part) for part in sorted(self.path.glob("responses.*.jsonl"))]
        found = {row[0]["id"]: row for row in self._sound_rows(self.path / "responses.jsonl")}
        gathered = set(found)
        for row in itertools.chain(*parts):
            item, kept = row[0]["id"], found.get(row[0]["id"])
            if kept is None or (item not in gathered and _generation(row[0]) > _generation(kept[0])):
                found[item] = row
        return found, sum(map(len, parts)) - len({record["id"] for record, _ in itertools.chain(*parts)})

    def _sound_rows(self, path: Path) -> list[Row]:
        """The rows of a file of responses, without damaged ones: those are computed again."""
        data = read_bytes(path)
        rows = open_lines(data, self.id)
        if None in rows:
            tell_once(f"{path} holds {rows.count(None)} damaged rows, which count as not there.")
        return [(row, line) for row, line in zip(rows, whole_lines(data), strict=True) if row is not None]

    def damaged_rows(self) -> int:
        """How many whole lines of an open cell cannot be used."""
        return sum(open_lines(read_bytes(path), self.id).count(None) for path in self.path.glob("responses*.jsonl"))

    def append(self, worker: str, records: Iterable[Record]) -> None:
        """Append a worker's responses, one line each, and hand them to the operating system."""
        path = self.path / f"responses.{worker}.jsonl"
        with disk_errors(path):
            if worker not in self._parts:
                self._parts[worker] = path.open("a+b")
                drop_torn_line(self._parts[worker])
            self._parts[worker].write("".join(sealed_line(r, self.id) for r in records).encode())
            self._parts[worker].flush()

    def close(self) -> None:
        parts, self._parts = self._parts, {}
        for file in parts.values():
            with disk_errors(self.path):
                file.close()

    def gather(self, order: Sequence[str]) -> int:
        """Put all responses into responses.jsonl, in this order of items, and remove the workers' files.

        Returns how many rows were stored more than once: by a worker that slept through the end of its claim.
        """
        found, stored_twice = self._open_rows()
        data = b"".join(self._gathered_line(*found[item]) for item in order)
        self.close()
        write_atomically(self.path / "responses.jsonl", data, sync=True)
        for part in self.path.glob("responses.*.jsonl"):
            part.unlink(missing_ok=True)
        self._gathered = digested(data)
        return stored_twice

    def _gathered_line(self, record: Record, line: bytes) -> bytes:
        """A row's line without the claim that it was computed under, which is of no interest any more."""
        if record.pop("generation", None) is None and has_check(line):
            return line + b"\n"
        return sealed_line(record, self.id).encode()

    def mark(self) -> Record | None:
        """What DONE says: rows, bytes, responses (their digest), at (when, UTC); None for one without digests.

        Raises UserError for one that is damaged.
        """
        return while_unchanged(self.path / "DONE", "mark", self._read_mark)

    def _read_mark(self) -> Record | None:
        mend = f"delete it and repeat the command of `l2v run`, which takes up cell {self.id} again: whole rows are kept."
        found = read_json(self.path / "DONE", mend)
        if not isinstance(found, dict) or not is_whole(found, self.id):
            raise UserError(f"{self.path / 'DONE'} is damaged; {mend}")
        return found if DIGEST in found else None

    def finished_at(self) -> datetime:
        """When the cell was finished, as DONE says; of an older version's, the time of that file, which a copy may change.

        Raises UserError for one that is damaged, OSError where there is none.
        """
        said = (self.mark() or {}).get("at")
        if said is None:
            return datetime.fromtimestamp((self.path / "DONE").stat().st_mtime, UTC)
        return datetime.fromisoformat(said)

    def _finished_rows(self) -> tuple[str, list[Record]]:
        """Why the responses of a finished cell cannot be used, or "", and the sound ones among them."""
        path, mark = self.path / "responses.jsonl", self._gathered or self.mark()
        data = read_bytes(path)
        if mark is not None and content_digest(data) == mark["responses"]:
            return "", proven_lines(data)
        lines = whole_lines(data)
        rows = open_lines(data, self.id)
        sound = [row for row in rows if row is not None]
        if mark is not None:
            broken = "is not what the cell was finished with"
        elif not rows or len(sound) < len(rows) or not data.endswith(b"\n"):
            broken = "is damaged or not whole"
        else:
            doubled = twice(row["id"] for row in rows if row is not None)
            broken = f"holds item '{doubled}' twice" if doubled is not None else ""
        if not broken:
            return "", sound
        if mark is not None:
            # Without a check nobody can say which of the rows is the damaged one.
            sound = [row for line in lines if has_check(line) and (row := open_line(line, self.id)) is not None]
        return (
            f"{path} {broken}; restore it, or delete {self.path / 'DONE'} and repeat the command of `l2v run`: whole rows are "
            "kept, the others are computed again.",
            sound,
        )

    def damage(self) -> str:
        """Why a finished cell is not whole, or "". What can be told without reading is looked at; on suspicion it is read."""
        path, done = self.path / "responses.jsonl", self.path / "DONE"
        try:
            mark, now = self.mark(), path.stat()
            as_long = now.st_size > 0 if mark is None else now.st_size == mark["bytes"]
            if stat.S_ISREG(now.st_mode) and as_long and now.st_mtime_ns <= done.stat().st_mtime_ns:
                return ""
            return self._finished_rows()[0]
        except FileNotFoundError:
            return self._finished_rows()[0] if done.exists() else ""
        except UserError as error:
            return str(error)

    def reopen(self) -> None:
        """Take a finished cell up again that is not whole: its sound rows are kept, the others will be computed."""
        try:
            _, sound = self._finished_rows()
        except UserError:
            # A damaged DONE says nothing of the rows; each of them is checked when it is read.
            sound = [row for row, _ in self._sound_rows(self.path / "responses.jsonl")]
        kept = {row["id"]: row for row in sound}
        write_atomically(self.path / "responses.jsonl", "".join(sealed_line(row, self.id) for row in kept.values()), sync=True)
        with disk_errors(self.path):
            (self.path / "DONE").unlink(missing_ok=True)


def digested(responses: bytes) -> Record:
    """What DONE says of a file of responses."""
    return {"rows": len(whole_lines(responses)), "bytes": len(responses), "responses": content_digest(responses)}


def _generation(record: Record) -> int:
    found = record.get("generation", 0)
    return found if isinstance(found, int) else 0
