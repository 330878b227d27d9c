"""Checkpoints from the hub are fetched once, before workers start: a hundred of them would ask for the same files at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from l2v.config import ModelConfig
from l2v.errors import UserError
from l2v.study.cells import Job
from l2v.study.plan import readings

# What loading needs; pickled weights are never fetched.
FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]


def fetch_models(jobs: Sequence[Job], tell: Callable[[str], None]) -> list[str]:
    """Put the hub checkpoints that these jobs load into the hub's cache, which the workers must share; returns their ids.

    Local folders are left alone. Raises UserError when the hub or a checkpoint cannot be reached.
    """
    from huggingface_hub import snapshot_download

    wanted = {_key(job.config.target): job.config.target for job in jobs}
    for reading, job in readings(jobs).values():
        model = job.config.source if reading.role == "source" else job.config.target
        wanted[_key(model)] = model
    for job in jobs:
        if job.cell.weights is not None and job.cell.source is not None:
            wanted[_key(job.config.source)] = job.config.source
    fetched = []
    for model in wanted.values():
        if model.path is not None:
            continue
        try:
            code = ["*.py"] if model.trust_remote_code else []
            snapshot_download(model.id, revision=model.revision, allow_patterns=[*FILES, *code])
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"'{model.id}' could not be fetched for the workers ({type(error).__name__}: {reason}); check the hub, or "
                "give a local folder with …path=…"
            ) from error
        fetched.append(model.id)
    if fetched:
        tell(f"fetched for all workers: {', '.join(fetched)}")
    return fetched


def _key(model: ModelConfig) -> tuple[str, str | None, str | None]:
    return model.id, model.revision, model.path
