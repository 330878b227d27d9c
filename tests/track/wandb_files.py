"""Reads wandb's offline run files back: a log of records in LevelDB's format, each a protobuf message of wandb's own."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK, HEADER, MAGIC = 32768, 7, 7
FULL, LAST = 1, 4


@dataclass
class Logged:
    """One artifact record. used: an input of the run. files: path in the artifact -> local path."""

    name: str
    kind: str
    digest: str
    used: bool
    files: dict[str, Path]


@dataclass
class OfflineRun:
    """What one run file says."""

    path: Path
    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: list[Logged] = field(default_factory=list)
    finished: bool = False

    def table(self, key: str) -> list[dict[str, Any]]:
        """The rows of a table that the run logged, from the files of its artifact."""
        (artifact,) = [a for a in self.artifacts if a.kind == "run_table" and a.name == f"run-{self.id}-{key.replace('/', '')}"]
        (path,) = [path for name, path in artifact.files.items() if name.endswith(".table.json")]
        stored = json.loads(path.read_text())
        return [dict(zip(stored["columns"], row, strict=True)) for row in stored["data"]]

    def content(self) -> tuple[Any, ...]:
        """Everything that is the same whenever the run is uploaded."""
        summary = {k: v for k, v in self.summary.items() if not k.startswith("_") and not isinstance(v, dict)}
        tables = sorted((a.name, a.kind, a.used, a.digest) for a in self.artifacts)
        return self.id, self.name, self.group, self.job_type, self.tags, self.config, summary, tables


def read(path: Path) -> OfflineRun:
    """One run file."""
    run = OfflineRun(path)
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            sent = record.run
            run.id, run.name, run.group, run.job_type = sent.run_id, sent.display_name, sent.run_group, sent.job_type
            run.project, run.tags = sent.project, list(sent.tags)
            run.config = {u.key: json.loads(u.value_json) for u in sent.config.update if u.key != "_wandb"}
        elif kind == "summary":
            for update in record.summary.update:
                keys = list(update.nested_key) or [update.key]
                at = run.summary
                for key in keys[:-1]:
                    at = at.setdefault(key, {})
                at[keys[-1]] = json.loads(update.value_json)
        elif kind == "artifact":
            sent = record.artifact
            files = {entry.path: Path(entry.local_path) for entry in sent.manifest.contents}
            run.artifacts.append(Logged(sent.name, sent.type, sent.digest, sent.use_after_commit, files))
        elif kind == "exit":
            run.finished = True
    return run


def read_all(study: Path) -> list[OfflineRun]:
    """Every run file below a study's folder of wandb runs."""
    return [read(path) for path in sorted((study / "track" / "wandb").rglob("*.wandb"))]


def _records(path: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    data, at, part = path.read_bytes(), MAGIC, b""
    assert not data or data[:4] == b":W&B"
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        part += data[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record
