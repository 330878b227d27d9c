"""Where the packaged data lies: the same places in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from l2v.errors import UserError

PACKAGE = Path(__file__).resolve().parent
CHECKPOINTS = PACKAGE / "mini" / "checkpoints"  # the shipped miniature's models


def conf_dir() -> Path:
    """The folder of the packaged configs: `l2v/conf` in a wheel, `conf/` beside the package in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def world_path(path: str | None, world: str, worlds: Path) -> str | None:
    """Where a model of the miniature lies in another world: below `worlds`, where that world has one of its own."""
    if world == "0" or path is None or Path(path).parent != CHECKPOINTS:
        return path
    name = Path(path).name
    if not (worlds / world / "checkpoints").is_dir():
        raise UserError(f"runtime.world={world}: {worlds / world} holds no models; `make worlds` trains them.")
    own = worlds / world / "checkpoints" / name
    return str(own) if own.is_dir() else path


def local_path(path: str | None) -> str | None:
    """A path setting as a path: `package:mini/data` lies inside the installed package, `~` is the user's home."""
    if path is None:
        return None
    inside = path.removeprefix("package:")
    return str(PACKAGE / inside) if inside != path else str(Path(path).expanduser())
