"""The loop: AdamW under a cosine, gradients accumulated over a batch, a state that can be put away after every epoch."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l2v.disk import replaced
from l2v.errors import UserError
from l2v.finetune.data import TrainingText, collate
from l2v.finetune.settings import FinetuneSettings
from l2v.steering.models import input_device

Progress = Callable[[int, int], None]


class Diverged(UserError):
    """The loss is no number any more."""


class State:
    """What a run has come to: trainable parameters, optimiser, epochs and steps done, and the loss of every step."""

    def __init__(self, model: Any, settings: FinetuneSettings, steps: int) -> None:
        self.settings = settings
        self.steps = steps
        self.epoch = 0
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [parameter for parameter in self.parameters if parameter.ndim > 1]
        others = [parameter for parameter in self.parameters if parameter.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate)

    def rate(self) -> float:
        """The next step's learning rate: a linear rise from zero over the warm-up, then a cosine to zero, as transformers'."""
        warm = int(self.settings.warmup * self.steps)
        if self.step < warm:
            return self.settings.learning_rate * self.step / warm
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (self.step - warm) / (self.steps - warm)))

    def save(self, path: Path) -> None:
        """Write everything, by an atomic rename."""
        values = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "parameters": [parameter.detach() for parameter in self.parameters],
            "optimiser": self.optimiser.state_dict(),
        }
        with replaced(path) as file:
            torch.save(values, file)

    def load(self, path: Path) -> None:
        """Take up what `save` wrote, if it did. Raises UserError for a damaged file."""
        if not path.is_file():
            return
        try:
            # torch itself does not look at the sums of a file of its own.
            if (broken := zipfile.ZipFile(path).testzip()) is not None:
                raise ValueError(f"{broken} is not what was written")
            values = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # bytes that are no such file may fail in any way
            reason = " ".join(str(error).split())[:120]
            raise UserError(
                f"{path} is damaged ({reason}); delete {path.parent}, then repeat the command, which begins anew."
            ) from error
        self.epoch, self.step, self.history = values["epoch"], values["step"], values["history"]
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values["parameters"], strict=True):
                parameter.copy_(value)
        self.optimiser.load_state_dict(values["optimiser"])


def epoch_of_training(
    model: Any, state: State, rows: Sequence[TrainingText], pad: int, progress: Progress | None = None
) -> None:
    """Once over the rows, in an order drawn from the seed and the epoch. Raises Diverged when the loss is no number."""
    # Seeded per epoch, dropout included, so that an interrupted run ends where an uninterrupted one does.
    torch.manual_seed(state.settings.seed * 1_000_003 + state.epoch)
    order = torch.randperm(len(rows)).tolist()
    size = state.settings.batch_size
    for start in range(0, len(rows), size):
        rate = state.rate()
        loss = _step(model, state, [rows[i] for i in order[start : start + size]], pad, rate)
        if not math.isfinite(loss):
            raise Diverged(
                f"Fine-tuning came to a loss of {loss} at step {state.step + 1} of {state.steps}, nothing was written; lower "
                "finetune.learning_rate."
            )
        state.step += 1
        state.history.append({"step": state.step, "epoch": state.epoch, "loss": loss, "learning_rate": rate})
        if progress is not None:
            progress(state.step, state.steps)
    state.epoch += 1


def _step(model: Any, state: State, rows: Sequence[TrainingText], pad: int, rate: float) -> float:
    """One optimiser step on the mean loss over all response tokens of a batch; that mean, before the step."""
    settings = state.settings
    said = sum(row.said for row in rows)
    total = 0.0
    for share, loss in _losses(model, rows, pad, settings.micro_batch):
        part = loss * (share / said)
        part.backward()
        total += float(part.detach())
    torch.nn.utils.clip_grad_norm_(state.parameters, settings.clip)
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.optimiser.step()
    state.optimiser.zero_grad(set_to_none=True)
    return total


def _losses(model: Any, rows: Sequence[TrainingText], pad: int, micro_batch: int) -> Iterator[tuple[int, Tensor]]:
    """(response tokens, their mean loss) of one micro-batch after another; in bfloat16 on a GPU."""
    device = input_device(model)
    for start in range(0, len(rows), micro_batch):
        some = rows[start : start + micro_batch]
        batch = {name: value.to(device) for name, value in collate(some, pad).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(**batch, use_cache=False).loss
        yield sum(row.said for row in some), loss


@torch.no_grad()
def mean_loss(model: Any, rows: Sequence[TrainingText], pad: int, micro_batch: int = 8) -> float:
    """Mean cross-entropy per response token, in nats."""
    total = sum(share * float(loss) for share, loss in _losses(model, rows, pad, micro_batch))
    return total / sum(row.said for row in rows)
