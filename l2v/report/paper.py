"""The paper's tables: measured figures beside the printed ones, with difference, n, scorer and interval.

An experiment file drives both the run and its table: `l2v run --multirun +experiment=table1`, then
`l2v report +experiment=table1`. A cell that was not measured stands as missing; figures of different scorers, splits or prompt
styles are never put into one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from l2v.benchmarks.metrics import HEADLINE
from l2v.disk import SafeLoader
from l2v.errors import UserError, unknown
from l2v.paths import conf_dir
from l2v.report.figures import points
from l2v.report.latex import latex_table
from l2v.report.study import ASKED_ALIKE, Study
from l2v.report.tables import check_format, markdown
from l2v.study.columns import SETTINGS, short

PRINTED = Path(__file__).parent / "printed"


@lru_cache(maxsize=16)
def printed_table(name: str) -> pd.DataFrame:
    """The figures that the paper prints in one of its tables; read once, not to be changed."""
    return pd.read_csv(PRINTED / f"{name}.csv")


# A printed column -> the benchmark and its score.
COLUMNS = {
    "mathvista": ("mathvista", HEADLINE),
    "mathvista_general": ("mathvista", "general"),
    "mathvista_math": ("mathvista", "math"),
    "mathverse": ("mathverse", HEADLINE),
    "mathverse_text_dominant": ("mathverse", "version/text_dominant"),
    "mathverse_text_lite": ("mathverse", "version/text_lite"),
    "mathverse_vision_intensive": ("mathverse", "version/vision_intensive"),
    "mathverse_vision_dominant": ("mathverse", "version/vision_dominant"),
    "mathverse_vision_only": ("mathverse", "version/vision_only"),
    "mmstar": ("mmstar", HEADLINE),
    "mmstar_perception": ("mmstar", "perception"),
    "mmstar_reasoning": ("mmstar", "reasoning"),
    "dynamath": ("dynamath", HEADLINE),
    "mathvision": ("mathvision", HEADLINE),
}
AVERAGE = ("mathvista", "mathverse", "mmstar", "dynamath", "mathvision")
# What must be one and the same for every figure of one benchmark in one table.
SAME = {"split": "splits", "part": "parts", "limit": "limits", "benchmark_revision": "data", "max_new_tokens": "answer lengths"}
# Columns of a LaTeX table.
PER_TABLE = 5
# Methods whose row is a prompt of its own.
PROMPTED = ("cot_prompt",)


@dataclass(frozen=True)
class Experiment:
    """An experiment file: the study that it fills, and the paper's table beside which that stands, None where there is none."""

    name: str
    study: str
    printed: str | None


def experiment(name: str) -> Experiment:
    """What conf/experiment/NAME.yaml says. Raises UserError for an unknown name."""
    folder = conf_dir() / "experiment"
    names = [p.stem for p in folder.glob("*.yaml")]
    if name == "paper":
        raise UserError("There is no experiment 'paper'; `l2v claims` holds all its claims against what is stored.")
    if name not in names:
        raise unknown("experiment", name, names)
    chosen = yaml.load((folder / f"{name}.yaml").read_text(encoding="utf-8"), Loader=SafeLoader) or {}
    return Experiment(name, str(chosen.get("study")), (chosen.get("table") or {}).get("printed"))


def printed_beside(study: str) -> list[str]:
    """The paper's tables beside which a study stands, as the experiment files say."""
    found = [experiment(path.stem) for path in sorted((conf_dir() / "experiment").glob("*.yaml"))]
    return [one.printed for one in found if one.study == study and one.printed]


@dataclass(frozen=True)
class Figure:
    """One measured figure: shares in [0, 1]; `how` it was chosen: "", "selected on dev" or "selected on test".

    Of several draws of the contrast: the mean, the mean ends of their intervals, and the standard error over the draws.
    """

    value: float
    low: float
    high: float
    n: int
    how: str
    draws: int = 1
    error: float | None = None


def paper_table(study: Study, printed: str) -> pd.DataFrame:
    """Long form: target, method, source, column, printed, measured, low, high, n, difference (points), draws
    of the contrast, their standard error (points), chosen.

    `printed` names a file of printed numbers (table1, table2, source_scale). A study that was not run gives a table of missing
    cells. Raises UserError for an unknown name, or figures that must not stand in one table.
    """
    names = sorted(path.stem for path in PRINTED.glob("*.csv") if path.stem != "lat_dispersion")
    if printed not in names:
        raise unknown("printed table", printed, names)
    paper = printed_table(printed)
    columns = [name for name in paper.columns if name not in ("target", "method", "source")]
    measured = _measured(study)
    rows: list[dict[str, Any]] = []
    for line in paper.to_dict("records"):
        key = (line["target"], line["method"], line.get("source"))
        for column in columns:
            figure = _average(measured, key) if column == "average" else measured.get((*key, *COLUMNS[column]))
            rows.append({"target": key[0], "method": key[1], "source": key[2], "column": column, "scorer": study.scorer,
                         "printed": line[column], **_shown(figure, float(line[column]))})  # fmt: skip
    return pd.DataFrame(rows)


