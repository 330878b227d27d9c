"""How long the scorers take over 17,000 responses: the released ones of MathVista, MMStar and MATH-Vision, repeated to fill up.

    python experiments/speed/scorers.py --parity ../shared/parity

No model runs. Prints one JSON line per scorer: wall seconds, CPU seconds (with those of the processes that do the algebra;
they count where the machine is shared), responses per second, cores, and verdicts by kind.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import Answer, Verdict
from l2v.benchmarks.mathvision import docs as mathvision
from l2v.benchmarks.mathvista import docs as mathvista
from l2v.benchmarks.mmstar import docs as mmstar
from l2v.benchmarks.scoring.lenient import lenient
from l2v.benchmarks.scoring.robust import robust_many

RESPONSES = 17_000
Row = tuple[Any, dict[str, Any], str]


def rows(parity: Path) -> list[Row]:
    """(benchmark's docs, item, response) of every released response, in the order of the files."""
    found: list[Row] = []
    vista = json.loads((parity / "mathvista" / "testmini.json").read_text(encoding="utf-8"))
    for run in ("bard", "gpt4_2shot_solution", "gpt4_2shot_code", "llavar"):
        released = json.loads((parity / "mathvista" / "runs" / f"{run}.json").read_text(encoding="utf-8"))
        found += [(mathvista, vista[pid], row["response"] or "") for pid, row in released.items()]
    for line in (parity / "mathvista" / "runs" / "ursa_8b_300.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.append((mathvista, vista[row["pid"]], row["response"]))
    for line in (parity / "mmstar" / "llava_next_yi_34b_first_750.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.append((mmstar, row, row["prediction"]))
    items = {row["id"]: row for row in map(json.loads, (parity / "mathvision" / "test.jsonl").read_text("utf-8").splitlines())}
    for run in ("Gemini-Pro-CoT", "Qwen-VL-Max", "LLaVA-v1.5-13B"):
        for line in (parity / "mathvision" / "runs" / f"{run}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found.append((mathvision, items[row["id"]], row["response"]))
    return list(itertools.islice(itertools.cycle(found), RESPONSES))


SCORERS: dict[str, Callable[[Sequence[Row]], list[Verdict]]] = {
    "official": lambda data: [docs.OFFICIAL["official"](doc, Answer(text)) for docs, doc, text in data],
    "robust": lambda data: robust_many([(docs.question(doc), text) for docs, doc, text in data]),
    "lenient": lambda data: [lenient(docs.question(doc), text) for docs, doc, text in data],
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parity", type=Path, required=True, help="folder of the released annotations and model outputs")
    parity = parser.parse_args().parity
    if not (parity / "mathvista").is_dir():
        sys.exit(
            f"No released outputs at {parity}: --parity must be the folder that holds mathvista/, mmstar/ and mathvision/."
        )
    data = rows(parity)
    for name, scorer in SCORERS.items():
        start, used = time.perf_counter(), sum(os.times()[:4])
        verdicts = scorer(data)
        seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - used
        kinds = {str(kind): sum(v.correct is kind for v in verdicts) for kind in (True, False, None)}
        line = {"scorer": name, "responses": len(data), "seconds": round(seconds, 2), "per_second": round(len(data) / seconds)}
        line["cpu_seconds"] = round(cpu, 2)
        print(json.dumps(line | {"cores": os.cpu_count(), "correct": kinds}), flush=True)


if __name__ == "__main__":
    main()
