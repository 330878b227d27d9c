"""10,000 cells on 1,000 workers that die: what planning costs, how even the work is, and whether two ever hold the same rows.

    python experiments/scale/simulate.py --cells 10000 --workers 1000 --hours 20

The plan (l2v.study.plan) and the claims (l2v.study.workers.claims, real files in a temporary folder) are real; time, answers
and deaths are simulated. A unit takes as long as its rows at a given throughput, with a log-normal scatter; a worker lives for
an exponential time (--hours on average), is replaced after five minutes, and its claims expire as by its heartbeat.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from l2v.config import Config
from l2v.study.cells import BenchmarkId, Cell, ContrastId, Job, ModelId
from l2v.study.plan import Unit, block_key, blocks, from_place, grouped, units
from l2v.study.workers.claims import DONE, FREE, HELD, Claim, alive, claim_all, states
from l2v.study.workers.heartbeat import Heartbeat, Watch
from l2v.study.workers.worker import LOOKED_UNITS

ITEMS = {"mathvista": 1000, "mathverse": 3940, "mmstar": 1500, "mathvision": 3040, "dynamath": 5010}
TARGETS = ("llava_next_8b", "internvl2_8b", "qwen2_vl_7b", "idefics2_8b")
EXPIRE, REPLACED, POLL, STORED = 90.0, 300.0, 10.0, 1.0
LOADING = 60.0


@dataclass
class Clock:
    """The time of the simulation, in seconds."""

    now: float = 0.0


@dataclass
class Crew:
    """When each worker died; what its heartbeat shows follows from that."""

    clock: Clock
    died: dict[str, float] = field(default_factory=dict)

    def beat(self, worker: str) -> int:
        """The counter of a worker's signs of life: it stands still from its death on."""
        return int(min(self.clock.now, self.died.get(worker, float("inf"))) // POLL)


class SimulatedWatch(Watch):
    """A watch that reads signs of life from the simulation."""

    def __init__(self, crew: Crew) -> None:
        super().__init__(Path("nowhere"), EXPIRE, lambda: crew.clock.now)
        self.crew = crew

    def shown(self, worker: str) -> dict[str, Any]:
        """As a heartbeat file would."""
        return {"beat": self.crew.beat(worker), "period": POLL}


def jobs(count: int) -> list[Job]:
    """As many cells: a grid over alpha, k and seeds, the same for each of four targets and five benchmarks."""
    config = Config()
    contrast = ContrastId("still2", "response_pairs", "c", "main", "train", {}, [], 100, 0, None, None, None)
    made = []
    per_group = -(-count // (len(TARGETS) * len(ITEMS)))
    for target in TARGETS:
        for benchmark in ITEMS:
            base = Cell(
                "random", ModelId(target, target, "main", "auto"),
                BenchmarkId(benchmark, benchmark, "main", "test", None, "direct"), 1024, [],
                source=ModelId("s", "s", "main", "auto"), contrast=contrast, layer=14, source_layer=28, cutoff=400,
                positions="all", scale="direction",
            )  # fmt: skip
            made += [Job(replace(base, alpha=0.1 * (i % 9 + 1), seed=i // 9), config) for i in range(per_group)]
    return made[:count]


@dataclass
class Hand:
    """A worker in the simulation: its identity, its way through the plan, and what it holds."""

    index: int
    worker: Heartbeat
    dies: float
    waiting: list[Unit]
    target: str = ""
    held: list[Claim] = field(default_factory=list)
    unit: Unit | None = None
    loads: int = 0
    busy: float = 0.0


class Simulation:
    """The study, its workers and what became of both."""

    def __init__(self, folder: Path, cut: list[Unit], crew_size: int, hours: float, rows_per_second: float, seed: int) -> None:
        self.folder, self.cut, self.hours, self.speed = folder, cut, hours, rows_per_second
        self.random = np.random.default_rng(seed)
        self.clock = Clock()
        self.crew = Crew(self.clock)
        self.events: list[tuple[float, int, int, Hand]] = []
        self.serial = 0
        self.open = {(job.cell.id, b) for unit in cut for job in unit.jobs for b in unit.blocks}
        self.holders: dict[tuple[str, str], str] = {}
        self.left: dict[tuple[str, int], int] = {}
        self.looks = self.conflicts = self.deaths = self.lost = self.taken_over = self.refused = 0
        self.finished: dict[int, float] = {}
        self.busy = 0.0
        self.loads: Counter[str] = Counter()
        for index in range(crew_size):
            self._enter(index, index / crew_size, self.random.uniform(0, 120))

    def _enter(self, index: int, place: float, at: float) -> None:
        worker = Heartbeat(self.folder)
        worker.name = f"w{index}-{self.serial}"
        worker.holder = replace(worker.holder, worker=worker.name, host=f"host-{index}")
        worker.watch = SimulatedWatch(self.crew)
        life = self.random.exponential(self.hours * 3600)
        self._at(at, Hand(index, worker, at + life, from_place(self.cut, place)))

    def _at(self, when: float, hand: Hand) -> None:
        self.serial += 1
        heapq.heappush(self.events, (min(when, hand.dies), self.serial, 0, hand))

    def run(self) -> None:
        """Until every block of every cell is done."""
        while self.open and self.events:
            self.clock.now, _, _, hand = heapq.heappop(self.events)
            if self.clock.now >= hand.dies:
                self._die(hand)
                continue
            if hand.unit is not None:
                self._complete(hand)
            self._next(hand)

    def _die(self, hand: Hand) -> None:
        self.deaths += 1
        self.crew.died[hand.worker.name] = self.clock.now
        if hand.unit is not None:
            # What was stored stays; what was in hand is lost. (Claims stay behind, on disk.)
            rows = self._rows(hand.unit)
            lived = 1 - (hand.busy - self.clock.now) / max(1e-9, rows / self.speed)
            for key in hand.held:
                place = (key.folder.name, int(key.key[1:]))
                self.left[place] = int(self.left.get(place, self._block(hand.unit, place[1])) * (1 - min(1.0, max(0.0, lived))))
            self.lost += int(self.speed * STORED)
        self._enter(hand.index, self.random.random(), self.clock.now + REPLACED)

    def _block(self, unit: Unit, block: int) -> int:
        return len(blocks(ITEMS[unit.group.benchmark.name])[block])

    def _rows(self, unit: Unit) -> int:
        return sum(self.left.get((job.cell.id, b), self._block(unit, b)) for job in unit.jobs for b in unit.blocks)

    def _complete(self, hand: Hand) -> None:
        assert hand.unit is not None
        for one in hand.held:
            place = (one.folder.name, one.key)
            if not one.current() or self.holders.get(place) != hand.worker.name:
                self.conflicts += 1
            one.release(done=True)
            self.holders.pop(place, None)
            self.open.discard((one.folder.name, int(one.key[1:])))
        self.finished[hand.index] = self.clock.now
        hand.held, hand.unit = [], None

    def _next(self, hand: Hand) -> None:
        """As Worker._attend does: the first unit in its order that can be claimed."""
        looked = 0
        while hand.waiting and looked < LOOKED_UNITS:
            unit = hand.waiting[0]
            found = states(self.folder / unit.jobs[0].cell.id)
            keys = [block_key(b) for b in unit.blocks]
            marks = {key: found.get(key, (-1, FREE)) for key in keys}
            if all(mark == DONE for _, mark in marks.values()):
                hand.waiting.pop(0)
                self.looks += 1
                continue
            looked += 1
            self.looks += 1
            first = self.folder / unit.jobs[0].cell.id
            if any(m == HELD and alive(first, key, n, hand.worker) for key, (n, m) in marks.items()):
                hand.waiting.append(hand.waiting.pop(0))
                continue
            wanted = [(self.folder / job.cell.id, key) for job in unit.jobs for key in keys]
            held = claim_all(wanted, hand.worker)
            if held is None:
                self.refused += 1
                hand.waiting.append(hand.waiting.pop(0))
                continue
            return self._begin(hand, unit, held)
        if hand.waiting:
            self.random.shuffle(hand.waiting)  # type: ignore[arg-type]
            hand.waiting.sort(key=lambda unit: unit.group.target.name != hand.target)
            self._at(self.clock.now + POLL, hand)
        return None

    def _begin(self, hand: Hand, unit: Unit, held: list[Claim]) -> None:
        for one in held:
            before = self.holders.get((one.folder.name, one.key))
            if before is not None:
                # Only a dead worker may lose what it held.
                self.conflicts += before not in self.crew.died
                self.taken_over += 1
            self.holders[one.folder.name, one.key] = hand.worker.name
        loading = 0.0
        if hand.target != unit.group.target.name:
            hand.target, loading = unit.group.target.name, LOADING
            self.loads[hand.target] += 1
        seconds = loading + self._rows(unit) / self.speed * self.random.lognormal(-0.02, 0.2)
        self.busy += seconds
        hand.held, hand.unit, hand.busy = held, unit, self.clock.now + seconds
        self._at(self.clock.now + seconds, hand)


def main() -> None:
    """Plan, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=20.0, help="mean life of a worker")
    parser.add_argument("--speed", type=float, default=7.0, help="rows a second of one card")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    study = jobs(words.cells)
    begun = time.perf_counter()
    groups = grouped(study)
    cut = units(groups, [ITEMS[group.benchmark.name] for group in groups], 32, words.workers)
    planned = time.perf_counter() - begun
    claims = sum(len(unit.jobs) * len(unit.blocks) for unit in cut)
    sizes = [len(unit.jobs) * sum(len(blocks(ITEMS[unit.group.benchmark.name])[b]) for b in unit.blocks) for unit in cut]
    with tempfile.TemporaryDirectory(prefix="l2v-scale-") as folder:
        simulation = Simulation(Path(folder), cut, words.workers, words.hours, words.speed, words.seed)
        begun = time.perf_counter()
        simulation.run()
        took = time.perf_counter() - begun
    ends = np.array(sorted(simulation.finished.values())) / 3600
    ideal = sum(sizes) / words.speed / words.workers / 3600
    print(f"cells {len(study):,}, rows {sum(sizes):,}, workers {words.workers:,}, {words.speed:g} rows/s each")
    print(
        f"planning: {planned:.2f} s for {len(groups)} groups, {len(cut):,} units of up to {max(len(u.jobs) for u in cut)} cells"
    )
    print(f"rows per unit: median {np.median(sizes):,.0f}, largest {max(sizes):,}; claims on rows {claims:,}")
    print(f"makespan {ends[-1]:.2f} h, ideal {ideal:.2f} h: efficiency {ideal / ends[-1]:.3f}")
    early, half = np.quantile(ends, 0.05), np.median(ends)
    print(f"a worker's last unit ended: 5 % of workers before {early:.2f} h, half before {half:.2f} h")
    print(f"deaths {simulation.deaths}; claims taken over {simulation.taken_over:,}; rows lost in hand {simulation.lost:,}")
    print(f"conflicts (rows held by two live workers): {simulation.conflicts}; refused at the last moment {simulation.refused}")
    crew = words.workers + simulation.deaths
    print(f"model loads per target: {dict(simulation.loads)} (workers, with replacements: {crew})")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"looks at units that were done or held: {simulation.looks:,}, {simulation.looks / ends[-1] / 3600:,.0f} a second")
    print(f"left open: {len(simulation.open)}; simulated in {took:.0f} s, peak {peak:.1f} GiB")


if __name__ == "__main__":
    main()
