"""Weights & Biases: one wandb run per tracked run; online where a key is known, else into files for `wandb sync`.

wandb is kept quiet and to what it was asked for: no code, no git state, no system statistics, no console output.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import netrc
import os
import shlex
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from l2v.config import TrackerConfig
from l2v.track.tracker import Artifact, Table, TrackedPicture, TrackedRun

HOST = "https://api.wandb.ai"
QUIET = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
SETTINGS: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "save_code": False,
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "symlink": False,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


def knows_key() -> bool:
    """Whether wandb would find a key: in the environment, its settings file, or .netrc. Never asks, never calls anyone."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = configparser.ConfigParser(default_section="none", interpolation=None)
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", Path.home() / ".config" / "wandb"))
    with contextlib.suppress(configparser.Error, UnicodeDecodeError, OSError):
        settings.read(folder / "settings", encoding="utf-8")
    if settings.get("default", "api_key", fallback=""):
        return True
    host = os.environ.get("WANDB_BASE_URL") or settings.get("default", "base_url", fallback=HOST)
    for path in filter(None, (os.environ.get("NETRC"), Path.home() / ".netrc", Path.home() / "_netrc")):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if netrc.netrc(str(path)).authenticators(urlsplit(str(host)).netloc):
                return True
    return False


class WandbTracker:
    """Uploads runs one after the other; one object per study and process."""

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder.absolute()
        wanted = config.mode
        if wanted == "auto":
            refused = os.environ.get("WANDB_MODE", "") in ("offline", "dryrun", "disabled")
            wanted = "online" if knows_key() and not refused else "offline"
        self.place = wanted
        self._address = ""
        self._environment = {name: os.environ.get(name) for name in (*QUIET, "WANDB_DATA_DIR", "WANDB_MODE")}
        # What the settings of each run say must not be overruled from the environment.
        os.environ.update(QUIET)
        os.environ.pop("WANDB_MODE", None)

    def has(self, run_id: str, place: str) -> bool:
        """Online runs are there; files of an offline run must still lie here, or have been synced, to count."""
        if place == "online":
            return True
        files = [file for path in self._offline(run_id) for file in path.glob("run-*.wandb")]
        synced = [file for file in files if file.with_name(f"{file.name}.synced").exists()]
        return bool(synced) if self.place == "online" else bool(files)

    def upload(self, run: TrackedRun) -> None:
        """Put the run there; files of an earlier, perhaps unfinished upload of it are replaced."""
        import wandb

        for path in self._offline(run.id):
            # First out of sight in one step: a process that was killed may have left one that still writes there.
            gone = path.rename(path.with_name(f"gone-{path.name}"))
            shutil.rmtree(gone, ignore_errors=True)
        # Copies of files that wandb keeps until they are uploaded; beside the runs, so that they go where the study goes.
        kept = self.folder / "kept" / run.id
        shutil.rmtree(kept, ignore_errors=True)
        os.environ["WANDB_DATA_DIR"] = str(kept)
        self.folder.mkdir(parents=True, exist_ok=True)
        shown = wandb.init(
            id=run.id,
            name=run.name,
            group=run.group,
            job_type=run.job_type,
            tags=list(run.tags),
            config=dict(run.config),
            project=self.config.project,
            entity=self.config.entity,
            resume="allow",
            settings=self._settings(wandb),
        )
        try:
            self._fill(wandb, shown, run)
        except BaseException:
            shown.finish(exit_code=1)
            raise
        shown.finish()
        if self.place == "online":
            self._address = shown.project_url or self._address
            for path in (kept, Path(shown.dir).parent):
                shutil.rmtree(path, ignore_errors=True)

    def told(self) -> str:
        """The address of the project, or the command that uploads the offline runs."""
        if self.place == "online":
            return self._address
        entity = f" --entity {shlex.quote(self.config.entity)}" if self.config.entity else ""
        return f"wandb sync{entity} {shlex.quote(str(self.folder))}/offline-run-*"

    def finish(self) -> None:
        """End wandb's own process and put the environment back."""
        import wandb

        try:
            wandb.teardown()
        finally:
            for name, value in self._environment.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def _settings(self, wandb: Any) -> Any:
        """The settings of a run, as far as this version of wandb knows them."""
        seconds = max(10.0, self.config.timeout)
        wanted = SETTINGS | {"mode": self.place, "root_dir": str(self.folder.parent), "init_timeout": seconds}
        wanted |= {"finish_timeout": seconds, "finish_timeout_raises": True} if self.place == "online" else {}
        known = set(wandb.Settings.model_fields)
        return wandb.Settings(**{name: value for name, value in wanted.items() if name in known})

    def _offline(self, run_id: str) -> list[Path]:
        """The folders offline-run-<time>-<run id>."""
        return [path for path in sorted(self.folder.glob("offline-run-*")) if path.name.split("-", 3)[3:] == [run_id]]

    def _fill(self, wandb: Any, shown: Any, run: TrackedRun) -> None:
        for artifact in run.used:
            self._use(shown, _artifact(wandb, artifact))
        for artifact in run.produced:
            shown.log_artifact(_artifact(wandb, artifact))
        media: dict[str, Any] = {name: _table(wandb, table) for name, table in run.tables.items()}
        media |= {name: wandb.Plotly(figure) for name, figure in run.figures.items()}
        media |= {name: _image(wandb, picture) for name, picture in run.pictures.items()}
        media |= {name: wandb.Html(str(path)) for name, path in run.pages.items()}
        if media:
            shown.log(media)
        shown.summary.update(dict(run.summary))

    def _use(self, shown: Any, artifact: Any) -> None:
        """Record an artifact as an input. The server knows by its content that it is the one that another run produced."""
        if self.place == "online":
            shown.use_artifact(artifact)
        else:
            # Offline, `use_artifact` refuses; this is what it does, and `wandb sync` completes it.
            shown._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def _artifact(wandb: Any, artifact: Artifact) -> Any:
    made = wandb.Artifact(artifact.name, type=artifact.kind, metadata=dict(artifact.metadata))
    for name, file in artifact.files.items():
        made.add_file(str(file.path.absolute()), name=name, policy="immutable" if file.fixed else "mutable", skip_cache=True)
    return made


def _table(wandb: Any, table: Table) -> Any:
    rows = [[_image(wandb, value) if isinstance(value, TrackedPicture) else value for value in row] for row in table.rows]
    return wandb.Table(columns=list(table.columns), data=rows, allow_mixed_types=True)


def _image(wandb: Any, picture: TrackedPicture) -> Any:
    from PIL import Image

    image = Image.open(io.BytesIO(picture.data))
    kind = "jpg" if image.format == "JPEG" else "png"
    return wandb.Image(image, caption=picture.caption or None, file_type=kind)
