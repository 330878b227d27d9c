"""Small pictures of benchmark items for the page, read from the data that the cells were computed on."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

from PIL import Image

from l2v.benchmarks.base import Benchmark
from l2v.benchmarks.catalogue import ANY_TASK
from l2v.benchmarks.harness import load_task, open_docs
from l2v.errors import UserError
from l2v.study.cells import BenchmarkId
from l2v.study.questions import benchmark_id, data_ref
from l2v.study.score import benchmark_items, stored_benchmark
from l2v.study.store import CellFolder, Store

IMAGE_BUDGET = 1_000_000  # bytes of all pictures together, before base64
SIDES = (360, 300, 240, 180, 130, 96)  # longest side in pixels, the largest that keeps within the budget
SAMPLE = 32  # items whose pictures are encoded to find it
MOST_IMAGES = 4  # per item

Read = Callable[[], Sequence[Image.Image]]


@dataclass(frozen=True)
class Pictures:
    """base64 WebP, each once; their (width, height); and which ones an item has."""

    encoded: list[str]
    sizes: list[tuple[int, int]]
    by_item: dict[tuple[str, str], list[int]]


def thumbnails(store: Store, wanted_items: Sequence[tuple[str, str, str]]) -> tuple[Pictures, str]:
    """Small pictures of items, given as (key of the benchmark's items, item, a cell that answered it); and one sentence where
    some could not be read."""
    wanted: dict[tuple[str, str], Read] = {}
    notes: list[str] = []
    for key in dict.fromkeys(key for key, _, _ in wanted_items):
        ids = {item for of, item, _ in wanted_items if of == key}
        cell = next(cell for of, _, cell in wanted_items if of == key)
        try:
            readers = image_readers(store.folder(cell), ids)
        except UserError as error:
            notes.append(str(error).rstrip("."))
            continue
        except Exception as error:  # the data are another's: whatever a loader raises costs pictures, never the page
            notes.append(f"{type(error).__name__} while reading the benchmark's data")
            continue
        wanted |= {(key, item): readers[item] for item in sorted(ids) if item in readers}
    pictures, failed = _encode(wanted, _side(wanted))
    if failed:
        notes.append(f"the pictures of {failed} items could not be read")
    pictures, left = _within(pictures, IMAGE_BUDGET)
    if left:
        notes.append(f"there is no room for those of {left} items, which `l2v serve` shows")
    return pictures, f"Some pictures are missing: {'; '.join(dict.fromkeys(notes))}." if notes else ""


def image_readers(folder: CellFolder, ids: Iterable[str]) -> dict[str, Read]:
    """How to read the images of these items, from the data that the cell was computed on. Raises UserError without them."""
    benchmark, locations = folder.cell().benchmark, folder.settings().get("locations") or {}
    config = stored_benchmark(benchmark, locations)
    if benchmark.name == ANY_TASK:
        by_id = {item.id: item for item in benchmark_items(benchmark, config)}
        return {i: partial(list, by_id[i].images) for i in ids if i in by_id}
    if benchmark_id(config, benchmark.prompt).revision != benchmark.revision:
        raise UserError(f"the data of benchmark '{benchmark.name}' is no longer what the cells were computed on")
    return _of_rows(benchmark, config, set(ids))


def _of_rows(benchmark: BenchmarkId, config: Any, ids: set[str]) -> dict[str, Read]:
    """Straight from the rows: reading a benchmark as items decodes every image of it."""
    ref = data_ref(config)
    docs = open_docs(ref)
    rows = load_task(ref).eval_docs
    found: dict[str, Read] = {}
    for row in rows:
        item = docs.item_id(row)
        if item in ids and item not in found:
            found[item] = _of_row(docs, row)
    return found


def _of_row(docs: Benchmark, row: dict[str, Any]) -> Read:
    return lambda: docs.doc_to_image(row) or []


def _side(wanted: Mapping[tuple[str, str], Read]) -> int:
    """The largest of SIDES at which all pictures keep within IMAGE_BUDGET, judged by a sample of the items."""
    names = list(wanted)
    sample = {name: wanted[name] for name in names[:: max(1, len(names) // SAMPLE)]}
    for side in SIDES:
        pictures, _ = _encode(sample, side)
        if sum(len(text) for text in pictures.encoded) * 3 / 4 * len(names) <= IMAGE_BUDGET * len(sample):
            return side
    return SIDES[-1]


def _encode(wanted: Mapping[tuple[str, str], Read], side: int) -> tuple[Pictures, int]:
    """All pictures at one size; equal ones are stored once."""

    def small(read: Read) -> list[tuple[bytes, tuple[int, int]]] | None:
        try:
            return [thumbnail(image, side) for image in list(read())[:MOST_IMAGES]]
        except Exception:  # a corrupt image costs itself alone
            return None

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(small, wanted.values()))
    index: dict[bytes, int] = {}
    encoded: list[str] = []
    sizes: list[tuple[int, int]] = []
    by_item: dict[tuple[str, str], list[int]] = {}
    for name, pictures in zip(wanted, made, strict=True):
        for data, size in pictures or []:
            if data not in index:
                index[data] = len(encoded)
                encoded.append(base64.b64encode(data).decode())
                sizes.append(size)
            by_item.setdefault(name, []).append(index[data])
    return Pictures(encoded, sizes, by_item), sum(pictures is None for pictures in made)


def _within(pictures: Pictures, budget: int) -> tuple[Pictures, int]:
    """The first pictures, as many as the budget has room for, and the number of items that lose some."""
    sizes = accumulate(len(text) * 3 / 4 for text in pictures.encoded)
    kept = sum(size <= budget for size in sizes)
    by_item = {name: indices for name, indices in pictures.by_item.items() if max(indices) < kept}
    return Pictures(pictures.encoded[:kept], pictures.sizes[:kept], by_item), len(pictures.by_item) - len(by_item)


def thumbnail(image: Image.Image, side: int) -> tuple[bytes, tuple[int, int]]:
    """WebP with the longest side at most `side` pixels, and its size; tiny pictures are kept exactly."""
    image = image.convert("RGB")
    image.thumbnail((side, side), reducing_gap=2.0)
    buffer = io.BytesIO()
    if max(image.size) <= 64:
        image.save(buffer, "WEBP", lossless=True)
    else:
        image.save(buffer, "WEBP", quality=62, method=2)
    return buffer.getvalue(), image.size
