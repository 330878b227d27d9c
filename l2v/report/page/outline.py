"""The sections of the page, each with its link, its template and its scripts: a new one is a line here and a template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """A section of the page.

    link: its word in the bar on top. heading: that of a section that is a figure alone; others have parts/ID.html.j2. scripts:
    its own files. needs: it stands on the page where one of these is there to show; always, where there are none.
    """

    id: str
    link: str
    heading: str = ""
    scripts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        """The file that it is made from."""
        return "parts/figure.html.j2" if self.heading else f"parts/{self.id}.html.j2"


SECTIONS = (
    Section("verdicts", "Verdicts"),
    Section("arms", "Arms", "Arms against direct", ("arms.js",)),
    Section("grid", "Grid", "The grid: layer by alpha, for each k and arm", ("grid.js", "heatmaps.js")),
    Section("curves", "Curves", "Along one setting, beside what chance finds", ("curves.js",)),
    Section("parallel", "All settings", "Every cell through all its settings", ("parallel.js",)),
    Section("length", "Length", "Output length and accuracy", ("length.js",)),
    Section("race", "Race", needs=("races",)),
    Section("compare", "Compared", scripts=("compare.js",), needs=("second",)),
    Section("printed", "Printed", needs=("printed", "why_not_printed")),
    Section("scorers", "Scorers", needs=("agreement",)),
    Section("examples", "Responses", scripts=("examples.js", "cards.js")),
    Section("lat", "States", needs=("lat", "lat_notes")),
    Section("table", "Table", scripts=("cells.js",)),
    Section("run", "What was run"),
)
FIRST = ("core.js", "view.js", "looks.js", "page.js", "table.js", "live.js")  # what all sections stand on


def outline(content: Mapping[str, Any]) -> list[Section]:
    """The sections that a page with this content has; without a finished cell, what an analysis of states left at most."""
    sections = SECTIONS if content["heads"][0]["facts"] else [one for one in SECTIONS if one.id == "lat"]
    return [section for section in sections if not section.needs or any(content[name] for name in section.needs)]


def scripts() -> Sequence[str]:
    """The files of the page's script, in their order."""
    return (*FIRST, *(name for section in SECTIONS for name in section.scripts))
