"""DynaMath (DynaMath/DynaMath_Sample): 501 seed questions in ten variants each; average and worst-case accuracy.

One row of the hub's splits sample_variant1 … sample_variant10: {"id": "5", "question": "Is Dark Magenta greater than Rosy
Brown? Choices: (A) yes (B) no", "ground_truth": "B", "answer_type": "multiple choice", "subject": "statistics",
"knowledge_level": "elementary school", "image": …, "decoded_image": …}; loading adds "variant".
The repository's dataset/dataset.json (the seeds, by id) names the same fields answer and level.

Follows DynaMath/DynaMath, evaluation/opensource_json_eval.py: its prompt, its reading of the JSON that the prompt asks for
(where there is none, the last line without its last character), its comparison. No LLM takes part, so it never abstains. The
scripts for commercial models differ: theirs leave answers without JSON to a person, and one allows 0.05 in place of 0.001.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, TEXT, Answer, Benchmark, Question, Verdict
from l2v.benchmarks.data import SUFFIXES, load_rows
from l2v.benchmarks.metrics import all_right as worst_case  # noqa: F401  (of the task file)
from l2v.errors import UserError, unknown

ID = "DynaMath/DynaMath_Sample"
VARIANTS = range(1, 11)
TOLERANCE = 0.001

# The repository's wording to the letter, slips and spaces before line ends included. cot demands the steps that it allows.
_ALLOWED, _DEMANDED = (
    "can contain \ndetailed steps",
    "must contain, step by step and before anything else, the \ndetailed steps",
)
_GUIDE = (
    "\n## Answer Instruction Please provide an answer to the question outlined above. Your response should adhere \n"
    "to the following JSON format, which includes two keys: 'solution' and 'short answer'. The 'solution' key can contain \n"
    "detailed steps needed to solve the question, and the 'short answer' key should provide a concise response. If the problem "
    "is a multiple choice problem, just provide the corresponing choice option, \n"
    "such as 'A', 'B', 'C', or 'D'. If the answer is a numerical value, format it as a three-digit floating-point number.\n"
    "\nExample of expected JSON response format:\n\n"
    '{\n    "solution": "[Detailed step-by-step explanation]",\n    "short answer": "[Concise Answer]"\n}'
)
_GUIDES = {"direct": _GUIDE, "cot": _GUIDE.replace(_ALLOWED, _DEMANDED)}

SUBJECTS = (
    "algebra",
    "analytic_geometry",
    "arithmetic",
    "graph_theory",
    "plane_geometry",
    "puzzle_test",
    "scientific_figure",
    "solid_geometry",
    "statistics",
)
LEVELS = ("elementary_school", "high_school", "undergraduate")
# The paper prints the worst case of every subject and level too.
ALL_RIGHT = {"worst_case": "accuracy"} | {
    f"worst_case/{part}": part for part in (*(f"subject/{s}" for s in SUBJECTS), *(f"level/{v}" for v in LEVELS))
}


def _wanted(split: str) -> list[int]:
    splits = {"all": list(VARIANTS)} | {f"sample_variant{n}": [n] for n in VARIANTS}
    if split not in splits:
        raise unknown("split", split, splits)
    return splits[split]


def _single_file(path: str | None) -> Path | None:
    """The one file that holds everything, None where each variant has its own."""
    if path is None or Path(path).is_file():
        return None if path is None else Path(path)
    files = [Path(path) / f"{stem}{suffix}" for stem in ("all", "dataset") for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), None)


def _numbered(rows: Any, variant: int) -> Any:
    return rows if "variant" in rows.column_names else rows.add_column("variant", [variant] * len(rows))


# The options' marks, in three formats: "… choice: (A) yes (B) no", and lines "A. …" or "A: …".
_FORMATS = (
    re.compile(r"(?:\bchoices?:)?\s*\(([A-H])\)\s*", re.IGNORECASE),
    re.compile(r"\n([A-H])[.:]\s*"),
)


def _split(text: str) -> tuple[str, tuple[str, ...]]:
    """The question and its options: what stands behind the marks A, B, … in their order."""
    for form in _FORMATS:
        marks: list[re.Match[str]] = []
        for mark in form.finditer(text):
            if mark.group(1) == "ABCDEFGH"[len(marks) : len(marks) + 1]:
                marks.append(mark)
        if len(marks) > 1:
            ends = [*(mark.start() for mark in marks[1:]), len(text)]
            options = tuple(text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))
            return text[: marks[0].start()].strip(), options
    return text.strip(), ()


def _short_answer(response: str) -> str | None:
    """The "short answer" of the response's JSON, as text; without JSON its last line less the last character.

    None where the JSON is no object. As released, backslashes are dropped from the JSON (LaTeX would break it), and an object
    without the key answers "None".
    """
    start, end = response.find("{"), response.rfind("}")
    text = response[start : end + 1].replace("\\", "") if 0 <= start < end else response
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text.split("\n")[-1][:-1]
    return str(found.get("short answer")) if isinstance(found, dict) else None


def _near(said: str, right: str) -> bool:
    try:
        if not said.isdigit():
            word = said.split(" ")[0]
            number = float(word.split("π")[0]) * math.pi if "π" in word else float(word)
        else:
            number = float(said)
        return abs(number - float(right)) <= TOLERANCE
    except (ValueError, OverflowError):
        return False


def _snake(words: str) -> str:
    return "_".join(words.split())


class DynaMath(Benchmark):
    TITLE = "DynaMath"
    ID = ID
    ALL_RIGHT = ALL_RIGHT
    TEXTS = ("question",)
    WORDS = {"answer_type": ("float", "multiple choice", "text", "int", "single answer")}

    def load(
        self,
        split: str = "all",
        id: str = ID,
        revision: str | None = None,
        path: str | None = None,
        name: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """The rows under "test", the split that the lm-eval task evaluates: all ten variants, or one (`sample_variant3`).

        All variants of a problem stand together, so that the first items are whole problems. `path` is a folder with
        sample_variant1 … 10, a folder with one file `all` or `dataset`, or such a file; rows without "variant" are variant 1.
        Raises UserError for an unknown split, a missing variant, or variants that differ in their columns.
        """
        import datasets

        wanted = _wanted(split)
        single = _single_file(path)
        if single is None:
            parts = [_numbered(load_rows(id, f"sample_variant{n}", revision, path, name), n) for n in wanted]
        else:
            rows = _numbered(load_rows(id, split, revision, str(single), name), 1)
            parts = [rows.select([i for i, n in enumerate(rows["variant"]) if int(n) in wanted])]
        try:
            rows = datasets.concatenate_datasets(parts)
        except ValueError as error:
            raise UserError(f"The variants of DynaMath in {path or id} cannot be put together: {error}") from error
        if not len(rows):
            raise UserError(f"The benchmark {path} has no items in split '{split}'; set benchmark.split=….")
        first: dict[str, int] = {}
        for seed in rows["id"]:
            first.setdefault(str(seed), len(first))
        place = [(first[str(seed)], int(n)) for seed, n in zip(rows["id"], rows["variant"], strict=True)]
        return {"test": rows.select(sorted(range(len(rows)), key=place.__getitem__))}

    def item_id(self, doc: dict[str, Any]) -> str:
        """<id>-v<variant>; the id alone in rows that name no variant."""
        return self.problem(doc) if doc.get("variant") is None else f"{self.problem(doc)}-v{int(doc['variant'])}"

    def problem(self, doc: dict[str, Any]) -> str:
        """The seed question that the row is a variant of."""
        return str(doc["id"])

    def gold(self, doc: dict[str, Any]) -> str:
        """The annotated answer; for multiple choice its letter."""
        return str(doc["ground_truth"] if "ground_truth" in doc else doc["answer"])

    def question(self, doc: dict[str, Any]) -> Question:
        """The row as scorers see it; options are read out of the text, () where it lists none."""
        text, kind = str(doc["question"]), doc["answer_type"]
        if kind == "multiple choice":
            text, options = _split(text)
            return Question(text, CHOICE, self.gold(doc), options)
        if kind == "text":
            return Question(text.strip(), TEXT, self.gold(doc))
        # The types "int" and "single answer" hold whole numbers, and floats with rounding noise.
        if kind != "float" and re.fullmatch(r"-?\d+", self.gold(doc)):
            return Question(text.strip(), INTEGER, self.gold(doc))
        return Question(text.strip(), FLOAT, self.gold(doc), tolerance=TOLERANCE)

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """`<image>` and the question in one of STYLES.

        direct: the released prompt, which asks for JSON with a solution and a short answer and leaves the solution's steps to
        the model. cot: the same with the steps demanded. raw: the question alone. Raises UserError for another style.
        """
        if style not in self.STYLES:
            raise unknown("prompt style", style, self.STYLES)
        if style == "raw":
            return f"<image>{doc['question']}"
        number = "Please answer in a floating-point number." if doc["answer_type"] == "float" else ""
        return f"<image>## Question\n{doc['question']}{number}{_GUIDES[style]}"

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """accuracy, the average over all variants; the subject (nine); the level (three)."""
        level = doc["knowledge_level"] if "knowledge_level" in doc else doc["level"]
        return ("accuracy", f"subject/{_snake(doc['subject'])}", f"level/{_snake(level)}")

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """The released rule on the short answer, or on the extraction that `answer` brings.

        float: its first word, "π" a factor, within 0.001 of the gold. Multiple choice: the letter, or the gold letter among the
        first three characters. Other types: it contains the gold text.
        """
        said = _short_answer(answer.text or "") if answer.extraction is None else answer.extraction
        if said is None:
            return Verdict(False, None, "json_without_answer", "the response is JSON, but no object with keys")
        kind, right = doc["answer_type"], self.gold(doc)
        if kind == "float":
            correct, rule = _near(said, right), "within_0.001"
        elif kind == "multiple choice":
            correct, rule = (said == right, "letter") if len(said) == 1 else (right in said[:3], "letter_in_first_three")
        else:
            correct, rule = right in said, "contains_gold"
        shown = said if len(said) <= 60 else f"{said[:57]}…"
        return Verdict(correct, said or None, rule, f"short answer '{shown}', gold '{right}'")


BENCHMARK = DynaMath()
# The task file names the benchmark's functions as this module's.
__getattr__ = BENCHMARK.__getattribute__
