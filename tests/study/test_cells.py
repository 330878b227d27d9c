"""The identity of a cell: what changes it, what does not, and that it stays the same from one version to the next."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from study.test_bent_files import places, put

from l2v.benchmarks.parts import Part
from l2v.errors import UserError
from l2v.paths import PACKAGE
from l2v.study.cells import BenchmarkId, Cell, ContrastId, ModelId, Sampling, Weights
from l2v.study.columns import SETTINGS
from l2v.study.resolve import resolve
from l2v.verbs.help import verb_help

Config = Callable[..., Any]

# A model on the hub with declared depth and width: its revision is a setting, and nothing has to be fetched.
HUB = {role: (f"{role}.path=null", f"{role}.layers=4", f"{role}.width=128") for role in ("source", "target")}
# Words that say: the defaults are meant, for whatever models.
MEANT = ("source.chosen=true", "contrast.chosen=true")
PAIRS, GENERATED, RANDOM = "contrast.kind=response_pairs", "contrast.kind=generated", "method.name=random"

ALIKE = ("source.layers=4", "source.width=96")  # of the target's size, as a merging needs
MERGING = ("method.name=merging", "method.weights.kind=linear", *ALIKE)
TIES = ("method.name=merging", "method.weights.kind=ties", "method.weights.base=a/b", *ALIKE)

# Each scientific setting, with another value, and the context in which a cell depends on it.
NEUTRAL = ("method.name=ridge_neutral",)
SCIENCE: dict[str, tuple[str, tuple[str, ...]]] = {
    **{f"{role}.{key}": (value, MEANT) for role in HUB for key, value in (("name", "x"), ("id", "x/y"), ("dtype", "bfloat16"))},
    **{f"{role}.revision": ("abc", HUB[role]) for role in HUB},
    **{f"{role}.quantization": ("4bit", ()) for role in HUB},
    "processor.min_pixels": ("100", ()),
    "processor.max_pixels": ("100", ()),
    "processor.max_tiles": ("2", ()),
    "processor.longest_edge": ("100", ()),
    "processor.split_images": ("false", ()),
    "contrast.name": ("x", ()),
    "contrast.kind": ("prompts", ()),
    "contrast.id": ("x/y", ()),
    "contrast.revision": ("abc", ("contrast.path=null",)),
    "contrast.split": ("test", ()),
    "contrast.columns.question": ("q", ()),
    "contrast.columns.domain": ("q", ()),
    "contrast.columns.cot": ("q", ()),
    "contrast.columns.direct": ("q", ()),
    "contrast.columns.combined_text": ("q", ()),
    "contrast.domains": ("[mini]", ()),
    "contrast.per_domain": ("7", ()),
    "contrast.seed": ("1", ()),
    "contrast.cot_instruction": ("think hard", (GENERATED,)),
    "contrast.direct_instruction": ("just say it", (GENERATED,)),
    "contrast.max_new_tokens": ("5", (GENERATED,)),
    "contrast.shots": ("2", ("contrast.kind=demonstrations",)),
    "neutral.name": ("x", NEUTRAL),
    "neutral.id": ("x/y", NEUTRAL),
    "neutral.revision": ("abc", (*NEUTRAL, "neutral.path=null")),
    "neutral.split": ("test", NEUTRAL),
    "neutral.columns.question": ("q", NEUTRAL),
    "neutral.columns.response": ("q", NEUTRAL),
    "neutral.columns.domain": ("q", NEUTRAL),
    "neutral.domains": ("[mixed]", NEUTRAL),
    "neutral.texts": ("70", NEUTRAL),
    "neutral.places": ("2", NEUTRAL),
    "neutral.seed": ("1", NEUTRAL),
    "method.map": ("procrustes", ("method.name=mapped_random", "method.map=ridge_neutral")),
    "method.name": ("high_pass", ()),
    "method.prompt": ("cot", ()),
    "method.prefix": ("x", ("method.name=forced_prefix", "method.prefix=y")),
    "method.shots": ("2", ("method.name=few_shot_cot", "method.shots=1")),
    "method.min_new_tokens": ("5", ("method.name=budget_matched", "method.min_new_tokens=4")),
    "method.weights.kind": ("layer_swap", MERGING),
    "method.weights.share": ("0.5", MERGING),
    "method.weights.layers": ("[1,2]", (*MERGING, "method.weights.kind=layer_swap")),
    "method.weights.density": ("0.5", TIES),
    "method.weights.scale": ("0.5", TIES),
    "method.weights.base": ("x/y", TIES),
    "method.weights.factor": ("1.5", ("method.name=mathneuro", "method.weights.kind=mathneuro")),
    "method.weights.checkpoint": (
        str(PACKAGE / "mini" / "checkpoints" / "vlm"),
        (
            "method.name=finetuned_cot",
            "method.weights.kind=checkpoint",
            f"method.weights.checkpoint={PACKAGE / 'mini' / 'checkpoints' / 'vlm_drifted'}",
        ),
    ),
    "benchmark.name": ("mmstar", ()),
    "benchmark.config_name": ("x", ()),
    "benchmark.part": ("select", ()),
    "benchmark.part_share": ("0.5", ("benchmark.part=select",)),
    "benchmark.part_seed": ("1", ("benchmark.part=select",)),
    "benchmark.part_first": ("2", ("benchmark.part=select", "benchmark.part_first=0", "benchmark.part_last=4")),
    "benchmark.part_last": ("4", ("benchmark.part=select", "benchmark.part_first=0", "benchmark.part_last=5")),
    "benchmark.id": ("x/y", ()),
    "benchmark.revision": ("abc", ("benchmark.path=null",)),
    "benchmark.split": ("test", ()),
    "benchmark.limit": ("7", ()),
    "benchmark.prompt": ("raw", ()),
    "intervention.layer": ("1", ("intervention.source_layer=2",)),
    "intervention.source_layer": ("1", ()),
    "intervention.alpha": ("0.25", ()),
    "intervention.cutoff": ("16", ()),
    "intervention.positions": ("text", ()),
    "intervention.scale": ("relative", ()),
    "decoding.max_new_tokens": ("7", ()),
    "decoding.stop": ("[thus]", ()),
    "decoding.temperature": ("0.5", ()),
    "decoding.top_p": ("0.5", ("decoding.temperature=1",)),
    "decoding.top_k": ("5", ("decoding.temperature=1",)),
    "decoding.seed": ("1", ("decoding.temperature=1",)),
    "seed": ("1", (RANDOM,)),
}


def test_every_scientific_setting_of_the_schema_is_covered_below() -> None:
    marked = {line.split()[0] for line in verb_help("run").splitlines() if line.endswith("(science)") or "(science);" in line}
    assert len(marked) > 25
    # Those of benchmark=lm_eval need a task: tests/benchmarks/test_lm_tasks.py.
    assert marked == set(SCIENCE) | {"benchmark.task", "benchmark.num_fewshot"}


@pytest.mark.parametrize("key", SCIENCE)
def test_a_scientific_setting_makes_another_cell(key: str, config: Config) -> None:
    """Another id, another value in some column of the table, and where it is no id or fingerprint another line in print."""
    value, context = SCIENCE[key]
    before, after = resolve(config(*context)), resolve(config(*context, f"{key}={value}"))
    assert after.id != before.id
    differ = {column.name for column in SETTINGS if column.of(before) != column.of(after)}
    assert differ
    if not key.endswith((".id", ".revision")) and not key.startswith(("contrast.columns.", "neutral.columns.")):
        assert after.describe() != before.describe(), differ


@pytest.mark.parametrize("cutoff", ["16", "0.25", "energy:0.9"])
def test_every_form_of_a_cutoff_is_a_cell_of_its_own(cutoff: str, config: Config) -> None:
    others = {resolve(config(f"intervention.cutoff={c}")).id for c in ("16", "0.25", "energy:0.9") if c != cutoff}
    assert len(others) == 2
    assert resolve(config(f"intervention.cutoff={cutoff}")).id not in others


@pytest.mark.parametrize(
    "change",
    [
        "runtime.outputs=elsewhere",
        "runtime.device=cuda",
        "runtime.batch_rows=3",
        "runtime.batch_tokens=99",
        "runtime.cells_per_claim=1",
        "runtime.progress=false",
        "study=another",
        "scorer=[official,official]",
        "protocol.name=select_then_test",
        "dry_run=true",
        "list_cells=true",
        "target.device_map=auto",
        "source.trust_remote_code=true",
    ],
)
def test_where_and_how_to_compute_is_no_part_of_a_cell(change: str, config: Config) -> None:
    assert resolve(config(change)).id == resolve(config()).id


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("direct", "intervention.layer=1"),
        ("direct", "intervention.alpha=0.9"),
        ("direct", "intervention.cutoff=9"),
        ("direct", "source.id=x/y"),
        ("direct", "contrast.seed=3"),
        ("direct", "seed=3"),
        ("cot_prompt", "intervention.layer=1"),
        ("full_band", "intervention.cutoff=9"),
        ("unfiltered_interpolation", "intervention.cutoff=9"),
        ("l2v", "seed=3"),
        ("own_direction", "source.id=x/y"),
        ("l2v", "contrast.max_new_tokens=5"),
    ],
)
def test_settings_that_a_method_does_not_depend_on_collapse(method: str, change: str, config: Config) -> None:
    assert resolve(config(f"method.name={method}", change)).id == resolve(config(f"method.name={method}")).id


def test_instructions_do_not_count_for_given_responses(config: Config) -> None:
    plain, changed = (resolve(config(PAIRS, *more)) for more in ((), ("contrast.cot_instruction=x",)))
    assert plain.id == changed.id


def test_defaults_written_out_are_the_same_cell(config: Config) -> None:
    """The middle block of four, the source block at the same relative depth, a third of the narrower model's width."""
    cell = resolve(config())
    assert (cell.layer, cell.source_layer, cell.cutoff) == (2, 2, 96 // 3)
    written = ("intervention.layer=2", "intervention.source_layer=2", "intervention.cutoff=32", "intervention.alpha=0.50")
    assert resolve(config(*written)).id == cell.id


@pytest.mark.parametrize(("one", "other"), [("40", "+40"), ("0.3", "0.30"), ("energy:0.9", "energy:0.90")])
def test_a_number_written_in_two_ways_is_one_cell(one: str, other: str, config: Config) -> None:
    assert resolve(config(f"intervention.cutoff={one}")).id == resolve(config(f"intervention.cutoff={other}")).id


def test_a_style_that_the_method_insists_on_wins(config: Config) -> None:
    assert resolve(config("method.name=cot_prompt", "method.prompt=cot", "benchmark.prompt=raw")).benchmark.prompt == "cot"


@pytest.mark.parametrize(
    ("role", "setting"), [("source", "checkpoints/kin"), ("target", "checkpoints/vlm"), ("benchmark", "data")]
)
def test_a_local_folder_counts_by_its_bytes_and_not_by_its_place(
    role: str, setting: str, config: Config, tmp_path: Path
) -> None:
    original = Path(getattr(config(), role).path)
    assert original.match(setting)
    moved = tmp_path / "elsewhere" / "under-another-name"
    shutil.copytree(original, moved)
    here, there = resolve(config()).id, resolve(config(f"{role}.path={moved}")).id
    assert here == there

    changed = max((p for p in moved.iterdir() if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.write_bytes(data)
    assert resolve(config(f"{role}.path={moved}")).id != here


def test_a_contrast_file_counts_by_its_bytes(config: Config, tmp_path: Path) -> None:
    copy = tmp_path / "pairs.jsonl"
    shutil.copy(config().contrast.path, copy)
    assert resolve(config(f"contrast.path={copy}")).id == resolve(config()).id
    copy.write_text(copy.read_text().replace("sum of", "sun of", 1))
    assert resolve(config(f"contrast.path={copy}")).id != resolve(config()).id


def steered_cell() -> Cell:
    """A cell with a value in every field."""
    return Cell(
        method="l2v",
        target=ModelId("vlm", "a/vlm", "main", "bfloat16"),
        benchmark=BenchmarkId("mini", "a/b", "r1", "test", None, "direct"),
        max_new_tokens=32,
        stop=["\n"],
        source=ModelId("llm", "a/llm", "main", "auto"),
        contrast=ContrastId("pairs", "prompts", "a/p", "r2", "train", {"question": "q"}, ["math"], 100, 0, "c", "d", None),
        layer=14,
        source_layer=16,
        alpha=1e-05,
        cutoff="energy:0.9",
        positions="all",
        scale="direction",
        seed=None,
    )


def test_the_identity_is_the_hash_of_canonical_json() -> None:
    """Written out by hand: when this fails, stored studies are no longer found. Raise SCHEMA if that is meant."""
    text = (
        '{"alpha":1e-05,"benchmark":{"config_name":null,"id":"a/b","limit":null,"name":"mini","num_fewshot":null,"part":null,'
        '"prompt":"direct","revision":"r1","split":"test","task":null},'
        '"contrast":{"columns":{"question":"q"},"cot_instruction":"c","direct_instruction":"d","domains":["math"],"id":"a/p",'
        '"kind":"prompts","max_new_tokens":null,"name":"pairs","per_domain":100,"revision":"r2","seed":0,"split":"train"},'
        '"cutoff":"energy:0.9","layer":14,"max_new_tokens":32,"method":"l2v","min_new_tokens":null,"positions":"all",'
        '"prefix":null,"sampling":null,"scale":"direction","schema":2,"seed":null,"shots":null,'
        '"source":{"dtype":"auto","id":"a/llm","name":"llm","revision":"main"},"source_layer":16,"stop":["\\n"],'
        '"target":{"dtype":"bfloat16","id":"a/vlm","name":"vlm","revision":"main"},"weights":null}'
    )
    assert steered_cell().id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_no_setting_of_a_stored_cell_can_be_edited_without_notice() -> None:
    """Each value, and each within another: the edited config.yaml is no cell, or one of another id."""
    whole = replace(steered_cell(), sampling=Sampling(0.5, 0.9, 5, 0), weights=Weights("ties", layers=[1, 2]))
    for part in (None, Part("select", 0.3, 0), Part("report", 0.3, 0, 2, 5)):
        cell = replace(whole, benchmark=replace(whole.benchmark, part=part))
        leaves = 0
        for path in places(asdict(cell)):
            for new in (None, 0, 7, 0.5, "x", True, [], {"a": 1}):
                values = asdict(cell)
                put(values, path, lambda old, new=new: [old] if new == old and type(new) is type(old) else new)
                with suppress(UserError, TypeError, AttributeError, ValueError):
                    assert Cell.from_dict(values).id != cell.id, (path, new)
                    leaves += 1
        assert leaves > 300


@pytest.mark.parametrize("method", ["l2v", "direct", "random", "own_direction"])
def test_a_cell_comes_back_from_json_and_yaml(method: str, config: Config) -> None:
    for cell in (resolve(config(f"method.name={method}")), steered_cell()):
        assert Cell.from_dict(json.loads(json.dumps(asdict(cell)))) == cell
        again = Cell.from_dict(yaml.safe_load(yaml.safe_dump(asdict(cell))))
        assert (again, again.id) == (cell, cell.id)


def test_a_stored_cell_with_other_settings_is_refused() -> None:
    values = asdict(steered_cell())
    del values["scale"]
    with pytest.raises(UserError, match="scale"):
        Cell.from_dict(values)


def test_a_high_pass_is_refused_where_it_leaves_nothing(config: Config) -> None:
    """The limit is that of the arithmetic: one bin below it a vector is left, of any direction."""
    from l2v.transfer.arms import build_vector

    direction = torch.randn(160, generator=torch.Generator().manual_seed(0))
    assert resolve(config("method.name=high_pass", "intervention.cutoff=94")).cutoff == 94
    assert build_vector("high_pass", direction, 96, 94, 0).isfinite().all()
    for k in (95, 96):
        with pytest.raises(UserError, match=f"k={k}.*leaves nothing; choose at most 94"):
            resolve(config("method.name=high_pass", f"intervention.cutoff={k}"))
        with pytest.raises(UserError, match="no vector is left"):
            build_vector("high_pass", direction, 96, k, 0)
