"""The tables of a study for a person at a terminal: in colour, and folded where the window is narrow.

Colours follow NO_COLOR, the width follows COLUMNS. What is not a terminal gets `tables.plain` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from l2v.report.verdicts import direction, told_of
from l2v.transfer.arms import is_null

if TYPE_CHECKING:
    from rich.text import Text

GAP = "  "
INDENT = "    "  # of a folded line
LONGEST_ARM = 28  # characters of an arm's name where the table has no room
COLOURS = "Green, red: above, below direct by the page's rule. "
LEGEND = (
    "Dim: arms whose vector has nothing to do with the source's direction. What does not fit is folded under its row, without "
    "shares of 0 %; format=md or csv has it all."
)
SHARES = ("steps", "no answer", "unresolved", "guessed", "cut off")

# Which columns stay when there is no room for all.
PRIORITY = ("arm", "accuracy", "n", "vs direct", "p (Holm)", "p (best of grid)", "layer", "alpha", "k", "examples", "flips")


def coloured(
    lines: Sequence[str], blocks: Sequence[tuple[str, pd.DataFrame]], rows: pd.DataFrame, hidden: str = "", slim: bool = False
) -> str:
    """The text above a table, its blocks (heading, shown cells) and a last line, with colours for this terminal.

    `rows`: the results behind the shown cells, by the same index. `slim`: rows of two lines at 80 characters, without the
    columns that have no room there.
    """
    from rich.console import Console, Group
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    parts = [Text(line, style="bold" if i == 0 else "") for i, line in enumerate(lines) if line]
    parts.append(Text(("" if console.no_color else COLOURS) + LEGEND))
    for heading, shown in blocks:
        parts += [
            Text(""),
            Text(heading, style="bold"),
            *_block(shown.drop(columns=_spare(shown, slim, console.width)), rows, console.width),
        ]
    if hidden:
        parts += [Text(""), Text(hidden)]
    with console.capture() as captured:
        console.print(Group(*parts))
    return captured.get().rstrip("\n")


def _block(shown: pd.DataFrame, rows: pd.DataFrame, width: int) -> list[Text]:
    from rich.text import Text

    widths = _widths(shown)
    if sum(widths.values()) + len(GAP) * len(widths) > width:
        shown = shown.assign(arm=_shortened(shown["arm"].astype(str).tolist()))
        widths = _widths(shown)
    kept = fitting(widths, width)
    lines = [_line([Text(_pad(name, widths[name], name == "arm"), style="underline") for name in kept])]
    for index, row in zip(shown.index.tolist(), shown.to_dict("records"), strict=True):
        style, mark = _styles(rows.loc[index])
        cells = []
        for name in kept:
            told = name.startswith(("vs direct", "p (Holm)"))
            cells.append(Text(_pad(str(row[name]), widths[name], name == "arm"), style=mark if told and mark else style))
        lines.append(_line(cells))
        lines += _folded([_told(name, str(row[name])) for name in shown.columns if name not in kept], width)
    return lines


def _widths(shown: pd.DataFrame) -> dict[str, int]:
    return {name: max(len(str(name)), *shown[name].astype(str).str.len()) for name in shown.columns}


def _shortened(arms: list[str]) -> list[str]:
    """Long names without their middle, where no two become one: what is measured needs the room."""
    half = LONGEST_ARM // 2
    short = [arm if len(arm) <= LONGEST_ARM else f"{arm[:half]}…{arm[1 - half :]}" for arm in arms]
    return short if len(set(short)) == len(set(arms)) else arms


def _spare(shown: pd.DataFrame, slim: bool, width: int) -> list[str]:
    """The columns that a slim table leaves out where the window is narrow."""
    whole = sum(len(GAP) + one for one in _widths(shown).values())
    return [name for name in ("tokens", "steps") if name in shown] if slim and whole > width else []


def fitting(widths: dict[str, int], width: int) -> list[str]:
    """The columns that fit into `width` characters, the most telling ones first, in their own order; the first one always."""

    def rank(name: str) -> int:
        return next((i for i, start in enumerate(PRIORITY) if name == start or name.startswith(f"{start} ")), len(PRIORITY))

    kept: list[str] = []
    used = -len(GAP)
    for name in sorted(widths, key=rank):
        if kept and used + len(GAP) + widths[name] > width:
            break
        kept.append(name)
        used += len(GAP) + widths[name]
    return [name for name in widths if name in kept]


def _told(name: str, cell: str) -> str:
    """A column's cell with its name; empty for one that says nothing."""
    if name in SHARES:
        return f"{name} {cell} %" if cell not in ("", "0") else ""
    return f"{name} {cell}" if cell else ""


def _folded(words: Sequence[str], width: int) -> list[Text]:
    """The columns without room, as lines under their row that break between columns only."""
    from rich.text import Text

    lines: list[str] = []
    for word in filter(None, words):
        if lines and len(lines[-1]) + 3 + len(word) <= width:
            lines[-1] += f" · {word}"
        else:
            lines.append(INDENT + word)
    return [Text(line, style="dim") for line in lines]


def _line(cells: Sequence[Text]) -> Text:
    from rich.text import Text

    return Text(GAP, no_wrap=True, overflow="crop").join(cells)


def _pad(text: str, width: int, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def _styles(row: Any) -> tuple[str, str]:
    """The style of a row, and that of its difference where the page's verdict is above or below direct."""
    if row["method"] == "direct":
        return "bold", ""
    told = told_of(row)
    side = direction(told) if told.diff is not None and told.p_holm is not None else 0
    return ("dim" if is_null(row["method"]) else ""), ("red", "", "green")[side + 1]
