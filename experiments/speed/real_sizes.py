"""Real image sizes through the real scheduler, with a model that is only counted: no weights, no pictures, no accelerator.

    python experiments/speed/real_sizes.py                   # Qwen2-VL-7B on a card of 141 GB and on one of 24 GB
    python experiments/speed/real_sizes.py --gigabytes 80 --cells 1,32

image_sizes.csv: (width, height) of all 1,000 pictures of MathVista's testmini and the characters of their prompts, from its
released annotations (CC BY-SA 4.0), and those of 20 of MathVerse's released figures, which are drawn with replacement.
MMStar's annotations give no sizes: `mmstar_synthetic` is a log-normal distribution made up here (median width 460 pixels,
0.55 to 1.1 times as high), not measured.

Every window, entry and step goes through l2v's Scheduler, limits and key-value buffers (on PyTorch's meta device, so that what
would be allocated is counted and nothing is). Keys and values, states kept for injections and the widest activation of a block
count; answers have drawn lengths. Prints a table of limits over time and ends in one JSON line:
padding_N: padded over real prompt tokens at N cells, of prompts that are opened and of those that run again for their cells;
over_budget: windows of several prompts above the budget; single_above: prompts that are longer than the budget by themselves;
limit_after: rows that may be in the batch over the last tenth of the windows, over those without the largest picture;
kv_generated, kv_all: bytes of keys and values per row over a copy per row, 32 cells, the larger of two models (kv below).
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLImageProcessor

from l2v.steering.engine.entries import Entry
from l2v.steering.engine.rows import Decoding, Request, Steering
from l2v.steering.engine.scheduler import Scheduler, Sizes
from l2v.steering.engine.stepper import SHARED_TOKENS, Stepper
from l2v.steering.engine.works import Unfit, Work

HERE = Path(__file__).parent
BUDGET, ROWS, NEW_TOKENS, MEAN_ANSWER = 8192, 1024, 128, 30
END = 1


@dataclass(frozen=True)
class Shape:
    """A decoder: blocks, key heads, head size, width, width of the MLP, and the bytes of all weights; two bytes a number."""

    blocks: int
    heads: int
    size: int
    width: int
    mlp: int
    weights: int


QWEN = Shape(28, 4, 128, 3584, 18944, 16_600_000_000)
LLAVA_NEXT = Shape(32, 8, 128, 4096, 14336, 16_800_000_000)


def main() -> None:
    """Replay every benchmark at every number of cells and card; then count keys and values."""
    options = arguments()
    told: dict[str, float] = {}
    over = single = 0
    after = 1.0
    for cells in options.cells:
        worst = 0.0
        for name in ("mathvista", "mathverse", "mmstar_synthetic"):
            # The others hold no picture of that size: one card tells.
            for gigabytes in options.gigabytes if name == "mathvista" else options.gigabytes[:1]:
                run = replay(lengths(name), cells, gigabytes)
                over, single = over + run.over_budget, single + run.single_above
                worst = max(worst, run.padding)
                print(f"{name:17} {cells:3} cells {gigabytes:4} GB  {run.line()}", file=sys.stderr)
                if name == "mathvista":
                    after = min(after, limit_after(run, replay(without_largest(lengths(name)), cells, gigabytes)))
        told[f"padding_{cells}"] = round(worst, 4)
    told |= {"over_budget": over, "single_above": single, "limit_after": round(after, 3)}
    told |= {
        f"kv_{kind}": round(max(kv(QWEN, 663, 300, kind), kv(LLAVA_NEXT, 2928, 300, kind)), 4) for kind in ("generated", "all")
    }
    print(json.dumps(told))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=lambda t: [int(n) for n in t.split(",")], default=[1, 8, 32])
    parser.add_argument("--gigabytes", type=lambda t: [int(n) for n in t.split(",")], default=[141, 24])
    return parser.parse_args()


# -- lengths ---------------------------------------------------------------------------------------------------------


def lengths(name: str) -> list[int]:
    """Prompt tokens of each question with the Qwen2-VL release's pixel limits: one per 28 x 28 pixels and per 4 characters."""
    # The release's preprocessor_config.json: 56 x 56 to 3584 x 3584 pixels.
    images = Qwen2VLImageProcessor(size={"shortest_edge": 3136, "longest_edge": 12845056})
    return [
        images.get_number_of_image_patches(height, width, {}) // 4 + characters // 4 + 15
        for width, height, characters in sizes(name)
    ]


