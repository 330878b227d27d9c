"""Which rows run when: prompts are opened a few at a time, rows fill the batch, finished ones make place.

Requests come sorted by length, the longest first, so that prompts that are opened together and rows that run together are about
equally long. What a window takes is known before it is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from l2v.errors import InterventionError, UserError
from l2v.steering.engine.anatomy import Refused
from l2v.steering.engine.chooser import Chooser
from l2v.steering.engine.encoder import Encoder
from l2v.steering.engine.limits import Limit, free_memory
from l2v.steering.engine.probe import Known, opened, verdict
from l2v.steering.engine.rows import Decoding, Request, Steering, response
from l2v.steering.engine.stepper import SHARED_TOKENS, Stepper
from l2v.steering.engine.waiting import WaitingPrompts
from l2v.steering.engine.window import Window
from l2v.steering.engine.works import Outcome, Unanswered, Unfit, Work, WorkRow, by_request

# Columns that two rows may differ by in any case.
_NEAR = 256
# Share of the free memory that keys and values may take.
_MEMORY_SHARE = 0.7


@dataclass(frozen=True)
class Sizes:
    """What a run may take. rows: in the batch; prompt_tokens: through the model at once; lengths: tokens of each request's
    prompt, as far as they are known beforehand. share_from: see Stepper.
    """

    rows: int
    prompt_tokens: int
    lengths: Sequence[int]
    share_from: int | None = SHARED_TOKENS


class Scheduler:
    """One run over distinct rows."""

    def __init__(
        self,
        known: Known,
        requests: Sequence[Request],
        steerings: Sequence[Steering],
        works: Sequence[Work],
        decoding: Decoding,
        sizes: Sizes,
        encoder: Encoder,
    ) -> None:
        self.known, self.anatomy, self.target = known, known.anatomy, known.anatomy.target
        self.requests, self.decoding, self.encoder = requests, decoding, encoder
        self.stepper = self._stepper(steerings, sizes.share_from)
        self.prompts = WaitingPrompts(requests, works, sizes.lengths, encoder)
        self.waiting = len(works)  # rows that are not in the batch yet
        self.asked = sizes.rows
        longest = max(sizes.lengths, default=1) + decoding.max_new_tokens
        self.batch = Limit(sizes.rows * longest)  # tokens of all rows in the batch, each at its full length
        self.budget = Limit(sizes.prompt_tokens)  # prompt tokens that go through the model at once
        self.entering = Limit(sizes.rows)  # rows that enter at once
        self.probes = self.prompts.shortest_of_each_kind()
        self.window: Window | None = None
        self.todo: list[WorkRow] = []  # rows of the open window
        self.memory_rows = sizes.rows  # rows of the open window's length for which there is memory
        self.filling = True
        self.pause = 0  # no filling until fewer rows than this are left; 0: none asked for
        self.chooser = Chooser(known, requests, decoding)
        self.lost: WorkRow | None = None

    def _stepper(self, steerings: Sequence[Steering], share_from: int | None) -> Stepper:
        return Stepper(self.anatomy, steerings, self.decoding.max_new_tokens, share_from)

    def outcomes(self) -> Iterator[Outcome]:
        """Every work once, as it finishes. Raises InterventionError when a steered row with alpha > 0 was never changed."""
        while self.waiting or self.stepper.entries:
            yield from self._fill() if self._may_fill() else self._step()
            if self.lost is not None:
                raise self._no_effect(self.lost)

    @property
    def limit(self) -> int:
        """Rows in the batch, by the length of those that come next."""
        length = self.window.width if self.window is not None else self.prompts.next_length
        return max(1, min(self.asked, self.memory_rows, self.batch.now // (length + self.decoding.max_new_tokens)))

    def _may_fill(self) -> bool:
        """Filling begins when half of the batch is free, and goes on until it is full.

        Rows that enter together are about equally long: the cost of a token grows with the longest row.
        """
        rows, limit = len(self.stepper.entries), self.limit
        free = limit - rows
        if rows and self.pause and rows >= self.pause:
            return False
        self.pause = 0
        if rows and self.waiting and self._far_shorter():
            return False
        if not self.waiting or free <= 0:
            self.filling = False
        elif not rows or free >= min(self.waiting, max(1, limit // 2)):
            self.filling = True
        return self.filling

    def _far_shorter(self) -> bool:
        """Whether the rows that come next would take less than half the columns of those in the batch.

        Buffers are as wide as the longest row, and every row attends over them: such rows wait until the long ones have left.
        """
        if self.window is not None:
            columns = max(self.stepper.own_columns(row, self.window.width) for row in self.todo)
        else:
            columns = self.prompts.next_length + self.decoding.max_new_tokens
        return self.stepper.span > 2 * columns + _NEAR

    # -- filling the batch -----------------------------------------------------------------------------------------

    def _fill(self) -> list[Outcome]:
        """Open prompts, or let some rows of the open ones enter."""
        if not self.todo:
            return self._open()
        assert self.window is not None
        rows = self._next_rows(self.window)
        before = len(self.stepper.entries)
        try:
            logits = self.stepper.enter(self.window, list(rows), min(self.limit, before + self.waiting))
        except torch.OutOfMemoryError:
            return self._enter_fewer(rows)
        self.entering.worked()
        entered = set(map(id, rows))
        self.todo = [row for row in self.todo if id(row) not in entered]
        self.waiting -= len(rows)
        self.chooser.enter(self.window, rows)
        if not self.todo:
            self._close()
        return self._advance(before, logits)

    def _close(self) -> None:
        """All rows of the window have entered, or never will."""
        if self.window is not None:
            self.window.close()
        self.window, self.todo = None, []
        self.batch.worked()

    def _next_rows(self, window: Window) -> list[WorkRow]:
        """Rows of one kind that fit the batch and the budget, sorted by the block that they are written at."""
        most = min(self.limit - len(self.stepper.entries), self.entering.now)
        part = self.stepper.sharing(self.todo[0])[0]
        # The last token of a prompt is cheap, and a shared prompt free; what is left is to copy its keys.
        budget = self.budget.now if part == 0 else 4 * self.budget.now
        if part != 0 and window.prompts is not None:
            budget = most * window.width
        chosen: list[WorkRow] = []
        longest = 0
        for row in self.todo:
            if self.stepper.sharing(row)[0] != part:
                continue
            longest = max(longest, window.lengths[row.request])
            if len(chosen) == most or (chosen and (len(chosen) + 1) * longest > budget):
                break
            chosen.append(row)
        return sorted(chosen, key=self.stepper.sharing)

    def _enter_fewer(self, tried: Sequence[WorkRow]) -> list[Outcome]:
        """Memory ran out while rows entered: fewer at once, or, one by one already, none until others have finished."""
        self._give_back()
        assert self.window is not None
        # Buffers are made for as many rows as may come: no more than these, until the next window is measured.
        self.memory_rows = len(self.stepper.entries) + max(1, len(tried) // 2)
        if len(tried) > 1:
            self.entering.failed(len(tried))
            return []
        if self._wait_for_memory():
            return []
        self.todo = [row for row in self.todo if row is not tried[0]]
        self.waiting -= 1
        unfit = Unfit([tried[0].work], self._asks_for(self.window.lengths[tried[0].request]))
        if not self.todo:
            self._close()
        return [unfit]

    def _wait_for_memory(self) -> bool:
        """Nothing more enters until half of the batch has left; False when there is none to leave."""
        rows = len(self.stepper.entries)
        self.filling, self.pause = False, max(1, (rows + 1) // 2)
        return rows > 0

    def _asks_for(self, length: int) -> str:
        return f"{length} prompt tokens and {self.decoding.max_new_tokens} new ones"

    def _open(self) -> list[Outcome]:
        """Run the next prompts. Requests that the engine may not answer come back unanswered."""
        groups = self.prompts.take(lambda: self.limit, self.budget.now)
        works = [work for group in groups for work in group]
        requests = [self.requests[group[0].request] for group in groups]
        needs = self.stepper.needs([None if w.write is None else self.stepper.steerings[w.write] for w in works])
        try:
            window = self._window(requests, needs)
        except torch.OutOfMemoryError:
            return self._open_fewer(groups)
        except UserError:
            raise
        except Exception as reason:
            # A window may meet what the probe did not; the model's own generate answers it, or says what is wrong.
            self.waiting -= len(works)
            return [Unanswered(works, str(reason) if isinstance(reason, Refused) else f"{type(reason).__name__}: {reason}")]
        self.budget.worked()
        self.todo = [WorkRow(place, work.write, work=work) for place, group in enumerate(groups) for work in group]
        if all(self.known.shares.get(bool(request.images)) for request in requests):
            self.stepper.share(window, self.todo)
        self.window = window
        self.memory_rows = self._fitting(window)
        self.prompts.prepare(lambda: self.limit, self.budget.now)
        return []

    def _window(self, requests: Sequence[Request], needs: Any) -> Window:
        for kind in {bool(request.images) for request in requests}:
            refusal = verdict(self.known, self.probes[kind])
            if refusal is not None:
                raise Refused(refusal)
        return opened(self.known, requests, needs, self.encoder.together(requests))

    def _open_fewer(self, groups: Sequence[list[Work]]) -> list[Outcome]:
        """Memory ran out while prompts were opened: fewer at once, or none until others have finished."""
        self._give_back()
        longest = max(self.prompts.lengths[group[0].request] for group in groups)
        if len(groups) > 1:
            self.budget.failed(len(groups) * longest)
        elif not self._wait_for_memory():
            self.waiting -= len(groups[0])
            return [Unfit(groups[0], self._asks_for(longest))]
        self.prompts.put_back(groups)
        return []

    def _free_memory(self) -> int | None:
        return free_memory(self.stepper.device)

    def _fitting(self, window: Window) -> int:
        """Rows of this window's length for which the free memory suffices, with what is in the batch."""
        free = self._free_memory()
        if free is None:
            return self.asked
        # Buffers of all rows, those in the batch too, at their full length.
        return int(_MEMORY_SHARE * (free + self.stepper.cache.bytes) / max(1, self.stepper.row_bytes(window, self.todo)))

    # -- one token for every row -----------------------------------------------------------------------------------

    def _step(self) -> list[Outcome]:
        tokens = torch.tensor([row.tokens[-1] for row in self._rows()], device=self.stepper.device)
        try:
            logits = self.stepper.step(tokens)
        except torch.OutOfMemoryError:
            return self._evict()
        return self._advance(0, logits)

    def _rows(self) -> list[WorkRow]:
        return cast(list[WorkRow], self.stepper.entries)

    def _advance(self, first: int, logits: Tensor) -> list[Outcome]:
        """Choose a token for the rows from `first` on; those that ended leave and come back as responses."""
        rows = self._rows()
        tokens = self.chooser.choose(rows[first:], logits, first)
        finished: list[WorkRow] = []
        kept = list(range(first))
        for place, (row, token) in enumerate(zip(rows[first:], tokens, strict=True), start=first):
            row.tokens.append(token)
            if self.chooser.ended(row):
                finished.append(row)
            else:
                kept.append(place)
        if finished:
            self._keep(kept)
        return [(row.work, response(self.target, row.tokens, self.decoding)) for row in finished if self._was_moved(row)]

    def _was_moved(self, row: WorkRow) -> bool:
        """Whether a row that should have been steered was; a row that was not ends the run."""
        if row.write is None or row.changed:
            return True
        late = self.stepper.steerings[row.write].positions == "decode"
        if late and len(row.tokens) == 1 and self.decoding.max_new_tokens > 1:
            # An answer that ends at once leaves nothing to write to; that is no fault of the vector.
            return True
        self.lost = row
        return False

    def _no_effect(self, row: WorkRow) -> InterventionError:
        assert row.write is not None
        steering, request = self.stepper.steerings[row.write], self.requests[row.work.request]
        return InterventionError(
            f"The intervention changed nothing in request '{request.id}' at layer {steering.layer} with alpha={steering.alpha} "
            f"({steering.positions}); no token was generated at its positions, or the vector has no effect."
        )

    def _keep(self, kept: Sequence[int]) -> None:
        self.chooser.keep(self.stepper.keep(kept))

    def _evict(self) -> list[Outcome]:
        """Memory ran out in a step: the later half of the rows begins anew when there is room."""
        rows = self._rows()
        if len(rows) == 1:
            self._keep([])
            self.stepper.release_memory()
            self._empty_cache()
            return [Unfit([rows[0].work], self._asks_for(self.prompts.lengths[rows[0].work.request]))]
        self.batch.failed(sum(self.prompts.lengths[row.work.request] + self.decoding.max_new_tokens for row in rows))
        kept = (len(rows) + 1) // 2
        self.filling, self.pause = False, kept
        self._send_back(kept)
        try:
            self.stepper.release_memory()
        except torch.OutOfMemoryError:
            self._send_back(0)
            self.stepper.release_memory()
        return []

    def _send_back(self, kept: int) -> None:
        """All rows but the first so many wait again."""
        rows = self._rows()[kept:]
        self.prompts.put_back(by_request([row.work for row in rows]))
        self.waiting += len(rows)
        self._keep(range(kept))
        self._empty_cache()

    def _give_back(self) -> None:
        """The memory of rows that have left, as far as there is room to move those that stay."""
        self._empty_cache()
        try:
            self.stepper.release_memory()
        except torch.OutOfMemoryError:
            return
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self.stepper.device.type == "cuda":
            torch.cuda.empty_cache()
