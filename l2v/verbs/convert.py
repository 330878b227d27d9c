"""l2v convert: rewrite a checkpoint that transformers does not read into the format that it does; none of its code is run.

    l2v convert model=OpenGVLab/InternVL2-8B out=outputs/checkpoints/internvl2_8b
    l2v run target=internvl2_8b target.path=outputs/checkpoints/internvl2_8b …

What it knows: InternVL2 in its authors' layout, with an InternLM2, Qwen2 or Llama language model (1B, 2B, 8B, 26B, 40B, 76B;
not 4B, whose Phi-3 has no counterpart). Every tensor's name and shape is checked before anything is written. Shards are written
one by one, at most about shard_gb of memory twice over; interrupted, the same command goes on with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from l2v.errors import UserError


@dataclass(frozen=True)
class ConvertSettings:
    """`l2v convert`."""

    model: str | None = None  # folder of the original checkpoint, or its hub id
    revision: str | None = None  # the hub's commit; None: its newest
    out: str | None = None  # folder of the converted checkpoint, for target.path
    shard_gb: float = 2.0  # size of a file of weights


SETTINGS = ConvertSettings


def main(arguments: list[str]) -> int:
    """Convert one checkpoint and print its folder."""
    from l2v.verbs.settings import parse

    settings = parse(arguments, ConvertSettings)
    if settings.model is None or settings.out is None:
        raise UserError("`l2v convert` needs model=FOLDER (or a hub id) and out=FOLDER.")
    if not settings.shard_gb > 0:
        raise UserError(f"shard_gb={settings.shard_gb} must be above 0.")

    from l2v.convert.checkpoint import convert, fetch

    folder = fetch(settings.model, settings.revision)
    done = convert(folder, Path(settings.out).expanduser(), limit=int(settings.shard_gb * 2**30))
    files = done.written + done.kept
    print(f"{done.out}: {done.tensors} tensors in {files} files ({done.kept} were there); use it with target.path={done.out}")
    return 0
