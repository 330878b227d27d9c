"""Fine-tuning on textual chains of thought, as Virgo does (arXiv 2501.01904), into a checkpoint that any target can name.

    chats = training_chats(questions)
    record = finetune(load_model(spec, "vision"), chats, FinetuneSettings(), Path("outputs/checkpoints/virgo"))

Vision tower and projector are frozen: texts never reach them. LoRA is PEFT's, the loop is our own (loop.py), with the losses
of transformers' Trainer to rounding. The Trainer itself does not run it: from its own checkpoint of a LLaVA or a Qwen2-VL
it goes on with other weights than it had and does not say so (transformers 5.23 saves and looks for them under different
names), it stays on the first GPU, and it writes into the model's configuration. TRL's SFTTrainer is a Trainer too, and cuts
long texts by default.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, AutoTokenizer

from l2v.disk import write_atomically
from l2v.errors import UserError
from l2v.finetune.data import TrainingText, TrainingTexts, encode_examples
from l2v.finetune.loop import Diverged, State, epoch_of_training, mean_loss
from l2v.finetune.settings import FinetuneSettings, check_new
from l2v.finetune.trainable import check_packages, made_trainable
from l2v.identity import digest, fingerprint
from l2v.steering.models import LoadedModel
from l2v.steering.weights import check_writable
from l2v.transfer.contrast import Chat

__all__ = ["FinetuneSettings", "finetune"]

RECORD = "finetune.json"
LOSS_TEXTS = 128  # at most so many, evenly spaced, are measured before and after
Progress = Callable[[int, int], None]


def finetune(
    loaded: LoadedModel,
    texts: Sequence[Chat],
    settings: FinetuneSettings,
    out: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train the language model of `loaded`, in place, and write a Hugging Face folder: weights, config, processor, record.

    texts: conversations with their responses; loss falls on the responses alone. out: a folder that does not exist yet; until
    all is done the work lies beside it in `<out>.partial`, from which the same call goes on after an interruption, to the same
    weights. progress: told optimiser steps done and their total.

    Returns (and writes to finetune.json, the time excepted): settings, base (the model's id), n (texts), unanswered, too_long
    (texts left out), tokens (in the loss, per epoch), steps, trainable (parameters), loss_before, loss_after (mean over the
    response tokens of up to 128 texts, in nats), history (per step: step, epoch, loss, learning_rate), seconds.

    Raises UserError for settings out of range, texts that cannot be used, weights that cannot be trained (quantised,
    offloaded), a missing package, an `out` that exists, work of other settings beside it, memory that does not suffice, and
    a loss that is no number.
    """
    settings.check()
    check_packages(settings)
    check_writable(loaded.model, loaded.spec.where())
    examples = encode_examples(loaded, texts, settings.max_length, settings.unusable)
    work = _work_folder(out, _identity(loaded, examples, settings))
    started = time.perf_counter()
    try:
        record = _train(loaded, examples, settings, work, progress)
    except Diverged:
        shutil.rmtree(work)
        raise
    except torch.OutOfMemoryError as error:
        raise UserError(
            "Fine-tuning does not fit the device's memory; use finetune.micro_batch=1, finetune.gradient_checkpointing=true, "
            "a smaller finetune.max_length or finetune.method=lora."
        ) from error
    _save(loaded, record, work / "final")
    (work / "final").replace(out)
    shutil.rmtree(work)
    return record | {"seconds": time.perf_counter() - started}


def _identity(loaded: LoadedModel, examples: TrainingTexts, settings: FinetuneSettings) -> str:
    """What must be equal for one run to go on from another's state."""
    held, spec = hashlib.blake2b(digest_size=16), loaded.spec
    for row in examples.rows:
        held.update(json.dumps([row.ids, row.labels]).encode())
    known = {
        "settings": asdict(settings),
        "base": [fingerprint(spec.path)] if spec.path else [spec.id, spec.revision],
        "texts": held.hexdigest(),
    }
    return json.dumps(known, sort_keys=True)


def _work_folder(out: Path, identity: str) -> Path:
    """`<out>.partial`, new or from an interrupted run of the same identity. Raises UserError when one stands in the way."""
    check_new(out)
    work = out.with_name(out.name + ".partial")
    mark = work / "identity.json"
    if work.exists() and (not mark.is_file() or mark.read_bytes() != identity.encode()):
        raise UserError(
            f"{work} holds an interrupted run of another model, other settings or texts; repeat that one, choose another "
            "finetune.out or delete it."
        )
    shutil.rmtree(work / "final", ignore_errors=True)
    write_atomically(mark, identity)
    return work


def _train(
    loaded: LoadedModel, examples: TrainingTexts, settings: FinetuneSettings, work: Path, progress: Progress | None
) -> dict[str, Any]:
    """The run itself; on return the model holds the trained weights in its own dtypes, in evaluation mode."""
    rows, pad = examples.rows, loaded.tokenizer.pad_token_id
    measured = rows[:: -(-len(rows) // LOSS_TEXTS)]
    before = _loss_before(loaded, measured, settings, work / "before.json")
    steps = math.ceil(len(rows) / settings.batch_size) * settings.epochs
    with torch.random.fork_rng(devices=[]), made_trainable(loaded.model, settings) as model:
        state = State(model, settings, steps)
        trainable = sum(parameter.numel() for parameter in state.parameters)
        state.load(work / "state.pt")
        while state.epoch < settings.epochs:
            epoch_of_training(model, state, rows, pad, progress)
            if settings.checkpoints and state.epoch < settings.epochs:
                state.save(work / "state.pt")
    return {
        "settings": asdict(settings),
        "base": loaded.spec.id,
        "n": len(rows),
        "unanswered": examples.unanswered,
        "too_long": examples.too_long,
        "tokens": sum(row.said for row in rows),
        "steps": steps,
        "trainable": trainable,
        "loss_before": before,
        "loss_after": mean_loss(loaded.model, measured, pad, settings.micro_batch),
        "history": state.history,
    }


def _loss_before(loaded: LoadedModel, rows: Sequence[TrainingText], settings: FinetuneSettings, kept: Path) -> float:
    """The loss before the first step; kept, so that a run that goes on tells the same."""
    with suppress(OSError, ValueError, TypeError):
        loss, check = json.loads(kept.read_bytes())
        if check == digest(loss):
            return float(loss)
    loss = mean_loss(loaded.model, rows, loaded.tokenizer.pad_token_id, settings.micro_batch)
    write_atomically(kept, json.dumps([loss, digest(loss)]))
    return loss


def _save(loaded: LoadedModel, record: dict[str, Any], folder: Path) -> None:
    """A folder for `target.path`. The processor is read anew: the loaded one has been told to pad on the left."""
    loaded.model.save_pretrained(folder)
    spec = loaded.spec
    remote = {} if spec.path else {"revision": spec.revision}
    auto = AutoTokenizer if loaded.processor is None else AutoProcessor
    auto.from_pretrained(spec.where(), trust_remote_code=spec.trust_remote_code, **remote).save_pretrained(folder)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
