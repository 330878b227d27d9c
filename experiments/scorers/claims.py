"""How often `robust` is wrong about what a response claims, on the corpus of tests/benchmarks/scoring/claims.

    python experiments/scorers/claims.py [--wrong]

Prints one JSON line per half and kind: accepted though it must not be, refused (abstained) though right, called wrong though
right, each of how many. `--wrong` lists the cases. The half "aside" was written before the grammar of claims and not looked at
while that was made; the half "open" was.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import Question, Verdict
from l2v.benchmarks.scoring.robust import robust_many

CLAIMS = Path(__file__).parents[2] / "tests" / "benchmarks" / "scoring" / "claims"


def cases() -> list[dict[str, Any]]:
    """Every case of the corpus, with the kind that its file is named after."""
    return [
        json.loads(line) | {"file": path.stem}
        for path in sorted(CLAIMS.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line.strip()
    ]


def question(case: dict[str, Any]) -> Question:
    """The case as the scorer sees it."""
    return Question(
        case.get("question", ""),
        case["kind"],
        case["gold"],
        tuple(case.get("options", ())),
        case.get("decimals"),
        case.get("tolerance"),
        case.get("unit"),
    )


def fault(case: dict[str, Any], verdict: Verdict) -> str | None:
    """accepted, refused or called_wrong; None where the verdict is what it must be."""
    if case["must"] == "right":
        return {True: None, None: "refused", False: "called_wrong"}[verdict.correct]
    return "accepted" if verdict.correct is True else None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", action="store_true", help="list the cases that are judged wrongly")
    parser.add_argument("--half", default=None, help="only this half (aside, open)")
    args = parser.parse_args()
    rows = [case for case in cases() if args.half in (None, case["half"])]
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for case, verdict in zip(rows, robust_many([(question(c), c["response"]) for c in rows], workers=1), strict=True):
        wrong = fault(case, verdict)
        for file in (case["file"], "all"):
            count = found[case["half"], file]
            count["must_be_right" if case["must"] == "right" else "must_not"] += 1
            if wrong:
                count[wrong] += 1
        if args.wrong and wrong:
            print(case["id"], wrong, repr(case["response"]), "gold", case["gold"], "|", verdict.rule, verdict.reason)
    for (half, file), count in sorted(found.items()):
        kinds = ("must_not", "accepted", "must_be_right", "refused", "called_wrong")
        print(json.dumps({"half": half, "kind": file} | {kind: count[kind] for kind in kinds}))


if __name__ == "__main__":
    main()
