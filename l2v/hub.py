"""Whether the model hub answers: asked once and with a bound, for its client tries a silent one for minutes per file."""

from __future__ import annotations

import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MOST = 2**20  # bytes of an answer that are waited for


def silence(path: str = "") -> str | None:
    """Why the hub does not serve `path` (below its address), in a few words; None where it answers, if only by a refusal.

    It has HF_HUB_ETAG_TIMEOUT seconds (10) for the whole answer.
    """
    from huggingface_hub import constants

    seconds = float(constants.HF_HUB_ETAG_TIMEOUT)
    told: list[str | None] = []
    thread = threading.Thread(target=lambda: told.append(_asked(f"{constants.ENDPOINT}/{path}", seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return told[0] if told else f"does not answer within {seconds:g} s"


def _asked(address: str, seconds: float) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:
            answer.read(MOST)
    except urllib.error.HTTPError as error:
        # 401, 403 and 404 concern what was asked for, not the hub.
        return f"answers with {error.code}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return f"cannot be reached ({getattr(error, 'reason', error)})"
    return None


@contextmanager
def while_it_answers(path: str | None) -> Iterator[list[str]]:
    """In the block the hub serves as long as it answers, and then its cache alone, as with HF_HUB_OFFLINE=1.

    It is asked for `path` before and, beside the block, again and again; yields a list that is given why when it falls silent.
    None: nothing is wanted of it.
    """
    from huggingface_hub import constants

    before, over = constants.HF_HUB_OFFLINE, threading.Event()
    why: list[str] = []
    if path is None or before:
        yield why
        return

    def ask() -> bool:
        if (found := silence(path)) and not over.is_set():
            why.append(found)
            _offline(True)
        return not found

    def watch() -> None:
        while not over.wait(float(constants.HF_HUB_ETAG_TIMEOUT)) and ask():
            pass

    bound_requests()
    if ask():
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield why
    finally:
        over.set()
        _offline(before)


def bound_requests() -> None:
    """No request of the hub's client waits for ever: HF_HUB_DOWNLOAD_TIMEOUT (10 s) bounds those without a bound."""
    from huggingface_hub import get_session

    hooks = get_session().event_hooks
    if _bounded not in hooks["request"]:
        get_session().event_hooks = {**hooks, "request": [*hooks["request"], _bounded]}


def _bounded(request: Any) -> None:
    """Bounds where a request has none: the client asks what a model is (`model_info`) without any."""
    from huggingface_hub import constants

    own = request.extensions.get("timeout") or {}
    kinds = ("connect", "read", "write", "pool")
    request.extensions["timeout"] = {kind: own.get(kind) or float(constants.HF_HUB_DOWNLOAD_TIMEOUT) for kind in kinds}


def _offline(value: bool) -> None:
    """Whether the libraries that fetch from the hub are to leave it alone."""
    from huggingface_hub import constants

    for place in (constants, sys.modules["datasets"].config if "datasets" in sys.modules else constants):
        setattr(place, "HF_HUB_OFFLINE", value)  # noqa: B010  (one of them is known at run time alone)
