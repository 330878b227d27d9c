"""Verdicts that were paid for: one append-only JSONL file per judge, shared by any number of processes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from l2v.benchmarks.base import Verdict
from l2v.benchmarks.scoring.judge_settings import PROMPTS, JudgeSettings
from l2v.disk import UNREADABLE, append_line, whole_lines
from l2v.errors import UserError
from l2v.identity import digest

JUDGED = "judge"
# A stored reply is for reading; its end holds the judgement.
MOST_REPLY = 4000


class Cache:
    """The verdicts of one judge (model, endpoint or arguments, decoding, prompt) in `folder`.

    One line: {"key", "correct", "reason", "reply", "model", "endpoint", "prompt", "prompt_hash", "date", "check"}; check: a
    digest of the rest and of the judge, so that neither a damaged line nor another judge's counts.
    """

    def __init__(self, folder: str | Path, settings: JudgeSettings) -> None:
        name = re.sub(r"[^\w.-]+", "_", settings.model)[-60:].strip("_.")
        self.path = Path(folder) / f"{name or 'judge'}-{settings.digest()}.jsonl"
        self._settings = settings

    def read(self) -> dict[str, Verdict]:
        """The verdicts by key; of two for one key the first. A torn or damaged line is passed over: it is judged again."""
        try:
            lines = whole_lines(self.path.read_bytes()) if self.path.exists() else []
        except OSError as error:
            raise UserError(
                f"The judge's cache {self.path} could not be read ({error.strerror}); mend or remove it."
            ) from error
        found: dict[str, Verdict] = {}
        for line in lines:
            entry = _entry(line, self._settings.digest())
            if entry is not None:
                found.setdefault(*entry)
        return found

    def append(self, key: str, verdict: Verdict, reply: str) -> None:
        """Write one verdict, on the disk when this returns. Raises UserError when it cannot be written."""
        line = {
            "key": key,
            "correct": verdict.correct,
            "reason": verdict.reason,
            "reply": reply[-MOST_REPLY:],
            "model": self._settings.model,
            "endpoint": self._settings.endpoint or f"lm_eval:{self._settings.lm_eval}",
            "prompt": self._settings.prompt,
            "prompt_hash": PROMPTS[self._settings.prompt].hash,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            append_line(self.path, line | {"check": digest([self._settings.digest(), line])})
        except OSError as error:
            raise UserError(
                f"Writing to the judge's cache {self.path} failed ({error.strerror}); everything judged so far is kept: "
                "make room or permission there, then repeat the command."
            ) from error


def _entry(line: bytes, judge: str) -> tuple[str, Verdict] | None:
    """A line's key and verdict; None for a damaged one. A version without checks wrote none."""
    try:
        entry = json.loads(line)
        check = entry.pop("check", None)
        if check not in (None, digest([judge, entry])):
            return None
        key, correct, reason = entry["key"], entry["correct"], entry["reason"]
    except (*UNREADABLE, KeyError, TypeError, AttributeError):
        return None
    if not (isinstance(key, str) and isinstance(correct, bool) and isinstance(reason, str)):
        return None
    return key, Verdict(correct, None, JUDGED, reason)
