"""Workers in processes of their own: the results of one process, whatever happens to workers, drivers and disks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chaos import CELLS, GRID, ITEMS, PATIENCE, assert_complete, heartbeats, results, running, wait_until
from forked import Forked, Template

Rows = Callable[[Path], list[tuple[str, str]]]
Process = Callable[..., Forked]
TWO = (*GRID, "executor=processes", "executor.workers=2")
# A worker that is silent for two seconds is given up.
HASTY = ("executor.heartbeat=0.3", "executor.expire=2")


def ended(process: Forked, code: int = 0) -> str:
    """What a process that ended as it should told on standard error."""
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return err


def logs(outputs: Path) -> str:
    return "".join(path.read_text() for path in sorted(outputs.glob("grid/runs/*/logs/*.log")))


def test_two_workers_give_the_same_table_and_load_each_model_once_each(
    tmp_path: Path, l2v: Callable[..., Any], undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    answer = l2v(*TWO, f"runtime.outputs={tmp_path}")
    assert (answer.code, answer.err) == (0, "")
    assert_complete(tmp_path, undisturbed, stored_rows(tmp_path / "grid"))
    told = logs(tmp_path)
    assert told.count("loading target mini") <= 2
    assert told.count("directions read: mini_kin") == 1
    assert len(list(tmp_path.glob("grid/runs/*/logs/worker-*.log"))) == 2
    assert not heartbeats(tmp_path), "a worker left its sign of life behind"
    # A repeat starts nobody.
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*.log"))
    assert l2v(*TWO, f"runtime.outputs={tmp_path}").code == 0
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*.log")) == before
    state = json.loads(l2v("status", "study=grid", f"outputs={tmp_path}", "--format", "json").out)
    assert (state["done"], state["rows"], state["all_rows"]) == (CELLS, CELLS * ITEMS, CELLS * ITEMS)


@pytest.mark.usefixtures("served_workers")
def test_workers_keep_their_target_from_one_look_of_a_race_to_the_next(tmp_path: Path, l2v: Callable[..., Any]) -> None:
    words = ("method=l2v", "runtime.cells_per_claim=1", "protocol.name=race", "benchmark.split=test")
    words += ("intervention.alpha=0.1,0.3,0.5,0.7", "benchmark.limit=60")
    alone, crew = tmp_path / "alone", tmp_path / "crew"
    assert l2v(*GRID, *words, f"runtime.outputs={alone}").code == 0
    answer = l2v(*TWO, *words, f"runtime.outputs={crew}")
    assert (answer.code, answer.err) == (0, "")
    pd.testing.assert_frame_equal(results(crew), results(alone))
    runs = sorted(crew.glob("grid/runs/*"), key=lambda path: (path / "run.json").stat().st_mtime)
    assert len(runs) >= 2
    told = ["".join(log.read_text() for log in run.glob("logs/*.log")) for run in runs]
    assert all(text.count("nothing is left to do") == 2 for text in told[:-1])
    # One that had nothing to answer in the first phase may load it in a later one.
    assert 1 <= "".join(told).count("loading target mini") <= 2
    # A name ends with a draw of each phase, before it stands the process.
    rows = [json.loads(line) for path in crew.glob("grid/cells/*/responses.jsonl") for line in path.read_text().splitlines()]
    assert len({row["worker"].rsplit("-", 1)[0] for row in rows}) <= 2
    assert not heartbeats(crew), "a worker left its sign of life behind"
    # Nobody is left.
    pids = {int(row["worker"].rsplit("-", 2)[1]) for row in rows}
    wait_until(lambda: not any(map(running, pids)))


def test_who_died_between_two_phases_is_replaced_and_the_other_goes_on(
    tmp_path: Path, config: Callable[..., Any], undisturbed: pd.DataFrame
) -> None:
    """Two runs of one command by hand: a worker is killed while it waits, the second run is done all the same."""
    from l2v.study.cells import Job
    from l2v.study.resolve import resolve
    from l2v.study.store import Store
    from l2v.study.workers.executors import processes
    from l2v.study.workers.run import open_run
    from l2v.study.workers.targets import Targets
    from l2v.study.workers.workload import Workload

    base = (f"runtime.outputs={tmp_path}", "executor.name=processes", "executor.workers=2", "benchmark.limit=4")
    quiet = ("runtime.progress=false", "runtime.device=cpu", "method.name=direct")
    store, targets = Store(tmp_path, "s").open(), Targets()

    def phase(seed: int) -> dict[str, str]:
        made = config(*base, *quiet, f"decoding.seed={seed}")
        work = Workload(store, [Job(resolve(made), made)], targets)
        return processes.run(work, open_run(store, work.jobs, work.counts(), made.executor, 2))

    assert phase(0) == {}
    crew = targets.crew
    assert isinstance(crew, processes.Workers)
    wait_until(lambda: all(member.idle for member in crew.members))
    first = [member.process.pid for member in crew.members]
    crew.members[0].process.kill()
    crew.members[0].process.wait()
    assert phase(1) == {}
    second = [member.process.pid for member in crew.members]
    assert second[0] != first[0] and second[1] == first[1]
    # Two phases that came one after the other while they were still at work: each is answered.
    assert phase(2) == phase(3) == {}
    assert [member.process.pid for member in crew.members] == second
    targets.close()
    assert not any(map(running, first + second))


# A pipe in the place of standard input: two lines at once, then nothing from a driver that is another process, then its end.
WAITING = """
import os
from l2v.study.workers import process
process.LOOK_SECONDS = 0.05
out, into = os.pipe()
os.dup2(out, 0)
os.write(into, b'["a", "1"]\\n["b", "2"]\\n')
print(*(process._next_run(os.getppid()) for _ in range(2)), process._next_run(1))
os.close(into)
print(process._next_run(os.getppid()))
"""


def test_who_waits_takes_what_comes_in_turn_and_ends_with_its_driver(template: Template) -> None:
    answer = template.run("-c", WAITING, env=dict(os.environ), timeout=PATIENCE)
    assert answer.stdout.split("\n")[:2] == ["(PosixPath('a'), '1') (PosixPath('b'), '2') None", "None"], answer.stderr


def test_a_killed_worker_is_started_again_and_costs_nothing_that_was_stored(
    tmp_path: Path, l2v: Callable[..., Any], l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    study = tmp_path / "grid"
    driver = l2v_forked(*TWO, f"runtime.outputs={tmp_path}")
    wait_until(lambda: len(stored_rows(study)) >= 20 and len(heartbeats(tmp_path)) == 2, driver)
    state = json.loads(l2v("status", "study=grid", f"outputs={tmp_path}", "format=json").out)
    assert state["running"] >= 1
    assert 20 <= state["rows"] < state["all_rows"] == CELLS * ITEMS
    victim = int(str(heartbeats(tmp_path)[0]["pid"]))
    before = stored_rows(study)
    os.kill(victim, signal.SIGKILL)
    assert "exit code -9 and is started again (1 of 3)" in ended(driver)
    assert set(before) <= set(stored_rows(study))
    assert_complete(tmp_path, undisturbed, stored_rows(study))


def test_workers_end_with_a_killed_driver_and_a_repeat_goes_on(
    tmp_path: Path, l2v: Callable[..., Any], l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    study = tmp_path / "grid"
    driver = l2v_forked(*TWO, f"runtime.outputs={tmp_path}")
    wait_until(lambda: len(stored_rows(study)) >= 20 and len(heartbeats(tmp_path)) == 2, driver)
    pids = [int(str(beat["pid"])) for beat in heartbeats(tmp_path)]
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_until(lambda: not any(map(running, pids)))
    before = stored_rows(study)
    assert 20 <= len(before) < ITEMS * CELLS
    status = l2v("status", "study=grid", f"outputs={tmp_path}")
    assert "nobody is at work" in status.out
    assert l2v(*GRID, f"runtime.outputs={tmp_path}").code == 0
    assert set(before) <= set(stored_rows(study))
    assert_complete(tmp_path, undisturbed, stored_rows(study))


def test_a_worker_that_sleeps_beyond_its_heartbeat_gives_way_when_it_wakes(
    tmp_path: Path, l2v_forked: Process, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    study = tmp_path / "grid"
    driver = l2v_forked(*TWO, *HASTY, f"runtime.outputs={tmp_path}")
    wait_until(lambda: len(stored_rows(study)) >= 20 and len(heartbeats(tmp_path)) == 2, driver)

    def holding(name: str) -> list[Path]:
        return [p for p in study.glob("cells/*/claims/b*.?") if name in p.read_text()]

    wait_until(lambda: any(holding(str(beat["worker"])) for beat in heartbeats(tmp_path)), driver)
    sleeper = next(beat for beat in heartbeats(tmp_path) if holding(str(beat["worker"])))
    os.kill(int(str(sleeper["pid"])), signal.SIGSTOP)
    slept = holding(str(sleeper["worker"]))
    assert slept, "it held nothing when it fell asleep"
    # Someone else finishes what the sleeper held; then it wakes, with a row in hand.
    wait_until(lambda: any((claim.parents[1] / "DONE").exists() for claim in slept), driver if len(slept) < 3 else None)
    os.kill(int(str(sleeper["pid"])), signal.SIGCONT)
    ended(driver)
    assert_complete(tmp_path, undisturbed, stored_rows(study))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """A disk of its own at tmp_path/disk, that can be remounted with other options; skipped where nothing can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "l2v-test", disk], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here (needs root)")

    def remount(options: str) -> None:
        command = ["mount", "-o", f"remount,{options}", disk]
        # A process that is just ending may still hold its log open.
        wait_until(lambda: subprocess.run(command, capture_output=True).returncode == 0)

    yield remount
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.usefixtures("served_workers")
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only_for_a_while(
    trouble: str,
    tmp_path: Path,
    small_disk: Callable[[str], None],
    l2v: Callable[..., Any],
    l2v_forked: Process,
    undisturbed: pd.DataFrame,
    stored_rows: Rows,
) -> None:
    outputs = tmp_path / "disk" / "outputs"
    study = outputs / "grid"
    driver = l2v_forked(*TWO, f"runtime.outputs={outputs}")
    wait_until(lambda: len(stored_rows(study)) >= 20 and len(heartbeats(outputs)) == 2, driver)
    if trouble == "full":
        # What is left of the disk goes to somebody else's file.
        subprocess.run(["dd", "if=/dev/zero", f"of={tmp_path}/disk/theirs", "bs=4k"], capture_output=True)
        reason = "No space left on device"
    else:
        # No file may be open for writing when a disk becomes read-only: the study is interrupted first.
        pids = [int(str(beat["pid"])) for beat in heartbeats(outputs)]
        driver.kill()
        driver.wait()
        # Without their driver the workers end by themselves.
        wait_until(lambda: not any(map(running, pids)) and not heartbeats(outputs))
        small_disk("ro")
        driver = l2v_forked(*TWO, f"runtime.outputs={outputs}")
        reason = "Read-only file system"
    before = stored_rows(study)
    err = ended(driver, 2)
    assert reason in err
    assert "everything stored so far is kept" in err
    small_disk("rw")
    (tmp_path / "disk" / "theirs").unlink(missing_ok=True)
    assert set(before) <= set(stored_rows(study))
    assert l2v(*TWO, f"runtime.outputs={outputs}").code == 0
    assert_complete(outputs, undisturbed, stored_rows(study))


