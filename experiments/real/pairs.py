"""Reported arms of a study held against the best of its null searches, paired on the same problems.

python experiments/real/pairs.py real        # after `make real`; a line per target and arm, the target's best null first
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from l2v.report.figures import points
from l2v.report.study import Study, read_study
from l2v.study.statistics.paired import paired

NULLS = ("random", "permuted")


def right(study: Study, row: Mapping[Any, Any]) -> dict[str, bool]:
    """Of a reported row, which problems it has right."""
    score = study.score(str(row["cell"]))
    return {} if score is None else {item.id: bool(item.right) for item in score.items}


def told(ours: Mapping[str, bool], theirs: Mapping[str, bool]) -> str:
    """Difference in points with its 95 % interval, flips either way and the exact p of McNemar's test, uncorrected."""
    found = paired(ours, theirs)
    interval = f"[{points(100 * found.low)}, {points(100 * found.high)}]"
    return f"{points(100 * found.diff)} {interval} (+{found.right} -{found.wrong}, p {found.p:.2g}, n {found.n})"


def main() -> None:
    """Print the lines."""
    study = read_study("outputs", sys.argv[1], "official")
    for target, part in study.reported.groupby("where", sort=False):
        rows = part.sort_values("value", ascending=False).to_dict("records")
        nulls = [row for row in rows if row["method"] in NULLS]
        direct = next(row for row in rows if row["method"] == "direct" and row["prompt"] in ("mixed", "raw"))
        best = right(study, nulls[0]) if nulls else {}
        base = right(study, direct)
        if nulls:
            values = sorted(100 * float(row["value"]) for row in nulls)
            print(f"{target}: {len(nulls)} null searches, {values[0]:.1f} to {values[-1]:.1f}, best {nulls[0]['arm']}")
        for row in rows:
            if row["method"] in NULLS:
                continue
            above = sum(float(null["value"]) >= float(row["value"]) for null in nulls)
            against = f"; best null {told(right(study, row), best)}; {above} nulls at least as good" if nulls else ""
            own = f"{row['arm']} {row['prompt']} {100 * float(row['value']):.1f}"
            print(f"  {own}: direct {told(right(study, row), base)}{against}")


if __name__ == "__main__":
    main()
