"""What other distributions add to l2v: arms, scorers and benchmarks, through entry points of their pyproject.toml.

    [project.entry-points."l2v.arms"]          name = "package.module:ARM"         (l2v.transfer.arms.Arm)
    [project.entry-points."l2v.scorers"]       name = "package.module:function"    ((Question, response) -> Verdict)
    [project.entry-points."l2v.benchmarks"]    name = "package.module:BENCHMARK"   (l2v.benchmarks.base.Benchmark)

The package's own names come first, and nothing is imported before it is asked for by name. What was computed with an arm or a
benchmark from outside carries its distribution and version in its identity: another version is another cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from l2v.errors import UserError

GROUPS = ("l2v.arms", "l2v.scorers", "l2v.benchmarks")
Kind = TypeVar("Kind")


@lru_cache(maxsize=len(GROUPS))
def _found(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name. Raises UserError where two distributions give one name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise UserError(f"Two distributions give {group} the name '{entry.name}': {_told(other)} and {_told(entry)}.")
    return found


def _told(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def package_of(group: str, name: str) -> str | None:
    """The distribution and version that a name comes from; None for one that no other distribution gives."""
    entry = _found(group).get(name)
    return None if entry is None else _told(entry)


class Registry(dict[str, Kind], Generic[Kind]):
    """The package's own entries by name, and those of a group of entry points, which are loaded when they are asked for."""

    def __init__(self, group: str, kind: type[Kind], own: dict[str, Kind]) -> None:
        super().__init__(own)
        self._group, self._kind, self.own = group, kind, tuple(own)

    def __missing__(self, name: str) -> Kind:
        entry = _found(self._group)[name]
        try:
            value: object = entry.load()
        except Exception as error:
            raise UserError(f"'{name}' of {_told(entry)} does not load ({type(error).__name__}: {error}); mend it.") from error
        if not isinstance(value, self._kind):
            raise UserError(f"'{name}' of {_told(entry)} ({entry.value}) is no {self._kind.__name__}; see l2v/outside.py.")
        self[name] = value
        return value

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in _found(self._group)

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*super().__iter__(), *_found(self._group)))

    def package(self, name: str) -> str | None:
        """The distribution and version that a name comes from; None for the package's own."""
        return None if name in self.own else package_of(self._group, name)
