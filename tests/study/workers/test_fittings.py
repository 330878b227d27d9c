"""Learned maps in a study: fitted once for all cells, on neutral texts alone, with controls of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from l2v.errors import UserError
from l2v.paths import PACKAGE, world_path
from l2v.study.cells import Cell, Job
from l2v.study.plan import fitting, states_path
from l2v.study.resolve import resolve
from l2v.study.workers import making
from l2v.study.workers.directions import cell_vector, ensure_directions
from l2v.study.workers.maps import ensure_maps, load_map
from l2v.transfer import neutral

Config = Callable[..., Any]
QUIET = ("runtime.progress=false", "runtime.device=cpu", "neutral.texts=40", "contrast.per_domain=20", "intervention.layer=3")


def job(config: Config, outputs: Path, *changes: str) -> Job:
    chosen = config(*QUIET, f"runtime.outputs={outputs}", *changes)
    return Job(resolve(chosen), chosen)


def learned(config: Config, outputs: Path, method: str, *changes: str) -> Job:
    return job(config, outputs, f"method.name={method}", "source.name=mini_stranger_a",
               f"source.path={PACKAGE}/mini/checkpoints/stranger_a", *changes)  # fmt: skip


def silent(_message: str) -> None:
    """Nothing is said."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def test_no_map_is_shown_a_text_of_the_contrast(config: Config, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are asked neutral texts alone while a map is made, no direction is read, another contrast changes nothing."""
    asked: list[str] = []
    places = neutral.token_places

    def noted(tokenizer: Any, chat: Any, *rest: Any) -> Any:
        asked.append(chat.user)
        return places(tokenizer, chat, *rest)

    monkeypatch.setattr(neutral, "token_places", noted)
    one, other = (learned(config, outputs, "ridge_neutral", f"contrast.per_domain={n}") for n in (20, 10))
    said: list[str] = []
    (path,) = ensure_maps([one], "cpu", said.append)
    contrast = [
        json.loads(line)["question"] for line in (PACKAGE / "mini" / "data" / "contrast.jsonl").read_text().splitlines()
    ]
    assert len(asked) == 2 * 40
    assert not [text for text in asked for question in contrast if question in text]
    assert not (outputs / "cache" / "directions").exists()
    assert ensure_maps([other], "cpu", said.append) == [path]
    assert [line.split(":")[0] for line in said] == ["neutral texts read"] * 2 + ["map fitted"]
    found = fitting(one.cell)
    assert found is not None and "contrast" not in json.dumps(found.settings())
    rows = neutral.load_states(states_path(outputs, found.target.id), 3)
    assert torch.allclose(load_map(path).offset, rows.mean(dim=0), atol=1e-5), "fitted on these rows and no others"


def test_cells_share_maps_and_controls_have_their_own(config: Config, outputs: Path) -> None:
    first = learned(config, outputs, "ridge_neutral", "intervention.alpha=0.3")
    again = learned(config, outputs, "ridge_neutral", "intervention.alpha=0.7")
    control = [learned(config, outputs, "shuffled_map", "method.map=ridge_neutral", f"seed={seed}") for seed in (0, 1)]
    random = learned(config, outputs, "mapped_random", "method.map=ridge_neutral", "seed=3")
    paths = ensure_maps([first, again, *control, random], "cpu", silent)
    assert len(set(paths)) == 3, "the random direction goes through the arm's own map"
    shared = fitting(first.cell)
    assert shared is not None and shared == fitting(random.cell)
    maps = {path.stem: load_map(path) for path in paths}
    assert all(maps[shared.id].held_out > found.held_out for key, found in maps.items() if key != shared.id)
    ensure_directions([first, random], "cpu", silent)
    vectors = [cell_vector(one.cell, str(outputs), 96) for one in (first, random)]
    assert float(torch.cosine_similarity(*vectors, dim=0)) < 0.9


def test_a_given_block_is_taken_and_the_best_is_found(config: Config, outputs: Path) -> None:
    free, given = (learned(config, outputs, "procrustes", *more) for more in ((), ("intervention.source_layer=1",)))
    assert (free.cell.source_layer, given.cell.source_layer) == (None, 1)
    best, own = (load_map(path) for path in ensure_maps([free, given], "cpu", silent))
    assert sorted(best.reconstruction) == [0, 1, 2, 3]
    assert best.held_out == max(best.reconstruction.values())
    assert own.reconstruction == {1: pytest.approx(best.reconstruction[1])}


def test_cells_without_a_map_are_as_before_and_those_with_one_come_back(config: Config, tmp_path: Path) -> None:
    from dataclasses import asdict

    plain, other = job(config, tmp_path).cell, job(config, tmp_path, "neutral.texts=50", "neutral.places=2").cell
    assert plain.id == other.id and plain.neutral is None
    old = {name: value for name, value in asdict(plain).items() if name not in ("neutral", "map")}
    assert Cell.from_dict(old).id == plain.id
    cell = learned(config, tmp_path, "shuffled_map", "method.map=cca").cell
    assert Cell.from_dict(json.loads(json.dumps(asdict(cell)))).id == cell.id
    ids = {learned(config, tmp_path, "cca", *more).cell.id for more in ((), ("neutral.texts=50",), ("neutral.places=2",))}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("method.name=cca", "neutral.texts=5"), "neutral.texts=5 must be at least 10"),
        (("method.name=cca", "neutral.places=0"), "neutral.places=0 must be at least 1"),
        (("method.name=shuffled_map", "method.map=l2v"), "Unknown method.map 'l2v'"),
        (("method.name=cca", "neutral.path=nowhere.jsonl"), "nowhere.jsonl"),
        (("method.name=cca", "target.id=Qwen/Qwen2-VL-7B", "contrast.chosen=true", "source.chosen=true"),
         "No neutral texts were chosen"),
    ],
)  # fmt: skip
def test_bad_settings_are_told(config: Config, tmp_path: Path, changes: tuple[str, ...], told: str) -> None:
    with pytest.raises(UserError, match=told):
        job(config, tmp_path, *changes)


