"""judge: an LLM decides whether a response answers the question.

    judge_many(pairs, JudgeSettings("Qwen/Qwen3-8B", base_url="http://localhost:8000/v1"))
    judge_many(pairs, JudgeSettings("Qwen/Qwen3-8B", lm_eval="hf", model_args="pretrained=Qwen/Qwen3-8B,dtype=bfloat16"))

Its verdict names a model, a prompt and a date, and is no more than that model's opinion. What the judge does not answer as
asked is left unjudged, never called wrong. Verdicts are stored as they come, so that an interrupted run is taken up again
where it stopped: judge_settings.py says what is asked and how a reply is read, judge_client.py and judge_lm_eval.py ask,
judge_cache.py stores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from l2v.benchmarks.base import Question, Verdict
from l2v.benchmarks.scoring.judge_cache import JUDGED, Cache
from l2v.benchmarks.scoring.judge_settings import PROMPTS, TEMPERATURE, Judgement, JudgeSettings, render
from l2v.identity import digest

__all__ = ["JudgeSettings", "judge_many", "summary"]
UNJUDGED = "unjudged"


def judge_many(
    pairs: Sequence[tuple[Question, str]], settings: JudgeSettings, progress: Callable[[int], Any] | None = None
) -> list[Verdict]:
    """The verdicts on (question, response) pairs, in order; equal pairs are judged once, cached ones not again.

    `progress` is told of each number of pairs decided. rule is "judge", or "unjudged" with correct None. Nothing that the
    judge does raises; UserError: a model that does not exist or load, a cache that cannot be read or written.
    """
    prompt = PROMPTS[settings.prompt]
    keys = [_key(question, response or "", settings) for question, response in pairs]
    count = Counter(keys)
    cache = Cache(settings.cache, settings) if settings.cache else None
    known = cache.read() if cache else {}
    verdicts = {key: known[key] for key in count if key in known}
    todo = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in verdicts}
    tell = progress or (lambda _: None)
    tell(sum(count[key] for key in verdicts))

    # With nothing to ask, no model is loaded.
    if not todo:
        return [verdicts[key] for key in keys]
    waiting = list(todo)
    prompts = [render(prompt, question, response or "") for question, response in todo.values()]
    # Closed with this function, however it ends, so that no thread goes on asking.
    with closing(_ask(prompts, settings)) as outcomes:
        for index, outcome in outcomes:
            key = waiting[index]
            verdict = verdicts[key] = _verdict(outcome, len(todo[key][1] or "") - prompt.tail)
            if cache and verdict.correct is not None:
                cache.append(key, verdict, outcome.reply)
            tell(count[key])
    return [verdicts[key] for key in keys]


def summary(settings: JudgeSettings) -> dict[str, Any]:
    """What is recorded with a judge's scores; no credentials. The date, UTC, is that of this call."""
    return {
        "model": settings.model,
        "endpoint": settings.endpoint,
        "lm_eval": settings.lm_eval,
        "model_args": settings.model_args,
        "temperature": TEMPERATURE,
        "max_tokens": settings.max_tokens,
        "prompt": settings.prompt,
        "prompt_hash": PROMPTS[settings.prompt].hash,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _ask(prompts: list[str], settings: JudgeSettings) -> Any:
    """A generator of (index, outcome), as they come."""
    if settings.lm_eval:
        from l2v.benchmarks.scoring.judge_lm_eval import ask_lm_eval

        return ask_lm_eval(prompts, settings)
    from l2v.benchmarks.scoring.judge_client import ask_endpoint

    return ask_endpoint(prompts, settings)


def _key(question: Question, response: str, settings: JudgeSettings) -> str:
    return digest([settings.model, PROMPTS[settings.prompt].hash, asdict(question), response], length=32)


def _verdict(outcome: Judgement, left_out: int) -> Verdict:
    cut = f" (the response's first {left_out} characters were not shown to it)" if left_out > 0 else ""
    if outcome.correct is None:
        return Verdict(None, None, UNJUDGED, outcome.reason + cut)
    return Verdict(outcome.correct, None, JUDGED, f"the judge: {outcome.reason}{cut}")
