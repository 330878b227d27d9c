"""Verdicts joined with their items: the scores behind the rows, read once, and what is said where items are not described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v.benchmarks.metrics import Marked
from l2v.errors import UserError
from l2v.study.cells import Cell
from l2v.study.marks import Marks
from l2v.study.resolve import resolve
from l2v.study.score import items_key
from l2v.study.store import Store

ITEMS = [("1a", "1", ("easy", "plane")), ("1b", "1", ("easy",)), ("2a", "2", ("hard", "plane"))]
VERDICTS: dict[str, bool | None] = {"2a": True, "1a": False, "1b": None}


@pytest.fixture
def cell(tmp_path: Path, config: Callable[..., Any]) -> Cell:
    """A cell whose verdicts stand in another order than the items."""
    store, cell = Store(tmp_path, "s").open(), resolve(config("method.name=direct"))
    store.write_items(items_key(cell.benchmark), [{"id": i, "problem": p, "subsets": list(s)} for i, p, s in ITEMS])
    folder = store.folder(cell.id)
    folder.begin(cell, {})
    figure = {"scorer": "official", "metric": "accuracy", "value": 1 / 3}  # verdicts that no figure tells of are nobody's
    folder.write_scores("official", [{"id": i, "correct": correct} for i, correct in VERDICTS.items()], [figure])
    return cell


def row(cell: Cell, **changes: Any) -> dict[str, Any]:
    return {"cell": cell.id, "scorer": "official", "metric": "accuracy", "value": 1 / 3} | changes


@pytest.mark.parametrize(
    ("changes", "items"),
    [
        ({}, ["2a", "1a", "1b"]),
        ({"metric": "easy"}, ["1a", "1b"]),
        ({"parts": ["hard", "plane"]}, ["2a", "1a"]),
        ({"metric": "worst", "all_right": True}, ["2a", "1a", "1b"]),
        ({"metric": "none such"}, []),
    ],
)
def test_a_score_has_the_items_of_its_subsets_in_the_order_of_the_verdicts(
    changes: dict[str, Any], items: list[str], cell: Cell, tmp_path: Path
) -> None:
    score = Marks(Store(tmp_path, "s")).score(row(cell, **changes))
    known = {i: Marked(i, problem, subsets, VERDICTS[i] is True) for i, problem, subsets in ITEMS}
    assert list(score.items) == [known[i] for i in items]
    assert (score.name, score.value, score.all_right) == (changes.get("metric", "accuracy"), 1 / 3, "all_right" in changes)
    assert score.parts == tuple(changes.get("parts", ()))


def test_files_are_read_once(cell: Cell, tmp_path: Path) -> None:
    marks = Marks(Store(tmp_path, "s"))
    first = marks.score(row(cell))
    for name in ("items", "cells"):
        (tmp_path / "s" / name).rename(tmp_path / f"{name} elsewhere")
    assert marks.score(row(cell)) == first and marks.cell(cell.id) == cell
    assert set(marks.items(items_key(cell.benchmark))) == set(VERDICTS)


def test_items_that_are_not_described_are_told(cell: Cell, tmp_path: Path) -> None:
    store = Store(tmp_path, "s")
    key = items_key(cell.benchmark)
    store.write_items(key, [{"id": i, "problem": p, "subsets": list(s)} for i, p, s in ITEMS[:2]])
    with pytest.raises(UserError, match=rf"{key}.jsonl lacks item '2a'; delete it, then `l2v score study=s` writes it again"):
        Marks(store).score(row(cell))
    (tmp_path / "s" / "items" / f"{key}.jsonl").unlink()
    with pytest.raises(UserError, match=rf"{key}.jsonl is missing; `l2v score study=s` writes it again"):
        Marks(store).score(row(cell))
