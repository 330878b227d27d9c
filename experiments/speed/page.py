"""How long `l2v report`'s page takes and how large it is, over synthetic studies in the store's own files.

    python experiments/speed/page.py            # 1, 100 and 2,000 cells; up to 1,000 examples with pictures; prints a table

A study: `direct`, l2v and null arms over layer x alpha x k on 200 items in MathVista's fields (pictures of 800 x 600, answers
of about 1,500 characters); one cell: 1,000 items. `results` is the time for results.csv, which a run has made already; `page`
is everything after it until the file is on disk, with the imports that it needs.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from l2v.disk import write_atomically
from l2v.report.page.page import write_page
from l2v.report.study import open_study
from l2v.study.cells import BenchmarkId, Cell, ContrastId, ModelId
from l2v.study.questions import benchmark_id
from l2v.study.results import build_results
from l2v.study.score import benchmark_items, prompt_hashes, rescore, stored_benchmark
from l2v.study.store import Store

WORDS = ["the", "angle", "of", "triangle", "ABC", "is", "therefore", "equal", "so", "we", "add", "both", "sides", "answer"]
SUBSETS = [("math", "geometry problem solving"), ("general", "figure question answering")]
TARGET = ModelId("synthetic", "l2v/synthetic-vlm", "local:0", "bfloat16")
SOURCE = ModelId("synthetic_llm", "l2v/synthetic-llm", "local:1", "bfloat16")
CONTRAST = ContrastId("still2", "response_pairs", "l2v/pairs", "local:2", "train", {}, [], 100, 0, None, None, None)


def picture(seed: int) -> bytes:
    """A noisy photograph's worth of pixels, as JPEG."""
    pixels = np.random.default_rng(seed).normal(128, 40, (60, 80, 3)).clip(0, 255).astype("uint8")
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((800, 600)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write_data(folder: Path, items: int) -> None:
    """A local MathVista: questions, options and pictures."""
    folder.mkdir(parents=True)
    rows = []
    for i in range(items):
        (folder / f"{i}.jpg").write_bytes(picture(i))
        category, task = SUBSETS[i % len(SUBSETS)]
        rows.append(
            {
                "pid": str(i),
                "question": f"Question {i}: how large is the angle?",
                "image": f"{i}.jpg",
                "decoded_image": f"{i}.jpg",
                "choices": ["10", "20", "30", "40"],
                "unit": None,
                "precision": None,
                "answer": "20",
                "question_type": "multi_choice",
                "answer_type": "text",
                "metadata": {"category": category, "task": task, "skills": ["geometry reasoning"], "language": "english"},
                "query": f"Hint: choose.\nQuestion {i}",
            }
        )
    (folder / "testmini.json").write_text(json.dumps(rows))


def cells(count: int, benchmark: BenchmarkId) -> Iterator[Cell]:
    """direct, and arms over layer x alpha x k until there are enough."""
    common: dict[str, Any] = {"target": TARGET, "benchmark": benchmark, "max_new_tokens": 512, "stop": []}
    yield Cell(method="direct", **common)
    grid = [(layer, alpha, k) for layer in range(4, 28, 2) for alpha in (0.1, 0.3, 0.5, 0.7, 0.9) for k in (200, 400, 1800)]
    # Six seeds of each null, and as many as it takes where more cells are asked for than those have.
    seeds = range(max(6, -(-(count - 1 - len(grid)) // (2 * len(grid)))))
    arms = [("l2v", None), *((null, seed) for null in ("random", "permuted") for seed in seeds)]
    steered = [(*arm, *setting) for setting in grid for arm in arms]
    for method, seed, layer, alpha, k in steered[: count - 1]:
        yield Cell(
            method=method, source=SOURCE, contrast=CONTRAST, layer=layer, source_layer=layer, alpha=alpha, cutoff=k,
            positions="all", scale="direction", seed=seed, **common,
        )  # fmt: skip


def write_study(outputs: Path, name: str, count: int, items: int) -> None:
    """Cells with responses, scored by the benchmark's own rule."""
    data = outputs / f"{name}-data"
    write_data(data, items)
    blank = BenchmarkId("mathvista", "AI4Math/MathVista", "", "testmini", None, "direct")
    config = stored_benchmark(blank, {"benchmark": str(data)})
    benchmark = benchmark_id(config, "direct")
    prompts = prompt_hashes(benchmark_items(benchmark, config))
    store = Store(outputs, name).open()
    draw = random.Random(0)
    for cell in cells(count, benchmark):
        right = 0.35 + (0.2 * (cell.alpha or 0.0) if cell.method == "l2v" and 10 <= (cell.layer or 0) <= 18 else 0.0)
        folder = store.folder(cell.id)
        folder.begin(cell, {"benchmark": str(data), "benchmark_include": None})
        rows = []
        for i in range(items):
            text = " ".join(draw.choices(WORDS, k=draw.randrange(100, 500))) + " The answer is "
            text += '"20".' if draw.random() < right else f'"{draw.choice([10, 30, 40])}".'
            row = {"id": str(i), "response": text, "tokens": len(text) // 4, "truncated": False, "seconds": 0.2}
            rows.append({**row, "prompt": prompts[str(i)]})
        write_atomically(folder.path / "responses.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        folder.finish()
    rescore(store.finished(), ["official"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, nargs="*", default=[1, 100, 2000])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--keep", help="folder that the studies are written to and left in")
    options = parser.parse_args()
    lines = ["| cells | rows | examples | results, s | page, s | MB |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(options.keep or scratch)
        for count in options.cells:
            name = f"cells-{count}"
            # One cell has only its own items to show.
            write_study(outputs, name, count, 1000 if count == 1 else options.items)
            begun = time.perf_counter()
            store = Store(outputs, name)
            results = build_results(store)
            built = time.perf_counter()
            path = write_page(open_study(store, "official", results))
            done = time.perf_counter()
            text = path.read_text(encoding="utf-8")
            shown = len(json.loads(text.split('id="examples-data">')[1].split("</script>")[0])["examples"])
            size = path.stat().st_size / 1e6
            lines.append(
                f"| {count:,} | {len(results):,} | {shown:,} | {built - begun:.1f} | {done - built:.1f} | {size:.1f} |"
            )
            print(lines[-1], flush=True)
        write_atomically(outputs / "page-speed.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
