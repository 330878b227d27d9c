"""Sums of three and four one-digit terms, in text or as pictures (problems.py), for models that add better in steps.

One row: {"id": "select-0", "question": "What is 2 + 7 + 5?", "answer": "14", "direct": "14", "cot": "…", "domain": "3 terms"}
Splits select (300) and report (600); the configuration "pictures" shows the terms as a line of rendered text, "boxes" with
every term and sign in a box of its own (l2v/boxes.py). What differs between prompt styles are the turns before the question:
four direct demonstrations, four worked ones, both in turn, or none.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from l2v.benchmarks.base import INTEGER, Answer, Benchmark, Question, Verdict
from l2v.benchmarks.sums import problems
from l2v.boxes import draw_boxes, pieces_of, typeface
from l2v.disk import read_records
from l2v.errors import unknown
from l2v.paths import PACKAGE

PICTURES, IN_BOXES = "pictures", "boxes"
# Which response each of the demonstrations gets, by style.
TURNS = {
    "direct": ("direct",) * 4, "worked": ("cot",) * 4, "mixed": ("cot", "direct", "cot", "direct"), "plain": (),
}  # fmt: skip


class Sums(Benchmark):
    TITLE = "sums"
    STYLES = tuple(TURNS)
    REASONING_PREFIX = "Let's add one by one:"
    ID = "l2v/sums"
    SPLIT = "report"
    TEXTS = ("question",)
    PATH = str(PACKAGE / "benchmarks" / "sums" / "data")  # lm-eval alone gets the shipped rows

    def load(
        self, split: str = "", id: str = "", revision: str | None = "", path: str | None = "", name: str | None = None, **_: Any
    ) -> dict[str, Any]:
        """The rows of one split; `name` "pictures" or "boxes" puts a picture in the place of the terms."""
        if name not in (None, "", PICTURES, IN_BOXES):
            raise unknown("benchmark.config_name", name, (PICTURES, IN_BOXES))
        rows = super().load(split, id, revision, path, None)["test"]
        if name:
            rows = rows.map(lambda row: {"question": "What is <image>?", "terms": row["question"]})
        if name == IN_BOXES:
            rows = rows.map(lambda row: {"boxes": True})
        return {"test": rows}

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """The question; what a style adds stands before it, as turns of the chat."""
        return str(doc["question"])

    def history(self, style: str) -> tuple[tuple[str, str], ...]:
        """The demonstrations of a style, in words."""
        return tuple((row["question"], row[kind]) for row, kind in zip(demonstrations(), TURNS[style], strict=False))

    def doc_to_image(self, doc: dict[str, Any]) -> list[Image.Image]:
        """The picture of the terms, where the row has one: the same for the same row."""
        if not doc.get("terms"):
            return []
        line, seed = doc["terms"].removeprefix("What is ").removesuffix("?"), zlib.crc32(doc["id"].encode())
        if doc.get("boxes"):
            return [draw_boxes(pieces_of(line), np.random.default_rng(seed))]
        return [render(line, seed)]

    def question(self, doc: dict[str, Any]) -> Question:
        return Question(doc.get("terms") or doc["question"], INTEGER, self.gold(doc))

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """The number after "answer is", else the last one before the first blank line, equals the sum."""
        read = problems.read_answer(answer.text) if answer.extraction is None else answer.extraction
        if read is None:
            return Verdict(False, None, "no_answer", "the response holds no number")
        return Verdict(read == self.gold(doc), read, "last_number", f"read {read}, gold {self.gold(doc)}")

    def shows_steps(self, response: str) -> bool:
        """Whether the response writes down at least two equations."""
        return problems.shows_steps(response)


@lru_cache(maxsize=1)
def demonstrations() -> list[dict[str, Any]]:
    """The rows that stand before questions, and are never asked."""
    return read_records(problems.DATA / "demonstrations.jsonl")


def render(line: str, seed: int) -> Image.Image:
    """A line of text as a picture, RGB, dark on light; size, place, contrast and pixel noise are drawn with `seed`."""
    rng = np.random.default_rng(seed)
    font = typeface(None, int(rng.integers(18, 27)))
    left, top, right, bottom = font.getbbox(line)
    margin = rng.integers(4, 13, 4)
    size = (int(right - left + margin[0] + margin[2]), int(bottom - top + margin[1] + margin[3]))
    picture = Image.new("L", size, int(rng.integers(200, 256)))
    place = (int(margin[0] - left), int(margin[1] - top))
    ImageDraw.Draw(picture).text(place, line, fill=int(rng.integers(0, 81)), font=font)
    noisy = np.asarray(picture, dtype=np.float32) + rng.normal(0.0, 6.0, (size[1], size[0]))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert("RGB")


BENCHMARK = Sums()
# The task file names the benchmark's functions as this module's.
__getattr__ = BENCHMARK.__getattribute__
