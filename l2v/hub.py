"""Whether the model hub answers: asked once and with a bound, for its client tries a silent one for minutes per file.

And that it goes on answering: a hub that sends a byte now and then would be waited for without end.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from l2v.errors import UserError

# Where `hf download --local-dir` notes what it fetched.
NOTES = ".cache/huggingface/download"
FLOOR = 1000  # bytes that HF_HUB_DOWNLOAD_TIMEOUT seconds of waiting must bring, from an answer's first byte on


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
    """Asked by the hub's own client, which knows the ways and certificates that its files come by."""
    from huggingface_hub import get_session

    try:
        code = get_session().get(address, timeout=seconds).status_code
    except Exception as error:  # which classes there are changes with the library beneath the client
        return f"cannot be reached ({error})"
    # 401, 403 and 404 concern what was asked for, not the hub.
    return f"answers with {code}" if code >= 500 else None


@lru_cache(maxsize=256)
def commit_of(kind: str, name: str, revision: str | None) -> str | None:
    """The commit that a branch or tag of a `kind` "model" or "dataset" stands for, asked once in a process.

    Where the hub does not answer, the one that its cache was filled from; None where nobody can say: nor can it be loaded.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    bound_requests()
    alone = constants.HF_HUB_OFFLINE
    try:
        return str(HfApi().resolve_revision(name, repo_type=kind, revision=revision, local_files_only=alone).resolved)
    except (HfHubHTTPError, ValueError):  # it answered, or no hub has such a name
        return None
    except Exception as error:
        if not alone:
            # It is not waited for again, for every model of a plan.
            _believe(f"did not answer ({str(error) if isinstance(error, UserError) else type(error).__name__})")
        return None


def cached_folder(model: str, revision: str | None) -> Path | None:
    """The folder of a model in the hub's cache; None where it holds none of that revision."""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(file).parent if isinstance(file, str) else None


def noted(file: Path) -> tuple[str, str]:
    """The commit and the digest that `hf download --local-dir` noted of a file; "" where it noted none, and for both of a file
    that was changed afterwards."""
    with suppress(OSError, ValueError):
        commit, digest, when = (file.parent / NOTES / f"{file.name}.metadata").read_text(encoding="utf-8").split()
        if file.stat().st_mtime - 1 <= float(when):
            return commit, digest
    return "", ""


BELIEVED = 60.0  # seconds for which the hub is not asked again whether it answers
_known: dict[str, Any] = {"why": None, "until": 0.0}


def _believe(why: str | None) -> None:
    """Takes the hub as one that answers or, for the reason `why`, does not ("cannot be reached"): then its cache serves."""
    _known.update(why=why, until=time.monotonic() + BELIEVED)
    _offline(why is not None)


def unanswered() -> str:
    """That the hub is not asked just now, and why, in a sentence; "" where it is."""
    from huggingface_hub import constants

    return f"The hub ({constants.ENDPOINT}) {_known['why']}." if _known["why"] else ""


def _look() -> None:
    """Asks whether the hub answers, unless that is known or it is to be left alone.

    Its client asks a silent one six times, over 23 seconds, for every file.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE and not _known["why"] or time.monotonic() < _known["until"]:
        return
    _offline(False)
    _believe(silence("api/whoami-v2"))


@contextmanager
def while_it_answers(path: str | None) -> Iterator[list[str]]:
    """In the block the hub serves as long as it answers, and then its cache alone, as with HF_HUB_OFFLINE=1.

    It is asked for `path` before and, beside the block, again and again; yields a list that is given why when it falls silent.
    None: nothing is wanted of it.
    """
    from huggingface_hub import constants

    over = threading.Event()
    why: list[str] = []
    if path is None or constants.HF_HUB_OFFLINE and not _known["why"]:
        yield why
        return

    def ask() -> bool:
        _offline(False)
        found = silence(path)
        if not over.is_set():
            why.extend([found] if found else [])
            _believe(found)
        return not found

    def watch() -> None:
        while not over.wait(float(constants.HF_HUB_ETAG_TIMEOUT)) and ask():
            pass

    if ask():
        bound_requests()
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield why
    finally:
        over.set()
        _believe(why[0] if why else None)


def bound_requests() -> None:
    """A hub that does not answer is asked once; no request waits for ever: HF_HUB_DOWNLOAD_TIMEOUT (10 s) bounds those without.

    Nor for an answer that drips: one below FLOOR raises UserError. Files come over its own connections, not by hf_xet, which
    has no such bound, unless HF_HUB_DISABLE_XET=0 says so.
    """
    from huggingface_hub import constants, get_session

    constants.HF_HUB_DISABLE_XET |= "HF_HUB_DISABLE_XET" not in os.environ

    session: Any = get_session()
    hooks = session.event_hooks
    if _bounded not in hooks["request"]:
        _bound(session)
    _look()


def _bound(session: Any) -> None:
    hooks = session.event_hooks
    session.event_hooks = {**hooks, "request": [*hooks["request"], _bounded]}
    for transport in (session._transport, *session._mounts.values()):
        # The client has no setting for the connections of its transports.
        pool: Any = getattr(transport, "_pool", None)
        if (backend := getattr(pool, "_network_backend", None)) is not None:
            pool._network_backend = _SteadyBackend(backend)


class _SteadyBackend:
    """Opens connections that must not drip."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def connect_tcp(self, *where: Any, **options: Any) -> _SteadyStream:
        return _SteadyStream(self.backend.connect_tcp(*where, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


class _SteadyStream:
    """A connection whose answers must not drip: the client would go on for ever, for it resumes what broke off."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.waited, self.got = stream, 0.0, 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        from huggingface_hub import constants

        began = time.monotonic()
        data: bytes = self.stream.read(max_bytes, timeout)
        self.waited += time.monotonic() - began if self.got else 0.0
        self.got += len(data)
        if self.waited >= (seconds := float(constants.HF_HUB_DOWNLOAD_TIMEOUT)):
            if self.got < FLOOR:
                raise UserError(
                    f"The hub ({constants.ENDPOINT}) sent {self.got} bytes in {seconds:g} s; try again when it answers."
                )
            self.waited, self.got = 0.0, 1
        return data

    def write(self, *what: Any, **options: Any) -> None:
        self.waited, self.got = 0.0, 0
        self.stream.write(*what, **options)

    def start_tls(self, *context: Any, **options: Any) -> _SteadyStream:
        return _SteadyStream(self.stream.start_tls(*context, **options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


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
