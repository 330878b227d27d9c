"""Where the packaged data lies: the same places in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def conf_dir() -> Path:
    """The folder of the packaged configs: `l2v/conf` in a wheel, `conf/` beside the package in a checkout."""
    inside = PACKAGE / "conf"
    return inside if inside.is_dir() else PACKAGE.parent / "conf"


def local_path(path: str | None) -> str | None:
    """A path setting as a path: `package:mini/data` lies inside the installed package, `~` is the user's home."""
    if path is None:
        return None
    inside = path.removeprefix("package:")
    return str(PACKAGE / inside) if inside != path else str(Path(path).expanduser())
