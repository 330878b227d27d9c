"""What is on disk: torn lines, workers' files and how they are gathered, schemas, edited files and full disks."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from l2v.disk import at_once
from l2v.errors import UserError
from l2v.study.cells import Cell
from l2v.study.resolve import resolve
from l2v.study.store import CellFolder, Store

LINES = [{"id": f"i{n}", "response": "größer ↔ 1", "generation": 0} for n in range(3)]
ORDER = ["i2", "i0", "i1"]
METRIC = {"scorer": "official", "metric": "accuracy", "value": 1.0}


@pytest.fixture
def cell(config: Callable[..., Any]) -> Cell:
    """The default cell."""
    return resolve(config())


@pytest.fixture
def folder(tmp_path: Path, cell: Cell) -> CellFolder:
    """A begun cell with three responses of worker `one`, closed as a worker closes it."""
    folder = Store(tmp_path, "s").open().folder(cell.id)
    folder.begin(cell, {})
    folder.append("one", LINES)
    folder.close()
    return folder


def own_file(folder: CellFolder) -> bytes:
    return (folder.path / "responses.one.jsonl").read_bytes()


# The second one is torn inside of a character of several bytes.
@pytest.mark.parametrize("torn", [b'{"id": "i3", "resp', '{"id": "i3", "response": "↔'.encode()[:-1], b"{"])
def test_a_torn_last_line_is_never_read_nor_gathered(torn: bytes, folder: CellFolder) -> None:
    with (folder.path / "responses.one.jsonl").open("ab") as file:
        file.write(torn)
    assert folder.responses() == LINES
    again = CellFolder(folder.path)
    again.append("two", [{"id": "i3", "generation": 1}])
    again.close()
    assert [record["id"] for record in again.responses()] == ["i0", "i1", "i2", "i3"]
    assert again.gather(["i3", *ORDER]) == 0
    assert [json.loads(line)["id"] for line in (folder.path / "responses.jsonl").read_bytes().splitlines()] == ["i3", *ORDER]


def test_gathering_puts_all_rows_into_one_file_in_the_order_of_the_items(folder: CellFolder) -> None:
    folder.append("two", [{"id": "i3", "response": "x", "generation": 2}])
    folder.gather(["i3", *ORDER])
    assert sorted(path.name for path in folder.path.glob("responses*")) == ["responses.jsonl"]
    assert [record["id"] for record in folder.responses()] == ["i3", *ORDER]
    assert all("generation" not in record for record in folder.responses())


@pytest.mark.parametrize("late", ["a", "z"])
def test_a_row_that_a_sleeper_stored_late_gives_way_to_the_later_claim(late: str, folder: CellFolder) -> None:
    """Whatever the workers are called, and whichever wrote last."""
    folder.append("two", [{"id": "i9", "response": "theirs", "generation": 3}])
    folder.append(late, [{"id": "i9", "response": "a sleeper's", "generation": 2}])
    folder.close()
    assert next(r for r in folder.responses() if r["id"] == "i9")["response"] == "theirs"
    assert folder.gather([*ORDER, "i9"]) == 1
    assert folder.responses()[-1]["response"] == "theirs"


def test_what_was_gathered_is_never_replaced(folder: CellFolder) -> None:
    """Neither before DONE is written, when verdicts may exist already, nor after it."""
    folder.gather(ORDER)
    folder.append("late", [LINES[0] | {"response": "late", "generation": 9}])
    folder.close()
    assert {r["response"] for r in folder.responses()} == {LINES[0]["response"]}
    folder.finish()
    folder.append("later", [{"id": "i7", "generation": 9}])
    folder.close()
    assert [r["id"] for r in folder.responses()] == ORDER


def test_rows_of_a_version_that_wrote_one_file_are_kept(folder: CellFolder) -> None:
    (folder.path / "responses.jsonl").write_text('{"id": "i8", "response": "old"}\n{"id": "i')
    assert [r["id"] for r in folder.responses()] == ["i8", "i0", "i1", "i2"]
    folder.gather([*ORDER, "i8"])
    assert folder.responses()[-1] == {"id": "i8", "response": "old"}


def test_gathering_without_a_row_is_an_error_and_loses_nothing(folder: CellFolder) -> None:
    with pytest.raises(KeyError):
        folder.gather([*ORDER, "i3"])
    assert folder.responses() == LINES


def test_appended_rows_are_on_disk_at_once(folder: CellFolder) -> None:
    """Another process sees them while the file is still open: a kill loses nothing that was appended."""
    folder.append("one", [{"id": "i3"}])
    seen = subprocess.run(["tail", "-n", "1", folder.path / "responses.one.jsonl"], capture_output=True, check=True).stdout
    folder.close()
    assert json.loads(seen)["id"] == "i3"


def test_a_study_of_another_schema_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, "s").open()
    stamp = tmp_path / "s" / "study.json"
    stamp.write_text('{"schema": 999, "study": "s"}')
    with pytest.raises(UserError, match="schema 999.*choose another study"):
        Store(tmp_path, "s").open()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "3"])
def test_a_damaged_study_file_is_refused(content: str, tmp_path: Path) -> None:
    Store(tmp_path, "s").open()
    (tmp_path / "s" / "study.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.json is damaged"):
        Store(tmp_path, "s").open()


def edited(folder: CellFolder, old: str, new: str) -> None:
    path = folder.path / "config.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("alpha: 0.5", "alpha: 0.6", "was edited"),
        ("schema: 2", "schema: 999", "schema 999"),
        ("scale: direction", "stale: direction", "other settings"),
        ("cell:", "cell: [", "missing or damaged"),
        ("cell:", "cells:", "missing or damaged"),
    ],
)
def test_an_edited_config_is_refused_and_costs_no_row(old: str, new: str, reason: str, folder: CellFolder, cell: Cell) -> None:
    kept = own_file(folder)
    edited(folder, old, new)
    with pytest.raises(UserError, match=reason):
        CellFolder(folder.path).begin(cell, {})
    assert own_file(folder) == kept


def test_a_finished_cell_keeps_done_for_last(tmp_path: Path, cell: Cell) -> None:
    """finish() marks a cell only after its responses could be handed to the disk."""
    folder = Store(tmp_path, "s").open().folder(cell.id)
    folder.begin(cell, {})
    with pytest.raises(FileNotFoundError):
        folder.finish()
    assert not folder.done
    folder.append("one", LINES)
    folder.gather(ORDER)
    folder.finish()
    assert folder.done


def test_the_disk_has_everything_of_a_cell_before_its_mark(
    folder: CellFolder, config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure a cell is either open or whole, with its verdicts and figures."""
    reached, real_sync, real_replace = set[int](), os.fsync, Path.replace
    missing: list[list[str]] = []

    def sync(file: int) -> None:
        reached.add(os.fstat(file).st_ino)
        real_sync(file)

    def replace(self: Path, target: Path) -> Path:
        if target.name == "DONE":
            above = folder.path.parents[:3]  # a folder is lost with its name
            missing.append([str(p) for p in (*above, folder.path, *folder.path.rglob("*")) if p.stat().st_ino not in reached])
        return real_replace(self, target)

    begun = folder.path / "config.yaml"
    text = begun.read_text()
    begun.unlink()
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    folder.begin(resolve(config()), {})
    assert begun.read_text() == text
    folder.gather(ORDER)
    folder.write_scores("official", [{"id": name, "correct": True} for name in ORDER], [METRIC])
    folder.write_scores("lenient", [{"id": name, "correct": True} for name in ORDER], [METRIC | {"scorer": "lenient"}])
    folder.finish()
    assert missing == [[]]


