"""Which rows run when: prompts are opened a few at a time, rows fill the batch, finished ones make place."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from l2v.errors import InterventionError
from l2v.steering.engine.probe import Known, verdict
from l2v.steering.engine.rows import Decoding, Request, Response, Steering, StopStrings, end_ids, response
from l2v.steering.engine.sampling import choose, draw
from l2v.steering.engine.stepper import Entry, Stepper
from l2v.steering.engine.window import Refused, Window, capture

# Requests in the first window, whose length nobody knows yet, and in any.
_FIRST_WINDOW, _WINDOW = 8, 64
# Share of an accelerator's free memory that keys and values may take.
_MEMORY_SHARE = 0.7


@dataclass
class Work:
    """A distinct row: the indices of its request and steering (None: unsteered), and its places among the caller's rows."""

    request: int
    write: int | None
    rows: list[int]


@dataclass(frozen=True)
class Unanswered:
    """Rows that the engine leaves to another way, and why."""

    works: list[Work]
    reason: str


Outcome = tuple[Work, Response] | Unanswered


@dataclass
class _Row(Entry):
    """A row in the batch with its work and what it has generated."""

    work: Work = field(default_factory=lambda: Work(0, None, []))
    tokens: list[int] = field(default_factory=list)
    prompt_tail: list[int] = field(default_factory=list)


