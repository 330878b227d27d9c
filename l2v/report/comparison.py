"""Two studies on one page: cells with the same settings in both, and their paired difference over the items of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from l2v.benchmarks.metrics import HEADLINE
from l2v.disk import Record
from l2v.report.study import Study
from l2v.study.columns import SETTINGS, key, searched, short
from l2v.study.statistics.paired import holm, paired_scores
from l2v.study.statistics.searches import grouped

# Settings that make two cells of two studies comparable; revisions, answer length and decoding may be what is compared.
SAME = [column.name for column in SETTINGS if not column.loose]
LOOSE = [column for column in SETTINGS if column.loose]
LOOSE_NAMES = [column.name for column in LOOSE]
MOST_PAIRS = 300
MOST_APART = 5


@dataclass(frozen=True)
class CellPair:
    """One cell in both studies; shares in [0, 1]. diff: the second minus the first, None where their items differ."""

    where: str
    bench: str
    items: str
    arm: str
    settings: str
    first: str
    second: str
    values: tuple[float, float]
    n: int
    differs: str
    diff: float | None = None
    low: float | None = None
    high: float | None = None
    right: int | None = None
    wrong: int | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Compared:
    """What two studies have in common: the pairs, and how many cells of each have no counterpart, or several."""

    pairs: list[CellPair]
    only_first: int
    only_second: int
    left_out: int

    @property
    def apart(self) -> str:
        """In what the cells of a pair differ all the same, in words; "" for nothing."""
        told = list(dict.fromkeys(told for pair in self.pairs for told in pair.differs.split("; ") if told))
        return "; ".join(told[:MOST_APART]) + (f" and {len(told) - MOST_APART} more" if len(told) > MOST_APART else "")


def compare(first: Study, second: Study, most: int | None = MOST_PAIRS) -> Compared:
    """The cells of `second` against those of `first` with the same settings, reported ones first; Holm's p over the pairs.

    `most`: how many pairs, None: all.
    """
    ours, theirs = _headlines(first), _headlines(second)
    shared = matched(ours, theirs)
    told = set(first.reported["cell"]) | set(second.reported["cell"])
    shared.sort(key=lambda both: not {both[0]["cell"], both[1]["cell"]} & told)
    pairs = [_pair(first, second, *both) for both in shared[:most]]
    adjusted = iter(holm([pair.p for pair in pairs if pair.p is not None]))
    pairs = [pair if pair.p is None else replace(pair, p_holm=next(adjusted)) for pair in pairs]
    left = len(shared) - len(pairs)
    return Compared(pairs, len(ours) - len(shared), len(theirs) - len(shared), left)


def matched(ours: Sequence[Record], theirs: Sequence[Record]) -> list[tuple[Record, Record]]:
    """The rows of two studies that belong together: of equal settings, else those that differ in such LOOSE ones alone which
    tell none of the rows that are left in a study from another."""
    found: list[tuple[Record, Record]] = []
    others = grouped(theirs, SAME)
    for same, mine in grouped(ours, SAME).items():
        left = others.get(same, [])
        for whole in (True, False):
            told = [name for name in LOOSE_NAMES if whole or any(len(grouped(rows, [name])) > 1 for rows in (mine, left))]
            for row in list(mine):
                equal = [one for one in left if key(one, told) == key(row, told)]
                if equal:
                    found.append((row, equal[0]))
                    mine.remove(row)
                    left.remove(equal[0])
    return found


def _headlines(study: Study) -> list[Record]:
    rows = study.rows
    told = rows[(rows["scorer"] == study.scorer) & (rows["metric"] == HEADLINE)].to_dict("records")
    return cast(list[Record], told)


def _pair(first: Study, second: Study, ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> CellPair:
    differs = [
        f"{column.name.replace('_', ' ')}: {short(ours[column.name])} → {short(theirs[column.name])}"
        for column in LOOSE
        if key(ours, [column.name]) != key(theirs, [column.name])
    ]
    pair = CellPair(
        where=str(ours["where"]),
        bench=str(ours["bench"]),
        items=str(ours["items"]),
        arm=str(ours["arm"]),
        settings=" · ".join(searched(ours)),
        first=str(ours["cell"]),
        second=str(theirs["cell"]),
        values=(float(ours["value"]), float(theirs["value"])),
        n=int(min(ours["n"], theirs["n"])),
        differs="; ".join(differs),
    )
    if short(ours["benchmark_revision"]) != short(theirs["benchmark_revision"]):
        return pair
    a, b = first.score(pair.first), second.score(pair.second)
    if a is None or b is None or not {i.id for i in a.items} & {i.id for i in b.items}:
        return pair
    result = paired_scores(b, a)
    return replace(
        pair, diff=result.diff, low=result.low, high=result.high, right=result.right, wrong=result.wrong, p=result.p, n=result.n
    )
