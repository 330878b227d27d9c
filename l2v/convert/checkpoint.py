"""One conversion from beginning to end: layout read, every tensor checked, then tokenizer, shards, index and, last, config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2v.convert import internvl2, shards
from l2v.convert.processor import END, build_processor
from l2v.errors import UserError
from l2v.hub import bound_requests
from l2v.paths import from_home

if TYPE_CHECKING:
    import torch

# What is fetched of a hub id: no code.
FETCHED = ("*.json", "*.safetensors", "tokenizer.model", "merges.txt")


@dataclass(frozen=True)
class Converted:
    """What was done: tensors of the new checkpoint, shards written now and found from before."""

    out: Path
    tensors: int
    written: int
    kept: int


def fetch(model: str, revision: str | None) -> Path:
    """The folder of a checkpoint: `model` itself, or what the hub has under that id. Raises UserError when it has nothing."""
    folder = from_home(model)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    bound_requests()
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(FETCHED)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"'{model}' is no folder, and the hub did not give it ({type(error).__name__}); download it elsewhere and give "
            "model=FOLDER."
        ) from error


def convert(folder: Path, out: Path, say: Callable[[str], None] = print, limit: int = shards.SHARD_BYTES) -> Converted:
    """Rewrite the InternVL2 checkpoint in `folder` to `out` in transformers' format; what is there already is kept.

    `limit`: bytes of a shard. Raises UserError for a checkpoint that cannot be converted (before anything is written) and for
    an `out` that holds another one.
    """
    layout = internvl2.read_layout(folder)
    if out.resolve() == folder.resolve():
        raise UserError(f"out={out} is the checkpoint itself; choose another folder.")
    processor = build_processor(folder, layout)
    config = internvl2.native_config(layout, processor.image_token_id)
    planned = shards.plan(
        shards.source_files(folder),
        partial(internvl2.new_names, layout=layout),
        take := partial(internvl2.part_of, layout=layout),
        _expected(config),
        # One beside the embedding that it is tied to is kept: whether the two are equal is looked at when it is loaded.
        {"lm_head.weight"} if layout.tied else set(),
        limit,
    )
    out.mkdir(parents=True, exist_ok=True)
    strangers = {file.name for file in out.glob("*.safetensors")} - {shard.name for shard in planned}
    if strangers:
        raise UserError(f"out={out} holds {sorted(strangers)[0]}, which is not of this conversion; choose an empty folder.")
    written = 0
    for number, shard in enumerate(planned, start=1):
        mark = shards.provenance(shard, folder)
        if shards.written(out / shard.name, mark):
            continue
        # From here on the folder is unfinished again, whatever an earlier conversion left.
        (out / "config.json").unlink(missing_ok=True)
        shards.write_shard(shard, folder, out, take, mark)
        written += 1
        say(f"{shard.name}: {len(shard.moves)} tensors, {shard.size / 2**20:,.0f} MiB ({number} of {len(planned)})")
    (out / shards.INDEX).write_text(shards.index_of(planned), encoding="utf-8")
    _save_settings(config, processor, out)
    return Converted(out, sum(len(shard.moves) for shard in planned), written, len(planned) - written)


def _expected(config: Any) -> dict[str, torch.Size]:
    """The shape of every tensor of the converted model, without its memory."""
    import torch
    from transformers import InternVLForConditionalGeneration

    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
    return {name: parameter.shape for name, parameter in model.named_parameters(remove_duplicate=False)}


def _save_settings(config: Any, processor: Any, out: Path) -> None:
    """Processor and generation settings, and config.json last: a folder that has one is whole."""
    from transformers import GenerationConfig

    tokens = processor.tokenizer
    # As the authors' chat(): an answer ends with its turn; the language model's own end token ends it too.
    ends = sorted({tokens.convert_tokens_to_ids(END), tokens.eos_token_id} - {None})
    processor.save_pretrained(out)
    GenerationConfig(
        bos_token_id=tokens.bos_token_id, eos_token_id=ends, pad_token_id=tokens.pad_token_id, do_sample=False
    ).save_pretrained(out)
    config.save_pretrained(out)
