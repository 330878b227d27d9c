"""Files that are replaced whole, appended to by lines, and read back after a kill."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l2v.disk import append_line, read_lines, read_records, replaced, write_atomically
from l2v.errors import StudyError, UserError
from l2v.study.workers.claims import states

# Characters at which str.splitlines would end a line, and JSON would not.
ENDS = "one\u2028two\x85three\x0bfour"


@pytest.mark.parametrize("torn", ['{"n": 1, "te', '{"n": 1', "{"])
def test_a_torn_last_line_is_left_out_and_cut_off_before_the_next(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"n": 0}\n' + torn)
    assert read_lines(path) == [{"n": 0}]
    append_line(path, {"n": 2})
    assert path.read_text() == '{"n": 0}\n{"n": 2}\n'


def test_processes_that_append_to_one_file_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lines.jsonl"
    program = "import sys; from pathlib import Path; from l2v.disk import append_line\n"
    program += "for n in range(40): append_line(Path(sys.argv[1]), {'who': sys.argv[2], 'n': n, 'long': 'x' * 5000})"
    started = [subprocess.Popen([sys.executable, "-c", program, str(path), who]) for who in "abc"]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    found = [(json.loads(line)["who"], json.loads(line)["n"]) for line in path.read_text().splitlines()]
    assert sorted(found) == [(who, n) for who in "abc" for n in range(40)]


@pytest.mark.parametrize("content", ["text\n", b"\x00bytes"])
def test_a_file_is_replaced_whole_or_not_at_all(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, "before")
    with pytest.raises(ZeroDivisionError), replaced(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    write_atomically(path, content, sync=True)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert [p.name for p in path.parent.iterdir()] == ["file"], "nothing is left beside it"


@pytest.mark.parametrize(
    ("number", "mend"), [(errno.ESTALE, "its network"), (errno.EIO, "see to that disk"), (errno.ENOSPC, "make room")]
)
def test_a_name_that_the_disk_refuses_is_one_sentence(
    number: int, mend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the folder of another machine does; what was there stays, and nothing lies beside it."""
    write_atomically(tmp_path / "told", "before")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StudyError, match=f"Writing to .*told failed .*{mend}"):
        write_atomically(tmp_path / "told", "after")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("told", "before")]


def test_a_line_of_json_ends_at_a_newline_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "1", "response": ENDS}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_records(path) == read_lines(path) == [{"id": "1", "response": ENDS}]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": ', "not valid JSONL"),
        ("a.json", b"[1, 2]", "list of objects"),
        ("a.json", b'[{"a": "\xff"}]', "not UTF-8"),
        ("a.json", b'{"1": "A", "2": "B", "1": "C"}', "names '1' twice"),
        ("a.jsonl", b'{"id": "1"}\n{"id": "2", "answer": "A", "answer": "B"}\n', "line 2 .*names 'answer' twice"),
    ],
)
def test_a_file_of_another_form_is_told(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_records(tmp_path / name)


@pytest.mark.parametrize("do", [read_lines, lambda path: write_atomically(path, "x"), lambda path: states(path.parent)])
def test_a_file_where_a_folder_should_be_is_named(do: Callable[[Path], object], tmp_path: Path) -> None:
    """Not what was looked for below it."""
    (tmp_path / "cells").write_text("x")
    with pytest.raises(UserError) as told:
        do(tmp_path / "cells" / "a" / "claims" / "file")
    assert str(told.value).startswith(f"{tmp_path}/cells is a file") and "delete it" in str(told.value)
