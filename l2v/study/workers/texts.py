"""Texts that the source writes and both models read: the paper's Figures 1 and 2b.

The source answers every question under the two instructions; what it wrote is kept as contrast data of its own, from which
any model's states can be read, and found again by the identity of who wrote what.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from weakref import ref

from l2v.config import ColumnsConfig, Config
from l2v.disk import read_bytes, whole_lines, write_atomically
from l2v.errors import UserError
from l2v.identity import digest
from l2v.study.digests import has_check, open_lines, sealed_line, tell_once
from l2v.study.model_files import model_spec
from l2v.study.resolve import contrast_id, model_id
from l2v.transfer.contrast import load_questions


def written_by_source(config: Config, device: str, say: Callable[[str], None]) -> Config:
    """A configuration with `contrast.kind=generated` as one of response pairs, written by its source; kept in the cache.

    Pairs of which a response is empty are left out, and told. Raises UserError where none is left.
    """
    contrast = contrast_id(config.contrast)
    name = digest({"writer": asdict(model_id(config.source, "source")), "contrast": contrast.identity()})
    path = Path(config.runtime.outputs) / "cache" / "texts" / f"{name}.jsonl"
    fault = fault_of(path)
    if fault and path.exists():
        tell_once(f"{path} {fault}; its texts are written again.")
    if fault:
        _write(config, path, device, say)
    left = load_questions(str(path))
    read = copy.deepcopy(config)
    read.contrast.name = f"{config.contrast.name}, written by {config.source.name}"
    read.contrast.kind, read.contrast.path, read.contrast.revision = "response_pairs", str(path), None
    read.contrast.columns, read.contrast.domains, read.contrast.per_domain = ColumnsConfig(), [], None
    if not any(question.cot and question.direct for question in left):
        raise UserError(f"'{config.source.name}' answered no question under both instructions ({path}); choose another source.")
    return read


def fault_of(path: Path) -> str:
    """What is wrong with texts: a line that is not as it was written, or none in its place. "" where they are whole.

    Each line names its place and how many there are. Raises UserError for what cannot be read, such as a folder.
    """
    data = read_bytes(path)
    rows = open_lines(data, path.stem)
    if data and not any(map(has_check, whole_lines(data))):
        return "was written by a version without checks"
    whole = data.endswith(b"\n") and [row and row["id"] for row in rows] == [f"{i}/{len(rows)}" for i in range(len(rows))]
    return "" if whole else "is damaged"


def check_texts(path: Path) -> None:
    """Raise UserError for texts that are not whole."""
    if fault := fault_of(path):
        raise UserError(f"{path} {fault}; delete it, and the next `l2v analyze` writes its texts again.")


def _write(config: Config, path: Path, device: str, say: Callable[[str], None]) -> None:
    """Let the source answer; interrupted, the answers that are there are kept."""
    from l2v.steering.models import load_model, release_memory
    from l2v.study.workers.directions import contrast_pairs, contrast_questions

    questions = contrast_questions(config)
    loaded = load_model(model_spec(config.source), "text", device)
    pairs = contrast_pairs(loaded, config, questions, path.with_suffix(".part") / "responses.jsonl")
    model = ref(loaded.model)
    del loaded
    release_memory(model)
    rows = [
        {"question": pair.cot.user, "domain": question.domain, "cot": pair.cot.assistant, "direct": pair.direct.assistant}
        for pair, question in zip(pairs, questions, strict=True)
    ]
    whole = [row for row in rows if row["cot"] and row["direct"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (sealed_line({"id": f"{place}/{len(whole)}"} | row, path.stem) for place, row in enumerate(whole))
    write_atomically(path, "".join(lines), sync=True)
    lost = len(rows) - len(whole)
    say(f"texts written by {config.source.name}: {len(whole)} pairs, {lost} without an answer left out ({path})")