def sizes(name: str) -> list[tuple[int, int, int]]:
    """(width, height, characters of the prompt) of each question."""
    draws = random.Random(0)
    if name == "mmstar_synthetic":
        wide = [(int(draws.lognormvariate(6.13, 0.4)), draws.uniform(0.55, 1.1)) for _ in range(1500)]
        return [(max(28, w), max(28, int(w * ratio)), draws.randint(120, 600)) for w, ratio in wide]
    with (HERE / "image_sizes.csv").open(encoding="utf-8") as file:
        known = [
            tuple(int(row[k]) for k in ("width", "height", "characters"))
            for row in csv.DictReader(file)
            if row["benchmark"] == name
        ]
    found = known if name == "mathvista" else draws.choices(known, k=788)
    return [(w, h, c) for w, h, c in found]


def without_largest(found: Sequence[int]) -> list[int]:
    """All but the longest."""
    return sorted(found)[:-1]


# -- the counted model -----------------------------------------------------------------------------------------------


@dataclass
class CountedWindow:
    """What the scheduler reads of a window."""

    requests: list[Request]
    lengths: list[int]
    states: int  # bytes of what is kept of it
    prompts: Any = None

    @property
    def width(self) -> int:
        """Tokens of the longest prompt."""
        return max(self.lengths)

    def close(self) -> None:
        """What only entering rows need is given back."""
        self.states = 0


@dataclass
class HeldPrompts:
    """Prompts that are held once."""

    bytes: int
    open: bool = True

    def drop_all_but(self, requests: set[int]) -> None:
        """Kept whole: counts too much rather than too little."""


