"""The tables of a study, for the terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from l2v.benchmarks.metrics import HEADLINE
from l2v.disk import write_atomically
from l2v.errors import UserError, unknown
from l2v.study.columns import short
from l2v.study.results import Selection, build_results, read_selection
from l2v.study.store import Store

FORMATS = ("text", "md", "csv", "latex")
MOST_ROWS = 40

SELECTED_ON_TEST = "†: selected on test, the best of an arm's cells on the items it is told on."
MINIATURE_NOTE = (
    "The miniature world: trained models of one million parameters. It shows what the pipeline can tell apart and says nothing "
    "about real models."
)


def headline(results: pd.DataFrame, split: str | None, scorer: str, cells: set[str], metric: str | None = None) -> pd.DataFrame:
    """The rows to show, best first within each target and benchmark: `cells`, or those of one split, or all.

    `metric`: one score, "all" for every score, None for the headline.
    """
    table = results[results["scorer"] == scorer]
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


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """Shares in per cent with their intervals, differences in points; every figure carries its n."""

    def percent(row: pd.Series) -> str:
        if pd.isna(row["low"]):
            return f"{100 * row['value']:.1f}"
        mark = "†" if row["selected"] == "test" else ""
        return f"{100 * row['value']:.1f}{mark} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"

    def points(row: pd.Series) -> str:
        if pd.isna(row["diff"]):
            return ""
        return f"{100 * row['diff']:+.1f} [{100 * row['diff_low']:+.1f}, {100 * row['diff_high']:+.1f}]"

    def flips(row: pd.Series) -> str:
        return "" if pd.isna(row["flips_right"]) else f"+{row['flips_right']:.0f} -{row['flips_wrong']:.0f}"

    def p_value(value: float) -> str:
        return "" if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}"

    shown = pd.DataFrame(
        {
            "target": table["target"],
            **({"benchmark": _benchmarks(table)} if table["benchmark"].nunique() > 1 else {}),
            **({"score": table["metric"]} if set(table["metric"]) != {HEADLINE} else {}),
            "method": _methods(table),
            "source": table["source"].fillna("") if "source" in table else "",
            "seed": table["seed"].map(short),
            **({"examples": table["per_domain"].map(short)} if table["per_domain"].nunique() > 1 else {}),
            "layer": table["layer"].map(short),
            "alpha": table["alpha"].map(short),
            "k": table["cutoff"].map(short),
            "accuracy % [95 %]": table.apply(percent, axis=1),
            "n": table["n"],
            "vs direct, points [95 %]": table.apply(points, axis=1),
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


def _share(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.0f}"


def _seldom(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns that are shown only where they say something."""
    names = {"unresolved_share": "unresolved %", "guessed_share": "guessed %"}
    return {title: table[name].map(_share) for name, title in names.items() if table[name].fillna(0).gt(0).any()}


def _methods(table: pd.DataFrame) -> pd.Series:
    """The method, with the way of merging where it is not the paper's linear one."""
    special = table["weights"].isin(["layer_swap", "ties"])
    return table["method"].where(~special, table["method"] + " (" + table["weights"].astype(str) + ")")


