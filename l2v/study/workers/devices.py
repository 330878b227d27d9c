"""Which device computes, and which GPUs a worker may use."""

from __future__ import annotations

import os

import torch

from l2v.errors import UserError, unknown


def pick_device(setting: str) -> str:
    """The device for runtime.device. Raises UserError for one that is not there."""
    if setting == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, index = setting.partition(":")
    if kind not in ("cpu", "cuda", "mps"):
        raise unknown("runtime.device", setting, ("auto", "cpu", "cuda", "mps"))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("runtime.device=mps is not on this machine; `l2v doctor` lists what is.")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise UserError(f"runtime.device={setting} is not on this machine; `l2v doctor` lists what is.")
    return setting


def gpus(setting: str) -> list[str]:
    """The GPUs that workers of this machine may be pinned to under runtime.device, as CUDA_VISIBLE_DEVICES names them."""
    if setting not in ("auto", "cuda") or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