def _shown(figure: Figure | None, printed: float) -> dict[str, Any]:
    if figure is None:
        return dict.fromkeys(("measured", "low", "high", "n", "difference", "draws", "se")) | {"chosen": "missing"}
    value = 100 * figure.value
    bounds = {"low": round(100 * figure.low, 1), "high": round(100 * figure.high, 1)}
    drawn = {"draws": figure.draws, "se": None if figure.error is None else round(100 * figure.error, 2)}
    difference = round(value - printed, 1) + 0.0
    return {"measured": round(value, 1), **bounds, "n": figure.n, "difference": difference, **drawn, "chosen": figure.how}


def _measured(study: Study) -> dict[tuple[Any, ...], Figure]:
    """The figure of each (target, method, source or None, benchmark, score)."""
    if not len(study.results):
        return {}
    rows = study.results[study.results["scorer"] == study.scorer]
    reported = set(study.selection.reports.values())
    if reported:
        rows = rows[rows["cell"].isin(reported)]
    check_same(rows)
    found: dict[tuple[Any, ...], Figure] = {}
    for keys, group in rows.groupby(["target", "method", "benchmark", "metric"], sort=False):
        target, method, benchmark, metric = keys
        for source in [None, *group["source"].dropna().unique()]:
            of_source = group if source is None else group[group["source"] == source]
            found[target, method, source, benchmark, metric] = _best(of_source, rows)
    return found


