"""Benchmark rows from the hub or from local files, and their images."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from l2v.data_sets import read_data_set
from l2v.disk import read_parquet, read_records, while_unchanged
from l2v.errors import UserError
from l2v.hub import bound_requests, unanswered
from l2v.identity import fingerprint

if TYPE_CHECKING:
    from PIL import Image

# The tag of EXIF that tells how a camera was held, and those of its values that change width with height.
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
# Cameras write after a JPEG's end mark; so far back it is looked for.
_JPEG_TAIL = 65536

SUFFIXES = (".parquet", ".jsonl", ".json")
# Columns of pictures; of a local file they may hold paths, relative to it.
IMAGES, TEXTS = ("image", "decoded_image"), ("string", "large_string")


def load_rows(id: str, split: str, revision: str | None = None, path: str | None = None, name: str | None = None) -> Any:
    """A `datasets.Dataset` of one split; images stay encoded, so that a corrupt one is told by name when it is read.

    `path` is a file, or a folder that holds `<split>.parquet`, `.jsonl` or `.json`, or the split as the hub keeps it in one
    part; None reads `id` from the hub, in its configuration `name` where it has several. Raises UserError when nothing is
    there, the hub cannot be reached, or the split is empty.
    """
    import datasets

    datasets.disable_progress_bars()
    try:
        if path is None:
            bound_requests()
            rows = read_data_set(id, name, revision, split)
        else:
            file = _split_file(Path(path), split)
            if file.suffix == ".parquet":
                rows = datasets.Dataset(read_parquet(file))
            else:
                records = _records(file)
                # Columns that the first row lacks would be left out.
                columns = list(dict.fromkeys(key for record in records for key in record))
                rows = datasets.Dataset.from_list([{key: r.get(key) for key in columns} for r in records])
    except UserError:
        raise
    except Exception as error:
        if path is not None:
            raise UserError(
                f"The file of split '{split}' in {path} could not be read ({_short(error)}); copy or download it again."
            ) from error
        raise UserError(
            f"The benchmark '{id}' (split '{split}') could not be loaded from the hub; if the hub cannot be reached from "
            f"here, download it and give benchmark.path=<folder>. Reason: {unanswered() or _short(error)}"
        ) from error
    if not len(rows):
        raise UserError(f"The benchmark {path or id} has no items in split '{split}'; give other data or benchmark.split=….")
    if path is not None:
        rows = _with_image_paths(rows, file.parent)
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


@lru_cache(maxsize=64)
def _rows_in(file: Path, _stand: tuple[int, int]) -> int:
    """`_stand`: the file's time and size, so that a changed one is counted again."""
    if file.suffix == ".parquet":
        from pyarrow import ArrowInvalid, parquet

        try:
            return int(parquet.ParquetFile(file).metadata.num_rows)
        except ArrowInvalid as error:
            raise UserError(
                f"The benchmark file {file} could not be read ({_short(error)}); copy or download it anew."
            ) from error
    return len(read_records(file))


def count_rows(path: str, split: str) -> int:
    """How many rows a split of local data has (see `load_rows`). Raises UserError where it is not there or damaged."""
    file = _split_file(Path(path), split)
    return _rows_in(file, (file.stat().st_mtime_ns, file.stat().st_size))


def rows_fingerprint(path: str) -> str:
    """The fingerprint of local rows, a file's or all that is in a folder, with the pictures that they name elsewhere."""
    named = [Path(path)] if Path(path).is_file() else _row_files(Path(path))

    def pictures() -> dict[str, Path]:
        found: dict[str, Path] = {}
        for file in named:
            if file.suffix in SUFFIXES:
                found |= while_unchanged(file, "pictures", partial(_pictures, file))
        return found

    return fingerprint(path, pictures)


def _row_files(folder: Path) -> list[Path]:
    """The files in a folder, or in its `data`, that may hold the rows of a split."""
    return sorted(file for place in (folder, folder / "data") for file in place.glob("*") if file.suffix in SUFFIXES)


def _pictures(file: Path) -> dict[str, Path]:
    """The pictures of a file of rows by their paths in it; none where it cannot be read, which reading its rows tells."""
    try:
        if file.suffix == ".parquet":
            if not _may_name_pictures(file):
                return {}
            from pyarrow import parquet

            table = parquet.ParquetFile(file)
            texts = [field.name for field in table.schema_arrow if field.name in IMAGES and field.type in TEXTS]
            rows = table.read(texts).to_pylist() if texts else []
        else:
            rows = _records(file)
    except (UserError, OSError, ValueError):
        return {}
    named = {value for row in rows for name in IMAGES if isinstance(value := row.get(name), str) and value}
    return {value: file.parent / value for value in named}


