"""From stored responses to verdicts and metrics of one cell; needs the questions, never a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import Answer, Benchmark, Item, Verdict
from l2v.benchmarks.catalogue import ANY_TASK, DataRef
from l2v.benchmarks.harness import load_items, open_docs
from l2v.benchmarks.metrics import HEADLINE, Score, mark, scores
from l2v.benchmarks.parts import WHOLE, take_block, take_part
from l2v.benchmarks.scoring import Scoring, check_scorers, recorded, score_answers
from l2v.config import BenchmarkConfig, JudgeConfig, taken
from l2v.disk import Record
from l2v.errors import UserError
from l2v.identity import digest, fingerprint
from l2v.study.cells import BenchmarkId
from l2v.study.digests import tell_once
from l2v.study.questions import benchmark_id, data_ref
from l2v.study.statistics.paired import score_interval
from l2v.study.store import CellFolder, Store


def scoring_of(judge: JudgeConfig, outputs: str, progress: bool) -> Scoring:
    """How scorers compute here; the judge's verdicts are cached beside the studies."""
    settings = None
    if judge.model or judge.lm_eval:
        from l2v.benchmarks.scoring.judge import JudgeSettings

        settings = JudgeSettings(**vars(judge), cache=str(Path(outputs) / "cache" / "judge"))
    return Scoring(judge=settings, progress=progress)


def score_cell(
    folder: CellFolder,
    items: Mapping[str, Item],
    docs: Benchmark,
    scorers: Sequence[str],
    scoring: Scoring | None = None,
) -> None:
    """Apply scorers to a finished cell's responses; writes scores/<scorer>.jsonl and metrics.json.

    A response that a scorer abstains on counts as not right in `value`; unresolved_share tells how often that was,
    no_answer_share how often no answer was found, guessed_share how often the official rule took the nearest option. A score
    with responses that a judge did not judge has no value (None), their number (`unjudged`) and the first reason (`why`).
    """
    responses = folder.responses()
    rows = [items[r["id"]].doc for r in responses]
    answers = [Answer(r["response"]) for r in responses]
    for name in scorers:
        verdicts = score_answers(name, docs, rows, answers, scoring)
        records = [{"id": r["id"], **asdict(v)} for r, v in zip(responses, verdicts, strict=True)]
        metrics = _metrics(name, docs, {r["id"]: items[r["id"]].doc for r in responses}, responses, verdicts)
        metrics = [metric | recorded(name, scoring) for metric in metrics]
        if name == "official":
            metrics += _own_metrics(docs, rows, answers)
        folder.write_scores(name, records, metrics)


def _metrics(
    scorer: str,
    docs: Benchmark,
    rows: Mapping[str, Record],
    responses: Sequence[Record],
    verdicts: Sequence[Verdict],
) -> list[Record]:
    by_id = dict(zip((r["id"] for r in responses), verdicts, strict=True))
    answers = {r["id"]: r for r in responses}
    steps = {r["id"]: docs.shows_steps(r["response"]) for r in responses}
    told = scores(docs, mark(docs, rows, by_id))
    named = [{"metric": score.name, "scorer": scorer} for score in told]
    return [
        name | _figures(score) | _habits(score, answers, by_id, steps) | _gaps(score, by_id)
        for name, score in zip(named, told, strict=True)
    ]


def _figures(score: Score) -> Record:
    low, high = score_interval(score)
    return {
        "value": score.value,
        "n": len(score.items),
        "problems": len({item.problem for item in score.items}),
        "low": low,
        "high": high,
        "parts": list(score.parts),
        "all_right": score.all_right,
    }


def _habits(score: Score, answers: Mapping[str, Record], verdicts: Mapping[str, Verdict], steps: Mapping[str, bool]) -> Record:
    """How the items of a score were answered: length, steps, and how often there was nothing to judge."""
    ids = [item.id for item in score.items]
    n = len(ids)
    judged = all(verdicts[i].rule in ("judge", "unjudged") for i in ids)
    return {
        "tokens": sum(answers[i]["tokens"] for i in ids) / n,
        "steps_share": sum(steps[i] for i in ids) / n,
        # A judge reads no answer out; what it could not judge is unresolved.
        "no_answer_share": None if judged else sum(verdicts[i].extraction is None for i in ids) / n,
        "unresolved_share": sum(verdicts[i].correct is None for i in ids) / n,
        "guessed_share": sum(verdicts[i].guessed for i in ids) / n,
        "truncated_share": sum(answers[i]["truncated"] for i in ids) / n,
        "seconds": sum(answers[i]["seconds"] for i in ids),
    }


