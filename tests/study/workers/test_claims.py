"""Claims and signs of life: one holder at a time, on one machine and on several, whatever their clocks say."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l2v.errors import UserError
from l2v.study.workers import claims
from l2v.study.workers import heartbeat as workers
from l2v.study.workers.claims import DONE, FREE, HELD, Claim, claim, claim_all, holders, states
from l2v.study.workers.heartbeat import Heartbeat, Holder, Watch, birth, read_heartbeat


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def elsewhere(worker: Heartbeat, name: str) -> Heartbeat:
    """The worker as it would be on another machine, where its process cannot be looked up."""
    worker.name = name
    worker.holder = replace(worker.holder, worker=name, host=f"host-of-{name}")
    return worker


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Heartbeat, Heartbeat, Clock]]:
    """Two workers on two machines; the second one's watch follows the clock."""
    clock = Clock()
    one, two = (elsewhere(Heartbeat(tmp_path, period=0.05, expire=10.0), name) for name in ("one", "two"))
    two.watch = Watch(two.folder, 10.0, clock)
    with one, two:
        yield one, two, clock


def test_one_holds_and_a_released_claim_goes_to_the_next(tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]) -> None:
    one, two, _ = pair
    mine = claim(tmp_path / "claims", "b00", one)
    assert mine is not None
    assert mine.current()
    assert claim(tmp_path / "claims", "b00", two) is None
    assert claim(tmp_path / "claims", "b01", two) is not None
    mine.release()
    mine.release()
    theirs = claim(tmp_path / "claims", "b00", two)
    assert theirs is not None
    assert theirs.generation == 1
    assert not mine.current()
    assert [holder.worker for holder in holders(tmp_path / "claims")] == ["two", "two"]


def test_a_claim_expires_only_when_its_holder_is_silent_by_the_observers_clock(
    tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]
) -> None:
    one, two, clock = pair
    mine = claim(tmp_path / "claims", "b00", one)
    assert mine is not None
    for _ in range(3):
        # It beats: however late it is, it holds.
        clock.now += 60
        time.sleep(0.15)
        assert claim(tmp_path / "claims", "b00", two) is None
    one.__exit__()
    assert claim(tmp_path / "claims", "b00", two) is None
    clock.now += 9
    assert claim(tmp_path / "claims", "b00", two) is None
    clock.now += 2
    theirs = claim(tmp_path / "claims", "b00", two)
    assert theirs is not None
    # The sleeper wakes and sees that it has to give way.
    assert not mine.current()
    assert theirs.current()
    mine.release()
    assert theirs.current()


@pytest.mark.parametrize("shift", [-60, 60])
def test_clocks_that_differ_by_a_minute_change_nothing(
    shift: float, tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]
) -> None:
    """Every file of the other machine carries a time that is a minute off; it lives all the same, and dies all the same."""
    one, two, clock = pair
    assert claim(tmp_path / "claims", "b00", one) is not None
    for path in tmp_path.rglob("*"):
        os.utime(path, (time.time() + shift, time.time() + shift))
    assert claim(tmp_path / "claims", "b00", two) is None
    clock.now += 5
    assert claim(tmp_path / "claims", "b00", two) is None
    one.__exit__()
    assert claim(tmp_path / "claims", "b00", two) is None
    clock.now += 10.5
    assert claim(tmp_path / "claims", "b00", two) is not None


