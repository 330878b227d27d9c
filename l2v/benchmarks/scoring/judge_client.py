"""An OpenAI-compatible endpoint as a judge: one request at a time and thread, bounded in every direction."""

from __future__ import annotations

import email.utils
import json
import queue
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests

from l2v.benchmarks.scoring.judge_settings import TEMPERATURE, Judgement, JudgeSettings, excerpt, read_reply

# Seconds before the first retry, doubled for each further one, and the longest wait, an endpoint's own wish included.
BACKOFF, MOST_WAIT = 0.5, 60.0
# So many items in a row without any reply, and the endpoint is given up.
MOST_FAILURES = 5
MOST_BODY = 2**20
# Answers after which asking again, for this or any other item, is useless, and those that concern one item only.
HOPELESS = {401: "set the variable that judge.api_key_env names", 402: "", 403: "", 404: "check judge.base_url and judge.model"}
TRY_AGAIN = {408, 409, 425, 429}


class Breaker:
    """Gives an endpoint up after MOST_FAILURES items in a row that got no reply; shared by all threads that ask it."""

    def __init__(self) -> None:
        self.reason = ""
        self._failures = 0
        self._lock = threading.Lock()
        self._given_up = threading.Event()

    @property
    def given_up(self) -> bool:
        """Whether the endpoint is asked no more."""
        return self._given_up.is_set()

    def worked(self) -> None:
        """The endpoint sent a reply."""
        with self._lock:
            self._failures = 0

    def failed(self, reason: str) -> None:
        """All attempts for one item got none."""
        with self._lock:
            self._failures += 1
            enough = self._failures >= MOST_FAILURES
        if enough:
            self.give_up(f"{MOST_FAILURES} items in a row failed, the last because {reason}")

    def give_up(self, reason: str) -> None:
        """Ask no more; the first reason stays."""
        with self._lock:
            self.reason = self.reason or reason
        self._given_up.set()

    def wait(self, seconds: float) -> None:
        """Sleep, but not on when the endpoint is given up meanwhile."""
        self._given_up.wait(seconds)