def _benchmarks(table: pd.DataFrame) -> pd.Series:
    return table["task"].where(table["task"].notna(), table["benchmark"])


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
            heading += f", n = {part['n'].iloc[0]}"
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

    parts = [(heading, block[[name for name in IN_PRINT if name in block]]) for heading, block in blocks(shown)]
    # One tabular has one set of columns; a target's shared n stands in its heading.
    columns = [name for name in IN_PRINT if any(name in block for _, block in parts)]
    rows = [(heading, block.reindex(columns=columns, fill_value="").astype(str).values.tolist()) for heading, block in parts]
    n = sorted(set(shown["n"]))
    items = f"n = {n[0]}" if len(n) == 1 else f"n from {n[0]} to {n[-1]}, as told in the table"
    first = f"Accuracy in % and differences to direct in points, with 95 % intervals; {items}; tokens: mean of an answer."
    names = [{"steps": "steps %"}.get(name, name) for name in columns]
    return latex_table(names, rows, " ".join([first, *filter(None, told)]), study)


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table; vertical bars in cells are escaped."""
    rows = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows)


def study_report(
    outputs: str,
    study: str,
    scorer: str = "official",
    split: str | None = None,
    format: str = "text",
    most: int | None = None,
    results: pd.DataFrame | None = None,
    cells: set[str] | None = None,
    metric: str | None = None,
    color: bool = False,
) -> str:
    """The headline table of a study as text, Markdown, CSV or LaTeX; what was chosen where is said above it.

    `results`: the study's table where it was just built. `cells`: what was just run, shown where the study holds an older
    selection. `metric`: another score than the headline, or "all". `color`: text for this terminal, of its
    width. Raises UserError for an unknown study, format or score, or a scorer that was not applied.
    """
    check_format(format)
    store = Store(outputs, study).existing()
    results = build_results(store) if results is None else results
    if not len(results):
        return f"Study '{study}': no finished cell yet."
    if scorer not in set(results["scorer"]):
        raise UserError(
            f"Scorer '{scorer}' was not applied to study '{study}'; run `l2v score study={study} scorer={scorer}` first."
        )
    if metric not in (None, "all") and metric not in set(results["metric"]):
        raise unknown("score", str(metric), [*dict.fromkeys(results["metric"]), "all"])
    selection = read_selection(store)
    if cells is not None and selection.arms:
        # A plain run inside a study that once chose and reported: show what was run, not the old selection.
        selection = Selection()
    else:
        cells = set(selection.reports.values())
    table = headline(results, split, scorer, cells, metric)
    if not len(table) and split is None:
        return f"Study '{study}': none of these cells is finished."
    if not len(table):
        raise UserError(f"Study '{study}' has no cells of split '{split}'; it has {', '.join(sorted(set(results['split'])))}.")
    if format == "csv":
        return table.to_csv(index=False, float_format="%.6g").rstrip("\n")
    lines = _preamble(study, scorer, results, selection, split)
    hidden = max(0, len(table) - most) if most else 0
    table = table.head(len(table) - hidden).reset_index(drop=True)
    more = f"… and {hidden} more rows: `l2v report study={study}`" if hidden else ""
    if selection.arms and split is None and (table["selected"] == "test").any():
        lines.insert(-1, SELECTED_ON_TEST)
    shown = formatted(table)
    if format == "latex":
        return latex(shown, lines, study)
    if format == "text" and color:
        from l2v.report.terminal import coloured

        return coloured(lines, blocks(shown), table, more)
    lines.append(markdown(shown) if format == "md" else plain(shown))
    return "\n".join([*lines, more] if more else lines)


def check_format(format: str) -> None:
    """Raise UserError for a format that there is none of."""
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)


def on_terminal() -> bool:
    """Whether standard output is read by a person."""
    return sys.stdout.isatty()


def _preamble(study: str, scorer: str, results: pd.DataFrame, selection: Selection, split: str | None) -> list[str]:
    lines = [f"Study '{study}', scorer '{scorer}', {len(set(results['cell']))} finished cells."]
    if selection.arms and split is None:
        where, then = ("one part of the problems", "the rest")
        if selection.select is not None:
            where, then = f"split '{selection.select}'", f"split '{selection.report}'"
        lines.append(f"Layer, alpha and k of each arm were chosen on {where}; every figure below is told on {then}.")
    else:
        lines.append(f"No selection protocol. {SELECTED_ON_TEST}")
    for role in ("target", "source", "benchmark"):
        if (results.groupby(role)[f"{role}_revision"].nunique() > 1).any():
            lines.append(
                f"WARNING: one {role} name stands for several revisions in this study (column {role}_revision of results.csv); "
                "their rows are kept and compared apart. A new study=… name gives a clean table."
            )
    lines.append(
        "Intervals: Wilson for accuracy, paired bootstrap for differences; p: exact McNemar to direct, Holm over the arms of a "
        "target. Where problems have several items: bootstrap and sign-flip test over problems."
    )
    if set(results["benchmark"]) == {"mini"}:
        lines.append(MINIATURE_NOTE)
    return [*lines, ""]


MEASURED = [
    "target",
    "source",
    "contrast",
    "per_domain",
    "contrast_seed",
    "arm",
    "seed",
    "min_new_tokens",
    "layer",
    "alpha",
    "k",
    "score",
    "scorer",
    "value",
    "n",
    "low",
    "high",
    "diff",
]
MEASURED += ["diff_low", "diff_high", "p_holm", "p_best_of_grid", "budget", "selected", "tokens", "steps_share"]
MEASURED += ["no_answer_share"]


def measured_csv(outputs: str, study: str, scorer: str, results: pd.DataFrame | None = None) -> str:
    """The reported cells of a study as CSV: shares in [0, 1], differences to direct, no timings, in a fixed order.

    `results`: the study's table where it was just built.
    """
    store = Store(outputs, study).existing()
    results = build_results(store) if results is None else results
    cells = set(read_selection(store).reports.values())
    table = headline(results, None, scorer, cells).assign(score=HEADLINE)
    table = table.assign(arm=_methods(table)).rename(columns={"cutoff": "k"})
    return table[MEASURED].to_csv(index=False, float_format="%.6g")


def print_report(outputs: str, study: str, scorer: str, results: pd.DataFrame, cells: set[str] | None) -> None:
    """Print the study's table after a run (see `study_report`), and leave it in the study's report folder."""
    folder = Path(outputs) / study / "report"
    for format, name in (("md", "table.md"), ("csv", "table.csv")):
        write_atomically(folder / name, study_report(outputs, study, scorer, format=format, results=results) + "\n")
    print(study_report(outputs, study, scorer, most=MOST_ROWS, results=results, cells=cells, color=on_terminal()))
    print(f"\ntable: {folder / 'table.md'}")
