"""The list of trackers: which there are, whether one can be used here, and opening it. None is imported before it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from l2v.config import TrackerConfig
from l2v.errors import UserError, unknown

if TYPE_CHECKING:
    from l2v.track.tracker import Tracker

MODES = ("auto", "online", "offline")


@dataclass(frozen=True)
class Listed:
    """How a tracker is opened, a function (TrackerConfig, folder) -> Tracker; and what brings its package."""

    opens: str = ""
    package: str = ""
    install: str = ""


TRACKERS = {
    "none": Listed(),
    "wandb": Listed("l2v.track.wandb:WandbTracker", "wandb", "pip install wandb"),
    "trackio": Listed("l2v.track.trackio:TrackioTracker", "trackio", "pip install 'l2v[trackio]'"),
}


def check_names(config: TrackerConfig) -> None:
    """Raise UserError for an unknown tracker or mode."""
    if config.name not in TRACKERS:
        raise unknown("tracker", config.name, TRACKERS)
    if config.mode not in MODES:
        raise unknown("tracker.mode", config.mode, MODES)


def check_tracker(config: TrackerConfig) -> None:
    """Raise UserError for an unknown tracker, bad settings, a missing package or a missing key. Imports no tracker."""
    check_names(config)
    kind = TRACKERS[config.name]
    if kind.package and find_spec(kind.package) is None:
        raise UserError(f"tracker={config.name} needs the package '{kind.package}', which is not installed: {kind.install}")
    if config.name == "wandb" and config.mode == "online":
        from l2v.track.wandb import knows_key

        if not knows_key():
            raise UserError("tracker.mode=online needs a key: run `wandb login`, set WANDB_API_KEY, or choose mode=offline.")


def open_tracker(config: TrackerConfig, folder: Path) -> Tracker:
    """The tracker of a configuration that `check_tracker` passed; what it writes locally lies in `folder`."""
    module, _, name = TRACKERS[config.name].opens.partition(":")
    tracker: Tracker = getattr(import_module(module), name)(config, folder)
    return tracker
