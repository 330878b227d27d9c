"""Digests: what is written carries one, so that what is read back is what was written.

Whole files have theirs in the file that closes them (DONE for a cell's responses, metrics.json for verdicts), small JSON files
in themselves, responses and items on every line. What a version without digests wrote is read as it stands, and that is said
once. A digest notices damage and mistakes; it is no signature, and whoever edits a study on purpose can make a new one.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from l2v.disk import UNREADABLE, Record, plain_bytes, read_bytes, whole_lines
from l2v.errors import UserError, printable

# The last key of a line, and of a small file.
CHECK, DIGEST = "check", "digest"
# In the file that tells of a table, of a picture and of the page of all, the digests of these.
TABLE, PICTURE, PAGE = "table_digest", "picture_digest", "page_digest"
ANALYZE_AGAIN = "repeat its `l2v analyze`."
_BEFORE_CHECK = f', "{CHECK}": "'.encode()
# `json.dumps` makes a new one each time.
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

_told: set[str] = set()


def tell_once(sentence: str) -> None:
    """A sentence on stderr, once in a process."""
    if sentence not in _told:
        _told.add(sentence)
        print(printable(sentence), file=sys.stderr)


def content_digest(data: bytes) -> str:
    """The digest of a file's bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


# -- lines of JSONL ----------------------------------------------------------------------------------------------------


def sealed_line(record: Record, of: str) -> str:
    """A record as a line that ends in a check of itself; `of`: what the file belongs to, so that no other's line passes."""
    try:
        body = _ENCODER.encode(record)[:-1].encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair is no UTF-8; escaped, it is kept as it is.
        body = json.dumps(record)[:-1].encode()
    return f'{body.decode()}{_BEFORE_CHECK.decode()}{_check(body, of)}"}}\n'


def _check(body: bytes, of: str) -> str:
    return hashlib.blake2b(body + b"\n" + of.encode(), digest_size=6).hexdigest()


def open_line(line: bytes, of: str) -> Record | None:
    """The record of a line, without its check; None for a damaged one. A line without a check is taken as it stands."""
    try:
        record = json.loads(line)
    except UNREADABLE:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        return None
    check = record.pop(CHECK, None)
    return record if check is None or _check(line.rpartition(_BEFORE_CHECK)[0], of) == check else None


def has_check(line: bytes) -> bool:
    """Whether a line that `open_line` took carries a check."""
    return _BEFORE_CHECK in line[-40:] and line.rstrip().endswith(b'"}')


def open_lines(data: bytes, of: str) -> list[Record | None]:
    """The records of all lines that were written to their end, None for a damaged one.

    Of a file whose lines carry checks, one that has lost its own is damaged.
    """
    lines = whole_lines(data)
    checked = [has_check(line) for line in lines]
    old = not any(checked)
    return [open_line(line, of) if own or old else None for line, own in zip(lines, checked, strict=True)]


def proven_lines(data: bytes) -> list[Record]:
    """The records of a file that is known to be what was written, without their checks."""
    rows = [json.loads(line) for line in whole_lines(data)]
    for row in rows:
        row.pop(CHECK, None)
    return rows


# -- small JSON files --------------------------------------------------------------------------------------------------


def sealed(content: Record, of: str = "") -> Record:
    """The content with its digest as the last key; `of` as in `sealed_line`."""
    return content | {DIGEST: _own_digest(content, of)}


def _own_digest(content: Record, of: str) -> str:
    return content_digest(_CANONICAL.encode([of, content]).encode())


def is_whole(content: Record, of: str = "") -> bool:
    """Whether a record that was read is what `sealed` gave; one without a digest is taken as it stands."""
    given = content.get(DIGEST)
    return given is None or given == _own_digest({key: value for key, value in content.items() if key != DIGEST}, of)


def read_json(path: Path, mend: str) -> Any:
    """What a small JSON file holds. Raises UserError, with what to do (`mend`, after "; "), for one that cannot be read."""
    try:
        return json.loads(plain_bytes(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {mend}") from error
    except UNREADABLE as error:
        raise UserError(f"{path} is damaged; {mend}") from error


def read_sealed(path: Path, mend: str) -> Record:
    """A small JSON file's record, its digest included where it has one. Raises UserError as `read_json`, and for a mismatch."""
    found = read_json(path, mend)
    if not isinstance(found, dict) or not is_whole(found):
        raise UserError(f"{path} is damaged; {mend}")
    return found


def analyses(study: Path) -> list[Path]:
    """Where the lat.json of every analysis of a study is, or was: its page is written after it."""
    return sorted({*study.glob("lat/*/lat.json"), *(page.with_name("lat.json") for page in study.glob("lat/*/index.html"))})


def check_analysis(path: Path) -> Record:
    """What the lat.json of an analysis tells. Raises UserError where it, or one of its files, is not as written."""
    told = read_sealed(path, ANALYZE_AGAIN)
    try:
        for figure in told["figures"]:
            check_figure(path.parent, figure)
        if PAGE in told and (page := path.with_name("index.html")).exists():
            check_file(page, told[PAGE])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged; {ANALYZE_AGAIN}") from error
    return told


def check_figure(folder: Path, figure: Record) -> None:
    """Raise UserError for a figure of an analysis whose table or picture is not what was written with it."""
    for kind, known in (("csv", TABLE), ("png", PICTURE)):
        if known in figure:  # a version without digests did not tell it
            check_file(folder / Path(str(figure[kind])).name, figure[known])


def check_file(path: Path, known: object) -> None:
    """Raise UserError for a file of an analysis that has another digest."""
    if content_digest(read_bytes(path)) != known:
        raise UserError(f"{path} is {'damaged' if path.exists() else 'missing'}; {ANALYZE_AGAIN}")


def twice(ids: Iterable[str]) -> str | None:
    """The first id that comes a second time."""
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            return one
        seen.add(one)
    return None
