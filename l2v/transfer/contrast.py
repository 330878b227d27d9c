"""Contrast sets: pairs of chat-formatted texts whose final states differ by the way of answering (Eq. 1; METHOD 1).

Three readings of the paper, and one of function vectors (arXiv 2310.15213):
- `response_pairs`: question + chain-of-thought response against question + direct response, both given as data;
- `generated`: the same, the responses written by the source model under the two instructions;
- `prompts`: question + chain-of-thought instruction against question + direct instruction, no response (RoT);
- `demonstrations`: the same question after worked and after direct demonstrations as turns of the chat, no response.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2v.data_sets import read_data_set
from l2v.disk import read_parquet, read_records
from l2v.errors import UserError, unknown

KINDS = ("response_pairs", "generated", "prompts", "demonstrations")
# Those whose rows need both responses, and those that add instructions.
ANSWERED, INSTRUCTED = ("response_pairs", "demonstrations"), ("generated", "prompts")
THOUGHT = re.compile(r"<\|begin_of_thought\|>.*?<\|end_of_thought\|>", re.DOTALL)
SOLUTION = re.compile(r"<\|begin_of_solution\|>.*?<\|end_of_solution\|>", re.DOTALL)


@dataclass(frozen=True)
class Chat:
    """One text: turns (question, answer) that came before, a user turn and, unless it is still to come, its response."""

    user: str
    assistant: str | None = None
    history: tuple[tuple[str, str], ...] = ()

    def messages(self) -> list[dict[str, str]]:
        """The turns in the form that chat templates take."""
        said = [*(words for turn in self.history for words in turn), self.user]
        said += [] if self.assistant is None else [self.assistant]
        return [{"role": ("user", "assistant")[place % 2], "content": words} for place, words in enumerate(said)]

    def words(self) -> list[str]:
        """What is said in its turns."""
        return [turn["content"] for turn in self.messages()]


@dataclass(frozen=True)
class Pair:
    """The two texts of one question: `cot` (c in Eq. 1) and `direct` (d)."""

    cot: Chat
    direct: Chat


@dataclass(frozen=True)
class ContrastQuestion:
    """One row of contrast data; responses are None where the source model is to write them."""

    text: str
    cot: str | None = None
    direct: str | None = None
    domain: str = ""


def load_questions(
    data: str, revision: str | None = None, split: str = "train", columns: dict[str, str] | None = None
) -> list[ContrastQuestion]:
    """Read contrast data from a hub id, or from a local .json, .jsonl or .parquet file.

    Columns: `question`, `domain`, and either `cot` and `direct`, or STILL-2's `combined_text` (all of it is the
    chain-of-thought response, its solution block the direct one). `columns` renames: {"question": "problem"}.
    Raises UserError for a missing file, an unreachable hub, or missing columns.
    """
    names = {name: name for name in ("question", "domain", "cot", "direct", "combined_text")} | (columns or {})
    rows = read_rows(data, revision, split)
    if not rows:
        raise UserError(f"The contrast data {data} holds no rows.")
    for number, row in enumerate(rows, start=1):
        if row.get(names["question"]) is None:
            raise UserError(
                f"Row {number} of the contrast data {data} has no column '{names['question']}' (it has {', '.join(row)}); "
                "mend the data or name the column with contrast.columns.question=…"
            )
        check_texts(row, names, f"Row {number} of the contrast data {data}", "contrast")
    return [_question(row, names) for row in rows]


def check_asked(questions: Sequence[ContrastQuestion], data: str) -> None:
    """Raise UserError for a question without a word: its two texts would differ from those of another by nothing."""
    blank = sum(not question.text.strip() for question in questions)
    if blank:
        raise UserError(f"{blank} of {len(questions)} questions of the contrast data {data} are empty; mend the data.")


def oddities(questions: Sequence[ContrastQuestion], kind: str, name: str) -> list[tuple[str, str]]:
    """What is odd of a contrast's rows and gives a direction all the same: in a sentence, and what follows from it."""
    n = len(questions)
    rows, pairs = (f"of {n} {what} of contrast '{name}'" for what in ("rows", "pairs"))
    alike = n if n > 1 == len({q.text for q in questions}) else 0
    told = [
        (n - len(set(questions)), f"{rows} repeat another one", "they count again in its mean"),
        (alike, f"{rows} ask the same", "contrast.columns.question=… may name another column"),
    ]
    if kind in ANSWERED:
        same = sum(q.cot == q.direct for q in questions)
        echoed = sum(q.text in (q.cot, q.direct) for q in questions)
        shorter = sum(len(q.cot or "") < len(q.direct or "") for q in questions)
        swapped = "the direction points away from working unless contrast.columns.cot=… and direct=… name the right ones"
        told += [
            (same % n, f"{pairs} hold one response twice", "its mean is shorter by them; leave them out"),
            (echoed, f"{rows} answer with their question", "contrast.columns.… may name other columns"),
            (shorter if 2 * shorter > n else 0, f"{pairs} work in the shorter response", swapped),
        ]
    return [(f"{count} {what}.", so) for count, what, so in told if count]


def check_texts(row: Mapping[str, Any], names: Mapping[str, str], which: str, group: str) -> None:
    """Raise UserError for a list or an object where a text is wanted: written out, it would be read as one.

    names: the columns by their roles, under which `group`.columns renames them.
    """
    for role, column in names.items():
        if isinstance(row.get(column), (list, dict)):
            kind = "a list" if isinstance(row[column], list) else "an object"
            raise UserError(f"{which} holds {kind} in its column '{column}', no text; mend it, or {group}.columns.{role}=…")


