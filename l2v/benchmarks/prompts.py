"""Prompt styles that belong to a model and not to a benchmark: the question in its raw style within a fixed frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from l2v.benchmarks.base import Benchmark

# The fixed sectioned prompt that Mulberry's checkpoints were trained with (HJYao00/Mulberry, infer.py).
_MULBERRY = """Generate an image description based on the question.
Then, provide a rationale to analyze the question.
Next, generate a step-by-step reasoning process to solve the problem. Ensure the steps are logical and concise.
Finally, provide a concise summary of the final answer in the following format: 'The final answer is: xxx'. If the question is \
multiple-choice, provide the options along with their content. If it is free-form, directly present the final result. Do not \
provide any explanation.

Format your response with the following sections, separated by ###:
### Image Description:
### Rationales:
### Let's think step by step.
### Step 1:
### Step 2:
...
### The final answer is:\x20

{question}"""


def mulberry(raw: str) -> str:
    """The raw question in Mulberry's frame; images that stand before the question stay before the frame."""
    question = raw.lstrip()
    images = 0
    while question.startswith("<image>"):
        question, images = question.removeprefix("<image>"), images + 1
    return "<image>" * images + _MULBERRY.replace("{question}", question.lstrip())


FRAMES: Mapping[str, Callable[[str], str]] = {"mulberry": mulberry}


def styles(docs: Benchmark) -> tuple[str, ...]:
    """Every prompt style of a benchmark: its own and, where it has a raw one, the frames."""
    return (*docs.STYLES, *(FRAMES if "raw" in docs.STYLES else ()))


def prompt(docs: Benchmark, doc: dict[str, Any], style: str) -> str:
    """The prompt of one row in one of `styles`."""
    return FRAMES[style](docs.prompt(doc, "raw")) if style in FRAMES else docs.prompt(doc, style)
