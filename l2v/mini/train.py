"""Train a miniature world and write it to disk; about seven minutes on two CPU cores.

    python -m l2v.mini.train                              # the shipped world, everything, into this package
    python -m l2v.mini.train --out /somewhere --models base,vlm,vlm_drifted
    python -m l2v.mini.train --world 1 --out outputs/worlds/1 --missing   # the same recipe from other seeds (make worlds)
    python -m l2v.mini.train --world odd --out outputs/worlds/odd --missing

Models:
    base         text LM, width 96
    vlm          Llava around the base LM, the target
    vlm_drifted  the same function in a residual basis that shares only the low frequencies with base and kin
    kin          the base LM grown to width 160 and trained a little: a source whose direction must transfer
    stranger_a   text LMs of width 160 from other seeds: sources whose
    stranger_b   directions must not transfer
vlm and kin start from base, vlm_drifted from vlm: what is not asked for is read from --out. All worlds share the data. The
world `odd` has strangers alone, of another width, depth and tokenizer; its targets and its kin are those of the shipped world.
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from l2v.mini import chat, models, problems, splits
from l2v.mini.problems import Mix, SumProblem

HERE = Path(__file__).parent
NAMES = ("base", "vlm", "vlm_drifted", "kin", "stranger_a", "stranger_b")
VISION = ("vlm", "vlm_drifted")
SEEDS = {"base": 1, "vlm": 2, "vlm_drifted": 3, "kin": 4, "stranger_a": 5, "stranger_b": 6}
WORLDS = ("0", "1", "2", "3", "4", "odd")
SEEDS_APART = 10  # how far the seeds of one world lie from those of the next
# Of the odd world: width, blocks; its schedule is longer, as its texts are, and was not tried to its end.
ODD = {"stranger_a": (128, 6), "stranger_b": (192, 5)}
BATCH = 64
WEIGHT_DECAY = 0.1  # with less, a neutral prompt ends in a state so long that no moderate injection can move it
DEMONSTRATED = 0.25  # share of batches
REOPENED = 0.5  # share of conversations
TILE_SCALE = 40.0  # logits of the tower's first stage: projected patch times unit embedding times this


@dataclass(frozen=True)
class Schedule:
    """Optimiser steps at batch size 64, and the peak learning rate of a cosine that ends at zero."""

    steps: int
    peak: float

    def rate(self, step: int) -> float:
        """The learning rate at a step, after a warm-up of twenty."""
        return self.peak * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


BASE = Schedule(400, 2e-3)
TILES = Schedule(400, 2e-3)
VLM = Schedule(500, 1e-3)
KIN = Schedule(100, 5e-4)
STRANGER = Schedule(350, 1.5e-3)
ODD_STRANGER = Schedule(500, 1.5e-3)
KIN_MIX = Mix(step=0.60)


@dataclass(frozen=True)
class World:
    tokenizer: PreTrainedTokenizerFast
    processor: LlavaProcessor
    held_out: frozenset[str]
    out: Path
    name: str = "0"

    @property
    def odd(self) -> bool:
        """Whether its models write and read with another tokenizer."""
        return self.name == "odd"

    def seed(self, model: str) -> int:
        """Where a model's draws start."""
        return SEEDS[model] + SEEDS_APART * WORLDS.index(self.name)

    def folder(self, name: str) -> Path:
        return self.out / "checkpoints" / name

    def draw(self, rng: np.random.Generator) -> list[SumProblem]:
        return [problems.draw_problem(rng, self.held_out) for _ in range(BATCH)]


