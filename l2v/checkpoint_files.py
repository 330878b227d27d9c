"""What the files of a checkpoint's folder tell: settings and vocabulary there, weights whole and as its config says. No torch.

Of a hub's id its cache is looked at, once it is filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from l2v.checkpoint import ModelSpec, check_whole, text_config
from l2v.errors import UserError
from l2v.generation import check_generation
from l2v.hub import cached_folder, noted
from l2v.sizes import check_areas, check_numbers_of, check_two_processors, check_two_templates, check_vocabulary
from l2v.tensors import check_depth, check_numbers, check_width, json_object, tensors_of

# Files of which a checkpoint has one.
VOCABULARIES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip
PROCESSORS = ("processor_config.json", "preprocessor_config.json")


def check_files(spec: ModelSpec, kind: str) -> None:
    """What the files of a local checkpoint tell: whether tokenizer and, for `kind` "vision", processor are there; whether its
    safetensors are all there and whole, hold what the index says, keep weights as floating-point numbers, and fit the depth
    and width of the config.

    Raises UserError, naming file and tensor. Nothing is checked of a hub id, or of code of its own: loading will say why.
    """
    if spec.path is None or spec.trust_remote_code:
        return
    folder = Path(spec.where())
    # Of an id of the hub it is for its owners to mend.
    check_vocabulary(folder)
    if kind == "vision":
        check_two_templates(folder)
        check_areas(folder)
    _check_folder(folder, kind)


def _check_folder(folder: Path, kind: str) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        _check_weightless(folder)
        return
    _check_settings(folder, kind)
    _check_revisions(folder)
    told = [(file, file.stat()) for file in (*files, *sorted(folder.glob("*.json"))) if file.is_file()]
    _checked(str(folder), tuple((str(file), stand.st_size, stand.st_mtime_ns) for file, stand in told))


def check_cached(spec: ModelSpec, kind: str, weights: bool = True) -> None:
    """As `check_whole` and `check_files`, of what the hub's cache holds of an id after a load; without weights, of the rest."""
    if spec.path is not None or spec.trust_remote_code:
        return
    if (folder := cached_folder(spec.id, spec.revision)) is not None:
        check_whole(replace(spec, path=str(folder)))
        _check_settings(folder, kind)
        if weights:
            _check_folder(folder, kind)


def _check_settings(folder: Path, kind: str) -> None:
    """What is in the JSON files of a folder."""
    # Without its settings a tokenizer is made up by the model's type, and splits words in another way.
    _needed(folder, ("tokenizer_config.json",), "the settings of its tokenizer")
    _needed(folder, VOCABULARIES, "the vocabulary of its tokenizer")
    if kind == "vision":
        _needed(folder, PROCESSORS, "the settings of its processor, without which it takes no pictures")
    if (ends := folder / "generation_config.json").is_file():
        check_generation(json_object(ends), str(folder))  # transformers takes one that it cannot read for none
    check_numbers_of(json_object(folder / "config.json"), str(folder))
    check_two_processors(folder)


def _check_revisions(folder: Path) -> None:
    """Raise UserError for weights that came from two commits of the hub, as a second download that broke off leaves them: names
    and shapes are the same in both."""
    files = {noted(file)[0]: file.name for file in sorted(folder.glob("model*.safetensors"))}
    found = [(commit, name) for commit, name in files.items() if commit]
    if len(found) > 1:
        (first, one), (second, other) = found[:2]
        raise UserError(
            f"The weights in '{folder}' are of two revisions of the hub, {one} of {first[:7]} and {other} of {second[:7]}; "
            "repeat `hf download` of the whole checkpoint there, which fetches what differs."
        )


def _check_weightless(folder: Path) -> None:
    """What is wrong with a folder without safetensors; of one that brings code, loading tells first that it does."""
    if "auto_map" in json_object(folder / "config.json"):
        return
    if any(folder.glob("*.bin")):
        raise UserError(
            f"'{folder}' holds its weights as pickled files (*.bin) alone, which are never read, for they may run code; "
            "take a revision with *.safetensors, or write the folder anew with save_pretrained where you trust it."
        )
    raise UserError(f"'{folder}' holds no *.safetensors, the only weights that are read; copy or download it again.")


def _needed(folder: Path, names: Sequence[str], what: str) -> None:
    """Raise UserError unless one of these files is in the folder, and those that are JSON can be read."""
    there = [folder / name for name in names if (folder / name).is_file()]
    if not there:
        raise UserError(f"'{folder}' lacks {what} ({' or '.join(names[:2])}); copy or download the checkpoint again.")
    for file in there:
        if file.suffix == ".json" and file.name in ("tokenizer_config.json", *PROCESSORS):
            json_object(file)


@lru_cache(maxsize=64)
def _checked(folder: str, _stands: tuple[tuple[str, int, int], ...]) -> None:
    place = Path(folder)
    config = json_object(place / "config.json")
    tensors = tensors_of(place)
    text = text_config(config)
    quantized = config.get("quantization_config") or text.get("quantization_config")
    check_numbers(folder, tensors, quantized)
    if isinstance(text.get("hidden_size"), int) and not quantized and "word_embed_proj_dim" not in {*config, *text}:
        check_width(folder, tensors, text["hidden_size"])
    if isinstance(text.get("num_hidden_layers"), int):
        check_depth(folder, tensors, text["num_hidden_layers"])
