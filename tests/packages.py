"""Programs that some tests need and pip does not bring: found, installed on CI, or the test is skipped with the reason."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

INSTALL_SECONDS = 300


def program(name: str, *packages: str) -> str:
    """The path of a program. On CI (`CI` set, as root, with apt-get) its Debian packages are installed; elsewhere the test is
    skipped with the command that would bring it."""
    packages = packages or (name,)
    if shutil.which(name) is None and os.environ.get("CI") and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *command], env=quiet, capture_output=True, timeout=INSTALL_SECONDS, check=False)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine (apt-get install {' '.join(packages)})")
    return found