def test_a_failed_map_is_told_and_the_others_are_made(config: Config, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from l2v.transfer import maps

    def fails(*_: Any) -> Any:
        raise UserError("no such map")

    monkeypatch.setitem(maps.FITS, "anchors", fails)
    jobs = [learned(config, outputs, name) for name in ("anchors", "cca")]
    failed: list[str] = []
    _, path = ensure_maps(jobs, "cpu", silent, failed=lambda id_, error: failed.append(f"{id_}: {error}"))
    found = fitting(jobs[0].cell)
    assert found is not None and failed == [f"{found.id}: no such map"] and path.exists()


def test_what_another_worker_made_meanwhile_is_not_made_again(
    config: Config, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is released between this one's look and its claim: nothing is fitted over what others may be reading."""
    one = learned(config, outputs, "procrustes")
    (path,) = ensure_maps([one], "cpu", silent)
    made, claim = path.read_bytes(), making.claim
    path.unlink()

    def late(*given: Any) -> Any:
        path.write_bytes(made)
        return claim(*given)

    monkeypatch.setattr(making, "claim", late)
    said: list[str] = []
    assert ensure_maps([one], "cpu", said.append) == [path] and said == []


def test_a_damaged_map_is_told_and_fitted_again(config: Config, outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = learned(config, outputs, "procrustes")
    (path,) = ensure_maps([one], "cpu", silent)
    whole = load_map(path).weight.clone()  # what is loaded lies in the file
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    ensure_maps([one], "cpu", silent)
    assert torch.equal(load_map(path).weight, whole)
    assert f"{path} is not a file of a map" in capsys.readouterr().err


def test_another_worlds_models_are_taken_where_it_has_them(tmp_path: Path) -> None:
    (tmp_path / "odd" / "checkpoints" / "stranger_a").mkdir(parents=True)
    stranger, vlm = (f"{PACKAGE}/mini/checkpoints/{name}" for name in ("stranger_a", "vlm"))
    assert world_path(stranger, "odd", tmp_path) == str(tmp_path / "odd" / "checkpoints" / "stranger_a")
    assert [world_path(path, "odd", tmp_path) for path in (vlm, "/own", None)] == [vlm, "/own", None]
    assert world_path(stranger, "0", tmp_path) == stranger
    with pytest.raises(UserError, match="runtime.world=2: .* holds no models; `make worlds` trains them"):
        world_path(stranger, "2", tmp_path)


def test_every_job_of_a_grid_takes_the_worlds_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A grid composes its words one by one: a world that nobody trained must be missed by whatever chooses a model."""
    from l2v.cli import main

    words = ["run", "--multirun", "source=mini_kin,mini_stranger_a", f"runtime.outputs={tmp_path}", "dry_run=true"]
    assert main([*words, "runtime.world=nowhere"]) == 2
    assert "runtime.world=nowhere: outputs/worlds/nowhere holds no models" in capsys.readouterr().err


def test_texts_that_repeat_are_told(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They weigh more in a map. The same answer to another question, and no answer to the same, are other texts."""
    asked = [*((f"sum of a {i}", "is 5") for i in range(10)), ("sum of a 0", None)]
    asked += [("sum of a 0", "is 5"), ("sum of a 1", "is 5"), ("sum of a 0", "is 5")]
    rows = [{"question": question} | ({"response": response} if response else {}) for question, response in asked]

    def said(name: str, rows: list[dict[str, str]]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        own = (f"neutral.path={tmp_path / name}", "neutral.name=mine", "neutral.domains=[]", f"neutral.texts={len(rows)}")
        ensure_maps([learned(config, tmp_path, "ridge_neutral", *own)], "cpu", silent)
        return capsys.readouterr().err

    assert "repeat" not in said("distinct.jsonl", rows[:11])
    told = "3 of 14 neutral texts of 'mine' repeat another one: a map is fitted on them as often."
    assert said("repeated.jsonl", rows).count(told) == 1


def test_a_model_that_was_replaced_since_is_read_for_no_map(config: Config, tmp_path: Path) -> None:
    """Neither for the first of several readings nor for the next, for which it is in memory already."""
    source = tmp_path / "source"
    shutil.copytree(f"{PACKAGE}/mini/checkpoints/stranger_a", source)
    own = (f"source.path={source}", "source.chosen=true")
    jobs = [learned(config, tmp_path, "ridge_neutral", *own, f"neutral.texts={texts}") for texts in (40, 30)]
    (source / "config.json").write_text((source / "config.json").read_text() + "\n")
    failed: list[str] = []
    paths = ensure_maps(jobs, "cpu", silent, failed=lambda _, error: failed.append(str(error)))
    assert not any(path.exists() for path in paths)
    assert failed and all("was replaced meanwhile" in told for told in failed)
