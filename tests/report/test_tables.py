"""The tables of a finished study, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import l2v
from l2v.report.figures import points
from l2v.report.study import read_study
from l2v.report.tables import study_report


def test_a_difference_that_rounds_to_zero_has_no_minus_wherever_it_is_printed() -> None:
    assert [points(value) for value in (-0.04, 0.0, -0.0, 0.04, -0.06, 12.34)] == ["+0.0"] * 4 + ["-0.1", "+12.3"]
    assert [points(value, 3) for value in (-0.0004, -0.0006)] == ["+0.000", "-0.001"]
    # A format with a sign of its own would bring the minus back.
    package = Path(l2v.__file__).parent
    own = [path.name for path in sorted(package.rglob("*.py")) if re.search(r":\+[.\d{]", path.read_text(encoding="utf-8"))]
    assert own == ["figures.py"]


@pytest.fixture(scope="module")
def told(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A study with a baseline and two arms."""
    answer = tiny("--multirun", "study=told", "method=direct,l2v,random")
    assert answer.code == 0, answer.err
    return outputs / "told"


@pytest.fixture
def report(told: Path, l2v: Callable[..., Any], outputs: Path) -> Callable[..., str]:
    """`l2v report study=told …`."""

    def show(*words: str) -> str:
        answer = l2v("report", "study=told", f"outputs={outputs}", "page=false", *words)
        assert (answer.code, answer.err) == (0, "")
        return str(answer.out)

    return show


def figures(told: Path) -> dict[str, dict[str, str]]:
    """results.csv by method."""
    with (told / "results.csv").open(newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_csv_holds_the_rows_of_the_results(report: Callable[..., str], told: Path) -> None:
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(report("format=csv")))}
    assert set(rows) == {"direct", "l2v", "random"}
    for method, row in figures(told).items():
        for column in ("cell", "value", "n", "low", "high", "p_holm"):
            assert rows[method][column] == row[column]


def test_markdown_is_a_table_with_a_row_per_arm(report: Callable[..., str], told: Path) -> None:
    lines = [line for line in report("format=md").splitlines() if line.startswith("|")]
    head, rule, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert set(rule) == {"---"}
    assert all(len(row) == len(head) for row in rows)
    by_method = {row[head.index("method")]: dict(zip(head, row, strict=True)) for row in rows}
    assert set(by_method) == {"direct", "l2v", "random"}
    for method, row in figures(told).items():
        shown = by_method[method]
        accuracy = next(value for name, value in shown.items() if name.startswith("accuracy"))
        assert accuracy.split()[0] == f"{100 * float(row['value']):.1f}"
        assert shown["n"] == "8"
        difference = next(value for name, value in shown.items() if name.startswith("vs direct"))
        assert difference.split()[:1] == ([f"{100 * float(row['diff']):+.1f}"] if row["diff"] else [])


def test_text_names_study_scorer_and_the_tests_that_were_made(report: Callable[..., str]) -> None:
    text = report()
    for piece in ("'told'", "'official'", "3 finished cells", "Wilson", "McNemar", "Holm", "miniature"):
        assert piece in text
    heading, *_ = [i for i, line in enumerate(text.splitlines()) if line.startswith("target mini, n = ")]
    arms = [line.split()[0] for line in text.splitlines()[heading + 2 :] if line]
    assert sorted(arms) == ["direct", "l2v", "random"]


def test_a_plain_sweep_warns_of_picking_the_best(report: Callable[..., str]) -> None:
    assert "No selection protocol" in report()


