"""MMStar (Lin-Chen/MMStar, val 1500): questions, prompts and the official rule.

One row: {"index": 2, "question": "What seems to be the theme of the image?\\nOptions: A: Hanging Posters, B: Music, C: Home
decoration, D: Playing guitar", "image": …, "answer": "D", "category": "coarse perception",
"l2_category": "image scene and topic", "meta_info": …}
1154 rows list their options on one line as here (options may hold commas), 346 as lines "(A) …" (those taken from MathVista,
after its hint); one row has three.

Follows MMStar-Benchmark/MMStar, eval/vlmeval/evaluate/mmstar.py. Its prompts (eval/vlmeval/utils/dataset.py, and one per model
in eval/vlmeval/vlm/) show the question as it is, options inline, mostly without any instruction: that is `raw` here.
"""

from __future__ import annotations

import re
from typing import Any

from l2v.benchmarks.base import CHOICE, Answer, Benchmark, Question, Verdict
from l2v.errors import unknown

INSTRUCTIONS = {
    "direct": "\nAnswer with the option's letter from the given choices directly.",
    "cot": '\nReason step by step first, then finish with "The answer is X.", where X is the option\'s letter.',
    "raw": "",
}

_PERCEPTION = ("coarse perception", "fine-grained perception")
_REASONING = ("instance reasoning", "logical reasoning", "science & technology", "math")

_HINT = re.compile(r"\AHint: [^\n]*\nQuestion: ")
_LINE_OPTIONS = re.compile(r"\n(?:Choices:[ \t]*\n)?(?=\(A\))")
_INLINE_OPTIONS = re.compile(r"\s*\bOptions:\s*(?=A:)")


def _split(text: str, opener: re.Pattern[str], mark: str) -> tuple[str, tuple[str, ...]] | None:
    """The text before the last opener and the options behind it, which the letters' marks part in order; else None."""
    found = list(opener.finditer(text))
    if not found:
        return None
    listed = text[found[-1].end() :]
    options: list[str] = []
    rest = listed
    for letter in "ABCDEFGH":
        at = re.search(mark.replace("{letter}", letter), rest)
        if at is None:
            break
        options.append(rest[: at.start()])
        rest = rest[at.end() :]
    return text[: found[-1].start()], tuple(option.strip() for option in [*options[1:], rest])


def _opening(predicted: str) -> tuple[str, str]:
    """The rule that reads the response's opening, and the character it reads ("" when the response ends before)."""
    for rule, opener in (("bracketed_letter", "("), ("option_letter", "option "), ("the_answer_is", "the answer is ")):
        if predicted.startswith(opener):
            return rule, predicted[len(opener) : len(opener) + 1]
    return "first_letter", predicted[:1]


def _snake(words: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", words.lower().replace("&", " and ")))


class MMStar(Benchmark):
    TITLE = "MMStar"
    ID = "Lin-Chen/MMStar"
    REVISION = "bc98d668301da7b14f648724866e57302778ab27"
    CONFIG = "val"
    SPLIT = "val"
    STYLES = tuple(INSTRUCTIONS)
    TEXTS = ("question", "l2_category")
    WORDS = {"category": (*_PERCEPTION, *_REASONING)}

    def item_id(self, doc: dict[str, Any]) -> str:
        return str(doc["index"])

    def question(self, doc: dict[str, Any]) -> Question:
        """The row as scorers see it: options are read out of the text, () where it lists none."""
        text = str(doc["question"])
        text, options = (
            _split(text, _LINE_OPTIONS, r"(?:\A|\n)\({letter}\)[ \t]?")
            or _split(text, _INLINE_OPTIONS, r"(?:\A|,\s*){letter}:(?=\s|\Z)")
            or (text, ())
        )
        return Question(_HINT.sub("", text).strip(), CHOICE, self.gold(doc).strip().upper(), options)

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """`<image>`, the question with its options, and the style's instruction. Raises UserError for an unknown style."""
        if style not in INSTRUCTIONS:
            raise unknown("prompt style", style, INSTRUCTIONS)
        return "<image>" + str(doc["question"]).strip() + INSTRUCTIONS[style]

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """accuracy; perception or reasoning; the capability (six, 250 items each); the axis (eighteen).

        With all 1500 items accuracy is (perception + 2 reasoning) / 3, the paper's average.
        """
        category, axis = str(doc["category"]), str(doc["l2_category"])
        half = "perception" if category in _PERCEPTION else "reasoning"
        return ("accuracy", half, f"category/{_snake(category)}", f"axis/{_snake(axis)}")

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """The released rule: the lower-case response begins with the gold letter, "(x", "option x" or "the answer is x".

        Any word that begins with the letter will do ("A dog" is A, "Based on" is B), and reasoning before an answer is wrong;
        the rule never abstains. An extraction that `answer` brings is judged in place of the response.
        """
        said = answer.text if answer.extraction is None else answer.extraction
        predicted = (said or "").lower().strip().replace("\n", " ")
        rule, letter = _opening(predicted)
        right = self.gold(doc).lower().strip()
        if not letter or letter not in "abcdefgh":
            return Verdict(False, None, "no_letter", "the response does not open with an option's letter")
        return Verdict(letter == right, letter.upper(), rule, f"read {letter.upper()}, gold {right.upper()}")


BENCHMARK = MMStar()
# The task file names the benchmark's functions as this module's.
__getattr__ = BENCHMARK.__getattribute__
