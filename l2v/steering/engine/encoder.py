"""Prompts and pictures as the model takes them, made beside the model by a few threads, each request once.

Requests are encoded one by one and laid together as their processor would have done it for all of them; whether that is so is
compared once for every kind of batch, and where it is not, the processor gets the whole batch.
"""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from l2v.steering.engine.rows import Request, encode_plainly, on_device, request_key
from l2v.steering.models import LoadedModel

# Encoded requests that are kept for the next cells, in bytes, and threads that encode.
KEPT_BYTES = 4 * 2**30
THREADS = max(1, min(4, (os.cpu_count() or 1) - 1))

Inputs = dict[str, Tensor]


class Encoder:
    """Encodes requests of one target; keeps what fits `kept_bytes`, so that the next cells find their pictures ready."""

    def __init__(self, target: LoadedModel, kept_bytes: int = KEPT_BYTES, threads: int = THREADS) -> None:
        self.target, self.kept_bytes, self.threads = target, kept_bytes, threads
        # The request is held with its inputs: the key names its images by where they lie in memory.
        self.kept: dict[object, tuple[Request, Inputs, int]] = {}
        self.round = 0
        self.begun: dict[object, Future[Inputs]] = {}
        self.pool: ThreadPoolExecutor | None = None
        self.copies = threading.local()
        self.trusted: dict[object, bool] = {}
        self.encoded = 0  # requests that went through the processor

    # A target is copied in tests and benches; its threads and what they made are not.
    def __deepcopy__(self, _memo: Any) -> None:
        return None

    def begin(self) -> None:
        """Other requests are to come: what the ones before left may make room."""
        self.round += 1

    def prepare(self, requests: Sequence[Request]) -> None:
        """Begin to encode these beside the model; ask for no more at a time than may lie in memory."""
        for request in requests:
            key = request_key(request)
            if key not in self.kept and key not in self.begun:
                if self.pool is None:
                    self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="encoder")
                self.begun[key] = self.pool.submit(self._encode_beside, request)

    def one(self, request: Request) -> Inputs:
        """The inputs of one request, (1, tokens) and its pictures, on the CPU. Raises UserError as `encode_prompts` does."""
        key = request_key(request)
        if key in self.kept:
            self.kept[key] = (*self.kept[key][:2], self.round)
            return self.kept[key][1]
        waiting = self.begun.pop(key, None)
        self.encoded += 1
        inputs = encode_plainly(self.target, [request]) if waiting is None else waiting.result()
        self._keep(key, request, inputs)
        return inputs

    def length(self, request: Request) -> int:
        return int(self.one(request)["input_ids"].shape[1])

    def together(self, requests: Sequence[Request]) -> Inputs:
        """The inputs of a batch, left-padded, on the model's device."""
        singles = [self.one(request) for request in requests]
        laid = self._laid(requests, singles)
        return on_device(self.target, encode_plainly(self.target, requests) if laid is None else laid)

    def stop(self) -> None:
        """Forget what was begun and not asked for; end the threads."""
        for waiting in self.begun.values():
            waiting.cancel()
        self.begun = {}
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None

    # -- beside the model --------------------------------------------------------------------------------------------

    def _encode_beside(self, request: Request) -> Inputs:
        """In a thread, which has a tokenizer and processor of its own: those of the model are in use."""
        if not hasattr(self.copies, "target"):
            processor = copy.deepcopy(self.target.processor)
            tokenizer = copy.deepcopy(self.target.tokenizer) if processor is None else processor.tokenizer
            self.copies.target = replace(self.target, processor=processor, tokenizer=tokenizer)
        return encode_plainly(self.copies.target, [request])

    def _keep(self, key: object, request: Request, inputs: Inputs) -> None:
        wanted = _bytes(inputs)
        stale = [k for k, (_, _, used) in self.kept.items() if used < self.round]
        held = sum(_bytes(kept) for _, kept, _ in self.kept.values())
        while stale and held + wanted > self.kept_bytes:
            held -= _bytes(self.kept.pop(stale.pop(0))[1])
        if held + wanted <= self.kept_bytes:
            self.kept[key] = (request, inputs, self.round)

    # -- laying together ---------------------------------------------------------------------------------------------

    def _laid(self, requests: Sequence[Request], singles: Sequence[Inputs]) -> Inputs | None:
        """The batch from its rows; None where this processor does it in another way."""
        if len(requests) == 1:
            return singles[0]
        laid = lay(singles, int(self.target.tokenizer.pad_token_id))
        if laid is None:
            return None
        # What batches may differ in: with and without pictures, as many for each or not.
        kind = (frozenset(laid), tuple(sorted({len(r.images) for r in requests})))
        if kind not in self.trusted:
            whole = encode_plainly(self.target, requests)
            self.trusted[kind] = set(whole) == set(laid) and all(torch.equal(whole[name], laid[name]) for name in whole)
            return whole
        return laid if self.trusted[kind] else None


def lay(singles: Sequence[Inputs], pad: int) -> Inputs | None:
    """One batch of rows: what has a place per token is padded on the left, all else is put end to end; None if it cannot be."""
    width = max(s["input_ids"].shape[1] for s in singles)
    laid: Inputs = {}
    for name in dict.fromkeys(name for s in singles for name in s):
        parts = [s[name] for s in singles if name in s]
        if all(name in s and s[name].shape[:2] == s["input_ids"].shape for s in singles):
            filling = pad if name == "input_ids" else 0
            parts = [_padded(part, width, filling) for part in parts]
        if len({part.shape[1:] for part in parts}) > 1 or any(part.ndim == 0 for part in parts):
            return None
        laid[name] = torch.cat(parts)
    return laid


def _padded(part: Tensor, width: int, filling: int) -> Tensor:
    missing = part.new_full((1, width - part.shape[1], *part.shape[2:]), filling)
    return torch.cat([missing, part], dim=1)


def _bytes(inputs: Inputs) -> int:
    return sum(t.numel() * t.element_size() for t in inputs.values())