class Scheduler:
    """One run over distinct rows. Prompts are opened in the order of `works`, which holds equal requests together."""

    def __init__(
        self,
        known: Known,
        requests: Sequence[Request],
        steerings: Sequence[Steering],
        works: Sequence[Work],
        decoding: Decoding,
        limit: int,
        budget: int,
    ) -> None:
        self.known, self.anatomy, self.target = known, known.anatomy, known.anatomy.target
        self.requests, self.decoding = requests, decoding
        self.stepper = Stepper(known.anatomy, steerings)
        self.queue: deque[list[Work]] = deque(_by_request(works))
        self.waiting = len(works)  # rows that are not in the batch yet
        self.limit = limit  # rows in the batch
        self.budget = budget  # prompt tokens that go through the model at once
        self.window: Window | None = None
        self.todo: list[_Row] = []  # rows of the open window
        self.window_limit = _FIRST_WINDOW
        self.longest = 1
        self.filling = True
        self.seen: Tensor | None = None  # (rows, vocabulary) bool, for repetition penalties
        self.ends = end_ids(self.target)
        self.stop = StopStrings(self.target.tokenizer, decoding.stop)
        self.lost: _Row | None = None

    def outcomes(self) -> Iterator[Outcome]:
        """Every work once, as it finishes. Raises InterventionError when a steered row with alpha > 0 was never changed."""
        while self.waiting or self.stepper.entries:
            yield from self._fill() if self._may_fill() else self._step()
            if self.lost is not None:
                raise self._no_effect(self.lost)

    def _may_fill(self) -> bool:
        """Filling begins when half of the batch is free, and goes on until it is full.

        Rows that enter together are about equally long: the cost of a token grows with the longest row.
        """
        free = self.limit - len(self.stepper.entries)
        if not self.waiting or free <= 0:
            self.filling = False
        elif not self.stepper.entries or free >= min(self.waiting, max(1, self.limit // 2)):
            self.filling = True
        return self.filling

    # -- filling the batch -----------------------------------------------------------------------------------------

    def _fill(self) -> list[Outcome]:
        """Open prompts, or let some rows of the open ones enter."""
        if not self.todo:
            return self._open()
        assert self.window is not None
        rows = self._next_rows(self.window)
        before = len(self.stepper.entries)
        columns = max(self.window.lengths[row.request] for row in rows) + min(self.decoding.max_new_tokens, 32)
        try:
            logits = self.stepper.enter(self.window, list(rows), min(self.limit, before + self.waiting), columns)
        except torch.OutOfMemoryError:
            self._enter_fewer(len(rows))
            return []
        entered = set(map(id, rows))
        self.todo = [row for row in self.todo if id(row) not in entered]
        self.waiting -= len(rows)
        self._note_prompts(self.window, rows)
        if not self.todo:
            self.window = None
        return self._advance(before, logits)

    def _next_rows(self, window: Window) -> list[_Row]:
        """Rows of one kind that fit the batch and the budget, sorted by the block that they are written at."""
        free = self.limit - len(self.stepper.entries)
        part = self.stepper.sharing(self.todo[0])[0]
        # The last token of a prompt is cheap, and a shared prompt free; what is left is to copy its keys.
        budget = self.budget if part == 0 else 4 * self.budget
        chosen: list[_Row] = []
        for row in self.todo:
            if len(chosen) == free or (chosen and (len(chosen) + 1) * window.lengths[row.request] > budget):
                break
            if self.stepper.sharing(row)[0] == part:
                chosen.append(row)
        return sorted(chosen, key=self.stepper.sharing)

    def _enter_fewer(self, tried: int) -> None:
        """Memory ran out while rows entered: fewer at once, or, one by one already, none until others have finished."""
        self._empty_cache()
        if tried > 1:
            self.budget = max(1, self.longest * tried // 8)
            self.limit = max(1, min(self.limit, len(self.stepper.entries) + max(1, tried // 2)))
        else:
            self._wait_for_memory()

    def _wait_for_memory(self) -> None:
        if not self.stepper.entries:
            raise torch.OutOfMemoryError("One row alone does not fit this device's memory.")
        self.limit, self.filling = len(self.stepper.entries), False

    def _open(self) -> list[Outcome]:
        """Run the next prompts. Requests that the engine may not answer come back unanswered."""
        groups = self._next_groups()
        works = [work for group in groups for work in group]
        requests = [self.requests[group[0].request] for group in groups]
        needs = self.stepper.needs([None if w.write is None else self.stepper.steerings[w.write] for w in works])
        try:
            refusal = next(filter(None, (verdict(self.known, request) for request in requests)), None)
            if refusal is not None:
                raise Refused(refusal)
            window = capture(self.anatomy, requests, needs)
            self.anatomy.check_length(window.width + self.decoding.max_new_tokens)
        except Refused as reason:
            self.waiting -= len(works)
            return [Unanswered(works, str(reason))]
        except torch.OutOfMemoryError:
            self.queue.extendleft(reversed(groups))
            self._open_fewer(len(groups))
            return []
        self.window, self.longest, self.window_limit = window, window.width, max(self.window_limit, _WINDOW)
        self.todo = [_Row(place, work.write, work=work) for place, group in enumerate(groups) for work in group]
        self._fit(window)
        return []

    def _next_groups(self) -> list[list[Work]]:
        free = self.limit - len(self.stepper.entries)
        groups = [self.queue.popleft()]
        while self.queue and len(groups) < self.window_limit and sum(map(len, groups)) < free:
            if (len(groups) + 1) * self.longest > self.budget:
                break
            groups.append(self.queue.popleft())
        return groups

    def _open_fewer(self, tried: int) -> None:
        self._empty_cache()
        if tried > 1:
            self.budget, self.window_limit = max(1, self.budget // 2), tried // 2
        else:
            self._wait_for_memory()

    def _fit(self, window: Window) -> None:
        """Keep the batch within the free memory of an accelerator, with every row at its full length."""
        device = self.stepper.device
        if device.type != "cuda":
            return
        per_token = sum(t.shape[1] * t.shape[3] * t.element_size() for t in (*window.keys, *window.values))
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        rows = len(self.stepper.entries) + int(
            _MEMORY_SHARE * free / (per_token * (window.width + self.decoding.max_new_tokens))
        )
        self.limit = max(1, len(self.stepper.entries), min(self.limit, rows))

    def _note_prompts(self, window: Window, rows: Sequence[_Row]) -> None:
        """What score processors need to know of the prompts."""
        scores = self.known.scores
        if scores.tail:
            for row in rows:
                row.prompt_tail = window.ids[row.request, -min(scores.tail, window.lengths[row.request]) :].tolist()
        if scores.penalties:
            vocabulary = window.logits.shape[1]
            seen = torch.zeros(len(rows), vocabulary, dtype=torch.bool, device=window.logits.device)
            for place, row in enumerate(rows):
                ids = window.ids[row.request, -window.lengths[row.request] :].to(seen.device)
                seen[place, ids[ids < vocabulary]] = True
            self.seen = seen if self.seen is None else torch.cat([self.seen, seen])

    # -- one token for every row -----------------------------------------------------------------------------------

    def _step(self) -> list[Outcome]:
        tokens = torch.tensor([row.tokens[-1] for row in self._rows()], device=self.stepper.device)
        try:
            logits = self.stepper.step(tokens)
        except torch.OutOfMemoryError:
            self._evict()
            return []
        return self._advance(0, logits)

    def _rows(self) -> list[_Row]:
        return [entry for entry in self.stepper.entries if isinstance(entry, _Row)]

    def _advance(self, first: int, logits: Tensor) -> list[Outcome]:
        """Choose a token for the rows from `first` on; those that ended leave and come back as responses."""
        rows = self._rows()
        tokens = self._choose(rows[first:], logits, first)
        finished: list[_Row] = []
        kept = list(range(first))
        for place, (row, token) in enumerate(zip(rows[first:], tokens, strict=True), start=first):
            row.tokens.append(token)
            if token in self.ends or len(row.tokens) >= self.decoding.max_new_tokens or self.stop.met(row.tokens):
                finished.append(row)
            else:
                kept.append(place)
        if finished:
            self._keep(kept)
        return [(row.work, response(self.target, row.tokens, self.decoding)) for row in finished if self._was_moved(row)]

    def _choose(self, rows: Sequence[_Row], logits: Tensor, first: int) -> list[int]:
        seen = None if self.seen is None else self.seen[first:]
        tails = [[*row.prompt_tail, *row.tokens] for row in rows] if self.known.scores.tail else []
        scores = self.known.scores(logits, seen, tails)
        early = [len(row.tokens) < self.decoding.min_new_tokens for row in rows]
        if any(early):
            ends = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
            ends[sorted(self.ends)] = True
            scores = scores.masked_fill(torch.tensor(early, device=scores.device)[:, None] & ends, -torch.inf)
        draws = []
        if self.decoding.temperature > 0:
            draws = [draw(self.decoding.seed, self.requests[r.work.request].id, len(r.tokens)) for r in rows]
        chosen = choose(scores, self.decoding, draws)
        if seen is not None:
            seen.scatter_(1, chosen[:, None].to(seen.device), True)
        return [int(token) for token in chosen.tolist()]

    def _was_moved(self, row: _Row) -> bool:
        """Whether a row that should have been steered was; a row that was not ends the run."""
        if row.write is None or row.changed:
            return True
        late = self.stepper.steerings[row.write].positions == "decode"
        if late and len(row.tokens) == 1 and self.decoding.max_new_tokens > 1:
            # An answer that ends at once leaves nothing to write to; that is no fault of the vector.
            return True
        self.lost = row
        return False

    def _no_effect(self, row: _Row) -> InterventionError:
        assert row.write is not None
        steering, request = self.stepper.steerings[row.write], self.requests[row.work.request]
        return InterventionError(
            f"The intervention changed nothing in request '{request.id}' at layer {steering.layer} with alpha={steering.alpha} "
            f"({steering.positions}); no token was generated at its positions, or the vector has no effect."
        )

    def _keep(self, kept: Sequence[int]) -> None:
        order = self.stepper.keep(kept)
        if self.seen is not None:
            self.seen = self.seen[torch.tensor(order, dtype=torch.long, device=self.seen.device)]

    def _evict(self) -> None:
        """Memory ran out in a step: the later half of the rows begins anew when there is room."""
        rows = len(self.stepper.entries)
        if rows == 1:
            raise torch.OutOfMemoryError("One row alone does not fit this device's memory.")
        self.limit, self.filling = (rows + 1) // 2, False
        self._send_back(self.limit)
        try:
            self.stepper.release_memory()
        except torch.OutOfMemoryError:
            self._send_back(0)
            self.stepper.release_memory()

    def _send_back(self, kept: int) -> None:
        """All rows but the first so many wait again."""
        rows = self._rows()[kept:]
        self.queue.extendleft(reversed(_by_request([row.work for row in rows])))
        self.waiting += len(rows)
        self._keep(range(kept))
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self.stepper.device.type == "cuda":
            torch.cuda.empty_cache()


def _by_request(works: Sequence[Work]) -> list[list[Work]]:
    """Works of one request together, in the order in which requests first appear."""
    groups: dict[int, list[Work]] = {}
    for work in works:
        groups.setdefault(work.request, []).append(work)
    return list(groups.values())
