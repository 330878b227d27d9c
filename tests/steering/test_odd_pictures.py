"""Pictures of odd sizes and kinds through the real processors: what a model gets is the plain RGB picture, to the number."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from PIL import Image

from l2v.benchmarks.data import read_image
from l2v.errors import UserError
from l2v.steering.engine.rows import Request, encode_plainly
from l2v.steering.models import LoadedModel

ORANGE = (250, 120, 10)
# Heights and widths of 1 and 3 could be taken for channels; 4 x 4 is smaller than a patch.
SIZES = [(1, 1), (3, 3), (1, 3), (3, 1), (1, 40), (40, 3), (3, 40), (4, 4), (2, 300), (900, 700)]


@pytest.fixture(scope="module", params=[*families.FAMILIES, *families.CROSS_ATTENDING])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return families.load(request.param, tmp_path_factory.mktemp(request.param))


def numbers(target: LoadedModel, image: Image.Image) -> torch.Tensor:
    """What the model gets of a picture, (3, …): each channel's numbers."""
    pixels = encode_plainly(target, [Request("q", "w1", [image])])["pixel_values"].float()
    if pixels.ndim == 2:  # Qwen-VL: a patch's numbers, channel by channel
        return pixels.reshape(len(pixels), 3, -1).movedim(1, 0).flatten(1)
    return pixels.movedim(-3, 0).flatten(1)


def as_seen(target: LoadedModel, colour: tuple[int, int, int]) -> torch.Tensor:
    """A colour as the processor scales it, (3, 1)."""
    images: Any = target.processor.image_processor  # type: ignore[union-attr]
    shares = torch.tensor(colour) / 255
    return ((shares - torch.tensor(images.image_mean)) / torch.tensor(images.image_std))[:, None]


def test_a_plain_colour_stays_that_colour_at_every_size(target: LoadedModel) -> None:
    own, black = as_seen(target, ORANGE), as_seen(target, (0, 0, 0))
    for size in SIZES:
        found = numbers(target, Image.new("RGB", size, ORANGE))
        is_own = ((found - own).abs() < 0.02).all(dim=0)
        filled = (found == 0).all(dim=0) | ((found - black).abs() < 0.02).all(dim=0)
        assert is_own.any() and bool((is_own | filled).all()), (size, found.unique())


def column(image: Image.Image, form: str, **options: Any) -> dict[str, Any]:
    """As a benchmark's file holds a picture."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return {"bytes": file.getvalue(), "path": None}


def odd_pictures() -> dict[str, tuple[dict[str, Any], Image.Image]]:
    """An encoded picture of each kind, and the RGB picture that a viewer shows on white paper."""
    grey = np.linspace(0, 255, 20 * 30).reshape(20, 30).astype(np.uint8)
    shades = Image.fromarray(grey)
    drawn = np.zeros((20, 30, 4), np.uint8)
    drawn[5:15, 8:20] = (200, 30, 60, 255)
    paper = np.full((20, 30, 3), 255, np.uint8)
    paper[5:15, 8:20] = (200, 30, 60)
    colours = families.picture(30, 20)
    palette = colours.convert("P", palette=Image.Palette.ADAPTIVE)
    exif = Image.Exif()
    exif[0x112] = 6
    return {
        "alpha": (column(Image.fromarray(drawn), "PNG"), Image.fromarray(paper)),
        "alpha, WebP": (column(Image.fromarray(drawn), "WEBP", lossless=True), Image.fromarray(paper)),
        "16 bits": (column(Image.fromarray(grey.astype(np.uint16) * 257), "PNG"), shades.convert("RGB")),
        "16 bits, TIFF": (column(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF"), shades.convert("RGB")),
        "grey": (column(shades, "PNG"), shades.convert("RGB")),
        "palette": (column(palette, "PNG"), palette.convert("RGB")),
        "one bit": (column(shades.convert("1"), "PNG"), shades.convert("1").convert("RGB")),
        "CMYK": (column(colours.convert("CMYK"), "TIFF"), colours),
        "turned": (column(colours, "PNG", exif=exif), colours.transpose(Image.Transpose.ROTATE_270)),
    }


def test_a_picture_of_every_kind_is_what_a_viewer_shows(target: LoadedModel) -> None:
    for kind, (encoded, shown) in odd_pictures().items():
        assert torch.equal(numbers(target, read_image(encoded, "x")), numbers(target, shown)), kind


def test_a_picture_that_a_processor_refuses_is_told_with_its_question(tmp_path: Path) -> None:
    qwen = families.load("qwen2_vl", tmp_path)
    with pytest.raises(UserError, match="refuses question '17': absolute aspect ratio must be smaller than 200"):
        encode_plainly(qwen, [Request("17", "w1", [Image.new("RGB", (1, 5000))])])
