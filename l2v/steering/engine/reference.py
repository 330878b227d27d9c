"""Rows through Hugging Face's own `generate` with an Intervention: what the engine must equal, and its way out for
models that it cannot take apart."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor

from l2v.errors import InterventionError, UserError
from l2v.steering.engine.rows import Decoding, Request, Response, Row, Steering, StopStrings, encode_requests, end_ids, response
from l2v.steering.engine.sampling import Numbers, RowSampler
from l2v.steering.hook import Intervention
from l2v.steering.models import LoadedModel

Given = TypeVar("Given")
Made = TypeVar("Made")


@contextmanager
def unwarned() -> Iterator[None]:
    """Without transformers' word on a least length above the most; that a checkpoint asks for one is told before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unfeasible length constraints")
        yield


def generate_rows(target: LoadedModel, rows: Sequence[Row], decoding: Decoding) -> list[Response]:
    """Answer a batch of rows, left-padded, each under its own steering (None: unsteered). Same order as `rows`.

    By the model's own `generate`. When the accelerator's memory runs out, the batch is halved and tried again.
    Raises InterventionError when a steered row with alpha > 0 was not changed at all.
    """
    return halved(partial(_generate_batch, target, decoding), rows)


def halved(run: Callable[[Sequence[Given]], list[Made]], rows: Sequence[Given]) -> list[Made]:
    """What `run` makes of all rows, one after the other; where the accelerator's memory runs out, of each half by itself."""
    try:
        return run(rows)
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(rows) // 2
    return halved(run, rows[:middle]) + halved(run, rows[middle:])


# What models raise for questions of a kind that they do not take, as one without a picture, and for settings that do not fit.
_UNANSWERABLE = (
    TypeError, ValueError, IndexError, KeyError, NotImplementedError, AttributeError, ImportError, ArithmeticError,
)  # fmt: skip
# Of a device's own errors those that say that two sizes do not fit.
MISFIT = re.compile(r"\b(sizes?|shapes?)\b")


def generate_apart(target: LoadedModel, rows: Sequence[Row], decoding: Decoding) -> list[Response]:
    """As `generate_rows`, in batches of equally long prompts: without padding no row's answer depends on its neighbours.

    Rotary positions that change with the longest row, and attention that chooses among all tokens of a batch, make it depend.
    Raises UserError for what the model's own `generate` refuses.
    """
    return halved(partial(_generate_apart, target, decoding), rows)


def _generate_apart(target: LoadedModel, decoding: Decoding, rows: Sequence[Row]) -> list[Response]:
    try:
        inputs = encode_requests(target, [request for request, _ in rows])
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        if len(set(lengths)) == 1:
            return _generate_batch(target, decoding, rows, inputs)
    except (*_UNANSWERABLE, RuntimeError) as error:
        _refuse(target, rows[0][0], error)
    found: dict[int, Response] = {}
    for length in sorted(set(lengths)):
        places = [place for place, own in enumerate(lengths) if own == length]
        found |= dict(zip(places, generate_apart(target, [rows[place] for place in places], decoding), strict=True))
    return [found[place] for place in range(len(rows))]


def _refuse(target: LoadedModel, request: Request, error: Exception) -> NoReturn:
    """Raise one sentence for a question that the model cannot take; a device's error that speaks of no sizes as it is."""
    own = isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError) and not MISFIT.search(str(error))
    if own or isinstance(error, torch.OutOfMemoryError):
        raise error
    about = f"{len(request.images)} pictures" if request.images else "no picture"
    raise UserError(
        f"{type(target.model).__name__} cannot answer question '{request.id}', which has {about}: its generate fails with "
        f"{type(error).__name__} ({' '.join(str(error).split())[:160]}); choose another target or questions that it takes."
    ) from error


def _generate_batch(
    target: LoadedModel, decoding: Decoding, rows: Sequence[Row], inputs: dict[str, Any] | None = None
) -> list[Response]:
    inputs = encode_requests(target, [request for request, _ in rows]) if inputs is None else inputs
    intervention = combined([steering for _, steering in rows], target.width)
    options = generation_options(target, decoding.max_new_tokens)
    prompt_length = inputs["input_ids"].shape[1]
    if decoding.stop:
        options["stopping_criteria"] = [_stop_criterion(target.tokenizer, prompt_length, decoding.stop)]
    if decoding.min_new_tokens:
        options["min_new_tokens"] = decoding.min_new_tokens
    ids = [request.id for request, _ in rows]
    options["logits_processor"] = [Numbers(target.spec.place, ids)]
    if decoding.temperature > 0:
        options["logits_processor"].append(RowSampler(decoding, ids, prompt_length))
    with torch.no_grad(), unwarned():
        if intervention is None:
            output = target.model.generate(**inputs, **options)
        else:
            # Answers that all end at once leave `positions=decode` nothing to write to; that is no fault of the vector.
            with intervention.applied_to(target.model, idle_ok=decoding.max_new_tokens > 1):
                output = target.model.generate(**inputs, **options)
    return [response(target, row, decoding) for row in output[:, prompt_length:].tolist()]


