"""The miniature's benchmark and contrast data: which problems they hold and how they are written.

Development, test and contrast problems are drawn from one seed, without repetition, and training excludes them all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures

from l2v.mini import problems
from l2v.mini.problems import SumProblem

SEED = 20250
SIZES = {"dev": 200, "test": 500, "contrast": 200}
FEATURES = Features(
    {
        "id": Value("string"),
        "image": Image(),
        "question": Value("string"),
        "answer": Value("string"),
        "digits": Value("string"),
    }
)


@dataclass(frozen=True)
class Split:
    """Problems and, in the same order, their pictures."""

    name: str
    problems: Sequence[SumProblem]
    pictures: Sequence[Pictures.Image]


def draw_splits() -> dict[str, Split]:
    """The splits dev, test and contrast; always the same. Contrast has no pictures."""
    rng = np.random.default_rng(SEED)
    drawn = problems.draw_distinct(sum(SIZES.values()), rng)
    splits, start = {}, 0
    for name, size in SIZES.items():
        members = drawn[start : start + size]
        pictures = [] if name == "contrast" else [problems.render(problem, rng) for problem in members]
        splits[name] = Split(name, members, pictures)
        start += size
    return splits


def write_splits(folder: Path) -> None:
    """Write dev.parquet, test.parquet and contrast.jsonl into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = draw_splits()
    for name in ("dev", "test"):
        _as_dataset(splits[name]).to_parquet(folder / f"{name}.parquet")
    rng = np.random.default_rng([SEED, 1])
    lines = [
        {
            "question": problems.text_question(problem),
            "cot": problems.step_response(problem, rng),
            "direct": problems.direct_response(problem, rng),
            "domain": "mini",
        }
        for problem in splits["contrast"].problems
    ]
    (folder / "contrast.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _as_dataset(split: Split) -> Dataset:
    columns = {
        "id": [f"{split.name}-{index:03d}" for index in range(len(split.problems))],
        "image": list(split.pictures),
        "question": [problems.IMAGE_QUESTION] * len(split.problems),
        "answer": [problem.answer for problem in split.problems],
        "digits": [problem.key for problem in split.problems],
    }
    return Dataset.from_dict(columns, features=FEATURES)
