"""The data of lm-eval's tasks: of the hub at one commit, from files held against its digests; all else as it is now.

`datasets` would take copies that it prepared: of data of the hub one that nobody checks, of any commit; of local files one that
it knows by path and time, with the old rows of a file that was replaced.
"""

from __future__ import annotations

import glob
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l2v.data_sets import read_data_set
from l2v.hub import commit_of
from l2v.identity import digest, fingerprint

# Of local data, while this process runs: rows are read from them as they are asked for.
copies: list[tempfile.TemporaryDirectory[str]] = []


class _HubSplits(dict[str, Any]):
    """A data set of the hub at one commit, each split read and checked when it is asked for (see `read_data_set`)."""

    def __init__(self, data: str, name: str | None, commit: str) -> None:
        self.data, self.name, self.commit = data, name, commit

    def __missing__(self, split: str) -> Any:
        self[split] = read_data_set(self.data, self.name, self.commit, split)
        return self[split]


def _here(named: Any) -> list[str]:
    """The files and folders of this machine that a task's settings name, by patterns too."""
    if isinstance(named, Mapping):
        named = list(named.values())
    if isinstance(named, list):
        return sorted({path for one in named for path in _here(one)})
    return sorted(glob.glob(named, recursive=True)) if isinstance(named, str) else []


def own_rows(task: Any) -> bool:
    """Whether Python of the task's own makes its rows, from whatever it likes."""
    from lm_eval.api.task import ConfigurableTask

    return callable(task.get_config("custom_dataset")) or type(task).download is not ConfigurableTask.download


def data_commit(task: Any) -> str:
    """What tells the data of a loaded task from others of its name: their commit, their revision, or all of their rows."""
    if not own_rows(task):
        return str(getattr(task.dataset, "commit", (task.get_config("dataset_kwargs") or {}).get("revision", "main")))
    import datasets

    found = hashlib.sha256()
    for split, rows in sorted(task.dataset.items()):
        found.update(f"{split} {len(rows)}".encode())
        plain = rows
        if isinstance(rows, datasets.Dataset):  # pictures stay encoded
            plain = (row for part in rows.with_format("arrow").iter(100) for row in part.to_pylist())
        for row in plain:
            found.update(json.dumps(row, sort_keys=True, default=_plain).encode())
    return found.hexdigest()[:16]


def _plain(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else repr(value)


@contextmanager
def data_checked(*known: str | None) -> Iterator[None]:
    """Tasks read data of the hub by `_HubSplits`, and what has no commit anew, whatever copy there is.

    known: folders and files that are part of a cell's identity; what a task's file names elsewhere is told as its commit.
    """
    from lm_eval.api.task import ConfigurableTask

    download, places = ConfigurableTask.download, [Path(path).resolve() for path in known if path]

    def checked(task: Any, dataset_kwargs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        asked, where = dict(dataset_kwargs or {}), str(task.DATASET_PATH)
        own = callable(task.config.custom_dataset)
        plain = asked.keys() <= {"revision", "trust_remote_code"} and not own
        commit = commit_of("dataset", where, asked.get("revision")) if plain and not Path(where).exists() else None
        if commit is not None:
            task.dataset = _HubSplits(where, task.DATASET_NAME, commit)
        elif own:
            download(task, dataset_kwargs, **kwargs)
        else:
            copies.append(tempfile.TemporaryDirectory(prefix="l2v-rows-"))
            download(task, {**asked, "cache_dir": copies[-1].name}, **kwargs)
            local = _here([where, asked.get("data_files"), asked.get("data_dir")])
            if far := [path for path in local if not any(Path(path).resolve().is_relative_to(one) for one in places)]:
                task.dataset.commit = digest([fingerprint(path) for path in far])

    ConfigurableTask.download = checked
    try:
        yield
    finally:
        ConfigurableTask.download = download
