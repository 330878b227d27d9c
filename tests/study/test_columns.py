"""The table of columns: no setting of a cell is missing in it, and what it is read as tells cells apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

from l2v.benchmarks.parts import Part
from l2v.images import ImageSettings
from l2v.study.cells import Cell
from l2v.study.columns import COLUMNS, SETTINGS, names, settings
from l2v.study.resolve import resolve
from l2v.transfer import spectrum
from l2v.transfer.arms import ARMS

# Settings of a cell that are in no column, each with the reason why.
LEFT_OUT: dict[str, str] = {"source.images": "a source sees no pictures"}


def leaves(kind: type, prefix: str = "") -> Iterator[str]:
    """The path of every setting below a dataclass; a part and a processor are one setting each."""
    known = get_type_hints(kind, localns={"Cutoff": spectrum.Cutoff})
    for field in fields(kind):
        inner = [
            k for k in (known[field.name], *get_args(known[field.name])) if is_dataclass(k) and k not in (Part, ImageSettings)
        ]
        if inner:
            yield from leaves(inner[0], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def test_every_field_of_a_cell_is_a_column_or_left_out_by_name() -> None:
    paths = [column.path for column in SETTINGS]
    assert len(set(paths)) == len(paths)
    assert set(paths) | set(LEFT_OUT) == set(leaves(Cell))
    assert not set(paths) & set(LEFT_OUT)


OLD = """
cell study source contrast per_domain contrast_seed target benchmark task split part prompt limit method weights layer
source_layer alpha cutoff positions scale seed source_revision target_revision benchmark_revision metric scorer value n
problems low high diff diff_low diff_high flips_right flips_wrong p p_holm selected budget p_best_of_grid
p_best_of_seeds null_seeds null_cells tokens steps_share no_answer_share unresolved_share guessed_share truncated_share
min_new_tokens max_new_tokens temperature seconds
"""


def test_the_columns_of_old_tables_are_there_in_their_order() -> None:
    """What experiments, notebooks and other people's scripts read by name."""
    before = OLD.split()
    assert [name for name in COLUMNS if name in before] == before


def test_a_column_reads_its_value_whatever_a_cell_lacks(config: Callable[..., Any]) -> None:
    greedy = settings(resolve(config("method.name=direct")))
    assert (greedy["temperature"], greedy["top_p"], greedy["decoding_seed"], greedy["source"], greedy["layer"]) == (
        0.0,
        *[None] * 4,
    )
    drawn = settings(
        resolve(config("decoding.temperature=0.7", "decoding.seed=3", "decoding.stop=[a, b]", "benchmark.part=select"))
    )
    assert (drawn["temperature"], drawn["decoding_seed"], drawn["stop"]) == (0.7, 3, '["a","b"]')
    assert str(drawn["part"]).startswith("select")


def test_two_cells_that_differ_in_no_column_are_one_cell(config: Callable[..., Any]) -> None:
    """Lists and dictionaries too: what is joined into one text could look alike."""
    cell = resolve(config())
    several = [replace(cell, stop=["a", "b"]), replace(cell, stop=["a, b"]), replace(cell, stop=['a","b'])]
    assert len({settings(one)["stop"] for one in several}) == 3


def test_a_line_says_what_is_not_usual_and_nothing_else(config: Callable[..., Any]) -> None:
    plain = resolve(config("method.name=direct")).describe()
    assert plain.startswith("direct on mini [mini/")
    assert "=" not in plain
    told = resolve(config("intervention.positions=text", "contrast.per_domain=7", "intervention.alpha=0.3")).describe()
    assert "positions=text" in told and "pairs per domain=7" in told and "alpha=0.3" in told
    assert "scale" not in told


def test_whether_an_arm_is_a_null_stands_with_the_arm() -> None:
    """The null arms of METHOD 7, and no others: what they draw has nothing to do with the source's direction."""
    nulls = {name for name, arm in ARMS.items() if arm.null}
    assert nulls == {
        "random",
        "random_low_pass",
        "permuted",
        "rotated",
        "random_bins",
        "shuffled_labels",
        "shuffled_map",
        "mapped_random",
    }


def test_every_setting_has_one_role() -> None:
    assert {column.name for column in SETTINGS} == set(names("items")) | set(names("arm")) | set(names("swept"))
