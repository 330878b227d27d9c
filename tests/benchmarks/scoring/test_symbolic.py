"""The process that does the algebra: what it computes is bounded, what waits is told, and what dies is replaced."""

from __future__ import annotations

import json
import os
import time

import psutil
import pytest

from l2v.benchmarks.base import TEXT, Question
from l2v.benchmarks.scoring import symbolic, symbolic_worker
from l2v.benchmarks.scoring.robust import robust


def test_a_comparison_that_takes_too_long_is_given_up_and_the_next_one_works() -> None:
    worker = symbolic.SymbolicProcess()
    try:
        assert worker.ask("2x", "x+x") is True
        before, start = _children(worker), time.perf_counter()
        # Within the bounds on size, but sympy would be busy with it for many seconds.
        assert worker.ask("y=x^2+2x+1", "x^{17}+x^{16}-x=\\sqrt{x^{13}+1}") is None
        # None, not UNANSWERED: its computing was limited, not its waiting.
        assert time.perf_counter() - start < symbolic_worker.WALL_SECONDS / 2
        assert _children(worker) - before < 2.0
        assert worker.ask("y=x+1", "y=1+x") is True
    finally:
        worker.close()


def _children(worker: symbolic.SymbolicProcess) -> float:
    """CPU seconds of the comparisons that ended."""
    assert worker.process is not None
    times = psutil.Process(worker.process.pid).cpu_times()
    return float(times.children_user + times.children_system)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a comparison has a process of its own only where there is fork")
def test_what_waits_for_a_core_is_no_comparison_that_took_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only computing counts: five times the limit in wall time, without computing, still answers."""
    monkeypatch.setattr(symbolic_worker, "_computed", lambda line: time.sleep(5 * symbolic_worker.CPU_SECONDS) or "true")
    assert symbolic_worker.answer("[]") == "true"
    monkeypatch.setattr(symbolic_worker, "WALL_SECONDS", 0.2)
    assert json.loads(symbolic_worker.answer("[]")) == symbolic_worker.UNANSWERED


def test_a_machine_too_busy_for_algebra_is_told_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, pair = Question("", TEXT, "x^2+7x"), ("x^2+7x", "x(x+7)")
    monkeypatch.setattr(symbolic, "_answers", {})
    monkeypatch.setattr(symbolic.SymbolicProcess, "ask", lambda self, gold, text: symbolic.UNANSWERED)
    verdict = robust(asked, "\\boxed{x(x+7)}")
    told = "1 of 1 symbolic comparisons got no answer, so that their responses stay undecided: the machine was too busy; "
    assert capsys.readouterr().err == f"{told}`l2v score` again when it is not.\n", "a sentence, no file and line of the code"
    assert (verdict.correct, verdict.rule) == (None, "undecided") and "machine was too busy" in verdict.reason
    monkeypatch.undo()
    assert symbolic.equal(*pair) is True and robust(asked, "\\boxed{x(x+7)}").correct is True


def test_a_comparing_process_that_died_is_replaced() -> None:
    worker = symbolic.SymbolicProcess()
    try:
        assert worker.ask("2x", "x+x") is True
        assert worker.process is not None
        worker.process.kill()
        worker.process.wait()
        assert worker.ask("2x", "x+x") is True
    finally:
        worker.close()


EQUAL = [
    ("x^2-1", "(x-1)(x+1)"),
    ("AB", "BA"),
    ("x", "X"),
    ("e", "E"),
    ("\\frac13", "0.3333333"),
    ("2\\sin x\\cos x", "\\sin 2x"),
]
UNLIKE = [
    ("-x", "x"),
    ("\\frac{\\pi}{7}", "\\frac{11\\pi}{15}"),
    ("a+2b", "2a+b"),
    ("i", "1"),
    ("x^2", "x^3"),
    ("\\sqrt{2}", "1.5"),
]


@pytest.mark.parametrize("equal", [True, False])
def test_what_is_told_apart_without_algebra_is_not_equal_with_it(monkeypatch: pytest.MonkeyPatch, equal: bool) -> None:
    """By the values that two expressions have where their symbols are given some."""
    pairs = EQUAL if equal else UNLIKE
    assert [symbolic_worker.equal(*pair) for pair in pairs] == [equal] * len(pairs)
    told = []
    apart = symbolic_worker._apart
    monkeypatch.setattr(symbolic_worker, "_apart", lambda *sides: told.append(apart(*sides)))
    assert [symbolic_worker.equal(*pair) for pair in pairs] == [equal] * len(pairs)
    assert told == [not equal] * len(pairs)


@pytest.mark.parametrize(
    ("gold", "text", "apart"),
    [
        ("C", "D", True),
        ("no", "D", True),
        ("154", "F", True),
        ("12.5", "13", True),
        ("no", "on", False),
        ("AB", "ba", False),
        ("sin", "cos", False),
        ("e", "2.718281828", False),
        ("1", "i", False),
        ("50%", "0.5", False),
        ("2", "2.0001", False),
        ("x", "y+x-y", False),
        ("2:1", "3", False),
    ],
)
def test_names_and_numbers_are_told_apart_without_a_process(
    monkeypatch: pytest.MonkeyPatch, gold: str, text: str, apart: bool
) -> None:
    assert symbolic.apart(gold, text) is symbolic.apart(text, gold) is apart
    if apart:
        monkeypatch.setattr(symbolic, "_answers", {})
        monkeypatch.setattr(symbolic.SymbolicProcess, "ask", lambda self, gold, text: pytest.fail("asked a process"))
        assert symbolic.equal(gold, text) is False