def minimise(model: PreTrainedModel, loss: Callable[[], torch.Tensor], schedule: Schedule) -> None:
    """AdamW on the parameters that require a gradient; `loss` draws its own batch."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=schedule.peak, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    model.train()
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if (step + 1) % 50 == 0:
            print(f"  step {step + 1:4d}  loss {value.item():.3f}", flush=True)
    model.eval()


def conversations(
    world: World,
    batch: list[SumProblem],
    pictured: bool,
    mix: Mix,
    rng: np.random.Generator,
) -> torch.Tensor:
    """Token ids (batch, length), right-padded, of one conversation per problem.

    A quarter of the batches opens with a demonstration in words, which a neutral instruction then follows: it makes
    few-shot prompting work and the mode, steps or direct, easy to move. Half of the conversations go on, after the
    last terminator, with one word that would open a response of the same mode: the terminator's state must then hold
    the mode, as it has to if contrasts are to be read at the final token of a response.
    """
    texts = []
    demonstrated = rng.random() < DEMONSTRATED
    for problem in batch:
        question = problems.IMAGE_QUESTION if pictured else problems.text_question(problem)
        if demonstrated:
            shown = problems.draw_problem(rng, world.held_out)
            exchanges = problems.draw_demonstrated(shown, problem, question, mix, rng)
        else:
            exchanges = [problems.draw_exchange(problem, question, mix, rng)]
        text = chat.conversation_text(world.tokenizer, exchanges)
        if rng.random() < REOPENED:
            text += " " + problems.draw_opener_like(exchanges[-1].response, rng)
        texts.append(text)
    return chat.encode(world.tokenizer, texts, "right")["input_ids"]


def response_loss(world: World, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of what the assistant says, terminators included; logits (batch, length, words)."""
    pad, eos, user, assistant = world.tokenizer.convert_tokens_to_ids(["<pad>", "<eos>", "user", "assistant"])
    # A response starts two tokens after "assistant" (its colon lies between) and includes its terminator.
    opened = (ids == assistant).long().cumsum(1).roll(2, dims=1)
    closed = (ids == eos).long().cumsum(1).roll(1, dims=1)
    reopening = (ids == eos).roll(1, dims=1) & (ids != pad) & (ids != user)
    said = (opened > closed) | reopening
    said[:, :2] = False  # what the rolls carried over from the row's end
    labels = ids.masked_fill(~said, -100)
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def train_text(world: World, model: PreTrainedModel, schedule: Schedule, mix: Mix, rng: np.random.Generator) -> None:
    """Train a text LM on questions in words."""

    def loss() -> torch.Tensor:
        ids = conversations(world, world.draw(rng), False, mix, rng)
        return response_loss(world, model(input_ids=ids).logits, ids)

    minimise(model, loss, schedule)


def train_tiles(world: World, model: PreTrainedModel, rng: np.random.Generator) -> None:
    """Train tower and projector alone: a projected patch must point to the embeddings of its digit and its letter.

    Without this stage the VLM never learns to read.
    """
    words = functional.normalize(model.get_input_embeddings().weight.detach(), dim=1) * TILE_SCALE
    digits = words[world.tokenizer.convert_tokens_to_ids([str(digit) for digit in range(10)])]
    letters = words[world.tokenizer.convert_tokens_to_ids(list(problems.LETTERS))]
    places = torch.arange(len(problems.LETTERS)).repeat(BATCH)

    def loss() -> torch.Tensor:
        batch = world.draw(rng)
        values = chat.pixels(world.processor, [problems.render(problem, rng) for problem in batch])
        patches = torch.stack(tuple(model.get_image_features(values, return_dict=True).pooler_output))
        patches = patches[:, : len(problems.LETTERS)].flatten(0, 1)
        shown = torch.tensor([digit for problem in batch for digit in problem.digits])
        digit_loss = functional.cross_entropy(patches @ digits.T, shown)
        return digit_loss + functional.cross_entropy(patches @ letters.T, places)

    language = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    for parameter in language:
        parameter.requires_grad_(False)
    minimise(model, loss, TILES)
    for parameter in language:
        parameter.requires_grad_(True)


def train_vlm(world: World, model: PreTrainedModel, rng: np.random.Generator) -> None:
    """Train everything on questions in pictures."""

    def loss() -> torch.Tensor:
        batch = world.draw(rng)
        values = chat.pixels(world.processor, [problems.render(problem, rng) for problem in batch])
        ids = conversations(world, batch, True, Mix(), rng)
        return response_loss(world, model(input_ids=ids, pixel_values=values).logits, ids)

    minimise(model, loss, VLM)


def build(world: World, name: str) -> PreTrainedModel:
    """Train, grow or drift one model of the world."""
    torch.manual_seed(world.seed(name))
    rng = np.random.default_rng(world.seed(name))
    if name == "base":
        model = models.build_lm(world.tokenizer, models.WIDTH)
        train_text(world, model, BASE, Mix(), rng)
    elif name == "vlm":
        model = models.build_vlm(AutoModelForCausalLM.from_pretrained(world.folder("base")), world.tokenizer)
        train_tiles(world, model, rng)
        train_vlm(world, model, rng)
    elif name == "vlm_drifted":
        generator = torch.Generator().manual_seed(world.seed(name))
        rotation = models.high_band_rotation(models.WIDTH, models.SHARED_BINS, generator)
        model = models.drift(AutoModelForImageTextToText.from_pretrained(world.folder("vlm")), rotation)
    elif name == "kin":
        base = AutoModelForCausalLM.from_pretrained(world.folder("base"))
        model = models.grow(base, models.WIDE, models.KIN_MLP)
        train_text(world, model, KIN, KIN_MIX, rng)
    else:
        width, layers = ODD[name] if world.odd else (models.WIDE, models.LAYERS)
        model = models.build_lm(world.tokenizer, width, layers)
        train_text(world, model, ODD_STRANGER if world.odd else STRANGER, Mix(), rng)
    return model