def generation_options(target: LoadedModel, max_new_tokens: int) -> dict[str, Any]:
    """Arguments of `generate` for greedy decoding; sampling and what makes it faster by the checkpoint are switched off.

    A generation config without an end token is given the tokenizer's, by which the engine ends answers too: so a least length
    puts off the same token in both.
    """
    ends = {} if target.model.generation_config.eos_token_id is not None else {"eos_token_id": sorted(end_ids(target)) or None}
    return {
        **ends,
        "max_new_tokens": max_new_tokens,
        "max_length": None,
        "do_sample": False,
        "num_beams": 1,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "prompt_lookup_num_tokens": None,
        "assistant_early_exit": None,
        "use_mtp": None,
        "is_assistant": None,
        "return_dict_in_generate": False,
        "pad_token_id": target.tokenizer.pad_token_id,
    }


def _stop_criterion(tokenizer: Any, prompt_length: int, stops: Sequence[str]) -> Any:
    """A stopping criterion for `generate`: a row is done once its generated text holds a stop string."""
    strings = StopStrings(tokenizer, stops)

    def met(ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        return torch.tensor([strings.met(row) for row in ids[:, prompt_length:].tolist()], device=ids.device)

    return met


def combined(steerings: Sequence[Steering | None], width: int) -> Intervention | None:
    """One intervention with a vector, layer, alpha and positions per row; None when no row is steered."""
    if not any(s is not None and s.alpha > 0 for s in steerings):
        return None
    still = Steering(torch.zeros(width), 0, 0.0)
    rows = [s or still for s in steerings]
    return Intervention(
        vector=torch.stack([s.vector.float().cpu() for s in rows]),
        layer=[s.layer for s in rows],
        alpha=[s.alpha for s in rows],
        positions=[s.positions for s in rows],
    )


def first_logits(
    target: LoadedModel, request: Request, steerings: Sequence[Steering | None], tokens: int
) -> tuple[Any, Tensor]:
    """The raw logits of the first `tokens` generated tokens of one request under each steering, and those tokens.

    Returns a tuple of `tokens` tensors (rows, vocabulary), float32, and the chosen ids (rows, tokens). Raises
    InterventionError when a write itself changed nothing.
    """
    inputs = encode_requests(target, [request] * len(steerings))
    options = generation_options(target, tokens) | {"min_new_tokens": tokens}
    options |= {"output_logits": True, "return_dict_in_generate": True}
    intervention = combined(steerings, target.width)
    with torch.no_grad(), unwarned():
        if intervention is None:
            output = target.model.generate(**inputs, **options)
        else:
            with intervention.applied_to(target.model):
                output = target.model.generate(**inputs, **options)
    return output.logits, output.sequences[:, inputs["input_ids"].shape[1] :]


def check_effect(target: LoadedModel, request: Request, steerings: Sequence[Steering]) -> list[int]:
    """Which of the steerings change no logit of the first two generated tokens of one request (indices; normally none).

    A write can move the residual stream and still be lost, in a block whose output nothing reads; this looks at what
    comes out. When the accelerator's memory runs out, the steerings are halved. Raises InterventionError when a write
    itself changed nothing, and UserError for a question that the model's own `generate` refuses.
    """
    steered = [i for i, s in enumerate(steerings) if s.alpha > 0]
    return halved(partial(_unmoved, target, request, steerings), steered) if steered else []


def _unmoved(target: LoadedModel, request: Request, steerings: Sequence[Steering], steered: Sequence[int]) -> list[int]:
    try:
        logits, _ = first_logits(target, request, [None, *(steerings[i] for i in steered)], tokens=2)
    except _UNANSWERABLE as error:
        _refuse(target, request, error)
    # Equal rows of one batch may differ by rounding; a write that moves less than that has no effect either.
    same = torch.stack([(s - s[:1]).abs().amax(dim=1) <= 1e-6 * s.abs().max() for s in logits]).all(dim=0)
    return [i for row, i in enumerate(steered, start=1) if bool(same[row])]


def require_effect(target: LoadedModel, request: Request, steerings: Sequence[Steering]) -> None:
    """Raise InterventionError when a steering with alpha > 0 changes no logit; see `check_effect`."""
    lost = check_effect(target, request, steerings)
    if lost:
        first = steerings[lost[0]]
        raise InterventionError(
            f"Steering at layer {first.layer} with alpha={first.alpha} ({first.positions}) changed no logit: the write is lost "
            "in this model."
        )


def require_sight(target: LoadedModel, request: Request) -> None:
    """Raise UserError where other pictures of the same sizes change no logit of a request's first token.

    A tower of zeros, closed gates and pictures that never reach a model leave answers that look like any others.
    """
    other = replace(request, images=tuple(image.point(lambda value: (value + 128) % 256) for image in request.images))
    try:
        own, theirs = (first_logits(target, one, [None], tokens=1)[0][0] for one in (request, other))
    except (*_UNANSWERABLE, RuntimeError) as error:
        _refuse(target, request, error)
    if bool((own - theirs).abs().max() <= 1e-6 * own.abs().max()):
        raise UserError(
            f"'{target.spec.place}' does not see: another picture in question '{request.id}' changes none of its scores, so "
            "its weights or settings are damaged; get the checkpoint again."
        )
