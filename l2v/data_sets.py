"""Data sets of the hub, and folders in their form: rows come from the files themselves, held against the hub's own digests.

The library `datasets` reads a copy that it once prepared, which nobody checks, and where the hub does not answer the newest one
of whatever revision; of it only the way from a configuration and a split to files is taken.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from l2v.errors import UserError
from l2v.hub import noted
from l2v.identity import sha256

# A file of the hub as `datasets` names it, and one part of several.
ON_HUB = re.compile(r"hf://datasets/[^@]+@([^/]+)/(.+)")
PART = re.compile(r"-\d+-of-(\d+)")
CARDS = ("README.md", "dataset_infos.json")


def read_data_set(data: str, name: str | None, revision: str | None, split: str) -> Any:
    """A `datasets.Dataset` of one split of a hub id or a folder, in memory, images encoded. `name`: its configuration.

    Where the hub does not answer, its cache serves what it holds of that revision. Raises UserError for a file of the cache
    that is not the hub's and for parts or rows that are missing, and what the libraries raise for the rest.
    """
    import datasets
    import pyarrow

    datasets.disable_progress_bars()
    folder = Path(data) if Path(data).is_dir() else _fetched(data, name, revision, split)
    builder = datasets.load_dataset_builder(str(folder), name)
    files = _files(builder, split)
    for file in (*(folder / card for card in CARDS), *map(Path, files)):
        if file.exists():
            check_blob(file)
    rows = builder.as_streaming_dataset(split)
    table = pyarrow.concat_tables(list(rows.with_format("arrow").iter(1000)))
    parts = {int(found[1]) for file in files if (found := PART.search(Path(file).name))}
    told = getattr((builder.info.splits or {}).get(split), "num_examples", None)
    if (len(parts) == 1 and parts != {len(files)}) or told not in (None, len(table)):
        there = f"{len(files)} files with {len(table)} rows" + (f" of {told}" if told else "")
        raise UserError(f"Split '{split}' of '{data}' is not whole: {there} are in {folder}; download it again.")
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=rows.features))


def _files(builder: Any, split: str) -> list[str]:
    """The files of a split, or their names on the hub. Raises ValueError for a split that is not there."""
    found = builder.config.data_files
    if split not in found:
        raise ValueError(f"no split '{split}' (there: {', '.join(map(str, found))})")
    return list(found[split])


def _fetched(data: str, name: str | None, revision: str | None, split: str) -> Path:
    """The folder of a revision in the hub's cache; where the hub answers, with the split's files."""
    import datasets
    from huggingface_hub import hf_hub_download, snapshot_download

    with suppress(ConnectionError):
        builder = datasets.load_dataset_builder(data, name, revision=revision)
        # A copy that the library prepared names no files.
        places = [ON_HUB.fullmatch(file) for file in _files(builder, split)] if builder.config.data_files else []
        found = [
            hf_hub_download(data, place[2], repo_type="dataset", revision=place[1]).removesuffix(place[2])
            for place in places
            if place is not None
        ]
        if found:
            return Path(found[0])
    return Path(snapshot_download(data, repo_type="dataset", revision=revision, allow_patterns=[*CARDS], local_files_only=True))


def check_blob(file: Path) -> None:
    """Raise UserError where a file of the hub holds something else than the hub keeps: its cache calls it as its digest, and
    `hf download --local-dir` noted that of a file which nobody changed since. Nothing is known of other files."""
    blob = file.resolve()
    known, stand = blob.name if blob.parent.name == "blobs" else noted(file)[1], blob.stat()
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", known):
        _check_digest(blob, known, stand.st_size, (stand.st_mtime_ns, stand.st_ctime_ns))


@lru_cache(maxsize=256)
def _check_digest(file: Path, known: str, size: int, _times: tuple[int, int]) -> None:
    large = len(known) == 64
    found = sha256(file) if large else hashlib.sha1(f"blob {size}\0".encode() + file.read_bytes()).hexdigest()
    if found != known:
        raise UserError(f"{file} is not what the hub keeps under this digest; delete it and repeat the command with a network.")
