"""trackio: the same runs in a local database, read by `trackio show`; nothing leaves the machine.

trackio knows a run by its name, so that a name here ends in the run's id; tags and job_type are part of its config.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import shlex
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from l2v.config import TrackerConfig
from l2v.track.tracker import Artifact, Table, TrackedPicture, TrackedRun

# Where else trackio would send runs.
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WRITE_TOKEN", "TRACKIO_WEBHOOK_URL", "TRACKIO_BUCKET_ID")

# Words in the warnings that stand for data that were dropped.
LOST = ("skip", "fail", "could not")


class TrackioTracker:
    """Writes runs into the database of TRACKIO_DIR, or of the study where that is not set."""

    place = "local"

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self.project = config.project
        for name in ELSEWHERE:
            os.environ.pop(name, None)
        # trackio reads it once, when it is imported.
        os.environ.setdefault("TRACKIO_DIR", str(folder.absolute()))
        self.folder = Path(os.environ["TRACKIO_DIR"])
        self._runs: dict[str, list[Any]] | None = None

    def has(self, run_id: str, place: str) -> bool:
        return run_id in self._found()

    def upload(self, run: TrackedRun) -> None:
        """Write the run whole; what an earlier, perhaps unfinished upload left of it is removed."""
        import trackio

        with _quiet():
            for old in self._found().pop(run.id, []):
                old.delete()
            # Pictures of what was deleted.
            shutil.rmtree(self.folder / "media" / self.project / _name(run), ignore_errors=True)
            shown = trackio.init(
                project=self.project,
                name=_name(run),
                group=run.group,
                config={**run.config, "run_id": run.id, "job_type": run.job_type, "tags": ", ".join(run.tags)},
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
            try:
                self._fill(trackio, shown, run)
            finally:
                trackio.finish()
        self._found()[run.id] = [trackio.api.Run(self.project, shown.name, run_id=shown.id)]

    def told(self) -> str:
        return f"TRACKIO_DIR={shlex.quote(str(self.folder))} trackio show --project {shlex.quote(self.project)}"

    def finish(self) -> None:
        """Every run was finished when it was uploaded."""

    def _found(self) -> dict[str, list[Any]]:
        """The runs of the project by the id in their name; listed once, as listing takes as long as there are runs."""
        if self._runs is None:
            import trackio

            self._runs = {}
            with _quiet(), contextlib.suppress(ValueError):  # no such project yet
                for run in trackio.Api().runs(self.project):
                    self._runs.setdefault(str(run.name).rpartition("(")[2].rstrip(")"), []).append(run)
        return self._runs

    def _fill(self, trackio: Any, shown: Any, run: TrackedRun) -> None:
        for artifact in run.produced:
            shown.log_artifact(_artifact(trackio, artifact))
        for artifact in run.used:
            name = f"{artifact.name}:latest"
            try:
                shown.use_artifact(name, type=artifact.kind)
            except ValueError:
                # The run that should have produced it is not there.
                shown.log_artifact(_artifact(trackio, artifact))
                shown.use_artifact(name, type=artifact.kind)
        logged: dict[str, Any] = dict(run.summary)
        logged |= {name: _table(trackio, table) for name, table in run.tables.items()}
        logged |= {"figures": trackio.Html(_page(run.figures))} if run.figures else {}
        logged |= {name: _image(trackio, picture) for name, picture in run.pictures.items()}
        logged |= {name: trackio.Html(path) for name, path in run.pages.items()}
        shown.log(logged, step=0)


def _name(run: TrackedRun) -> str:
    """A name is a folder of the database too."""
    return f"{run.name} ({run.id})".replace("/", "-")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No banners; and where trackio warns because it dropped something, RuntimeError."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    messages = [str(warning.message) for warning in caught]
    lost = [text for text in messages if "trackio" in text and any(word in text for word in LOST)]
    if lost:
        raise RuntimeError(lost[0])


def _page(figures: Mapping[str, Any]) -> str:
    """All figures on one page with plotly's own script once, so that it needs no network."""
    parts = [figure.to_html(include_plotlyjs=not i, full_html=False) for i, figure in enumerate(figures.values())]
    return "<!doctype html><meta charset=utf-8><body>" + "\n".join(parts)


def _artifact(trackio: Any, artifact: Artifact) -> Any:
    made = trackio.Artifact(artifact.name, type=artifact.kind, metadata=dict(artifact.metadata))
    for name, file in artifact.files.items():
        made.add_file(str(file.path), name=name)
    return made


def _table(trackio: Any, table: Table) -> Any:
    """trackio shows text as Markdown with HTML in it; a model's response is neither."""
    rows = [
        {
            column: _image(trackio, value)
            if isinstance(value, TrackedPicture)
            else html.escape(value, quote=False)
            if isinstance(value, str)
            else value
            for column, value in zip(table.columns, row, strict=True)
        }
        for row in table.rows
    ]
    return trackio.Table(data=rows)


def _image(trackio: Any, picture: TrackedPicture) -> Any:
    from PIL import Image

    return trackio.Image(Image.open(io.BytesIO(picture.data)), caption=picture.caption or None)
