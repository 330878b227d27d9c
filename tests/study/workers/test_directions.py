"""Reading directions for a study: interrupted and taken up again, and one model in memory at a time."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from l2v.errors import UserError
from l2v.study import compute as run
from l2v.study.cells import Job
from l2v.study.plan import readings
from l2v.study.resolve import resolve
from l2v.study.workers import directions, making
from l2v.study.workers.directions import (
    contrast_questions,
    directions_path,
    ensure_directions,
    load_directions,
    partial_path,
)
from l2v.transfer.extract import Directions

Config = Callable[..., Any]
QUIET = ("runtime.progress=false", "runtime.device=cpu")


def job(config: Config, outputs: Path, *changes: str) -> Job:
    chosen = config(*QUIET, f"runtime.outputs={outputs}", *changes)
    return Job(resolve(chosen), chosen)


def silent(_message: str) -> None:
    """Nothing is said."""


def assert_equal(found: Path, expected: Path) -> None:
    """Bit for bit, and read from the same settings."""
    one, other = Directions.load(found), Directions.load(expected)
    for name in ("mean", "trace", "mean_square", "activation_norm"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert (one.n, one.provenance) == (other.n, other.provenance)


class Stop(Exception):
    """An interruption from outside."""


def test_an_interrupted_extraction_goes_on(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read lies beside the reading's file, is taken up, and is gone once the file is whole and the same."""
    one = job(config, tmp_path / "a", "runtime.batch_tokens=512", "contrast.per_domain=40")
    (path,) = ensure_directions([one], "cpu", silent)
    again = job(config, tmp_path / "b", "runtime.batch_tokens=512", "contrast.per_domain=40")
    told: list[int] = []
    real = directions.extract

    def cut(*args: Any, progress: Callable[[int, int], None], **more: Any) -> Directions:
        def stop(done: int, total: int) -> None:
            progress(done, total)
            told.append(done)
            if len(told) == 5:
                raise Stop

        return real(*args, progress=stop, **more)

    monkeypatch.setattr(directions, "extract", cut)
    with pytest.raises(Stop):
        ensure_directions([again], "cpu", silent)
    partial = partial_path(directions_path(str(tmp_path / "b"), next(iter(readings([again])))))
    assert len(list(partial.glob("*.safetensors"))) == 5
    (found,) = ensure_directions([again], "cpu", silent)
    assert not partial.exists()
    assert_equal(found, path)


def test_interrupted_answers_are_kept(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind `generated`: no chat is answered twice, a torn line is, and the directions are those of one go."""
    monkeypatch.setattr(directions, "GENERATED_ROWS", 4)
    changes = ("contrast.kind=generated", "contrast.per_domain=5", "contrast.max_new_tokens=6")
    (path,) = ensure_directions([job(config, tmp_path / "a", *changes)], "cpu", silent)
    asked: list[str] = []
    real = directions.generate_rows

    def cut(target: Any, rows: Sequence[Any], decoding: Any) -> Any:
        if len(asked) == 4:
            raise Stop
        asked.extend(request.text for request, _ in rows)
        return real(target, rows, decoding)

    again = job(config, tmp_path / "b", *changes)
    monkeypatch.setattr(directions, "generate_rows", cut)
    with pytest.raises(Stop):
        ensure_directions([again], "cpu", silent)
    kept = partial_path(directions_path(str(tmp_path / "b"), next(iter(readings([again]))))) / "responses.jsonl"
    assert len(kept.read_text().splitlines()) == 4
    kept.write_text(kept.read_text() + '{"text": "to')
    monkeypatch.setattr(
        directions, "generate_rows", lambda t, rows, d: asked.extend(r.text for r, _ in rows) or real(t, rows, d)
    )
    (found,) = ensure_directions([again], "cpu", silent)
    assert len(asked) == len(set(asked)) == 10
    assert_equal(found, path)
    assert not kept.parent.exists()


def test_a_source_is_dropped_before_the_next_model_is_loaded(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 32B source and a target must never share a card: when the next model is loaded, no weight of the last one lives."""
    alive: list[weakref.ref[torch.Tensor]] = []
    real = making.load_model

    def load(*args: Any) -> Any:
        assert not [weight for ref in alive if (weight := ref()) is not None], "the last model is still in memory"
        loaded = real(*args)
        alive.extend(weakref.ref(weight) for weight in loaded.model.parameters())
        return loaded

    monkeypatch.setattr(making, "load_model", load)
    monkeypatch.setattr("l2v.steering.models.load_model", load)
    chosen = job(config, tmp_path, "benchmark.limit=2", "intervention.scale=relative", "contrast.per_domain=9")
    assert len(readings([chosen])) == 2  # the source's directions and the target's norms
    run.run_jobs([chosen])
    assert len(alive) > 50


def test_the_draw_is_from_rows_with_both_responses(config: Config, tmp_path: Path) -> None:
    """Rows of STILL-2 without a thought or a solution make no pair and cost no run."""
    whole = "<|begin_of_thought|>t<|end_of_thought|><|begin_of_solution|>s<|end_of_solution|>"
    rows = [{"question": f"q{i}", "combined_text": whole if i % 3 else "cut", "domain": "math"} for i in range(9)]
    data = tmp_path / "still2.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (f"contrast.path={data}", "contrast.per_domain=6")
    told: list[str] = []
    drawn = contrast_questions(config(*settings), told.append)
    assert told == ["3 of 9 rows of contrast 'mini' lack one of the two responses and are left out."]
    assert {q.text for q in drawn} == {f"q{i}" for i in range(9) if i % 3}
    assert len(contrast_questions(config(*settings, "contrast.kind=prompts", "contrast.per_domain=9"))) == 9


@pytest.fixture(scope="module")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A file of directions with states, one of another reading, and the job of the first."""
    one = job(config, tmp_path_factory.mktemp("whole"), "contrast.per_domain=3", "method.name=rot")
    other = job(config, tmp_path_factory.mktemp("other"), "contrast.per_domain=4", "method.name=rot")
    (path,), (foreign,) = (ensure_directions([each], "cpu", silent) for each in (one, other))
    return path, foreign, one


DAMAGES = [*(f"cut {i}" for i in range(8)), *(f"flip {i}" for i in range(12)), "emptied", "another reading's", "scaled"]


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_directions_are_never_used(how: str, whole: tuple[Path, Path, Any], tmp_path: Path) -> None:
    """Of every cut, every flipped byte and a valid file in the wrong place: no vector, a sentence that names the file."""
    path, foreign, one = whole
    damaged = tmp_path / "cache" / "directions" / path.name
    damaged.parent.mkdir(parents=True)
    data, number = path.read_bytes(), int(how.split()[-1]) if how[-1].isdigit() else 0
    if how.startswith("flip"):
        # From the first byte of the header to the last one of the states.
        at = (len(data) - 1) * number // 11
        data = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
    elif how.startswith("cut"):
        data = data[: len(data) * (number + 1) // 9]
    damaged.write_bytes(foreign.read_bytes() if how.startswith("another") else b"" if how == "emptied" else data)
    if how == "scaled":
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            save_file(tensors | {"mean": 2 * tensors["mean"]}, damaged, file.metadata())
    with pytest.raises(UserError, match=path.name):
        found = load_directions(damaged)
        for layer in range(len(found.mean)):
            found.load_states(damaged, layer)
