"""Damage to benchmark data and contrast files, generated: the same rows as before, other rows under another identity, or one
sentence that names the file; never a traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.data import _may_name_pictures, rows_fingerprint
from l2v.benchmarks.harness import load_items
from l2v.config import BenchmarkConfig
from l2v.errors import UserError
from l2v.identity import fingerprint
from l2v.paths import PACKAGE
from l2v.study.questions import benchmark_id
from l2v.study.score import benchmark_items
from l2v.transfer.contrast import load_questions

DATA = PACKAGE / "mini" / "data"
CUTS = [f"cut {eighth}" for eighth in range(8)]
FLIPS = [f"flipped {eighth}" for eighth in range(8)]
HARMS = [*CUTS, *FLIPS, "emptied", "deleted", "a folder", "another's"]


def benchmark_file(folder: Path, suffix: str) -> Path:
    """Twelve items of the miniature benchmark."""
    file = folder / f"dev{suffix}"
    frame = pd.read_parquet(DATA / "dev.parquet").head(12)
    if suffix == ".parquet":
        frame.to_parquet(file)
        return file
    rows = frame.to_dict("records")
    for number, row in enumerate(rows):
        (folder / f"{number}.png").write_bytes(row["image"]["bytes"])
    file.write_text("".join(json.dumps({**row, "image": f"{n}.png"}) + "\n" for n, row in enumerate(rows)))
    return file


def contrast_file(folder: Path, suffix: str) -> Path:
    """Thirty pairs."""
    rows = [{"question": f"Q{n}?", "cot": f"Step. So {n}.", "direct": str(n), "domain": "d"} for n in range(30)]
    file = folder / f"pairs{suffix}"
    if suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(file)
    else:
        file.write_text(json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    return file


def items_of(file: Path) -> list[Any]:
    found = load_items(DataRef("mini", "dev", "", path=str(file.parent)), "direct")
    return [(item.id, item.text, item.gold) for item in found]


def pairs_of(file: Path) -> list[Any]:
    return list(load_questions(str(file)))


def harm(file: Path, how: str) -> None:
    data = file.read_bytes()
    kind, _, eighth = how.partition(" ")
    place = len(data) * int(eighth) // 8 + 5 if eighth.isdecimal() else 0
    if kind == "cut":
        file.write_bytes(data[:place])
    elif kind == "flipped":
        file.write_bytes(data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :])
    elif how == "emptied":
        file.write_bytes(b"")
    elif how == "another's":
        shutil.copy(PACKAGE.parent / "pyproject.toml", file)
    else:
        file.unlink()
        if how == "a folder":
            file.mkdir()


KINDS: dict[str, tuple[Callable[[Path, str], Path], Callable[[Path], list[Any]]]] = {
    "benchmark": (benchmark_file, items_of),
    "contrast": (contrast_file, pairs_of),
}
FILES = [
    ("benchmark", ".parquet"),
    ("benchmark", ".jsonl"),
    ("contrast", ".json"),
    ("contrast", ".jsonl"),
    ("contrast", ".parquet"),
]


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize(("kind", "suffix"), FILES)
def test_damaged_data_are_told_by_file_or_known_as_others(kind: str, suffix: str, how: str, tmp_path: Path) -> None:
    write, read = KINDS[kind]
    file = write(tmp_path, suffix)
    whole, known = read(file), fingerprint(str(file))
    harm(file, how)
    try:
        found = read(file)
    except UserError as error:
        named = str(tmp_path) in str(error) or any(row[0] in str(error) for row in whole if kind == "benchmark")
        assert named and len(str(error).splitlines()) == 1, error
    else:
        assert found == whole or fingerprint(str(file)) != known, "other rows under the identity of the whole ones"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_read_as_it_is_now(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced by one of its time, as a copy or a clock may leave it; no copy of what it held counts."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "copies")
    write, read = KINDS[kind]
    file = write(tmp_path, ".parquet")
    then, whole, known = file.stat(), read(file), fingerprint(str(file))
    frame = pd.read_parquet(file)
    (column,) = {"answer", "direct"} & set(frame)
    frame[column] = frame[column].iloc[::-1].to_list()
    frame.to_parquet(file)
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
    swapped = read(file)
    assert swapped != whole and len(swapped) == len(whole) and fingerprint(str(file)) != known
    for copy in tmp_path.glob("copies/**/*.arrow"):
        copy.write_bytes(copy.read_bytes()[::-1])
    assert read(file) == swapped
    if kind == "contrast":
        (file.parent / "folder").mkdir()
        file = file.rename(file.parent / "folder" / "train.parquet")
        assert pairs_of(file.parent) == swapped
        pd.read_parquet(file).iloc[::-1].to_parquet(file)
        os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
        assert pairs_of(file.parent) == swapped[::-1]


def test_what_lies_behind_a_link_is_part_of_the_identity(tmp_path: Path) -> None:
    """A folder whose data are kept elsewhere, or that leads round to itself."""
    for name in ("elsewhere", "given"):
        (tmp_path / name).mkdir()
    file = benchmark_file(tmp_path / "elsewhere", ".parquet").rename(tmp_path / "elsewhere" / "dev-00000-of-00001.parquet")
    (tmp_path / "given" / "data").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "given" / "round").symlink_to(tmp_path / "given")
    ref = DataRef("mini", "dev", "", path=str(tmp_path / "given"))
    whole, known = [item.gold for item in load_items(ref, "direct")], fingerprint(ref.path or "")
    frame = pd.read_parquet(file)
    frame.assign(answer=frame["answer"].iloc[::-1].to_list()).to_parquet(file)
    assert [item.gold for item in load_items(ref, "direct")] == whole[::-1]
    assert fingerprint(ref.path or "") != known
    (tmp_path / "given" / "data").unlink()
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "given" / "data")
    (tmp_path / "plain").mkdir()
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "plain" / "data")
    (tmp_path / "given" / "round").unlink()
    assert fingerprint(tmp_path / "given") == fingerprint(tmp_path / "plain")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_picture_that_a_file_names_is_part_of_its_identity(suffix: str, tmp_path: Path) -> None:
    """Wherever both lie; what else lies beside the file is none of it."""
    file = benchmark_file(tmp_path, ".jsonl")
    if suffix == ".parquet":
        pd.DataFrame([json.loads(line) for line in file.read_text().splitlines()]).to_parquet(file := file.with_suffix(suffix))
    plain, known = fingerprint(file), rows_fingerprint(str(file))
    shutil.copytree(tmp_path, tmp_path / "elsewhere" / "copy")
    assert known == rows_fingerprint(str(tmp_path / "elsewhere" / "copy" / file.name)) != plain
    (tmp_path / "other.png").write_bytes((tmp_path / "1.png").read_bytes())
    assert rows_fingerprint(str(file)) == known
    (tmp_path / "1.png").write_bytes((tmp_path / "2.png").read_bytes())
    assert rows_fingerprint(str(file)) != known and fingerprint(file) == plain
    asked = BenchmarkConfig(name="mini", id="x", path=str(file), split="dev")
    assert benchmark_id(asked, None).revision == rows_fingerprint(str(file))


@pytest.mark.parametrize("place", ["../elsewhere", ".hidden", "whole"])
def test_a_picture_that_a_folders_rows_name_elsewhere_is_part_of_its_identity(place: str, tmp_path: Path) -> None:
    """Beside the folder, or where nobody looks within; what lies in it is known as before."""
    folder, kept = tmp_path / "rows", tmp_path / "elsewhere"
    for one in (folder, kept, folder / ".hidden"):
        one.mkdir()
    file, at = benchmark_file(folder, ".jsonl"), folder if place == "whole" else folder / place
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        (folder / row["image"]).rename(at / row["image"])
        row["image"] = row["image"] if place == "whole" else f"{place}/{row['image']}"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = BenchmarkConfig(name="mini", id="x", path=str(folder), split="dev")
    known = benchmark_id(asked, None).revision
    assert (known == fingerprint(folder)) == (place == "whole")
    (at / "1.png").write_bytes((at / "2.png").read_bytes())
    assert benchmark_id(asked, None).revision != known


def test_a_picture_that_is_told_with_its_path_lies_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `datasets` tells of pictures that it did not take in: it was looked for where the command was given."""
    file = benchmark_file(tmp_path, ".jsonl")

    def pictures() -> list[bytes]:
        return [item.images[0].tobytes() for item in load_items(DataRef("mini", "dev", "", path=str(file)), "direct")]

    whole = pictures()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    told = [json.dumps({**row, "image": {"bytes": None, "path": row["image"]}}) for row in rows]
    file.write_text("\n".join(told) + "\n")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "5.png", tmp_path / "elsewhere" / "1.png")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pictures() == whole
    known = rows_fingerprint(str(file))
    shutil.copy(tmp_path / "5.png", tmp_path / "1.png")
    assert rows_fingerprint(str(file)) != known


