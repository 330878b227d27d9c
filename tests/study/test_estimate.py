"""What a dry run expects, from the rows that lie on this disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ((), 200),
        (("benchmark.split=test",), 500),
        (("benchmark.split=test", "benchmark.limit=7"), 7),
        (("benchmark=sums", "benchmark.split=report"), 600),
        (("benchmark=mathvista",), 1000),
    ],
)
def test_rows_are_counted_where_they_lie_on_disk(words: tuple[str, ...], rows: int, l2v: Callable[..., Any]) -> None:
    answer = l2v("run", "dry_run=true", "method=direct", *words)
    assert answer.code == 0, answer.err
    assert f"1 cells, about {rows:,} rows: " in answer.out + answer.err


def test_a_damaged_file_is_no_number_of_rows(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """A dry run does not read the data; how many there are is said to be unknown."""
    (tmp_path / "dev.parquet").write_bytes(b"PAR1 and no more")
    answer = l2v("run", "dry_run=true", "method=direct", f"benchmark.path={tmp_path}")
    assert (answer.code, "set benchmark.items" in answer.out + answer.err) == (0, True), answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("name", ["mathvista", "mmstar", "sums"])
def test_local_rows_count_whatever_the_hub_holds(name: str, l2v: Callable[..., Any], tmp_path: Path) -> None:
    """The number in a benchmark's YAML is of its own data."""
    split = "dev"
    (tmp_path / f"{split}.jsonl").write_text('{"id": "a"}\n' * 3)
    words = (f"benchmark={name}", "benchmark.split=dev", f"benchmark.path={tmp_path}")
    answer = l2v("run", "dry_run=true", "method=direct", *words)
    assert (answer.code, "1 cells, about 3 rows: " in answer.out + answer.err) == (0, True), answer.out + answer.err


def test_blank_lines_are_no_rows(l2v: Callable[..., Any], tmp_path: Path) -> None:
    row = json.dumps({"id": "a", "question": "What is 1 + 2?", "answer": "3"})
    (tmp_path / "report.jsonl").write_text(f"{row}\n\n{row}\n")
    words = ("method=direct", "benchmark=sums", "benchmark.split=report", f"benchmark.path={tmp_path}")
    answer = l2v("run", "dry_run=true", *words)
    assert "about 2 rows" in answer.out + answer.err
