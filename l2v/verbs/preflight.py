"""l2v preflight: all that would stop a run, before a weight is loaded: each problem, the cells it costs, and its mend.

    l2v preflight --multirun +experiment=table1
    l2v preflight card=h100 target=qwen2_vl_7b source=r1_qwen_7b benchmark=mathvista
    l2v preflight format=json --multirun …

Takes the words of `l2v run` and reads configs, tokenizers, processors, chat templates and questions only. card=NAME adds memory
and hours per group of cells, from data sheets and sizes: an estimate. format=json ends in one line {"problems": [{"what",
"cells", "mend"}], "cells", "blocked", "notes"}; its cells are ids or, of what makes no cell, names; notes cost no cell.
Cards: rtx3090, rtx4090, a6000, l40s, a100_40gb, a100, h100, h200.
Exit code: 0 every cell can run, 1 some cannot, 2 bad input.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING

from l2v.errors import counted, printable, unknown
from l2v.verbs.run import PARTS, composed

if TYPE_CHECKING:
    from l2v.study.preflight.inspection import Inspection

__all__ = ["PARTS", "main"]

FORMATS = ("text", "json")
NAMED = 3  # cells of a problem that are named


def main(arguments: list[str]) -> int:
    """Compose as `l2v run` does, look, and tell."""
    words = [word for word in arguments if not word.startswith(("card=", "format="))]
    own = dict(word.split("=", 1) for word in arguments if word not in words)
    shown = own.get("format", "text")
    if shown not in FORMATS:
        raise unknown("format", shown, FORMATS)
    from l2v.study.preflight.costs import card

    on = card(own["card"]) if "card" in own else None
    configs = composed(words, "preflight")
    if not configs:
        return 0
    from l2v.study.preflight.inspection import inspect

    found = inspect(configs, on)
    # What stands on standard output is one JSON object and nothing else.
    with redirect_stdout(sys.stderr if shown == "json" else sys.stdout):
        _tell(found)
    if shown == "json":
        problems = [{"what": one.what, "cells": list(one.cells), "mend": one.mend} for one in found.problems]
        more = {"needs": [asdict(need) for need in found.needs]} if on else {}
        notes = [{"what": one.what, "cells": list(one.cells), "so": one.mend} for one in found.notes]
        print(json.dumps({"problems": problems, "cells": found.cells, "blocked": found.blocked, "notes": notes, **more}))
    return int(bool(found.problems))


def _tell(found: Inspection) -> None:
    for number, one in enumerate(found.problems, 1):
        named = ", ".join(one.cells[:NAMED]) + (f" and {len(one.cells) - NAMED} more" if len(one.cells) > NAMED else "")
        costs = f"costs {len(one.cells):,} of {counted(found.cells, 'cell')}: {named}"
        print(printable(f"{number}. {one.what}\n   {costs}\n   mend: {one.mend}"))
    for one in found.notes:
        print(printable(f"note: {one.what} So {one.mend} ({counted(len(one.cells), 'cell')})."))
    for need in found.needs:
        cost = need.cost
        at_once = "" if need.name.startswith("directions") else f", {cost.rows} rows at once"
        weights = f"{cost.weights:.1f} GB of weights{at_once}"
        print(f"{need.name}, {counted(need.cells, 'cell')}: {weights}, about {cost.hours:.2f} hours")
    if found.needs:
        total = sum(need.cost.hours for need in found.needs)
        print(f"In all about {total:.1f} hours of the card: estimated from data sheets, not measured.")
    can = found.cells - found.blocked
    print(f"{can:,} of {counted(found.cells, 'cell')} can run; {counted(len(found.problems), 'problem')}.")
