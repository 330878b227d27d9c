"""What the tests share: a quiet environment, the command line in process and as a process, and tiny studies."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import Forked, ServedWorker, Template

# One thread per process: tests start several at once, and the models are too small to gain from more.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
# Nothing is ever fetched; what is not on this disk is "unreachable" at once, without retries.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if "HF_DATASETS_CACHE" not in os.environ:
    # Copies of the tests' little tables do not belong into a person's cache.
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="l2v-tests-")
    atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)

# A study that takes a second: eight items of the miniature benchmark, no bar and no page.
TINY = ("benchmark.limit=8", "runtime.progress=false", "runtime.page=false", "runtime.device=cpu")


# Files of minutes, which go first: nobody shall wait for one of them at the end.
# Two clusters of Ray at once keep each other waiting: its own file comes first, `one_failure` starts one late.
LONG = ("ray", "executors", "kill", "slurm", "heats", "world", "damage", "corpus", "one_failure", "hub", "engine", "bad_input")
LONG += ("signals", "terminal", "preflight", "end_to_end", "follower", "speed_scripts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, the others in their order."""
    items.sort(key=lambda item: LONG.index(name) if (name := item.path.stem.removeprefix("test_")) in LONG else len(LONG))


@pytest.fixture(autouse=True, scope="module")
def _libraries_aside() -> None:
    """What earlier files have loaded is no garbage: the collector walks through it no more (as `l2v.collector` in a run)."""
    gc.collect()
    gc.freeze()


# Libraries that count what they made say that it leaked, where it is still there at the end.
atexit.register(gc.unfreeze)


@pytest.fixture(autouse=True, scope="session")
def _composed_once() -> Iterator[None]:
    """What files of `conf/` make together is composed once in a session: `l2v … --multirun` does little else, hundreds of
    times. Not where other folders have a say in it, or where a test puts functions of its own in the way."""
    from l2v.paths import conf_dir
    from l2v.verbs.grid import JobGrid

    compose, known = JobGrid._composed, dict[Any, Any]()
    own = {"pkg://hydra.conf", "structured://", f"file://{conf_dir()}", str(conf_dir())}

    def composed(self: JobGrid, files: tuple[str, ...]) -> Any:
        places = {one.path for one in self.loader.get_search_path().get_path()}
        if self.search_path or not places <= own:
            return compose(self, files)
        key = (self.checked, self.typed, files)
        if key not in known:
            known[key] = compose(self, files)
        return known[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(JobGrid, "_composed", composed)
        yield


@dataclass(frozen=True)
class Answer:
    """What a command came back with."""

    code: int
    out: str
    err: str


def call(*words: object) -> Answer:
    """`l2v …` in this process."""
    from l2v.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Answer(code, out.getvalue(), err.getvalue())


def start(*words: object, **options: Any) -> subprocess.Popen[str]:
    """`l2v …` as a process of its own."""
    command = [sys.executable, "-m", "l2v.cli", *(str(word) for word in words)]
    options.setdefault("preexec_fn", _usual_signals)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def _usual_signals() -> None:
    """A suite that was started in the background ignores Ctrl-C, one behind nohup a hangup; its children would too."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def rows(study: Path) -> list[tuple[str, str]]:
    """(cell, item) of every whole line of responses in a study's folder, as they lie on disk: a worker's own, or gathered."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # gathered between two looks
            read = [(path.parent.name, path.read_bytes()) for path in sorted(study.glob("cells/*/responses*.jsonl"))]
            return [(cell, json.loads(line)["id"]) for cell, lines in read for line in lines.split(b"\n")[:-1]]


@pytest.fixture(scope="session")
def l2v() -> Callable[..., Answer]:
    """The command line in this process."""
    return call


@pytest.fixture
def l2v_process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The command line as a process, ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: object, **options: Any) -> subprocess.Popen[str]:
        started.append(start(*words, **options))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def l2v_forked() -> Iterator[Callable[..., Forked]]:
    """The command line as a process that has loaded the libraries when it begins, ended with the test."""
    started: list[Forked] = []

    def begin(*words: object) -> Forked:
        started.append(Forked(*words))
        return started[-1]

    yield begin
    for process in started:
        process.end()


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    """Runs `python -c …` and `python -m …` in an environment of its own, with the heavy libraries loaded."""
    started = Template()
    yield started
    started.end()


