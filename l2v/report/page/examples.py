"""The responses that the page's browser holds: which ones, and their texts within a budget."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.disk import Record
from l2v.report.answers import FLIPS, Answered, answers, flip, in_one_order, writable
from l2v.report.page.pictures import thumbnails
from l2v.report.study import Study
from l2v.study.columns import FAMILY, key
from l2v.study.score import items_key
from l2v.study.statistics.searches import grouped, own_baseline

# What an answer is where there is no baseline.
ALONE = ("right", "wrong")
MOST_CELLS = 100
OTHERS = 0.4  # of all examples, the share that is kept for cells that are not reported
TEXT_BUDGET = 1_500_000  # bytes of all texts together, as they stand in the page
LONGEST_TEXT = 200_000
SHORTEST_TEXT = 400


@dataclass(frozen=True)
class Example:
    """One response of a cell beside the baseline's to the same item; `baseline` None where there is none."""

    cell: str
    item: str
    key: str
    flip: str
    answer: Answered
    baseline: Answered | None
    against: str | None


@dataclass(frozen=True)
class Source:
    """A reported cell whose responses may be shown, and the cell it is compared with."""

    cell: str
    baseline: str | None


def sources(study: Study) -> list[Source]:
    """The reported cells in the order of the results, each with its baseline; the baselines alone where nothing else is."""
    rows = study.reported.sort_values("role", kind="stable")
    return (_beside(rows, rows[rows["role"] != "baseline"]["cell"]) or _beside(rows, rows["cell"]))[:MOST_CELLS]


def _beside(rows: pd.DataFrame, cells: Iterable[str]) -> list[Source]:
    """Cells of these rows, each beside the baseline among them that it is compared with."""
    baselines = grouped(rows[rows["role"] == "baseline"].to_dict("records"), FAMILY)
    found = []
    for row in rows[rows["cell"].isin(set(cells))].to_dict("records"):
        baseline = None if row["role"] == "baseline" else own_baseline(baselines.get(key(row, FAMILY), []), row)
        found.append(Source(row["cell"], baseline["cell"] if baseline else None))
    return found


def _headlines(study: Study) -> pd.DataFrame:
    return study.rows[(study.rows["scorer"] == study.scorer) & (study.rows["metric"] == HEADLINE)]


