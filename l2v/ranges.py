"""The range of every number among the settings, by full key, in one place; and what no text setting may be. No heavy import."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from l2v.errors import UserError, printable

# Above this a whole number is a typing error, and libraries that count in 64 bits fail on it.
MOST = 2**53


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `open_low`, `open_high`: the bound itself is outside. hint: what is meant."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    hint: str = ""

    def holds(self, value: float) -> bool:
        """Whether a number lies within; nan and the infinite never do."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = "" if self.high == math.inf else f"{'below' if self.open_high else 'at most'} {self.high:g}"
        return (" and ".join(filter(None, (low, high))) or "a finite number") + self.hint


ANY, NOT_NEGATIVE, COUNT, POSITIVE = Range(), Range(0), Range(1), Range(0, open_low=True)
SHARE, SOME, PART, LESS = Range(0, 1), Range(0, 1, open_low=True), Range(0, 1, True, True), Range(0, 1, open_high=True)

# Settings of the models, which source and target share; and of picture processors, chosen or named in a target's YAML.
MODEL = {"layers": COUNT, "width": COUNT}
IMAGES = dict.fromkeys(("min_pixels", "max_pixels", "max_tiles", "longest_edge"), COUNT)
# All numbers but seeds, which are whole and not negative.
RANGES: dict[str, Range] = {
    **{f"{role}.{name}": one for role in ("source", "target") for name, one in MODEL.items()},
    **{f"processor.{name}": one for name, one in IMAGES.items()},
    "contrast.per_domain": COUNT,
    "contrast.max_new_tokens": COUNT,
    "contrast.shots": COUNT,
    "neutral.texts": Range(10, hint=": a fifth of them is left out to judge the map"),
    "neutral.places": Range(1, 10_000),
    "method.shots": NOT_NEGATIVE,
    "method.min_new_tokens": NOT_NEGATIVE,
    "method.weights.share": SHARE,
    "method.weights.layers": ANY,
    "method.weights.density": SOME,
    "method.weights.scale": ANY,
    "method.weights.factor": ANY,
    "benchmark.limit": COUNT,
    "benchmark.max_new_tokens": COUNT,
    "benchmark.part_share": PART,
    "benchmark.part_first": NOT_NEGATIVE,
    "benchmark.part_last": COUNT,
    "benchmark.items": COUNT,
    "benchmark.num_fewshot": NOT_NEGATIVE,
    "intervention.layer": ANY,  # within the model, whose depth the message tells (study/resolve.py)
    "intervention.source_layer": ANY,
    "intervention.alpha": NOT_NEGATIVE,
    "intervention.cutoff": ANY,  # its three forms: transfer/cutoff.py
    "decoding.max_new_tokens": COUNT,
    "decoding.temperature": NOT_NEGATIVE,
    "decoding.top_p": SOME,
    "decoding.top_k": NOT_NEGATIVE,
    "protocol.budget": SOME,
    "protocol.eta": Range(2, 4),
    "protocol.delta": LESS,
    "protocol.margin": LESS,
    "judge.timeout": POSITIVE,
    "judge.retries": NOT_NEGATIVE,
    "judge.concurrency": COUNT,
    "judge.max_tokens": COUNT,
    "finetune.learning_rate": POSITIVE,
    "finetune.epochs": COUNT,
    "finetune.batch_size": COUNT,
    "finetune.micro_batch": COUNT,
    "finetune.warmup": LESS,
    "finetune.weight_decay": LESS,
    "finetune.clip": POSITIVE,
    "finetune.max_length": COUNT,
    "finetune.lora_rank": COUNT,
    "finetune.lora_alpha": COUNT,
    "finetune.lora_dropout": LESS,
    "analyze.layer": ANY,
    "analyze.cutoffs": COUNT,
    "analyze.permutations": COUNT,
    "tracker.examples": NOT_NEGATIVE,
    "tracker.timeout": POSITIVE,
    "executor.workers": COUNT,
    "executor.retries": NOT_NEGATIVE,
    "executor.heartbeat": POSITIVE,
    "executor.expire": POSITIVE,
    "executor.gpus": NOT_NEGATIVE,
    "executor.cpus": COUNT,
    "executor.memory_gb": COUNT,
    "executor.minutes": COUNT,
    "runtime.batch_rows": COUNT,
    "runtime.batch_tokens": COUNT,
    "runtime.cells_per_claim": COUNT,
    "runtime.most_cells": COUNT,
    "runtime.tokens_per_second": POSITIVE,
    "runtime.prompt_tokens_per_second": POSITIVE,
    "runtime.tokens_per_answer": POSITIVE,
    "runtime.tokens_per_prompt": POSITIVE,
    # Of the verbs that compose nothing.
    "examples": NOT_NEGATIVE,
    "port": Range(0, 2**16 - 1),
    "items": COUNT,
    "diff": Range(0, 1, open_low=True, hint=": a share, 0.02 for two points"),
    "discordance": SOME,
    "power": PART,
    "alpha": PART,
    "shard_gb": POSITIVE,
    "noise": NOT_NEGATIVE,
}
# Texts that may be empty.
EMPTY = ("judge.model_args", "contrast.cot_instruction", "contrast.direct_instruction")


def check_ranges(settings: Any, prefix: str = "") -> None:
    """Raise UserError, naming key, value and range, for the first setting of a dataclass that no use could make sense of.

    prefix: what stands before the names of its fields in a full key.
    """
    for key, value in _values(settings, prefix):
        if isinstance(value, str):
            _check_text(key, value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            within = range_of(key)
            if not within.holds(value):
                finite = "" if math.isfinite(value) or within == ANY else "finite and "
                raise UserError(f"{key}={value} must be {finite}{within}.")
            if abs(value) > MOST:
                raise UserError(f"{key}={value:.3g} must be at most {MOST}.")


def range_of(key: str) -> Range:
    name = key.rpartition(".")[2]
    if name == "seed" or name.endswith("_seed"):
        return NOT_NEGATIVE
    if key.startswith("target.processors."):
        return IMAGES[name]
    return RANGES.get(key, ANY)


def _check_text(key: str, value: str) -> None:
    if not (value if key == "decoding.stop" else value.strip()) and key not in EMPTY:
        raise UserError(f"{key} is empty text; give it a value, or leave it out.")
    # Where answers end may be any character of a model's.
    if "\0" in value or (key != "decoding.stop" and printable(value) != value):
        raise UserError(f"{key}={value!r} holds a NUL byte or another control character, which no setting may; take it out.")


def _values(settings: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every setting of a dataclass and of those in it, with its full key; of a list every entry."""
    for field in fields(settings):
        value, key = getattr(settings, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            yield from _values(value, f"{key}.")
        elif isinstance(value, dict):
            for name, one in value.items():
                if is_dataclass(one):
                    yield from _values(one, f"{key}.{name}.")
        elif isinstance(value, list):
            yield from ((key, one) for one in value)
        else:
            yield key, value


def leaves(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting of a configuration by its full key."""
    found: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        key = f"{prefix}{field.name}"
        found |= leaves(value, f"{key}.") if is_dataclass(value) else {key: value}
    return found
