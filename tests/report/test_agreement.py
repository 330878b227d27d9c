"""The table scorer x scorer: shares, intervals and the list of disagreements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v.report.agreement import Judged, agreement_report, disagreements, matrix
from l2v.study.statistics.paired import wilson


def judged(*pairs: tuple[bool | None, bool | None]) -> list[Judged]:
    return [
        Judged("cell", str(i), f"response {i} " * 40, {"one": (a, "x"), "two": (b, None)}) for i, (a, b) in enumerate(pairs)
    ]


def test_agreement_counts_right_against_not_right() -> None:
    table = matrix(judged((True, True), (False, None), (True, None), (False, True))).set_index("scorer")
    low, high = wilson(2, 4)
    assert table.loc["one", "two"] == table.loc["two", "one"] == f"50.0 [{100 * low:.1f}, {100 * high:.1f}]"
    assert table.loc["one", "one"] == "", "with itself everyone agrees"
    assert list(table["right %"]) == ["50.0", "50.0"]
    assert list(table["abstained"]) == [0, 2]


def test_only_responses_on_which_they_differ_are_listed() -> None:
    table = disagreements(judged((True, True), (True, False), (False, None)))
    assert list(table["item"]) == ["1"]
    assert table["one"].iloc[0] == "right (x)" and table["two"].iloc[0] == "wrong"
    assert table["response ends"].iloc[0].endswith("response 1") and len(table["response ends"].iloc[0]) <= 120


def test_the_report_tells_how_many_are_hidden() -> None:
    text = agreement_report(judged(*[(True, False)] * 30))
    assert "30 responses on which the scorers differ, the first 20" in text
    assert text.count("\ncell\n") == 1, "a cell's description stands once, above what is of it"
    listed = text.partition("the first 20")[2]
    assert listed.count("\n- ") == 20 and "- 0: one right (x), two wrong; it ends: " in listed
    assert max(map(len, listed.splitlines())) <= 80


def test_a_study_with_one_scorer_says_what_to_run(copied_pair: Path, l2v: Callable[..., Any]) -> None:
    asked = ("study=pair", f"outputs={copied_pair.parent}")
    answer = l2v("agreement", *asked)
    assert answer.code == 2
    assert "l2v score study=pair" in answer.err
    assert l2v("score", *asked, "scorer=robust,lenient,official").code == 0
    answer = l2v("agreement", *asked)
    assert answer.code == 0, answer.err
    assert all(f"| {name} |" in answer.out for name in ("official", "robust", "lenient"))
    assert max(map(len, answer.out.splitlines())) <= 80, "with three scorers, and cells of many settings"
    report = l2v("report", *asked, "scorer=robust", "page=false")
    assert report.code == 0 and "scorer 'robust'" in report.out


@pytest.mark.parametrize("scorer", ["official,robst", "official,judge"])
def test_a_scorer_that_was_not_applied_is_told(scorer: str, l2v: Callable[..., Any], pair: Path) -> None:
    answer = l2v("agreement", "study=pair", f"outputs={pair.parent}", f"scorer={scorer}")
    assert answer.code == 2 and scorer.split(",")[1] in answer.err
