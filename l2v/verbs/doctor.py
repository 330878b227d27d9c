"""l2v doctor: versions, devices, memory, disk, and whether the model hub can be reached."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import urllib.error
import urllib.request

from l2v.errors import UserError

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
HUB_TIMEOUT_SECONDS = 5


def main(arguments: list[str]) -> int:
    """Print one line per finding; always exit code 0: a missing GPU or hub is no error."""
    if arguments:
        raise UserError(f"`l2v doctor` takes no settings, but was given {' '.join(arguments)}.")
    import psutil
    import torch

    print(f"python       {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        print(f"{name:12} {_version(name)}")
    memory = psutil.virtual_memory()
    print(f"cpu          {psutil.cpu_count()} cores, torch uses {torch.get_num_threads()} threads")
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

    try:
        with urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_TIMEOUT_SECONDS):
            return f"{constants.ENDPOINT} can be reached"
    except (urllib.error.URLError, OSError, ValueError) as error:
        return f"{constants.ENDPOINT} cannot be reached ({error}); give local folders with …path=…"
