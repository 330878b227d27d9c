"""The errors that a user sees. One sentence each: what, where, and how to mend it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# What moves a terminal's cursor, hides or reorders text: control characters but tab and line end, bidirectional marks, and
# halves of surrogate pairs, which cannot be written at all.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text from models, data or files as a terminal may get it: escape sequences and the like are shown, never obeyed."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def counted(number: int, word: str) -> str:
    """A number with what it counts: "1 cell", "1,921 cells"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


class UserError(Exception):
    """Input that the user can mend. Shown as one sentence, exit code 2, no traceback, nothing stored is lost."""


class StudyError(UserError):
    """What ends a whole command, such as a full disk. Every other UserError met at work is one cell's, reading's or model's."""


class InterventionError(RuntimeError):
    """An intervention that could not be applied as asked, or that changed nothing at alpha > 0."""


def nearest(name: str, options: Iterable[str], count: int = 3) -> list[str]:
    """The options closest in spelling to `name`, best first; all of them when there are at most five."""
    known = sorted(set(options))
    close = difflib.get_close_matches(name, known, n=count, cutoff=0.4)
    return close or (known if len(known) <= 5 else [])


def unknown(kind: str, name: str, options: Iterable[str]) -> UserError:
    """The error for a name that is not in a registry, with the nearest names that are."""
    options = list(options)
    close = nearest(name, options)
    hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(sorted(options))}."
    return UserError(f"Unknown {kind} '{name}'; {hint}")
