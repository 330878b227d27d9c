"""The tables of a study, for the terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.errors import StudyError, UserError, counted, printable, unknown
from l2v.report.figures import p_value, points
from l2v.report.study import Study
from l2v.study.columns import COLUMNS, ITEMS, SETTINGS, SWEPT, short
from l2v.study.results import HOLM, Selection
from l2v.transfer.arms import title

FORMATS = ("text", "md", "csv", "latex")
MOST_ROWS = 40
LINE = 80  # characters of a line of a grid
# Settings that every table has a column for, its heading or a method's name.
SEEN = ("target", "benchmark", "task", "method", "weights", "source", "seed", "per_domain", "layer", "alpha", "cutoff")

SELECTED_ON_REPORTED = "†: selected on the reported items, the best of an arm's cells; biased upwards."
MINIATURE_NOTE = (
    "The miniature world: trained models of one million parameters. It shows what the pipeline can tell apart and says nothing "
    "about real models."
)


def headline(study: Study, split: str | None, cells: set[str], metric: str | None = None) -> pd.DataFrame:
    """The rows to show, best first within each target and benchmark: `cells`, or those of one split, or all.

    `metric`: one score, "all" for every score, None for the headline.
    """
    table = study.rows[study.rows["scorer"] == study.scorer]
    if metric != "all":
        table = table[table["metric"] == (metric or HEADLINE)]
    if cells and split is None:
        table = table[table["cell"].isin(cells)]
    elif split is not None:
        table = table[table["split"] == split]
    # The scores of a benchmark keep the order of the results.
    rank = {name: i for i, name in enumerate(dict.fromkeys(table["metric"]))}
    table = table.assign(rank=table["metric"].map(rank))
    table = table.sort_values(
        ["target", "benchmark", "rank", "value", "method"], ascending=[True, True, True, False, True], kind="stable"
    )
    return table.drop(columns="rank")


def formatted(table: pd.DataFrame, searched: Collection[str] = ()) -> pd.DataFrame:
    """Shares in per cent with their intervals, differences in points; every figure carries its n.

    searched: settings over which arms were searched, whose values are told though rows need not be told apart by them.
    """

    def percent(row: pd.Series) -> str:
        if pd.isna(row["low"]):
            return f"{100 * row['value']:.1f}"
        mark = "†" if row["selected"] == "test" else ""
        return f"{100 * row['value']:.1f}{mark} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"

    def difference(row: pd.Series) -> str:
        if pd.isna(row["diff"]):
            return ""
        return f"{points(100 * row['diff'])} [{points(100 * row['diff_low'])}, {points(100 * row['diff_high'])}]"

    def flips(row: pd.Series) -> str:
        return "" if pd.isna(row["flips_right"]) else f"+{row['flips_right']:.0f} -{row['flips_wrong']:.0f}"

    bench = table["task"].where(table["task"].notna(), table["benchmark"])
    shown = pd.DataFrame(
        {
            "target": table["target"],
            **({"benchmark": bench} if table["benchmark"].nunique() > 1 else {}),
            **({"score": table["metric"]} if set(table["metric"]) != {HEADLINE} else {}),
            "method": _methods(table),
            "source": table["source"].fillna("") if "source" in table else "",
            "seed": table["seed"].map(short),
            **({"examples": table["per_domain"].map(short)} if table["per_domain"].nunique() > 1 else {}),
            "layer": table["layer"].map(short),
            "alpha": table["alpha"].map(short),
            "k": table["cutoff"].map(short),
            **_apart(table, searched),
            "accuracy % [95 %]": table.apply(percent, axis=1),
            "n": table["n"],
            "vs direct, points [95 %]": table.apply(difference, axis=1),
            "p (Holm)": table["p_holm"].map(p_value),
            **({"p (best of grid)": table["p_best_of_grid"].map(p_value)} if table["p_best_of_grid"].notna().any() else {}),
            "flips": table.apply(flips, axis=1),
            "tokens": table["tokens"].map(lambda v: "" if pd.isna(v) else f"{v:.1f}"),
            "steps %": table["steps_share"].map(_share),
            "no answer %": table["no_answer_share"].map(_share),
            **_seldom(table),
            "cut off %": table["truncated_share"].map(_share),
        }
    )
    return shown.reset_index(drop=True)


def _apart(table: pd.DataFrame, searched: Collection[str]) -> dict[str, pd.Series]:
    """What was searched, and the settings without which two rows would look alike, or as if they were of the same items."""
    seen = [name for name in ("metric", *SEEN) if name in table]
    found: dict[str, pd.Series] = {}
    asked = [name for name in ("target", "benchmark", "task") if name in table]
    known = {*seen, *(column.name for column in SETTINGS)} & {*table}
    held = {name: [None if pd.isna(v) else v for v in table[name]] for name in known}

    def kinds(*names: str) -> int:
        """How many rows differ in these; pandas takes twenty times as long on a table of a few rows."""
        return len(set(zip(*(held[name] for name in names), strict=True)))

    for column in SETTINGS:
        name = column.name
        if name not in held or name in seen or kinds(name) < 2 and name not in searched:
            continue
        alike = asked if column.role == ITEMS else seen
        if (name in searched and set(held[name]) != {None}) or kinds(*alike, name) > kinds(*alike):
            seen.append(name)
            found[column.word or name] = table[name].map(short)
    return found


def _share(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.0f}"


def _seldom(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns that are shown only where they say something."""
    names = {"unresolved_share": "unresolved %", "guessed_share": "guessed %"}
    return {title: table[name].map(_share) for name, title in names.items() if table[name].fillna(0).gt(0).any()}


