"""Three ways to answer the same rows, and the steerings of a grid."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from l2v.steering.engine.engine import Decoding, Engine, Request, Response, Steering, encode_requests
from l2v.steering.engine.rows import response
from l2v.steering.models import LoadedModel

STATE_REQUESTS = 8


@dataclass
class Measured:
    """What a way gave and what it took; `seconds` without loading the model. peak: of the process, in MB."""

    way: str
    requests: int
    cells: int
    answers: list[Response]
    seconds: float
    load_seconds: float = 0.0
    peak: float = 0.0

    def record(self) -> dict[str, Any]:
        """A line of a table."""
        tokens = sum(answer.tokens for answer in self.answers)
        return {
            "way": self.way, "requests": self.requests, "cells": self.cells, "rows": len(self.answers),
            "seconds": round(self.seconds, 3), "rows_per_s": round(self.rate, 2),
            "tokens_per_s": round(tokens / self.seconds, 1), "load_seconds": round(self.load_seconds, 2),
            "peak_mb": round(self.peak),
        }  # fmt: skip

    @property
    def rate(self) -> float:
        """Rows per second."""
        return len(self.answers) / self.seconds


def peak_mb(device: str) -> float:
    """The most memory held so far: the accelerator's, else the process's (Linux tells its own, not its parent's)."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def best(runs: Sequence[Measured]) -> Measured:
    """The fastest of several runs of the same rows: what else the machine does only ever adds time."""
    return min(runs, key=lambda run: run.seconds)


def last_states(target: LoadedModel, requests: Sequence[Request]) -> list[Tensor]:
    """Per block the mean output at the last prompt token, (d,) each, float32, on the CPU."""
    found: list[Tensor] = []

    def note(_module: Any, _args: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        found.append(hidden[:, -1].float().mean(dim=0).cpu())

    handles = [layer.register_forward_hook(note) for layer in target.layers]
    try:
        with torch.no_grad():
            target.model(**encode_requests(target, requests))
    finally:
        for handle in handles:
            handle.remove()
    return found


def grid(target: LoadedModel, name: str, requests: Sequence[Request], cells: int, layer: int | None = None) -> list[Steering]:
    """So many different steerings: over the blocks (or at one), four alphas, each with a vector of its own.

    For the miniature the difference that the wording makes plus noise, so that some cells turn to long answers and others do
    not; else noise as long as the states.
    """
    some = list(requests[:STATE_REQUESTS])
    states = last_states(target, some)
    vectors = states
    if name == "mini":
        asked = [[dataclasses.replace(r, text=r.text.replace("what is it ?", words)) for r in some]
                 for words in ("think step by step", "answer directly")]  # fmt: skip
        steps, direct = last_states(target, asked[0]), last_states(target, asked[1])
        vectors = [a - b for a, b in zip(steps, direct, strict=True)]
    draws, found = torch.Generator().manual_seed(0), []
    for cell in range(cells):
        at = cell % len(vectors) if layer is None else layer
        noise = torch.randn(vectors[at].shape, generator=draws)
        noise = noise * vectors[at].norm() / noise.norm()
        vector = vectors[at] + 0.5 * (cell % 3) * noise if name == "mini" else noise
        found.append(Steering(vector, at, (0.3, 0.5, 0.7, 0.9)[cell // 4 % 4]))
    return found


# -- the ways --------------------------------------------------------------------------------------------------------


def hooked(target: LoadedModel, requests: Sequence[Request], steering: Steering, decoding: Decoding) -> list[Response]:
    """One batch of one cell by `generate` with a forward hook, as the release and the steering libraries write it.

    Writes to every position, padding too, which no token sees; or, for positions `generated`, to the last one of each pass.
    """

    def write(_module: Any, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        before = hidden if steering.positions == "all" else hidden[:, -1:]
        after = before + steering.alpha * steering.vector.to(hidden)
        after = after * (before.norm(dim=-1, keepdim=True) / after.norm(dim=-1, keepdim=True))
        if steering.positions != "all":
            after = torch.cat([hidden[:, :-1], after], dim=1)
        return (after, *output[1:]) if isinstance(output, tuple) else after

    inputs = encode_requests(target, requests)
    handle = target.layers[steering.layer].register_forward_hook(write)
    try:
        with torch.no_grad():
            output = target.model.generate(
                **inputs, max_new_tokens=decoding.max_new_tokens, do_sample=False, pad_token_id=target.tokenizer.pad_token_id
            )
    finally:
        handle.remove()
    return [response(target, ids, decoding) for ids in output[:, inputs["input_ids"].shape[1] :].tolist()]


def batched_way(
    target: LoadedModel, requests: Sequence[Request], cells: Sequence[Steering], decoding: Decoding, device: str
) -> Measured:
    """(b) One process, the model loaded once, one batch of all requests per cell."""
    synchronize(device)
    begun = time.perf_counter()
    answers = [answer for cell in cells for answer in hooked(target, requests, cell, decoding)]
    synchronize(device)
    return Measured("batched", len(requests), len(cells), answers, time.perf_counter() - begun, peak=peak_mb(device))


def sorted_way(
    target: LoadedModel, requests: Sequence[Request], cells: Sequence[Steering], decoding: Decoding, device: str,
    budget: int = 8192,
) -> Measured:  # fmt: skip
    """(b) with requests of unequal lengths: those given, sorted by length, in batches of so many padded prompt tokens."""
    widths = [encode_requests(target, [request])["input_ids"].shape[1] for request in requests]
    batches: list[list[Request]] = []
    widest = 0
    for request, width in sorted(zip(requests, widths, strict=True), key=lambda pair: -pair[1]):
        if not batches or (len(batches[-1]) + 1) * widest > budget:
            batches.append([])
            widest = width
        batches[-1].append(request)
    synchronize(device)
    begun = time.perf_counter()
    found = {}
    for place, cell in enumerate(cells):
        for batch in batches:
            for request, answer in zip(batch, hooked(target, batch, cell, decoding), strict=True):
                found[place, request.id] = answer
    synchronize(device)
    answers = [found[place, request.id] for place in range(len(cells)) for request in requests]
    return Measured("sorted", len(requests), len(cells), answers, time.perf_counter() - begun, peak=peak_mb(device))


def engine_way(
    target: LoadedModel,
    requests: Sequence[Request],
    cells: Sequence[Steering | None],
    decoding: Decoding,
    device: str,
    max_rows: int = 1024,
) -> Measured:
    """(c) The engine, rows in the order of the others: cell by cell."""
    rows = [(request, cell) for cell in cells for request in requests]
    synchronize(device)
    begun = time.perf_counter()
    answers = dict(Engine(target, decoding, max_rows=max_rows, tell=refuse).answer(rows))
    synchronize(device)
    seconds = time.perf_counter() - begun
    return Measured("engine", len(requests), len(cells), [answers[i] for i in range(len(rows))], seconds, peak=peak_mb(device))


def refuse(message: str) -> None:
    """A bench of the engine that does not run the engine is none."""
    raise SystemExit(message)


def synchronize(device: str) -> None:
    """Wait for an accelerator."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def release_way(
    script: Path, name: str, requests: int, cells: Sequence[Steering], tokens: int, device: str, repeats: int
) -> Measured:
    """(a) A process per cell that loads the model and answers one request at a time; each cell's best of `repeats`."""
    found: list[Measured] = []
    folder = script.parent / ".cell.safetensors"
    for cell in cells:
        settings = {"layer": str(cell.layer), "alpha": str(cell.alpha)}
        save_file({"vector": cell.vector.contiguous()}, folder, metadata=settings)
        words = [
            "--model",
            name,
            "--requests",
            str(requests),
            "--tokens",
            str(tokens),
            "--device",
            device,
            "--cell",
            str(folder),
        ]
        runs = []
        for _ in range(repeats):
            done = subprocess.run([sys.executable, str(script), *words], check=True, capture_output=True, text=True)
            told = json.loads(done.stdout.splitlines()[-1])
            answers = [Response(*answer) for answer in told["answers"]]
            runs.append(Measured("release", requests, 1, answers, told["seconds"], told["load_seconds"], told["peak"]))
        found.append(best(runs))
    folder.unlink()
    return Measured(
        "release",
        requests,
        len(cells),
        [answer for run in found for answer in run.answers],
        sum(run.seconds for run in found),
        sum(run.load_seconds for run in found),
        max(run.peak for run in found),
    )


def one_cell(load: Any, requests: Any, path: Path, decoding: Decoding, device: str, begun: float) -> None:
    """The process of `release_way`: print one JSON line."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        settings = file.metadata()
    steering = Steering(load_file(path)["vector"], int(settings["layer"]), float(settings["alpha"]))
    target = load()
    asked = requests()
    loaded = time.perf_counter()
    answers = [hooked(target, [request], steering, decoding)[0] for request in asked]
    synchronize(device)
    told = {
        "answers": [dataclasses.astuple(answer) for answer in answers],
        "seconds": time.perf_counter() - loaded,
        "load_seconds": loaded - begun,
        "peak": peak_mb(device),
    }
    print(json.dumps(told))
