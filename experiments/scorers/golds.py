"""How `robust` judges the golds and options of five benchmarks, put as models put answers, and as they put what is none.

    python experiments/scorers/golds.py --parity ../shared/parity [--every 1] [--wrong]

No model runs. Every annotated item is answered in some forty ways: rightly, with another option or another item's gold, and
with its own gold denied, supposed, asked or told of something else. Prints one JSON line per way of being put: how many, how
many accepted, refused (abstained) and called wrong. `--every 7` takes each seventh item. `--wrong` lists what is accepted but
must not be, and what is right and not accepted; golds that are equal though written otherwise ("5", "5.0") are among them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from l2v.benchmarks.base import CHOICE, Question, Verdict
from l2v.benchmarks.dynamath import docs as dynamath
from l2v.benchmarks.mathverse import docs as mathverse
from l2v.benchmarks.mathvision import docs as mathvision
from l2v.benchmarks.mathvista import docs as mathvista
from l2v.benchmarks.mmstar import docs as mmstar
from l2v.benchmarks.scoring.robust import robust_many

# GOLD: the answer; LETTER, TEXT: an option's.
FREE = (
    r"\boxed{GOLD}",
    "The answer is $GOLD$.",
    "**Answer:** GOLD",
    "GOLD",
    "So we get\n\\[\n\\boxed{GOLD}\n\\]",
    "Therefore, the answer is **GOLD**.",
    "### Final Answer\n\n$GOLD$",
    "<think>Could it be 999? No.</think>\n\n<answer>GOLD</answer>",
    "I think the answer is $GOLD$.",
    "Hence the required value is $GOLD$.\n\nAnswer: $GOLD$",
    "$GOLD$\n\nExplanation: it can be seen in the figure.",
    '{"reasoning": "by counting", "answer": "GOLD"}',
)
CHOSEN = (
    "LETTER",
    "(LETTER)",
    "Answer: LETTER",
    "The correct answer is (LETTER) TEXT.",
    "LETTER. TEXT",
    "**LETTER: TEXT**",
    r"\boxed{\text{LETTER}}",
    r"\boxed{TEXT}",
    "The answer is TEXT.",
    "The answer is TEXT (option LETTER).",
    "The best answer from the given choices is LETTER) TEXT.",
    "Looking at the figure, option LETTER matches.\n\nTherefore, the correct answer is **(LETTER) TEXT**.",
    "正确答案是 LETTER。",
    '{"answer": "LETTER"}',
)
DENIED = (
    "The answer is not $GOLD$.",
    "It cannot be $GOLD$.",
    "I first thought the answer is $GOLD$, but that is wrong.",
    "If the figure were larger, the answer would be $GOLD$.",
    "My friend says the answer is $GOLD$.",
    "Is the answer $GOLD$?",
    "The answer is either $GOLD$ or something else.",
    "The answer to the previous question was $GOLD$.",
    "I cannot see the image, so I cannot say whether the answer is $GOLD$.",
    "The answer is more than $GOLD$.",
    "The answer is twice $GOLD$.",
    "The answer is $GOLD$ plus the area of the circle.",
    "The answer is $GOLD$. Wait, no, that is not correct.",
    r"\boxed{GOLD} is wrong.",
    "<think>The answer is $GOLD$",
    "The least likely answer is $GOLD$.",
)
NOT_CHOSEN = (
    "The answer is not LETTER.",
    "Not (LETTER).",
    "Option LETTER is incorrect.",
    "TEXT is not the answer.",
    "It is not TEXT.",
    "We can eliminate option LETTER.",
    "My friend says the answer is LETTER.",
    "It may be LETTER, but I cannot see the image.",
    "Some would say TEXT, but I cannot tell.",
    "The answer is LETTER. Wait, no, that is not right.",
    "Suppose the answer is LETTER. That leads to a contradiction.",
    "<think>The answer is LETTER",
)


def questions(parity: Path) -> Iterator[tuple[str, Question]]:
    """(benchmark, question) of every annotated item."""

    def lines(name: str) -> Iterator[dict[str, str]]:
        yield from map(json.loads, filter(None, (parity / name).read_text(encoding="utf-8").split("\n")))

    yield from (("mathvision", mathvision.question(row)) for row in lines("mathvision/test.jsonl"))
    yield from (("mmstar", mmstar.question(row)) for row in lines("mmstar/llava_next_yi_34b_first_750.jsonl"))
    for name, docs, file in (
        ("mathvista", mathvista, "mathvista/testmini.json"),
        ("dynamath", dynamath, "dynamath/dataset.json"),
    ):
        yield from ((name, docs.question(row)) for row in json.loads((parity / file).read_text(encoding="utf-8")).values())
    for row in json.loads((parity / "mathverse/testmini_text_only.json").read_text(encoding="utf-8")):
        yield "mathverse", mathverse.question(row | {"question": row["question"] or row["question_for_eval"]})


def put(form: str, gold: str) -> str:
    """A gold in a form; one in dollar signs loses them within a formula."""
    bare = "$GOLD" in form or "{GOLD" in form
    return form.replace("GOLD", gold.strip().strip("$") if bare else gold)


def asked(parity: Path, every: int) -> Iterator[tuple[str, str, str, Question, str]]:
    """(benchmark, what it must be, form, question, response): right, another or none."""
    draw, items = random.Random(0), list(questions(parity))[::every]
    golds = [question.gold for _, question in items if question.kind != CHOICE and "\n" not in question.gold]
    for name, question in items:
        if question.kind != CHOICE:
            other = draw.choice(golds)
            for form in FREE if "\n" not in question.gold else ():
                yield name, "right", form, question, put(form, question.gold)
                if other.strip() != question.gold.strip():
                    yield name, "another", form, question, put(form, other)
            yield from ((name, "none", form, question, put(form, question.gold)) for form in DENIED)
            continue
        texts = [text.strip() for text in question.options]
        at = ord(question.gold[0]) - ord("A")
        if len(question.gold) > 1 or at >= len(texts):
            continue
        for letter, text in zip("ABCDEFGHIJ", texts, strict=False):
            right = letter == question.gold
            # What is a letter itself, stands twice or is no text, is told by its letter alone.
            alone = len(text) < 2 or texts.count(text) > 1 or text == "nan"
            if not right and (alone or text == texts[at]):
                continue
            for form in CHOSEN:
                if not (alone and "TEXT" in form):
                    said = form.replace("LETTER", letter).replace("TEXT", text)
                    yield name, "right" if right else "another", form, question, said
            if right and len(texts) > 2 and not alone:
                for form in NOT_CHOSEN:
                    yield name, "none", form, question, form.replace("LETTER", letter).replace("TEXT", text)


def at_fault(must: str, verdict: Verdict) -> bool:
    """Whether a verdict is not what it must be; what is not right may also be refused."""
    return (verdict.correct is True) != (must == "right")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parity", type=Path, required=True, help="folder of the released annotations")
    parser.add_argument("--every", type=int, default=1, help="each so-manieth item")
    parser.add_argument("--wrong", action="store_true", help="list what is judged wrongly")
    args = parser.parse_args()
    if not (args.parity / "mathvista").is_dir():
        sys.exit(
            f"No released annotations at {args.parity}: --parity must be the folder that holds mathvista/, mmstar/ and others."
        )
    rows = list(asked(args.parity, args.every))
    verdicts = robust_many([(question, said) for *_, question, said in rows])
    counts: dict[tuple[str, str], Counter[str]] = {}
    for (_, must, form, *_), verdict in zip(rows, verdicts, strict=True):
        kind = {True: "accepted", None: "refused", False: "called_wrong"}[verdict.correct]
        counts.setdefault((must, form), Counter())[kind] += 1
        counts.setdefault((must, "all"), Counter())[kind] += 1
    for (must, form), count in counts.items():
        print(json.dumps({"must_be": must, "form": form, "n": count.total()} | dict(count), ensure_ascii=False))
    for (name, must, _, question, said), verdict in zip(rows, verdicts, strict=True) if args.wrong else ():
        if at_fault(must, verdict):
            told = {"benchmark": name, "must_be": must, "gold": question.gold, "options": question.options, "response": said}
            print(json.dumps(told | {"verdict": verdict.reason}, ensure_ascii=False))


if __name__ == "__main__":
    main()
