"""The files of one cell: its responses, closed by DONE, and what scorers made of them, checked when read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime

from l2v.disk import (
    Record,
    alone,
    disk_errors,
    read_bytes,
    read_lines,
    sync_path,
    while_unchanged,
    whole_lines,
    write_atomically,
)
from l2v.errors import UserError
from l2v.study.cell_responses import CellResponses, digested
from l2v.study.digests import DIGEST, content_digest, is_whole, read_json, sealed, sealed_line

# What a row of metrics.json was made from, the digests of the responses and of the verdicts; and how many rows the file has.
RESPONSES, SCORES, ROWS = "responses_digest", "scores_digest", "rows_digested"
OWN = (DIGEST, RESPONSES, SCORES, ROWS)


class CellFolder(CellResponses):
    def finish(self, stored_twice: int = 0) -> None:
        """Mark the cell as complete; DONE is written last, when the disk has the rest, and only traces are removed after it."""
        with disk_errors(self.path):
            mark = self._gathered or digested((self.path / "responses.jsonl").read_bytes())
            for trace in (self.path / "error.txt", *self.path.glob("failures.*.jsonl")):
                trace.unlink(missing_ok=True)
            verdicts = self.path / "scores"
            for path in (*verdicts.glob("*.jsonl"), verdicts, self.path / "metrics.json", self.path, *self.path.parents[:3]):
                if path.exists():
                    sync_path(path)
        self._write_done(mark | {"at": datetime.now(UTC).isoformat(timespec="seconds")}, stored_twice)
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
        self._write_done(digested(data), int(read_json(done, "").get("stored_twice", 0)))
        for name, metrics in figures.items():
            self.write_scores(name, verdicts[name], metrics)
        for file in (path, done):
            os.utime(file, ns=(finished.st_atime_ns, finished.st_mtime_ns))

    # -- verdicts ----------------------------------------------------------------------------------------------------

    def write_scores(self, scorer: str, verdicts: list[Record], metrics: list[Record]) -> None:
        """Replace one scorer's verdicts and its rows in metrics.json.

        The rows name the digests of what they were made from, and how many they are, whoever's: one that is gone is missed.
        """
        text = "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in verdicts)
        mark = self._gathered or digested(read_bytes(self.path / "responses.jsonl"))
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
