"""l2v finetune: supervised fine-tuning on the contrast data's chains of thought, the vision tower frozen.

    l2v finetune target=mini +finetune=mini finetune.out=outputs/checkpoints/mini_sft
    l2v run method=finetuned_cot method.weights.checkpoint=outputs/checkpoints/mini_sft

LoRA needs the extra: pip install 'l2v[finetune]'.
"""

from __future__ import annotations

from pathlib import Path

from l2v.config import Config, taken
from l2v.errors import UserError, unknown

PARTS = ("finetune", "source", "target", "contrast", "runtime")


def main(arguments: list[str]) -> int:
    """Train the composed target (or source) and print the folder and what came of it."""
    from l2v.verbs.compose import compose_single

    config = compose_single(arguments, PARTS)
    if config is None:
        return 0
    if config.finetune.out is None:
        raise UserError("finetune.out=… names the folder of the checkpoint; it must be given.")
    return _finetune(config)


def _finetune(config: Config) -> int:
    from l2v.checkpoint import check_kind
    from l2v.checkpoint_files import check_files
    from l2v.finetune.settings import FinetuneSettings, check_new
    from l2v.study.defaults import check_contrast
    from l2v.study.model_files import kind_of_target, model_spec
    from l2v.study.resolve import contrast_id, model_id
    from l2v.study.workers.devices import check_device, pick_device
    from l2v.transfer.contrast import KINDS

    chosen = config.finetune
    assert chosen.out is not None
    if config.contrast.kind not in KINDS:
        raise unknown("contrast.kind", config.contrast.kind, KINDS)
    if chosen.model not in ("target", "source"):
        raise unknown("finetune.model", chosen.model, ("target", "source"))
    settings = taken(FinetuneSettings, chosen)
    settings.check()
    # Before hours of training, not after.
    check_new(Path(chosen.out))
    trained = config.target if chosen.model == "target" else config.source
    check_contrast(config, [trained])
    model_id(trained, chosen.model)
    contrast_id(config.contrast)
    check_device(config.runtime.device)
    spec, kind = model_spec(trained), kind_of_target(trained) if chosen.model == "target" else "text"
    if spec.path is not None:
        check_kind(spec, kind)
        check_files(spec, kind)
    from l2v.finetune.data import training_chats
    from l2v.finetune.train import finetune
    from l2v.steering.models import load_model
    from l2v.study.workers.bars import reading_bar
    from l2v.study.workers.directions import contrast_questions

    chats = training_chats(contrast_questions(config))
    loaded = load_model(spec, kind, pick_device(config.runtime.device))
    with reading_bar(config, f"fine-tuning {trained.name}", "step", passing=False) as tick:
        record = finetune(loaded, chats, settings, Path(chosen.out), tick)
    print(
        f"{chosen.out}: {trained.name} on {record['n']} texts, {record['steps']} steps, loss {record['loss_before']:.4f} -> "
        f"{record['loss_after']:.4f} nats a token"
    )
    return 0
