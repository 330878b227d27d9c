"""Each benchmark's own rule, as its docs.py states it."""

from __future__ import annotations

from typing import Any

from l2v.benchmarks.base import Verdict
from l2v.benchmarks.harness import docs_module


def official(benchmark: str, doc: dict[str, Any], response: str) -> Verdict:
    """The benchmark's published rule applied to one response; `doc` is the row in the benchmark's own fields."""
    return docs_module(benchmark).official(doc, response)
