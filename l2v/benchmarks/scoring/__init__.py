"""Scorers by name: functions (benchmark, doc, response) -> Verdict. A number always names its scorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from l2v.benchmarks.base import Verdict
from l2v.benchmarks.scoring.official import official
from l2v.errors import unknown

Scorer = Callable[[str, dict[str, Any], str], Verdict]

SCORERS: dict[str, Scorer] = {"official": official}


def get_scorer(name: str) -> Scorer:
    """The scorer of that name. Raises UserError for an unknown one."""
    if name not in SCORERS:
        raise unknown("scorer", name, SCORERS)
    return SCORERS[name]
