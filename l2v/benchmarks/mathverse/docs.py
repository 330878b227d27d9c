r"""MathVerse (AI4Math/MathVerse, testmini 3940 = 788 problems x 5 versions; testmini_text_only 788): prompts and rules.

One row: {"sample_index": "3424", "problem_index": "685", "problem_version": "Vision Dominant", "question": "Find L.",
"image": …, "answer": "14", "question_type": "free-form", "metadata": {"subject": "Solid Geometry", "subfield": "Length",
"source": "Geo3D_collected", "split": "testmini"}, "query_wo": "Please directly answer …", "query_cot": "Please first conduct
reasoning …", "question_for_eval": "A soft drink can has a height of 13 cm …"}
`question` is empty for Vision Only, whose picture holds it; scorers read `question_for_eval`. The released file of 726 samples
(121 problems in six versions) has older fields (pid, choices, metadata.problem_version); they are read, too.

Follows ZrrSkywalker/MathVerse: evaluation/extract_answer_s1.py, score_answer_s2.py and prompts.py. Both steps ask an LLM;
`official` decides what their rules decide without one.
"""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, TEXT, Answer, Benchmark, Question, Verdict
from l2v.benchmarks.data import load_rows, read_image
from l2v.benchmarks.metrics import mean_of_means as mean_of_versions  # noqa: F401  (of the task file)
from l2v.errors import unknown

ID = "AI4Math/MathVerse"
VERSIONS = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
TEXT_ONLY = "Text Only"

# The official sentences (query_wo, query_cot), for rows that hold no query of their own.
_TASKS = {
    "direct": "{please} directly answer the question and provide the {wanted}.",
    "cot": "{please} first conduct reasoning, and then answer the question and provide the {wanted}, at the end.",
}
_WANTED = {"multi-choice": "correct option letter, e.g., A, B, C, D", "free-form": "final value, e.g., 1, 2.5, 300"}
_QUERIES = {"direct": "query_wo", "cot": "query_cot"}
# The 726 samples: 121 problems by four versions in turn, then all of Vision Dominant and all of Vision Only in that order.
_SAMPLE_PROBLEMS, _IN_TURN = 121, 4

_CHOICES = re.compile(r"(?:^|\n)Choices?:\s*\n")
_LABEL = re.compile(r"(?:^|\n)([A-Z])[:.]")
_GOLD_LETTER = re.compile(r"\(?([A-Z])\)?[.:]?")
_LABELLED_GOLD = re.compile(r"\(?([A-Z])(?:\)|[.:])\s*(.+)", re.DOTALL)
_PLACES = re.compile(r"\b(one|two|three|four|[1-4]) decimal places?\b")
# What mended mojibake may hold; Chinese text whose bytes happen to be UTF-8 as well does not.
_SIGNS = frozenset("°²³±×÷·√π−′″≤≥≠≈∞∠△⊥∥αβγθφ")
_PLACE_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


MEANS = {"accuracy": tuple(f"version/{_slug(version)}" for version in VERSIONS)}


def _current(doc: dict[str, Any]) -> dict[str, Any]:
    """The row in the current fields; a row in the older ones is translated."""
    if "problem_version" in doc:
        return doc
    meta = doc["metadata"]
    place, version = int(doc["pid"]) - 1, meta["problem_version"]
    in_turn = _IN_TURN * _SAMPLE_PROBLEMS
    index = place // _IN_TURN if place < in_turn else (place - in_turn) % _SAMPLE_PROBLEMS
    text = doc["question"]
    if text and doc.get("choices"):
        text = "\n".join([text.rstrip("\n"), "Choices:", *doc["choices"]])
    return {
        "sample_index": doc["pid"],
        "problem_index": str(index + 1),
        "problem_version": version,
        "question": text,
        "image": doc.get("image"),
        "answer": doc["answer"],
        "question_type": doc["question_type"].replace("multi_choice", "multi-choice").replace("free_form", "free-form"),
        # "Plane-G Angle", "Functions Property": the subfield without its subject.
        "metadata": {"subject": meta["subjects"], "subfield": meta["subfields"].split(" ", 1)[-1]},
        "choices": doc.get("choices"),
    }