def test_a_holder_that_promises_rarer_signs_of_life_is_given_more_time(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch(tmp_path, 10.0, clock)
    slow = Holder("slow", "elsewhere", 1, "")
    (tmp_path / "slow.json").write_text(json.dumps({"beat": 1, "period": 30.0}))
    assert watch.alive(slow, "")
    clock.now = 89
    assert watch.alive(slow, "")
    clock.now = 91
    assert not watch.alive(slow, "")


HOLD = """
import pathlib, sys, l2v.study.workers.claims as c, l2v.study.workers.heartbeat as w
worker = w.Heartbeat(pathlib.Path(sys.argv[1]), 60.0, 600.0).__enter__()
print(c.claim(pathlib.Path(sys.argv[1]) / "claims", "b00", worker) is not None, flush=True)
sys.stdin.read()
"""


def test_a_process_that_was_killed_on_this_machine_loses_its_claims_at_once(tmp_path: Path) -> None:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        Heartbeat(tmp_path, 60.0, 600.0) as mine,
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], **pipes) as holder,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "True"
        assert claim(tmp_path / "claims", "b00", mine) is None
        holder.send_signal(signal.SIGSTOP)
        assert claim(tmp_path / "claims", "b00", mine) is None
        # Dead, but not yet collected by its parent.
        holder.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        assert claim(tmp_path / "claims", "b00", mine) is not None


def test_a_number_that_another_process_got_is_no_sign_of_life(tmp_path: Path) -> None:
    watch = Watch(tmp_path, 600.0)
    me = Holder("x", workers.host_key(), os.getpid(), str(birth(os.getpid())))
    assert watch.alive(me, "")
    assert not watch.alive(replace(me, born="12345"), "")


def test_a_claim_that_cannot_be_read_is_waited_for_and_then_taken(
    tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]
) -> None:
    """Its holder was killed between creating and writing it."""
    _, two, clock = pair
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "b00.4").write_text("")
    assert claim(folder, "b00", two) is None
    clock.now += 11
    got = claim(folder, "b00", two)
    assert got is not None
    assert got.generation == 5


def test_all_or_none(tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]) -> None:
    one, two, _ = pair
    folder = tmp_path / "claims"
    held = claim(folder, "b01", one)
    assert held is not None
    wanted = [(folder, f"b0{n}") for n in range(3)]
    assert claim_all(wanted, two) is None
    assert [h.worker for h in holders(folder)] == ["one"]
    held.release()
    both = claim_all(wanted, two)
    assert both is not None
    assert [c.key for c in both] == ["b00", "b01", "b02"]


def test_the_claims_of_a_finished_cell_are_no_longer_current(tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]) -> None:
    import shutil

    held = claim(tmp_path / "claims", "b00", pair[0])
    assert held is not None
    shutil.rmtree(tmp_path / "claims")
    assert not held.current()
    held.release()
    assert not (tmp_path / "claims").exists()


def grab(arguments: tuple[str, int]) -> list[int]:
    """Keys that this process could claim, in an order of its own."""
    folder, number = arguments
    # The folder is shared; a worker of its own says who is who.
    with Heartbeat(folder, 60.0, 600.0) as worker:
        keys = [(7 * i + number) % 40 for i in range(40)]
        return [key for key in keys if claim(Path(folder) / "claims", f"b{key:02d}", worker) is not None]


def test_many_processes_that_claim_at_once_never_share(tmp_path: Path) -> None:
    count = 8
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        found = pool.map(grab, [(str(tmp_path), number) for number in range(count)], chunksize=1)
    got = [key for keys in found for key in keys]
    assert sorted(got) == list(range(40))


def test_a_generation_is_never_used_twice(tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]) -> None:
    generations = []
    for _ in range(4):
        held = claim(tmp_path, "b00", pair[0])
        assert held is not None
        generations.append(held.generation)
        held.release()
    assert generations == [0, 1, 2, 3]
    assert (tmp_path / f"b00.3{FREE}").exists()
    assert not Claim(tmp_path, "b00", 2).current()


