"""l2v doctor: versions, devices, memory, disk, and whether the model hub can be reached; or whether a study is whole.

l2v doctor
l2v doctor study=demo      reads what a study's figures are made from: cells, verdicts, items, selection, results.csv, analyses,
                           directions, maps, states of neutral texts, a source's texts; and whether local checkpoints and
                           data are still those of the cells, and checkpoints of the hub what it keeps, for which it
                           reads them whole; says what is damaged and what to do; to a study of a version without
                           digests it adds them. Exit code 1 when something is damaged
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass

from l2v.errors import counted, printable
from l2v.verbs.settings import StudySettings, parse

PACKAGES = (
    "l2v",
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "hydra-core",
    "omegaconf",
    "lm_eval",
    "datasets",
    "wandb",
)


@dataclass(frozen=True)
class DoctorSettings:
    study: str | None = None  # folder under outputs; None: look at this machine
    outputs: str = StudySettings.outputs  # folder of all studies


SETTINGS = DoctorSettings


def main(arguments: list[str]) -> int:
    """Print one line per finding. Of a machine always exit code 0: a missing GPU or hub is no error; of a study see above."""
    settings = parse(arguments, DoctorSettings)
    return _machine() if settings.study is None else _study(settings.outputs, settings.study)


def _study(outputs: str, study: str) -> int:
    from l2v.study.checkup import add_digests, check_study
    from l2v.study.store import Store

    store = Store(outputs, study).existing()
    found = check_study(store)
    here = sum(path.exists() for path in found.directions)
    away = f" ({len(found.directions) - here} more not here)" if len(found.directions) > here else ""
    cells, rows = counted(found.cells, "finished cell"), counted(found.rows, "response")
    told = f"{cells} with {rows} and {counted(here, 'direction file')}"
    print(f"study {study}: {told} are whole{away}{', but:' if found.problems else '.'}")
    for problem in found.problems:
        print(printable(f"- {problem}"))
    if not found.problems and (added := add_digests(store, found)):
        print(f"Digests were added to {added} files of a version without them.")
    return int(bool(found.problems))


def _machine() -> int:
    import psutil
    import torch

    print(f"python       {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        print(f"{name:12} {_version(name)}")
    memory = psutil.virtual_memory()
    print(f"cpu          {psutil.cpu_count()} cores, torch uses {counted(torch.get_num_threads(), 'thread')}")
    print(f"memory       {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free")
    print(f"disk         {shutil.disk_usage('.').free / 2**30:.1f} GiB free here")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            print(f"cuda:{index}       {torch.cuda.get_device_name(index)}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free")
    else:
        print("cuda         none; models run on the CPU")
    print(f"hub          {_hub()}")
    return 0


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _hub() -> str:
    from huggingface_hub import constants

    from l2v.hub import silence

    why = silence()
    return f"{constants.ENDPOINT} " + ("can be reached" if why is None else f"{why}; give local folders with …path=…")