class CountedStepper(Stepper):
    """The real places, buffers and lanes of rows, on the meta device; blocks do not run."""

    def __init__(self, shape: Shape, steerings: Sequence[Steering], new_tokens: int, answers: dict[int, int]) -> None:
        anatomy: Any = SimpleNamespace(
            target=SimpleNamespace(model=SimpleNamespace(device=torch.device("cpu"))),
            layers=[None] * shape.blocks,
            narrowest=None,
        )
        super().__init__(anatomy, steerings, new_tokens, SHARED_TOKENS)
        self.shape, self.answers = shape, answers
        self.capacity: int | None = None
        self.padded = self.real = self.peak = self.failures = 0
        self.window: CountedWindow | None = None

    @property
    def token_bytes(self) -> int:
        """Keys and values of a token in one block."""
        return 2 * self.shape.heads * self.shape.size * 2

    def share(self, window: Any, entries: Sequence[Entry]) -> None:
        """As the real one."""
        if window.width < SHARED_TOKENS:
            return
        joins = [self._joins(entry) for entry in entries]
        lowest = self.shape.blocks if None in joins else 1 + max(layer for layer in joins if layer is not None)
        window.prompts = HeldPrompts(len(window.lengths) * (window.width - 1) * lowest * self.token_bytes)
        for entry, layer in zip(entries, joins, strict=True):
            entry.prompts, entry.joins = window.prompts, layer

    def enter(self, window: Any, entries: list[Entry], rows: int) -> Tensor:
        """Buffers grow as they would; prompts that run are counted."""
        width = max(window.lengths[e.request] for e in entries)
        for entry in entries:
            own = (width - window.lengths[entry.request], width)
            entry.since, entry.lower, entry.upper = self.clock, own, own
            if entry.prompts is not None:
                entry.lower, entry.upper = (0, 1), own if entry.joins is not None else (0, 1)
        self._reserve(entries, max(rows, len(self.entries) + len(entries)))
        like = torch.empty(1, self.shape.heads, 1, self.shape.size, dtype=torch.bfloat16, device="meta")
        for block in range(self.shape.blocks):
            self.cache.buffers(block, like, like)
        runs = self.sharing(entries[0])[0] == 0
        self.window = window
        self.check(len(entries) * (width if runs else 1))
        if runs:
            self.padded += len(entries) * width
            self.real += sum(window.lengths[e.request] for e in entries)
        for tier in self.tiers:
            tier.move(np.append(tier.of, tier.places(entries, [self._layer(entry) for entry in entries])[0]))
        self.spots = np.concatenate([self.spots, [self._spot(entry) for entry in entries]])
        self.entries, self.settled = [*self.entries, *entries], False
        return self._logits(entries)

    def step(self, tokens: Tensor) -> Tensor:
        """A column more for every row."""
        if not self.settled:
            self._settle()
        self._widen()
        self.check(len(self.entries))
        for lane in self._lanes():
            lane.advance()
        self.clock += 1
        return self._logits(self.entries)

    def keep(self, kept: Sequence[int]) -> list[int]:
        """As the real one, without tensors of rows."""
        self.length, self.position = torch.zeros(len(self.entries)), torch.zeros(1, len(self.entries))
        return super().keep(kept)

    def row_bytes(self, window: Any, entries: Sequence[Entry]) -> int:
        """What the largest of these rows will hold for itself."""
        width = max(window.width, self.span)
        own = [sum(self.new_tokens + (1 if e.shares(b) else width) for b in range(self.shape.blocks)) for e in entries[:1]]
        return max(own) * self.token_bytes

    def held(self) -> int:
        """Buffers, prompts that are held once, and the open window."""
        held = self.held_bytes + (self.window.states if self.window else 0)
        if self.window is not None and self.window.prompts is not None and self.window.prompts not in self._prompts():
            held += self.window.prompts.bytes
        return held

    def check(self, tokens: int) -> None:
        """Raise what a card of this capacity would raise; `tokens` run through a block now."""
        held = self.held() + tokens * 2 * 3 * self.shape.mlp
        if self.capacity is not None and held > self.capacity:
            self.failures += 1
            raise torch.OutOfMemoryError("counted")
        self.peak = max(self.peak, held)

    def _logits(self, entries: Sequence[Any]) -> Tensor:
        """The end token for rows whose answer is as long as was drawn."""
        logits = torch.zeros(len(entries), 2)
        ending = [len(e.tokens) + 1 >= self.answers[id(e.work)] if hasattr(e, "work") else False for e in entries]
        logits[:, END] = torch.tensor(ending).float()
        return logits

    def _prompts(self) -> list[Any]:
        return list({id(e.prompts): e.prompts for e in self.entries if e.prompts is not None}.values())

    def _parts(self, entries: Sequence[Entry], block: int) -> list[Any]:
        """Which rows share is not worked out for a model that does not run."""
        return []

    def _plan_above(self, tier: Any) -> None:
        """Nothing is written."""


