"""Tables for a paper: booktabs, everything escaped, the caption says what the figures are."""

from __future__ import annotations

import re
from collections.abc import Sequence

ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "†": r"$^{\dagger}$",
    "Δ": r"$\Delta$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "²": r"$^{2}$",
}


def escaped(text: object) -> str:
    """A text as LaTeX prints it; a minus before a digit becomes a minus sign. Control characters are dropped."""
    kept = "".join(ESCAPES.get(c, c) for c in str(text) if c.isprintable())
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", kept)


def latex_table(
    columns: Sequence[str], blocks: Sequence[tuple[str, Sequence[Sequence[str]]]], caption: str, label: str, left: int = 1
) -> str:
    """A `table*` with one tabular. `blocks`: (heading, rows); cells may hold line breaks. The first `left` columns are names.

    Needs \\usepackage{booktabs}.
    """
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escaped(caption)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9:.-]+', '-', label)}}}",
        rf"\begin{{tabular}}{{{'l' * left}{'r' * (len(columns) - left)}}}",
        r"\toprule",
        _row(columns),
    ]
    for heading, rows in blocks:
        lines.append(r"\midrule")
        if heading:
            lines += [rf"\multicolumn{{{len(columns)}}}{{l}}{{\textbf{{{escaped(heading)}}}}} \\", r"\addlinespace"]
        lines += [_row(row) for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}"])


def _row(cells: Sequence[str]) -> str:
    # Without the empty group a row that begins with "[" would be read as an argument of the line break before it.
    return "{}" + " & ".join(_cell(cell) for cell in cells) + r" \\"


def _cell(text: str) -> str:
    lines = [escaped(line) for line in str(text).split("\n")]
    stacked = r" \\ ".join(lines)
    return lines[0] if len(lines) == 1 else rf"\shortstack[r]{{{stacked}}}"