def test_a_cell_is_closed_with_what_was_gathered_and_not_with_what_became_of_it(folder: CellFolder) -> None:
    """A letter that changes on the disk before the mark is written must not become the truth by it."""
    folder.gather(ORDER)
    path = folder.path / "responses.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"i1", b"i7", 1))
    with pytest.raises(UserError, match="is not what the cell was finished with"):
        folder.responses()
    folder.finish()
    with pytest.raises(UserError, match="is not what the cell was finished with"):
        CellFolder(folder.path).responses()
    path.write_bytes(whole)
    assert CellFolder(folder.path).responses() == folder.responses() != []


def test_scorers_that_write_at_the_same_time_lose_no_row(folder: CellFolder) -> None:
    folder.gather(ORDER)
    names = [f"scorer{i}" for i in range(12)]
    for error in at_once(lambda name: CellFolder(folder.path).write_scores(name, [], [METRIC | {"scorer": name}]), names):
        assert error is None
    assert sorted(row["scorer"] for row in folder.metrics()) == sorted(names)


def test_what_is_done_at_once_comes_back_in_order_with_its_errors() -> None:
    found = at_once(lambda n: 6 // n, [3, 0, 1])
    assert [str(one) for one in found] == ["2", "integer division or modulo by zero", "6"]
    assert [at_once(lambda n: 6 // n, [n])[0] == 3 for n in (2, 0)] == [True, False]


full_device = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@full_device
def test_a_full_disk_is_one_sentence_that_names_the_place(tmp_path: Path, cell: Cell) -> None:
    folder = Store(tmp_path, "s").open().folder(cell.id)
    folder.begin(cell, {})
    (folder.path / "responses.one.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"responses\.one\.jsonl failed \(No space left on device\).*kept"):
        folder.append("one", LINES)
    with suppress(UserError):
        folder.close()
    folder.close()


class FullAfter:
    """A text file on a disk that has room for a number of lines."""

    def __init__(self, file: Any, room: list[int]) -> None:
        self.file, self.room = file, room

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            if self.room[0] <= 0:
                raise OSError(28, "No space left on device")
            self.room[0] -= 1
            self.file.write(line)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FullAfter:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def test_a_disk_that_fills_up_in_the_middle_of_a_run_costs_no_stored_row(
    tiny: Callable[..., Any],
    outputs: Path,
    stored_rows: Callable[[Path], list[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("study=full", "method=direct", "runtime.batch_rows=2")
    room, real = [5], Path.open

    def opened(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = real(self, mode, *rest, **named)
        return FullAfter(file, room) if self.name.startswith("responses.") and "a" in mode else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        answer = tiny(*words)
    assert answer.code == 2
    assert str(outputs / "full") in answer.err
    assert "No space left on device" in answer.err
    before = stored_rows(outputs / "full")
    assert len(before) in (4, 5)
    assert tiny(*words).code == 0
    after = stored_rows(outputs / "full")
    assert set(before) < set(after)
    assert len(after) == len(set(after)) == 8


def test_results_on_a_full_disk_are_not_half_written(
    tiny: Callable[..., Any], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of a study is replaced in one step: when that fails, the old one is still whole."""
    assert tiny("study=fulltable", "method=direct").code == 0
    table = outputs / "fulltable" / "results.csv"
    before = table.read_bytes()

    real = Path.open

    def opened(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = real(self, mode, *rest, **named)
        return FullAfter(file, [1]) if "results.csv" in self.name and "w" in mode else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", opened)
        answer = tiny("study=fulltable", "method=direct")
    assert answer.code == 2
    assert "results.csv" in answer.err
    assert table.read_bytes() == before
    assert not list(table.parent.glob(".*.part"))


@pytest.mark.parametrize("opening", ["[", "{a: ", "- - ", "? ? "])
def test_a_config_of_thousands_of_open_values_is_damaged(opening: str, folder: CellFolder) -> None:
    """libyaml would end the process, with no word."""
    (folder.path / "config.yaml").write_text(opening * 100_000)
    with pytest.raises(UserError, match="is missing or damaged"):
        folder.settings()
