"""The files of one cell: appended to as rows finish, gathered when all are there, closed by DONE, and checked when read."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from l2v.disk import (
    Record,
    alone,
    disk_errors,
    drop_torn_line,
    read_bytes,
    read_lines,
    sync_path,
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
    sealed,
    sealed_line,
    tell_once,
    twice,
)

# What a row of metrics.json was made from, the digests of the responses and of the verdicts; and how many rows the file has.
RESPONSES, SCORES, ROWS = "responses_digest", "scores_digest", "rows_digested"
OWN = (DIGEST, RESPONSES, SCORES, ROWS)
# A response, and the line that it was read from.
Row = tuple[Record, bytes]


class CellFolder(CellConfig):
    """The files of one cell."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._parts: dict[str, BinaryIO] = {}
        # What is to stand in DONE of the rows that this object gathered, until it closes the cell: nobody replaces those.
        self._gathered: Record | None = None

    # -- responses ---------------------------------------------------------------------------------------------------

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
        """Close the files of responses."""
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
        self._gathered = _mark(data)
        return stored_twice

    def _gathered_line(self, record: Record, line: bytes) -> bytes:
        """A row's line without the claim that it was computed under, which is of no interest any more."""
        if record.pop("generation", None) is None and has_check(line):
            return line + b"\n"
        return sealed_line(record, self.id).encode()

    def finish(self, stored_twice: int = 0) -> None:
        """Mark the cell as complete; DONE is written last, when the disk has the rest, and only traces are removed after it."""
        with disk_errors(self.path):
            mark = self._gathered or _mark((self.path / "responses.jsonl").read_bytes())
            for trace in (self.path / "error.txt", *self.path.glob("failures.*.jsonl")):
                trace.unlink(missing_ok=True)
            verdicts = self.path / "scores"
            for path in (*verdicts.glob("*.jsonl"), verdicts, self.path / "metrics.json", self.path):
                if path.exists():
                    sync_path(path)
        self._write_done(mark | {"at": datetime.now(timezone.utc).isoformat(timespec="seconds")}, stored_twice)
        self._gathered = None
        shutil.rmtree(self.claims, ignore_errors=True)

    def _write_done(self, mark: Record, stored_twice: int) -> None:
        content = sealed({"stored_twice": stored_twice} | mark, self.id)
        write_atomically(self.path / "DONE", json.dumps(content), sync=True)

    def seal(self) -> None:
        """Add digests to a finished cell of a version without them; what it holds, and when it was finished, stay the same.

        Raises UserError for a cell that is not whole.
        """
        path, done = self.path / "responses.jsonl", self.path / "DONE"
        rows, finished = self.responses(), done.stat()
        figures: dict[str, list[Record]] = {}
        for row in self.metrics():
            figures.setdefault(row["scorer"], []).append(row)
        verdicts = {name: self.scores(name) for name in figures}
        data = "".join(sealed_line(row, self.id) for row in rows).encode()
        write_atomically(path, data, sync=True)
        self._write_done(_mark(data), int(read_json(done, "").get("stored_twice", 0)))
        for name, metrics in figures.items():
            self.write_scores(name, verdicts[name], metrics)
        for file in (path, done):
            os.utime(file, ns=(finished.st_atime_ns, finished.st_mtime_ns))

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
            return datetime.fromtimestamp((self.path / "DONE").stat().st_mtime, timezone.utc)
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

    # -- verdicts ----------------------------------------------------------------------------------------------------

    def write_scores(self, scorer: str, verdicts: list[Record], metrics: list[Record]) -> None:
        """Replace one scorer's verdicts and its rows in metrics.json.

        The rows name the digests of what they were made from, and how many they are, whoever's: one that is gone is missed.
        """
        text = "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in verdicts)
        mark = self._gathered or _mark(read_bytes(self.path / "responses.jsonl"))
        made = {RESPONSES: mark["responses"], SCORES: content_digest(text.encode())}
        with alone(self.path):
            write_atomically(self.path / "scores" / f"{scorer}.jsonl", text)
            others = [row for row in self._metrics_or_none() or [] if row["scorer"] != scorer]
            plain = [{k: v for k, v in row.items() if k != DIGEST} for row in (*others, *(m | made for m in metrics))]
            rows = [sealed(row | {ROWS: len(plain)}, self.id) for row in plain]
            write_atomically(self.path / "metrics.json", json.dumps(rows, indent=1))

    def scores(self, scorer: str) -> list[Record]:
        """One scorer's verdicts; empty when it was not applied. Raises UserError for others than metrics.json tells of."""
        return [json.loads(line) for line in whole_lines(self._verdicts(scorer, self._metrics()))]

    def _verdicts(self, scorer: str, metrics: Sequence[Record]) -> bytes:
        """The file of one scorer's verdicts, checked; empty where the metrics hold no row of it."""
        path = self.path / "scores" / f"{scorer}.jsonl"
        own = [row for row in metrics if row["scorer"] == scorer]
        if not own:
            return b""
        data = read_bytes(path)
        known = {row[SCORES] for row in own if SCORES in row}
        if not data or known - {content_digest(data)}:
            raise UserError(f"{path} is missing, damaged, or not what metrics.json tells of; {self._score_again(scorer)}")
        if not known:
            read_lines(path)  # a version without digests wrote it
        return data

    def metrics(self) -> list[Record]:
        """One row per metric and scorer. Raises UserError where they are damaged or, of a finished cell, missing."""
        return [{k: v for k, v in row.items() if k not in OWN} for row in self._metrics()]

    def scored(self) -> set[str]:
        """The scorers whose verdicts and figures are there and whole; without a judge that did not judge every response."""
        rows = self._metrics_or_none() or []
        names = {row["scorer"] for row in rows} - {row["scorer"] for row in rows if row["value"] is None}
        return {name for name in names if self._has_scores(name, rows)}

    def applied(self) -> list[str]:
        """The scorers that left verdicts, whole or not."""
        return sorted(path.stem for path in (self.path / "scores").glob("*.jsonl"))

    def _has_scores(self, scorer: str, metrics: Sequence[Record]) -> bool:
        try:
            return bool(self._verdicts(scorer, metrics))
        except UserError:
            return False

    def _metrics_or_none(self) -> list[Record] | None:
        try:
            return self._metrics()
        except UserError:
            return None

    def _metrics(self) -> list[Record]:
        """The rows of metrics.json with their digests, checked."""
        path, done = self.path / "metrics.json", self.done
        if not done and not path.exists():
            return []
        mend, rows = self._score_again(), while_unchanged(path, "metrics", self._read_metrics)
        mark = self.mark() if done else None
        if mark is not None and not all(DIGEST in row for row in rows):
            raise UserError(f"{path} has lost digests that the cell was finished with; {mend}")
        if mark is not None and not rows:
            raise UserError(f"{path} holds no row any more; {mend}")
        if mark is not None and any(row.get(RESPONSES, mark["responses"]) != mark["responses"] for row in rows):
            raise UserError(f"{path} was made from other responses than the cell's; {mend}")
        return rows

    def _read_metrics(self) -> list[Record]:
        path, mend = self.path / "metrics.json", self._score_again()
        rows = read_json(path, mend)
        if not isinstance(rows, list) or not all(isinstance(row, dict) and _is_metric(row, self.id) for row in rows):
            raise UserError(f"{path} is damaged; {mend}")
        if any(row.get(ROWS, len(rows)) != len(rows) for row in rows):
            raise UserError(f"{path} holds other rows than were written; {mend}")
        return rows

    def _score_again(self, scorer: str = "") -> str:
        words = f"study={self.path.parents[1].name}" + (f" scorer={scorer}" if scorer else "")
        return f"`l2v score {words}` makes it again."


def _is_metric(row: Record, cell: str) -> bool:
    return is_whole(row, cell) and isinstance(row.get("scorer"), str) and isinstance(row.get("metric"), str) and "value" in row


def _mark(responses: bytes) -> Record:
    """What DONE says of a file of responses."""
    return {"rows": len(whole_lines(responses)), "bytes": len(responses), "responses": content_digest(responses)}


def _generation(record: Record) -> int:
    found = record.get("generation", 0)
    return found if isinstance(found, int) else 0
