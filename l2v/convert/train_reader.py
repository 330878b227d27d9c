"""Train the reader's tower and projector, and tell what it reads; minutes on one core, no pass through the language model.

    python -m l2v.convert.train_reader                      # after `l2v convert model=smollm2`; writes reader.safetensors here
    python -m l2v.convert.train_reader --measure            # what the shipped reader reads in faces that it was not trained in

Pieces: digits, signs, letters and the word pieces that the tokenizer learnt first; of tokens that look alike the first learnt
(" the", not "the"). A box without ink is the token of a blank. Every box must lie nearest to its token's embedding.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from l2v.boxes import BOXES, SIDE, draw_boxes
from l2v.convert.reader import PARTS, WEIGHTS, assemble, shipped
from l2v.mini.train import Schedule, minimise

FACES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono", "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic", "STIXGeneral",
    "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmr10", "cmb10", "cmti10",
)  # fmt: skip
HELD_OUT = (None, "cmss10", "cmtt10")  # Pillow's own and two of Computer Modern's families
SIGNS = "+-=*/%?!.,:()"
PIECES = 200
LINES = 48
FIRST = 300  # lines whose boxes give the first weights
SHARE = 0.4  # of the boxes with a digit or a sign
BLANK, EMPTY = "Ġ", 0.2  # the tokenizer's letter for a blank, and the share of empty boxes within a line
TEMPERATURE = 10.0  # logits: minus the squared distance, in mean squared norms of embeddings, times this


def vocabulary(tokenizer: Any, most: int = PIECES) -> dict[str, int]:
    """The reader's pieces and their tokens: what is seen to the id it stands for; the blank is ""."""
    ids = sorted((id, token) for token, id in tokenizer.get_vocab().items())
    found: dict[str, int] = {"": tokenizer.convert_tokens_to_ids(BLANK)}
    signs, seen = set("0123456789" + SIGNS), set()
    for id, token in ids:
        piece = token.removeprefix(BLANK)
        letters = piece.isascii() and piece.isalpha() and len(piece) <= 5
        if piece.lower() in seen or not (piece in signs or (letters and (len(piece) > 1 or piece.islower()))):
            continue
        seen.add(piece.lower())
        found[piece] = id
        if len(found) == most:
            break
    return found


def face_files(names: Sequence[str | None]) -> list[str | None]:
    """The files of typefaces that matplotlib brings; None is Pillow's own."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [None if name is None else str(folder / f"{name}.ttf") for name in names]


def draw_line(pieces: Sequence[str], rng: np.random.Generator) -> list[str]:
    """A line of at most BOXES pieces, some of them empty, digits and signs more often than words."""
    signs = [piece for piece in pieces if len(piece) == 1 and not piece.isalpha()]
    chosen = []
    for _ in range(int(rng.integers(4, BOXES + 1))):
        kind = rng.random()
        words = signs if kind < SHARE else pieces
        chosen.append("" if kind > 1 - EMPTY else words[int(rng.integers(len(words)))])
    return chosen + [""] * (BOXES - len(chosen))


def read(processor: Any, model: Any, pictures: list[Image.Image]) -> Tensor:
    """What tower and projector give: (pictures, boxes, width)."""
    values = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    return torch.stack(tuple(model.get_image_features(values, return_dict=True).pooler_output))


def train(processor: Any, model: Any, steps: int, seed: int = 0) -> None:
    """Tower and projector, in place; the language model's embeddings are only looked up."""
    pieces = vocabulary(processor.tokenizer)
    names, faces = list(pieces), face_files(FACES)
    table = model.get_input_embeddings().weight.detach()[list(pieces.values())].float()
    scale = table.square().sum(1).mean()
    rng = np.random.default_rng(seed)
    places = {name: place for place, name in enumerate(names)}

    def draw(count: int) -> tuple[list[list[str]], list[Image.Image]]:
        lines = [draw_line(names, rng) for _ in range(count)]
        return lines, [draw_boxes(line, rng, faces[int(rng.integers(len(faces)))]) for line in lines]

    def loss() -> Tensor:
        lines, pictures = draw(LINES)
        given = read(processor, model, pictures).flatten(0, 1)
        wanted = torch.tensor([places[piece] for line in lines for piece in line])
        distance = torch.cdist(given, table).square() / scale
        return functional.cross_entropy(-TEMPERATURE * distance, wanted) + distance[range(len(wanted)), wanted].mean()

    whiten(processor, model, draw(FIRST)[1])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(PARTS) and "pooler" not in name)
    minimise(model, loss, Schedule(steps, 2e-3))


