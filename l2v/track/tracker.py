"""Tracking: what a finished study shows in a dashboard, independent of which; a tracker only translates.

A run is built whole from what lies on disk, so that it can be uploaded at any time and again. Run ids follow from the study
(a cell's run has the cell's id), so that nothing is ever there twice. Which runs there are: cells.py (one per cell and
per file of directions) and study.py (one per scorer, and one that sums the study up).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from l2v.identity import digest
from l2v.report.answers import writable

# Longest name that the trackers take for a run.
MOST_CHARACTERS = 60

Scalar = str | int | float | bool


@dataclass(frozen=True)
class TrackedPicture:
    """A PNG or JPEG file's bytes."""

    data: bytes
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text, numbers and pictures, all as long as `columns`; None: nothing to show."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar | TrackedPicture | None, ...], ...]


@dataclass(frozen=True)
class File:
    """A file of an artifact. `fixed`: it is never rewritten, so that a tracker need not copy it before it is uploaded."""

    path: Path
    fixed: bool = False


@dataclass(frozen=True)
class Artifact:
    """Files under one name. kind: directions, results or report."""

    name: str
    kind: str
    files: Mapping[str, File]
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackedRun:
    """One run in the dashboard.

    job_type: run (a cell), extract (a file of directions), score (a scorer) or report (the study). config, summary: flat.
    figures: plotly figures. pages: HTML files. used, produced: artifacts that the run read and made.
    """

    id: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...] = ()
    config: Mapping[str, Scalar] = field(default_factory=dict)
    summary: Mapping[str, Scalar] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    pictures: Mapping[str, TrackedPicture] = field(default_factory=dict)
    pages: Mapping[str, Path] = field(default_factory=dict)
    used: tuple[Artifact, ...] = ()
    produced: tuple[Artifact, ...] = ()


class Tracker(Protocol):
    """Where runs are shown."""

    @property
    def place(self) -> str:
        """Where this tracker puts runs now, for the record: online, offline or local."""

    def upload(self, run: TrackedRun) -> None:
        """Put a run there whole, in place of whatever is there under its id. Raises whatever its library raises."""

    def has(self, run_id: str, place: str) -> bool:
        """Whether a run that was uploaded to `place` need not be uploaded again as long as its content is the same."""

    def told(self) -> str:
        """What a person can do next: a command or an address."""

    def finish(self) -> None:
        """Let go of everything; called once."""


def slug(name: str) -> str:
    """A name as part of a run id or file name: letters, digits, `-`, `_` and `.`; different names stay different."""
    short = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:MOST_CHARACTERS].strip(".-")
    return short if short == name else f"{short[: MOST_CHARACTERS - 9]}-{digest(name, 8)}"


def clean(text: str, most: int = 4000) -> str:
    """Text that any tracker can store: no lone surrogates, no NUL, and of long text the beginning with its length told."""
    whole = writable(text).replace("\0", "\N{REPLACEMENT CHARACTER}")
    return whole if len(whole) <= most else f"{whole[:most]}… ({len(whole):,} characters)"
