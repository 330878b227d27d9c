"""Where the maps point, block by block, without an answer: cosines of the carried with the target's own direction, and nulls.

python experiments/maps/geometry.py world=0 cutoff=34 source=mini_kin,mini_stranger_a target=mini,mini_drifted \
    neutral=mini,mini_mixed neutral.texts=200 > experiments/maps/geometry.csv

world=real takes other models than the miniature's. maps=, blocks= (SOURCE:TARGET+SOURCE:TARGET…, all pairs without it) and
seeds= (19) narrow or widen it; every other word is one of `l2v run --multirun`. A row per pair of models, texts, pair of
blocks and map, `l2v` among them. reconstruction: R^2 on a fifth of the texts, left out. shuffled_…: cosines of maps of
which the texts were paired at random (of l2v: of the permuted direction); random_…: of a random direction through the same
map. p_…: rank of the cosine among these, one-sided, never below 1 / (1 + seeds).
"""

from __future__ import annotations

import csv
import itertools
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from l2v.study.cells import Job
from l2v.study.plan import fitting, job_readings, norm_reading
from l2v.study.resolve import resolve
from l2v.study.workers.directions import directions_path, ensure_directions, load_directions
from l2v.study.workers.maps import ensure_maps, states_path
from l2v.transfer.arms import MAPS, build_vector
from l2v.transfer.maps import FITS, fit_best_layer
from l2v.transfer.neutral import load_states, shuffled
from l2v.verbs.run import composed

COLUMNS = ("world", "source", "target", "map", "neutral", "neutral_texts", "layer", "source_layer", "reconstruction", "cosine",
           "shuffled_low", "shuffled_median", "shuffled_high", "p_shuffled", "random_high", "p_random", "seeds",
           "seconds")  # fmt: skip
SEED = 0  # of a map that draws
# The cell that is composed; a strength in the target's norms has the target's own direction read, too.
READ = ("method=procrustes", "intervention.layer=0", "intervention.scale=relative")
Pair = tuple[int, int]  # a block of the source, a block of the target


@dataclass(frozen=True)
class Blocks:
    """A block of each model: states of the neutral texts (n, d), (n, width), of the contrast (2 pairs, d), both directions."""

    x: Tensor
    y: Tensor
    texts: Tensor
    states: Tensor
    carried: Tensor
    own: Tensor

    def cosine(self, vector: Tensor) -> float:
        """Of a vector with the target's own direction."""
        return float(torch.cosine_similarity(vector.float(), self.own.float(), dim=0))


def main() -> None:
    """Print the table."""
    own = {"world": "0", "cutoff": "34", "maps": ",".join(MAPS), "blocks": "", "seeds": "19"}
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    own |= {name: given.pop(name) for name in own if name in given}
    words = [f"{name}={value}" for name, value in given.items()]
    words += [] if own["world"] == "real" else [f"runtime.world={own['world']}"]
    configs = composed(["--multirun", "study=maps_geometry", *READ, *words])
    jobs = [Job(resolve(config), config) for config in configs]
    say = partial(print, file=sys.stderr)
    ensure_directions(jobs, "cpu", say)
    ensure_maps(jobs, "cpu", say)
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    wanted = [(int(source), int(layer)) for source, layer in (pair.split(":") for pair in own["blocks"].split("+") if pair)]
    for job in jobs:
        for row in rows(job, own["maps"].split(","), int(own["seeds"]), int(own["cutoff"]), wanted):
            writer.writerow({"world": own["world"], **row})
            sys.stdout.flush()


def rows(job: Job, maps: Sequence[str], seeds: int, cutoff: int, wanted: Sequence[Pair]) -> Iterator[dict[str, object]]:
    """The rows of one pair of models and one set of texts; of all pairs of blocks where none is wanted."""
    cell, outputs = job.cell, job.config.runtime.outputs
    learned = fitting(cell)
    assert learned is not None and cell.neutral is not None and cell.source is not None
    path = directions_path(outputs, job_readings(cell)[0].id)
    theirs, own = load_directions(path).with_states(path), load_directions(directions_path(outputs, norm_reading(cell).id))
    assert theirs.states is not None
    told = {"source": cell.source.name, "target": cell.target.name, "neutral": cell.neutral.name}
    told |= {"neutral_texts": str(cell.neutral.texts)}
    for source_layer, layer in wanted or itertools.product(range(len(theirs.mean)), range(len(own.mean))):
        x = load_states(states_path(outputs, learned.source.id), source_layer).double()
        y = load_states(states_path(outputs, learned.target.id), layer).double()
        texts = torch.arange(len(x)) // cell.neutral.places
        here = Blocks(x, y, texts, theirs.states[source_layer].float(), theirs.mean[source_layer], own.mean[layer])
        for name in ("l2v", *maps):
            found = low_passed(here, cutoff, seeds) if name == "l2v" else carried(here, name, seeds)
            yield {**told, "map": name, "layer": layer, "source_layer": source_layer, "seeds": seeds, **found}


def low_passed(here: Blocks, cutoff: int, seeds: int) -> dict[str, object]:
    """The untrained carry-over, and its null."""
    width = here.y.shape[1]
    cosine = here.cosine(build_vector("l2v", here.carried, width, cutoff))
    drawn = [here.cosine(build_vector("permuted", here.carried, width, cutoff, seed)) for seed in range(seeds)]
    return beside(cosine, drawn)


def carried(here: Blocks, name: str, seeds: int) -> dict[str, object]:
    """A learned map, and its nulls."""
    width, begun = here.y.shape[1], time.process_time()
    carry = fit_best_layer(name, lambda _: here.x, [0], here.y, here.texts, SEED)
    seconds = time.process_time() - begun
    moved = partial(build_vector, direction=here.carried, width=width, states=here.states)
    cosine = here.cosine(moved(name, carry=carry))
    random = [here.cosine(moved("mapped_random", seed=seed, carry=carry)) for seed in range(seeds)]
    unpaired = []
    for seed in range(seeds):
        fitted = FITS[name](here.x, here.y[shuffled(here.texts, seed)], here.texts, torch.Generator().manual_seed(seed))
        unpaired.append(here.cosine(moved("shuffled_map", carry=fitted)))
    found = beside(cosine, unpaired) | {"reconstruction": f"{carry.held_out:.3f}", "seconds": f"{seconds:.2f}"}
    return found | {"random_high": f"{max(random):.3f}", "p_random": rank(cosine, random)}


def beside(cosine: float, drawn: Sequence[float]) -> dict[str, object]:
    """A cosine and those of its null."""
    low, middle, high = min(drawn), statistics.median(drawn), max(drawn)
    told = {"shuffled_low": f"{low:.3f}", "shuffled_median": f"{middle:.3f}", "shuffled_high": f"{high:.3f}"}
    return {"cosine": f"{cosine:.3f}", **told, "p_shuffled": rank(cosine, drawn)}


def rank(cosine: float, drawn: Sequence[float]) -> str:
    """One-sided p: the share of the draws, the cosine counted among them, that reach it."""
    return f"{(1 + sum(one >= cosine for one in drawn)) / (1 + len(drawn)):.3f}"


if __name__ == "__main__":
    main()
