"""Reading and writing files so that a kill, a full disk or a damaged file costs no more than itself."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import yaml

from l2v.errors import StudyError, UserError

Record = dict[str, Any]
Given = TypeVar("Given")
Made = TypeVar("Made")

# What is read of JSON that nobody here wrote: bad text or bytes, numbers of thousands of digits, thousands of open brackets.
UNREADABLE = (ValueError, RecursionError)
# libyaml where it was built in: a study has hundreds of small files.
SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
WRITERS = 16  # so many files are waited for at once
UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ELOOP, errno.EINVAL}
UNWRITABLE |= {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY}
# What a failing disk, or a folder of another machine, answers.
BROKEN = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.ENOLCK, errno.ENXIO}


# What was made of small files that are asked for many times, with the state that each had then.
SETTLED_NS, MOST_KEPT = 2_000_000_000, 50_000
_unchanged: dict[tuple[str, str], tuple[object, object]] = {}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full, read-only or failing disk into one sentence; what was stored stays."""
    try:
        yield
    except OSError as error:
        if error.errno in UNWRITABLE | BROKEN:
            mend = "see to that disk or its network" if error.errno in BROKEN else "make room or permission there"
            raise StudyError(
                f"Writing to {path} failed ({error.strerror}); everything stored so far is kept: {mend}, then "
                "repeat the command."
            ) from error
        raise


@contextmanager
def replaced(path: Path, sync: bool = False, name: bool = True) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` in one step when it was written: readers see the old or the new one, whole.

    `sync` waits until the disk has it, for what could not be made again after a power failure; without `name`, what it holds
    alone, for a folder that is synced later: until then the old one may come back, or none.
    """
    with disk_errors(path):
        make_folder(path.parent)
        # Machines that share the folder may have processes of the same number.
        part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            try:
                file = part.open("wb")
            except FileNotFoundError as error:
                raise StudyError(f"Nothing can be written to {path.parent}; choose another place.") from error
            with file:
                yield file
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
            if sync and name:
                sync_path(path.parent)
        finally:
            part.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes, sync: bool = False, name: bool = True) -> None:
    """Replace a file's whole content; see `replaced`."""
    with replaced(path, sync, name) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_path(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder: a file that was synced is lost with its name."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def at_once(function: Callable[[Given], Made], given: Sequence[Given]) -> list[Made | Exception]:
    """What the function returned or raised for each. Run side by side: what they write then reaches the disk in one go."""

    def tried(one: Given) -> Made | Exception:
        try:
            return function(one)
        except Exception as error:
            return error

    if len(given) < 2:
        return [tried(one) for one in given]
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(tried, given))


def make_folder(path: Path) -> None:
    """Create a folder and those above it. Raises StudyError where none can be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        check_folders(path)
        # Under /proc a folder that is not there cannot be made either, and the system calls that "no such file".
        raise StudyError(f"The folder {path} cannot be created ({error.strerror}); choose another place.") from error


def check_folders(path: Path) -> None:
    """Raise StudyError for a file that stands where `path`, or a folder above it, should be."""
    for one in (*reversed(path.parents), path):
        if os.path.lexists(one) and not one.is_dir():
            raise StudyError(f"{one} is a file where a folder should be; delete it and repeat the command.")


def check_place(path: Path) -> None:
    """Raise StudyError unless something can be made beside `path`; for what is written only after long work."""
    probe = path.with_name(f".{path.name[:100]}.{os.getpid()}.probe")
    try:
        probe.mkdir(parents=True)
        probe.rmdir()
    except OSError as error:
        raise StudyError(f"Nothing can be written beside {path} ({error.strerror}); choose another place.") from error


def while_unchanged(path: Path, kind: str, read: Callable[[], Made]) -> Made:
    """What `read` makes of a file, not to be changed; one `kind` of it is made once for each state of the file.

    A file of the last seconds is read each time: its clock may not tell two writes apart.
    """
    try:
        now = path.stat()
    except OSError:
        return read()
    state = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    known, made = _unchanged.get((str(path), kind), (None, None))
    if known == state:
        return cast(Made, made)
    found = read()
    if time.time_ns() - max(now.st_mtime_ns, now.st_ctime_ns) > SETTLED_NS:
        if len(_unchanged) >= MOST_KEPT:
            _unchanged.clear()
        _unchanged[str(path), kind] = state, found
    return found


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other process is in such a block for this folder meanwhile: for a file that is read and then written again."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        # The lock dies with its process. A disk that knows none of a folder's is as before.
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def append_line(path: Path, record: Record) -> None:
    """Append one line of JSON to a file that several processes write to; on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        # The lock dies with its process.
        fcntl.flock(file, fcntl.LOCK_EX)
        drop_torn_line(file)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def drop_torn_line(file: BinaryIO) -> None:
    """Cut off what a write that failed half-way left at a file's end, before its one writer goes on."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return
    file.seek(end - 1)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)


def plain_bytes(path: Path) -> bytes:
    """A file's bytes. Raises OSError for what is no plain file too: a pipe would be waited for, a device read without end."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no plain file")
        return file.read()


def read_bytes(path: Path) -> bytes:
    """A file's bytes; none where it is missing. Raises UserError for what cannot be read, such as a folder."""
    try:
        return plain_bytes(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        check_folders(path.parent)
        raise UserError(f"{path} cannot be read ({error.strerror}); remove it and repeat the command.") from error


def whole_lines(data: bytes) -> list[bytes]:
    """The lines that were written to their end; a torn last one is left out."""
    return [line for line in data[: data.rfind(b"\n") + 1].split(b"\n") if line.strip()]


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


def read_records(path: Path) -> list[Record]:
    """The rows of a .jsonl or .json file: a list of objects, or objects by id (their key is kept as "id" if they have none).

    Raises UserError for a missing file or one of another form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"The file '{path}' could not be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The file '{path}' is not UTF-8 text ({error}); save it as UTF-8.") from error
    # Lines end in "\n" alone: JSON text may hold other characters that `splitlines` would end one at.
    lines = text.split("\n") if path.suffix == ".jsonl" else []
    number, found = 0, []
    try:
        for line in lines:
            number += 1
            found += [json.loads(line, object_pairs_hook=_each_once)] if line.strip() else []
        found = found if lines else json.loads(text, object_pairs_hook=_each_once)
    except UNREADABLE as error:
        place = f" in line {number}" if lines else ""
        kind = path.suffix[1:].upper() or "JSON"
        raise UserError(f"The file '{path}' is not valid {kind}{place} ({error}); mend it.") from error
    if isinstance(found, dict):
        found = [{"id": key, **row} if isinstance(row, dict) else {"id": key, "response": row} for key, row in found.items()]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise UserError(f"The file '{path}' must hold a list of objects, one object per line, or objects by id.")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> Record:
    """The object of these keys and values; of a key that comes twice, Python's JSON would keep the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"an object names {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return found


def read_parquet(path: Path) -> Any:
    """The table of a .parquet file as it is now; `datasets` would read a copy of it, for as long as the file keeps its time."""
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path).read()
