"""Whether the engine may be trusted with a model: it is taken apart once, and must answer as the whole model does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from l2v.errors import UserError
from l2v.steering.engine.anatomy import Anatomy, Refused
from l2v.steering.engine.entries import Entry
from l2v.steering.engine.prefix import common_prefix
from l2v.steering.engine.reference import first_logits, generation_options, unwarned
from l2v.steering.engine.rows import Request, Steering
from l2v.steering.engine.sampling import Scores
from l2v.steering.engine.stepper import Stepper
from l2v.steering.engine.window import Needs, Window, capture
from l2v.steering.models import LoadedModel

# How far the logits may lie apart, as a share of the largest: rounding, which differs with the order of sums.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.1}


@dataclass
class Known:
    """What was found out about one model: its parts, its score processors, and per kind of request (with images, without)
    the reason why the engine may not answer it, None where it may, and whether rows may share a prompt that is held once.
    once: whether what prompts begin with may be run a single time, by kind of window; a kind that is missing was not tried yet.
    """

    anatomy: Anatomy
    scores: Scores
    verdicts: dict[bool, str | None] = field(default_factory=dict)
    shares: dict[bool, bool] = field(default_factory=dict)
    once: dict[bool, bool] = field(default_factory=dict)


def study(target: LoadedModel) -> Known:
    """Take a model apart. Raises Refused for one of unknown parts or score processors."""
    scores = Scores(_processors(target))
    if scores.unknown:
        raise Refused(f"its generation config asks for {', '.join(scores.unknown)}")
    return Known(Anatomy(target), scores)


def _processors(target: LoadedModel) -> list[Any]:
    """The logits processors that the model's own `generate` makes."""
    found: list[Any] = []

    def spy(_model: Any, input_ids: Tensor, logits_processor: Any, **_: Any) -> Tensor:
        found.extend(logits_processor)
        return input_ids

    ids = torch.zeros(1, 2, dtype=torch.long, device=target.model.device)
    options = generation_options(target, 1)
    with unwarned():  # of a least length that two tokens and one more do not reach
        target.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), custom_generate=spy, **options)
    return found


def verdict(known: Known, request: Request) -> str | None:
    """Why the engine may not answer requests like this one, or None; worked out once for those with images and without."""
    kind = bool(request.images)
    if kind not in known.verdicts:
        try:
            known.verdicts[kind] = _compare(known, request)
        except Refused as reason:
            known.verdicts[kind] = str(reason)
        except (torch.OutOfMemoryError, UserError):
            raise
        except Exception as error:
            # Whatever else a model does when its blocks are called one by one: its own generate may answer all the same.
            known.verdicts[kind] = f"taken apart, it fails ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
    return known.verdicts[kind]


def _compare(known: Known, request: Request) -> str | None:
    """Two tokens of one request, unsteered, steered at the whole prompt and at its last token: by the engine and whole.

    Once with a prompt that is copied to its rows, and where that is right once with one that they share.
    """
    reason = _apart(known, request, share_from=None)
    if reason is None:
        try:
            known.shares[bool(request.images)] = _apart(known, request, share_from=0) is None
        except (Refused, RuntimeError, TypeError, ValueError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            known.shares[bool(request.images)] = False
    return reason


def _apart(known: Known, request: Request, share_from: int | None) -> str | None:
    target, blocks = known.anatomy.target, len(known.anatomy.layers)
    steerings = _trials(target, blocks)
    stepper = Stepper(known.anatomy, steerings, 2, share_from)
    window = capture(known.anatomy, [request], stepper.needs(steerings))
    entries = {write: Entry(0, write) for write in (None, *range(len(steerings)))}
    stepper.share(window, list(entries.values()))
    apart = 0.0
    for write, entry in entries.items():
        # One row at a time, so that the probe needs no more memory than an answer.
        trial = None if write is None else steerings[write]
        whole, tokens = first_logits(target, request, [trial], tokens=2)
        ours = [stepper.enter(window, [entry], 1), stepper.step(tokens[:, 0])]
        stepper.keep([])
        apart = max(apart, *(_distance(a, b) for a, b in zip(whole, ours, strict=True)))
    if not apart <= TOLERANCE.get(target.model.dtype, 1e-3):
        return f"its logits differ by {apart:.2g} of their size when its decoder blocks are called one by one"
    return None


def opened(known: Known, requests: Sequence[Request], needs: Needs, inputs: dict[str, Tensor]) -> Window:
    """The window of these requests; what they begin with runs a single time where that gives what the whole prompts give.

    Whether it does is compared for the first window that could, on the two of its requests that lie farthest apart.
    """
    kind = any(request.images for request in requests)
    begun = 0 if needs.whole or known.once.get(kind) is False else common_prefix(inputs, known.anatomy.image_ids)
    if begun and kind not in known.once:
        known.once[kind] = _begins_once(known, [requests[0], requests[-1]], begun)
        begun = begun if known.once[kind] else 0
    try:
        return capture(known.anatomy, requests, needs, inputs, begun)
    except Refused:
        if not begun:
            raise
        known.once[kind] = False
        return capture(known.anatomy, requests, needs, inputs)


def _begins_once(known: Known, pair: Sequence[Request], begun: int) -> bool:
    """Whether two prompts give the same states, keys, values and logits when their first columns run apart."""
    needs = Needs(last=frozenset(range(len(known.anatomy.layers))))
    whole = capture(known.anatomy, pair, needs)
    try:
        apart = capture(known.anatomy, pair, needs, begun=begun)
    except (Refused, RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return False
    seen = whole.real[:, None, :, None]
    held = [(a * seen.to(a.device), b * seen.to(b.device)) for kind in ("keys", "values")
            for a, b in zip(getattr(whole, kind), getattr(apart, kind), strict=True)]  # fmt: skip
    compared = [(whole.logits, apart.logits), *((whole.last[block], apart.last[block]) for block in whole.last), *held]
    tolerance = TOLERANCE.get(known.anatomy.target.model.dtype, 1e-3)
    return all(_distance(a, b) <= tolerance for a, b in compared)


def _distance(whole: Tensor, ours: Tensor) -> float:
    """The largest difference as a share of the largest number; infinite for anything that is no number."""
    share = float((whole - ours.to(whole.device)).abs().max() / whole.abs().max().clamp_min(1e-6))
    return share if math.isfinite(share) else math.inf


def _trials(target: LoadedModel, blocks: int) -> list[Steering]:
    """Steerings that reach every block: vectors as long as an embedding's typical state, drawn with a fixed seed."""
    draws = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, target.width, generator=draws)
    return [Steering(vectors[0], 0, 1.0, "all"), Steering(vectors[1], blocks // 2, 1.0, "generated")]
