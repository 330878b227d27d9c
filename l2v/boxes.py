"""A line of text as a picture in which every piece has a box of its own, so that a small reader needs no layout.

The picture is BOXES squares of SIDE pixels in a row, RGB. Size, place, ink, ground and noise are drawn; the pieces put together
spell the line, an empty box is a blank.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from l2v.errors import UserError

SIDE = 28
BOXES = 16
SIZES = (13, 21)  # of the type, in pixels: the least, and the one above the largest
SHIFT = 4.0  # of a piece to the side of its box's middle, in pixels
LEAST = 6  # of the type, where a long piece leaves room for no more


def pieces_of(line: str) -> list[str]:
    """The words and blanks of a line, in order. Raises UserError for more of them than there are boxes."""
    found = re.findall(r"\S+|\s", line)
    if len(found) > BOXES:
        raise UserError(f"The line '{line[:60]}' has {len(found)} words and blanks; a picture has {BOXES} boxes.")
    return found


def draw_boxes(pieces: Sequence[str], rng: np.random.Generator, face: str | None = None) -> Image.Image:
    """The picture of at most BOXES pieces. face: the file of a typeface; None: Pillow's own."""
    size, ground, ink = int(rng.integers(*SIZES)), rng.uniform(190.0, 255.0), rng.uniform(0.0, 90.0)
    base = round(SIDE * 0.72 + rng.uniform(-2.0, 2.0))
    cover = np.zeros((SIDE, SIDE * BOXES), dtype=np.float32)  # share of a pixel that is ink
    for place, piece in enumerate(pieces):
        if not piece.strip():
            continue
        drawn, top = _drawn(face, size, piece)
        room = max(SIDE - drawn.shape[1], 0) / 2
        x = place * SIDE + round(room + rng.uniform(-min(room, SHIFT), min(room, SHIFT)))
        y = min(max(base + top + int(rng.integers(-1, 2)), 0), SIDE - len(drawn))
        cover[y : y + len(drawn), x : x + drawn.shape[1]] = drawn
    noise = rng.standard_normal(cover.shape, dtype=np.float32) * rng.uniform(0.0, 12.0)
    gray = (ground + (ink - ground) * cover + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


@lru_cache(maxsize=1 << 17)
def _drawn(face: str | None, size: int, piece: str) -> tuple[NDArray[np.float32], int]:
    """A piece in the largest type up to `size` that fits a box, (height, width) in [0, 1], and its top above the base line."""
    font = typeface(face, size)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(piece, anchor="ls"))
    if max(right - left, bottom - top) > SIDE and size > LEAST:
        return _drawn(face, size - 1, piece)
    sheet = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(sheet).text((-left, -top), piece, fill=255, font=font, anchor="ls")
    return (np.asarray(sheet)[:SIDE, :SIDE] / 255).astype(np.float32), top


@lru_cache(maxsize=512)
def typeface(face: str | None, size: int) -> ImageFont.FreeTypeFont:
    """A face from its file, or Pillow's own, in a size of pixels. Raises UserError where Pillow cannot draw any."""
    font = ImageFont.truetype(face, size) if face else ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UserError("Pillow was built without FreeType, so that no text can be drawn; install another build of it.")
    return font
