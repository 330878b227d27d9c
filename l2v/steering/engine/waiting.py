"""The prompts that wait for a window, the longest first, and how many of them the next one takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from l2v.steering.engine.encoder import Encoder
from l2v.steering.engine.rows import Request
from l2v.steering.engine.works import Work, by_request

# Requests in a window at most.
_WINDOW = 64


class WaitingPrompts:
    """Rows that are not in a window yet, together by their request.

    lengths: tokens of each request's prompt; of one with pictures exact from when it was taken.
    """

    def __init__(self, requests: Sequence[Request], works: Sequence[Work], lengths: Sequence[int], encoder: Encoder) -> None:
        self.requests, self.encoder, self.lengths = requests, encoder, list(lengths)
        self.queue = deque(sorted(by_request(works), key=lambda group: -self.lengths[group[0].request]))

    @property
    def next_length(self) -> int:
        """Tokens of the prompt that comes next; 1 where none waits."""
        return self.lengths[self.queue[0][0].request] if self.queue else 1

    def shortest_of_each_kind(self) -> dict[bool, Request]:
        """With images and without, the request that costs least to try the engine with."""
        found: dict[bool, Request] = {}
        for place in sorted(range(len(self.requests)), key=self.lengths.__getitem__):
            found.setdefault(bool(self.requests[place].images), self.requests[place])
        return found

    def prepare(self, rows: Callable[[], int], tokens: int) -> None:
        """Encode beforehand what the next window would take."""
        self.encoder.prepare([self.requests[group[0].request] for group in self._cut(self.queue, rows, tokens)])

    def take(self, rows: Callable[[], int], tokens: int) -> list[list[Work]]:
        """The rows of the next window, out of the queue; cut once more where prompts are longer than their pictures told.

        rows: that the batch takes, by the length of what comes next. tokens: of all prompts, padding included.
        """
        groups = self._cut(self.queue, rows, tokens)
        self.encoder.prepare([self.requests[group[0].request] for group in groups])
        for group in groups:
            self.lengths[group[0].request] = self.encoder.length(self.requests[group[0].request])
        groups = self._cut(groups, rows, tokens)
        for _ in groups:
            self.queue.popleft()
        return groups

    def put_back(self, groups: Sequence[list[Work]]) -> None:
        self.queue.extendleft(reversed(groups))

    def _cut(self, queue: Sequence[list[Work]], rows: Callable[[], int], tokens: int) -> list[list[Work]]:
        """The first groups that make a window: within the budget, and few enough for the batch."""
        groups: list[list[Work]] = []
        longest = held = 0
        for group in queue:
            longest = max(longest, self.lengths[group[0].request])
            if groups and (len(groups) == _WINDOW or held >= rows() or (len(groups) + 1) * longest > tokens):
                break
            groups.append(group)
            held += len(group)
        return groups
