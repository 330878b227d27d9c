"""The data of lm-eval's tasks: of the hub at one commit, from files held against its digests; all else as it is now.

`datasets` would take copies that it prepared: of data of the hub one that nobody checks, of any commit; of local files one that
it knows by path and time, with the old rows of a file that was replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from l2v.data_sets import read_data_set
from l2v.hub import commit_of
from l2v.identity import sha256

# How the names of pictures end.
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# Of local data, while this process runs: rows are read from them as they are asked for.
copies: list[tempfile.TemporaryDirectory[str]] = []


class _HubSplits(dict[str, Any]):
    """A data set of the hub at one commit, each split read and checked when it is asked for (see `read_data_set`)."""

    def __init__(self, data: str, name: str | None, commit: str) -> None:
        self.data, self.name, self.commit = data, name, commit

    def __missing__(self, split: str) -> Any:
        self[split] = read_data_set(self.data, self.name, self.commit, split)
        return self[split]


def own_rows(task: Any) -> bool:
    """Whether Python of the task's own makes its rows, from whatever it likes."""
    from lm_eval.api.task import ConfigurableTask

    return callable(task.get_config("custom_dataset")) or type(task).download is not ConfigurableTask.download


def data_commit(task: Any, own: bool = False) -> str:
    """What tells the data of a loaded task from others of its name: their commit, their revision, or all of their rows.

    own: its file is the user's, and what it asks is told by what it comes to: templates, Python and pictures may lie anywhere.
    """
    if not own and not own_rows(task):
        return str(getattr(task.dataset, "commit", (task.get_config("dataset_kwargs") or {}).get("revision", "main")))
    found = hashlib.sha256()
    for told in _asked(task) if own else _rows(task):
        found.update(told if isinstance(told, bytes) else json.dumps(told, sort_keys=True, default=_plain).encode())
    return found.hexdigest()[:16]


def _rows(task: Any) -> Iterator[Any]:
    """All rows of a task, split by split."""
    for split, rows in sorted(task.dataset.items()):
        yield f"{split} {len(rows)}".encode()
        yield from _encoded(rows)


def _asked(task: Any) -> Iterator[Any]:
    """What a task asks and shows, row by row, the pictures that a row names by their paths, and how answers are scored."""
    import datasets

    yield [task.get_config(key) for key in ("filter_list", "metric_list")]
    for found in (task.eval_docs, task.fewshot_docs() if task.get_config("num_fewshot") else None):
        docs = found if isinstance(found, datasets.Dataset) else list(found or ())
        for row, doc in zip(_encoded(docs), _undecoded(docs), strict=True):
            yield [row, _said(task.doc_to_text, doc), _said(task.doc_to_target, doc)]
            yield [sha256(Path(name)) for name in _texts(row) if name.lower().endswith(PICTURES) and os.path.isfile(name)]


def _encoded(rows: Any) -> Iterable[Any]:
    """Rows in which pictures stay encoded."""
    import datasets

    if not isinstance(rows, datasets.Dataset):
        return cast(Iterable[Any], rows)
    return (row for part in rows.with_format("arrow").iter(100) for row in part.to_pylist())


def _undecoded(docs: Any) -> Any:
    """Rows as a task's templates and Python get them, but that no picture is decoded for it."""
    import datasets

    for name, feature in docs.features.items() if isinstance(docs, datasets.Dataset) else ():
        docs = docs.cast_column(name, datasets.Image(decode=False)) if isinstance(feature, datasets.Image) else docs
    return docs


def _said(of: Callable[[Any], Any], doc: Any) -> str:
    with suppress(Exception):  # Python that looks at a decoded picture; its row is told all the same
        return str(of(doc))
    return ""


def _texts(value: Any) -> Iterator[str]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    yield from [value] if isinstance(value, str) else (text for one in inner for text in _texts(one))


def _plain(value: Any) -> str:
    value = value.tobytes() if hasattr(value, "tobytes") else value
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return str(getattr(value, "__qualname__", None) or re.sub(r" at 0x[0-9a-f]+", "", repr(value)))


@contextmanager
def data_checked() -> Iterator[None]:
    """Tasks read data of the hub by `_HubSplits`, and what has no commit anew, whatever copy there is."""
    from lm_eval.api.task import ConfigurableTask

    download = ConfigurableTask.download

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

    ConfigurableTask.download = checked
    try:
        yield
    finally:
        ConfigurableTask.download = download
