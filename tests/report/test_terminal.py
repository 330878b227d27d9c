"""The tables at a terminal, in a pipe and in LaTeX: colour where it belongs, nothing cut, the same numbers everywhere."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.report.latex import escaped, latex_table
from l2v.report.study import read_study
from l2v.report.tables import blocks, formatted, study_report
from l2v.report.terminal import coloured, fitting

CODES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def study(tiny: Callable[..., Any], outputs: Path) -> str:
    """A baseline, an arm and a null arm with two alphas, of which the better one is marked."""
    answer = tiny("--multirun", "study=in_colour", "method=direct,l2v,random", "intervention.alpha=0.3,0.5")
    assert answer.code == 0, answer.err
    return "in_colour"


def at_terminal(outputs: Path, study: str, columns: int, **environment: str) -> str:
    """What `l2v report` writes to a pseudo-terminal."""
    import pty

    words = [sys.executable, "-m", "l2v.cli", "report", f"study={study}", f"outputs={outputs}", "page=false", "cells=all"]
    parent, child = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        words, stdout=child, env={**clean, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
    )
    os.close(child)
    text = b""
    # Linux ends a pseudo-terminal whose other side is closed with an error.
    while True:
        try:
            read = os.read(parent, 1 << 16)
        except OSError:
            break
        if not read:
            break
        text += read
    os.close(parent)
    assert process.wait() == 0
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_gets_colour_within_its_width(columns: int, study: str, outputs: Path) -> None:
    text = at_terminal(outputs, study, columns)
    assert "\x1b[" in text
    bare = CODES.sub("", text)
    assert max(map(len, bare.splitlines())) <= columns
    rows = csv.DictReader(io.StringIO(study_report(read_study(str(outputs), study), format="csv")))
    for row in rows:
        value = f"{100 * float(row['value']):.1f}{'†' if row['selected'] == 'test' else ''}"
        whole = f"{value} [{100 * float(row['low']):.1f}, {100 * float(row['high']):.1f}]"
        assert any(whole in line for line in bare.splitlines()), f"{whole} is on one line"
    assert "†: selected on the reported items" in " ".join(bare.split())
    assert ("steps" in bare.split("target mini")[1].splitlines()[1]) == (columns == 200), "wide windows have every column"


def test_no_color_is_respected(study: str, outputs: Path) -> None:
    text = at_terminal(outputs, study, 100, NO_COLOR="1")
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", text)
    assert "l2v mini_kin" in CODES.sub("", text) and "Green, red" not in text and "Dim: arms" in text


def test_a_pipe_gets_the_plain_table(study: str, outputs: Path) -> None:
    command = [sys.executable, "-m", "l2v.cli", "report", f"study={study}", f"outputs={outputs}", "page=false", "cells=all"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout and done.stderr == ""
    assert done.stdout == study_report(read_study(str(outputs), study)) + "\n"


def rows(*methods: tuple[str, float | None, float | None]) -> pd.DataFrame:
    """Results of (method, difference, p after Holm); the interval is a tenth wide to both sides."""
    base = {"target": "vlm", "benchmark": "mini", "task": None, "metric": "accuracy", "source": "llm", "seed": None,
            "per_domain": 9, "layer": 3, "alpha": 0.5, "cutoff": "16", "value": 0.5, "low": 0.4, "high": 0.6, "n": 100,
            "selected": None, "role": "arm", "budget": 9, "p_best_of_grid": None, "p_best_of_seeds": None,
            "flips_right": 3, "flips_wrong": 1,
            "tokens": 9.0, "steps_share": 0.0, "no_answer_share": 0.0, "truncated_share": 0.07, "unresolved_share": 0.0,
            "guessed_share": 0.0, "weights": None}  # fmt: skip
    bounds = [{"diff_low": None if d is None else d - 0.1, "diff_high": None if d is None else d + 0.1} for _, d, _ in methods]
    return pd.DataFrame(
        [base | {"method": m, "diff": d, "p_holm": p} | b for (m, d, p), b in zip(methods, bounds, strict=True)]
    )


def lines(table: pd.DataFrame, width: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The coloured line of each method."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = coloured(["above"], blocks(formatted(table)), table)
    return {CODES.sub("", line).split()[0]: line for line in text.splitlines() if CODES.sub("", line).split()}


def test_significant_differences_are_green_and_red_and_nulls_dim(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        ("l2v", 0.2, 0.001),
        ("high_pass", -0.2, 0.001),
        ("full_band", 0.2, 0.06),
        ("interpolation", 0.05, 0.001),
        ("random", 0.2, 0.9),
        ("direct", None, None),
    ]
    text = lines(rows(*found), 200, monkeypatch)
    green, red, dim, bold = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m"
    assert green in text["l2v"] and red not in text["l2v"]
    assert red in text["high_pass"] and green not in text["high_pass"]
    assert "\x1b[" not in text["full_band"] and "\x1b[" not in text["interpolation"]
    assert dim in text["random"] and green not in text["random"]
    assert bold in text["direct"]
    # The best of a grid on the very items is green only where its search is allowed for, as the page's verdict is.
    searched = rows(("l2v", 0.2, 0.001), ("full_band", 0.2, 0.001)).assign(selected="test", p_best_of_grid=[0.01, 0.2])
    text = lines(searched, 200, monkeypatch)
    assert green in text["l2v"] and "\x1b[" not in text["full_band"]


def test_what_does_not_fit_is_folded_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(("l2v", 0.2, 0.001), ("direct", None, None))
    monkeypatch.setenv("COLUMNS", "64")
    text = CODES.sub("", coloured(["above"], blocks(formatted(table)), table))
    words = " ".join(text.split())
    assert "layer 3 · alpha 0.5 · k 16" in words and "flips +3 -1" in words and "cut off 7 %" in words
    assert "steps 0" not in words, "shares of zero are left out"
    assert max(map(len, text.splitlines())) <= 64


def test_a_long_name_leaves_room_for_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    table = rows(("l2v", 0.2, 0.001), ("l2v", 0.1, 0.01))
    long = table.assign(source=[f"a_source_with_a_name_of_some_sixty_signs_that_differs_at_its_end_{end}" for end in "ab"])
    monkeypatch.setenv("COLUMNS", "80")
    lines = CODES.sub("", coloured(["above"], blocks(formatted(long)), long)).splitlines()
    (first, second) = (line for line in lines if line.startswith("l2v a_source"))
    assert "_a  50.0 [40.0, 60.0]" in first and "_b  50.0 [40.0, 60.0]" in second and "0.010" in second


def test_the_most_telling_columns_stay() -> None:
    widths = {"arm": 10, "layer": 5, "accuracy % [95 %]": 20, "vs direct [95 %]": 20, "p (Holm)": 8, "steps": 5}
    assert fitting(widths, 200) == list(widths)
    assert fitting(widths, 70) == ["arm", "accuracy % [95 %]", "vs direct [95 %]", "p (Holm)"]
    assert fitting(widths, 5) == ["arm"]


def test_the_formats_hold_the_same_numbers(study: str, outputs: Path) -> None:
    table = list(csv.DictReader(io.StringIO(study_report(read_study(str(outputs), study), format="csv"))))
    markdown = [
        line for line in study_report(read_study(str(outputs), study), format="md").splitlines() if line.startswith("| mini ")
    ]
    tex = study_report(read_study(str(outputs), study), format="latex")
    body = [line for line in tex.splitlines() if line.startswith("{}") and not line.startswith("{}arm")]
    assert len(table) == len(markdown) == len(body) == 5
    for row, shown, set_ in zip(table, markdown, body, strict=True):
        figures = [100 * float(row[name]) for name in ("value", "low", "high")]
        compared = [100 * float(row[name]) for name in ("diff", "diff_low", "diff_high") if row["diff"]]
        wanted = [f"{v:.1f}" for v in figures] + [f"{v:+.1f}" for v in compared] + [f"{float(row['tokens']):.1f}"]
        for text in (shown, set_.replace("$-$", "-")):
            assert set(wanted) <= set(re.findall(r"[+-]?\d+\.\d", text)), text
        assert row["method"].replace("_", r"\_") in set_


def well_formed(text: str) -> None:
    """Environments and braces are balanced, nothing special stands bare, every row has as many cells as the tabular columns."""
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    bare = re.sub(r"\\[\\{}%&_#$]", "", text)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    # The first line of each table is a comment for the reader.
    assert "%" not in re.sub(r"^% .*$", "", bare, flags=re.MULTILINE)
    # Names may hold underscores; outside of a label a bare one is an error.
    assert "_" not in re.sub(r"\\label\{[^}]*\}", "", bare)
    for part in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        cells = [row.count(" & ") for row in part[1].splitlines() if row.startswith("{}")]
        assert cells and set(cells) == {len(part[0]) - 1}


def test_latex_is_well_formed_and_its_caption_tells_what_it_is(study: str, outputs: Path) -> None:
    text = study_report(read_study(str(outputs), study), format="latex")
    well_formed(text)
    caption = text.split(r"\caption{")[1].split("\n")[0]
    for piece in ("n = 8", "scorer 'official'", r"95 \%", "Wilson", "McNemar", "No selection protocol", "miniature"):
        assert piece in caption
    assert r"$^{\dagger}$" in text and r"\toprule" in text and r"in\_colour" in caption


def test_latex_of_the_papers_table_is_well_formed(l2v: Callable[..., Any], tmp_path: Path) -> None:
    answer = l2v("report", "+experiment=table1", f"outputs={tmp_path}", "format=latex")
    assert answer.code == 0, answer.err
    well_formed(answer.out)
    assert answer.out.count(r"\begin{table*}") == 3 and r"llava\_next\_8b" in answer.out
    assert "0 of" in answer.out and "missing" in answer.out and "scorer 'official'" in answer.out


def test_specials_are_escaped() -> None:
    assert escaped("50 % & a_b #1 $x {y} ~ ^ \\ <3") == (
        r"50 \% \& a\_b \#1 \$x \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} $<$3"
    )
    assert escaped("-1.0 [-2, +3] r1-7b") == "$-$1.0 [$-$2, +3] r1-7b"
    assert escaped("a\x1b[31m\u202eb") == "a[31mb"
    well_formed(latex_table(["arm_x", "n"], [("50 %", [["[a]", "1\n2"], ["b & c", "-3"]])], "100 % of $x_1$", "t_1 %"))


def test_latex_compiles(study: str, outputs: Path, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex")
    text = study_report(read_study(str(outputs), study), format="latex")
    head = "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(f"{head}{text}\n\\end{{document}}\n")
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True)


def test_the_page_is_told_beside_the_table_and_not_in_it(study: str, outputs: Path, l2v: Callable[..., Any]) -> None:
    page = outputs / study / "report" / "index.html"
    page.unlink(missing_ok=True)
    shown = l2v("report", f"study={study}", f"outputs={outputs}")
    assert shown.out.splitlines()[-1] == f"page: {page}" and page.exists()
    for format in ("csv", "md", "latex"):
        answer = l2v("report", f"study={study}", f"outputs={outputs}", "--format", format)
        assert answer.err.strip() == f"page: {page}"
        assert answer.out == study_report(read_study(str(outputs), study), format=format) + "\n"
    page.unlink()
    assert l2v("report", f"study={study}", f"outputs={outputs}", "page=false").code == 0 and not page.exists()


def test_a_run_ends_with_the_page(tiny: Callable[..., Any], study: str, outputs: Path) -> None:
    answer = tiny("study=in_colour", "method=direct", "runtime.page=true")
    assert f"page: {outputs / study / 'report' / 'index.html'}" in answer.out.splitlines()


def test_what_is_not_finished_is_told_with_its_rows(study: str, outputs: Path, l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Cells that are computed together are all open until the last: their rows tell how far they are."""
    copy = Path(shutil.copytree(outputs / study, tmp_path / study))
    done = sorted(copy.glob("cells/*/DONE"))
    rows = (done[0].parent / "responses.jsonl").read_bytes().splitlines(keepends=True)
    (done[0].parent / "responses.one.jsonl").write_bytes(b"".join(rows[:3]))
    (done[0].parent / "responses.jsonl").unlink()
    for mark in (done[0], *copy.glob("runs/*/over")):
        mark.unlink()
    answer = l2v("report", f"study={study}", f"outputs={tmp_path}", "page=false")
    missing, whole = len(rows) - 3, len(rows) * len(done)
    told = f"1 of {len(done)} cells not finished; {whole - missing} of {whole} rows are there"
    assert answer.code == 0 and told in answer.err and "not finished" not in answer.out
    listed = l2v("status", f"outputs={tmp_path}").out.splitlines()[-1]
    assert listed.split()[1:] == [str(len(done) - 1), "0", "0", "1", str(whole - missing), "of", str(whole)]
