"""What a configuration's models are loaded from, and what their files tell before anything is loaded."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from l2v.checkpoint import ModelFacts, ModelSpec, check_kind, model_type, read_facts, target_kind
from l2v.checkpoint_files import check_files
from l2v.config import Config, ModelConfig, taken
from l2v.errors import UserError, unknown
from l2v.generation import followed
from l2v.identity import fingerprint
from l2v.study.cells import WEIGHT_METHODS
from l2v.tensors import json_object
from l2v.transfer.arms import ARMS

MERGINGS = ("linear", "layer_swap", "ties")
KINDS = ("vision", "text")


def check_models(config: Config) -> None:
    """What the files of local checkpoints tell before anything is loaded. Raises UserError for a model that cannot serve.

    Of the target (its fine-tuned checkpoint in its place), and of the source where the method reads or merges it.
    """
    weights, method = config.method.weights, config.method.name
    tuned = weights.checkpoint if method in WEIGHT_METHODS and weights.kind == "checkpoint" else None
    _check_checkpoint(replace(model_spec(config.target), path=tuned or config.target.path), kind_of_target(config.target))
    if tuned is not None and Path(tuned).is_dir():
        _check_tuned(config.target, tuned)
    arm = ARMS.get(method)
    merged = method in WEIGHT_METHODS and weights.kind in MERGINGS
    if merged or (arm is not None and arm.reads == "source"):
        _check_checkpoint(model_spec(config.source), "text")
    if merged and weights.kind == "ties" and weights.base and Path(weights.base).is_dir():
        _check_checkpoint(ModelSpec(weights.base, path=weights.base), "text")


def _check_tuned(target: ModelConfig, folder: str) -> None:
    """A fine-tuned checkpoint answers as the target, so it must be the same model by kind, depth and width."""
    own, tuned = model_spec(target), replace(model_spec(target), path=folder)
    facts = [model_facts(target), read_facts(tuned)]
    kinds = [model_type(own), model_type(tuned)] if target.path is not None else ["", ""]
    if facts[0] != facts[1] or kinds[0] != kinds[1]:
        ours, theirs = (f"{kind} {fact.layers} x {fact.width}".strip() for kind, fact in zip(kinds, facts, strict=True))
        raise UserError(
            f"method.weights.checkpoint '{folder}' is no fine-tuned '{target.name}' ({theirs} instead of {ours}); choose one "
            "that was made from this target."
        )


def _check_checkpoint(spec: ModelSpec, kind: str) -> None:
    if spec.path is not None and Path(spec.path).is_dir():
        _checked(spec, kind, fingerprint(spec.path))


@lru_cache(maxsize=256)
def _checked(spec: ModelSpec, kind: str, _content: str) -> None:
    """Once for a folder's content, however many cells load it."""
    check_kind(spec, kind)
    check_files(spec, kind)


def answers_changed(config: ModelConfig) -> str:
    """What a local checkpoint's generation config changes of answers, in a sentence; "" where it changes nothing."""
    file = Path(config.path or "") / "generation_config.json"
    return followed(json_object(file), str(config.path)) if config.path and file.is_file() else ""


def model_spec(config: ModelConfig) -> ModelSpec:
    return taken(ModelSpec, config)


def kind_of_target(config: ModelConfig) -> str:
    """What a target is loaded as: vision or text. Raises UserError for another word."""
    if config.kind not in (None, *KINDS):
        raise unknown("target.kind", str(config.kind), KINDS)
    return config.kind or target_kind(model_spec(config))


def reader(config: Config, role: str) -> tuple[ModelSpec, str]:
    """What a model that texts are read with is loaded from, and as what kind; role: "source" or "target"."""
    if role == "source":
        return model_spec(config.source), "text"
    return model_spec(config.target), kind_of_target(config.target)


def model_facts(config: ModelConfig) -> ModelFacts:
    """Depth and width: as declared in the YAML, else from the model's own config; whether they are so is told by its load."""
    if config.layers is not None and config.width is not None:
        return ModelFacts(config.layers, config.width)
    return read_facts(model_spec(config))


def check_declared(config: ModelConfig, facts: ModelFacts) -> None:
    """Raise UserError unless a model has the depth and width that its YAML or the command line declares."""
    declared = ModelFacts(config.layers or facts.layers, config.width or facts.width)
    if declared != facts:
        raise UserError(
            f"layers and width of '{config.name}' say {declared.layers} x {declared.width}, the checkpoint has "
            f"{facts.layers} x {facts.width}; leave them out (target.layers=null target.width=null, "
            "or source.…), or mend its YAML."
        )
