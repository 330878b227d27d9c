"""Which cell a folder is of: config.yaml, written when the cell is begun, whose content must match the folder's name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from l2v.disk import UNREADABLE, Record, SafeLoader, plain_bytes, write_atomically
from l2v.errors import UserError
from l2v.study.cells import SCHEMA, Cell

# libyaml, as for reading.
SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# What opens a value within a value: libyaml's loader ends the process where tens of thousands are open.
OPENING, MOST_OPEN = (b"[", b"{", b"- - ", b"? ? "), 2000


class CellConfig:
    """A cell's folder, and what its config.yaml says of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The cell's id, which is the folder's name."""
        return self.path.name

    @property
    def claims(self) -> Path:
        """The folder of the claims on this cell's rows."""
        return self.path / "claims"

    @property
    def done(self) -> bool:
        """Whether every response of the cell was stored."""
        return (self.path / "DONE").exists()

    def cell(self) -> Cell:
        """The cell that this folder holds. Raises UserError for another schema or a config that is damaged or was edited."""
        settings = self.settings()
        if settings.get("schema") != SCHEMA:
            raise UserError(
                f"{self.path} was written under schema {settings.get('schema')}, this version writes {SCHEMA}; keep that study "
                "as it is and choose another study=… name."
            )
        try:
            cell = Cell.from_dict(settings["cell"])
            found = cell.id
        except UserError as error:
            raise UserError(f"{self.path}/config.yaml: {error} If it was edited, delete it and repeat `l2v run`.") from error
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise self._no_config() from error
        if found != self.id:
            raise UserError(
                f"{self.path}/config.yaml no longer matches its folder's id; it was edited. Restore it, or delete it and "
                "repeat the command of `l2v run`, which writes it again."
            )
        return cell

    def settings(self) -> Record:
        """config.yaml: schema, the cell, and where its models and data lay. Raises UserError for one that is damaged."""
        try:
            data = plain_bytes(self.path / "config.yaml")
            if sum(map(data.count, OPENING)) > MOST_OPEN:
                raise ValueError("nested too deeply")
            loaded = yaml.load(data, Loader=SafeLoader)
        except (OSError, yaml.YAMLError, *UNREADABLE) as error:
            raise self._no_config() from error
        if not isinstance(loaded, dict) or not isinstance(loaded.get("cell"), dict):
            raise self._no_config()
        return loaded

    def locations(self) -> Record:
        """Where the models and data of this cell lay when it was begun. Raises UserError as `settings`."""
        found = self.settings().get("locations")
        if not isinstance(found, dict) or not all(value is None or isinstance(value, str) for value in found.values()):
            raise self._no_config()
        return found

    def _no_config(self) -> UserError:
        return UserError(
            f"{self.path}/config.yaml is missing or damaged; repeat the command of `l2v run`, which writes it again (a damaged "
            "one must be deleted first)."
        )

    def begin(self, cell: Cell, locations: Record) -> None:
        """Write config.yaml unless it is there; several workers may do so at once."""
        if (self.path / "config.yaml").exists():
            self.cell()
        else:
            content = {"schema": SCHEMA, "id": cell.id, "cell": asdict(cell), "locations": locations}
            text = yaml.dump(content, Dumper=SafeDumper, sort_keys=False, allow_unicode=True)
            # Its name reaches the disk before DONE does; one that is gone is written again.
            write_atomically(self.path / "config.yaml", text, sync=True, name=False)
