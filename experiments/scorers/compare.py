"""How `robust` and `lenient` agree with released verdicts, and what the lenient rule adds to long answers.

    python experiments/scorers/compare.py --parity ../shared/parity

Reads released model outputs and the verdicts that were released with them (MathVista, MMStar, MATH-Vision); no model runs.
Writes disagreements.csv (every response that robust and the release judge differently), inflation.csv (accuracy by scorer and
response length) and README.md beside this file. Opinions on single disagreements are kept in opinions.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import CHOICE, Answer, Question, Verdict
from l2v.benchmarks.mathvision import docs as mathvision
from l2v.benchmarks.mathvista import docs as mathvista
from l2v.benchmarks.mmstar import docs as mmstar
from l2v.benchmarks.scoring.lenient import lenient
from l2v.benchmarks.scoring.robust import robust_many
from l2v.study.statistics.paired import wilson

HERE = Path(__file__).parent
TAIL = 200


@dataclass(frozen=True)
class Response:
    """One released response; released: the verdict that came with it (MMStar: by the official rule)."""

    run: str
    id: str
    question: Question
    text: str
    released: bool
    robust: Verdict | None = None

    @property
    def right(self) -> bool:
        return self.robust is not None and self.robust.correct is True


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ursa(parity: Path) -> Iterator[Response]:
    """Chain-of-thought outputs with their authors' judge; match "0" means right."""
    items = read_json(parity / "mathvista" / "testmini.json")
    for row in read_lines(parity / "mathvista" / "runs" / "ursa_8b_300.jsonl"):
        yield Response("ursa_8b_300", row["pid"], mathvista.question(items[row["pid"]]), row["response"], row["match"] == "0")


def mathvista_run(parity: Path, run: str) -> Iterator[Response]:
    items = read_json(parity / "mathvista" / "testmini.json")
    for pid, row in read_json(parity / "mathvista" / "runs" / f"{run}.json").items():
        yield Response(run, pid, mathvista.question(items[pid]), row["response"] or "", row["true_false"])


def mmstar_run(parity: Path) -> Iterator[Response]:
    for row in read_lines(parity / "mmstar" / "llava_next_yi_34b_first_750.jsonl"):
        official = mmstar.OFFICIAL["official"](row, Answer(row["prediction"])).correct
        yield Response("llava_next_yi_34b", row["index"], mmstar.question(row), row["prediction"], official is True)


def mathvision_run(parity: Path, run: str) -> Iterator[Response]:
    items = {row["id"]: row for row in read_lines(parity / "mathvision" / "test.jsonl")}
    for row in read_lines(parity / "mathvision" / "runs" / f"{run}.jsonl"):
        yield Response(run, row["id"], mathvision.question(items[row["id"]]), row["response"], row["correct"])


def judged(responses: Iterator[Response]) -> list[Response]:
    rows = list(responses)
    verdicts = robust_many([(r.question, r.text) for r in rows])
    return [Response(r.run, r.id, r.question, r.text, r.released, v) for r, v in zip(rows, verdicts, strict=True)]


CLASSES = {
    "letter": "the gold letter is there ((E) another value, {\\bf (A)}, C), Arc D); the released rule kept what is beside it",
    "option": "the gold option's text or value without its letter (8 cm, 120°, 55/4); the released rule compares strings",
    "unit": "the gold number with a unit or sign (39°, 4 cm^2, 20% where per cent is asked for); the released rule keeps it",
    "abstained": "robust abstains where the release says right",
    "other": "the release says right, robust says wrong",
}


def class_of(response: Response) -> str:
    """What kind of disagreement it is, by robust's rule."""
    verdict = response.robust
    assert verdict is not None
    if verdict.correct is None:
        return "abstained"
    if not verdict.correct:
        return "other"
    by = verdict.rule.rpartition("+")[2]
    return "letter" if by == "letter" else "option" if response.question.kind == CHOICE else "unit"


def opinions() -> dict[tuple[str, str], tuple[str, str]]:
    with (HERE / "opinions.csv").open(encoding="utf-8") as file:
        return {(row["run"], row["id"]): (row["who"], row["why"]) for row in csv.DictReader(file)}


def write_disagreements(path: Path, runs: Sequence[list[Response]]) -> Counter[tuple[str, str]]:
    """One row per disagreement with an opinion: the one in opinions.csv, or else that on its class. Counts by run, class."""
    known, counts = opinions(), Counter[tuple[str, str]]()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["run", "id", "kind", "gold", "response_tail", "released", "robust", "rule", "reason", "class", "who", "why"]
        )
        for response in (r for run in runs for r in run if r.right != r.released):
            verdict, kind = response.robust, class_of(response)
            assert verdict is not None
            counts[response.run, kind] += 1
            who, why = known.get(
                (response.run, response.id), ("robust", CLASSES[kind]) if verdict.correct else ("not read yet", "")
            )
            tail = " ".join(response.text[-TAIL:].split())
            gold, said = response.question.gold, {True: "right", False: "wrong", None: "abstained"}[verdict.correct]
            released = "right" if response.released else "wrong"
            row = [
                response.run,
                response.id,
                response.question.kind,
                gold,
                tail,
                released,
                said,
                verdict.rule,
                verdict.reason,
                kind,
            ]
            writer.writerow([*row, who, why])
    return counts


Scorer = Callable[[Response], bool]
SCORERS: dict[str, Scorer] = {
    "released": lambda r: r.released,
    "robust": lambda r: r.right,
    "lenient": lambda r: bool(lenient(r.question, r.text).correct),
    "lenient, another option's letter": lambda r: bool(lenient(_another(r.question), r.text).correct),
}


