"""A hub that refuses, hangs, falls silent or drips: told in a sentence, and waited for no longer than its bounds say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from forked import Template
from servers import Handler, served_by

REFUSED = {"closed": 401, "gated": 403}


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub on this machine: what is asked of org/closed is refused (401), of org/gated gated (403), and the rest hangs.

    Of org/fading the first answer comes. Of org/dripping and org/half the config is announced; of the one a byte comes now and
    then, without end, of the other half of the bytes. org/stored drips too, and says that its file lies in Xet.
    """
    over, first = threading.Event(), [200]

    class Hub(Handler):
        def do_GET(self) -> None:
            code = next((code for name, code in REFUSED.items() if f"org/{name}" in self.path), None)
            if code is None and "org/fading" in self.path and first:
                code = first.pop()
            if self.path.startswith("/api/whoami"):
                code = 401
            if code is None and any(f"org/{name}" in self.path for name in ("dripping", "half", "stored")):
                self.config("org/half" in self.path)
                return
            if code is None:
                over.wait(60)
                return
            self.send_response(code)
            self.send_header("X-Error-Code", "GatedRepo")
            self.end_headers()

        def config(self, half: bool) -> None:
            """The beginning of a config.json of a thousand bytes."""
            self.send_response(200)
            for name, value in (("ETag", '"1"'), ("X-Repo-Commit", "1" * 40), ("Content-Length", "1000")):
                self.send_header(name, value)
            if "org/stored" in self.path:
                self.send_header("X-Xet-Hash", "1" * 64)
                self.send_header("X-Xet-Refresh-Route", f"http://{self.headers['Host']}/xet-token")
            self.end_headers()
            if self.command == "HEAD":
                return
            self.wfile.write(b"{" + b" " * (499 if half else 0))
            with contextlib.suppress(OSError):
                while not half and not over.wait(0.3):
                    self.wfile.write(b" ")
            self.close_connection = True

        do_HEAD = do_GET

    with served_by(Hub) as address:
        yield address
        over.set()


@pytest.fixture
def ask(template: Template, hub: str, tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    """A verb on a target of such a hub, by a process with a cache of its own."""

    def ask(verb: str, target: str, *more: str) -> CompletedProcess[str]:
        # What answers at once, by a refusal, may take its time on a busy machine.
        seconds = "10" if more else "1"
        bounds = {"HF_HUB_ETAG_TIMEOUT": seconds, "HF_HUB_DOWNLOAD_TIMEOUT": seconds}
        env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), **bounds}
        words = ["method=direct", "target=local", f"target.id=org/{target}", "target.name=far", f"runtime.outputs={tmp_path}"]
        words += ["target.layers=3", "target.width=32", "format=json"] if verb == "preflight" else []
        return template.run("-m", "l2v.cli", verb, *words, *more, env=env, timeout=100)

    return ask


@pytest.fixture
def foretold(ask: Callable[..., CompletedProcess[str]]) -> Callable[..., dict[str, Any]]:
    """What preflight tells of a target on such a hub."""

    def foretold(target: str, *more: str) -> dict[str, Any]:
        done = ask("preflight", target, *more)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert "Reading 'org/" in done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    return foretold


def test_a_hub_that_hangs_is_asked_once_and_told(hub: str, foretold: Callable[..., dict[str, Any]]) -> None:
    found = foretold("slow")
    assert len(found["problems"]) == 2 and f"({hub}) does not answer within 1 s" in found["problems"][0]["what"]
    assert "HF_HUB_OFFLINE=1" in found["problems"][0]["mend"]
    assert "'org/slow' could not be loaded" in found["problems"][1]["what"]


def test_a_hub_that_falls_silent_is_waited_for_no_longer(hub: str, foretold: Callable[..., dict[str, Any]]) -> None:
    began = time.perf_counter()
    found = foretold("fading")
    assert any(f"({hub}) does not answer within 1 s" in p["what"] for p in found["problems"])
    assert any("'org/fading' could not be loaded" in p["what"] for p in found["problems"])
    assert time.perf_counter() - began < 90


def test_what_a_hub_refuses_is_told_with_the_way_in(foretold: Callable[..., dict[str, Any]]) -> None:
    found = foretold("closed", "--multirun", f"target.id={','.join(f'org/{name}' for name in REFUSED)}")
    assert (found["cells"], found["blocked"]) == (2, 2)
    for target, problem in zip(REFUSED, found["problems"], strict=True):
        assert f"'org/{target}' could not be loaded" in problem["what"] and "gated" in problem["what"]
        assert "hf auth login" in problem["mend"]


def test_a_hub_that_drips_is_not_waited_for_without_end(
    hub: str, ask: Callable[..., CompletedProcess[str]], foretold: Callable[..., dict[str, Any]]
) -> None:
    """Its client resumes whatever brings a byte."""
    done = ask("run", "dripping")
    assert done.returncode == 2, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "org/dripping" in line]
    assert re.search(rf"The hub \({hub}\) sent \d+ bytes in 1 s", said), said
    problems = foretold("dripping")["problems"]
    assert any("does not answer within 1 s" in p["what"] for p in problems), problems


def test_half_a_file_of_a_hub_is_told(ask: Callable[..., CompletedProcess[str]]) -> None:
    done = ask("run", "half")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "org/half" in done.stderr.splitlines()[-1]


def test_what_lies_in_xet_comes_over_bounded_connections(hub: str, template: Template, tmp_path: Path) -> None:
    """hf_xet knows no bound: it would wait for its token, and for the store behind it, without end."""
    code = "from l2v.hub import bound_requests; bound_requests(); import huggingface_hub as hub; "
    code += "hub.hf_hub_download('org/stored', 'config.json')"
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    done = template.run("-c", code, env=env, timeout=50)
    assert re.search(rf"UserError: The hub \({hub}\) sent \d+ bytes in 1 s", done.stderr), done.stderr


def test_a_name_that_no_hub_has_leaves_the_others_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not asked any more has the commit of its cache, or none, in its identity."""
    from l2v import hub

    monkeypatch.setattr(hub, "_known", {"why": None, "until": 0.0})
    assert hub.commit_of("model", "no/such/name", None) is None
    assert hub._known["why"] is None


def test_a_hub_that_is_not_there_is_no_matter_of_minutes(template: Template, tmp_path: Path) -> None:
    """Its client tries six times for every file, 23 seconds and more each."""
    code = "from l2v.benchmarks.data import load_rows; load_rows('org/absent', 'test')"
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = template.run("-c", code, env=env, timeout=100)
    assert "could not be loaded from the hub" in done.stderr and "Retrying" not in done.stderr, done.stderr
    assert "The hub (http://127.0.0.1:9) cannot be reached" in done.stderr, done.stderr


def test_a_hub_that_answers_again_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from l2v import hub

    class Answers(Handler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.end_headers()

    monkeypatch.setattr(hub, "_known", {"why": None, "until": 0.0})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub.bound_requests()
    assert constants.HF_HUB_OFFLINE and "cannot be reached" in hub._known["why"]
    with served_by(Answers) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        hub.bound_requests()
        assert constants.HF_HUB_OFFLINE, "believed for a minute"
        hub._known["until"] = 0.0
        hub.bound_requests()
        assert not constants.HF_HUB_OFFLINE and hub._known["why"] is None
