"""Items that ask the same under two ids: they count twice in n, or stand on both sides of a split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from l2v.benchmarks.base import Item


def twins(items: Sequence[Item], before: Sequence[Item] = ()) -> list[tuple[Item, Item]]:
    """Every item that asks the same as an earlier one, of `before` and then of `items`, with the first such.

    The same: equal text, history, answer and pictures. Pictures are decoded only where all else, and their sizes, are equal.
    """
    every = [*before, *items]
    sizes = [getattr(item.images, "sizes", None) or tuple(image.size for image in item.images) for item in every]
    alike = [(item.text, item.history, item.gold, size) for item, size in zip(every, sizes, strict=True)]
    often, first = Counter(alike), dict[object, Item]()
    found = []
    for item, rest in zip(every, alike, strict=True):
        if often[rest] > 1 and (earlier := first.setdefault((rest, _pictures(item)), item)) is not item:
            found.append((item, earlier))
    return found


def shared(items: Sequence[Item], before: Sequence[Item]) -> list[tuple[Item, Item]]:
    """The items that ask what one of `before` asks, with that one."""
    known = set(map(id, before))
    return [(item, earlier) for item, earlier in twins(items, before) if id(earlier) in known and id(item) not in known]


def _pictures(item: Item) -> bytes:
    content = hashlib.blake2b(digest_size=16)
    for image in item.images:
        content.update(image.tobytes())
    return content.digest()
