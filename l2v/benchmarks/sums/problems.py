"""Sums of three and four one-digit terms, which small language models add better in steps.

`python -m l2v.benchmarks.sums.problems` writes the packaged rows anew.

    question  What is 7 + 5 + 8?
    worked    Start with 7. Add 5: 7 + 5 = 12. Add 8: 12 + 8 = 20. The answer is 20.
    direct    20
No two sets share a problem (terms in their order); each holds as many sums of three terms as of four, up to one.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
SEED = 14
# Rows of each set, drawn in this order.
SETS = {"demonstrations": 4, "contrast": 200, "select": 300, "report": 600}
LENGTHS = (3, 4)

_ANSWER = re.compile(r"answer is\D{0,3}(\d+)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_EQUATION = re.compile(r"\d\s*=\s*\d")


@dataclass(frozen=True)
class Sum:
    """One row: an id, its question, the gold, and a response of either kind."""

    id: str
    question: str
    answer: str
    direct: str
    cot: str
    domain: str  # how many terms


def make(terms: tuple[int, ...], id: str) -> Sum:
    """The row of some terms, 1 to 9 each."""
    totals = list(accumulate(terms))
    adds = zip(totals, terms[1:], totals[1:], strict=False)
    steps = [f"Start with {terms[0]}.", *(f"Add {term}: {before} + {term} = {after}." for before, term, after in adds)]
    answer = str(totals[-1])
    question = f"What is {' + '.join(map(str, terms))}?"
    return Sum(id, question, answer, answer, f"{' '.join(steps)} The answer is {answer}.", f"{len(terms)} terms")


def draw(seed: int = SEED) -> dict[str, list[Sum]]:
    """Every set, disjoint, the lengths in turn; the same seed gives the same rows."""
    rng = np.random.default_rng(seed)
    seen: set[tuple[int, ...]] = set()
    found: dict[str, list[Sum]] = {}
    for name, count in SETS.items():
        found[name] = []
        while len(found[name]) < count:
            place = len(found[name])
            terms = tuple(int(term) for term in rng.integers(1, 10, LENGTHS[place % len(LENGTHS)]))
            if terms not in seen:
                seen.add(terms)
                found[name].append(make(terms, f"{name}-{place}"))
    return found


def read_answer(response: str) -> str | None:
    """The number that a response commits to: after "answer is", else the last one before its first blank line."""
    text = response.strip().split("\n\n")[0]
    said = _ANSWER.findall(text)
    numbers = said or _NUMBER.findall(text)
    return str(int(numbers[-1])) if numbers else None


def shows_steps(response: str) -> bool:
    """Whether a response writes down at least two equations: a sum of three terms has two, and a mere echo has one."""
    return len(_EQUATION.findall(response)) >= 2


def main() -> None:
    DATA.mkdir(exist_ok=True)
    for name, rows in draw().items():
        (DATA / f"{name}.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
