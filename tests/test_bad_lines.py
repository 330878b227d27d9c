"""Bad command lines from a generator over all verbs and settings: exit code 2, one sentence that names the key, no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_lines import bad_lines, leaves

from l2v.cli import VERBS
from l2v.config import Config
from l2v.errors import UserError
from l2v.ranges import RANGES, check_ranges, range_of
from l2v.verbs.grid import put
from l2v.verbs.help import verb_module

COMPOSING = [verb for verb in VERBS if hasattr(verb_module(verb), "PARTS")]
OTHERS = [verb for verb in VERBS if hasattr(verb_module(verb), "SETTINGS")]


def test_there_are_thousands() -> None:
    lines = {str(line) for line in bad_lines()}
    assert len(lines) > 3000
    assert {line.split()[0] for line in lines} == {*COMPOSING, *OTHERS}


@pytest.mark.parametrize(("verbs", "step"), [(OTHERS, 3), (COMPOSING, 91)], ids=["reading", "composing"])
def test_bad_lines_are_refused(verbs: list[str], step: int, tiny: Callable[..., Any], outputs: Path) -> None:
    """In a process of its own, where nothing has imported torch; every so many of them (all: python tests/bad_lines.py)."""
    assert tiny("study=kept", "method=direct", "benchmark.limit=3").code == 0
    script = Path(__file__).with_name("bad_lines.py")
    done = subprocess.run([sys.executable, str(script), str(outputs), str(step), *verbs], capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert int(done.stdout.splitlines()[-1].split()[0]) > 40


def test_every_number_has_its_range() -> None:
    """A setting that is added without one is found here."""
    settings = [Config(), *(verb_module(verb).SETTINGS() for verb in OTHERS)]
    found = {key for one in settings for key, kind in leaves(one, "") if "int" in str(kind) or "float" in str(kind)}
    assert {key for key in found if not key.endswith("seed")} - set(RANGES) == set()
    assert set(RANGES) - found == {"intervention.cutoff"}, "a range of a setting that is gone"


@pytest.mark.parametrize("key", sorted(RANGES))
def test_a_number_out_of_its_range_is_told_with_its_key(key: str) -> None:
    settings: Any = Config()
    if "." not in key:
        settings = next(kind for verb in OTHERS if hasattr(kind := verb_module(verb).SETTINGS(), key))
    bad = [value for value in (-1.0, 0.0, 1.5, 5.0, float("nan"), float("inf"), 1e20) if not range_of(key).holds(value)]
    for value in bad:
        given = [value] if key in ("analyze.cutoffs", "method.weights.layers") else value
        if "." in key:
            put(settings, key, given)
        else:
            object.__setattr__(settings, key, given)
        with pytest.raises(UserError, match=rf"^{key}="):
            check_ranges(settings)
