"""Reading and writing files so that a kill, a full disk or a damaged file costs no more than itself."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l2v.errors import StudyError, UserError
from l2v.study.digests import UNREADABLE, whole_lines

Record = dict[str, Any]

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EINVAL}
UNWRITABLE |= {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one sentence; what was stored stays."""
    try:
        yield
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise StudyError(
                f"Writing to {path} failed ({error.strerror}); everything stored so far is kept: make room or "
                "permission there, then repeat the command."
            ) from error
        raise


def write_atomically(path: Path, text: str, sync: bool = False) -> None:
    """Replace a file's content in one step: readers see the old or the new one, whole.

    `sync` waits until the disk has it, for what could not be made again after a power failure.
    """
    with disk_errors(path):
        make_folder(path.parent)
        # Machines that share the folder may have processes of the same number.
        part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
            if sync:
                sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder: a file that was synced is lost with its name."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def make_folder(path: Path) -> None:
    """Create a folder and those above it. Raises StudyError where none can be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # Under /proc a folder that is not there cannot be made either, and the system calls that "no such file".
        raise StudyError(f"The folder {path} cannot be created ({error.strerror}); choose another place.") from error


def read_bytes(path: Path) -> bytes:
    """A file's bytes; none where it is missing. Raises UserError for what cannot be read, such as a folder."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); remove it and repeat the command.") from error


def read_lines(path: Path) -> list[Record]:
    """The records of a JSONL file; a torn last one is left out. Missing file: no records. Raises UserError for damaged ones."""
    found = _records(path)
    if None in found:
        raise UserError(f"{path} is damaged; delete it and repeat the command.")
    return [record for record in found if record is not None]


def read_notes(path: Path) -> list[Record]:
    """The records of a JSONL file that nothing is computed from; damaged lines are passed over, and what is no file."""
    try:
        return [record for record in _records(path) if record is not None]
    except UserError:
        return []


def _records(path: Path) -> list[Record | None]:
    found: list[Record | None] = []
    for line in whole_lines(read_bytes(path)):
        try:
            record = json.loads(line)
        except UNREADABLE:
            record = None
        found.append(record if isinstance(record, dict) else None)
    return found


def drop_torn_line(path: Path) -> None:
    """Cut off what a write that failed half-way left at a file's end, before its one writer goes on."""
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("r+b") as file:
                file.truncate(whole)
