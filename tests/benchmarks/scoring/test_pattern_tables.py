"""Tables of patterns: what is left out because a word is missing would never have matched."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest

from l2v.benchmarks import scoring
from l2v.benchmarks.scoring.breaks import sentences
from l2v.benchmarks.scoring.cleaning import clean
from l2v.benchmarks.scoring.tables import PatternTable, possible

CLAIMS = Path(__file__).with_name("claims")


def tables() -> list[PatternTable]:
    """Every table of the scorers, once."""
    modules = [importlib.import_module(f"{scoring.__name__}.{found.name}") for found in pkgutil.iter_modules(scoring.__path__)]
    return list({id(one): one for module in modules for one in vars(module).values() if isinstance(one, PatternTable)}.values())


def texts() -> list[str]:
    """Sentences of the corpus, some from every part of it."""
    lines = [line for path in sorted(CLAIMS.glob("*.jsonl")) for line in path.read_text("utf-8").split("\n")[:-1][::11]]
    responses = dict.fromkeys(clean(json.loads(line)["response"]) for line in lines)
    return [sentence for response in responses for _, sentence, _ in sentences(response)]


def test_no_table_leaves_out_what_matches() -> None:
    rows = [row for table in tables() for row in table._rows]
    found = 0
    for text in texts():
        bits = possible(text)
        for bit, row in rows:
            if row.search(text):
                found += 1
                assert bits & bit, f"{row.pattern[:80]!r} matches {text!r}"
    assert len(rows) > 100 and found > 500


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\bcan(?:not|'t)\s+say\b", "We can't  say it"),
        (r",\s(?=so\b|thus\b)", "it is, thus, 4"),
        (r"(?<=about )five", "about five"),
        (r"[;:]\s*no\b", "sure;no"),
        (r"(?:not|n't)\s(?:at|of) all", "isn't at all"),
        (r"(?:un)?likely", "unlikely"),
        (r"\w+ing\b.*\bgives", "Doubling it gives"),
        (r"q(?:yz)*|\d", "7"),
        (r"(?:ab|cd)ef|gh", "CDEF"),
        (r"no,? (?:one|body) knows", "no one knows"),
    ],
)
def test_what_a_pattern_needs_stands_in_what_it_matches(pattern: str, text: str) -> None:
    table = PatternTable(pattern, r"never\b.*found")
    matched = re.search(pattern, text, re.IGNORECASE)
    found = table.search(text)
    assert matched and found and found.span() == matched.span()
    assert [one.span() for one in table.finditer(text)] == [one.span() for one in re.finditer(pattern, text, re.IGNORECASE)]
    assert table.search("another text altogether") is None
