"""Damage to every kind of file in the cache, generated: what is made of it is what the whole file gives, or one sentence
names the file and the mend; never another number, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from l2v.benchmarks.base import Verdict
from l2v.benchmarks.scoring.judge_cache import Cache
from l2v.benchmarks.scoring.judge_settings import JudgeSettings
from l2v.errors import UserError
from l2v.report.lat import folder as lat_folder
from l2v.report.lat.numbers import dispersion_table, summary
from l2v.study import digests
from l2v.study.cells import Cell
from l2v.study.digests import check_analysis
from l2v.study.resolve import resolve
from l2v.study.workers.directions import cell_vector
from l2v.transfer.directions import Directions

HARMS = [*(f"cut {place}" for place in range(8)), "emptied", "deleted", "flipped", "a folder", "another's"]
EVERY = bool(os.environ.get("L2V_EVERY_DAMAGE"))
READ = ("contrast.per_domain=6", "neutral.texts=12", "runtime.device=cpu", "intervention.layer=1")
LOOK = ("contrast.kind=generated", "contrast.max_new_tokens=8", "contrast.per_domain=4", "analyze.permutations=2",
        "analyze.cutoffs=[4,16]", "runtime.device=cpu")  # fmt: skip
ANSWERED = ("method=ridge_neutral", *READ, "benchmark.limit=3", "runtime.page=false", "runtime.progress=false")
ADVICE = ("delete", "remove", "repeat", "make room", "choose another")


class Made:
    """A cache, what `l2v extract`, `analyze` and `run` made of it, and copies of it that may be damaged."""

    def __init__(self, folder: Path, call: Callable[..., Any], cell: Cell) -> None:
        self.folder, self.call, self.cell, self.number = folder, call, cell, count()
        self.expected = {verb: self.made(verb, folder / "whole")[1] for verb in ("extract", "analyze", "run")}
        # Other texts of the same models: the same kinds of files under other names.
        others = ("contrast.per_domain=5", "neutral.texts=10")
        for words in (("extract", "method=ridge_neutral", *READ, *others), ("analyze", "study=a", *LOOK, "contrast.seed=7")):
            answer = call(*words, f"runtime.outputs={folder / 'other'}")
            assert answer.code == 0, answer.err

    def made(self, verb: str, outputs: Path) -> tuple[Any, Any]:
        """The verb's answer, and what it computed."""
        where = f"runtime.outputs={outputs}"
        if verb == "extract":
            answer = self.call("extract", "method=ridge_neutral", *READ, where)
            return answer, None if answer.code else cell_vector(self.cell, str(outputs), 96)
        if verb == "run":
            answer = self.call("run", "study=r", *ANSWERED, where)
            rows = [path.read_bytes() for path in sorted((outputs / "r" / "cells").glob("*/scores/*.jsonl"))]
            return answer, rows
        kept: list[Any] = []
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(lat_folder, "write_analysis", lambda found, to: (kept.append(found), to / "index.html")[1])
            answer = self.call("analyze", "study=a", *LOOK, where)
        return answer, (summary(kept[0]), dispersion_table(kept[0]).to_csv()) if kept else None

    def copied(self) -> Path:
        """A copy of the cache, of no study."""
        outputs = self.folder / f"{next(self.number)}"
        shutil.copytree(self.folder / "whole" / "cache", outputs / "cache", copy_function=os.link)
        return outputs

    def files(self, kind: str, place: str) -> list[Path]:
        """The files of a kind."""
        return sorted((self.folder / place / "cache").glob(kind))


# The kinds of files, and the verbs that read them.
KINDS = {
    "directions/*.safetensors": ("extract", "run", "analyze"),
    "neutral/*/*.safetensors": ("extract",),
    "maps/*.safetensors": ("extract", "run"),
    "texts/*.jsonl": ("analyze",),
    "texts/*.part/responses.jsonl": ("analyze",),
}