def _gaps(score: Score, verdicts: Mapping[str, Verdict]) -> Record:
    """Of a score with unjudged items: no value, how many they are, and why."""
    gaps = [verdict for item in score.items if (verdict := verdicts[item.id]).unjudged]
    return {"value": None, "low": None, "high": None, "unjudged": len(gaps), "why": gaps[0].reason} if gaps else {}


def unjudged(folder: CellFolder, scorers: Sequence[str], metrics: Sequence[Record] | None = None) -> str:
    """How many responses of a cell a judge left without a verdict, and why, as a sentence; "" where there are none.

    metrics: the cell's, where they are read already.
    """
    metrics = folder.metrics() if metrics is None else metrics
    gaps = [m for m in metrics if m["scorer"] in scorers and m["metric"] == HEADLINE and m["value"] is None]
    return "; ".join(
        f"{m['unjudged']} of {m['n']} responses were not judged by scorer {m['scorer']} ({m['why']}), so it gives no figure: "
        f"`l2v score study={folder.path.parents[1].name} scorer={m['scorer']}` asks for what is missing"
        for m in gaps
    )


def _own_metrics(docs: Benchmark, rows: Sequence[Record], answers: Sequence[Answer]) -> list[Record]:
    """An lm-eval task's own figures, with normal intervals where lm-eval gives a standard error."""
    metrics = []
    for own in docs.own_scores(rows, answers):
        reach = None if own.stderr is None else 1.96 * own.stderr
        bounds = {} if reach is None else {"low": own.value - reach, "high": own.value + reach}
        metrics.append({"scorer": "official", "metric": own.metric, "value": own.value, "n": own.n, **bounds})
    return metrics


def rescore(folders: Sequence[CellFolder], scorers: Sequence[str], scoring: Scoring | None = None) -> None:
    """Apply scorers to finished cells again, from their stored responses; no model is loaded."""
    check_scorers(scorers)
    for folder in folders:
        if reason := folder.damage():
            raise UserError(reason)
    loaded: dict[str, tuple[Benchmark, dict[str, Item]]] = {}
    for folder in folders:
        cell = folder.cell()
        locations = folder.locations()
        key = f"{cell.benchmark}|{locations.get('benchmark')}|{locations.get('benchmark_include')}"
        if key not in loaded:
            config = stored_benchmark(cell.benchmark, locations)
            docs, found = open_docs(data_ref(config)), benchmark_items(cell.benchmark, config)
            write_items(Store(folder.path.parents[2], folder.path.parents[1].name), cell.benchmark, docs, found)
            loaded[key] = docs, {item.id: item for item in found}
        docs, items = loaded[key]
        check_answers(folder, items)
        score_cell(folder, items, docs, lost_scorers(folder, scorers), scoring)


def check_answers(folder: CellFolder, items: Mapping[str, Item]) -> None:
    """Raise UserError unless a finished cell answers each of its items once, as it is put now."""
    responses = folder.responses()
    answered = [record["id"] for record in responses]
    if strange := [item for item in answered if item not in items]:
        raise UserError(f"{folder.path} holds responses to items that the benchmark data lacks (first: {strange[0]}).")
    if len(answered) < len(items):
        lacking = next(item for item in items if item not in set(answered))
        raise UserError(
            f"{folder.path}/responses.jsonl lacks {len(items) - len(answered)} of {len(items)} items (first: {lacking}); "
            f"restore it, or delete {folder.path}/DONE and repeat the command of `l2v run`, which computes them."
        )
    check_prompts(folder, responses, prompt_hashes(items.values()))


def prompt_hashes(items: Iterable[Item]) -> dict[str, str]:
    """By item, what is stored beside its answer to notice when the question, or what the benchmark puts before it, changes."""
    asked = {item.id: "\x1e".join([*map("\x1f".join, item.history), item.text]) for item in items}
    return {item: hashlib.sha256(text.encode()).hexdigest()[:12] for item, text in asked.items()}


