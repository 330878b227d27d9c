"""How much may run at once: what was asked for, less after memory ran out, and more again when all has been well for long."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

# After so many good ends more is tried again; after every further failure twice as many.
_PATIENCE = 4


@dataclass
class Limit:
    """A number of tokens, or rows, that may be used at once; `asked` is the most that ever is."""

    asked: int
    now: int = field(init=False)
    patience: int = _PATIENCE
    good: int = 0

    def __post_init__(self) -> None:
        self.now = self.asked

    def failed(self, used: int) -> None:
        """`used` was too much: half of that from now on."""
        self.now = max(1, min(self.now, used) // 2)
        self.good, self.patience = 0, 2 * self.patience

    def worked(self) -> None:
        if self.now < self.asked:
            self.good += 1
            if self.good >= self.patience:
                self.now, self.good = min(self.asked, 2 * self.now), 0


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a CUDA card or beside a CPU; None where nobody tells."""
    if device.type == "cpu":
        import psutil

        # A process that takes more is killed, or puts the machine to swapping: here no error says that memory ran out.
        return int(psutil.virtual_memory().available)
    if device.type != "cuda":
        return None
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
