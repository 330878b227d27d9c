"""What travels between benchmarks, scorers and studies, and what a benchmark's docs.py provides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image


@dataclass(frozen=True)
class Verdict:
    """A scorer's judgement of one response.

    correct: None when the scorer abstains. extraction: the answer it read, None when there is none. rule: the rule that
    decided. reason: one sentence for a reader.
    """

    correct: bool | None
    extraction: str | None
    rule: str
    reason: str = ""


@dataclass(frozen=True)
class Item:
    """One question of a benchmark. `text` is the prompt with a literal `<image>` per image; `doc` the original row."""

    id: str
    text: str
    gold: str
    doc: dict[str, Any]
    images: tuple[Image.Image, ...] = ()


class BenchmarkDocs(Protocol):
    """The functions of a benchmark's docs.py (a module); `doc` is one row in the benchmark's own fields."""

    STYLES: tuple[str, ...]

    def item_id(self, doc: dict[str, Any]) -> str:
        """The row's own id, unique in its split."""

    def gold(self, doc: dict[str, Any]) -> str:
        """The annotated answer, as text."""

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """The prompt in one of STYLES."""

    def doc_to_image(self, doc: dict[str, Any]) -> list[Image.Image]:
        """The row's images, RGB."""

    def official(self, doc: dict[str, Any], response: str) -> Verdict:
        """The benchmark's own rule."""

    def shows_steps(self, response: str) -> bool:
        """Whether a response writes out intermediate steps."""