# Python runs this before anything else, in every process that finds it on its path.
CURSE = """
import sys
if any("worker" in word for word in sys.orig_argv):
    import l2v.study.workers.answer as answering
    class Cursed(answering.Engine):
        def answer(self, rows):
            for found in super().answer(rows):
                if any(s is not None and s.layer == 2 for _, s in rows):
                    raise RuntimeError("the vector is cursed")
                yield found
    answering.Engine = Cursed
"""


@pytest.mark.usefixtures("served_workers")
def test_a_cell_that_fails_again_and_again_is_set_aside_and_a_repeat_tries_it_anew(
    tmp_path: Path, l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, undisturbed: pd.DataFrame, stored_rows: Rows
) -> None:
    words, study = (*TWO, f"runtime.outputs={tmp_path / 'out'}", "executor.retries=1"), tmp_path / "out" / "grid"
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(CURSE)
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path / "path"))
        answer = l2v(*words)
    assert answer.code == 1
    assert "FAILED 2 cells" in answer.err
    assert "the vector is cursed" in answer.err
    assert len(list(study.glob("cells/*/DONE"))) == CELLS - 2
    seen: dict[Path, list[dict[str, Any]]] = {}
    for path in study.glob("cells/*/failures.*.jsonl"):
        seen.setdefault(path.parent, []).extend(json.loads(line) for line in path.read_text().splitlines())
    assert len(seen) == 2
    for folder, failures in seen.items():
        # retries=1 is one more try; a worker that tried twice waits for the other to see it too.
        assert len(failures) in (2, 3)
        assert len({failure["worker"] for failure in failures}) == 2
        assert "Traceback" in (folder / "error.txt").read_text()
    status = l2v("status", "study=grid", f"outputs={tmp_path / 'out'}")
    assert "2 failed" in status.out
    assert "the vector is cursed" in status.out
    assert status.code == 1
    assert l2v(*words).code == 0
    assert_complete(tmp_path / "out", undisturbed, stored_rows(study))