@pytest.fixture
def served_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that `l2v` in this process starts have loaded the libraries when they begin."""
    from l2v.study.workers.executors import processes

    monkeypatch.setattr(processes, "_start", ServedWorker)


@pytest.fixture(scope="session")
def stored_rows() -> Callable[[Path], list[tuple[str, str]]]:
    """Reads (cell, item) of every stored response of a study."""
    return rows


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One outputs folder for the whole session, so that a direction is read once; every test names its own study."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(autouse=True)
def _studies_of_one_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Studies of one name in two files would be one wherever one worker runs both: an error, whoever runs them."""
    if "outputs" not in request.fixturenames:
        yield
        return
    outputs: Path = request.getfixturevalue("outputs")
    before = set(outputs.glob("*/cells/*"))
    yield
    whole = tmp_path_factory.getbasetemp()
    for study in {cell.parents[1].name for cell in set(outputs.glob("*/cells/*")) - before}:
        place = (whole.parent if "PYTEST_XDIST_WORKER" in os.environ else whole) / "studies" / study
        place.mkdir(parents=True, exist_ok=True)
        (place / request.path.stem).touch()
        files = sorted(path.name for path in place.iterdir())
        assert len(files) == 1, f"{' and '.join(files)} both name a study {study!r}"


@pytest.fixture(scope="session")
def tiny(outputs: Path) -> Callable[..., Answer]:
    """`l2v run`, or another verb, of a tiny study in the session's outputs folder; later words win."""

    def run(*words: object, verb: str = "run") -> Answer:
        flags = [w for w in words if str(w).startswith("-")]
        settings = [w for w in words if not str(w).startswith("-")]
        return call(verb, *flags, *TINY, f"runtime.outputs={outputs}", *settings)

    return run


@pytest.fixture(scope="session")
def config() -> Callable[..., Any]:
    """The default cell's typed configuration with values changed: config("intervention.layer=1", …)."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from l2v.config import register
    from l2v.paths import conf_dir
    from l2v.verbs.compose import typed

    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        base = compose("config")
    OmegaConf.set_struct(base, False)

    def build(*changes: str) -> Any:
        return typed(OmegaConf.merge(base, OmegaConf.from_dotlist(list(changes))))  # type: ignore[arg-type]

    return build


@pytest.fixture(scope="session")
def one_index() -> Iterator[None]:
    """lm-eval's own thousands of task files are read once in a session, which takes seconds; other folders anew each time."""
    from lm_eval.tasks import __file__ as place
    from lm_eval.tasks._index import Entry, TaskIndex

    own, build, known = Path(place).parent, TaskIndex.build, dict[str, Entry]()

    def built(paths: Collection[Path], **options: Any) -> dict[str, Entry]:
        others = [path for path in paths if path != own]
        if own in paths and not known:
            known.update(build([own], **options))
        return (known if own in paths else {}) | build(others, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TaskIndex, "build", staticmethod(built))
        yield


@pytest.fixture(scope="session")
def pair(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A baseline and an arm, scored by the official rule alone."""
    answer = tiny("--multirun", "study=pair", "method=direct,l2v")
    assert answer.code == 0, answer.err
    return outputs / "pair"


@pytest.fixture
def copied_pair(pair: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(pair, tmp_path / "pair", ignore=shutil.ignore_patterns("report"))
    return tmp_path / "pair"


@pytest.fixture(scope="session")
def without_account() -> Callable[[pytest.MonkeyPatch, Path], None]:
    """Takes every key out of the environment, and the home folder of the person who runs the tests."""

    def hide(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "TRACKIO_", "NETRC"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(home))

    return hide


@pytest.fixture
def no_account(without_account: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No tracker finds an account in this test."""
    without_account(monkeypatch, tmp_path)
