"""A table of examples of a cell: image, question, gold, answer and verdict, beside the baseline's answer and verdict."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l2v.report.track import Picture, Scalar, Table, clean
from l2v.study.cells import Cell
from l2v.study.score import benchmark_items, items_key, stored_benchmark
from l2v.study.store import CellFolder, Record, Store

COLUMNS = ("item", "image", "question", "gold", "answer", "read", "verdict")
COMPARED = ("baseline answer", "baseline verdict", "flip")
# Pixels of the longer side of a thumbnail.
SIDE = 224
# Of the rows, how many may be flips while there is something else to show.
FLIPS = 0.7


@dataclass(frozen=True)
class _Answered:
    """One cell's response to one item, and a scorer's verdict on it."""

    response: str
    read: str | None
    correct: bool | None

    @property
    def verdict(self) -> str:
        return "abstained" if self.correct is None else "right" if self.correct else "wrong"


class Examples:
    """Makes the tables of a study's cells; what cells share is read once."""

    def __init__(self, store: Store, most: int) -> None:
        self.store = store
        self.most = most
        self._described: dict[str, dict[str, Record]] = {}
        self._baselines: dict[tuple[str, str], dict[str, _Answered]] = {}
        self._thumbnails = _Thumbnails()

    def table(self, folder: CellFolder, cell: Cell, scorer: str, baseline: CellFolder | None) -> tuple[Table, str]:
        """At most `most` rows, flips first, the same whenever it is made; and in a sentence why pictures are missing, or ""."""
        key = items_key(cell.benchmark)
        if key not in self._described:
            self._described[key] = {record["id"]: record for record in self.store.items(key)}
        items, own = self._described[key], _answers(folder, scorer)
        base = self._baseline(baseline, scorer) if baseline is not None else None
        chosen = choose(own, base or {}, self.most)
        pictures, missing = self._thumbnails.of(folder, cell, chosen)
        rows: list[tuple[Scalar | Picture | None, ...]] = []
        for name in chosen:
            item, answer = items.get(name, {}), own[name]
            shown = (name, pictures.get(name), _question(item), clean(str(item.get("gold", ""))))
            told = (clean(answer.response), None if answer.read is None else clean(answer.read), answer.verdict)
            rows.append((*shown, *told, *(() if base is None else _compared(answer, base.get(name)))))
        return Table(COLUMNS if base is None else (*COLUMNS, *COMPARED), tuple(rows)), missing

    def _baseline(self, folder: CellFolder, scorer: str) -> dict[str, _Answered]:
        key = (folder.id, scorer)
        if key not in self._baselines:
            self._baselines[key] = _answers(folder, scorer)
        return self._baselines[key]


def _answers(folder: CellFolder, scorer: str) -> dict[str, _Answered]:
    verdicts = {v["id"]: v for v in folder.scores(scorer)}
    return {
        r["id"]: _Answered(r["response"], verdicts[r["id"]].get("extraction"), verdicts[r["id"]]["correct"])
        for r in folder.responses()
        if r["id"] in verdicts
    }


def _question(item: Record) -> str:
    options = [f"({chr(65 + i)}) {text}" for i, text in enumerate(item.get("options") or []) if text]
    return clean("\n".join([str(item.get("question", "")), *options]))


def _compared(own: _Answered, base: _Answered | None) -> tuple[Scalar | None, ...]:
    if base is None:
        return None, None, None
    return clean(base.response), base.verdict, _flip(own, base)


def _flip(own: _Answered, base: _Answered) -> str:
    """To what the verdict flipped against the baseline's; an abstention counts as not right."""
    right, was_right = own.correct is True, base.correct is True
    return "" if right == was_right else "right" if right else "wrong"


def choose(own: Mapping[str, Any], base: Mapping[str, Any], most: int) -> list[str]:
    """The items to show: flips to right and to wrong in turn up to a share of the rows, then what did not flip, both in turn.

    Within a kind the order is by a hash of the item, so that it is the same everywhere and no stretch of the data leads.
    """
    kinds: dict[str, list[str]] = {name: [] for name in ("right", "wrong", "both wrong", "both right")}
    for name in sorted(own, key=lambda item: hashlib.sha256(item.encode()).hexdigest()):
        same = "both right" if own[name].correct is True else "both wrong"
        kinds[(_flip(own[name], base[name]) if name in base else "") or same].append(name)
    flips = _in_turn(kinds["right"], kinds["wrong"])
    rest = _in_turn(kinds["both wrong"], kinds["both right"])
    first = flips[: max(round(FLIPS * most), most - len(rest))]
    return (first + rest)[:most]


def _in_turn(one: Sequence[str], other: Sequence[str]) -> list[str]:
    turns = max(len(one), len(other))
    return [names[i] for i in range(turns) for names in (one, other) if i < len(names)]


class _Thumbnails:
    """The first picture of each item, small; the benchmark's data are read once, and each picture once."""

    def __init__(self) -> None:
        self._items: dict[str, dict[str, Any] | str] = {}
        self._made: dict[tuple[str, str], Picture | None] = {}

    def of(self, folder: CellFolder, cell: Cell, names: Sequence[str]) -> tuple[dict[str, Picture], str]:
        """Pictures by item, and why there are none in a sentence, or ""."""
        key = items_key(cell.benchmark)
        if not names:
            return {}, ""
        if key not in self._items:
            try:
                config = stored_benchmark(cell.benchmark, folder.settings()["locations"])
                self._items[key] = {item.id: item for item in benchmark_items(cell.benchmark, config)}
            except Exception as error:  # any library that reads data may fail here; the run is worth having without pictures
                self._items[key] = f"The benchmark's data could not be read here ({' '.join(str(error).split())[:200]})."
        items = self._items[key]
        if isinstance(items, str):
            return {}, items
        for name in names:
            if (key, name) not in self._made:
                self._made[key, name] = _thumbnail(items[name].images) if name in items else None
        found = {name: self._made[key, name] for name in names}
        return {name: picture for name, picture in found.items() if picture is not None}, ""


def _thumbnail(images: Sequence[Any]) -> Picture | None:
    if not len(images):
        return None
    image = images[0].convert("RGB")
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    caption = "" if len(images) == 1 else f"the first of {len(images)} pictures"
    return Picture(file.getvalue(), caption)