def check_prompts(folder: CellFolder, responses: Sequence[Record], prompts: Mapping[str, str]) -> None:
    """Raise UserError when responses answer other questions than today's. prompts: see `prompt_hashes`."""
    strange = next((r["id"] for r in responses if prompts.get(r["id"]) != r.get("prompt")), None)
    if strange is not None:
        raise UserError(
            f"{folder.path} holds responses to other questions than the benchmark has now (first: {strange}); the data "
            "changed under the same revision: restore them, pin benchmark.revision, or choose another study=… name."
        )


def lost_scorers(folder: CellFolder, scorers: Sequence[str]) -> list[str]:
    """These scorers, and those whose figures went with a damaged metrics.json; a judge is only asked again by name."""
    scored = folder.scored()
    lost = [name for name in folder.applied() if name not in scored and name not in (*scorers, "judge")]
    return [*scorers, *lost]


def stored_benchmark(benchmark: BenchmarkId, locations: Mapping[str, Any]) -> BenchmarkConfig:
    """The configuration that reads a stored cell's questions again."""
    pinned = benchmark.name != ANY_TASK and not benchmark.revision.startswith("local:")
    own: dict[str, Any] = {"part": None}
    if benchmark.part is not None:
        division = {f"part_{name}": value for name, value in vars(benchmark.part).items() if name != "name"}
        own = {"part": benchmark.part.name, **division}
    return taken(
        BenchmarkConfig,
        benchmark,
        revision=benchmark.revision if pinned else None,
        path=locations.get("benchmark"),
        include_path=locations.get("benchmark_include"),
        **own,
    )


def benchmark_items(benchmark: BenchmarkId, config: BenchmarkConfig) -> list[Item]:
    """The items of a cell's benchmark, read as `config` says.

    Raises UserError when the data there are no longer what the cell was computed on: stored answers must not be held
    against other questions or golds.
    """
    asked = config.revision or "main"
    now = benchmark_id(config, benchmark.prompt).revision
    if now != asked == benchmark.revision:
        # Its version took a branch as it is called.
        tell_once(f"Benchmark '{benchmark.name}' was asked at revision '{asked}', which may have moved; it is {now} now.")
    elif now != benchmark.revision and config.path and fingerprint(config.path) == benchmark.revision:
        tell_once(f"{config.path} is as it was; of the pictures that it names nobody can say: an older version kept no hash.")
    elif now != benchmark.revision:
        raise UserError(
            f"The data of benchmark '{benchmark.name}' at {config.path or config.id} is not what the cell was computed on "
            f"({benchmark.revision}, now {now}); restore it, or run the study again under another name."
        )
    ref: DataRef = data_ref(config)
    if benchmark.part is None:
        return load_items(ref, benchmark.prompt, benchmark.limit)
    # Blocks are cut from what a part asks, limit included.
    part = None if benchmark.part.name == WHOLE else replace(benchmark.part, first=None, last=None)
    return take_block(_kept_items(ref, replace(benchmark, part=part)), open_docs(ref), benchmark.part)


@lru_cache(maxsize=16)
def _kept_items(ref: DataRef, benchmark: BenchmarkId) -> list[Item]:
    """The items of a part, or of a whole split, of the data that its revision names; a race asks for them at every look."""
    if benchmark.part is None:
        return load_items(ref, benchmark.prompt, benchmark.limit)
    return take_part(load_items(ref, benchmark.prompt), open_docs(ref), benchmark.part)[: benchmark.limit]


def items_key(benchmark: BenchmarkId) -> str:
    """The name of the file that describes a benchmark's items within a study."""
    return digest(benchmark.identity())


def write_items(store: Store, benchmark: BenchmarkId, docs: Benchmark, items: Sequence[Item]) -> None:
    """Describe the items of a study, for what reads results and never data: problem, subsets, question and gold."""
    records = []
    for item in items:
        question = docs.question(item.doc)
        records.append(
            {
                "id": item.id,
                "problem": docs.problem(item.doc),
                "subsets": list(docs.subsets(item.doc)),
                "question": question.text,
                "options": list(question.options),
                "kind": question.kind,
                "gold": question.gold,
            }
        )
    store.write_items(items_key(benchmark), records)
