"""Images of every kind become RGB on white paper; broken ones are told by name."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageFile

from l2v.benchmarks.data import image_sizes, read_image
from l2v.errors import UserError

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> dict[str, object]:
    """As a dataset column holds it."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def half_transparent(mode: str) -> Image.Image:
    """A red (or grey) left pixel and a fully transparent right one, whose hidden colour is black."""
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    return image.convert(mode)


def test_transparent_pixels_are_white() -> None:
    image = read_image(encoded(half_transparent("RGBA")), "x")
    assert image.mode == "RGB"
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    image = read_image(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128))), "x")
    assert image.getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)


def test_grey_with_transparency() -> None:
    image = read_image(encoded(half_transparent("LA")), "x")
    assert image.mode == "RGB"
    assert image.getpixel((1, 0)) == WHITE
    assert image.getpixel((0, 0)) != WHITE


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    image.putpixel((0, 0), 1)
    read = read_image(encoded(image, transparency=0), "x")
    assert read.mode == "RGB"
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


def test_rgb_with_a_transparent_colour() -> None:
    image = Image.new("RGB", (2, 1), (0, 0, 0))
    image.putpixel((0, 0), RED)
    read = read_image(encoded(image, transparency=(0, 0, 0)), "x")
    assert [read.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


@pytest.mark.parametrize(
    ("mode", "value", "seen"), [("L", 77, (77,) * 3), ("1", 1, WHITE), ("P", 0, None), ("CMYK", None, None)]
)
def test_other_modes_become_rgb(mode: str, value: int | None, seen: tuple[int, ...] | None) -> None:
    image = Image.new(mode, (3, 2), value) if value is not None else Image.new(mode, (3, 2))
    read = read_image(encoded(image, "TIFF"), "x")
    assert (read.mode, read.size) == ("RGB", (3, 2))
    if seen is not None:
        assert read.getpixel((0, 0)) == seen


def test_grey_of_sixteen_bits_keeps_its_shades() -> None:
    """Scientific figures come with 16 bits; a plain convert("RGB") clips them to white."""
    image = Image.new("I", (2, 1), 65535)
    image.putpixel((0, 0), 32768)
    read = read_image(encoded(image.convert("I;16")), "x")
    assert read.mode == "RGB"
    assert read.getpixel((0, 0)) == pytest.approx((128,) * 3, abs=2)
    assert read.getpixel((1, 0)) == WHITE


def test_grey_of_sixteen_bits_with_a_transparent_shade() -> None:
    image = Image.new("I", (3, 1), 65535)
    for x, shade in enumerate((32768, 300)):
        image.putpixel((x, 0), shade)
    read = read_image(encoded(image.convert("I;16"), transparency=300), "x")
    assert [read.getpixel((x, 0))[0] for x in range(3)] == pytest.approx([128, 255, 255], abs=2)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_a_picture_of_several_frames_is_refused(form: str) -> None:
    """The first of them would be shown, whichever the question means."""
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    column = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    for look in (lambda: read_image(column, "x"), lambda: image_sizes(lambda: [read_image(column, "x")])):
        with pytest.raises(UserError, match="x is missing or corrupt .*several frames.*save the one"):
            look()
    assert read_image(encoded(frames[0], form, save_all=True), "x").size == (4, 3)


def test_what_a_camera_keeps_behind_its_picture_is_no_frame() -> None:
    """A phone's JPEG holds a map of brightness, or the other eye's view, behind the picture."""
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    read = read_image(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]), "x")
    assert read.getpixel((0, 0)) == pytest.approx(RED, abs=2)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_without_a_scale_are_refused(mode: str) -> None:
    """A plain convert("RGB") takes 255 for white, and shows a picture of 0 to 1 as black, one of 16 bits as white."""
    with pytest.raises(UserError, match="x is missing or corrupt .*32 bits a pixel.* save it with 8 bits"):
        read_image(encoded(Image.new(mode, (2, 1), 1), "TIFF"), "x")


def late_exif(content: bytes) -> bytes:
    """A PNG whose EXIF stands behind its pixels, as the format allows."""
    start = content.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(content[start : start + 4], "big")
    end = content.index(b"IEND") - 4
    return content[:start] + content[stop:end] + content[start:stop] + content[end:]


@pytest.mark.parametrize("form", ["JPEG", "PNG", "late PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (64, 40)), (3, (64, 40)), (6, (40, 64)), (8, (40, 64))])
def test_a_photograph_stands_as_it_was_taken(orientation: int, size: tuple[int, int], form: str) -> None:
    """Against `datasets`, which turns what it decodes."""
    import datasets

    image = Image.effect_noise((64, 40), 50).convert("RGB")
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    column = encoded(image, form.removeprefix("late "), exif=exif)
    if form == "late PNG":
        column["bytes"] = late_exif(column["bytes"])  # type: ignore[arg-type]
    read = read_image(column, "x")
    assert read.tobytes() == datasets.Image().decode_example(column).convert("RGB").tobytes() and read.size == size
    assert image_sizes(lambda: [read_image(column, "x")]) == [size]


def test_the_ways_to_hand_over_an_image(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 2), RED)
    image.save(tmp_path / "i.png")
    column = encoded(image)
    for value in (image, column, {"bytes": None, "path": str(tmp_path / "i.png")}, str(tmp_path / "i.png"), tmp_path / "i.png"):
        assert read_image(value, "x").tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        {"bytes": b"", "path": None},
        {"bytes": b"no image", "path": None},
        {"bytes": encoded(Image.effect_noise((64, 64), 50))["bytes"][:900], "path": None},  # type: ignore[index]
        {"bytes": None, "path": None},
        {"bytes": None, "path": "/none/such.png"},
        "/none/such.png",
        None,
        7,
    ],
    ids=["empty", "text", "truncated", "nothing", "path in column", "path", "none", "number"],
)
def test_a_broken_image_is_one_sentence_with_the_item(value: object) -> None:
    with pytest.raises(UserError, match="mini item 17 is missing or corrupt") as told:
        read_image(value, "mini item 17")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_sizes_are_read_without_pixels(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the header; a file that is cut short is told all the same, as one that is no image."""
    file = io.BytesIO()
    Image.effect_noise((64, 40), 50).convert("RGB").save(file, form)

    def never(*_: object) -> None:
        raise AssertionError("decoded")

    def sizes(content: bytes) -> list[tuple[int, int]]:
        return image_sizes(lambda: [read_image({"bytes": content, "path": None}, "x")])

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    assert sizes(file.getvalue()) == [(64, 40)]
    for broken in (file.getvalue()[:-200], b"no image"):
        with pytest.raises(UserError, match="x is missing or corrupt"):
            sizes(broken)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    column = encoded(Image.new("RGB", (50, 50)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="x is missing or corrupt"):
        read_image(column, "x")
