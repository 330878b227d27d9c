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
NEUTRAL = 4000  # neutral texts of each domain
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
    """Write dev.parquet, test.parquet and contrast.jsonl into `folder`; its content is part of the miniature's cells."""
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


def write_neutral(folder: Path) -> None:
    """Write neutral.parquet: texts of three domains that hold no problem of any split, and no pair of anything.

    plain: a question without an instruction, every second one answered directly; no steps anywhere. mixed: the same, answered
    as the models do, which is in steps now and then; nothing tells which. random: words in no order.
    """
    rng = np.random.default_rng([SEED, 2])
    excluded = {problem.key for split in draw_splits().values() for problem in split.problems}
    drawn, mix, words = (
        problems.draw_distinct(2 * NEUTRAL, rng, excluded),
        problems.Mix(step=0.0, direct=0.0),
        problems.vocabulary(),
    )
    rows = []
    for index, problem in enumerate(drawn):
        question = problems.text_question(problem)
        if index < NEUTRAL:
            prompt = problems.instruct(question, str(rng.choice(problems.NEUTRAL_INSTRUCTIONS)))
            exchange = problems.Exchange(prompt, problems.direct_response(problem, rng))
        else:
            exchange = problems.draw_exchange(problem, question, mix, rng)
        rows.append((exchange.prompt, exchange.response, "plain" if index < NEUTRAL else "mixed"))
    for _ in range(NEUTRAL):
        question, response = (" ".join(rng.choice(words, int(rng.integers(2, 20)))) for _ in range(2))
        rows.append((question, response, "random"))
    answered = [(question, response if index % 2 else "", domain) for index, (question, response, domain) in enumerate(rows)]
    columns = dict(zip(("question", "response", "domain"), map(list, zip(*answered, strict=True)), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns).to_parquet(folder / "neutral.parquet")


def _as_dataset(split: Split) -> Dataset:
    columns = {
        "id": [f"{split.name}-{index:03d}" for index in range(len(split.problems))],
        "image": list(split.pictures),
        "question": [problems.IMAGE_QUESTION] * len(split.problems),
        "answer": [problem.answer for problem in split.problems],
        "digits": [problem.key for problem in split.problems],
    }
    return Dataset.from_dict(columns, features=FEATURES)
