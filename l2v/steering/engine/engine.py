"""Rows through the model, sharing what is equal: a row is one request answered under one steering; rows of many cells mix.

    engine = Engine(target, Decoding(max_new_tokens=64))
    for index, response in engine.answer(rows):
        ...

Every prompt runs once, unsteered; a steered row runs only the blocks above its injection, and equal rows run once. Rows are
decoded in one batch that is filled up as rows end. In float32 the tokens are those of `generate_rows`, which is the model's
own `generate` with a hook, and which answers for models that cannot be taken apart.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from l2v.errors import UserError
from l2v.generation import check_room
from l2v.steering.engine.anatomy import Refused
from l2v.steering.engine.encoder import Encoder
from l2v.steering.engine.lengths import prompt_lengths
from l2v.steering.engine.probe import Known, study
from l2v.steering.engine.reference import (
    check_effect,
    combined,
    generate_apart,
    generate_rows,
    require_effect,
    require_sight,
)
from l2v.steering.engine.rows import (
    Decoding,
    Request,
    Response,
    Row,
    Steering,
    batched,
    encode_requests,
    request_key,
    steering_key,
)
from l2v.steering.engine.scheduler import Scheduler, Sizes
from l2v.steering.engine.stepper import SHARED_TOKENS
from l2v.steering.engine.works import Unanswered, Unfit, Work
from l2v.steering.hook import Intervention
from l2v.steering.models import LoadedModel

__all__ = [
    "Decoding", "Engine", "Request", "Response", "Row", "Steering", "batched", "check_effect", "combined", "encode_requests",
    "generate_rows", "require_effect",
]  # fmt: skip


class Engine:
    """Answers rows of one target under one decoding.

    max_rows: rows decoded at once, fewer where memory asks for it. prompt_tokens: prompt tokens that go
    through the model at once; a longer prompt goes alone. share_from: prompts of so many tokens are held once for all their
    rows (None: never; rows of shorter ones copy them, which is faster). tell: is given one sentence when a model cannot be
    taken apart (default: a logged warning).
    """

    def __init__(
        self,
        target: LoadedModel,
        decoding: Decoding,
        max_rows: int = 1024,
        prompt_tokens: int = 8192,
        share_from: int | None = SHARED_TOKENS,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.target = target
        self.decoding = decoding
        self.max_rows = max(1, max_rows)
        self.prompt_tokens = prompt_tokens
        self.share_from = share_from
        self.tell = tell or logging.getLogger(__name__).warning

    def answer(self, rows: Sequence[Row]) -> Iterator[tuple[int, Response]]:
        """(index in `rows`, response) for every row, as rows finish; equal rows at once.

        Rows are equal when they are steered with the same and their requests hold the same texts and image objects; alpha 0 is
        no steering. Raises UserError for requests and steerings that do not fit the model and for scores that are no finite
        numbers, and InterventionError when a row with alpha > 0 was not changed. Rows that do not fit the memory even alone
        are left out; once all others are answered, torch.OutOfMemoryError names them.
        """
        requests, steerings, works = self._distinct(rows)
        if not works:
            return
        check_room(self.target.model.generation_config.to_dict(), self.decoding.max_new_tokens, self.target.spec.place)
        self._look(requests)
        known = self._known()
        if isinstance(known, str):
            yield from self._plainly(Unanswered(works, known), requests, steerings)
            return
        sizes = Sizes(self.max_rows, self.prompt_tokens, prompt_lengths(self.target, requests), self.share_from)
        encoder, unfit = self._encoder(), list[Unfit]()
        try:
            for outcome in Scheduler(known, requests, steerings, works, self.decoding, sizes, encoder).outcomes():
                if isinstance(outcome, Unanswered):
                    yield from self._plainly(outcome, requests, steerings)
                elif isinstance(outcome, Unfit):
                    unfit.append(outcome)
                else:
                    work, response = outcome
                    for index in work.rows:
                        yield index, response
        finally:
            encoder.stop()
        if unfit:
            raise self._out_of_memory(unfit, requests)

    def _look(self, requests: Sequence[Request]) -> None:
        """Whether the target sees: tried once, on the first question with pictures; raises UserError where it does not."""
        pictured = next((request for request in requests if len(request.images)), None)
        if pictured is not None and not vars(self.target).get("_sees"):
            with suppress(torch.OutOfMemoryError):  # told by the rows that do not fit, others may
                require_sight(self.target, pictured)
                vars(self.target)["_sees"] = True

    def _encoder(self) -> Encoder:
        """The target's encoder, kept with it: other cells ask about the same pictures."""
        kept = vars(self.target)
        if not isinstance(kept.get("_encoder"), Encoder) or kept["_encoder"].target != self.target:
            kept["_encoder"] = Encoder(replace(self.target))
        encoder: Encoder = kept["_encoder"]
        encoder.begin()
        return encoder

    def _out_of_memory(self, unfit: Sequence[Unfit], requests: Sequence[Request]) -> torch.OutOfMemoryError:
        """What is told of rows that do not fit even alone, once all others are answered."""
        rows = sum(len(work.rows) for one in unfit for work in one.works)
        first = requests[unfit[0].works[0].request].id
        return torch.OutOfMemoryError(
            f"{rows} rows do not fit this device's memory even alone, the first is '{first}' ({unfit[0].reason}); give the "
            "processor a smaller picture size, or use a larger device, device_map=auto or quantization."
        )

    def _distinct(self, rows: Sequence[Row]) -> tuple[list[Request], list[Steering], list[Work]]:
        """The distinct requests, steerings with alpha > 0, and pairs of them; every steering is checked."""
        requests: dict[object, tuple[int, Request]] = {}
        steerings: dict[object, tuple[int, Steering]] = {}
        keys: dict[int, object] = {}
        works: dict[tuple[int, int | None], Work] = {}
        for index, (request, steering) in enumerate(rows):
            if steering is not None and id(steering) not in keys:
                Intervention(steering.vector, steering.layer, steering.alpha, steering.positions).check_target(
                    self.target.model
                )
                keys[id(steering)] = steering_key(steering)
            write = None
            if steering is not None and steering.alpha > 0:
                write = steerings.setdefault(keys[id(steering)], (len(steerings), steering))[0]
            place = requests.setdefault(request_key(request), (len(requests), request))[0]
            works.setdefault((place, write), Work(place, write, [])).rows.append(index)
        return [r for _, r in requests.values()], [s for _, s in steerings.values()], list(works.values())

    def _known(self) -> Known | str:
        """What is known of the target, kept with it; or why it cannot be taken apart."""
        kept = vars(self.target)
        if "_known" not in kept:
            try:
                kept["_known"] = study(self.target)
            except Refused as reason:
                kept["_known"] = str(reason)
            except (torch.OutOfMemoryError, UserError):
                raise
            except Exception as error:
                kept["_known"] = f"looked at, it fails ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        known: Known | str = kept["_known"]
        return known

    def _plainly(
        self, left: Unanswered, requests: Sequence[Request], steerings: Sequence[Steering]
    ) -> Iterator[tuple[int, Response]]:
        """Answer by the model's own `generate`, and say so once per target."""
        if not vars(self.target).get("_told"):
            vars(self.target)["_told"] = True
            self.tell(
                f"{type(self.target.model).__name__} is answered by its own generate with a hook, which gives the tokens that "
                f"it gives to a row alone and takes longer; the engine does not take it apart: {left.reason}."
            )
        lengths = prompt_lengths(self.target, requests)
        works = sorted(left.works, key=lambda work: -lengths[work.request])
        for batch in _alike(works, lengths, self.max_rows):
            rows = [(requests[w.request], None if w.write is None else steerings[w.write]) for w in batch]
            for work, response in zip(batch, generate_apart(self.target, rows, self.decoding), strict=True):
                for index in work.rows:
                    yield index, response


def _alike(works: Sequence[Work], lengths: Sequence[int], most: int) -> Iterator[list[Work]]:
    """Consecutive rows of one length, so many at most."""
    for _, alike in itertools.groupby(works, key=lambda work: lengths[work.request]):
        whole = list(alike)
        for start in range(0, len(whole), most):
            yield whole[start : start + most]
