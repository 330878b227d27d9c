"""A table of examples of a cell: image, question, gold, answer and verdict, beside the baseline's answer and verdict."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from l2v.disk import Record
from l2v.report.answers import FLIPS, WORDS, Answered, answers, flip, in_one_order
from l2v.report.page.pictures import Read, image_readers
from l2v.study.cells import Cell
from l2v.study.marks import Marks
from l2v.study.score import items_key
from l2v.study.store import CellFolder
from l2v.track.tracker import Scalar, Table, TrackedPicture, clean

COLUMNS = ("item", "image", "question", "gold", "answer", "read", "verdict")
COMPARED = ("baseline answer", "baseline verdict", "flip")
# Pixels of the longer side of a thumbnail.
SIDE = 224
# Of the rows, how many may be flips while there is something else to show.
MOST_FLIPS = 0.7


class Examples:
    """Makes the tables of a study's cells; what cells share is read once."""

    def __init__(self, marks: Marks, most: int) -> None:
        self.marks = marks
        self.most = most
        self._baselines: dict[tuple[str, str], dict[str, Answered]] = {}
        self._thumbnails = _Thumbnails(marks)

    def table(self, folder: CellFolder, cell: Cell, scorer: str, baseline: CellFolder | None) -> tuple[Table, str]:
        """At most `most` rows, flips first, the same whenever it is made; and in a sentence why pictures are missing, or ""."""
        items, own = self.marks.items(items_key(cell.benchmark)), answers(folder, scorer)
        base = self._baseline(baseline, scorer) if baseline is not None else None
        chosen = choose(own, base or {}, self.most)
        pictures, missing = self._thumbnails.of(folder, cell, chosen)
        rows: list[tuple[Scalar | TrackedPicture | None, ...]] = []
        for name in chosen:
            item, answer = items.get(name, {}), own[name]
            shown = (name, pictures.get(name), _question(item), clean(str(item.get("gold", ""))))
            told = (clean(answer.text), None if answer.read is None else clean(answer.read), WORDS[answer.right])
            rows.append((*shown, *told, *(() if base is None else _compared(answer, base.get(name)))))
        return Table(COLUMNS if base is None else (*COLUMNS, *COMPARED), tuple(rows)), missing

    def _baseline(self, folder: CellFolder, scorer: str) -> dict[str, Answered]:
        key = (folder.id, scorer)
        if key not in self._baselines:
            self._baselines[key] = answers(folder, scorer)
        return self._baselines[key]


def _question(item: Record) -> str:
    options = [f"({chr(65 + i)}) {text}" for i, text in enumerate(item.get("options") or []) if text]
    return clean("\n".join([str(item.get("question", "")), *options]))


def _compared(own: Answered, base: Answered | None) -> tuple[Scalar | None, ...]:
    """The baseline's answer and verdict, and to what the verdict flipped: right, wrong or ""."""
    if base is None:
        return None, None, None
    flipped = {"flipped right": "right", "flipped wrong": "wrong"}.get(flip(own.right, base.right), "")
    return clean(base.text), WORDS[base.right], flipped


def choose(own: Mapping[str, Answered], base: Mapping[str, Answered], most: int) -> list[str]:
    """The items to show: flips to right and to wrong in turn up to a share of the rows, then both kinds that did not flip."""
    kinds: dict[str, list[str]] = {kind: [] for kind in FLIPS}
    for name in in_one_order(own):
        # What the baseline did not answer cannot have flipped.
        kinds[flip(own[name].right, base.get(name, own[name]).right)].append(name)
    flips = _in_turn(kinds["flipped right"], kinds["flipped wrong"])
    rest = _in_turn(kinds["both wrong"], kinds["both right"])
    first = flips[: max(round(MOST_FLIPS * most), most - len(rest))]
    return (first + rest)[:most]


def _in_turn(one: Sequence[str], other: Sequence[str]) -> list[str]:
    turns = max(len(one), len(other))
    return [names[i] for i in range(turns) for names in (one, other) if i < len(names)]


class _Thumbnails:
    """The first picture of each item, small; the benchmark's data are opened once, and each picture is read once."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self._readers: dict[str, dict[str, Read] | str] = {}
        self._made: dict[tuple[str, str], TrackedPicture | None] = {}
        self._broken: set[tuple[str, str]] = set()

    def of(self, folder: CellFolder, cell: Cell, names: Sequence[str]) -> tuple[dict[str, TrackedPicture], str]:
        key = items_key(cell.benchmark)
        if not names:
            return {}, ""
        if key not in self._readers:
            try:
                self._readers[key] = image_readers(folder, self.marks.items(key))
            except Exception as error:  # any library that reads data may fail here; the run is worth having without pictures
                self._readers[key] = f"The benchmark's data could not be read here ({' '.join(str(error).split())[:200]})."
        readers = self._readers[key]
        if isinstance(readers, str):
            return {}, readers
        for name in names:
            if (key, name) not in self._made:
                self._made[key, name] = self._thumbnail((key, name), readers.get(name))
        found = {name: self._made[key, name] for name in names}
        broken = sum((key, name) in self._broken for name in names)
        missing = f"The pictures of {broken} items could not be read." if broken else ""
        return {name: picture for name, picture in found.items() if picture is not None}, missing

    def _thumbnail(self, item: tuple[str, str], read: Read | None) -> TrackedPicture | None:
        try:
            images = read() if read is not None else []
            if not len(images):
                return None
            image = images[0].convert("RGB")
        except Exception:  # a corrupt picture costs itself alone
            self._broken.add(item)
            return None
        image.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        caption = "" if len(images) == 1 else f"the first of {len(images)} pictures"
        return TrackedPicture(file.getvalue(), caption)
