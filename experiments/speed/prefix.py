"""Prompts that begin alike, their beginning run once against run with every prompt: the same rows, CPU seconds, in turns.

    python experiments/speed/prefix.py outputs/checkpoints/smollm2

Sums of one-digit terms after four demonstrations, worked and direct in turn, one cell and 32 cells (31 of them steered at the
prompt's last token and the answer's) of 36 questions. The last line is one JSON object: per number of cells ratio_N (seconds
without over with, each way's fastest of --repeats) and equal_N, the share of rows with the same answer (1 in float32; in
bfloat16 rounding differs).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch

from l2v.steering.engine import prefix
from l2v.steering.engine.engine import Decoding, Engine, Request, Response, Steering
from l2v.steering.models import LoadedModel, ModelSpec, load_model

WHOLE = 10**9  # tokens that no prompts have in common


def main() -> None:
    """Both ways at every number of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a text model's folder")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--cells", type=lambda text: [int(n) for n in text.split(",")], default=[1, 32])
    parser.add_argument("--questions", type=int, default=36)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    target = load_model(ModelSpec(id=str(options.model), path=str(options.model), dtype=options.dtype), "cpu")
    told: dict[str, float] = {}
    ways = (WHOLE, prefix.PREFIX_TOKENS)
    for cells in options.cells:
        runs: dict[int, list[tuple[float, list[Response]]]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way in ways:
                runs[way].append(timed(target, options.questions, cells, way))
        (plain, before), (once, after) = (min(runs[way], key=lambda run: run[0]) for way in ways)
        same = sum(a == b for a, b in zip(before, after, strict=True)) / len(after)
        told |= {f"seconds_{cells}": once, f"ratio_{cells}": plain / once, f"equal_{cells}": same}
    print(json.dumps({name: round(value, 3) for name, value in told.items()}))


def timed(target: LoadedModel, questions: int, cells: int, tokens: int) -> tuple[float, list[Response]]:
    """CPU seconds and answers when beginnings of so many tokens run once."""
    prefix.PREFIX_TOKENS = tokens
    draws = random.Random(0)
    history = tuple((asked(draws, 3), str(draws.randint(3, 27)) if n % 2 else worked(draws)) for n in range(4))
    requests = [Request(str(n), asked(draws, 3 + n % 2), history=history) for n in range(questions)]
    noise = torch.Generator().manual_seed(0)
    vectors = [torch.randn(target.width, generator=noise) for _ in range(cells - 1)]
    steerings = [None, *(Steering(vector, len(target.layers) // 2, 0.05, "generated") for vector in vectors)]
    rows = [(request, steering) for request in requests for steering in steerings]
    begun = time.process_time()
    found = dict(Engine(target, Decoding(64, ("\n\n",))).answer(rows))
    return time.process_time() - begun, [found[place] for place in range(len(rows))]


def asked(draws: random.Random, terms: int) -> str:
    """A question."""
    return f"What is {' + '.join(str(draws.randint(1, 9)) for _ in range(terms))}?"


def worked(draws: random.Random) -> str:
    """An answer in steps; what it says is of no matter here."""
    a, b, c = (draws.randint(1, 9) for _ in range(3))
    return f"Start with {a}. Add {b}: {a} + {b} = {a + b}. Add {c}: {a + b} + {c} = {a + b + c}. The answer is {a + b + c}."


if __name__ == "__main__":
    main()
