"""What sharing is worth: the same rows answered in three ways, in one run, outputs compared.

    python experiments/speed/engine.py                                  # the miniature and a middle-sized random LLaVA, CPU
    python experiments/speed/engine.py --model random:llava-next-8b     # true shapes in bfloat16, one CUDA card

(a) release: a process per cell, one request at a time (a few cells, told apart from loading). (b) batched: per-cell batches
with a hook in one process. (c) engine. Writes *.csv and speed.png beside this file; the last line is one JSON object. Ratios
are of rows per second within the run, each way's fastest of --repeats, taken in turns; `equal` is the share of rows on which
the ways agree token for token. Needs torch, transformers, numpy, pillow and safetensors; matplotlib for the picture.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BEGUN = time.perf_counter()
HERE = Path(__file__).parent

import picture  # noqa: E402
import shapes  # noqa: E402
import torch  # noqa: E402
import ways  # noqa: E402

from l2v.steering.engine.engine import Decoding, Request, Steering  # noqa: E402
from l2v.steering.models import LoadedModel  # noqa: E402

Table = list[dict[str, Any]]


def main() -> None:
    """Run the parts that the model asks for."""
    options = arguments()
    if options.cell:
        ways.one_cell(
            lambda: shapes.load(options.model, options.device),
            lambda: shapes.requests(options.model, options.requests[0]),
            options.cell,
            Decoding(options.tokens),
            options.device,
            BEGUN,
        )
    elif options.sizes:
        finish(sizes_part(options))
    elif options.only_cells:
        print(json.dumps(cells_part(options)))
    elif options.model.startswith("random:"):
        finish(random_part(options))
    else:
        finish(checkpoint_part(options))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini", help="mini, a checkpoint's folder, or random:<family>")
    parser.add_argument("--cells", type=int, default=96)
    parser.add_argument("--requests", type=lambda text: [int(n) for n in text.split(",")], default=[16, 64])
    parser.add_argument("--tokens", type=int, default=32, help="new tokens at most")
    parser.add_argument("--release-cells", type=int, default=3, help="cells that way (a) is measured on")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way; the fastest counts")
    parser.add_argument("--sizes", choices=["mathvista"], help="only the prefill-heavy case, with lengths of real pictures")
    parser.add_argument("--max-rows", type=int, default=1024, help="rows decoded at once")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cell", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only-cells", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def say(text: str) -> None:
    """Progress, beside the result."""
    print(text, file=sys.stderr, flush=True)


def table(name: str, lines: Table) -> None:
    """Write experiments/speed/<name>.csv and tell it."""
    with (HERE / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    say("\n".join(f"{name}: " + "  ".join(f"{k}={v}" for k, v in line.items()) for line in lines))


def finish(told: dict[str, Any]) -> None:
    """The last line."""
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in told.items()}))


class Agreement:
    """The share of rows on which two ways agree."""

    def __init__(self) -> None:
        self.rows = self.same = 0

    def compare(self, one: Sequence[Any], other: Sequence[Any]) -> float:
        """Count these rows in; their own share."""
        same = sum(a == b for a, b in zip(one, other, strict=True))
        self.rows, self.same = self.rows + len(one), self.same + same
        return same / len(one)

    @property
    def share(self) -> float:
        """Over all rows so far."""
        return self.same / max(1, self.rows)


# -- a checkpoint ----------------------------------------------------------------------------------------------------


def checkpoint_part(options: argparse.Namespace) -> dict[str, Any]:
    """The three ways, cost against cells, tax, and the prefill-heavy case."""
    target = shapes.load(options.model, options.device)
    agreement, told = Agreement(), {}
    lines: Table = []
    for count in options.requests:
        asked, decoding = shapes.requests(options.model, count), Decoding(options.tokens)
        cells = ways.grid(target, options.model, asked, options.cells)
        ways.engine_way(target, asked[:2], cells[:2], Decoding(2), options.device)  # takes the model apart, once
        ours, batches = both(target, asked, cells, decoding, options)
        agreement.compare(ours.answers, batches.answers)
        told[f"vs_batched_{count}"] = ours.rate / batches.rate
        lines += [ours.record(), batches.record()]
        if count == options.requests[0]:
            few = cells[:: max(1, len(cells) // options.release_cells)][: options.release_cells]
            alone = ways.release_way(Path(__file__), options.model, count, few, options.tokens, options.device, options.repeats)
            by_cell = {id(cell): ours.answers[i * count : (i + 1) * count] for i, cell in enumerate(cells)}
            agreement.compare(alone.answers, [answer for cell in few for answer in by_cell[id(cell)]])
            told["vs_release"] = ours.rate / alone.rate
            lines.append(alone.record())
            say(f"way (a) was measured on {len(few)} of {len(cells)} cells; its ratio is of rows per second, without loading.")
    table("ways", lines)
    scaling = cells_in_a_process(options)
    table("cells", scaling)
    taxes = tax_part(target, options, (1, 8, 32), 128)
    table("tax", taxes)
    heavy = prefill_part(options, agreement)
    table("prefill", heavy)
    if not picture.draw(HERE / "speed.png", lines, scaling, taxes):
        say("matplotlib is not installed; no picture was drawn.")
    ordered = ["vs_release", *(f"vs_batched_{count}" for count in options.requests)]
    return {
        **{name: told[name] for name in ordered},
        **{f"prefill_{line['positions']}": line["ratio"] for line in heavy},
        "tax_32": next(line["tax"] for line in taxes if line["vectors"] == 32),
        "equal": agreement.share,
        "peak_mb_256_cells": scaling[-1]["peak_mb"],
    }


def both(
    target: LoadedModel, asked: Sequence[Request], cells: Sequence[Steering], decoding: Decoding, options: argparse.Namespace
) -> tuple[ways.Measured, ways.Measured]:
    """The best runs of the engine and of the per-cell batches, taken in turns."""
    ours, batches = [], []
    for _ in range(options.repeats):
        ours.append(ways.engine_way(target, asked, cells, decoding, options.device, options.max_rows))
        batches.append(ways.batched_way(target, asked, cells, decoding, options.device))
    return ways.best(ours), ways.best(batches)


def cells_in_a_process(options: argparse.Namespace) -> Table:
    """`cells_part` in a process of its own, whose peak memory is its own."""
    words = ["--model", options.model, "--tokens", str(options.tokens), "--device", options.device, "--only-cells"]
    words += ["--max-rows", str(options.max_rows), "--repeats", str(options.repeats)]
    done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
    found: Table = json.loads(done.stdout.splitlines()[-1])
    return found


def cells_part(options: argparse.Namespace) -> Table:
    """Cost against the number of cells, 16 requests; the peak grows with the batch, not with the cells."""
    target = shapes.load(options.model, options.device)
    asked = shapes.requests(options.model, 16)
    lines = []
    for count in (1, 4, 16, 64, 256):
        cells = ways.grid(target, options.model, asked, count)
        if count == 1:
            ways.engine_way(target, asked[:1], cells, Decoding(2), options.device)
        lines.append(ways.engine_way(target, asked, cells, Decoding(options.tokens), options.device, options.max_rows).record())
    return lines


# -- the steering tax ------------------------------------------------------------------------------------------------


def endless(target: LoadedModel) -> LoadedModel:
    """The same model, never ending an answer by itself, so that every row has the same length."""
    model = copy.copy(target.model)
    model.generation_config = copy.deepcopy(target.model.generation_config)
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    model.generation_config.suppress_tokens = sorted({*(model.generation_config.suppress_tokens or ()), *ends})
    return dataclasses.replace(target, model=model)


def tax_part(target: LoadedModel, options: argparse.Namespace, counts: Sequence[int], rows: int) -> Table:
    """Time of the same rows, unsteered and under so many distinct vectors per batch, at generated tokens and everywhere.

    tax: the added share of time. With positions `decode` all of it is the writes; with `all` also the blocks above the
    injection, which run once more for the prompt of every steered row.
    """
    target, layer = endless(target), len(target.layers) // 2
    asked = shapes.requests(options.model, rows)
    cells = ways.grid(target, options.model, asked, max(counts), layer)
    decoding = Decoding(options.tokens)
    timed(target, asked, [None], Decoding(2), options)
    runs: dict[tuple[str, int], list[float]] = {}
    for _ in range(3):
        runs.setdefault(("none", 0), []).append(timed(target, asked, [None], decoding, options))
        for positions in ("decode", "all"):
            for count in counts:
                used = [dataclasses.replace(cell, positions=positions) for cell in cells[:count]]
                runs.setdefault((positions, count), []).append(timed(target, asked, used, decoding, options))
    plain = min(runs["none", 0])
    return [
        {
            "positions": positions, "vectors": count, "rows": rows, "seconds": round(min(seconds), 4),
            "tokens_per_s": round(rows * options.tokens / min(seconds), 1), "tax": round(min(seconds) / plain - 1, 4),
        }
        for (positions, count), seconds in runs.items()
    ]  # fmt: skip


def timed(
    target: LoadedModel,
    asked: Sequence[Request],
    cells: Sequence[Steering | None],
    decoding: Decoding,
    options: argparse.Namespace,
) -> float:
    """Seconds of one batch in which request i has steering i modulo their number."""
    rows = [(request, cells[i % len(cells)]) for i, request in enumerate(asked)]
    ways.synchronize(options.device)
    begun = time.perf_counter()
    for _ in ways.Engine(target, decoding, max_rows=len(rows), tell=ways.refuse).answer(rows):
        pass
    ways.synchronize(options.device)
    return time.perf_counter() - begun


# -- long prompts, short answers -------------------------------------------------------------------------------------


def prefill_part(options: argparse.Namespace, agreement: Agreement) -> Table:
    """A random LLaVA of width 512, 12 blocks, 576 image tokens: 4 requests, 16 cells at block 6, 16 new tokens."""
    name = "random:llava-middle"
    return prefill_case(shapes.load(name, options.device), name, 4, 16, 6, 16, options, agreement)


def prefill_case(
    target: LoadedModel, name: str, requests: int, cells: int, layer: int, tokens: int, options: argparse.Namespace,
    agreement: Agreement,
) -> Table:  # fmt: skip
    """Ways (b) and (c) with the whole prompt written, and with its last token only."""
    asked, decoding, lines = shapes.requests(name, requests), Decoding(tokens), []
    for positions in ("all", "generated"):
        grid = [dataclasses.replace(cell, positions=positions) for cell in ways.grid(target, name, asked, cells, layer)]
        ways.engine_way(target, asked[:1], grid[:1], Decoding(2), options.device)
        ours, batches = both(target, asked, grid, decoding, options)
        lines.append(
            {
                "positions": positions, "requests": requests, "cells": cells, "layer": layer, "tokens": tokens,
                "batched_s": round(batches.seconds, 3), "engine_s": round(ours.seconds, 3),
                "ratio": round(ours.rate / batches.rate, 3), "equal": agreement.compare(ours.answers, batches.answers),
            }
        )  # fmt: skip
    return lines


# -- lengths of real pictures ------------------------------------------------------------------------------------------


def sizes_part(options: argparse.Namespace) -> dict[str, Any]:
    """Prompts as long as a draw of MathVista's questions, 16 cells at block 6 of a text of width 512, 16 new tokens.

    Lengths are those of Qwen2-VL at the release's pixel limits, a quarter of them and at most 1,024, so that a CPU ends; every
    token is a word. The other way runs per-cell batches of the same requests, sorted the same way and cut by the same budget.
    """
    import real_sizes

    target, agreement = shapes.load("random:llava-middle", options.device), Agreement()
    draws = random.Random(0)
    drawn = sorted((min(1024, n // 4) for n in draws.choices(real_sizes.lengths(options.sizes), k=16)), reverse=True)
    asked = [Request(str(i), " ".join(f"w{draws.randrange(shapes.WORDS)}" for _ in range(n))) for i, n in enumerate(drawn)]
    decoding, lines = Decoding(16), []
    for positions in ("all", "generated"):
        cells = [dataclasses.replace(c, positions=positions) for c in ways.grid(target, "random", asked[-4:], 16, 6)]
        ways.engine_way(target, asked[-1:], cells[:1], Decoding(2), options.device)
        ours, batches = [], []
        for _ in range(options.repeats):
            ours.append(ways.engine_way(target, asked, cells, decoding, options.device, options.max_rows))
            batches.append(ways.sorted_way(target, asked, cells, decoding, options.device))
        one, other = ways.best(ours), ways.best(batches)
        lines.append(
            {
                "sizes": options.sizes, "positions": positions, "requests": len(asked), "tokens": f"{min(drawn)}-{max(drawn)}",
                "cells": len(cells), "batched_s": round(other.seconds, 3), "engine_s": round(one.seconds, 3),
                "ratio": round(one.rate / other.rate, 3), "equal": agreement.compare(one.answers, other.answers),
            }
        )  # fmt: skip
    table("sizes", lines)
    return {**{f"sizes_{line['positions']}": line["ratio"] for line in lines}, "equal": agreement.share}


# -- random weights in true shapes -----------------------------------------------------------------------------------


def random_part(options: argparse.Namespace) -> dict[str, Any]:
    """Long prompts, decoding speed against the memory's limit, and the tax, with weights of the true shape."""
    target = shapes.load(options.model, options.device)
    agreement = Agreement()
    heavy = prefill_case(target, options.model, 4, 16, len(target.layers) // 2, 16, options, agreement)
    table(f"prefill_{options.model.partition(':')[2]}", heavy)
    taxes = tax_part(target, options, (1, 8, 32), 32)
    table(f"tax_{options.model.partition(':')[2]}", taxes)
    speed = decoding_speed(target, options, 32)
    table(f"decoding_{options.model.partition(':')[2]}", [speed])
    return {
        **{f"prefill_{line['positions']}": line["ratio"] for line in heavy},
        **{f"tax_{line['vectors']}": line["tax"] for line in taxes if line["positions"] == "decode"},
        **speed,
        "equal": agreement.share,
    }


def decoding_speed(target: LoadedModel, options: argparse.Namespace, rows: int) -> dict[str, Any]:
    """Tokens per second of `rows` unsteered rows while they decode, and the share of what reading memory once allows.

    From the difference between long and short answers, so that prompts do not count. The limit: the bytes of the decoder's
    weights and of the rows' keys and values over the copy speed of the device.
    """
    asked = shapes.requests(options.model, rows)
    short, long = 8, 40
    timed(target, asked, [None], Decoding(short), options)
    seconds = timed(target, asked, [None], Decoding(long), options) - timed(target, asked, [None], Decoding(short), options)
    text = target.model.config.get_text_config()
    size = torch.finfo(target.model.dtype).bits // 8
    weights = sum(p.numel() for layer in target.layers for p in layer.parameters())
    weights += target.model.get_output_embeddings().weight.numel()
    prompt = ways.encode_requests(target, asked[:1])["input_ids"].shape[1]
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_token = 2 * text.num_hidden_layers * text.num_key_value_heads * head
    read = size * (weights + rows * (prompt + (short + long) // 2) * per_token)
    limit = read / copy_speed(options.device)
    step = seconds / (long - short)
    return {
        "rows": rows, "prompt_tokens": prompt, "decode_tokens_per_s": round(rows / step, 1), "step_ms": round(1e3 * step, 2),
        "share_of_memory_limit": round(limit / step, 3), "peak_mb": round(ways.peak_mb(options.device)),
    }  # fmt: skip


def copy_speed(device: str) -> float:
    """Bytes per second, read and written, of a large copy."""
    source = torch.empty(2**28 if device.startswith("cuda") else 2**24, dtype=torch.float32, device=device)
    place, best = torch.empty_like(source), float("inf")
    for _ in range(5):
        ways.synchronize(device)
        begun = time.perf_counter()
        place.copy_(source)
        ways.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return 2 * source.numel() * 4 / best


if __name__ == "__main__":
    main()
