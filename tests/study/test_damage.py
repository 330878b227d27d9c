"""Damage to every file of a study, generated: each verb gives the table of the undisturbed study, or one sentence.

Every kind of file of a finished and of an open study is cut off at eight places, emptied, deleted, has one byte flipped,
becomes a folder, or is the same file of another study. What a verb then says must name the file and what to do; a traceback
or another table is a failure. Each file meets each kind of damage and each verb; with
L2V_EVERY_DAMAGE=1, in all combinations.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import l2v
import l2v.verbs.run as run_verb
from l2v.config import Config, TrackerConfig
from l2v.errors import UserError
from l2v.report.serve.leaderboard import leaderboard
from l2v.report.serve.shelf import Shelf
from l2v.study.cell_folder import CellFolder
from l2v.study.digests import content_digest
from l2v.study.store import Store
from l2v.track.tracker import TrackedRun
from l2v.track.trackers import TRACKERS, Listed

CUTS = [f"cut {i}" for i in range(8)]
OTHERS = ["emptied", "deleted", "flipped", "flipped unseen", "a folder", "another study's"]
VERBS = ("report", "status", "score", "track", "run")
GRID = (
    "method=direct,l2v", "intervention.layer=1,2", "intervention.alpha=0.4", "protocol.name=select_then_test",
    "benchmark.limit=12", "runtime.progress=false", "runtime.page=false", "runtime.device=cpu",
)  # fmt: skip
# A race, whose looks are cells of their own, scored by two rules.
RACE = (
    "method=direct,l2v", "intervention.layer=1,2", "intervention.alpha=0.2,0.4", "protocol.name=race",
    "scorer=[official,robust]", "benchmark.limit=24", "runtime.progress=false", "runtime.page=false", "runtime.device=cpu",
)  # fmt: skip
EVERY = bool(os.environ.get("L2V_EVERY_DAMAGE"))

# The kinds of files: by what they are called, the one that is damaged.
FINISHED = {
    "study.json": "study.json", "selection.json": "selection.json", "results.csv": "results.csv", "items": "items/*.jsonl",
    "config": "{cell}/config.yaml", "responses": "{cell}/responses.jsonl", "DONE": "{cell}/DONE",
    "metrics": "{cell}/metrics.json", "scores": "{cell}/scores/official.jsonl", "run": "runs/*/run.json", "over": "runs/*/over",
    "table": "report/table.md",
}  # fmt: skip
OPEN = {
    "config": "{open}/config.yaml", "rows of a worker": "{open}/responses.one.jsonl", "gathered": "{gathered}/responses.jsonl",
    "verdicts": "{gathered}/scores/official.jsonl", "figures": "{gathered}/metrics.json", "claim": "{open}/claims/b00.0",
    "failures": "{open}/failures.one.jsonl", "error": "{open}/error.txt", "run": "runs/*/run.json", "study.json": "study.json",
}  # fmt: skip


RACED = {
    "selection.json": "selection.json", "a look's rows": "{look}/responses.jsonl", "a look's mark": "{look}/DONE",
    "a look's verdicts": "{look}/scores/official.jsonl", "a look's figures": "{look}/metrics.json",
    "a look's config": "{look}/config.yaml", "other verdicts": "{cell}/scores/robust.jsonl", "figures": "{cell}/metrics.json",
}  # fmt: skip


class Kept:
    """A tracker that keeps what it is given."""

    place = "nowhere"
    runs: list[TrackedRun] = []

    def __init__(self, config: TrackerConfig, folder: Path) -> None:
        self.runs.clear()

    def upload(self, run: TrackedRun) -> None:
        """Keep it."""
        self.runs.append(run)

    def told(self) -> str:
        """Nothing."""
        return ""

    def finish(self) -> None:
        """Nothing is open."""

    def has(self, run_id: str, place: str) -> bool:
        """Nothing is there."""
        return False


def sent(run: TrackedRun) -> dict[str, str]:
    """What lies in the files that a run brings, by their names."""
    files = ((f"{one.name}/{name}", file) for one in run.produced for name, file in one.files.items())
    return {name: content_digest(file.path.read_bytes()) for name, file in files}


class World:
    """The undisturbed study s, finished and open, its twin with other answers, and what each verb says of it."""

    def __init__(self, folder: Path, call: Callable[..., Any], configs: list[Config]) -> None:
        self.folder, self.call, self.configs = folder, call, configs
        self.number = count()
        self.expected: dict[tuple[str, str], tuple[int, Any]] = {}

    def copied(self, state: str) -> Path:
        """A copy that may be damaged."""
        outputs = self.folder / f"{next(self.number)}"
        shutil.copytree(self.folder / state / "s", outputs / "s", copy_function=shutil.copy2)
        os.symlink(self.folder / "finished" / "cache", outputs / "cache")
        return outputs

    def path(self, outputs: Path, kind: str) -> Path:
        """The file of a kind."""
        cells = [p.parent for p in sorted((outputs / "s" / "cells").glob("*/config.yaml"))]
        whole = [c for c in cells if (c / "DONE").exists()]
        looks = [c for c in whole if (part := CellFolder(c).cell().benchmark.part) is not None and part.block]
        names = {"{cell}": [c for c in whole if c not in looks], "{look}": looks}
        names["{open}"] = [c for c in cells if (c / "claims").exists()]
        names["{gathered}"] = [c for c in cells if c not in whole + names["{open}"]]
        for name, found in names.items():
            if kind.startswith(name):
                return found[-1] / kind.removeprefix(f"{name}/")
        return sorted((outputs / "s").glob(kind))[-1]

    def said(self, verb: str, outputs: Path) -> tuple[Any, Any]:
        """What a verb says (its answer, and the table that it leaves)."""
        if verb == "run":
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(run_verb, "main", lambda _: self._run(outputs))
                answer = self.call("run")
        else:
            Kept.runs.clear()
            words = {"report": ["page=false"], "track": ["tracker=kept", "progress=false"]}.get(verb, [])
            answer = self.call(verb, "study=s", f"outputs={outputs}", *words)
        return answer, self._table(verb, outputs, answer)

    def _run(self, outputs: Path) -> int:
        configs = copy.deepcopy(self.configs)
        for config in configs:
            config.study, config.runtime.outputs = "s", str(outputs)
        return int(any(run_verb.run_configs(configs)[1]))

    def _table(self, verb: str, outputs: Path, answer: Any) -> Any:
        if verb == "status":
            # Rows of an open cell that are gone cannot be counted.
            return [line for line in answer.out.splitlines() if not line.startswith("rows ")]
        if verb == "track":
            return [
                (run.id, run.config, {k: v for k, v in run.summary.items() if "seconds" not in k}, sent(run))
                for run in Kept.runs
            ]
        if verb == "report":
            # It neither reads nor writes results.csv.
            return answer.out
        if not (outputs / "s" / "results.csv").is_file():
            return None
        return pd.read_csv(outputs / "s" / "results.csv").drop(columns="seconds").to_csv()

    def wanted(self, state: str, verb: str) -> tuple[int, Any]:
        """Exit code and table of a verb on the undisturbed study."""
        if (state, verb) not in self.expected:
            answer, table = self.said(verb, self.copied(state))
            assert answer.code == 0, answer.err
            self.expected[state, verb] = answer.code, table
        return self.expected[state, verb]


def computed(call: Callable[..., Any], folder: Path, grid: tuple[str, ...]) -> World:
    """The study and its twin."""
    seen: list[list[Config]] = []
    real = run_verb.run_configs
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_verb, "run_configs", lambda configs: (seen.append(configs), real(configs))[1])
        for outputs, more in (("finished", ()), ("other", ("decoding.max_new_tokens=3",))):
            answer = call("run", "--multirun", "study=s", f"runtime.outputs={folder / outputs}", *grid, *more)
            assert answer.code == 0, answer.err
    return World(folder, call, list(seen[0]))


@pytest.fixture(scope="module", autouse=True)
def kept() -> Iterator[None]:
    """tracker=kept."""
    TRACKERS["kept"] = Listed(f"{__name__}:Kept")
    yield
    del TRACKERS["kept"]


@pytest.fixture(scope="module")
def world(l2v: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> World:
    """Of cells that were chosen on one part of the problems; finished, and open."""
    found = computed(l2v, tmp_path_factory.mktemp("damage"), GRID)
    _open(found.folder)
    return found


@pytest.fixture(scope="module")
def raced(l2v: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> World:
    """Of arms that raced, scored by two rules."""
    return computed(l2v, tmp_path_factory.mktemp("raced"), RACE)


def _open(folder: Path) -> None:
    """The study as a kill leaves it: one cell with half of its rows and its claims, one that was gathered and scored."""
    shutil.copytree(folder / "finished" / "s", folder / "open" / "s")
    store = Store(folder / "open", "s")
    first, second = [f for f in store.finished() if f.cell().steered][:2]
    rows = first.responses()
    for name in ("DONE", "responses.jsonl", "metrics.json"):
        (first.path / name).unlink()
    shutil.rmtree(first.path / "scores")
    first.append("one", [row | {"generation": 0} for row in rows[: len(rows) // 2]])
    first.close()
    (first.path / "claims").mkdir()
    (first.path / "claims" / "b00.0").write_text(json.dumps({"worker": "one", "host": "gone", "pid": 1, "born": "x"}))
    (first.path / "claims" / "b00.0.free").touch()
    (first.path / "failures.one.jsonl").write_text('{"attempt": "x", "worker": "one", "reason": "y", "aside": true}\n')
    (first.path / "error.txt").write_text("Traceback")
    (second.path / "DONE").unlink()
    for over in store.path.glob("runs/*/over"):
        over.unlink()


def damage(path: Path, how: str, other: Path, place: float) -> None:
    """Do it to a file."""
    data = path.read_bytes()
    if how.startswith("cut"):
        path.write_bytes(data[: int(len(data) * (int(how[4:]) + 1) / 9)])
    elif how.startswith("flipped"):
        then, at = path.stat(), min(len(data) - 1, int(len(data) * place))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        if how == "flipped unseen":
            # As a disk does it: size and time stay.
            os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    elif how == "another study's":
        path.write_bytes(other.read_bytes())
    else:
        path.unlink()
        if how == "a folder":
            path.mkdir()
        elif how == "emptied":
            path.touch()


def sentence(verb: str, err: str) -> str:
    """The one line that a verb leaves on stderr, but for what it tells on the way."""
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if line.startswith(f"l2v {verb}: ")]
    assert len(told) == 1, err
    return told[0]


ADVICE = re.compile(r"delete|restore|repeat|remove|`l2v|choose another")


def cases(state: str, kinds: dict[str, str], cuts: list[str]) -> Iterator[Any]:
    """(state, kind, damage, verb): all of them, or for each file and damage the verb whose turn it is."""
    for i, (name, kind) in enumerate(kinds.items()):
        for j, how in enumerate([*cuts, *OTHERS]):
            for k, verb in enumerate(VERBS):
                if EVERY or ((i + j) % len(VERBS) == k and (how in OTHERS or (i + j) % 2)):
                    yield pytest.param(state, kind, how, verb, id=f"{state}, {name} {how}, {verb}")


def check(world: World, state: str, kind: str, how: str, verb: str) -> None:
    """Damage one file of a copy: the table of the undisturbed study, or one sentence."""
    code, table = world.wanted(state, verb)
    outputs = world.copied(state)
    path = world.path(outputs, kind)
    twin = world.path(world.folder / "other", kind if state == "finished" else {**FINISHED, **OPEN}["study.json"])
    damage(path, how, twin, 0.6180339 if verb != "report" else 0.31)
    answer, after = world.said(verb, outputs)
    if answer.code == code:
        assert after == table
        assert "Traceback" not in answer.err
    else:
        # A tracker gets all runs but the one that cannot be made, and a run computes all cells but one.
        partly = verb in ("track", "run") and answer.code == 1
        assert answer.code == 2 or partly, answer.err
        told = answer.err if partly else sentence(verb, answer.err)
        assert path.name in told or path.parent.name in told, told
        assert ADVICE.search(told), told
    shutil.rmtree(outputs)


@pytest.mark.parametrize(("state", "kind", "how", "verb"), [*cases("finished", FINISHED, CUTS), *cases("open", OPEN, CUTS)])
def test_the_same_table_or_one_sentence(world: World, state: str, kind: str, how: str, verb: str) -> None:
    check(world, state, kind, how, verb)


@pytest.mark.parametrize(("state", "kind", "how", "verb"), cases("finished", RACED, ["cut 3"]))
def test_a_race_is_the_same_or_one_sentence(raced: World, state: str, kind: str, how: str, verb: str) -> None:
    check(raced, state, kind, how, verb)


@pytest.mark.parametrize("how", ["emptied", "deleted", "flipped", "a folder", "another study's"])
def test_a_server_shows_the_same_table_or_one_sentence(world: World, how: str) -> None:
    """Its index always comes; a study on it has the rows of the undisturbed one, or says what file is to be mended."""

    def rows(outputs: Path) -> str:
        return str(Shelf(str(outputs), "official", 10).shown("s").study.rows.drop(columns="seconds").to_csv())

    wanted = rows(world.copied("finished"))
    for kind in FINISHED.values():
        outputs = world.copied("finished")
        path = world.path(outputs, kind)
        damage(path, how, world.path(world.folder / "other", kind), 0.31)
        (line,) = leaderboard(Shelf(str(outputs), "official", 10)).studies or (None,)
        try:
            assert rows(outputs) == wanted, kind
        except UserError as error:
            # Of a study that cannot be opened at all, nothing is listed.
            assert path.name in str(error) or path.parent.name in str(error) or line is None, (kind, str(error))
            assert line is None or ADVICE.search(str(error)), str(error)
        shutil.rmtree(outputs)


@pytest.mark.parametrize("turn", range(len(OTHERS) if EVERY else 2))
def test_two_studies_are_compared_as_before_or_one_sentence(world: World, turn: int) -> None:
    """The damage is done to the first or to the second of them."""

    def both(outputs: Path) -> str:
        return str(l2v.compare("s", "t", str(outputs)).to_csv())

    def copied() -> Path:
        outputs = world.copied("finished")
        shutil.copytree(world.folder / "other" / "s", outputs / "t", copy_function=shutil.copy2)
        return outputs

    wanted = both(copied())
    assert len(wanted.splitlines()) > 2
    for place, kind in enumerate(FINISHED.values()):
        outputs, how = copied(), OTHERS[(place + turn) % len(OTHERS)]
        hurt = outputs if (place + turn) % 2 else world.folder / "hurt"
        if hurt != outputs:
            # `path` looks into the study s.
            hurt.mkdir()
            (outputs / "t").rename(hurt / "s")
        path = world.path(hurt, kind)
        damage(path, how, world.path(world.folder / "finished", "study.json"), 0.31)
        if hurt != outputs:
            (hurt / "s").rename(outputs / "t")
            hurt.rmdir()
        try:
            assert both(outputs) == wanted, (kind, how)
        except UserError as error:
            assert path.name in str(error) or path.parent.name in str(error), (kind, how, str(error))
            assert ADVICE.search(str(error)), str(error)
        shutil.rmtree(outputs)


# A claim on the study, held against it under the name of an experiment.
CLAIM = "[{id: c, where: x, says: x, experiment: table2, cells: {method: l2v}, against: {method: direct}, effect: 3}]"


@pytest.mark.parametrize("verb", ["claims", "power"])
def test_what_is_told_of_a_study_is_as_before_or_one_sentence(world: World, verb: str, tmp_path: Path) -> None:
    """Each file has its turn of damage; a study whose own file is gone is none that was not run."""
    (tmp_path / "claims.yaml").write_text(CLAIM)
    words = {"claims": [f"file={tmp_path / 'claims.yaml'}", "format=csv"], "power": ["study=table2"]}[verb]

    def said(outputs: Path) -> Any:
        (outputs / "s").rename(outputs / "table2")
        return world.call(verb, f"outputs={outputs}", *words)

    wanted = said(world.copied("finished"))
    assert wanted.code == 0 and ("reproduced" if verb == "claims" else "of 12 items flip") in wanted.out
    turns = [(kind, OTHERS[place % len(OTHERS)]) for place, kind in enumerate(FINISHED.values())]
    for kind, how in [*turns, ("study.json", "deleted"), ("{cell}/scores/official.jsonl", "another study's")]:
        outputs = world.copied("finished")
        path = world.path(outputs, kind)
        damage(path, how, world.path(world.folder / "other", kind), 0.31)
        answer = said(outputs)
        if answer.code == 0:
            assert answer.out == wanted.out, (kind, how)
        else:
            told = sentence(verb, answer.err)
            assert answer.code == 2 and (path.name in told or path.parent.name in told) and ADVICE.search(told), (kind, how)
        shutil.rmtree(outputs)