def read_rows(data: str, revision: str | None, split: str, group: str = "contrast") -> list[dict[str, Any]]:
    """The rows of a hub data set or a local .json, .jsonl or .parquet file. Raises UserError when it cannot be read.

    group: the settings that name it.
    """
    path = Path(data)
    if path.suffix in (".jsonl", ".json") and path.is_file():
        return read_records(path)
    if path.suffix in (".jsonl", ".json", ".parquet") and not path.is_file():
        raise UserError(f"The {group} file {path} does not exist; give {group}.path=… a .jsonl, .json or .parquet file.")
    try:
        if path.suffix == ".parquet":
            return list(read_parquet(path).to_pylist())
        table = read_data_set(data, None, revision, split)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The {group} data '{data}' could not be loaded ({type(error).__name__}); without the hub, "
            f"download it and give {group}.path=<file>.jsonl or .parquet."
        ) from error
    return [dict(row) for row in table]


def _question(row: dict[str, Any], names: dict[str, str]) -> ContrastQuestion:
    cot, direct = row.get(names["cot"]), row.get(names["direct"])
    if row.get(names["combined_text"]) is not None:
        combined = str(row[names["combined_text"]])
        solution = SOLUTION.search(combined)
        # A row without both blocks cannot make a pair; leaving `direct` None drops it where pairs are needed.
        cot, direct = (combined, solution.group()) if solution and THOUGHT.search(combined) else (None, None)
    cot, direct = (None if text is None else str(text).strip() and str(text) or None for text in (cot, direct))
    return ContrastQuestion(str(row[names["question"]]), cot, direct, str(row.get(names["domain"], "")))


def sample_questions(
    questions: Sequence[ContrastQuestion], per_domain: int | None, domains: Sequence[str] = (), seed: int = 0
) -> list[ContrastQuestion]:
    """Draw `per_domain` questions from each domain (paper: 100 from each of four), without replacement, seeded.

    `per_domain` None takes all. Raises UserError when a domain is missing or holds too few.
    """
    import numpy as np

    by_domain: dict[str, list[ContrastQuestion]] = {}
    for question in questions:
        by_domain.setdefault(question.domain, []).append(question)
    chosen: list[ContrastQuestion] = []
    for index, domain in enumerate(domains or sorted(by_domain)):
        if domain not in by_domain:
            raise unknown("contrast domain", domain, by_domain)
        rows = by_domain[domain]
        if per_domain is None:
            chosen += rows
            continue
        if len(rows) < per_domain:
            raise UserError(
                f"contrast.per_domain={per_domain} asks for more questions than domain '{domain}' has ({len(rows)})."
            )
        order = np.random.default_rng([seed, index]).permutation(len(rows))[:per_domain]
        chosen += [rows[i] for i in order]
    return chosen


def build_pairs(
    kind: str,
    questions: Sequence[ContrastQuestion],
    cot_instruction: str,
    direct_instruction: str,
    generate: Callable[[list[Chat]], list[str]] | None = None,
    shots: int = 4,
) -> list[Pair]:
    """The pairs of texts for one kind of contrast; instructions are appended to the question after a space.

    `generate` answers open chats with the source model; only `generated` calls it, once for all chats. `shots`: how many others
    of the questions `demonstrations` puts before each. Raises UserError for an unknown kind, for a row without both responses
    where they are needed, and for fewer questions than demonstrations need.
    """
    if kind not in KINDS:
        raise unknown("contrast kind", kind, KINDS)
    cots = [Chat(f"{q.text} {cot_instruction}".strip()) for q in questions]
    directs = [Chat(f"{q.text} {direct_instruction}".strip()) for q in questions]
    if kind == "prompts":
        return [Pair(c, d) for c, d in zip(cots, directs, strict=True)]
    if kind == "generated":
        if generate is None:
            raise ValueError("contrast kind 'generated' needs a function that answers chats")
        answers = generate(cots + directs)
        responses = list(zip(answers[: len(cots)], answers[len(cots) :], strict=True))
    else:
        incomplete = [q.text for q in questions if not q.cot or not q.direct]
        if incomplete:
            raise UserError(
                f"{len(incomplete)} of {len(questions)} contrast rows lack a chain-of-thought or a direct response "
                f"(first: '{incomplete[0][:60]}'); mend the data or use contrast.kind=prompts or generated."
            )
        responses = [(str(q.cot), str(q.direct)) for q in questions]
    if kind == "demonstrations":
        return [
            Pair(Chat(q.text, None, c), Chat(q.text, None, d))
            for q, (c, d) in zip(questions, _shown(questions, responses, shots), strict=True)
        ]
    # The same plain question on both sides: the two texts differ by the response alone.
    return [Pair(Chat(q.text, c), Chat(q.text, d)) for q, (c, d) in zip(questions, responses, strict=True)]


Turns = tuple[tuple[str, str], ...]


def _shown(
    questions: Sequence[ContrastQuestion], responses: Sequence[tuple[str, str]], shots: int
) -> list[tuple[Turns, Turns]]:
    """For each question the same `shots` others, spread evenly over all, with their worked and with their direct responses."""
    n = len(questions)
    if not 1 <= shots < n:
        raise UserError(f"contrast.shots={shots} must be at least 1 and below the number of questions ({n}).")
    offsets = [1 + place * ((n - 1) // shots) for place in range(shots)]
    rows = [(q.text, *both) for q, both in zip(questions, responses, strict=True)]
    shown = [[rows[(i + offset) % n] for offset in offsets] for i in range(n)]
    return [(tuple((q, c) for q, c, _ in some), tuple((q, d) for q, _, d in some)) for some in shown]