def others(study: Study, most: int) -> list[Example]:
    """Up to `most` examples of cells that are not reported: first one item under as many of them as there is room for, then
    the next item. Where there are more cells than room, every so many of them."""
    rows = _headlines(study)
    reported = {source.cell for source in sources(study)}
    rest = [cell for cell in dict.fromkeys(rows[rows["role"] != "baseline"]["cell"]) if cell not in reported]
    if most < 1 or not rest:
        return []
    each = _examples(study, _beside(rows, rest[:: -(-len(rest) // most)]))
    return [example for turn in zip_longest(*each) for example in turn if example is not None][:most]


def choose(study: Study, most: int) -> tuple[list[Example], int]:
    """Up to `most` examples and the number of responses that they were chosen from.

    Cells and kinds of flip take turns; within each the items come in one order, a hash of their id, so that the same
    items turn up under many cells and the choice is the same every time.
    """
    queues: dict[str, list[list[Example]]] = {}
    total = 0
    for examples in _examples(study, sources(study)):
        total += len(examples)
        for kind in (*FLIPS, *ALONE):
            of_kind = [example for example in examples if example.flip == kind]
            queues.setdefault(kind, []).append(of_kind)
    turns = zip_longest(*(queue for kind in queues for queue in queues[kind]))
    return [example for turn in turns for example in turn if example is not None][: max(0, most)], total


def _examples(study: Study, sources: Sequence[Source]) -> list[list[Example]]:
    """The examples of each of these cells; what several are compared with is read once."""
    baselines = dict.fromkeys(one.baseline for one in sources if one.baseline)
    bases = {baseline: answers(study.store.folder(baseline), study.scorer) for baseline in baselines}
    return [_of(study, source, bases[source.baseline] if source.baseline else {}) for source in sources]


def _of(study: Study, source: Source, theirs: Mapping[str, Answered]) -> list[Example]:
    described = items_key(study.marks.cell(source.cell).benchmark)
    ours = answers(study.store.folder(source.cell), study.scorer)
    found = []
    for item in in_one_order(ours):
        base = theirs.get(item)
        if source.baseline is not None and base is None:
            continue
        kind = flip(ours[item].right, base.right) if base else ALONE[ours[item].right is not True]
        found.append(Example(source.cell, item, described, kind, ours[item], base, source.baseline))
    return found


def for_page(study: Study, most: int) -> Record:
    """The browser's data within the page: examples of reported cells, then of others, and their pictures."""
    chosen, total = choose(study, most)
    rest = others(study, max(most - len(chosen), round(OTHERS * most)))
    chosen = chosen[: max(0, most - len(rest))]
    wanted = [(e.key, e.item, e.cell) for e in (*chosen, *rest)]
    pictures, note = thumbnails(study.store, wanted)
    data = _book(study, [*chosen, *rest], pictures.by_item, TEXT_BUDGET)
    return data | {
        "reported": len(chosen),
        "total": total,
        "pictures": pictures.encoded,
        "pixels": pictures.sizes,
        "note": note,
    }


def of_cell(study: Study, cell: str) -> Record:
    """Every response of any cell, in full, as the browser reads them; its pictures have addresses of their own."""
    return _book(study, _examples(study, _beside(_headlines(study), [cell]))[0], {}, None)


def _book(
    study: Study, examples: Sequence[Example], images: Mapping[tuple[str, str], Sequence[int]], budget: int | None
) -> Record:
    """Examples and their items (question, options, gold, subsets, pictures). A text is stored once and its middle is cut out
    where it is longer than one length, the largest that keeps all of them within the budget."""
    texts = _Texts()
    items: list[Record] = []
    position: dict[tuple[str, str], int] = {}
    for described, item in dict.fromkeys((e.key, e.item) for e in examples):
        record = study.marks.items(described).get(item, {})
        position[described, item] = len(items)
        items.append(
            {
                "id": writable(item),
                "question": texts.add(record.get("question", "")),
                "options": [texts.add(str(o)) for o in record.get("options", [])],
                "gold": texts.add(str(record.get("gold", ""))),
                "subsets": [writable(s) for s in record.get("subsets", [])],
                "images": images.get((described, item), []),
            }
        )
    cells = list(dict.fromkeys(e.cell for e in examples))
    rows = [_row(e, texts, position, cells) for e in examples]
    return {"examples": rows, "items": items, "cells": cells, **texts.cut(budget)}


def _row(example: Example, texts: _Texts, position: Mapping[tuple[str, str], int], cells: Sequence[str]) -> Record:
    def answered(one: Answered) -> Record:
        return {"text": texts.add(one.text), "right": one.right, "reason": texts.add(one.reason), "tokens": one.tokens}

    return {
        "cell": cells.index(example.cell),
        "item": position[example.key, example.item],
        "flip": example.flip,
        "answer": answered(example.answer),
        "baseline": answered(example.baseline) if example.baseline else None,
    }


class _Texts:
    """Every text once."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def add(self, text: str) -> int:
        return self._index.setdefault(writable(text), len(self._index))

    def cut(self, budget: int | None) -> Record:
        """The texts, and the full lengths of those that were cut; None cuts none."""
        texts = list(self._index)
        lengths = [len(text) for text in texts]
        # A sign takes one byte or, as another script's or an escaped one, up to six.
        escaped = sum(text.count(sign) for text in texts for sign in "<>&")
        written = len(json.dumps(texts, ensure_ascii=False).encode("utf-8")) + 5 * escaped
        limit = max(lengths, default=0)
        if budget is not None:
            limit = longest(lengths, int(budget * sum(lengths) / max(1, written)))
        return {
            "texts": [shortened(text, limit) for text in texts],
            "cut": {str(i): len(text) for i, text in enumerate(texts) if len(text) > limit},
        }


def shortened(text: str, limit: int) -> str:
    """Three fifths of the limit of its beginning and two of its end, where an answer stands."""
    end = 2 * limit // 5
    return text if len(text) <= limit else f"{text[: limit - end - 5]}\n[…]\n{text[-end:]}"


def longest(lengths: Sequence[int], budget: int) -> int:
    """The largest length at which all texts, cut there, are `budget` characters or fewer; within sensible bounds."""
    left, limit = budget, LONGEST_TEXT
    for rank, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - rank)
        if length > share:
            limit = share
            break
        left -= length
    return max(SHORTEST_TEXT, min(limit, LONGEST_TEXT))