def _records(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file; a picture that is told as {bytes: null, path}, which `datasets` writes, by its path."""
    rows = read_records(file)
    for row in rows:
        for name in IMAGES:
            if isinstance(told := row.get(name), dict) and told.get("bytes") is None and isinstance(told.get("path"), str):
                row[name] = told["path"]
    return rows


def _may_name_pictures(file: Path) -> bool:
    """Whether a parquet file has a column of pictures without parts, as bytes are one, by the paths of its columns in its last
    part: a field that is a list of one text (Thrift's compact protocol). The library that reads it takes a quarter of a second
    to import.
    """
    with file.open("rb") as opened:
        opened.seek(-8, io.SEEK_END)
        opened.seek(-8 - int.from_bytes(opened.read(4), "little"), io.SEEK_END)
        told = opened.read()
    return any(b"\x19\x18" + bytes([len(name)]) + name.encode() in told for name in IMAGES)


def _with_image_paths(rows: Any, folder: Path) -> Any:
    """Image paths in a local file are relative to that file."""
    for name in IMAGES:
        if name in rows.features and getattr(rows.features[name], "dtype", "") in TEXTS:
            paths = [str(folder / value) if value else value for value in rows[name]]
            rows = rows.remove_columns(name).add_column(name, paths)
    return rows


def _split_file(path: Path, split: str) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"benchmark.path '{path}' does not exist.")
    for suffix in SUFFIXES:
        if (path / f"{split}{suffix}").is_file():
            return path / f"{split}{suffix}"
    found = _row_files(path)
    # As the hub's copies are called: data/testmini-00000-of-00001-725687bf7a18d64b.parquet
    parts = [p for p in found if re.fullmatch(rf"{re.escape(split)}-\d+-of-\d+(-\w+)?", p.stem)]
    if len(parts) == 1 and "-00000-of-00001" in parts[0].stem:
        return parts[0]
    if parts:
        raise UserError(f"Split '{split}' of {path} lies in parts, of which {len(parts)} are there; give it as one file.")
    there = ", ".join(p.stem for p in found) or "nothing"
    raise UserError(
        f"Split '{split}' is not in {path} (there: {there}); set benchmark.split=…, or benchmark.path= to the file itself."
    )


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _checked(image: Image.Image) -> Image.Image:
    """The image, unread, when its file is whole as far as its own marks tell: PNG's checksums, the end mark of a JPEG."""
    file = getattr(image, "fp", None)
    if image.format == "PNG" and file is not None:
        image.verify()
    elif image.format == "JPEG" and file is not None:
        file.seek(0, io.SEEK_END)
        file.seek(max(0, file.tell() - _JPEG_TAIL))
        if b"\xff\xd9" not in file.read():
            raise OSError("image file is truncated")
    return image


def _orientation(image: Image.Image) -> int:
    """How a camera was held, as a viewer turns its picture and `datasets` does; PIL itself turns a TIFF."""
    file = getattr(image, "fp", None)
    if image.format == "PNG" and file is not None and "exif" not in image.info:
        # PIL decodes every pixel to look for EXIF behind them, where it seldom stands.
        place = file.tell()
        file.seek(0)
        found = b"eXIf" in file.read()
        file.seek(place)
        if not found:
            return 1
    return 1 if image.format == "TIFF" else int(image.getexif().get(ORIENTATION, 1))


class LazyImages(Sequence["Image.Image"]):
    """The images of one item, decoded each time they are asked for: thousands of decoded ones would not fit in memory.

    sizes: (width, height) of each, in pixels, known without decoding any.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], load: Callable[[], Sequence[Image.Image]]) -> None:
        self.sizes = tuple(sizes)
        self._load = load

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image.Image]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._load()[index]

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self._load())


_only_sizes: ContextVar[bool] = ContextVar("only_sizes", default=False)


def image_sizes(load: Callable[[], Sequence[Image.Image]]) -> list[tuple[int, int]]:
    """(width, height) of the images that `load` reads by `read_image`, from their headers; no pixel is decoded.

    Raises UserError as `read_image` does, for what can be told without decoding: a missing file, no image, one cut short.
    """
    token = _only_sizes.set(True)
    try:
        return [image.size for image in load()]
    finally:
        _only_sizes.reset(token)


def read_image(value: Any, where: str) -> Image.Image:
    """One image as RGB, from an encoded column ({bytes, path}), a path or a PIL image.

    `where` names the item in errors. Raises UserError for a missing, truncated or otherwise corrupt image.
    """
    if value is None:
        what = "its column 'image' or 'decoded_image' is not there, or empty"
        raise UserError(f"The image of {where} is missing or corrupt ({what}); mend or remove that item.")
    from PIL import Image, ImageOps

    try:
        if isinstance(value, Image.Image):
            image = value
        elif isinstance(value, dict) and value.get("bytes") is not None:
            image = Image.open(io.BytesIO(value["bytes"]))
        else:
            image = Image.open(value["path"] if isinstance(value, dict) else value)
        if image.mode in ("I", "F"):
            raise ValueError(f"mode {image.mode}, 32 bits a pixel, does not say what is white; save it with 8 bits")
        if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's JPEG holds more behind its picture
            raise ValueError("it has several frames or pages; save the one that is meant")
        if _only_sizes.get():
            sideways = _orientation(image) in SIDEWAYS
            image = _checked(image)
            return Image.new("1", image.size[::-1]) if sideways else image
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        image.load()
    except (OSError, ValueError, TypeError, AttributeError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"The image of {where} is missing or corrupt ({_short(error)}); mend or remove that item.") from error
    if image.mode.startswith("I;16"):
        import numpy as np

        # A plain convert() would clip 16-bit grey to white.
        shades, clear = np.asarray(image), image.info.get("transparency", -1)
        image = Image.fromarray(np.where(shades == clear, 255, shades // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        # Transparent diagrams are drawn for white paper; a plain convert() would show them on black.
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")
