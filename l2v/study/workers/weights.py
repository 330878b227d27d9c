"""Cells that change the target's weights: what is loaded for them, and the changes while they answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from weakref import ref

from l2v.config import Config, ModelConfig
from l2v.errors import UserError
from l2v.steering.mathneuro import mathneuro
from l2v.steering.merging import Merge, merge
from l2v.steering.models import LoadedModel, ModelSpec, load_model, release_memory
from l2v.steering.weights import weights_changed
from l2v.study.cells import Job
from l2v.study.model_files import check_declared, model_spec
from l2v.study.questions import check_planned
from l2v.study.workers.directions import answered, contrast_questions
from l2v.transfer.contrast import Chat
from l2v.transfer.extract import check_chats, format_chat


def target_spec(job: Job) -> ModelSpec:
    """What is loaded as the target: its own weights or, for a fine-tuned cell, the checkpoint."""
    spec = replace(model_spec(job.config.target), images=job.cell.target.images)
    weights = job.cell.weights
    return spec if weights is None or weights.checkpoint is None else replace(spec, path=job.config.method.weights.checkpoint)


@contextmanager
def changed(target: LoadedModel, job: Job) -> Iterator[None]:
    """The target with the weights of the job's cell; restored bit for bit when the block ends, however it ends.

    Raises UserError when the architectures of a merging differ, or there is nothing to calibrate with.
    """
    weights = job.cell.weights
    if weights is None or weights.kind == "checkpoint":
        yield
        return
    if weights.kind == "mathneuro":
        math, other = calibration(target, job.config)
        check_planned("contrast", job.config.contrast.path, job.cell.contrast)
        assert weights.share is not None and weights.factor is not None
        changes = mathneuro(target, math, other, weights.share, weights.factor, job.config.runtime.batch_tokens)
        with weights_changed(target, changes):
            yield
        return
    llm = load_model(model_spec(job.config.source), "text", "cpu")
    check_planned("source", job.config.source.path, job.cell.source)
    check_declared(job.config.source, llm.facts)
    base = None
    if weights.kind == "ties":
        base = load_model(spec := model_spec(base_model(job)), "text", "cpu")
        check_planned("method.weights.base", spec.path, weights.base)
    layers = None if weights.layers is None else (weights.layers[0], weights.layers[1])
    how = Merge(weights.kind, weights.share, layers)
    if weights.density is not None and weights.scale is not None:
        how = replace(how, density=weights.density, scale=weights.scale)
    with weights_changed(target, merge(target, llm, how, base)):
        dropped = [ref(one.model) for one in (llm, base) if one is not None]
        del llm, base
        release_memory(*dropped)
        yield


def base_model(job: Job) -> ModelConfig:
    """The LLM that target and source descend from, for TIES."""
    where, weights = job.config.method.weights.base, job.cell.weights
    assert where is not None and weights is not None
    found = ModelConfig(name=where, id=where, dtype=job.config.source.dtype)
    return (
        replace(found, path=where)
        if Path(where).is_dir()
        else replace(found, revision=None if weights.base == where else weights.base)
    )


def calibration(target: LoadedModel, config: Config) -> tuple[list[str], list[str]]:
    """MathNeuro's two sets, chat-formatted: the contrast's chains of thought, and its direct answers."""
    questions = answered(contrast_questions(config), config.contrast.name)
    if not questions:
        raise UserError("method=mathneuro calibrates on a contrast with both responses; choose another contrast=….")
    tokenizer = target.tokenizer
    math, other = [Chat(q.text, q.cot) for q in questions], [Chat(q.text, q.direct) for q in questions]
    check_chats(tokenizer, math + other)
    return [format_chat(tokenizer, chat) for chat in math], [format_chat(tokenizer, chat) for chat in other]
