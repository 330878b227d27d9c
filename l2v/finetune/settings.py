"""The settings of a fine-tuning run, with their units and ranges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from l2v.disk import check_place
from l2v.errors import UserError, unknown
from l2v.ranges import check_ranges

METHODS = ("full", "lora")
UNUSABLE = ("error", "drop")


@dataclass
class FinetuneSettings:
    """How to fine-tune. Defaults: Virgo's (arXiv 2501.01904) where it states them, learning rate, cosine and epochs."""

    method: str = "full"  # full (every weight of the LLM, embeddings and lm_head too), or lora (PEFT; merged at the end)
    learning_rate: float = 7e-6  # peak of a cosine that ends at zero, above 0
    epochs: int = 10  # times that every text is seen, at least 1
    batch_size: int = 8  # texts per step
    micro_batch: int = 1  # texts in memory at once, a divisor of batch_size
    warmup: float = 0.0  # share of the steps in which the rate rises, 0 to below 1
    weight_decay: float = 0.0  # weight decay of AdamW, at least 0
    clip: float = 1.0  # largest norm of a gradient, above 0
    seed: int = 0  # of the order of texts and of LoRA's start
    max_length: int | None = None  # tokens of the longest text; None: the model's context
    unusable: str = "error"  # texts without a response or too long: error, or drop (counted)
    lora_rank: int = 16  # of the updates that lora learns
    lora_alpha: int = 32  # updates are scaled by alpha / rank
    lora_dropout: float = 0.0  # share of a lora update's inputs that is dropped, 0 to below 1
    gradient_checkpointing: bool = True  # a third slower, far less memory
    checkpoints: bool = True  # keep the state after every epoch: the same command goes on after an interruption

    def check(self) -> None:
        """Raise UserError for a setting out of its range."""
        if self.method not in METHODS:
            raise unknown("finetune.method", self.method, METHODS)
        if self.unusable not in UNUSABLE:
            raise unknown("finetune.unusable", self.unusable, UNUSABLE)
        check_ranges(self, "finetune.")
        if self.batch_size % self.micro_batch:
            raise UserError(
                f"finetune.batch_size={self.batch_size} is no multiple of finetune.micro_batch={self.micro_batch}; choose a "
                "divisor."
            )


def check_new(out: Path) -> None:
    """Raise UserError for a folder that is there already, or that cannot be made."""
    if out.exists() or out.is_symlink():
        raise UserError(f"The folder {out} exists already; choose another finetune.out or delete it.")
    check_place(out)
