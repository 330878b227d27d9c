"""Which questions a configuration asks: their identity, and where they are read from. No model is needed for either."""

from __future__ import annotations

from pathlib import Path

from l2v.benchmarks.catalogue import ANY_TASK, OUTSIDE, TASKS, DataRef, benchmark_names
from l2v.benchmarks.parts import Part, check_part
from l2v.config import BenchmarkConfig, ContrastConfig, ModelConfig, NeutralConfig, taken
from l2v.errors import UserError, unknown
from l2v.hub import commit_of
from l2v.identity import fingerprint
from l2v.study.cells import BenchmarkId, ContrastId, ModelId, NeutralId


def benchmark_id(config: BenchmarkConfig, prompt: str | None) -> BenchmarkId:
    """The identity of the questions. Raises UserError for a limit below 1 or a missing path."""
    if not any(config.name in known for known in (TASKS, (ANY_TASK,), OUTSIDE)):
        raise unknown("benchmark.name", config.name, benchmark_names())
    if config.name != ANY_TASK and (config.task or config.num_fewshot is not None or config.include_path):
        raise UserError("benchmark.task, num_fewshot and include_path belong to benchmark=lm_eval.")
    revision = _task_revision(config) if config.name == ANY_TASK else pinned(config, "benchmark.path")
    return taken(BenchmarkId, config, revision=revision, prompt=prompt or config.prompt, part=part_of(config))


def part_of(config: BenchmarkConfig) -> Part | None:
    """The part of the split that a configuration names. Raises UserError for an unknown one or a share out of range."""
    if config.part is None:
        return None
    part = Part(config.part, float(config.part_share), config.part_seed, config.part_first, config.part_last)
    check_part(part)
    return part


def data_ref(config: BenchmarkConfig) -> DataRef:
    """Where the questions of a configuration are read from."""
    return taken(DataRef, config)


def _task_revision(config: BenchmarkConfig) -> str:
    """The identity of an lm-eval task's questions: its versions, and the content of local data and task files."""
    from l2v.benchmarks.lm_tasks import open_task

    parts = [open_task(data_ref(config)).revision]
    for key in ("path", "include_path"):
        local = getattr(config, key)
        if local is not None:
            parts.append(data_revision(local, None, f"benchmark.{key}"))
    return "; ".join(parts)


def pinned(config: ModelConfig | ContrastConfig | NeutralConfig | BenchmarkConfig, key: str, mend: str = "") -> str:
    """The identity of what a configuration reads; a branch of the hub becomes its commit there, in place, until all is read.

    Raises UserError as `data_revision`.
    """
    if config.path is None:
        kind = "model" if isinstance(config, ModelConfig) else "dataset"
        config.revision = commit_of(kind, config.id, config.revision) or config.revision
    return data_revision(config.path, config.revision, key, mend)


def check_planned(role: str, path: str | None, planned: ModelId | ContrastId | NeutralId | str | None) -> None:
    """Raise UserError where what was just read from `path` is no more what its cells were planned with."""
    known = planned if isinstance(planned, str) or planned is None else planned.revision
    if path is not None and (now := data_revision(path, None, f"{role}.path")) != known:
        raise UserError(
            f"{path} is no more the {role} that this was planned with ({known}, now {now}): it was replaced meanwhile; repeat "
            "the command, which plans anew."
        )


def data_revision(path: str | None, revision: str | None, key: str, mend: str = "") -> str:
    """The fingerprint of what lies at `path`, else the hub's revision.

    Raises UserError for a missing path or an empty folder, naming `key` and, where it is given, the `mend`.
    """
    if path is None:
        return revision or "main"
    place, mended = Path(path), mend or "mend its path"
    try:
        if place.is_dir() and not any(place.iterdir()):
            raise UserError(f"{key} '{path}' is an empty folder; give the file, or a folder that holds it.")
        if not place.is_dir() and not place.is_file():
            what = "is neither a file nor a folder" if place.exists() else "does not exist"
            raise UserError(f"{key} '{path}' {what}; {mended}.")
        if key == "benchmark.path":
            from l2v.benchmarks.data import rows_fingerprint

            return rows_fingerprint(path)
        return fingerprint(path)
    except OSError as error:
        raise UserError(f"{key} '{path}' cannot be read ({error.strerror}); {mended}, or get the right to it.") from error