def test_questions_that_an_older_version_knew_without_pictures_are_scored_still(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told; another file is refused as ever."""
    file = benchmark_file(tmp_path, ".jsonl")
    asked = BenchmarkConfig(name="mini", id="x", path=str(file), split="dev")
    old = replace(benchmark_id(asked, None), revision=fingerprint(file))
    assert len(benchmark_items(old, asked)) == 12
    assert "of the pictures that it names nobody can say" in capsys.readouterr().err
    file.write_text(file.read_text().replace('"question"', '"question" '))
    with pytest.raises(UserError, match="not what the cell was computed on"):
        benchmark_items(old, asked)


def great_weights(file: Path, tensors: dict[str, int]) -> dict[str, int]:
    """A safetensors file of so many bytes for each tensor, with room left out where nothing is written; where each begins."""
    places, at = {}, 0
    for name, size in tensors.items():
        places[name], at = at, at + size
    told = {n: {"dtype": "U8", "shape": [size], "data_offsets": [places[n], places[n] + size]} for n, size in tensors.items()}
    header = json.dumps(told).encode()
    with file.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        opened.truncate(8 + len(header) + at)
    return {name: 8 + len(header) + place for name, place in places.items()}


@pytest.mark.parametrize("changed", ["small", "middle", "empty", "swapped", "header"])
def test_each_tensor_of_a_large_file_is_part_of_its_identity(changed: str, tmp_path: Path) -> None:
    """A projector that was trained anew lies in a file of gigabytes between two of the places that are looked at."""
    sizes = {"first": 3 * 2**30, "small": 2**14, "empty": 0, "middle": 2**20, "last": 3 * 2**30}
    file = tmp_path / "model.safetensors"
    places, known = great_weights(file, sizes), set[str]()
    for _ in range(2):
        known.add(fingerprint(tmp_path))
        with file.open("r+b") as opened:
            if changed in ("small", "middle"):
                opened.seek(places[changed])
                opened.write(b"\1" * sizes[changed])
        if changed == "swapped":  # two of a size, and the header takes one for the other
            great_weights(file, {"last": sizes["last"], **dict(list(sizes.items())[1:4]), "first": sizes["first"]})
        elif changed == "header":
            file.write_bytes((2**63).to_bytes(8, "little"))
            os.truncate(file, 2**27)
    assert len(known) == (1 if changed == "empty" else 2)


@pytest.mark.parametrize("beside", [{}, {"decoded_image": [{"bytes": b"x", "path": "b.png"}]}], ids=["alone", "beside bytes"])
def test_pictures_that_a_parquet_file_names_are_known_beside_a_column_of_bytes(beside: dict[str, Any], tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    file, picture = tmp_path / "rows.parquet", tmp_path / "a.png"
    parquet.write_table(pyarrow.table({"image": ["a.png"], "question": ["q"], **beside}), file)
    picture.write_bytes(b"one")
    known = rows_fingerprint(str(file))
    picture.write_bytes(b"another")
    assert rows_fingerprint(str(file)) != known
    parquet.write_table(pyarrow.table({"image": [{"bytes": b"x", "path": "a.png"}]}), file)
    assert not _may_name_pictures(file)
