"""Checkpoints from the hub are fetched once, before workers start: a hundred of them would ask for the same files at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from l2v.config import ModelConfig
from l2v.errors import UserError
from l2v.hub import bound_requests
from l2v.study.cells import Job
from l2v.study.plan import job_readings

# What loading needs; pickled weights are never fetched.
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]


def fetch_models(jobs: Sequence[Job], tell: Callable[[str], None]) -> list[tuple[Job, UserError]]:
    """Put the hub checkpoints that these jobs load into the hub's cache, which the workers must share.

    Local folders are left alone. Returns the jobs of which a checkpoint cannot be had, each with the reason.
    """
    reasons: dict[tuple[str, str | None, str | None], UserError | None] = {}
    lost = []
    for job in jobs:
        for model in _models(job):
            if (key := _key(model)) not in reasons:
                reasons[key] = _fetch(model)
        if error := next((e for model in _models(job) if (e := reasons[_key(model)])), None):
            lost.append((job, error))
    fetched = [key[0] for key, error in reasons.items() if error is None and key[2] is None]
    if fetched:
        tell(f"fetched for all workers: {', '.join(fetched)}")
    return lost


def _models(job: Job) -> list[ModelConfig]:
    """The models that a job loads."""
    roles = [reading.role for reading in job_readings(job.cell)]
    merged = job.cell.weights is not None and job.cell.source is not None
    return [job.config.target, *([job.config.source] if "source" in roles or merged else [])]


def _fetch(model: ModelConfig) -> UserError | None:
    """Download a model's files; None when they are there, else why they are not."""
    from huggingface_hub import snapshot_download

    if model.path is not None:
        return None
    bound_requests()
    code = ["*.py"] if model.trust_remote_code else []
    try:
        snapshot_download(model.id, revision=model.revision, allow_patterns=[*FILES, *code])
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return UserError(
            f"'{model.id}' could not be fetched for the workers ({type(error).__name__}: {reason}); check the hub, or "
            "give a local folder with …path=…"
        )
    return None


def _key(model: ModelConfig) -> tuple[str, str | None, str | None]:
    return model.id, model.revision, model.path
