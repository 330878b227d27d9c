"""A study's stored verdicts joined with what is known of their items: the scores behind rows of results.csv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l2v.benchmarks.metrics import HEADLINE, Marked, Score
from l2v.disk import Record
from l2v.errors import UserError
from l2v.study.cells import Cell
from l2v.study.score import items_key
from l2v.study.store import Store


@dataclass(frozen=True)
class _Order:
    """Items in the order in which some cells answered them, each as it stands when wrong and when right; cells share them."""

    marked: tuple[tuple[Marked, Marked], ...]
    places: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def within(self, subsets: tuple[str, ...]) -> list[int]:
        """The places of the items of some subsets; of none given, of all items."""
        if subsets not in self.places:
            self.places[subsets] = [
                i for i, (item, _) in enumerate(self.marked) if not subsets or any(name in item.subsets for name in subsets)
            ]
        return self.places[subsets]


class Marks:
    """Reads every cell, every description of items and every file of verdicts once; of verdicts a byte per item is kept."""

    def __init__(self, store: Store, known: Mapping[str, Cell] | None = None) -> None:
        """known: cells by id, as a run knows those that it asked for."""
        self.store = store
        self._cells: dict[str, Cell] = dict(known or {})
        self._known: dict[str, dict[str, Record]] = {}
        self._orders: dict[tuple[str, tuple[str, ...]], _Order] = {}
        self._right: dict[tuple[str, str], tuple[_Order, bytes]] = {}

    def cell(self, cell_id: str) -> Cell:
        """A cell by id. Raises UserError as `CellFolder.cell`."""
        if cell_id not in self._cells:
            self._cells[cell_id] = self.store.folder(cell_id).cell()
        return self._cells[cell_id]

    def items(self, key: str) -> dict[str, Record]:
        """The description of a benchmark's items by id; empty when there is none. `key`: see `score.items_key`."""
        if key not in self._known:
            self._known[key] = {record["id"]: record for record in self.store.items(key)}
        return self._known[key]

    def score(self, row: Mapping[Any, Any]) -> Score:
        """The score of a row (cell, scorer, metric, value, parts, all_right) with its items.

        Raises UserError where the study does not describe the items that the cell answered.
        """
        parts = tuple(row.get("parts") or ())
        all_right = bool(row.get("all_right"))
        whole = not parts and (row["metric"] == HEADLINE or all_right)
        order, right = self._verdicts(row["cell"], row["scorer"])
        places = order.within(() if whole else parts or (str(row["metric"]),))
        return Score(row["metric"], row["value"], tuple(order.marked[i][right[i]] for i in places), parts, all_right)

    def _verdicts(self, cell_id: str, scorer: str) -> tuple[_Order, bytes]:
        """The items of a cell in the order of its verdicts, and 1 for every right one."""
        if (cell_id, scorer) not in self._right:
            verdicts = self.store.folder(cell_id).scores(scorer)
            order = self._order(items_key(self.cell(cell_id).benchmark), tuple(v["id"] for v in verdicts))
            self._right[cell_id, scorer] = order, bytes(v["correct"] is True for v in verdicts)
        return self._right[cell_id, scorer]

    def _order(self, key: str, ids: tuple[str, ...]) -> _Order:
        if (key, ids) not in self._orders:
            known = self.items(key)
            missing = next((i for i in ids if i not in known), None)
            if missing is not None:
                path = self.store.path / "items" / f"{key}.jsonl"
                what = f"lacks item '{missing}'; delete it, then" if known else "is missing;"
                raise UserError(f"{path} {what} `l2v score study={self.store.study}` writes it again.")
            self._orders[key, ids] = _Order(tuple(_both(known[i]) for i in ids))
        return self._orders[key, ids]


def _both(record: Record) -> tuple[Marked, Marked]:
    """An item as it stands when wrong and when right."""
    wrong, right = (Marked(record["id"], record["problem"], tuple(record["subsets"]), mark) for mark in (False, True))
    return wrong, right