BROKEN = """
import sys
if "--index" in sys.orig_argv and sys.orig_argv[sys.orig_argv.index("--index") + 1] == "0":
    import l2v.study.workers.answer as answering
    class Broken(answering.Engine):
        def answer(self, rows):
            print("this card is broken", file=sys.stderr, flush=True)
            raise RuntimeError("this card is broken")
    answering.Engine = Broken
"""
# The other one begins when the broken one has failed at all five cells, twice each.
LATE = """
if "--index" in sys.orig_argv and sys.orig_argv[sys.orig_argv.index("--index") + 1] == "1":
    import pathlib, time
    study, end = pathlib.Path(__file__).parents[1] / "out" / "grid", time.monotonic() + 60
    while time.monotonic() < end:
        failures = [line for path in study.glob("cells/*/failures.*.jsonl") for line in path.read_text().splitlines()]
        if len(failures) == 10:
            break
        time.sleep(0.05)
"""


@pytest.mark.usefixtures("served_workers")
@pytest.mark.parametrize("late", ["", LATE], ids=["together", "late"])
def test_one_broken_worker_fails_no_cell(
    late: str, tmp_path: Path, l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, undisturbed: pd.DataFrame,
    stored_rows: Rows,
) -> None:  # fmt: skip
    """It fails at once whatever it claims, before the other has computed anything, or so much as begun."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(BROKEN + late)
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path / "path"))
        answer = l2v(*TWO, f"runtime.outputs={tmp_path / 'out'}", "executor.retries=1")
    assert "this card is broken" in logs(tmp_path / "out"), "the broken worker never claimed anything"
    assert answer.code == 0, answer.err
    assert_complete(tmp_path / "out", undisturbed, stored_rows(tmp_path / "out" / "grid"))


def test_a_source_that_cannot_be_read_costs_only_its_own_cells(
    tmp_path: Path, l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2v.study.workers import directions

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the source is broken")

    with monkeypatch.context() as patched:
        patched.setattr(directions, "read_directions", broken)
        answer = l2v(*GRID, f"runtime.outputs={tmp_path}")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    # l2v, and random, whose norm is that of the source's direction.
    assert "FAILED 4 cells" in answer.err
    assert "the source is broken" in answer.err
    assert len(list(tmp_path.glob("grid/cells/*/DONE"))) == 1
    assert l2v(*GRID, f"runtime.outputs={tmp_path}").code == 0


@pytest.mark.usefixtures("served_workers")
def test_what_the_user_must_mend_reaches_him_from_a_worker(tmp_path: Path, l2v: Callable[..., Any]) -> None:
    words = (*GRID, "executor=processes", "executor.workers=1", f"runtime.outputs={tmp_path}")
    answer = l2v(*words, "target.layers=5", "target.width=96")
    # Every cell fails for its own sake: the command was sound.
    assert answer.code == 1 and "Traceback" not in answer.err
    assert "say 5 x 96, the checkpoint has 4 x 96" in answer.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("executor.name=quick",), "Unknown executor 'quick'"),
        (("executor.workers=0",), "executor.workers=0 must be at least 1"),
        (("executor.retries=-1",), "executor.retries=-1 must be at least 0"),
        (("executor.heartbeat=9", "executor.expire=9"), "executor.heartbeat=9.0 must be above 0 and below executor.expire=9.0"),
        (("executor.heartbeat=0",), "executor.heartbeat=0.0"),
        (("executor=slurm", "executor.memory_gb=0"), "executor.memory_gb=0 must be at least 1"),
    ],
)
def test_bad_settings_end_before_anything_is_computed(
    words: tuple[str, ...], sentence: str, tmp_path: Path, l2v: Callable[..., Any]
) -> None:
    answer = l2v("run", f"runtime.outputs={tmp_path}", *words)
    assert answer.code == 2
    assert sentence in answer.err
    assert not (tmp_path / "default").exists()


def test_hub_checkpoints_are_fetched_once_before_workers_start(
    config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target from the hub under two methods, its source, and a source that nothing reads; local folders are left alone."""
    import huggingface_hub

    from l2v.study.cells import Job
    from l2v.study.resolve import resolve
    from l2v.study.workers.executors.fetch import fetch_models

    calls: list[tuple[str, str | None]] = []

    def download(repo: str, revision: str | None, allow_patterns: list[str]) -> None:
        assert not [name for name in allow_patterns if name.endswith((".bin", ".pt", ".py", "*"))]
        calls.append((repo, revision))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    target = ("target.path=null", "target.id=org/vlm", "target.revision=abc", "target.layers=4", "target.width=96")
    source = ("source.path=null", "source.id=org/llm", "source.layers=4", "source.width=160", "contrast.chosen=true")
    made = [
        config(*target, *source, "method.name=direct"),
        config(*target, *source, "method.name=l2v"),
        config(
            *target, "source.path=null", "source.id=org/unread", "source.layers=4", "source.width=160", "method.name=direct"
        ),
        config("method.name=l2v"),
    ]
    assert fetch_models([Job(resolve(c), c) for c in made], print) == []
    assert calls == [("org/vlm", "abc"), ("org/llm", None)]