@pytest.fixture(scope="module")
def made(l2v: Callable[..., Any], config: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Made:
    chosen = config("method.name=ridge_neutral", *READ)
    return Made(tmp_path_factory.mktemp("caches"), l2v, resolve(chosen))


def cases() -> Iterator[Any]:
    """Every kind of file meets every kind of damage, before one of the verbs that read it; all cuts with L2V_EVERY_DAMAGE=1."""
    for number, (kind, verbs) in enumerate(KINDS.items()):
        for turn, how in enumerate(HARMS):
            if not EVERY and how.startswith("cut") and (turn + number) % 3:
                continue
            yield pytest.param(kind, how, verbs[turn % len(verbs)], turn, id=f"{kind} {how}, {verbs[turn % len(verbs)]}")


def harm(path: Path, how: str, other: Path, place: float) -> None:
    """Do it to a file, which may be linked elsewhere."""
    data = path.read_bytes()
    path.unlink()
    if how.startswith("cut"):
        path.write_bytes(data[: len(data) * (int(how[4:]) + 1) // 9])
    elif how == "flipped":
        at = int(len(data) * place)
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    elif how == "another's":
        path.write_bytes(other.read_bytes())
    elif how == "a folder":
        path.mkdir()
    elif how == "emptied":
        path.touch()


@pytest.mark.parametrize(("kind", "how", "verb", "turn"), cases())
def test_the_same_or_one_sentence(made: Made, kind: str, how: str, verb: str, turn: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(digests, "_told", set())
    outputs = made.copied()
    wanted, there = made.expected[verb], made.files(kind, "whole")
    assert there, kind
    path = outputs / there[turn % len(there)].relative_to(made.folder / "whole")
    (other, *_) = made.files(kind, "other")
    harm(path, how, other, 0.31 if turn % 2 else 0.83)
    if kind.startswith(("neutral", "texts/*.part")):
        # Read only where what is made of it is to be made again.
        for later in ("maps/*.safetensors", "texts/*.jsonl"):
            for one in (outputs / "cache").glob(later):
                one.unlink()
    answer, found = made.made(verb, outputs)
    assert "Traceback" not in answer.err
    if answer.code == 0:
        assert torch.equal(found, wanted) if verb == "extract" else found == wanted, answer.err
    else:
        told = [line for line in answer.err.splitlines() if line.startswith(f"l2v {verb}: ")]
        assert answer.code == 2 and len(told) == 1, answer.err
        assert path.name in told[0] or path.parent.name in told[0], told
        assert any(word in told[0] for word in ADVICE), told
    shutil.rmtree(outputs)


@pytest.mark.parametrize("how", ["dtype", "a layer less", "one row"])
def test_directions_of_another_form_are_none(how: str, made: Made, tmp_path: Path) -> None:
    """Even where no digest tells."""
    (whole, *_) = made.files("directions/*.safetensors", "whole")
    with safe_open(str(whole), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = {key: value for key, value in file.metadata().items() if key != "digests"}
    path = tmp_path / whole.name
    save_file(tensors, path, header)
    assert Directions.load(path).n > 0
    mean = tensors["mean"]
    other = {"dtype": mean.double(), "a layer less": mean[1:].contiguous(), "one row": mean[0].contiguous()}[how]
    save_file(tensors | {"mean": other}, path, header)
    with pytest.raises(UserError, match=rf"{whole.stem}.* is damaged .*; delete it"):
        Directions.load(path)


def test_lines_of_texts_that_are_gone_are_missed(made: Made) -> None:
    """One line less, or two in another order: nothing is torn, and the directions would be of other texts."""
    (whole,) = made.files("texts/*.jsonl", "whole")
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) > 3
    for harmed in (lines[1:], lines[:-1], [lines[1], lines[0], *lines[2:]], [*lines, lines[0]]):
        outputs = made.copied()
        path = outputs / whole.relative_to(made.folder / "whole")
        path.unlink()
        path.write_bytes(b"".join(harmed))
        answer, found = made.made("analyze", outputs)
        assert (answer.code, found) == (0, made.expected["analyze"]), answer.err
        assert path.read_bytes() == whole.read_bytes()
        shutil.rmtree(outputs)


def test_texts_of_a_version_without_checks_are_written_again(made: Made, monkeypatch: Any) -> None:
    """Nobody could tell whether a line of them is gone."""
    (whole,), (kept,) = made.files("texts/*.jsonl", "whole"), made.files("texts/*.part/responses.jsonl", "whole")
    for lost in (0, 1):
        monkeypatch.setattr(digests, "_told", set())
        outputs = made.copied()
        for path in (whole, kept):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            old = [{key: value for key, value in row.items() if key not in ("id", "check")} for row in rows]
            (outputs / path.relative_to(made.folder / "whole")).unlink()
            lines = [json.dumps(row) + "\n" for row in old[: len(old) - lost]]
            (outputs / path.relative_to(made.folder / "whole")).write_text("".join(lines))
        answer, found = made.made("analyze", outputs)
        assert (answer.code, found) == (0, made.expected["analyze"]), answer.err
        assert f"{whole.name} was written by a version without checks" in answer.err
        assert (outputs / whole.relative_to(made.folder / "whole")).read_bytes() == whole.read_bytes()
        shutil.rmtree(outputs)


def test_doctor_looks_at_the_texts_of_a_study_with_analyses(made: Made, l2v: Callable[..., Any]) -> None:
    """Cut off at a line's end, or with another letter in it."""
    (path,), words = made.files("texts/*.jsonl", "other"), ("doctor", "study=a", f"outputs={made.folder / 'other'}")
    assert l2v(*words).code == 0, l2v(*words).out
    whole = path.read_bytes()
    for harmed in (b"".join(whole.splitlines(keepends=True)[:-1]), whole.replace(b"=", b"-", 1), b"", whole[:-9]):
        path.write_bytes(harmed)
        answer = l2v(*words)
        told = [line for line in answer.out.splitlines() if line.startswith("- ")]
        assert answer.code == 1 and len(told) == 1 and path.name in told[0] and "delete it" in told[0], answer.out
    path.write_bytes(whole)


@pytest.mark.parametrize("how", HARMS)
def test_a_judges_cache_gives_its_verdicts_or_none(how: str, tmp_path: Path) -> None:
    """What is gone is asked again; nothing that was said turns into something else."""
    settings, others = (JudgeSettings(name, base_url="http://localhost/v1") for name in ("m", "n"))
    cache, other = Cache(tmp_path / "a", settings), Cache(tmp_path / "b", others)
    for i in range(12):
        cache.append(f"{i}", Verdict(i % 3 > 0, None, "judge", "because"), "so")
        other.append(f"{i}", Verdict(i % 3 == 0, None, "judge", "because"), "so")
    wanted = cache.read()
    assert len(wanted) == 12
    for place in (0.1, 0.31, 0.47, 0.62, 0.83):
        kept = cache.path.read_bytes()
        harm(cache.path, how, other.path, place)
        try:
            found = cache.read()
        except digests.UserError as error:
            assert how == "a folder" and cache.path.name in str(error) and "mend" in str(error)
            cache.path.rmdir()
        else:
            assert found == {key: wanted[key] for key in found}
            assert len(found) == 11 if how == "flipped" else len(found) < 12
        cache.path.write_bytes(kept)


def test_a_stored_analysis_is_whole_or_told(made: Made, tmp_path: Path) -> None:
    """Every file of it but the page, which is for reading."""
    shutil.copytree(made.folder / "other" / "a", tmp_path / "a")
    (told,) = (tmp_path / "a").glob("lat/*/lat.json")
    check_analysis(told)
    files = sorted(path for path in told.parent.iterdir() if path.suffix in (".json", ".csv", ".png"))
    assert len(files) > 10
    for turn, path in enumerate(files):
        for how in HARMS[turn % 2 :: 2]:
            kept = path.read_bytes()
            harm(path, how, files[turn - 1], 0.31)
            with pytest.raises(digests.UserError, match="repeat") as told_of:
                check_analysis(told)
            assert path.name in str(told_of.value)
            path.rmdir() if how == "a folder" else path.unlink(missing_ok=True)
            path.write_bytes(kept)
