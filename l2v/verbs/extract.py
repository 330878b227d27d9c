"""l2v extract: read the directions that a cell needs into outputs/cache/directions, and print the files.

    l2v extract source=mini_kin contrast=mini

`l2v run` reads what its cells need by itself; this reads it before, or alone.
"""

from __future__ import annotations

import sys
from functools import partial

from l2v.errors import UserError

PARTS = ("source", "target", "contrast", "neutral", "method", "benchmark", "intervention", "decoding", "seed", "runtime")


def main(arguments: list[str]) -> int:
    """Read what one composed cell needs and is not cached yet, and print the paths."""
    from l2v.verbs.compose import compose_single

    config = compose_single(arguments, PARTS)
    if config is None:
        return 0
    from l2v.benchmarks.catalogue import ANY_TASK, open_benchmark
    from l2v.benchmarks.harness import check_prompt
    from l2v.study.cells import Job
    from l2v.study.resolve import resolve
    from l2v.study.workers.devices import check_device, pick_device

    job = Job(resolve(config), config)
    if not job.cell.steered:
        raise UserError(f"Method '{job.cell.method}' reads no direction; choose method=l2v or another arm.")
    if config.benchmark.name != ANY_TASK:
        check_prompt(open_benchmark(config.benchmark.name), config.benchmark.prompt)
    check_device(config.runtime.device)
    from l2v.study.workers.directions import ensure_directions
    from l2v.study.workers.maps import ensure_maps

    # Only the paths go to standard output, for `$(l2v extract …)`.
    say = partial(print, file=sys.stderr)
    device = pick_device(config.runtime.device)
    for path in (*ensure_directions([job], device, say), *ensure_maps([job], device, say)):
        print(path)
    return 0