def _another(question: Question) -> Question:
    """The same question with the next option for its label: what a scorer grants to a wrong label it grants to noise."""
    letters = "ABCDEFGHIJ"[: max(len(question.options), 2)]
    following = letters[(letters.find(question.gold) + 1) % len(letters)]
    return Question(question.text, CHOICE, following, question.options)


def inflation(run: list[Response]) -> Iterator[dict[str, Any]]:
    """Accuracy on multiple-choice items by scorer: all responses, those without a box, and quartiles of these by length."""
    rows = sorted((r for r in run if r.question.kind == CHOICE), key=lambda r: (len(r.text), r.id))
    free = [r for r in rows if "\\boxed" not in r.text]
    parts = [("all", rows)]
    if len(free[len(free) // 2].text) > 20:
        parts += [("no box", free)] + [(f"Q{i + 1}", free[i * len(free) // 4 : (i + 1) * len(free) // 4]) for i in range(4)]
    for name, part in parts:
        for scorer, rule in SCORERS.items():
            correct = sum(map(rule, part))
            low, high = wilson(correct, len(part))
            yield {
                "run": run[0].run,
                "responses": name,
                "characters": f"{len(part[0].text)}-{len(part[-1].text)}",
                "scorer": scorer,
                "n": len(part),
                "correct": correct,
                "accuracy": f"{correct / len(part):.3f}",
                "low": f"{low:.3f}",
                "high": f"{high:.3f}",
                "abstained": sum(r.robust is not None and r.robust.correct is None for r in part) if scorer == "robust" else 0,
            }


def write_inflation(path: Path, runs: Sequence[list[Response]]) -> list[dict[str, Any]]:
    rows = [row for run in runs for row in inflation(run)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def gpt4_readings(parity: Path) -> list[str]:
    """Table rows: where GPT-4's released extraction is a letter and robust commits, how often both read the same option."""
    found: dict[str, list[bool]] = defaultdict(list)
    for run in ("bard", "gpt4_2shot_solution", "llavar"):
        rows = read_json(parity / "mathvista" / "runs" / f"{run}.json")
        for response in judged(mathvista_run(parity, run)):
            extraction, verdict = rows[response.id]["extraction"], response.robust
            if response.question.kind == CHOICE and extraction in tuple("ABCDEFGH") and verdict and verdict.correct is not None:
                found[run].append(verdict.correct == (extraction == response.question.gold))
    return [f"| {run} | {len(same)} | {sum(same)} |" for run, same in found.items()]


def agreement_row(run: list[Response]) -> str:
    n, same = len(run), sum(r.right == r.released for r in run)
    low, high = wilson(same, n)
    abstained = sum(r.robust is not None and r.robust.correct is None for r in run)
    more, less = sum(r.right and not r.released for r in run), sum(r.released and not r.right for r in run)
    right = f"{sum(r.released for r in run)} | {sum(r.right for r in run)}"
    return f"| {run[0].run} | {n} | {right} | {same / n:.4f} [{low:.4f}, {high:.4f}] | {more} | {less} | {abstained} |"


def inflation_table(rows: list[dict[str, Any]]) -> list[str]:
    cells: dict[tuple[str, str, str, int], list[str]] = defaultdict(list)
    for row in rows:
        abstained = f" ({row['abstained']})" if row["scorer"] == "robust" else ""
        key = (row["run"], row["responses"], row["characters"], row["n"])
        cells[key].append(f"{row['accuracy']} [{row['low']}, {row['high']}]{abstained}")
    return [f"| {' | '.join(map(str, key))} | {' | '.join(values)} |" for key, values in cells.items()]


def report(agreement: list[str], counts: Counter[tuple[str, str]], gpt4: list[str], rows: list[dict[str, Any]]) -> str:
    text = (HERE / "report.md.in").read_text(encoding="utf-8")
    classes = [f"| {run} | {kind} | {n} | {CLASSES[kind]} |" for (run, kind), n in sorted(counts.items())]
    parts = {"agreement": agreement, "classes": classes, "gpt4": gpt4, "inflation": inflation_table(rows)}
    for name, lines in parts.items():
        text = text.replace(f"{{{name}}}", "\n".join(lines))
    return text


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parity", type=Path, required=True, help="folder of the released annotations and model outputs")
    parity = parser.parse_args().parity
    if not (parity / "mathvista").is_dir():
        sys.exit(
            f"No released outputs at {parity}: --parity must be the folder that holds mathvista/, mmstar/ and mathvision/."
        )
    vision = [judged(mathvision_run(parity, run)) for run in ("Gemini-Pro-CoT", "Qwen-VL-Max", "LLaVA-v1.5-13B")]
    star = judged(mmstar_run(parity))
    runs = [judged(ursa(parity)), star, *vision]
    counts = write_disagreements(HERE / "disagreements.csv", runs)
    long = [judged(mathvista_run(parity, run)) for run in ("bard", "gpt4_2shot_solution")]
    rows = write_inflation(HERE / "inflation.csv", [*long, vision[0], star])
    text = report([agreement_row(run) for run in runs], counts, gpt4_readings(parity), rows)
    (HERE / "README.md").write_text(text, encoding="utf-8")
    print(f"wrote {HERE / 'README.md'}, disagreements.csv ({sum(counts.values())} rows), inflation.csv ({len(rows)} rows)")


if __name__ == "__main__":
    main()
