"""An OpenAI-compatible endpoint as a judge, asked through `openai`, which connects, waits and asks again.

What openai does not bound is bounded here: a request as a whole, a reply's size, and how long a dead endpoint is asked.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import Any

import anyio
import httpx2
import openai
from anyio.from_thread import start_blocking_portal

from l2v.benchmarks.scoring.judge_settings import MOST_FAILURES, TEMPERATURE, Judgement, JudgeSettings, excerpt, read_reply
from l2v.errors import UserError

MOST_BODY = 2**20
# Refusals of every request, and how to mend them.
HOPELESS = {401: "set the variable that judge.api_key_env names", 402: "", 403: "", 404: "check judge.base_url and judge.model"}
HOPELESS |= dict.fromkeys(range(300, 400), "check judge.base_url")


def ask_endpoint(prompts: Sequence[str], settings: JudgeSettings) -> Iterator[tuple[int, Judgement]]:
    """(index, outcome) of every prompt, in the order they finish. Never raises for what the endpoint does."""
    try:
        client = _Client(settings)
    except (ImportError, ValueError, OSError, httpx2.InvalidURL) as error:
        told = str(error).rstrip(".") if isinstance(error, ImportError) else type(error).__name__
        raise UserError(f"judge.base_url, or a proxy or certificate of the environment, cannot be used ({told}).") from error
    todo = iter(enumerate(prompts))
    asked: dict[Future[Judgement], int] = {}
    failures, given_up = 0, ""
    # In a thread of its own: whoever asks may stand in an event loop, as notebooks do.
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client):
        while not given_up:
            for index, prompt in islice(todo, settings.concurrency - len(asked)):
                asked[portal.start_task_soon(client.ask, prompt)] = index
            if not asked:
                return
            for future in wait(asked, return_when=FIRST_COMPLETED).done:
                outcome = future.result()
                failures = outcome.failures and failures + outcome.failures
                if failures >= MOST_FAILURES:
                    given_up = given_up or outcome.reason
                yield asked.pop(future), outcome
        for future in asked:
            future.cancel()
    for index in (*asked.values(), *(index for index, _ in todo)):
        yield index, Judgement(None, f"the endpoint was given up: {given_up}")


class _Client(httpx2.AsyncClient):
    """openai's connection: what comes through it is whole and bounded, and a reply judges."""

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__(limits=httpx2.Limits())
        self.judge = settings
        # As a whole: openai would put its path behind a query.
        url = httpx2.URL(settings.base_url or "")
        whole = url.copy_with(path=f"{url.path.rstrip('/').removesuffix('/chat/completions')}/chat/completions")
        # Nothing of openai's own environment variables, whose keys and names are not for this endpoint.
        key = f"Bearer {settings.key}" if settings.key else openai.omit
        headers = {"Authorization": key, "OpenAI-Organization": openai.omit, "OpenAI-Project": openai.omit}
        client = openai.AsyncOpenAI(
            api_key="", admin_api_key="", base_url=url, http_client=self, timeout=settings.timeout, max_retries=settings.retries
        )
        self.ask_again = partial(client.post, str(whole), cast_to=httpx2.Response, options={"headers": headers})

    async def ask(self, prompt: str) -> Judgement:
        """The outcome for one prompt, after at most 1 + retries requests."""
        payload = {"model": self.judge.model, "messages": [{"role": "user", "content": prompt}], "stream": False}
        payload |= {"max_tokens": self.judge.max_tokens, "temperature": TEMPERATURE}
        try:
            return (await self.ask_again(body=payload)).request.extensions["judgement"]
        except openai.APITimeoutError:
            return Judgement(None, f"the endpoint did not answer within {self.judge.timeout:g} s", failures=1)
        except openai.APIConnectionError as error:
            failed = Judgement(None, f"the connection failed ({_cause(error)})", failures=1)
            return error.request.extensions.get("judgement", failed)
        except openai.APIStatusError as error:
            return _refusal(error, self.judge)
        except Exception as error:  # its text can hold the address with its query, and headers
            return Judgement(None, f"asking failed ({type(error).__name__})", failures=1)

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Raises httpx2.RequestError, after which openai asks again, for a reply that does not judge."""
        body = bytearray()
        try:
            with anyio.fail_after(self.judge.timeout):
                async with aclosing(await super().send(request, **{**options, "stream": True})) as response:
                    async for piece in response.aiter_bytes():
                        body += piece
                        if len(body) > MOST_BODY:
                            break
        except TimeoutError:
            raise httpx2.ReadTimeout("", request=request) from None
        if response.is_success:
            outcome = request.extensions["judgement"] = _judgement(bytes(body), self.judge)
            if outcome.correct is None:
                raise httpx2.RequestError(outcome.reason)
        response.headers.pop("Content-Encoding", None)  # the body is decoded
        return httpx2.Response(response.status_code, headers=response.headers, content=bytes(body), request=request)


def _judgement(body: bytes, settings: JudgeSettings) -> Judgement:
    """What a reply says. Nothing of it is trusted: not to be JSON, not to be shaped like a completion."""
    if len(body) > MOST_BODY:
        return Judgement(None, f"the reply is longer than {MOST_BODY} bytes", failures=1)
    try:
        content: Any = json.loads(body)["choices"][0]["message"].get("content")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        said = settings.hide(body.decode(errors="replace"))
        return Judgement(None, f"the answer is no chat completion: {excerpt(said)}", failures=1)
    return read_reply(settings.hide(content) if isinstance(content, str) else "")


def _refusal(error: openai.APIStatusError, settings: JudgeSettings) -> Judgement:
    """Of one item, or of all. Endpoints quote keys in their errors."""
    status, told = error.status_code, error.body
    for name in ("message", "detail"):
        told = told.get(name, told) if isinstance(told, dict) else told
    said = " ".join(settings.hide(told if isinstance(told, str) else error.response.text).split())[:200]
    reason = f"the endpoint answered {status}" + (f": {said}" if said else "")
    if status in HOPELESS:
        return Judgement(None, f"{reason} ({HOPELESS[status]})".removesuffix(" ()"), failures=MOST_FAILURES)
    wish = error.response.headers.get("Retry-After", "")
    reason += f"; it asks to wait {wish} s" if wish.isdigit() and len(wish) < 10 else ""
    return Judgement(None, reason, failures=int(status in (408, 409, 429) or status >= 500))


def _cause(error: BaseException) -> str:
    """The system's own word for a failed connection (refused, reset, unknown host), without addresses."""
    while inner := error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return str(error.strerror).lower()
    # Not its text, into which asyncio puts addresses.
    return os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else type(error).__name__
