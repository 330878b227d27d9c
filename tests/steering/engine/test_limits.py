"""What runs at once: windows within a budget, limits that recover, and a row too many that is no more than that."""

from __future__ import annotations

import dataclasses
from typing import Any

import families
import pytest
import test_engine as plain
import torch

from l2v.steering.engine import scheduler, stepper
from l2v.steering.engine.encoder import Encoder
from l2v.steering.engine.engine import Decoding, Engine, Request, Row, encode_requests, generate_rows
from l2v.steering.engine.lengths import prompt_lengths
from l2v.steering.engine.limits import Limit
from l2v.steering.models import LoadedModel

STEPS = 6


def asked(count: int = 12) -> list[Request]:
    """Prompts of 4 to 60 words, in disorder."""
    words = [4 + (37 * i) % 57 for i in range(count)]
    return [Request(str(i), f"<image>{families.question(n, i)}", (families.picture(30, 30, i),)) for i, n in enumerate(words)]


@pytest.mark.parametrize("family", sorted(families.FAMILIES))
def test_lengths_are_known_from_sizes(family: str, tmp_path: Any) -> None:
    """No picture is opened, and what is said is near what the processor makes of it where that tells serving engines."""
    target = families.load(family, tmp_path)
    requests = families.requests()
    true = [int(encode_requests(target, [request])["input_ids"].shape[1]) for request in requests]

    class Unread:
        def __init__(self, sizes: list[tuple[int, int]]) -> None:
            self.sizes = sizes

        def __len__(self) -> int:
            return len(self.sizes)

        def __getitem__(self, index: Any) -> Any:
            raise AssertionError("opened")

    unread: list[Any] = [dataclasses.replace(r, images=Unread([i.size for i in r.images])) for r in requests]  # type: ignore[arg-type]
    found = prompt_lengths(target, unread)
    assert true[3] - 1 <= found[3] <= true[3]  # the tokenizer may add a BOS
    if hasattr(target.processor, "_get_num_multimodal_tokens"):
        assert all(abs(a - b) <= max(6, b // 3) for a, b in zip(found, true, strict=True)), (found, true)


def test_windows_fit_the_budget_before_they_are_opened(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding included; the longest come first; answers do not depend on it."""
    opened: list[list[int]] = []
    real = scheduler.opened

    def watched(known: Any, batch: Any, *more: Any) -> Any:
        window = real(known, batch, *more)
        opened.append(window.lengths)
        return window

    rows: list[Row] = [(request, s) for request in asked() for s in (None, families.steering(1, 1, 0.8))]
    expected = generate_rows(llava, rows, Decoding(STEPS))
    Engine(llava, Decoding(1), tell=plain.silent)._known()
    monkeypatch.setattr(scheduler, "opened", watched)
    assert plain.answers(llava, rows, Decoding(STEPS), prompt_tokens=150) == expected
    windows = [w for w in opened if len(w) > 1 or w[0] > 150]
    assert all(len(w) * max(w) <= 150 for w in windows)
    flat = [n for w in opened for n in w]
    assert flat == sorted(flat, reverse=True)
    assert sum(len(w) * max(w) for w in opened) <= 1.15 * sum(flat)


def test_a_limit_comes_back() -> None:
    """After a failure half of what was used; all of it again when it went well often enough, later after every failure."""
    limit = Limit(512)
    limit.failed(100)
    assert limit.now == 50
    for _ in range(100):
        limit.worked()
    assert limit.now == 512


def test_a_row_that_does_not_fit_costs_no_other(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """All others are answered first; the error names it."""
    requests = asked(6)
    longest = max(requests, key=lambda r: len(r.text))
    own: Any = stepper.Stepper.enter

    def small(self: Any, window: Any, entries: Any, rows: int) -> Any:
        if any(window.requests[e.request].id == longest.id for e in entries):
            raise torch.OutOfMemoryError("not enough")
        return own(self, window, entries, rows)

    monkeypatch.setattr(stepper.Stepper, "enter", small)
    # The probe takes the shortest question.
    found: dict[int, Any] = {}
    with pytest.raises(torch.OutOfMemoryError, match=f"1 rows do not fit.*'{longest.id}'.*prompt tokens"):
        for index, response in Engine(llava, Decoding(STEPS)).answer([(request, None) for request in requests]):
            found[index] = response
    assert sorted(found) == [i for i, request in enumerate(requests) if request is not longest]


@pytest.mark.parametrize("family", sorted(families.FAMILIES))
def test_requests_are_encoded_once_and_laid_together(family: str, tmp_path: Any) -> None:
    """Bit for bit what the processor makes of the batch, also the second time, when no request is encoded any more."""
    target = families.load(family, tmp_path)
    encoder, requests = Encoder(target), families.requests()
    for batch in (requests, requests[:2], [requests[3], requests[1]], requests[::-1]):
        encoder.prepare(batch)
        for _ in range(2):
            laid, whole = encoder.together(batch), encode_requests(target, batch)
            assert set(laid) == set(whole)
            assert all(torch.equal(laid[name], whole[name]) for name in whole)
    assert encoder.encoded == len(requests)
    encoder.stop()


def test_what_is_kept_is_bounded(llava: LoadedModel) -> None:
    """Requests of the round before make room; those of this one stay as long as they fit."""
    requests = asked(8)
    encoder = Encoder(llava, kept_bytes=40_000)
    for request in requests[:4]:
        encoder.one(request)
    size = sum(t.numel() * t.element_size() for _, inputs, _ in encoder.kept.values() for t in inputs.values())
    assert 0 < size <= 40_000
    encoder.begin()
    for request in requests[4:]:
        encoder.one(request)
    assert {held.id for held, _, _ in encoder.kept.values()} & {request.id for request in requests[4:]}