def _best(group: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """The one row there is; the mean of several draws of the contrast, where they differ in nothing that was not chosen for
    each; or of several, whatever they differ in, the one whose headline is best: selected on test."""
    several = len(group) > 1
    if several and _are_draws(group):
        on = group["selected"].iloc[0]
        how = f"selected on {on}" if isinstance(on, str) else ""
        error = float(group["value"].std(ddof=1)) / len(group) ** 0.5
        mean = {name: float(group[name].mean()) for name in ("value", "low", "high")}
        return Figure(mean["value"], mean["low"], mean["high"], int(group["n"].iloc[0]), how, len(group), error)
    if several:
        headline = rows[(rows["metric"] == HEADLINE) & rows["cell"].isin(group["cell"])].set_index("cell")["value"]
        group = group[group["cell"] == headline.idxmax()]
    row = group.iloc[0]
    on = "test" if several else row["selected"]
    chosen = f"selected on {on}" if isinstance(on, str) else ""
    return Figure(row["value"], row["low"], row["high"], int(row["n"]), chosen)


def _are_draws(group: pd.DataFrame) -> bool:
    """Whether rows are draws of one contrast, each with settings that were chosen on other items or are the same in all."""
    if "contrast_seed" not in group:
        return False
    distinct = group["contrast_seed"].nunique() == len(group)
    chosen = group["selected"].map(lambda on: isinstance(on, str) and on != "test").all() and group["selected"].nunique() == 1
    fixed = {column.name for column in SETTINGS if not (chosen and column.choosable)} - {"contrast_seed"}
    return bool(distinct and all(group[name].nunique(dropna=False) == 1 for name in fixed & {*group}))


def check_same(rows: pd.DataFrame) -> None:
    """Raise UserError when figures of one benchmark come from different splits, data, lengths or prompt styles, or those of a
    target on it from others of its name, from other pictures, or from another way to decode."""
    for benchmark, group in rows.groupby("benchmark"):
        for column, what in SAME.items():
            values = sorted(map(str, group[column].unique()))
            if len(values) > 1:
                raise UserError(f"This table would mix {what} of {benchmark} ({', '.join(values)}); put them into two studies.")
        styles = sorted(group[~group["method"].isin(PROMPTED)]["prompt"].unique())
        if len(styles) > 1:
            raise UserError(
                f"This table would mix prompt styles of {benchmark} ({', '.join(styles)}); put them into two studies."
            )
    for (target, where), group in rows.groupby(["target", "benchmark"]):
        for name in (column.name for column in ASKED_ALIKE if column.name in group):
            if group[name].nunique(dropna=False) > 1:
                told = ", ".join(short(value) or "none" for value in group[name].unique())
                raise UserError(f"This table would mix {name} of {target} on {where} ({told}); put them into two studies.")


def _average(measured: dict[tuple[Any, ...], Figure], key: tuple[Any, ...]) -> Figure | None:
    """The paper's last column: the unweighted mean of the five benchmarks; missing where one of them is."""
    parts = [measured.get((*key, *COLUMNS[name])) for name in AVERAGE]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(parts):
        return None
    # Benchmarks are independent: the interval's half widths add in squares.
    mean = sum(p.value for p in whole) / len(whole)
    down = sum((p.value - p.low) ** 2 for p in whole) ** 0.5 / len(whole)
    up = sum((p.high - p.value) ** 2 for p in whole) ** 0.5 / len(whole)
    chosen = {p.how for p in whole}
    how = chosen.pop() if len(chosen) == 1 else "mixed"
    errors = [p.error for p in whole if p.error is not None]
    error = sum(e**2 for e in errors) ** 0.5 / len(whole) if len(errors) == len(whole) else None
    return Figure(mean, mean - down, mean + up, sum(p.n for p in whole), how, min(p.draws for p in whole), error)


def paper_report(study: Study, printed: str, format: str) -> str:
    """The table as text, Markdown, CSV or LaTeX, with what it may be read as. Raises UserError for an unknown format."""
    check_format(format)
    table = paper_table(study, printed)
    if format == "csv":
        return table.to_csv(index=False).rstrip("\n")
    there = int((table["chosen"] != "missing").sum())
    lines = [
        f"Printed ({printed}) beside measured: study '{study.name}', scorer '{study.scorer}', {there} of {len(table)} figures "
        "measured. In %; measured with its 95 % interval and n, Δ in points. The paper names no scorer, layer, alpha or k.",
    ]
    if (table["chosen"] == "selected on test").any():
        lines.append("† selected on the reported items: the best of several cells, biased upwards.")
    if format == "latex":
        return _latex(table, [*lines, _protocol(table)], printed)
    shown = _wide(table.assign(text=table.apply(_cell_text, axis=1))).reset_index()
    body = markdown(shown) if format == "md" else shown.to_string(index=False)
    return "\n".join([*lines, "", body])


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """A row per target, method and source, a column per printed column, in the order of the print; holds column `text`."""
    index = [name for name in ("target", "method", "source") if table[name].notna().any()]
    shown = table.pivot(index=index, columns="column", values="text")[list(dict.fromkeys(table["column"]))]
    return shown.loc[list(dict.fromkeys(map(tuple, table[index].itertuples(index=False))))]


def _protocol(table: pd.DataFrame) -> str:
    """How the measured figures were chosen, in a sentence."""
    chosen = sorted(set(table["chosen"]) - {"missing", ""})
    return f"Measured figures: {', '.join(chosen)}." if chosen else "Measured figures: nothing was selected."


def _latex(table: pd.DataFrame, told: list[str], printed: str) -> str:
    """Tables of at most PER_TABLE columns: in each cell the printed figure, and below it the measured one."""
    wide = _wide(table.assign(text=table.apply(_stacked_text, axis=1)))
    names, keys = list(wide.columns), len(wide.index.names)
    parts = [names[i : i + PER_TABLE] for i in range(0, len(names), PER_TABLE)]
    found = []
    for i, part in enumerate(parts):
        shown = wide[part].reset_index().fillna("").astype(str)
        caption = " ".join(told) + (f" Part {i + 1} of {len(parts)}." if len(parts) > 1 else "")
        label = printed if i == 0 else f"{printed}-{i + 1}"
        found.append(latex_table(list(shown.columns), [("", shown.values.tolist())], caption, label, left=keys))
    return "\n\n".join(found)


def _cell_text(row: pd.Series) -> str:
    if row["chosen"] == "missing":
        return f"{row['printed']} · missing"
    mark = "†" if row["chosen"] == "selected on test" else ""
    n = int(row["n"])
    drawn = f" ± {row['se']} ({int(row['draws'])} draws)" if row["draws"] > 1 else ""
    return (
        f"{row['printed']} · {row['measured']}{mark}{drawn} [{row['low']}, {row['high']}] n={n}, Δ {points(row['difference'])}"
    )


def _stacked_text(row: pd.Series) -> str:
    """The same in lines, for a narrow column."""
    return _cell_text(row).replace(" · ", "\n").replace(" n=", "\nn = ").replace(", Δ", "\nΔ")