def _methods(table: pd.DataFrame) -> pd.Series:
    """The method by its title, with the way of merging where it is not the paper's linear one."""
    special = table["weights"].isin(["layer_swap", "ties"])
    return table["method"].map(title).where(~special, table["method"] + " (" + table["weights"].astype(str) + ")")


def blocks(shown: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A heading and the rows per target; method, source and seed in one column `arm`, a shared n said once in the heading."""
    found = []
    keys = [name for name in ("target", "benchmark", "score") if name in shown]
    for values, part in shown.groupby(keys, sort=False):
        names = part[["method", "source", "seed"]].copy()
        names["seed"] = names["seed"].map(lambda seed: f"seed {seed}" if seed else "")
        arm = names.apply(lambda row: " ".join(word for word in row if word), axis=1)
        rest = part.drop(columns=[*keys, "method", "source", "seed"])
        heading = ", ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True))
        if part["n"].nunique() == 1:
            heading += f", n = {part['n'].iloc[0]:,}"
            rest = rest.drop(columns="n")
        rest = rest.rename(columns=lambda name: name.removesuffix(" %").replace(", points", ""))
        rest.insert(0, "arm", arm)
        found.append((heading, rest))
    return found


def plain(shown: pd.DataFrame) -> str:
    """A table for a pipe, a block per target."""
    parts = []
    for heading, block in blocks(shown):
        # Left-aligned names; pandas has no such option for one column.
        width = int(block["arm"].str.len().max())
        padded = block.assign(arm=block["arm"].str.ljust(width)).rename(columns={"arm": "arm".ljust(width)})
        parts.append(f"{heading}\n{padded.to_string(index=False)}")
    return "\n\n".join(parts)


# What a paper has room for; the other columns are in the CSV.
IN_PRINT = (
    "arm",
    "examples",
    "layer",
    "alpha",
    "k",
    "accuracy % [95 %]",
    "n",
    "vs direct [95 %]",
    "p (Holm)",
    "p (best of grid)",
    "tokens",
    "steps",
)


def latex(shown: pd.DataFrame, told: Sequence[str], study: str) -> str:
    """A booktabs table, a block per target; the caption holds what stands above the other formats."""
    from l2v.report.latex import latex_table

    names = list(shown.columns)
    # What tells rows apart stands between k and the accuracy.
    apart = names[names.index("k") + 1 : names.index("accuracy % [95 %]")]
    in_print = [name for first in IN_PRINT for name in ([first, *apart] if first == "k" else [first])]
    parts = [(heading, block[[name for name in in_print if name in block]]) for heading, block in blocks(shown)]
    # One tabular has one set of columns; a target's shared n stands in its heading.
    columns = [name for name in in_print if any(name in block for _, block in parts)]
    rows = [(heading, block.reindex(columns=columns, fill_value="").astype(str).values.tolist()) for heading, block in parts]
    n = sorted(set(shown["n"]))
    items = f"n = {n[0]:,}" if len(n) == 1 else f"n from {n[0]:,} to {n[-1]:,}, as told in the table"
    first = f"Accuracy in % and differences to direct in points, with 95 % intervals; {items}; tokens: mean of an answer."
    names = [{"steps": "steps %"}.get(name, name) for name in columns]
    return latex_table(names, rows, " ".join([first, *filter(None, told)]), study)


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table; vertical bars in cells are escaped."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows)


def study_report(
    study: Study,
    split: str | None = None,
    format: str = "text",
    most: int | None = None,
    cells: set[str] | None = None,
    metric: str | None = None,
    color: bool = False,
    every: bool = True,
) -> str:
    """The headline table of a study as text, Markdown, CSV or LaTeX; what was chosen where is said above it.

    `cells`: what was just run, shown where the study holds an older selection. `metric`: another score than the headline, or
    "all". `color`: text for this terminal, of its width. `every`: every cell has a row; else the text of a grid has a row per
    arm, and its accuracies by layer and alpha. Raises UserError for an unknown format, score or split.
    """
    check_format(format)
    results, selection = study.rows, study.selection
    if not len(results):
        return f"Study '{study.name}': no finished cell yet; `l2v status study={study.name}` counts the rows that are there."
    if metric not in (None, "all") and metric not in set(results["metric"]):
        raise unknown("metric", str(metric), [*dict.fromkeys(results["metric"]), "all"])
    if cells is not None and selection.choose:
        # A plain run inside a study that once chose and reported: show what was run, not the old selection.
        selection = Selection()
    else:
        cells = set(selection.reports.values())
    table = headline(study, split, cells, metric)
    if not len(table) and split is None:
        return f"Study '{study.name}': none of these cells is finished."
    if not len(table):
        there = ", ".join(sorted(set(results["split"])))
        raise UserError(f"Study '{study.name}' has no cells of split '{split}'; it has {there}.")
    if format == "csv":
        return table[list(COLUMNS)].to_csv(index=False, float_format="%.6g").rstrip("\n")
    lines = [printable(line) for line in _preamble(study, selection)]
    if selection.arms and split is not None and not table["reported"].any():
        table = study.of_split(table)
        lines.insert(2, f"Here: the cells of split {split}.")
    grids = ""
    if not every and format == "text" and metric is None and not table["reported"].all():
        grids = pivots(table)
        table = _per_arm(table)
    hidden = max(0, len(table) - most) if most else 0
    table = table.head(len(table) - hidden).reset_index(drop=True)
    command = f"l2v report study={study.name}" + (f" split={split}" if split else "")
    command += "" if study.scorer == "official" else f" scorer={study.scorer}"
    more = f"… and {hidden} more rows: `{command}`" if hidden else ""
    more = f"{grids}\n\nEvery cell: `{command} cells=all`" if grids else more
    if selection.arms and (table["selected"] == "test").any():
        lines.insert(-1, SELECTED_ON_REPORTED)
    over = [c.name for c in SETTINGS if c.role == SWEPT and c.name != "source_layer" and results[c.name].nunique() > 1]
    shown = formatted(table, over).map(lambda value: printable(value) if isinstance(value, str) else value)
    if format == "latex":
        return latex(shown, lines, study.name)
    if format == "text" and color:
        from l2v.report.terminal import coloured

        return coloured(lines, blocks(shown), table, more, slim=not every)
    lines.append(markdown(shown) if format == "md" else plain(shown))
    return "\n".join([*lines, "", more] if grids else [*lines, more] if more else lines)


def _per_arm(table: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, the best of its cells; the baseline first, then the null arms, then the others, best first."""
    rank = table["role"].map({"baseline": 0, "null": 1}).fillna(2)
    kept = table[table["reported"].astype(bool)].assign(rank=rank)
    return kept.sort_values(["target", "benchmark", "rank"], kind="stable").drop(columns="rank")


def pivots(table: pd.DataFrame) -> str:
    """Accuracy in % by layer and alpha, a block for every arm with several cells that have both; its best cell is starred."""
    found = []
    for (target, bench, items, arm), rows in table.groupby(["where", "bench", "items", "arm"], sort=False):
        steered = rows[rows["layer"].notna() & rows["alpha"].notna()]
        other = [c.name for c in SETTINGS if c.role == SWEPT and c.name not in ("layer", "source_layer", "alpha")]
        for values, panel in steered.groupby([*other, "panel"], dropna=False, sort=True):
            if len(panel) < 2 or panel.duplicated(["layer", "alpha"]).any():
                continue
            shown = panel["value"].map(lambda value: f"{100 * value:.1f}") + panel["reported"].map({True: "*", False: " "})
            grid = panel.assign(shown=shown).pivot(index="layer", columns="alpha", values="shown").fillna("")
            grid = grid.rename(index=short, columns=short)
            named = zip([*other, "panel"], values, strict=True)
            apart = [f"{COLUMNS[n].word if n in COLUMNS else ''} {short(v)}".strip() for n, v in named if rows[n].nunique() > 1]
            told = ", ".join([f"{arm} on {target}", f"{bench} {items}".strip(), *apart, f"n = {panel['n'].iloc[0]:,}"])
            found.append(f"{told}; layer by alpha, %, * best\n{grid.to_string(line_width=LINE)}")
    return "\n\n".join(found)


def check_format(format: str) -> None:
    """Raise UserError for a format that there is none of."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)


def on_terminal() -> bool:
    """Whether standard output is read by a person."""
    return sys.stdout.isatty()


def _preamble(study: Study, selection: Selection) -> list[str]:
    cells = counted(study.rows["cell"].nunique(), "finished cell")
    lines = [f"Study '{study.name}', scorer '{study.scorer}', {cells}."]
    told = f"{selection.told()[0].upper()}{selection.told()[1:]}." if selection.choose else "No selection protocol."
    lines.append(told if selection.arms else f"{told} {SELECTED_ON_REPORTED}")
    lines += [f"WARNING: {line}" for line in study.warnings()]
    lines.append(
        f"Intervals: Wilson for accuracy, paired bootstrap for differences; p: exact McNemar to direct; {HOLM}. Where problems "
        "have several items: bootstrap and sign-flip test over problems."
    )
    if set(study.rows["benchmark"]) == {"mini"}:
        lines.append(MINIATURE_NOTE)
    return [*lines, ""]


# Of a measured figure: what tells its cell from others, and what it is; no timings.
MEASURED = ["target", *(c.name for c in SETTINGS if c.role != ITEMS and not c.loose), "score", "scorer", "value", "n", "low"]
MEASURED += ["high", "diff", "diff_low", "diff_high", "p_holm", "p_best_of_grid", "budget", "selected", "tokens", "steps_share"]
MEASURED += ["no_answer_share"]


def measured_csv(study: Study) -> str:
    """The reported cells of a study as CSV: shares in [0, 1], differences to direct, no timings, in a fixed order."""
    table = headline(study, None, set(study.selection.reports.values())).assign(score=HEADLINE)
    table = table.assign(method=_methods(table))[MEASURED].rename(columns={"method": "arm", "cutoff": "k"})
    return table.to_csv(index=False, float_format="%.6g")


def print_report(study: Study, cells: set[str] | None) -> None:
    """Print the study's table after a run (see `study_report`), and leave it in the study's report folder, if it can be."""
    print(study_report(study, most=MOST_ROWS, cells=cells, color=on_terminal(), every=False))
    try:
        tables = {f"table.{format}": study_report(study, format=format) + "\n" for format in ("md", "csv")}
        folder = study.store.write_reports(tables)
    except StudyError as error:
        print(printable(f"The table stands here alone: {error}"), file=sys.stderr)
        return
    print(f"\ntable: {folder / 'table.md'}")
