"""Claims: who computes what, decided by files alone, on any file system that machines share.

A claim is a file that only one process can create: KEY.GENERATION. When its holder is gone, the next generation may be
created, again by one process only; a holder that was only asleep sees the newer file and gives way. A released claim is
renamed, never removed, so that a generation is never used twice; a folder of claims is removed as a whole when what it
guards is finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from l2v.study.store import disk_errors
from l2v.study.workers import Holder, Worker

FREE = ".free"


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds, or held: ask `current` before anything is written on its strength."""

    folder: Path
    key: str
    generation: int

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / f"{self.key}.{self.generation}"

    def current(self) -> bool:
        """Whether nobody has taken it over, and what it guards is not finished."""
        newer = self.folder / f"{self.key}.{self.generation + 1}"
        return self.path.exists() and not newer.exists() and not newer.with_name(newer.name + FREE).exists()

    def release(self) -> None:
        """Let others have it at once; harmless when it was taken over or its folder is gone."""
        with disk_errors(self.path):
            try:
                self.path.rename(self.path.with_name(self.path.name + FREE))
            except FileNotFoundError:
                return


def claim(folder: Path, key: str, worker: Worker) -> Claim | None:
    """Claim `key` in a folder; None when another live worker holds it, or won it just now."""
    generation, free = _latest(folder, key)
    if generation >= 0 and not free:
        path = folder / f"{key}.{generation}"
        if worker.watch.alive(_holder(path), str(path)):
            return None
    mine = Claim(folder, key, generation + 1)
    with disk_errors(mine.path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(mine.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return None
        with os.fdopen(file, "w") as written:
            written.write(json.dumps(asdict(worker.holder)))
    return mine


def claim_all(wanted: Iterable[tuple[Path, str]], worker: Worker) -> list[Claim] | None:
    """Claim all of these or, when one of them is held elsewhere, none."""
    held: list[Claim] = []
    try:
        for folder, key in wanted:
            got = claim(folder, key, worker)
            if got is None:
                for other in held:
                    other.release()
                return None
            held.append(got)
    except BaseException:
        for other in held:
            other.release()
        raise
    return held


def holders(folder: Path) -> list[Holder]:
    """Who holds the newest generation of each claim in a folder, alive or not."""
    keys = {name.removesuffix(FREE).rpartition(".")[0] for name in _names(folder)}
    found = []
    for key in sorted(keys):
        generation, free = _latest(folder, key)
        holder = None if free or generation < 0 else _holder(folder / f"{key}.{generation}")
        if holder is not None:
            found.append(holder)
    return found


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _latest(folder: Path, key: str) -> tuple[int, bool]:
    """The newest generation of a claim, -1 when there is none, and whether it was released."""
    generation, free = -1, True
    for name in _names(folder):
        stem, _, number = name.removesuffix(FREE).rpartition(".")
        if stem == key and number.isdigit() and int(number) > generation:
            generation, free = int(number), name.endswith(FREE)
    return generation, free


def _holder(path: Path) -> Holder | None:
    """Who wrote a claim; None when that cannot be read (its holder died, or lives, between creating and writing it)."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Holder(**values)
    except (OSError, ValueError, TypeError):
        return None
