"""How rare a permuted direction is that points where the target's own does: cosines of a thousand seeds, without an answer.

python experiments/permuted.py        # seeds 1 and 4 are those of the demo that reach the top
"""

from __future__ import annotations

import torch

from l2v.study.cells import Job
from l2v.study.plan import job_readings, norm_reading
from l2v.study.resolve import resolve
from l2v.study.workers.directions import directions_path, ensure_directions, load_directions
from l2v.transfer.arms import build_vector
from l2v.verbs.run import composed

SEEDS = 1000


def main() -> None:
    """Print, for every block and cutoff of the demo, the cosine of l2v's vector and those of the permuted ones."""
    words = ["method=permuted", "intervention.layer=3", "source=mini_kin", "target=mini", "intervention.scale=relative"]
    [config] = composed(["--multirun", "study=permuted", *words])
    cell, outputs = resolve(config), config.runtime.outputs
    ensure_directions([Job(cell, config)], "cpu")
    source = load_directions(directions_path(outputs, job_readings(cell)[0].id)).mean
    own = load_directions(directions_path(outputs, norm_reading(cell).id)).mean
    for layer, k in ((2, 16), (2, 34), (3, 16), (3, 34)):
        made = [build_vector("permuted", source[layer], 96, k, seed) for seed in range(SEEDS)]
        vectors = torch.stack([build_vector("l2v", source[layer], 96, k), *made])
        l2v, *drawn = torch.cosine_similarity(vectors, own[layer][None], dim=1).tolist()
        told = [f"seed {seed}: {drawn[seed]:.3f}, reached by {sum(c >= drawn[seed] for c in drawn)}" for seed in (1, 4)]
        print(f"layer {layer}, k {k}: l2v {l2v:.3f}; of {SEEDS} permuted the highest {max(drawn):.3f}; {'; '.join(told)}")


if __name__ == "__main__":
    main()