def test_the_split_that_was_chosen_on_tells_what_was_chosen(
    tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arm's row and the star of its grid are the chosen cell's; the best of several says so; and no protocol is denied."""
    words = ("method=direct,l2v", "intervention.layer=2,3", "intervention.alpha=0.3,0.7", "protocol.name=select_then_test")
    words += ("protocol.select=dev", "protocol.report=test")
    assert tiny("--multirun", "study=staged", *words).code == 0
    answer = l2v("report", "study=staged", f"outputs={outputs}", "page=false", "split=dev")
    assert answer.code == 0 and "No selection protocol" not in answer.out
    for piece in ("were chosen on split dev", "Here: the cells of split dev.", "†: selected on the reported items"):
        assert piece in answer.out
    assert "`l2v report study=staged split=dev cells=all`" in answer.out
    table, grid = answer.out.split("target mini, n = 8")[1].split("layer by alpha", 1)
    (arm,) = (arm for arm in json.loads((outputs / "staged" / "selection.json").read_text())["arms"] if arm["budget"] > 1)
    rows = {row["cell"]: row for row in csv.DictReader((outputs / "staged" / "results.csv").open(newline=""))}
    value = f"{100 * float(rows[arm['select']]['value']):.1f}"
    assert [line.split()[0] for line in table.splitlines()[2:4]] == ["direct", "l2v"] and f" {value}† [" in table
    assert grid.count("*") == 2 and f"{value}*" in grid, "one star beside the legend's"
    assert "†" not in l2v("report", "study=staged", f"outputs={outputs}", "page=false").out
    monkeypatch.setenv("COLUMNS", "80")
    found = read_study(str(outputs), "staged")
    short, whole = (study_report(found, color=True, every=every).split("target mini")[1] for every in (False, True))
    folded = [[line.startswith(("    ", "\x1b[2m    ")) for line in text.splitlines()] for text in (short, whole)]
    assert [any(a and b for a, b in itertools.pairwise(lines)) for lines in folded] == [False, True], "no row of three lines"


def test_a_search_that_broke_off_says_that_it_is_to_choose(
    tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table and page: what stands there so far is the search's own, and no plain sweep."""

    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    words = ("--multirun", "study=half", "method=direct,l2v", "intervention.alpha=0.3,0.7", "protocol.name=select_then_test")
    with monkeypatch.context() as patched:
        patched.setattr("l2v.study.protocol.choose", broken)
        assert tiny(*words).code == 130
    answer = l2v("report", "study=half", f"outputs={outputs}")
    page = (outputs / "half" / "report" / "index.html").read_text()
    for text in (answer.out, page):
        assert "are still to be chosen on one part of the problems" in text and "repeat `l2v run` to go on" in text
        assert not re.search("no selection", text, re.IGNORECASE) and "†" in text
    assert tiny(*words).code == 0
    assert "were chosen on one part of the problems" in l2v("report", "study=half", f"outputs={outputs}", "page=false").out


def test_a_folder_that_takes_no_report_costs_no_table(tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path) -> None:
    (outputs / "shut").mkdir()
    (outputs / "shut" / "report").write_text("")
    answer = tiny("study=shut", "method=direct", "runtime.page=true")
    assert answer.code == 0 and "Study 'shut'" in answer.out and "1 cell of study 'shut'" in answer.out
    assert "The table stands here alone" in answer.err and "page=false" in answer.err
    assert len(answer.err.splitlines()) == 2, answer.err
    (outputs / "shut" / "results.csv").unlink()
    (outputs / "shut" / "results.csv").mkdir()
    answer = tiny("study=shut", "method=direct")
    assert answer.code == 2 and answer.err.endswith("`l2v report study=shut page=false` shows what is stored.\n"), answer.err
    answer = l2v("report", "study=shut", f"outputs={outputs}", "page=false")
    assert answer.code == 0 and "Study 'shut'" in answer.out
    shutil.rmtree(outputs / "shut")


def test_a_run_leaves_its_tables_behind(told: Path, report: Callable[..., str]) -> None:
    assert (told / "report" / "table.md").read_text().strip() == report("format=md").strip()
    assert (told / "report" / "table.csv").read_text().strip() == report("format=csv").strip()


def test_several_scorers_give_several_tables(report: Callable[..., str]) -> None:
    assert report("scorer=official,official").count("Study 'told'") == 2


def test_reading_a_study_needs_no_table_and_writes_none(told: Path, report: Callable[..., str]) -> None:
    before, text = report(), (told / "results.csv").read_bytes()
    (told / "results.csv").unlink()
    assert report() == before
    assert not (told / "results.csv").exists()
    (told / "results.csv").write_bytes(text)


def test_arms_that_answered_other_items_are_told_apart(
    tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path
) -> None:
    """A baseline on one split beside an arm on another one: each row says of which it is."""
    for words in (("method=direct", "benchmark.split=test"), ("method=l2v",)):
        assert tiny("study=other_items", *words).code == 0
    answer = l2v("report", "study=other_items", f"outputs={outputs}", "page=false")
    rows = [line.split() for line in answer.out.splitlines() if line.startswith(("direct", "l2v"))]
    assert sorted((row[0], "dev" in row, "test" in row) for row in rows) == [("direct", False, True), ("l2v", True, False)]


def test_a_vertical_bar_in_a_name_does_not_break_the_table() -> None:
    import pandas as pd

    from l2v.report.tables import markdown

    row = markdown(pd.DataFrame({"method": ["a|b"], "n": [1]})).splitlines()[-1]
    assert row == "| a\\|b | 1 |"


def test_a_study_without_finished_cells_says_so(l2v: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "study.json").write_text('{"schema": 2, "study": "empty"}')
    answer = l2v("report", "study=empty", f"outputs={tmp_path}")
    assert answer.code == 0
    assert "no finished cell" in answer.out


def test_what_has_seen_the_targets_contrast_is_called_an_upper_bound_in_every_table(
    tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path, tmp_path: Path
) -> None:
    assert tiny("--multirun", "study=bounded", "method=direct,l2v,ridge", "benchmark.limit=4").code == 0
    assert {m: row["bound"] for m, row in figures(outputs / "bounded").items()} == {"direct": "", "l2v": "", "ridge": "upper"}
    for form in ("text", "md", "latex"):
        answer = l2v("report", "study=bounded", f"outputs={outputs}", f"format={form}", f"page={form == 'md'}")
        assert answer.out.count("ridge (upper bound)") == answer.out.count("ridge") == 1
    measured = tmp_path / "mini.csv"
    assert l2v("report", "study=bounded", f"outputs={outputs}", "page=false", f"out={measured}").code == 0
    with measured.open(newline="") as file:
        assert {row["arm"] for row in csv.DictReader(file)} == {"direct", "l2v", "ridge (upper bound)"}
    page = (outputs / "bounded" / "report" / "index.html").read_text(encoding="utf-8")
    assert "ridge (upper bound)" in page and "l2v (upper bound)" not in page
