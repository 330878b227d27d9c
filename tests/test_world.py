"""The whole pipeline on the trained miniature: what must transfer does, what must not does not; experiments compose."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from l2v.paths import PACKAGE
from l2v.verbs.help import group_options

HUNDRED = ("benchmark.limit=100", "benchmark.split=test", "runtime.progress=false", "runtime.page=false", "runtime.device=cpu")
# A cell inside the window that experiments/demo.md reports.
STEERED = ("intervention.scale=relative", "intervention.layer=3", "intervention.alpha=0.7", "intervention.cutoff=34")


@pytest.fixture(scope="module")
def world(l2v: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Both targets under a dozen arms, 100 test images each."""
    outputs = tmp_path_factory.mktemp("world")
    shared = ("--multirun", "study=world", f"runtime.outputs={outputs}", "target=mini,mini_drifted", *HUNDRED, *STEERED)
    for words in (
        ("method=direct,cot_prompt,own_direction,high_pass,full_band,interpolation,random",),
        ("method=l2v", "source=mini_kin,mini_stranger_a,mini_stranger_b"),
    ):
        answer = l2v("run", *shared, *words)
        assert answer.code == 0, answer.err
    return pd.read_csv(outputs / "world" / "results.csv").set_index(["target", "method", "source"]).sort_index()


def value(world: pd.DataFrame, target: str, method: str, source: str | None = None) -> float:
    rows = world.loc[(target, method)] if source is None else world.loc[[(target, method, source)]]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


@pytest.mark.parametrize("target", ["mini", "mini_drifted"])
def test_the_task_needs_steps_and_the_direction_brings_them(world: pd.DataFrame, target: str) -> None:
    assert value(world, target, "direct") <= 0.2
    assert value(world, target, "cot_prompt") >= 0.95
    assert value(world, target, "l2v", "mini_kin") >= 0.9
    assert value(world, target, "own_direction") >= 0.9
    for stranger in ("mini_stranger_a", "mini_stranger_b"):
        assert value(world, target, "l2v", stranger) <= 0.25
    assert value(world, target, "random") <= 0.25


def test_the_low_band_matters_in_the_drifted_world_only(world: pd.DataFrame) -> None:
    for arm in ("high_pass", "full_band"):
        assert value(world, "mini", arm) >= 0.9
        assert value(world, "mini_drifted", arm) <= 0.25
    assert value(world, "mini_drifted", "interpolation") >= 0.9


def test_the_paired_test_tells_them_apart(world: pd.DataFrame) -> None:
    for target in ("mini", "mini_drifted"):
        assert float(world.loc[[(target, "l2v", "mini_kin")], "p_holm"].iloc[0]) < 0.001
        assert float(world.loc[[(target, "l2v", "mini_stranger_a")], "p_holm"].iloc[0]) > 0.05
        assert float(world.loc[(target, "l2v"), "steps_share"]["mini_kin"]) >= 0.9


# What `make tables` trains first is stood in for by checkpoints of the same shape.
TRAINED = {
    "table1_mini": (
        "source.path=package:mini/checkpoints/base",
        "method.weights.checkpoint=package:mini/checkpoints/vlm",
        "seed=0",
        "contrast.seed=0",
        "intervention.alpha=0.5",
    ),
    "table2_mini": ("seed=0", "intervention.alpha=0.5"),
    "fig6_mini": ("target.path=package:mini/checkpoints/vlm",),
    # Thousands of cells that differ in numbers: a few of each kind will do here.
    "table1": ("contrast.seed=0", "seed=0", "intervention.alpha=0.5"),
    "controls_mini": ("seed=0,1", "intervention.alpha=0.5"),
    "worlds": ("seed=0", "intervention.alpha=0.5"),
    "fig2_mini": ("intervention.alpha=0.5",),
    "fig7b_mini": ("contrast.seed=0,1",),
    "prompt_method_mini": ("intervention.alpha=0.5",),
    **dict.fromkeys(("maps_mini", "maps_drifted"), ("seed=0", "intervention.alpha=0.5", "neutral.texts=50")),
    **dict.fromkeys(("real", "real_small", "real_maps"), ("seed=0", "intervention.alpha=0.1")),
    "real_texts": ("intervention.alpha=0.1",),
}
MADE_FIRST = re.compile(r"`l2v (convert|finetune) |could not be loaded|lm-eval|hub")


