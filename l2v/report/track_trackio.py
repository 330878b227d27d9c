"""trackio: the same runs in a local database, read by `trackio show`; nothing leaves the machine.

trackio knows a run by its name, so that a name here ends in the run's id; tags and job_type are part of its config.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l2v.config import TrackerConfig
from l2v.report.track import Artifact, Picture, Table, TrackedRun

# Where else trackio would send runs.
ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_WRITE_TOKEN", "TRACKIO_WEBHOOK_URL", "TRACKIO_BUCKET_ID")


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

    def has(self, run_id: str, place: str) -> bool:
        """Whether the run is in the database."""
        return bool(self._found(run_id))

    def upload(self, run: TrackedRun) -> None:
        """Write the run whole; what an earlier, perhaps unfinished upload left of it is removed."""
        import trackio

        with _quiet():
            for old in self._found(run.id):
                old.delete()
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
        if not self._found(run.id):
            raise RuntimeError(f"trackio did not store {run.name}")

    def told(self) -> str:
        """The command that shows the runs."""
        return f"TRACKIO_DIR={shlex.quote(str(self.folder))} trackio show --project {shlex.quote(self.project)}"

    def finish(self) -> None:
        """Every run was finished when it was uploaded."""

    def _found(self, run_id: str) -> list[Any]:
        import trackio

        with _quiet():
            try:
                runs = list(trackio.Api().runs(self.project))
            except ValueError:
                # No such project yet.
                return []
        return [run for run in runs if str(run.name).endswith(f"({run_id})")]

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
        logged |= {name: trackio.Html(_page(figure)) for name, figure in run.figures.items()}
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
    lost = [text for text in messages if "trackio" in text and ("skip" in text or "fail" in text)]
    if lost:
        raise RuntimeError(lost[0])


def _page(figure: Any) -> str:
    """A figure with plotly's own script, so that it needs no network."""
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


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
            if isinstance(value, Picture)
            else html.escape(value, quote=False)
            if isinstance(value, str)
            else value
            for column, value in zip(table.columns, row, strict=True)
        }
        for row in table.rows
    ]
    return trackio.Table(data=rows)


def _image(trackio: Any, picture: Picture) -> Any:
    from PIL import Image

    return trackio.Image(Image.open(io.BytesIO(picture.data)), caption=picture.caption or None)
