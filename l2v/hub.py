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
def cache_alone() -> Iterator[None]:
    """In the block only what lies in the hub's cache is looked at, as with HF_HUB_OFFLINE=1."""
    from huggingface_hub import constants

    settings: list[Any] = [constants]
    if "datasets" in sys.modules:
        settings.append(sys.modules["datasets"].config)
    before = [place.HF_HUB_OFFLINE for place in settings]
    for place in settings:
        place.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for place, value in zip(settings, before, strict=True):
            place.HF_HUB_OFFLINE = value
