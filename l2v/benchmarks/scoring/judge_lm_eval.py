"""Any model of lm-eval as a judge, in this process or behind an API."""

from __future__ import annotations

import contextlib
import gc
import inspect
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from l2v.benchmarks.scoring.judge_settings import MOST_FAILURES, TEMPERATURE, Judgement, JudgeSettings, read_reply
from l2v.checkpoint import check_loaded
from l2v.errors import UserError, unknown

# Prompts per call: what a kill can lose, and what a model with batch_size=auto measures anew.
CHUNK = 32


def ask_lm_eval(prompts: Sequence[str], settings: JudgeSettings) -> Iterator[tuple[int, Judgement]]:
    """(index, outcome) of every prompt, in order within a chunk.

    Raises UserError when the model does not exist or does not load; what fails later leaves outcomes without a judgement.
    lm-eval retries its requests itself; a reply without a judgement is asked for again only from an API, since greedy
    decoding in this process would repeat it.
    """
    with _quiet():
        judge = _Model(settings)
        for start in range(0, len(prompts), CHUNK):
            chunk = range(start, min(start + CHUNK, len(prompts)))
            outcomes = judge.ask([prompts[index] for index in chunk])
            yield from zip(chunk, outcomes, strict=True)


class _Model:
    """One loaded model, and how many calls in a row it has failed."""

    def __init__(self, settings: JudgeSettings) -> None:
        from lm_eval.models.api_models import TemplateAPI

        self._settings = settings
        self._lm = _load(settings)
        self._remote = isinstance(self._lm, TemplateAPI)
        self._failures = 0
        self._last = ""

    def ask(self, prompts: list[str]) -> list[Judgement]:
        """The outcomes of some prompts; those without a judgement are asked again where that makes sense."""
        outcomes = self._once(prompts)
        for _ in range(self._settings.retries if self._remote else 0):
            again = [i for i, outcome in enumerate(outcomes) if outcome.correct is None and outcome.reply]
            if not again:
                break
            for i, outcome in zip(again, self._once([prompts[i] for i in again]), strict=True):
                outcomes[i] = outcome
        return outcomes

    def _once(self, prompts: list[str]) -> list[Judgement]:
        if self._failures >= MOST_FAILURES:
            return [
                Judgement(None, f"the judge was given up: {self._failures} calls failed, the last with {self._last}")
            ] * len(prompts)
        contexts = [self._context(prompt) for prompt in prompts]
        fitting = [context for context in contexts if self._fits(context)]
        try:
            replies = iter(self._generate(fitting))
        except Exception as error:  # whatever the model or its server does, the other items are judged
            self._failures += 1
            self._last = self._settings.hide(f"{type(error).__name__}: {' '.join(str(error).split())}"[:200])
            if len(prompts) == 1:
                return [Judgement(None, f"the judge failed: {self._last}")]
            # One item can fail a whole call.
            return [outcome for prompt in prompts for outcome in self._once([prompt])]
        self._failures = 0
        too_long = Judgement(None, "the question and the response are too long for the judge")
        return [read_reply(self._settings.hide(next(replies))) if self._fits(context) else too_long for context in contexts]

    def _context(self, prompt: str) -> Any:
        """The prompt as a user's turn where the model knows turns, else as plain text."""
        template = getattr(getattr(self._lm, "tokenizer", None), "chat_template", None)
        chat_only = self._remote and "Chat" in type(self._lm).__name__
        if not (template or chat_only):
            return prompt
        return self._lm.apply_chat_template([{"role": "user", "content": prompt}])

    def _fits(self, context: Any) -> bool:
        """lm-eval would cut the context's beginning, and with it the question."""
        longest = getattr(self._lm, "max_length", None)
        if self._remote or not isinstance(longest, int) or not hasattr(self._lm, "tok_encode"):
            return True
        return len(self._lm.tok_encode(context)) + self._settings.max_tokens <= longest

    def _generate(self, contexts: list[Any]) -> list[str]:
        from lm_eval.api.instance import Instance

        if not contexts:
            return []
        requests = []
        for index, context in enumerate(contexts):
            arguments: dict[str, Any] = {"until": [], "max_gen_toks": self._settings.max_tokens}
            arguments |= {"do_sample": False, "temperature": TEMPERATURE}
            if self._remote:
                # lm-eval would send an empty list of stop strings, on which some servers fail.
                arguments["stop"] = None
            requests.append(Instance("generate_until", {}, (context, arguments), index))
        bar = {"disable_tqdm": True} if "disable_tqdm" in inspect.signature(self._lm.generate_until).parameters else {}
        # API models draw their bars on stderr whatever they are told.
        with contextlib.redirect_stderr(io.StringIO()):
            replies = self._lm.generate_until(requests, **bar)
        if len(replies) != len(contexts):
            raise ValueError(f"{len(replies)} replies to {len(contexts)} requests")
        return [str(reply or "") for reply in replies]


def _load(settings: JudgeSettings) -> Any:
    import lm_eval.models  # noqa: F401  (registers them)
    from lm_eval.api.registry import MODEL_REGISTRY, get_model
    from lm_eval.models.api_models import TemplateAPI

    name = settings.lm_eval or ""
    if name not in MODEL_REGISTRY:
        raise unknown("lm-eval model", name, MODEL_REGISTRY.keys())
    try:
        kind = get_model(name)
        ours: dict[str, Any] = {}
        if issubclass(kind, TemplateAPI):
            ours = {"timeout": settings.timeout, "max_retries": settings.retries + 1, "num_concurrent": settings.concurrency}
        extra = {key: value for key, value in ours.items() if key not in settings.arguments}
        if hasattr(kind, "AUTO_MODEL_CLASS"):
            kind = type(kind.__name__, (_Whole, kind), {})
        return kind.create_from_arg_string(settings.model_args, extra)
    except Exception as error:
        told = settings.hide(" ".join(str(error).split()))[:300]
        raise UserError(
            f"The judge's model did not load (judge.lm_eval={name}, judge.model_args={settings.model_args}): "
            f"{type(error).__name__}: {told}"
        ) from error


class _Whole:
    """Before lm-eval's models of transformers in the order of classes: a judge of which tensors are missing does not load."""

    AUTO_MODEL_CLASS: Any

    def _create_model(self, *given: Any, **settings: Any) -> None:
        auto, self.AUTO_MODEL_CLASS = self.AUTO_MODEL_CLASS, _Checked(self.AUTO_MODEL_CLASS)
        try:
            super()._create_model(*given, **settings)  # type: ignore[misc]
        finally:
            self.AUTO_MODEL_CLASS = auto


@dataclass(frozen=True)
class _Checked:
    """An auto class of transformers that loads whole checkpoints alone."""

    auto: Any

    def from_pretrained(self, where: str, *given: Any, **settings: Any) -> Any:
        """See `l2v.checkpoint.check_loaded`."""
        model, account = self.auto.from_pretrained(where, *given, output_loading_info=True, **settings)
        check_loaded(account, where)
        return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval logs each failed request with the server's whole answer, in which keys can be quoted; asyncio logs the rest."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        # asyncio speaks of a failed task when it is collected.
        gc.collect()
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
