"""A checkpoint in bfloat16 on this processor, its linear layers as they are and computing in float32: CPU seconds, in turns.

    python experiments/speed/half_precision.py outputs/checkpoints/smollm2

The last line is one JSON object: native and float (tokens per CPU second, the fastest of --repeats), ratio (float over native),
bytes (of weights, and of their copies) and equal, the share of answers that are the same token for token: the two round alike
and add up in another order. Where the processor has arithmetic for halves there is nothing to compare, and it says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    """Both ways in one process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a checkpoint's folder")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of every answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()

    import torch
    from engine import endless
    from torch import nn
    from vllm_cpu import prompts

    from l2v.steering.engine.engine import Decoding, Engine, Request
    from l2v.steering.half_precision import FloatLinear
    from l2v.steering.models import ModelSpec, load_model

    torch.set_num_threads(options.threads)
    spec = ModelSpec(str(options.model), path=str(options.model), dtype="bfloat16")
    target = endless(load_model(spec, "text", "cpu"))
    layers = [part for part in target.model.modules() if isinstance(part, FloatLinear)]
    if not layers:
        raise SystemExit("This processor multiplies bfloat16 itself, or its memory is too small: nothing to compare.")
    rows: list[tuple[Request, Any]] = [
        (Request(str(i), text, templated=True), None) for i, text in enumerate(prompts(options.requests))
    ]

    def run(kind: type[nn.Linear]) -> tuple[float, list[str]]:
        for part in layers:
            part.__class__ = kind
        list(Engine(target, Decoding(2)).answer(rows[:2]))
        begun = time.process_time()
        found = dict(Engine(target, Decoding(options.tokens)).answer(rows))
        return time.process_time() - begun, [found[place].text for place in range(len(rows))]

    turns = [(run(nn.Linear), run(FloatLinear)) for _ in range(options.repeats)]
    native, floats = (min(turn[i][0] for turn in turns) for i in (0, 1))
    both = zip(turns[0][0][1], turns[0][1][1], strict=True)
    weights = sum(parameter.numel() for parameter in target.model.parameters())
    told = {
        "native": round(options.requests * options.tokens / native, 1),
        "float": round(options.requests * options.tokens / floats, 1),
        "ratio": round(native / floats, 2),
        "bytes": [2 * weights, 4 * sum(part.weight.numel() for part in layers)],
        "equal": round(sum(one == other for one, other in both) / len(rows), 3),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