class Failure(Exception):
    """An attempt without a reply. wait: seconds the endpoint asks for. again: whether another attempt makes sense."""

    def __init__(self, reason: str, again: bool = True, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait = reason, again, wait


class Hopeless(Exception):
    """The endpoint refuses every request."""


def ask_endpoint(prompts: Sequence[str], settings: JudgeSettings) -> Iterator[tuple[int, Judgement]]:
    """(index, outcome) of every prompt, in the order they finish. Never raises for what the endpoint does."""
    breaker = Breaker()
    jobs: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Judgement]] = queue.SimpleQueue()
    for index in range(len(prompts)):
        jobs.put(index)
    key = settings.key

    def work() -> None:
        client = Client(settings, key, breaker)
        while True:
            try:
                index = jobs.get_nowait()
            except queue.Empty:
                return
            try:
                outcome = client.ask(prompts[index])
            except Exception as error:  # a thread that dies in silence would leave its item, and the caller, waiting
                outcome = Judgement(None, f"asking failed ({type(error).__name__})")
            done.put((index, outcome))

    # Daemons, so that an interrupt is not held up by requests in flight.
    for _ in range(min(settings.concurrency, len(prompts))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in prompts:
            yield done.get()
    finally:
        breaker.give_up("the run was stopped")


class Client:
    """Asks one endpoint; for one thread."""

    def __init__(self, settings: JudgeSettings, key: str | None, breaker: Breaker) -> None:
        self._settings, self._key, self._breaker = settings, key, breaker
        self._url = _chat_url(settings.base_url or "")
        self._session = requests.Session()
        self._session.auth = self._authorize

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As a callable, because requests would let a .netrc entry replace a plain header."""
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def ask(self, prompt: str) -> Judgement:
        """The outcome for one prompt, after at most 1 + retries requests."""
        outcome = Judgement(None)
        last: Failure | None = None
        for attempt in range(self._settings.retries + 1):
            if self._breaker.given_up:
                return Judgement(None, f"the endpoint was given up: {self._breaker.reason}")
            try:
                reply = self._request(prompt)
            except Hopeless as error:
                self._breaker.give_up(str(error))
                return Judgement(None, str(error))
            except Failure as error:
                outcome, last = Judgement(None, error.reason), error
                if not error.again or (error.wait or 0.0) > MOST_WAIT:
                    break
                if attempt < self._settings.retries:
                    self._breaker.wait(max(error.wait or 0.0, _backoff(attempt)))
                continue
            self._breaker.worked()
            outcome, last = read_reply(reply), None
            if outcome.correct is not None:
                return outcome
        if last is not None and last.again:
            self._breaker.failed(last.reason)
        return outcome

    def _request(self, prompt: str) -> str:
        """The text of one reply. Raises Failure or Hopeless."""
        # Both the wait for each byte and the whole are bounded: requests itself bounds the former only.
        deadline = time.monotonic() + self._settings.timeout
        payload = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": TEMPERATURE,
            "max_tokens": self._settings.max_tokens,
            "stream": False,
        }
        try:
            with self._session.post(
                self._url, json=payload, timeout=self._settings.timeout, stream=True, allow_redirects=False
            ) as response:
                # Endpoints quote keys in their errors.
                body = self._settings.hide(_read(response, deadline).decode("utf-8", "replace"))
                status, headers = response.status_code, response.headers
        except (requests.Timeout, TimeoutError):
            raise Failure(f"the endpoint did not answer within {self._settings.timeout:g} s") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise Failure(f"the connection failed ({_cause(error)})") from None
        except requests.RequestException as error:
            # Their texts can hold the address with its query, and headers.
            raise Failure(f"the request failed ({type(error).__name__})") from None
        if status != 200:
            raise self._refusal(status, body, headers.get("Retry-After"))
        return self._settings.hide(_content(body))

    def _refusal(self, status: int, body: str, retry_after: str | None) -> Exception:
        said = self._settings.hide(_error_text(body))
        reason = f"the endpoint answered {status}" + (f": {said}" if said else "")
        if status in HOPELESS or 300 <= status < 400:
            mend = HOPELESS.get(status, "check judge.base_url")
            return Hopeless(f"{reason} ({mend})" if mend else reason)
        wait = _seconds(retry_after)
        if wait is not None and wait > MOST_WAIT:
            reason += f"; it asks to wait {wait:.0f} s"
        return Failure(reason, again=status in TRY_AGAIN or status >= 500, wait=wait)


def _chat_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urlunsplit(parts._replace(path=f"{path}/chat/completions", fragment=""))


def _read(response: requests.Response, deadline: float) -> bytes:
    """The body, up to MOST_BODY. In small pieces: a read blocks until it is full, however slowly it fills."""
    body = bytearray()
    for piece in response.iter_content(16):
        body += piece
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(body) > MOST_BODY:
            raise Failure(f"the reply is longer than {MOST_BODY} bytes")
    return bytes(body)


def _content(body: str) -> str:
    """The text of a chat completion. Raises Failure when the body is none; a reply without text is "".

    Nothing of it is trusted: not to be JSON, not to be shaped like a completion.
    """
    try:
        content: Any = json.loads(body)["choices"][0]["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Failure(f"the answer is no chat completion: {excerpt(body)}") from None
    return content if isinstance(content, str) else ""


def _error_text(text: str) -> str:
    """What an error body says, in a line."""
    try:
        told: Any = json.loads(text)
        for name in ("error", "message", "detail"):
            told = told.get(name, told) if isinstance(told, dict) else told
        text = told if isinstance(told, str) else text
    except (ValueError, RecursionError):
        pass
    return " ".join(text.split())[:200]


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header: seconds or a date; None for anything else."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None


def _backoff(attempt: int) -> float:
    """Doubling waits, scattered so that threads and processes do not come back all at once."""
    return min(MOST_WAIT, BACKOFF * 2**attempt) * random.uniform(0.5, 1.5)


def _cause(error: BaseException) -> str:
    """The system's own word for a failed connection (refused, reset, unknown host), without addresses."""
    seen: list[BaseException] = [error]
    for _ in range(6):
        last = seen[-1]
        inner = getattr(last, "reason", None) or last.__cause__ or last.__context__ or (last.args[0] if last.args else None)
        if not isinstance(inner, BaseException):
            break
        seen.append(inner)
    told = [e.strerror for e in seen if isinstance(e, OSError) and e.strerror]
    return told[-1].lower() if told else type(seen[-1]).__name__
