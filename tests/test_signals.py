"""What ends a command from outside leaves one sentence and every stored row: Ctrl-C at any moment, SIGTERM, SIGHUP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaos import wait_until

from l2v.errors import printable
from l2v.study.status import status
from l2v.study.store import Store
from l2v.study.workers.heartbeat import Heartbeat, Watch, read_heartbeat, workers_folder
from l2v.verbs.help import verb_module

# Sends Ctrl-C to itself when a module is first asked for, wherever in the start of a command that is.
PRESSED = """
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
signal.signal(signal.SIGINT, signal.default_int_handler)
from l2v.cli import main
sys.exit(main(["report", "study=none", "outputs=nowhere"]))
"""


@pytest.mark.parametrize("module", ["os", "l2v.errors", "l2v.verbs.help", "l2v.verbs.report", "pandas", "l2v.study.store"])
def test_ctrl_c_while_modules_are_loaded_is_one_sentence(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", PRESSED, module], capture_output=True, text=True, timeout=120, check=False)
    if module == "os":
        # Python itself has it long before: nothing was pressed.
        assert done.returncode == 2
    else:
        assert done.returncode in (130, -signal.SIGINT), done.stderr
        assert "Traceback" not in done.stderr
        assert "Interrupted. Every finished row is stored" in done.stderr


@pytest.mark.parametrize(("verb", "told"), [("serve", "Interrupted."), ("run", "Interrupted. Every finished row is stored;")])
def test_ctrl_c_speaks_of_rows_where_rows_are_stored(
    verb: str, told: str, l2v: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb_module(verb), "main", pressed)
    answer = l2v(verb, f"outputs={tmp_path}")
    assert answer.code == 130 and answer.err.strip().startswith(told) and (verb == "run" or answer.err.strip() == told)


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "SIGHUP")])
@pytest.mark.parametrize("executor", ["local", "processes"])
def test_a_signal_to_the_driver(
    number: signal.Signals,
    name: str,
    executor: str,
    l2v_process: Callable[..., Any],
    l2v_forked: Callable[..., Any],
    stored_rows: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """One sentence, the workers told at once, and the rows that were there stay there."""
    # One of the two as it is started from a shell; of the other it is what the signal does.
    begin = l2v_process if number == signal.SIGTERM else l2v_forked
    words = ("study=s", f"runtime.outputs={tmp_path}", "benchmark.limit=200", "runtime.batch_rows=2", "runtime.device=cpu")
    process = begin("run", *words, "method=direct", f"executor={executor}", "executor.workers=1", "runtime.progress=false")
    wait_until(lambda: len(stored_rows(tmp_path / "s")) > 2, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith(f"Ended by {name}. Every finished row is stored")
    assert len(stored_rows(tmp_path / "s")) > 2
    assert not list(workers_folder(tmp_path).glob("*.json")), "a worker is left, or its sign of life"


@pytest.mark.parametrize(
    "shown",
    [
        {"pid": "x"}, {"pid": 10**30}, {"pid": -1}, {"period": "soon"}, {"period": 1e999}, {"rows": None}, {"rate": []},
        {"host": 3}, {"beat": {}}, {"worker": 7}, [], 3, "x",
    ],
)  # fmt: skip
def test_odd_signs_of_life_are_none(shown: Any, tmp_path: Path) -> None:
    Store(tmp_path, "s").open()
    usual = {"worker": "w", "host": "h", "pid": 1, "born": "b", "beat": 1, "period": 1.0, "rows": 1, "rate": 0.0, "study": "s"}
    path = workers_folder(tmp_path) / "w.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(usual | shown if isinstance(shown, dict) else shown))
    assert read_heartbeat(path) == {}
    assert status(str(tmp_path), "s").workers == []
    with Heartbeat(tmp_path, expire=0) as worker:
        assert worker.alone("s/x")
    assert Watch(path.parent, 1.0).shown("w") == {}


def test_escape_sequences_are_shown_never_obeyed(score_file: Callable[..., Any]) -> None:
    """A model's answer that would clear the screen, and one that would write right to left."""
    answer = score_file(["\x1b[2JIt shows a cat and a dog: B or not?\r\u202e", "12\x9b31m"])
    assert answer.code == 0, answer.err
    assert not [sign for sign in "\x1b\x9b\r\u202e" if sign in answer.out]
    assert "\\x1b[2J" in answer.out
    assert printable("a\tb\nü ↔ 中") == "a\tb\nü ↔ 中"


METADATA = {"category": "x", "task": "x", "context": "x", "source": "x", "grade": "x", "skills": ["x"]}


@pytest.fixture
def score_file(l2v: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """`l2v agreement` over two responses to two MathVista rows."""

    def run(responses: list[str]) -> Any:
        rows = [
            {"pid": "7", "question": "What?", "question_type": "multi_choice", "answer_type": "text", "choices": ["cat", "dog"],
             "answer": "dog", "precision": None, "unit": None, "metadata": METADATA},
            {"pid": "8", "question": "How many?", "question_type": "free_form", "answer_type": "integer", "choices": None,
             "answer": "12", "precision": None, "unit": None, "metadata": METADATA},
        ]  # fmt: skip
        (tmp_path / "items.json").write_text(json.dumps(rows))
        said = [{"pid": row["pid"], "response": text} for row, text in zip(rows, responses, strict=True)]
        (tmp_path / "said.json").write_text(json.dumps(said))
        files = (f"items={tmp_path / 'items.json'}", f"responses={tmp_path / 'said.json'}")
        return l2v("agreement", "benchmark=mathvista", *files, "scorer=official,lenient", "progress=false")

    return run


@pytest.mark.parametrize("verb", ["report", "score", "track", "status", "agreement", "doctor"])
@pytest.mark.parametrize("study", ["../x", "a/b", "", ".", "x" * 300, "x\ny", "\x1b[2J", "cache"])
def test_verbs_stay_inside_of_the_outputs_folder(verb: str, study: str, l2v: Callable[..., Any], tmp_path: Path) -> None:
    answer = l2v(verb, f"study={study}", f"outputs={tmp_path}", *(["tracker=trackio"] if verb == "track" else []))
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    said = "study is empty text" if not study else "control character" if study == "\x1b[2J" else "plain folder name"
    assert said in answer.err
    assert not list(tmp_path.iterdir())


def test_compare_and_experiment_stay_inside(l2v: Callable[..., Any], pair: Path) -> None:
    words = ("report", "study=pair", f"outputs={pair.parent}")
    assert "plain folder name" in l2v(*words, "compare=../pair").err
    ignored = l2v(*words, "compare=other", "page=false")
    assert ignored.code == 2 and "told on the page alone" in ignored.err
    assert "Unknown experiment" in l2v("report", "+experiment=../config", f"outputs={pair.parent}").err
    assert l2v("report", "study=pair", "outputs=").code == 2
