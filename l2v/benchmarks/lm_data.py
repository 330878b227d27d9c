"""The data of lm-eval's tasks, where they lie on the hub: at one commit, from files that are held against the hub's digests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l2v.data_sets import read_data_set
from l2v.hub import commit_of


class _HubSplits(dict[str, Any]):
    """A data set of the hub at one commit, each split read and checked when it is asked for (see `read_data_set`)."""

    def __init__(self, data: str, name: str | None, commit: str) -> None:
        self.data, self.name, self.commit = data, name, commit

    def __missing__(self, split: str) -> Any:
        self[split] = read_data_set(self.data, self.name, self.commit, split)
        return self[split]


@contextmanager
def hub_data_checked() -> Iterator[None]:
    """Tasks read data sets of the hub by `_HubSplits`: `datasets` would take a copy that nobody checks, of any commit."""
    from lm_eval.api.task import ConfigurableTask

    download = ConfigurableTask.download

    def checked(task: Any, dataset_kwargs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        asked, where = dict(dataset_kwargs or {}), str(task.DATASET_PATH)
        plain = asked.keys() <= {"revision", "trust_remote_code"} and not callable(task.config.custom_dataset)
        commit = commit_of("dataset", where, asked.get("revision")) if plain and not Path(where).exists() else None
        if commit is None:
            download(task, dataset_kwargs, **kwargs)
        else:
            task.dataset = _HubSplits(where, task.DATASET_NAME, commit)

    ConfigurableTask.download = checked
    try:
        yield
    finally:
        ConfigurableTask.download = download
