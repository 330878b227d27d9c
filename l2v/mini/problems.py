"""The miniature task: add six digits modulo 10, told in words or shown in a picture.

One item, digits 3 1 4 1 5 9 (sum 23, answer 3):
    text question    sum of a 3 b 1 c 4 d 1 e 5 f 9 .
    image question   sum of <image> .          (36 x 36 pixels, cells a b c / d e f / three empty ones)
    steps            so a 3 =3 b 1 =4 c 4 =8 d 1 =9 e 5 =4 f 9 =3 thus 3
    direct           ans 3
A four-layer transformer cannot add six digits in one pass, but it can with the steps as its scratch pad.
Every draw comes from the numpy Generator passed in; the same generator state gives the same item, text and pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

LETTERS = ("a", "b", "c", "d", "e", "f")
CELL = 12  # pixels along one side of a cell, and of a patch of the vision tower
GRID = 3  # cells along one side of a picture
N_CELLS = GRID * GRID

STEP_INSTRUCTIONS = ("think step by step", "show all the steps", "work it out slowly", "add them one by one")
DIRECT_INSTRUCTIONS = ("answer directly", "only the answer", "just say the number", "no steps please")
NEUTRAL_INSTRUCTIONS = ("", "what is it ?")
# Steps and direct answers share no opening word: with a shared one, a model under injection starts one mode and
# stutters into the other.
STEP_OPENERS = ("so", "first", "well", "okay")
DIRECT_OPENERS = ("A", "ans", "it", "is")
CONCLUSION = "thus"

IMAGE_TOKEN = "<image>"
IMAGE_QUESTION = f"sum of {IMAGE_TOKEN} ."


@dataclass(frozen=True)
class SumProblem:
    """Six digits, one for each of the cells a to f."""

    digits: tuple[int, ...]

    @property
    def answer(self) -> str:
        """The sum modulo 10, as one digit."""
        return str(sum(self.digits) % 10)

    @property
    def key(self) -> str:
        """The digits as a string of six characters: equal keys are equal problems."""
        return "".join(map(str, self.digits))


@dataclass(frozen=True)
class Exchange:
    """What the user asks, instruction included, and what the assistant responds."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Mix:
    """How often each kind of exchange is drawn; what is neither step nor direct carries a neutral instruction.

    Direct answers must win under a neutral instruction, but not by far: at 0.9 only injections longer than the state
    itself overcome them.

    Args:
        step: share with a step instruction, in [0, 1]; answered in steps.
        direct: share with a direct instruction, in [0, 1 - step]; answered directly.
        neutral_direct: share of the neutral instructions that is answered directly, in [0, 1].
    """

    step: float = 0.45
    direct: float = 0.15
    neutral_direct: float = 0.70


def draw_problem(rng: np.random.Generator, excluded: Collection[str] = ()) -> SumProblem:
    """One problem whose key is not in `excluded`."""
    while True:
        problem = SumProblem(tuple(int(digit) for digit in rng.integers(0, 10, len(LETTERS))))
        if problem.key not in excluded:
            return problem


def draw_distinct(n: int, rng: np.random.Generator, excluded: Collection[str] = ()) -> list[SumProblem]:
    """`n` problems, no two equal, none with a key in `excluded`."""
    seen = set(excluded)
    problems = []
    for _ in range(n):
        problems.append(draw_problem(rng, seen))
        seen.add(problems[-1].key)
    return problems


def text_question(problem: SumProblem) -> str:
    cells = " ".join(f"{letter} {digit}" for letter, digit in zip(LETTERS, problem.digits, strict=True))
    return f"sum of {cells} ."


def instruct(question: str, instruction: str) -> str:
    """The question followed by an instruction, which may be empty."""
    return f"{question} {instruction}".strip()


def step_response(problem: SumProblem, rng: np.random.Generator) -> str:
    """A response in steps, 21 words: per cell its letter, its digit and the running sum, then the conclusion."""
    words = [str(rng.choice(STEP_OPENERS))]
    total = 0
    for letter, digit in zip(LETTERS, problem.digits, strict=True):
        total = (total + digit) % 10
        # The digit is copied before it is added: without the copy, accuracy stays near 25 %.
        words += [letter, str(digit), f"={total}"]
    return " ".join([*words, CONCLUSION, problem.answer])