def test_an_old_listing_grants_nothing(
    tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared file system may show a folder as it was; the creation of a file is what decides."""
    one, two, _ = pair
    held = claim(tmp_path, "b00", one)
    assert held is not None
    with monkeypatch.context() as patched:
        patched.setattr(claims, "states", lambda folder: {})
        assert claim(tmp_path, "b00", two) is None
        assert held.current()
        held.release(done=True)
        assert claim(tmp_path, "b00", two) is None
    assert states(tmp_path) == {"b00": (0, DONE)}


@pytest.mark.parametrize("done", [False, True])
def test_a_claim_that_was_taken_over_and_given_back_is_lost_to_its_sleeper(
    done: bool, tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]
) -> None:
    one, two, clock = pair
    held = claim(tmp_path, "b00", one)
    assert held is not None
    one.__exit__()
    assert claim(tmp_path, "b00", two) is None
    clock.now += 11
    theirs = claim(tmp_path, "b00", two)
    assert theirs is not None
    theirs.release(done)
    assert not held.current()


def test_a_claim_that_cannot_be_written_leaves_nothing_to_wait_for(
    tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, _ = pair

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(json, "dumps", full)
        with pytest.raises(UserError, match="No space left"):
            claim_all([(tmp_path, "b00")], one)
    assert states(tmp_path) == {}
    assert claim(tmp_path, "b00", two) is not None


def test_all_or_none_also_when_the_last_one_fails(
    tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = claims.claim

    def failing(folder: Path, key: str, worker: Heartbeat) -> Claim | None:
        if key == "b02":
            raise UserError("the disk is full")
        return real(folder, key, worker)

    monkeypatch.setattr(claims, "claim", failing)
    with pytest.raises(UserError):
        claim_all([(tmp_path, f"b0{n}") for n in range(3)], pair[0])
    assert {mark for _, mark in states(tmp_path).values()} == {FREE}


def test_what_is_done_is_claimed_by_nobody(tmp_path: Path, pair: tuple[Heartbeat, Heartbeat, Clock]) -> None:
    one, two, _ = pair
    held = claim(tmp_path, "b00", one)
    other = claim(tmp_path, "b01", one)
    assert held is not None
    assert other is not None
    held.release(done=True)
    assert claim(tmp_path, "b00", two) is None
    assert states(tmp_path) == {"b00": (0, DONE), "b01": (0, HELD)}
    assert not held.current()
    assert [h.worker for h in holders(tmp_path)] == ["one"]


def test_a_heartbeat_tells_what_a_worker_does_and_goes_with_it(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, period=0.05, expire=1.0) as worker:
        worker.tell(study="s", doing="something")
        worker.count(7)
        path = worker.folder / f"{worker.name}.json"
        deadline = time.monotonic() + 5
        while read_heartbeat(path).get("rows") != 7:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        shown = read_heartbeat(path)
        assert (shown["study"], shown["doing"], shown["pid"]) == ("s", "something", os.getpid())
        assert shown["rate"] > 0
    assert not path.exists()


def test_a_heartbeat_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workers, "write_atomically", full)
    with Heartbeat(tmp_path, period=0.01, expire=1.0) as worker:
        time.sleep(0.05)
        assert not worker.asked_to_end


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, period=0.05, expire=1.0) as worker:
        worker.end_with(os.getppid())
        time.sleep(0.2)
        assert not worker.asked_to_end
        worker.end_with(os.getpid())  # not the parent: as if that one were gone
        deadline = time.monotonic() + 5
        while not worker.asked_to_end:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_worker_is_alone_once_who_was_there_is_gone_or_nobody_came_in_time(tmp_path: Path) -> None:
    def begun(**more: float) -> Heartbeat:
        worker = Heartbeat(tmp_path, 0.05, **more)
        worker.tell(run="study/one")
        return worker

    with begun() as first:
        assert not first.alone("study/one"), "those started with it may be a moment late"
        with begun() as second:
            assert not first.alone("study/one") and not second.alone("study/one")
        assert first.alone("study/one"), "it was there, and is gone"
    with begun(expire=0.2) as first, begun():
        assert not first.alone("study/other")
        time.sleep(0.3)
        assert first.alone("study/other"), "nobody came"
        assert not first.alone("study/one")
