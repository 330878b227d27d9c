"""Rows through the model, sharing what is equal: a row is one request answered under one steering; rows of many cells mix.

    engine = Engine(target, Decoding(max_new_tokens=64))
    for index, response in engine.answer(rows):
        ...

Every prompt runs once, unsteered; a steered row runs only the blocks above its injection, and equal rows run once. Rows are
decoded in one batch that is filled up as rows end. In float32 the tokens are those of `generate_rows`, which is the model's
own `generate` with a hook, and which answers for models that cannot be taken apart.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence

from l2v.steering.engine.probe import Known, study
from l2v.steering.engine.reference import check_effect, combined, generate_rows, require_effect
from l2v.steering.engine.rows import Decoding, Request, Response, Row, Steering, batched, encode_requests
from l2v.steering.engine.scheduler import Scheduler, Unanswered, Work
from l2v.steering.engine.window import Refused
from l2v.steering.hook import Intervention
from l2v.steering.models import LoadedModel

__all__ = [
    "Decoding", "Engine", "Request", "Response", "Row", "Steering", "batched", "check_effect", "combined", "encode_requests",
    "generate_rows", "require_effect",
]  # fmt: skip


class Engine:
    """Answers rows of one target under one decoding.

    max_rows: rows decoded at once, fewer where an accelerator's memory asks for it. prompt_tokens: prompt tokens that go
    through the model at once. tell: is given one sentence when a model cannot be taken apart (default: a logged warning).
    """

    def __init__(
        self,
        target: LoadedModel,
        decoding: Decoding,
        max_rows: int = 512,
        prompt_tokens: int = 8192,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.target = target
        self.decoding = decoding
        self.max_rows = max(1, max_rows)
        self.prompt_tokens = prompt_tokens
        self.tell = tell or logging.getLogger(__name__).warning

    def answer(self, rows: Sequence[Row]) -> Iterator[tuple[int, Response]]:
        """(index in `rows`, response) for every row, as rows finish; equal rows at once.

        Rows are equal when they are steered with the same and their requests hold the same texts and image objects; alpha 0 is
        no steering. Raises UserError for requests and steerings that do not fit the model, and InterventionError when a row
        with alpha > 0 was not changed.
        """
        requests, steerings, works = self._distinct(rows)
        if not works:
            return
        known = self._known()
        if isinstance(known, str):
            yield from self._plainly(Unanswered(works, known), requests, steerings)
            return
        scheduler = Scheduler(known, requests, steerings, works, self.decoding, self.max_rows, self.prompt_tokens)
        for outcome in scheduler.outcomes():
            if isinstance(outcome, Unanswered):
                yield from self._plainly(outcome, requests, steerings)
            else:
                work, response = outcome
                for index in work.rows:
                    yield index, response

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
                keys[id(steering)] = _steering_key(steering)
            write = None
            if steering is not None and steering.alpha > 0:
                write = steerings.setdefault(keys[id(steering)], (len(steerings), steering))[0]
            place = requests.setdefault(_request_key(request), (len(requests), request))[0]
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
        known: Known | str = kept["_known"]
        return known

    def _plainly(
        self, left: Unanswered, requests: Sequence[Request], steerings: Sequence[Steering]
    ) -> Iterator[tuple[int, Response]]:
        """Answer by the model's own `generate`, and say so once per target."""
        if not vars(self.target).get("_told"):
            vars(self.target)["_told"] = True
            self.tell(
                f"{type(self.target.model).__name__} is answered by its own generate with a hook, which gives the same tokens "
                f"and takes longer; the engine does not take it apart: {left.reason}."
            )
        for start in range(0, len(left.works), self.max_rows):
            works = left.works[start : start + self.max_rows]
            rows = [(requests[w.request], None if w.write is None else steerings[w.write]) for w in works]
            for work, response in zip(works, generate_rows(self.target, rows, self.decoding), strict=True):
                for index in work.rows:
                    yield index, response


def _steering_key(steering: Steering) -> object:
    vector = steering.vector.detach().float().cpu().contiguous().numpy().tobytes()
    return steering.layer, steering.alpha, steering.positions, hashlib.blake2b(vector).digest()


def _request_key(request: Request) -> object:
    # Other sequences may make their images anew at every reading: only the sequence itself tells that they are the same.
    held = isinstance(request.images, (tuple, list))
    images = tuple(map(id, request.images)) if held else id(request.images)
    return request.id, request.text, request.prefix, request.templated, request.history, images