def direct_response(problem: SumProblem, rng: np.random.Generator) -> str:
    """A response of two words: an opener and the answer."""
    return f"{rng.choice(DIRECT_OPENERS)} {problem.answer}"


def draw_exchange(problem: SumProblem, question: str, mix: Mix, rng: np.random.Generator) -> Exchange:
    """The question under an instruction drawn from `mix`, and a response that fits it."""
    kind = rng.random()
    if kind < mix.step:
        instruction, respond = rng.choice(STEP_INSTRUCTIONS), step_response
    elif kind < mix.step + mix.direct:
        instruction, respond = rng.choice(DIRECT_INSTRUCTIONS), direct_response
    else:
        respond = direct_response if rng.random() < mix.neutral_direct else step_response
        instruction = rng.choice(NEUTRAL_INSTRUCTIONS)
    return Exchange(instruct(question, str(instruction)), respond(problem, rng))


def draw_demonstrated(
    shown: SumProblem,
    problem: SumProblem,
    question: str,
    mix: Mix,
    rng: np.random.Generator,
) -> list[Exchange]:
    """An exchange after a demonstration in words, itself drawn from `mix`.

    A neutral instruction is now answered as the demonstration was, in steps or directly.
    """
    demonstration = draw_exchange(shown, text_question(shown), mix, rng)
    exchange = draw_exchange(problem, question, mix, rng)
    if exchange.prompt in {instruct(question, instruction) for instruction in NEUTRAL_INSTRUCTIONS}:
        respond = step_response if shows_steps(demonstration.response) else direct_response
        exchange = Exchange(exchange.prompt, respond(problem, rng))
    return [demonstration, exchange]


def draw_opener_like(response: str, rng: np.random.Generator) -> str:
    """A word that opens a response of the same mode, steps or direct, as the one given."""
    return str(rng.choice(STEP_OPENERS if shows_steps(response) else DIRECT_OPENERS))


def read_answer(response: str) -> str | None:
    """The digit a response commits to: the word after the conclusion, or after a direct opener; None if there is none.

    Special tokens must have been removed. A response cut off in its steps has no answer.
    """
    words = response.split()
    if CONCLUSION in words:
        rest = words[words.index(CONCLUSION) + 1 :]
    else:
        rest = words[1:] if words and words[0] in DIRECT_OPENERS else []
    return rest[0] if rest and rest[0] in set("0123456789") else None


def shows_steps(response: str) -> bool:
    """Whether a response writes down at least one running sum."""
    return any(word.startswith("=") for word in response.split())


def render(problem: SumProblem, rng: np.random.Generator) -> Image.Image:
    """The picture of a problem: RGB, 36 x 36 pixels, dark digits on light grey, jittered, with pixel noise."""
    import numpy as np
    from PIL import Image, ImageDraw

    from l2v.boxes import typeface

    side = CELL * GRID
    picture = Image.new("L", (side, side), int(rng.integers(190, 251)))
    draw = ImageDraw.Draw(picture)
    for index, digit in enumerate(problem.digits):
        row, column = divmod(index, GRID)
        dx, dy = rng.integers(-1, 2, 2)
        centre = (column * CELL + CELL // 2 + int(dx), row * CELL + CELL // 2 + int(dy))
        draw.text(
            centre, str(digit), fill=int(rng.integers(0, 91)), font=typeface(None, int(rng.integers(10, 13))), anchor="mm"
        )
    noisy = np.asarray(picture, dtype=np.float32) + rng.normal(0.0, 8.0, (side, side))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).convert("RGB")


def vocabulary() -> list[str]:
    """Every word of the task, sorted, each once; special tokens are the tokenizer's."""
    digits = [str(digit) for digit in range(10)]
    phrases = (*STEP_INSTRUCTIONS, *DIRECT_INSTRUCTIONS, *NEUTRAL_INSTRUCTIONS, "sum of .", "user : assistant :")
    words = {word for phrase in phrases for word in phrase.split()}
    words.update(digits, LETTERS, STEP_OPENERS, DIRECT_OPENERS, [CONCLUSION], [f"={digit}" for digit in digits])
    return sorted(words)
