"""Which device computes, and which GPUs a worker may use."""

from __future__ import annotations

import os

from l2v.errors import UserError, unknown


def check_device(setting: str) -> None:
    """Raise UserError for a runtime.device that no machine has; needs no torch."""
    kind, colon, index = setting.partition(":")
    known = kind in ("cpu", "cuda", "mps") and (not colon or (kind == "cuda" and index.isdecimal()))
    if setting != "auto" and not known:
        raise unknown("runtime.device", setting, ("auto", "cpu", "cuda", "mps"))


def pick_device(setting: str) -> str:
    """The device for runtime.device. Raises UserError for one that is not there."""
    check_device(setting)
    import torch

    if setting == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = setting.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("runtime.device=mps is not on this machine; `l2v doctor` lists what is.")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise UserError(f"runtime.device={setting} is not on this machine; `l2v doctor` lists what is.")
    return setting


def gpus(setting: str) -> list[str]:
    """The GPUs that workers of this machine may be pinned to under runtime.device, as CUDA_VISIBLE_DEVICES names them."""
    if setting not in ("auto", "cuda"):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
