"""`l2v …` as a process forked from one which has loaded the libraries, and its workers from it: they live and die as others.

What a start costs and does is tested elsewhere (test_signals, test_shell; of workers test_executors, test_one_failure); here it
would be half of a test's time.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any

LOADED = ["l2v.cli", "l2v.study.workers.worker", "l2v.steering.engine.engine", "l2v.report.tables", "lm_eval.tasks"]
LOADED += ["hydra", "l2v.verbs.compose", "l2v.study.statistics.paired", "transformers.models.llava.modeling_llava"]
LOADED += ["transformers.models.clip.modeling_clip", "transformers.models.llama.modeling_llama", "torchvision"]


def _run(words: tuple[str, ...], out: str, err: str, folder: str, environment: dict[str, str]) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # A suite that was started in the background ignores Ctrl-C, one behind nohup a hangup.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    from l2v.cli import main
    from l2v.study.workers.executors import processes

    processes._start = ForkedWorker  # type: ignore[assignment]
    sys.exit(main(words))


def _work(words: tuple[str, ...], pipes: tuple[str, str], log: Path, folder: str, environment: dict[str, str]) -> None:
    os.setsid()
    for number, path in enumerate(pipes):
        # Both ways, as the driver's end: opened by one side alone it would wait for the other.
        os.dup2(os.open(path, os.O_RDWR), number)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # As Python does at its start with what a test has put on its path.
    sys.orig_argv = ["worker", *words, "--parent", str(os.getppid())]
    for path in environment.get("PYTHONPATH", "").split(os.pathsep):
        if path and (customized := Path(path, "sitecustomize.py")).is_file():
            runpy.run_path(str(customized))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    from l2v.study.workers.process import main

    sys.argv = sys.orig_argv
    sys.exit(main())


def loaded(method: str) -> Any:
    """What starts processes which have the libraries."""
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(LOADED)
    return context


class Forked:
    """The part of subprocess.Popen that tests ask for; what it writes lies in files."""

    process: Any

    def __init__(self, *words: object) -> None:
        self.written = []
        for _ in range(2):
            handle, path = tempfile.mkstemp(prefix="l2v-forked-")
            os.close(handle)
            self.written.append(Path(path))
        paths = (str(path) for path in self.written)
        arguments = (tuple(map(str, words)), *paths, os.getcwd(), dict(os.environ))
        self.process = loaded("forkserver").Process(target=_run, args=arguments)
        self.process.start()
        self.pid = self.process.pid or 0

    def poll(self) -> int | None:
        """Its exit code; None while it lives."""
        return self.process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise TimeoutExpired("l2v", timeout or 0.0)
        return self.process.exitcode

    def told(self) -> str:
        """What it has written on standard error so far."""
        return self.written[1].read_text()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has written, at its end."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self.written)
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it, and leave nothing behind."""
        self.process.kill()
        self.process.join()
        for path in self.written:
            path.unlink()

    def kill(self) -> None:
        self.process.kill()


class ForkedWorker(Forked):
    """A worker of executor=processes, in the place of `processes._start`, of a driver that is `Forked` itself."""

    method = "fork"

    def __init__(self, run: Any, index: int, log: Path, environment: dict[str, str]) -> None:
        words = (str(run.path), "--index", str(index), "--attempt", run.attempt, "--follow")
        self.folder = tempfile.TemporaryDirectory(prefix="l2v-forked-")
        pipes = (f"{self.folder.name}/in", f"{self.folder.name}/out")
        for path in pipes:
            os.mkfifo(path)
        self.stdin, self.stdout = (open(path, "r+b", buffering=0) for path in pipes)  # noqa: SIM115 (gone with this object)
        context = loaded(self.method)
        self.process = context.Process(target=_work, args=(words, pipes, log, os.getcwd(), environment))
        self.process.start()
        self.pid = self.process.pid or 0


class ServedWorker(ForkedWorker):
    """The same of a driver that is the process of the tests, whose threads forbid a fork."""

    method = "forkserver"


# What no setting of a person's environment reaches: all of it is read by what is loaded after these.
PLAIN = ["torch", "torch._dynamo", "torch.distributed.tensor", "torch.distributed.fsdp", "torch._inductor.standalone_compile"]
PLAIN += ["torchvision", "pandas", "scipy.optimize", "scipy.stats", "scipy.sparse.linalg", "sympy", "sacrebleu"]
TEMPLATE = f"""
import json, os, runpy, signal, sys
for name in {PLAIN}:
    __import__(name)
assert not {{"huggingface_hub", "transformers", "datasets", "wandb", "l2v"}} & set(sys.modules)
for line in sys.stdin:
    words, environment, folder, out, err, seconds = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    signal.alarm(seconds)
    for number, path in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    kind, what, *more = words
    sys.argv = [kind, *more]
    if kind == "-c":
        exec(compile(what, "<string>", "exec"), {{"__name__": "__main__"}})
    else:
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    sys.exit()
"""


class Template:
    """`python -c …` and `python -m …` with an environment of their own, forked from a process that has loaded the heavy
    libraries which ask no environment: the part of subprocess.run that tests ask for."""

    def __init__(self) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([sys.executable, "-c", TEMPLATE], **pipes)

    def run(self, *words: object, env: Mapping[str, str], timeout: int, cwd: Path | None = None) -> CompletedProcess[str]:
        """Ended by an alarm (exit code -14) after `timeout` seconds."""
        told, asked = self._process.stdout, self._process.stdin
        assert told and asked
        with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
            arguments = [[str(word) for word in words], dict(env), str(cwd or Path.cwd()), out.name, err.name, timeout]
            asked.write(json.dumps(arguments) + "\n")
            asked.flush()
            code = int(told.readline())
            return CompletedProcess(words, code, out.read(), err.read())

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()
