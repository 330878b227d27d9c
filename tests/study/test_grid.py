"""A grid's configurations are what Hydra composes of each job by itself, whatever way they are made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from l2v.config import Config
from l2v.errors import UserError
from l2v.verbs.compose import compose

JOBS = (
    ("target=mini_drifted", "method=merging", "source=mini_base", "intervention.layer=1"),
    ("source=mini_stranger_a", "source=mini_base", "method=l2v", "intervention.cutoff=energy:0.9", "seed=3"),
    ("contrast=mini", "contrast.seed=4", "contrast.per_domain=null", "method.weights.layers=[1,2]", "scorer=[robust]"),
    ("contrast.seed=0", "target.path=package:mini/checkpoints/vlm_drifted", "benchmark.split=test", "intervention.alpha=1"),
    ("method=few_shot_cot", "method.shots=5", "intervention={layer: 2, alpha: 0.1}", "+benchmark.limit=3"),
    ("method=forced_prefix", "target.name=mine", "decoding.stop=['a b','c']"),
)


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch, l2v: Any) -> Any:
    """Runs `l2v run --multirun` and returns the configurations that would be computed."""
    found: list[Config] = []

    def keep(configs: list[Config]) -> tuple[list[None], list[None]]:
        found.extend(configs)
        return [None] * len(configs), [None] * len(configs)

    monkeypatch.setattr("l2v.verbs.run.run_configs", keep)

    def run(*words: str) -> list[Config]:
        found.clear()
        answer = l2v("run", "--multirun", *words)
        assert answer.code == 0, answer.err
        return list(found)

    return run


@pytest.mark.parametrize("words", JOBS, ids=lambda words: words[0])
def test_a_job_is_what_hydra_makes_of_its_words(composed: Any, words: tuple[str, ...]) -> None:
    """Choices of files, values, nodes, additions; beside another job, so that words are told apart."""
    first, second = composed(*words, "protocol.choose=[alpha],[layer]")
    assert dataclasses.asdict(first) == dataclasses.asdict(compose([*words, "protocol.choose=[alpha]"]))
    assert dataclasses.asdict(second) == dataclasses.asdict(compose([*words, "protocol.choose=[layer]"]))
    assert first.contrast is not second.contrast


def test_rules_add_words_to_the_jobs_that_hold_theirs(composed: Any, tmp_path: Path, l2v: Any) -> None:
    """`where`: each rule of one word or several, and what stands on the command line wins over it."""
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "# @package _global_\nblocks: [['method=merging,direct', 'target=mini,mini_drifted']]\n"
        "where:\n  target=mini_drifted: [decoding.max_new_tokens=9]\n"
        "  'method=merging,target=mini': [source=mini_base, seed=5]\n"
    )
    words = ("--config-dir", str(tmp_path), "+experiment=mine")
    found = {(c.method.name, c.target.name): (c.source.name, c.seed, c.decoding.max_new_tokens) for c in composed(*words)}
    usual = compose([]).source.name
    assert found == {
        ("merging", "mini"): ("mini_base", 5, None),
        ("merging", "mini_drifted"): (usual, 0, 9),
        ("direct", "mini"): (usual, 0, None),
        ("direct", "mini_drifted"): (usual, 0, 9),
    }
    assert {c.decoding.max_new_tokens for c in composed(*words, "decoding.max_new_tokens=4")} == {4}


def test_a_word_that_does_not_fit_is_told(l2v: Any) -> None:
    """As by Hydra, whichever way it would have been composed."""
    for words in (("seed=x,1",), ("target=mini,nothing",), ("intervention.alfa=1,2",)):
        answer = l2v("run", "--multirun", *words, "dry_run=true")
        assert answer.code == 2
        assert len(answer.err.strip().splitlines()) == 1
    with pytest.raises(UserError):
        compose(["seed=x"])
