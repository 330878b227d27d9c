"""Under what a study was computed: outputs/<study>/provenance.jsonl holds its commands, and its workers' machines and versions.

For readers alone: nothing is computed from it, and damage to it costs no more than what it says.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import l2v
from l2v.disk import UNREADABLE, Record, append_line, read_notes

if TYPE_CHECKING:
    from l2v.study.store import Store

# The words of the command that is carried out in this process; None where nobody gave one.
COMMAND: ContextVar[str | None] = ContextVar("COMMAND", default=None)
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "hydra-core", "lm-eval")
PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")
GIT_SECONDS = 5


def given() -> str | None:
    """The command, without a password that an address holds."""
    command = COMMAND.get()
    return command and PASSWORD.sub("", command)


def note_work(store: Store, command: str | None, device: str) -> None:
    """Keep what rows are computed by, unless it is there already: the command, the hardware, versions, and the commit of an l2v
    that was installed from one. A disk that takes none is told where it loses rows."""
    record = {"command": command, "device": device, "hardware": hardware(device), "commit": commit(), "versions": versions()}
    if any({**known, "at": None} == {**record, "at": None} for known in notes(store)):
        return
    with suppress(OSError):
        append_line(store.path / "provenance.jsonl", {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", **record})


def notes(store: Store) -> list[Record]:
    return read_notes(store.path / "provenance.jsonl")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of l2v, Python and the libraries that answers depend on; what is not installed is left out."""
    found = {"l2v": l2v.__version__, "Python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The git commit that l2v was installed from, "…, changed" where its files differ from it; None where there is none."""
    root = Path(l2v.__file__).resolve().parents[1]
    if (here := _git(root, "rev-parse", "HEAD")) and _git(root, "ls-files", "l2v/__init__.py"):
        return f"{here}, changed" if _git(root, "status", "--porcelain", "--untracked-files=no", "--", "l2v", "conf") else here
    with suppress(metadata.PackageNotFoundError, *UNREADABLE):
        told = json.loads(metadata.distribution("l2v").read_text("direct_url.json") or "{}")
        return str(told["vcs_info"]["commit_id"]) if "vcs_info" in told else None
    return None


def _git(folder: Path, *words: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=GIT_SECONDS, check=True
        )
        return told.stdout.strip()
    return ""


def hardware(device: str) -> list[str]:
    """The card that computes, where there is one, and the machine around it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()} CPU cores{_processor()}, {memory:.0f} GiB; {platform.system()} {platform.machine()}"
    if not device.startswith("cuda"):
        return [machine]
    import torch

    card = torch.cuda.get_device_properties(device)
    return [f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}", machine]


def _processor() -> str:
    """The processor's own name, in brackets, where the system tells it."""
    if sys.platform == "linux":
        with suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("model name"):
                    return f" ({line.partition(':')[2].strip()})"
    return f" ({platform.processor()})" if platform.processor() else ""
