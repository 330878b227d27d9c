"""The plan: every row in exactly one unit, the same blocks for everybody, and enough units for all workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2v.study.cells import Job
from l2v.study.plan import BLOCK_ITEMS, MOST_BLOCKS, UNITS_PER_WORKER, Group, blocks, from_place, grouped, shuffled, units
from l2v.study.resolve import resolve
from l2v.study.workers.worker import LOOKED_UNITS


@given(st.integers(1, 20_000))
def test_blocks_divide_the_items_evenly_whoever_asks(items: int) -> None:
    cut = blocks(items)
    assert [place for block in cut for place in block] == list(range(items))
    sizes = [len(block) for block in cut]
    assert max(sizes) - min(sizes) <= 1
    assert len(cut) <= MOST_BLOCKS
    assert len(cut) == MOST_BLOCKS or max(sizes) <= BLOCK_ITEMS


@pytest.fixture(scope="module")
def groups(config: Callable[..., Any]) -> list[Group]:
    """Two targets; 40 cells each, and one cell that decodes otherwise."""
    first = config()
    jobs = []
    for target in ("mini", "mini_drifted"):
        base = resolve(first)
        base = replace(base, target=replace(base.target, name=target))
        jobs += [Job(replace(base, alpha=0.1 + i / 100), first) for i in range(40)]
        jobs.append(Job(replace(base, max_new_tokens=7), first))
    # As a sweep may mix them.
    return grouped(jobs[::2] + jobs[1::2])


def test_groups_come_target_by_target(groups: list[Group]) -> None:
    targets = [group.target.name for group in groups]
    assert sorted(targets) == targets or sorted(targets, reverse=True) == targets
    assert sorted(len(group.jobs) for group in groups) == [1, 1, 40, 40]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 64), st.integers(1, 40), st.integers(1, 3000))
def test_every_row_is_in_exactly_one_unit(groups: list[Group], cells: int, workers: int, items: int) -> None:
    cut = units(groups, [items] * len(groups), cells, workers)
    found = [(job.cell.id, block) for unit in cut for job in unit.jobs for block in unit.blocks]
    assert len(found) == len(set(found)) == 82 * len(blocks(items))
    assert max(len(unit.jobs) for unit in cut) <= cells
    if workers == 1:
        assert all(len(unit.blocks) == len(blocks(items)) for unit in cut)
    elif max(len(unit.jobs) for unit in cut) > 1:
        assert len(cut) >= UNITS_PER_WORKER * workers


def test_items_are_divided_before_cells(groups: list[Group]) -> None:
    """Cells that are computed together share the work on their prompts."""
    many = units(groups, [1000] * len(groups), 32, 2)
    assert max(len(unit.jobs) for unit in many) == 32
    few = units(groups, [100] * len(groups), 32, 2)
    assert max(len(unit.jobs) for unit in few) < 32


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_begin_at_different_places_and_see_everything(groups: list[Group], workers: int) -> None:
    cut = units(groups, [2000] * len(groups), 8, workers)
    orders = [from_place(cut, index / workers) for index in range(workers)]
    assert all({id(unit) for unit in order} == {id(unit) for unit in cut} for order in orders)
    assert len({id(order[0]) for order in orders}) == workers
    # Round the plan, a target comes once, but for the one that it begins in.
    for order in orders:
        targets = [unit.group.target.name for unit in order]
        changes = sum(one != two for one, two in zip(targets, targets[1:], strict=False))
        assert changes <= 2
    assert from_place([], 0.5) == []


@pytest.mark.parametrize("loaded", [0, 1])
def test_an_idle_worker_looks_at_every_target(loaded: int, groups: list[Group]) -> None:
    """However many units of its own target others hold."""
    cut = units(groups, [2000] * len(groups), 4, 7)
    targets = list(dict.fromkeys(group.target for group in groups))
    mixed = shuffled(cut, targets[loaded])
    assert {id(unit) for unit in mixed} == {id(unit) for unit in cut}
    looked = [unit.group.target for unit in mixed[:LOOKED_UNITS]]
    assert set(looked) == set(targets)
    assert looked[0] == targets[loaded]
    assert {unit.group.target for unit in shuffled(cut, None)} == set(targets)
