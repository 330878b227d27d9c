"""Settings of a target's image processor: how many tokens a picture becomes. No torch: a cell's identity holds them."""

from __future__ import annotations

from dataclasses import dataclass

from l2v.errors import UserError
from l2v.ranges import check_ranges


@dataclass(frozen=True)
class ImageSettings:
    """What differs from the checkpoint's own image processor; None: as the checkpoint has it.

    min_pixels, max_pixels: area that a picture is scaled into (Qwen-VL). max_tiles: most crops of a picture, the overview
    left out (InternVL). longest_edge: its longer side in pixels (Idefics, SmolVLM). split_images: whether a picture is cut
    into crops (Idefics, SmolVLM).
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    max_tiles: int | None = None
    longest_edge: int | None = None
    split_images: bool | None = None

    def given(self) -> dict[str, int | bool]:
        return {name: value for name, value in vars(self).items() if value is not None}

    def check(self) -> None:
        """Raise UserError for values out of range."""
        check_ranges(self, "processor.")
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise UserError(f"processor.min_pixels={self.min_pixels} is above processor.max_pixels={self.max_pixels}.")

    def __str__(self) -> str:
        return " ".join(f"{name}={str(value).lower()}" for name, value in self.given().items())
