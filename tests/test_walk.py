"""README's walk from a key to a cell of the table: its stations are functions, passed in that order, none twice."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v.cli import main

WALK = Path(__file__).parents[1] / "README.md"
STATION = re.compile(r"^\d+\. `(l2v/\S+)\.py` `(\w+)`:", re.MULTILINE)
Watch = Callable[[Any], Any]


def watched(monkeypatch: pytest.MonkeyPatch, module: str, name: str, watch: Watch) -> None:
    """Put `watch` around a function, or around a method of a class of the module, wherever it was imported to."""
    room = importlib.import_module(module)
    if hasattr(room, name):
        real = getattr(room, name)
        for other in [m for n, m in sys.modules.items() if n.startswith("l2v.") and getattr(m, name, None) is real]:
            monkeypatch.setattr(other, name, watch(real))
        return
    (owner,) = [c for c in vars(room).values() if isinstance(c, type) and c.__module__ == module and name in vars(c)]
    monkeypatch.setattr(owner, name, watch(getattr(owner, name)))


def test_a_run_passes_the_stations_that_the_documents_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stations = [(path.replace("/", "."), name) for path, name in STATION.findall(WALK.read_text(encoding="utf-8"))]
    assert 5 <= len(stations) <= 10
    passed: dict[tuple[str, str], None] = {}
    for station in stations:

        def watch(real: Any, station: tuple[str, str] = station) -> Any:
            @functools.wraps(real)
            def call(*given: Any, **named: Any) -> Any:
                passed.setdefault(station)
                return real(*given, **named)

            return call

        watched(monkeypatch, *station, watch)
    words = ["method=l2v", "intervention.layer=3", "benchmark.limit=2", f"runtime.outputs={tmp_path}", "runtime.page=false"]
    assert main(["run", "study=walk", "decoding.max_new_tokens=2", *words]) == 0
    assert list(passed) == stations