@torch.no_grad()
def accuracy(world: World, model: PreTrainedModel, split: splits.Split, pictured: bool, instruction: str) -> float:
    """Share of a split answered correctly by greedy decoding, in [0, 1]."""
    correct = 0
    for start in range(0, len(split.problems), 100):
        members = split.problems[start : start + 100]
        questions = [problems.IMAGE_QUESTION if pictured else problems.text_question(member) for member in members]
        texts = [chat.prompt_text(world.tokenizer, problems.instruct(question, instruction)) for question in questions]
        inputs = chat.encode(world.tokenizer, texts, "left")
        if pictured:
            inputs["pixel_values"] = chat.pixels(world.processor, list(split.pictures[start : start + 100]))
        written = model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
        responses = world.tokenizer.batch_decode(written, skip_special_tokens=True)
        answers = [member.answer for member in members]
        correct += sum(problems.read_answer(said) == answer for said, answer in zip(responses, answers, strict=True))
    return correct / len(split.problems)


def measure(world: World, name: str, model: PreTrainedModel) -> str:
    """One line of the table: accuracy on the test problems under a step, a direct and a neutral instruction."""
    split = splits.draw_splits()["test"]
    instructions = (problems.STEP_INSTRUCTIONS[0], problems.DIRECT_INSTRUCTIONS[0], problems.NEUTRAL_INSTRUCTIONS[1])
    figures = [accuracy(world, model, split, name in VISION, instruction) for instruction in instructions]
    medium = "pictures" if name in VISION else "words"
    return f"{name:12s} {medium:9s}" + "".join(f"{figure:8.3f}" for figure in figures)


def save(world: World, model: PreTrainedModel, name: str) -> None:
    """Write a Hugging Face folder: weights, configuration and a tokenizer or processor in its original state.

    The folder appears whole or not at all, so that one that is there is a finished model.
    """
    folder = world.folder(name)
    unfinished = folder.with_name(f".{name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    # A tokenizer that has padded a batch would write its last padding into the file.
    tokenizer = chat.build_tokenizer(pieces=world.odd)
    (chat.build_processor(tokenizer) if name in VISION else tokenizer).save_pretrained(unfinished)
    for file in unfinished.iterdir():
        file.chmod(0o644)  # the weights are written readable by their owner only
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _ordered(names: str | None, world: str) -> Iterator[str]:
    trained = tuple(ODD) if world == "odd" else NAMES
    asked = trained if names is None else names.split(",")
    unknown = sorted(set(asked) - set(trained))
    if unknown:
        raise SystemExit(f"--models: unknown {', '.join(unknown)}; choose from {', '.join(trained)}")
    return (name for name in trained if name in asked)


def main(arguments: list[str] | None = None) -> None:
    """Train the models asked for, write them and the data, and print what they can do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for checkpoints/ and, of the shipped world, data/")
    parser.add_argument("--world", default=WORLDS[0], choices=WORLDS, help="whose seeds; default: the shipped world's")
    parser.add_argument("--models", help="comma-separated names; default: all of the world")
    parser.add_argument("--missing", action="store_true", help="train only what is not finished in --out")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU; another number may round otherwise")
    options = parser.parse_args(arguments)
    names = list(_ordered(options.models, options.world))
    if options.world != WORLDS[0] and options.out == HERE:
        raise SystemExit(f"--world {options.world}: give it a folder, --out outputs/worlds/{options.world}")
    torch.set_num_threads(options.threads)

    tokenizer = chat.build_tokenizer(pieces=options.world == "odd")
    held_out = frozenset(problem.key for split in splits.draw_splits().values() for problem in split.problems)
    world = World(tokenizer, chat.build_processor(tokenizer), held_out, options.out, options.world)
    if options.world == WORLDS[0]:
        splits.write_splits(options.out / "data")
        splits.write_neutral(options.out / "texts")
    lines = [f"{'model':12s} {'asked in':9s}    step  direct neutral   (test problems, n = {splits.SIZES['test']})"]
    for name in names:
        if options.missing and world.folder(name).is_dir():
            print(f"{name}: finished before", flush=True)
            continue
        print(name, flush=True)
        start = time.perf_counter()
        model = build(world, name)
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
        save(world, model, name)
        lines.append(measure(world, name, model))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
