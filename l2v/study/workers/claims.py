"""Claims: who computes what, decided by files alone, on any file system that machines share.

A claim is a file that only one process can create: KEY.GENERATION. When its holder is gone, the next generation may be
created, again by one process only; a holder that was only asleep sees the newer file and gives way. A claim that is given back
is renamed, to .free or, when its work is done, to .done: a generation is never used twice, and nobody claims what is done. The
folder of claims is removed as a whole when what it guards is finished.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from l2v.disk import UNREADABLE, check_folders, disk_errors, plain_bytes
from l2v.study.workers.heartbeat import Heartbeat, Holder, holder_of

HELD, FREE, DONE = "", ".free", ".done"


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds, or held: ask `current` before anything is written on its strength."""

    folder: Path
    key: str
    generation: int

    @property
    def path(self) -> Path:
        return self.folder / f"{self.key}.{self.generation}"

    def current(self) -> bool:
        """Whether nobody has taken it over, and what it guards is not finished."""
        newer = self.folder / f"{self.key}.{self.generation + 1}"
        return self.path.exists() and not any(os.path.exists(f"{newer}{mark}") for mark in (HELD, FREE, DONE))

    def release(self, done: bool = False) -> None:
        """Give it back, for others to claim at once or, when its work is done, for nobody.

        Harmless when it was taken over or its folder is gone.
        """
        with disk_errors(self.path):
            try:
                self.path.rename(self.path.with_name(self.path.name + (DONE if done else FREE)))
            except FileNotFoundError:
                return


def claim(folder: Path, key: str, worker: Heartbeat) -> Claim | None:
    """Claim `key` in a folder; None when it is done, another live worker holds it, or one won it just now."""
    generation, mark = states(folder).get(key, (-1, FREE))
    if mark == DONE or (mark == HELD and alive(folder, key, generation, worker)):
        return None
    mine = Claim(folder, key, generation + 1)
    with disk_errors(mine.path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(mine.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except (FileExistsError, FileNotFoundError):
            # Another won it, or the folder went: what it guards was finished just now.
            return None
        try:
            with os.fdopen(file, "w") as written:
                written.write(json.dumps(asdict(worker.holder)))
        except OSError:
            # A full disk: nobody shall wait for a claim that names no holder.
            mine.path.unlink(missing_ok=True)
            raise
    if any(os.path.exists(f"{mine.path}{mark}") for mark in (FREE, DONE)):
        # The listing was old: this generation was used and given back.
        mine.path.unlink(missing_ok=True)
        return None
    return mine


def claim_all(wanted: Iterable[tuple[Path, str]], worker: Heartbeat) -> list[Claim] | None:
    """Claim all of these or, when one of them is held elsewhere, none."""
    held: list[Claim] = []
    with ExitStack() as given_back:
        for folder, key in wanted:
            if (got := claim(folder, key, worker)) is None:
                return None
            given_back.callback(got.release)
            held.append(got)
        given_back.pop_all()
    return held


def states(folder: Path) -> dict[str, tuple[int, str]]:
    """The newest generation of every claim in a folder and its mark (HELD, FREE or DONE), by one look at the folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        check_folders(folder)
        raise
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        mark = next((mark for mark in (FREE, DONE) if name.endswith(mark)), HELD)
        key, _, number = name.removesuffix(mark).rpartition(".")
        if number.isdigit() and int(number) > found.get(key, (-1, ""))[0]:
            found[key] = (int(number), mark)
    return found


def alive(folder: Path, key: str, generation: int, worker: Heartbeat) -> bool:
    """Whether the holder of a claim lives, as far as `worker` has seen."""
    path = folder / f"{key}.{generation}"
    return worker.watch.alive(_holder(path), str(path))


def holders(folder: Path) -> list[Holder]:
    """Who holds the newest generation of each claim in a folder, alive or not."""
    held = [(key, generation) for key, (generation, mark) in sorted(states(folder).items()) if mark == HELD]
    found = [_holder(folder / f"{key}.{generation}") for key, generation in held]
    return [holder for holder in found if holder is not None]


def _holder(path: Path) -> Holder | None:
    """Who wrote a claim; None when that cannot be read (its holder died, or lives, between creating and writing it)."""
    try:
        return holder_of(json.loads(plain_bytes(path)))
    except (OSError, *UNREADABLE):
        return None