def _after_choices(text: str) -> str:
    marker = _CHOICES.search(text)
    return text[marker.end() :] if marker else ""


def _options(listed: str) -> tuple[str, ...]:
    """The texts after "A:" or "A.", "B:" … at line starts, as far as the letters follow each other; "" where none is given."""
    labels: list[re.Match[str]] = []
    for label in _LABEL.finditer(listed):
        if label.group(1) == chr(ord("A") + len(labels)):
            labels.append(label)
    ends = [label.start() for label in labels[1:]] + [len(listed)]
    return tuple(listed[label.end() : end].strip() for label, end in zip(labels, ends, strict=False))


def _gold_letter(answer: str, options: tuple[str, ...]) -> str | None:
    """The letter that a gold names: "B", "(B)", "B. text", or the text of exactly one option."""
    named = _GOLD_LETTER.fullmatch(answer)
    if named is None and (labelled := _LABELLED_GOLD.fullmatch(answer)) and _bare(labelled.group(2)) in map(_bare, options):
        named = labelled
    if named:
        return named.group(1)
    places = [place for place, option in enumerate(options) if option and _bare(option) == _bare(answer)]
    return chr(ord("A") + places[0]) if len(places) == 1 else None


def _bare(text: str) -> str:
    """Without blanks and dollar signs, and degrees in one spelling: "090$^{\\circ}$ T" is "090^\\circ T"."""
    return re.sub(r"[\s$]", "", text).replace("^{\\circ}", "^\\circ").replace("°", "^\\circ")


def _decimals(text: str) -> int | None:
    found = _PLACES.findall(text)
    return _PLACE_WORDS.get(found[-1]) or int(found[-1]) if found else None


def mend_mojibake(text: str) -> str:
    """`text` with runs mended whose UTF-8 bytes were read as GBK ("118掳T" is "118°T"); other text stays as it is."""
    return re.sub(r"[^\x00-\x7f]+", _mend_run, text)


def _mend_run(run: re.Match[str]) -> str:
    try:
        mended = run.group().encode("gbk").decode("utf-8")
    except UnicodeError:
        return run.group()
    return mended if _SIGNS.issuperset(mended) else run.group()


def _query(row: dict[str, Any], style: str) -> str:
    inside = not row["question"]
    please = "According to the question shown in the image, please" if inside else "Please"
    task = _TASKS[style].format(please=please, wanted=_WANTED[row["question_type"]])
    return task if inside else f"{task}\nQuestion: {row['question']}"


