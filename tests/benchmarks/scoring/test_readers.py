"""Many responses read by several processes: the same verdicts, and none lost with a process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from l2v.benchmarks.base import INTEGER, TEXT, Question
from l2v.benchmarks.scoring import readers
from l2v.benchmarks.scoring import robust as robust_module
from l2v.benchmarks.scoring.robust import robust, robust_many


def twice(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def once_killed(given: tuple[str, int]) -> int:
    """Ends its process at 150, the first time."""
    mark, number = Path(given[0]), given[1]
    if number == 150 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return -number


def unlucky(number: int) -> int:
    raise ZeroDivisionError(number)


def test_what_is_read_by_processes_comes_in_order() -> None:
    given = list(range(350))
    found = list(readers.in_processes(twice, given, workers=2))
    assert [one for one, _ in found] == given and [read for _, (read, _) in found] == [2 * one for one in given]
    assert os.getpid() not in {process for _, (_, process) in found}


@pytest.mark.parametrize(("count", "workers"), [(350, 1), (100, 2), (0, 2)])
def test_one_process_or_little_to_read_is_read_here(count: int, workers: int) -> None:
    found = list(readers.in_processes(twice, range(count), workers=workers))
    assert [read for _, read in found] == [(2 * one, os.getpid()) for one in range(count)]


def test_where_a_process_is_ended_the_rest_is_read_here(tmp_path: Path) -> None:
    given = [(str(tmp_path / "killed"), number) for number in range(350)]
    assert list(readers.in_processes(once_killed, given, workers=2)) == [(one, -one[1]) for one in given]
    assert (tmp_path / "killed").exists()


def test_where_no_process_can_be_had_all_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(workers: int) -> None:
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr("loky.ProcessPoolExecutor", none)
    found = list(readers.in_processes(twice, range(350), workers=2))
    assert [read for _, read in found] == [(2 * one, os.getpid()) for one in range(350)]


def test_an_error_of_the_reader_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        list(readers.in_processes(unlucky, range(350), workers=2))


def test_verdicts_by_processes_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With algebra among them, responses that repeat, one without a text, and one that no encoding can write."""
    texts = ["Answer: {}", "The answer is not {}.", "\\boxed{{{}}}", "So it is {} \ud800.", "{} or 7"]
    asked: list[tuple[Question, str | None]] = [
        (Question("How many?", INTEGER, str(n)), text.format(n)) for n in range(70) for text in texts
    ]
    asked += [(Question("", TEXT, f"x^2+{i}x"), f"\\boxed{{x(x+{i})}}") for i in range(101, 140)]
    asked += [*asked[:40], (Question("", TEXT, "3"), None)]
    here = [robust(*pair) for pair in asked]
    used: list[int] = []
    by_processes = robust_module.in_processes

    def counted(*given: object) -> object:
        used.append(1)
        return by_processes(*given)

    monkeypatch.setattr(robust_module, "MANY", 300)
    monkeypatch.setattr(robust_module, "in_processes", counted)
    judged: list[int] = []
    assert robust_many(asked, judged.append, workers=2) == here
    assert used and sum(judged) == len(asked)
    assert {verdict.correct for verdict in here} == {True, None}


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    """Processes import the reader, never the file that asked for them."""
    script = tmp_path / "asks.py"
    script.write_text(
        "from l2v.benchmarks.base import INTEGER, Question\n"
        "from l2v.benchmarks.scoring import robust\n"
        "robust.MANY = 250\n"
        "print('begun')\n"
        "asked = [(Question('How many?', INTEGER, str(n)), f'Answer: {n}') for n in range(250)]\n"
        "print(sum(verdict.correct for verdict in robust.robust_many(asked, workers=2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("begun\n250\n", "")
