"""Is everything there? What can be told of a study's folder without a model."""

from __future__ import annotations

from l2v.errors import UserError
from l2v.study.cell_folder import CellFolder
from l2v.study.store import Store
from l2v.study.workers.run import read_run


def whole_study(store: Store) -> list[CellFolder]:
    """The finished cells of a study, by id, for whoever tells figures.

    Raises UserError for a cell that was finished and is not whole any more, or that is gone.
    """
    folders = store.whole()
    if lost := lost_cells(store, {folder.id for folder in folders}):
        raise UserError(lost[0])
    return folders


def lost_cells(store: Store, finished: set[str]) -> list[str]:
    """A sentence per cell that its run had finished and that is neither finished nor set aside now."""
    told = []
    for path in sorted(store.path.glob("runs/*/run.json")):
        try:
            run = read_run(path.parent)
        except UserError:
            # `l2v status` tells of it; nothing that was measured depends on it.
            continue
        if run.over():
            gone = [cell for cell in run.cells if cell not in finished and run.failed_here(store.folder(cell)) is None]
            told += [
                f"{store.path / 'cells' / cell}/DONE is missing though {run.path} computed every cell; repeat the command of "
                "`l2v run`, which makes the cell whole again."
                for cell in gone
            ]
    return told
