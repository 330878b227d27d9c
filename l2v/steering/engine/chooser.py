"""Which token comes next in every row of a batch, and when a row has ended."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from l2v.steering.engine.probe import Known
from l2v.steering.engine.rows import Decoding, Request, StopStrings, end_ids
from l2v.steering.engine.sampling import choose, draw, no_number, overflow
from l2v.steering.engine.window import Window
from l2v.steering.engine.works import WorkRow


class Chooser:
    """The choice of tokens in one run; it follows which rows are in the batch."""

    def __init__(self, known: Known, requests: Sequence[Request], decoding: Decoding) -> None:
        target = known.anatomy.target
        self.scores, self.requests, self.decoding = known.scores, requests, decoding
        self.ends, self.where = end_ids(target), target.spec.place
        self.stop = StopStrings(target.tokenizer, decoding.stop)
        self.most, self.stops = decoding.max_new_tokens, bool(decoding.stop)
        self.seen: Tensor | None = None  # (rows, vocabulary) bool, for repetition penalties

    def enter(self, window: Window, rows: Sequence[WorkRow]) -> None:
        """Rows that entered: what score processors need to know of their prompts."""
        if self.scores.tail:
            for row in rows:
                row.prompt_tail = window.ids[row.request, -min(self.scores.tail, window.lengths[row.request]) :].tolist()
        if self.scores.penalties:
            vocabulary = window.logits.shape[1]
            seen = torch.zeros(len(rows), vocabulary, dtype=torch.bool, device=window.logits.device)
            for place, row in enumerate(rows):
                ids = window.ids[row.request, -window.lengths[row.request] :].to(seen.device)
                seen[place, ids[ids < vocabulary]] = True
            self.seen = seen if self.seen is None else torch.cat([self.seen, seen])

    def keep(self, order: Sequence[int]) -> None:
        """Only these rows of the batch go on, in this order."""
        if self.seen is not None:
            self.seen = self.seen[torch.tensor(order, dtype=torch.long, device=self.seen.device)]

    def ended(self, row: WorkRow) -> bool:
        """Whether a row is finished: by an end token, its length or a stop string."""
        tokens = row.tokens
        return tokens[-1] in self.ends or len(tokens) >= self.most or (self.stops and self.stop.met(tokens))

    def choose(self, rows: Sequence[WorkRow], logits: Tensor, first: int) -> list[int]:
        """A token for each of these rows, which stand from `first` on in the batch; logits: (rows, vocabulary)."""
        seen = None if self.seen is None else self.seen[first:]
        tails = [[*row.prompt_tail, *row.tokens] for row in rows] if self.scores.tail else []
        scores = self.scores(logits, seen, tails)
        early = [len(row.tokens) < self.decoding.min_new_tokens for row in rows] if self.decoding.min_new_tokens else []
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
        lost = no_number(scores, chosen, greedy=self.decoding.temperature == 0)
        # One look at the device for both.
        found: list[int] = chosen.masked_fill(lost.to(chosen.device), -1).tolist()
        if -1 in found:
            raise overflow(self.where, self.requests[rows[found.index(-1)].work.request].id)
        return found
