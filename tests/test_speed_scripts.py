"""The scripts that measure speed still run, and compare what they say they do: on a few rows, without a time."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

SPEED = Path(__file__).parents[1] / "experiments" / "speed"
MINI = Path(__file__).parents[1] / "l2v" / "mini" / "checkpoints" / "base"
Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Script]:
    """Loads a script as itself does its neighbours; what it writes beside itself goes elsewhere, and nothing there changes."""
    monkeypatch.syspath_prepend(SPEED)
    before = _files()

    def load(name: str) -> ModuleType:
        module = importlib.import_module(name)
        monkeypatch.setattr(module, "HERE", tmp_path, raising=False)
        return module

    yield load
    assert _files() == before, "a measured table was written over"


def _files() -> dict[str, bytes]:
    """The tables that were measured, by name."""
    return {path.name: path.read_bytes() for path in SPEED.glob("*.csv")}


def test_real_sizes_through_the_real_scheduler(script: Script) -> None:
    """Every question is answered, nothing of several prompts is above the budget, and rows share what lies below."""
    real = script("real_sizes")
    found = [16287, 9000, *range(90, 3000, 397)]
    for cells in (1, 4):
        run = real.replay(found, cells, 141)
        assert (run.over_budget, run.single_above, run.unfit) == (0, 2, 0)
        assert 1.0 <= run.padding < 1.2
        assert sum(requests for _, requests, _ in run.notes) == len(found)
    assert real.kv(real.QWEN, 663, 300, "generated") < 0.34
    assert real.kv(real.QWEN, 663, 300, "all") < 0.67


def test_the_engine_and_the_other_way_answer_alike(script: Script) -> None:
    engine, ways, shapes = script("engine"), script("ways"), script("shapes")
    options = Namespace(model="mini", device="cpu", repeats=1, max_rows=8, tokens=3)
    target, asked = shapes.load("mini", "cpu"), shapes.requests("mini", 2)
    cells = ways.grid(target, "mini", asked, 2)
    ours, batches = engine.both(target, asked, cells, engine.Decoding(3), options)
    assert len(ours.answers) == 4 and ours.answers == batches.answers
    widths = ways.sorted_way(target, asked, cells, engine.Decoding(3), "cpu", budget=1)
    assert widths.answers == ours.answers, "one at a time"
    lines = engine.tax_part(target, options, (1, 2), 2)
    assert {(line["positions"], line["vectors"]) for line in lines} == {
        ("none", 0), ("decode", 1), ("decode", 2), ("all", 1), ("all", 2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "equal"),
    [
        (
            "extract",
            ("--pairs", "2", "--scale", ".05", "--width", "32", "--layers", "2", "--repeats", "1"),
            "largest_difference",
        ),
        ("prefix", (str(MINI), "--cells", "2", "--questions", "2", "--repeats", "1", "--dtype", "float32"), "equal_2"),
    ],
)
def test_both_ways_give_the_same(
    name: str,
    words: tuple[str, ...],
    equal: str,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *words])
    script(name).main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told[equal] == pytest.approx(1.0 if equal.startswith("equal") else 0.0, abs=1e-5)


def test_what_the_checks_cost_is_counted_where_it_is(script: Script) -> None:
    """Every function that checks.py counts is there."""
    for module, names in script("checks").CHECKS.values():
        for name in names:
            assert callable(getattr(importlib.import_module(module), name)), (module, name)


def test_tracking_is_measured_on_as_many_cells_as_are_asked_for(script: Script) -> None:
    """One less, and of two cells no distance is left between two lines of the ledger."""
    words = script("track").words(Path("outputs"), "s", Namespace(cells=2, items=3))
    (alphas,) = (word.partition("=")[2].split(",") for word in words if word.startswith("intervention.alpha="))
    assert len(set(alphas)) == 2 and "method=l2v" in words


def test_halves_and_floats_answer_in_turns(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"}, raising=False)
    threads = torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["half", str(MINI), "--requests=4", "--tokens=6", "--repeats=1"])
    script("half_precision").main()
    torch.set_num_threads(threads)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert min(told["native"], told["float"], told["ratio"]) > 0
    assert 0 <= told["equal"] <= 1
    assert 0 < told["bytes"][0] < told["bytes"][1]


def test_a_page_is_measured_on_as_many_cells_as_are_asked_for(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its studies are files of a store, and pass what a store's files must."""
    monkeypatch.setattr(sys, "argv", ["page", "--cells", "3", "--items", "4", "--keep", str(tmp_path / "studies")])
    script("page").main()
    assert capsys.readouterr().out.splitlines()[-1].startswith("| 3 | 12 | ")