def stand_ins(experiment: str) -> tuple[str, ...]:
    """The words that put packaged checkpoints in the place of trained ones, or leave numbers out."""
    return TRAINED.get(experiment, ())


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with checkpoints of the depth and width of those that `make real` converts, and thin otherwise."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    monkeypatch.chdir(tmp_path)
    words = AutoTokenizer.from_pretrained(PACKAGE / "mini" / "checkpoints" / "base")
    thin = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2, "intermediate_size": 2, "vocab_size": len(words)}
    for name, depth, width in (("smollm2", 30, 576), ("smollm2_noisy", 30, 576), ("gemma3_270m", 18, 640)):
        folder = tmp_path / "outputs" / "checkpoints" / name
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=depth, hidden_size=width, **thin))
        model.to(torch.bfloat16).save_pretrained(folder)
        words.save_pretrained(folder)
    (tmp_path / "outputs" / "prose.jsonl").write_text('{"question": "A bell rings."}\n' * 1000)


@pytest.fixture
def two_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of lm-eval's thousands of task files those of two folders: all of them are looked through in test_lm_tasks."""
    from lm_eval.tasks import TaskManager, __file__

    folders = [Path(__file__).parent / name for name in ("chartqa", "mmmu")]
    manager = TaskManager(include_path=folders, include_defaults=False)
    monkeypatch.setattr("l2v.benchmarks.lm_tasks._manager", lambda *_, **__: manager)


@pytest.mark.parametrize("experiment", group_options("experiment"))
def test_every_experiment_composes(l2v: Callable[..., Any], experiment: str, request: pytest.FixtureRequest) -> None:
    """Each file names cells that pass every check that needs no weights."""
    if experiment.startswith("real"):
        request.getfixturevalue("converted")
    if experiment == "limits":
        request.getfixturevalue("two_folders")
    answer = l2v("run", "--multirun", f"+experiment={experiment}", "dry_run=true", "list_cells=true", *stand_ins(experiment))
    # What has to be made first (conversions, fine-tuned checkpoints), and data of the hub, is named; nothing else is wrong.
    assert answer.code == int("FAILED" in answer.err), answer.err
    for line in answer.err.splitlines():
        assert not line.startswith("FAILED") or MADE_FIRST.search(line), line
    cells = [line.split()[0] for line in answer.out.partition("\n\n")[2].splitlines()]
    assert len(cells) == len(set(cells)) > 1


@pytest.mark.parametrize("family", ["llava_next", "qwen2_vl"])
def test_other_families_run_through_the_same_door(
    l2v: Callable[..., Any], stored_rows: Callable[[Path], list[tuple[str, str]]], tmp_path: Path, family: str
) -> None:
    """A random checkpoint of a real architecture as target, from its folder, over the miniature's pictures."""
    import families

    families.load(family, tmp_path / family)
    given = (f"target.path={tmp_path / family}", f"target.id=random/{family}", f"target.name={family}", "target.dtype=float32")
    given += ("source=mini_kin", "contrast=mini")
    short = ("study=family", f"runtime.outputs={tmp_path}", "benchmark.limit=3", "decoding.max_new_tokens=4")
    answer = l2v("run", *given, *short, "intervention.cutoff=8", "intervention.layer=1", "runtime.progress=false")
    assert answer.code == 0, answer.err
    assert len(stored_rows(tmp_path / "family")) == 3


TWINS = ("table1", "table2", "source_scale", "fig2", "fig4", "fig5", "fig6", "fig7a", "fig7b", "prompt_method")


@pytest.mark.parametrize("name", TWINS)
def test_every_twin_runs_and_gives_its_table(name: str, l2v: Callable[..., Any], outputs: Path, tmp_path: Path) -> None:
    """The run and the table of `make tables`, on two images a split and few texts; `controls` has too many cells for a test."""
    # How many texts is what fig7b varies.
    given = (*stand_ins(f"{name}_mini"), *(("contrast.per_domain=4",) if name != "fig7b" else ()))
    small = (
        "benchmark.limit=2",
        "runtime.progress=false",
        "runtime.page=false",
        "runtime.device=cpu",
        f"runtime.outputs={outputs}",
    )
    answer = l2v("run", "--multirun", f"+experiment={name}_mini", *small, *given)
    assert answer.code == 0, answer.err
    table = tmp_path / "mini.csv"
    # The page takes the most time: one of them is enough.
    page = f"page={str(name == 'table2').lower()}"
    assert l2v("report", f"+experiment={name}_mini", f"outputs={outputs}", f"out={table}", page).code == 0
    header, *rows = table.read_text().splitlines()
    wanted = "target,source,arm,value,n,low,high,diff,p_holm,p_best_of_grid"
    assert set(wanted.split(",")) <= set(header.split(","))
    assert len(rows) > 2
    assert l2v("report", f"+experiment={name}_mini", f"outputs={outputs}", f"out={table}", "page=false").code == 0
    assert [header, *rows] == table.read_text().splitlines(), "another call changes no figure"
