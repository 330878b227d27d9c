"""A cell's answers with their verdicts, and how they stand to the baseline's: for the page and the trackers' tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from l2v.study.store import CellFolder

WORDS = {True: "right", False: "wrong", None: "abstained"}
# Against the baseline. Flips first: they are what a reader looks for, and what is left when there is little room.
FLIPS = ("flipped right", "flipped wrong", "both wrong", "both right")


@dataclass(frozen=True)
class Answered:
    """One response with its verdict: right, wrong, or None where the scorer abstained; `read`: what the scorer took from it."""

    text: str
    right: bool | None
    read: str | None
    reason: str
    tokens: int | None


def answers(folder: CellFolder, scorer: str) -> dict[str, Answered]:
    """The responses of a cell that a scorer judged, by item."""
    verdicts = {v["id"]: v for v in folder.scores(scorer)}
    found = {}
    for record in folder.responses():
        verdict = verdicts.get(record["id"])
        if verdict is not None:
            told = verdict["correct"], verdict.get("extraction"), verdict.get("reason", "")
            found[record["id"]] = Answered(record["response"], *told, record.get("tokens"))
    return found


def flip(right: bool | None, baseline: bool | None) -> str:
    """How a verdict stands to the baseline's, one of FLIPS; an abstention counts as not right."""
    if right is True:
        return "both right" if baseline is True else "flipped right"
    return "flipped wrong" if baseline is True else "both wrong"


def in_one_order(items: Iterable[str]) -> list[str]:
    """The items by a hash of their id: the same everywhere, and no stretch of the data leads."""
    return sorted(items, key=lambda item: hashlib.sha256(item.encode("utf-8", "replace")).digest())


def writable(text: str) -> str:
    """Text that can be written as UTF-8: lone halves of surrogate pairs are replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