class MathVerse(Benchmark):
    TITLE = "MathVerse"
    ID = ID
    MEANS = MEANS
    TEXTS = ("question",)
    WORDS = {"question_type": tuple(_WANTED), "problem_version": (*VERSIONS, TEXT_ONLY)}
    LISTS = ("choices",)

    def load(
        self,
        split: str = "testmini",
        id: str = ID,
        revision: str | None = None,
        path: str | None = None,
        name: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """The rows of one split, under "test", the split that the lm-eval task evaluates.

        On the hub every split is a configuration of its own of the same name, which `name` None stands for.
        """
        return {"test": load_rows(id, split, revision, path, name or split)}

    def current(self, doc: dict[str, Any]) -> dict[str, Any]:
        return _current(doc)

    def item_id(self, doc: dict[str, Any]) -> str:
        """The row's sample_index, unique in its configuration (pid in the older fields)."""
        return str(_current(doc)["sample_index"])

    def problem(self, doc: dict[str, Any]) -> str:
        """The row's problem_index, the same in all versions.

        The older fields have none; it follows from the order of the released file: pids 1-484 hold four versions of a problem
        in turn, 485-605 Vision Dominant and 606-726 Vision Only of the same problems in the same order (checked by options,
        subfields, questions and picture sizes; golds differ in spelling, one in value).
        """
        return str(_current(doc)["problem_index"])

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """Version, subject and subfield; a Text Only row counts to its own version alone. "accuracy" is a mean (MEANS)."""
        row = _current(doc)
        version = f"version/{_slug(row['problem_version'])}"
        if row["problem_version"] == TEXT_ONLY:
            return (version,)
        subject, subfield = _slug(row["metadata"]["subject"]), _slug(row["metadata"]["subfield"])
        return (version, f"subject/{subject}", f"subfield/{subject}/{subfield}")

    def may_be_blank(self, doc: dict[str, Any], column: str) -> bool:
        """The question of Vision Only stands in the picture."""
        return bool(doc["problem_version"] == VERSIONS[-1])

    def question(self, doc: dict[str, Any]) -> Question:
        """The row as scorers see it: the question with its choices, and a gold that is a letter where it names one option."""
        row = _current(doc)
        text = mend_mojibake(row.get("question_for_eval") or row["question"]).strip()
        answer = mend_mojibake(self.gold(doc)).strip()
        if row["question_type"] == "multi-choice":
            listed = "\n".join(row["choices"]) if row.get("choices") else _after_choices(text)
            options = _options(listed)
            if letter := _gold_letter(answer, options):
                return Question(text, CHOICE, letter, options)
            # Several letters are right ("C\nD"): no question of one letter.
            return Question(text, TEXT, answer, options)
        if re.fullmatch(r"-?\d+", answer):
            return Question(text, INTEGER, answer)
        if re.fullmatch(r"-?\d*\.\d+", answer):
            return Question(text, FLOAT, answer, decimals=_decimals(text))
        return Question(text, TEXT, answer)

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """`<image>` (none for Text Only) and the row's query: direct is query_wo, cot query_cot, raw the question alone.

        Rows in the older fields get the same official sentences. For Vision Only raw is the picture alone. Raises UserError for
        another style.
        """
        if style not in self.STYLES:
            raise unknown("prompt style", style, self.STYLES)
        row = _current(doc)
        image = "" if row["problem_version"] == TEXT_ONLY else "<image>"
        return image + (row["question"] if style == "raw" else row.get(_QUERIES[style]) or _query(row, style))

    def doc_to_image(self, doc: dict[str, Any]) -> list[Image.Image]:
        """The row's picture, none for Text Only. Raises UserError naming the item where it is missing or corrupt."""
        row = _current(doc)
        if row["problem_version"] == TEXT_ONLY:
            return []
        return [read_image(doc.get("decoded_image") or row["image"], f"MathVerse item {self.item_id(doc)}")]

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """What the released scripts decide without their LLMs.

        An extraction that equals the gold is right (quick_match, score_answer_s2.py), and so is one that equals the text of
        the gold's option (the judge's prompt, prompts.py); another bare option letter, "null" and nothing at all are wrong.
        Without an extraction the response stands for it, which decides on responses that are a bare answer. Everything else
        needs the LLMs.
        """
        given = answer.text or "" if answer.extraction is None else answer.extraction.replace("Extracted Answer: ", "")
        extraction = given.strip()
        asked = self.question(doc)
        if extraction in ("", "null"):
            return Verdict(False, None, "no_answer", "there is no answer to compare")
        if extraction in (self.gold(doc).strip(), asked.gold):
            return Verdict(True, extraction, "quick_match", f"equals the gold {asked.gold!r}")
        if asked.kind == CHOICE:
            place = ord(asked.gold) - ord("A")
            right = asked.options[place] if place < len(asked.options) else ""
            if right and extraction == right and asked.options.count(right) == 1:
                return Verdict(True, extraction, "option_text", f"equals the text of option {asked.gold}")
            if re.fullmatch(r"[A-Z]", extraction):
                return Verdict(False, extraction, "other_letter", f"the gold is {asked.gold}")
        if answer.extraction is None:
            return Verdict(None, None, "needs_llm", "an LLM extracts the answer from the last 30 words")
        return Verdict(None, extraction, "needs_llm", "an LLM judges whether the extraction means the gold")


BENCHMARK = MathVerse()
# The task file names the benchmark's functions as this module's.
__getattr__ = BENCHMARK.__getattribute__