class Counted(Scheduler):
    """The real scheduler over the counted model, with notes of what it did."""

    def __init__(self, found: Sequence[int], cells: int, gigabytes: int) -> None:
        requests = [Request(str(i), "w") for i in range(len(found))]
        layer = QWEN.blocks // 2
        steerings = [Steering(torch.zeros(1), layer, 1.0, "all") for _ in range(cells)]
        works = [Work(request, cell, []) for request in range(len(found)) for cell in range(cells)]
        draws = random.Random(1)
        self.drawn = {id(work): 1 + min(NEW_TOKENS - 1, int(draws.expovariate(1 / MEAN_ANSWER))) for work in works}
        self.held = works
        target = SimpleNamespace(
            model=SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=END)),
            tokenizer=SimpleNamespace(eos_token_id=END, decode=lambda *_, **__: ""),
            spec=SimpleNamespace(place="a counted model"),
        )
        known: Any = SimpleNamespace(
            anatomy=SimpleNamespace(target=target), shares={False: True}, verdicts={},
            scores=SimpleNamespace(tail=0, penalties=False),
        )  # fmt: skip
        encoder: Any = SimpleNamespace(prepare=lambda _: None, length=lambda request: found[int(request.id)])
        self.notes: list[tuple[int, int, int]] = []
        self.over_budget = self.single_above = 0
        super().__init__(known, requests, steerings, works, Decoding(NEW_TOKENS), Sizes(ROWS, BUDGET, found), encoder)
        self.chooser.choose = lambda rows, logits, first: logits.argmax(dim=1).tolist()
        self.counted.capacity = gigabytes * 10**9 - QWEN.weights

    @property
    def counted(self) -> CountedStepper:
        """Its stepper."""
        assert isinstance(self.stepper, CountedStepper)
        return self.stepper

    def _stepper(self, steerings: Sequence[Steering], share_from: int | None) -> Stepper:
        return CountedStepper(QWEN, steerings, self.decoding.max_new_tokens, self.drawn)

    def _window(self, requests: Sequence[Request], needs: Any) -> Any:
        own = [self.prompts.lengths[int(request.id)] for request in requests]
        padded = len(own) * max(own)
        states = padded * (QWEN.blocks * self.counted.token_bytes + len(needs.whole) * QWEN.width * 2)
        self.counted.window = CountedWindow(list(requests), own, states)
        self.counted.check(padded)
        self.counted.padded, self.counted.real = self.counted.padded + padded, self.counted.real + sum(own)
        self.over_budget += padded > self.budget.asked and len(own) > 1
        self.single_above += padded > self.budget.asked and len(own) == 1
        return self.counted.window

    def _free_memory(self) -> int | None:
        assert self.counted.capacity is not None
        return self.counted.capacity - self.counted.held()

    def _open(self) -> Any:
        outcome = super()._open()
        if self.window is not None:
            self.notes.append((self.window.width, len(self.window.lengths), self.limit))
        return outcome

    def _was_moved(self, row: Any) -> bool:
        return True


@dataclass
class Replay:
    """What one replay did. notes: per window its width, requests and the rows that might be in the batch then."""

    padding: float
    over_budget: int
    single_above: int
    unfit: int
    failures: int
    peak: float
    notes: list[tuple[int, int, int]] = field(default_factory=list)

    def line(self) -> str:
        """For the table."""
        marks = [self.notes[len(self.notes) * i // 5] for i in range(5)] + [self.notes[-1]]
        limits = " ".join(f"{limit}@{width}" for width, _, limit in marks)
        return (
            f"padding {self.padding:.3f}  windows {len(self.notes)}  peak {self.peak:.1f} GB above the weights  "
            f"out of memory {self.failures}  too large {self.unfit}  rows@tokens {limits}"
        )


def replay(found: Sequence[int], cells: int, gigabytes: int) -> Replay:
    """All questions under so many cells at the middle block, positions=all, on a card of that size."""
    run = Counted(found, cells, gigabytes)
    unfit = sum(len(outcome.works) for outcome in run.outcomes() if isinstance(outcome, Unfit))
    counted = run.counted
    return Replay(
        counted.padded / counted.real, run.over_budget, run.single_above, unfit, counted.failures, counted.peak / 1e9, run.notes
    )


def limit_after(run: Replay, other: Replay) -> float:
    """Rows over the last tenth of the windows, over those of the replay without the largest picture."""
    # Where memory is short the limit swings: it halves and comes back, at other windows in either replay.
    ends = [[limit for _, _, limit in one.notes[-max(1, len(one.notes) // 10) :]] for one in (run, other)]
    return float(np.mean(ends[0]) / np.mean(ends[1]))


# -- keys and values -------------------------------------------------------------------------------------------------


def kv(shape: Shape, prompt: int, new: int, positions: str, cells: int = 32) -> float:
    """Bytes held by `cells` rows of one question after `new` tokens, over a copy of prompt and answer per row."""
    steerings = [Steering(torch.zeros(1), shape.blocks // 2, 1.0, positions) for _ in range(cells)]
    stepper = CountedStepper(shape, steerings, new, {})
    window = CountedWindow([Request("a", "w")], [prompt], 0)
    entries = [Entry(0, cell) for cell in range(cells)]
    stepper.share(window, entries)
    stepper.enter(window, entries, cells)
    for _ in range(new - 1):
        stepper.step(torch.zeros(cells))
    return stepper.held_bytes / (cells * (prompt + new) * shape.blocks * stepper.token_bytes)


if __name__ == "__main__":
    main()