@torch.no_grad()
def whiten(processor: Any, model: Any, pictures: list[Image.Image]) -> None:
    """Begin with the boxes' principal components, each of unit variance: from random weights it learns several times slower."""
    values = processor.image_processor(pictures, return_tensors="pt")["pixel_values"][:, 0]
    boxes = values.unfold(2, SIDE, SIDE).permute(0, 2, 1, 3).reshape(-1, SIDE * SIDE)
    first = model.model.vision_tower.embeddings.patch_embeddings.projection
    spread, axes = torch.linalg.eigh(torch.cov(boxes.T))
    kept = axes[:, -first.out_channels :] / spread[-first.out_channels :].sqrt()
    first.weight.copy_((kept.T / first.in_channels).view(-1, 1, SIDE, SIDE).expand_as(first.weight))
    first.bias.copy_(-boxes.mean(0) @ kept)


@torch.no_grad()
def measure(processor: Any, model: Any, lines: int = 100, seed: int = 1) -> None:
    """Print the share of boxes and lines read right in each held-out face: nearest of the whole embedding table."""
    pieces = vocabulary(processor.tokenizer)
    table = model.get_input_embeddings().weight.detach().float()
    rng = np.random.default_rng(seed)
    for name, face in zip(HELD_OUT, face_files(HELD_OUT), strict=True):
        drawn = [draw_line(list(pieces), rng) for _ in range(lines)]
        given = read(processor, model, [draw_boxes(line, rng, face) for line in drawn])
        nearest = torch.cdist(given.flatten(0, 1), table).argmin(1).view(lines, BOXES)
        right = nearest == torch.tensor([[pieces[piece] for piece in line] for line in drawn])
        inked = torch.tensor([[bool(piece) for piece in line] for line in drawn])
        signs = torch.tensor([[bool(piece) and not piece.isalpha() for piece in line] for line in drawn])
        kinds = {"boxes with ink": inked, "digits and signs": signs, "words and letters": inked & ~signs, "empty": ~inked}
        told = [f"{what} {int(right[of].sum())} of {int(of.sum())}" for what, of in kinds.items()]
        print(f"{name or 'Pillow'}: {', '.join(told)}, whole lines {int(right.all(1).sum())} of {lines}", flush=True)


def main() -> None:
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--language", default="outputs/checkpoints/smollm2", help="folder of the language model")
    words.add_argument("--out", type=Path, default=WEIGHTS)
    words.add_argument("--steps", type=int, default=1500)
    words.add_argument("--measure", action="store_true")
    chosen = words.parse_args()
    if not Path(chosen.language).is_dir():
        words.error(f"--language {chosen.language} does not exist; `l2v convert model=smollm2` makes it")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(chosen.language)
    language = AutoModelForCausalLM.from_pretrained(chosen.language, dtype=torch.float32)
    processor, model = assemble(tokenizer, language, shipped() if chosen.measure else None)
    if not chosen.measure:
        train(processor, model, chosen.steps)
        trained = {name: value.half().contiguous() for name, value in model.state_dict().items() if name.startswith(PARTS)}
        save_file(trained, chosen.out, metadata={"format": "pt"})
    measure(processor, model)


if __name__ == "__main__":
    main()