def test_an_unreachable_hub_ends_before_a_worker_starts(tmp_path: Path, l2v: Callable[..., Any]) -> None:
    hub = ("target.path=null", "target.id=org/vlm", "target.layers=4", "target.width=96", "method=direct")
    answer = l2v("run", "executor=processes", f"runtime.outputs={tmp_path}", *hub)
    assert answer.code == 2
    assert "'org/vlm' could not be fetched for the workers" in answer.err
    assert not list(tmp_path.glob("default/runs/*/logs"))


@pytest.mark.parametrize(("executor", "package"), [("slurm", "submitit"), ("ray", "ray")])
def test_a_missing_package_is_named_with_its_extra(executor: str, package: str, tmp_path: Path) -> None:
    """As in an installation without extras, where the package cannot be found."""
    code = (
        "import importlib.util as u, sys; real = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {package!r} else real(name, *rest)\n"
        f"from l2v.cli import main; sys.exit(main(['run', 'executor={executor}', 'runtime.outputs={tmp_path}']))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert answer.returncode == 2
    assert f"executor={executor} needs {package}, which is not installed: pip install 'l2v[{executor}]'" in answer.stderr


def test_a_worker_gets_a_card_of_its_own_or_its_share_of_the_cores(
    config: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2v.study.cells import Job
    from l2v.study.resolve import resolve
    from l2v.study.store import Store
    from l2v.study.workers.executors import processes
    from l2v.study.workers.run import open_run
    from l2v.study.workers.workload import Workload

    made = config("executor.name=processes")
    work = Workload(Store(tmp_path, "s"), [Job(resolve(made), made)])
    run = open_run(work.store, work.jobs, {}, made.executor, 3)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert processes._environment(work, run, 1)["OMP_NUM_THREADS"] == "4"
    monkeypatch.setattr(processes, "gpus", lambda setting: ["4", "7"])
    assert [processes._environment(work, run, index)["CUDA_VISIBLE_DEVICES"] for index in range(3)] == ["4", "7", "4"]


def test_an_installation_without_extras_brings_no_scheduler() -> None:
    from importlib.metadata import requires

    plain = [line.split()[0].lower() for line in requires("l2v") or [] if "extra ==" not in line]
    assert not [name for name in plain if name.startswith(("submitit", "ray"))]
    extras = " ".join(line for line in requires("l2v") or [] if "extra ==" in line)
    assert "submitit" in extras
    assert "ray" in extras
