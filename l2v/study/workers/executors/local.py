"""executor=local: this process is the one worker."""

from __future__ import annotations

import sys

from tqdm import tqdm

from l2v.errors import printable
from l2v.study.workers.devices import pick_device
from l2v.study.workers.executors.progress import phases, progress_bar
from l2v.study.workers.heartbeat import Heartbeat
from l2v.study.workers.run import Run
from l2v.study.workers.worker import Worker
from l2v.study.workers.workload import Workload


def run(work: Workload, run: Run) -> dict[str, str]:
    """Compute here, with a bar."""
    config = work.jobs[0].config
    device = pick_device(config.runtime.device)

    def note(message: str) -> None:
        if config.runtime.progress and not message.startswith("loading"):
            tqdm.write(printable(message), file=sys.stderr)

    with (
        Heartbeat(config.runtime.outputs, config.executor.heartbeat, config.executor.expire) as worker,
        progress_bar(work, run) as bar,
    ):
        worker.listener = phases(bar)
        worker.tell(study=work.store.study, run=run.key)
        Worker(work, run, worker, device, note, bar=bar).run()
    return run.failed()
