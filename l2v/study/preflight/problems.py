"""What is wrong, which cells it costs, and the mend; every problem once, whatever number of cells meets it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from l2v.errors import StudyError, UserError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: in a sentence, the cells that cannot run because of it, and the override that mends it."""

    what: str
    cells: tuple[str, ...]
    mend: str


@dataclass
class Problems:
    """The problems found so far, in the order in which they were met."""

    found: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    noted: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)

    def add(self, what: str, mend: str, cells: Iterable[str]) -> None:
        """Note a problem of these cells; the same one of other cells is one problem."""
        self.found.setdefault((what, mend), {}).update(dict.fromkeys(cells))

    def note(self, what: str, so: str, cells: Iterable[str]) -> None:
        """Note what costs no cell and is worth knowing; so: what follows from it."""
        self.noted.setdefault((what, so), {}).update(dict.fromkeys(cells))

    @contextmanager
    def of(self, cells: Iterable[str], mend: str = "", where: str = "") -> Iterator[None]:
        """Whatever goes wrong in the block is a problem of these cells; without a mend, the sentence's own.

        where: words of the sentences that `mend` belongs to.
        """
        try:
            yield
        except StudyError:
            raise
        except UserError as error:
            what, own = parted(str(error))
            given = mend if where in str(error) else ""
            self.add(str(error) if given else what, given or own, cells)
        except Exception as error:  # files of others may fail in any way, and the other checks go on
            given = "" if where else mend
            self.add(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", given or "mend what is named", cells)

    def all(self) -> list[Problem]:
        """Every problem."""
        return [Problem(what, tuple(cells), mend) for (what, mend), cells in self.found.items()]

    def notes(self) -> list[Problem]:
        """Every note; its mend is what follows from it."""
        return [Problem(what, tuple(cells), so) for (what, so), cells in self.noted.items()]

    def blocked(self) -> set[str]:
        """The cells that cannot run."""
        return {cell for cells in self.found.values() for cell in cells}


def parted(sentence: str) -> tuple[str, str]:
    """A sentence's fault and its mend, which stands after a semicolon; what stands after a colon may be either."""
    what, found, mend = sentence.rpartition("; ")
    if found:
        return what + ".", mend.rstrip(".")
    return sentence, sentence.rpartition(": ")[2].rstrip(".") if ": " in sentence else "mend what is named, or leave it out"
