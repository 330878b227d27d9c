"""What a checkpoint's JSON files say of numbers that no model can have, and where two of them say different things. No torch.

transformers takes them without a word, or with a warning, and computes another model or pictures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from l2v.errors import UserError
from l2v.tensors import json_object

AGAIN = "get the checkpoint again"
# Numbers that must be above 0, lists of blocks, and lists of a number for each rotary frequency.
POSITIVE = ("rms_norm_eps", "layer_norm_eps", "rope_theta", "sliding_window", "query_pre_attn_scalar")
# What is added to a variance; those of published models lie between 1e-12 and 1e-5.
EPS = re.compile(r"norm_eps(ilon)?$")
MOST_EPS = 1e-2
PLACES = ("fullatt_block_indexes", "deepstack_visual_indexes", "cross_attention_layers", "intermediate_layers_indices")
# What every word has that is a mark and no text.
MARKS = re.compile(r"[<\[|]")
STRETCHES = ("short_factor", "long_factor")


def check_numbers_of(config: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a number in a config.json, or in a part of it, that makes another model than any that was trained."""
    for part in _parts(config):
        numbers = {key: value for key, value in part.items() if _number(value)}
        for key, value in numbers.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise _wrong(where, key, value, "a finite number")
        for key in POSITIVE:
            unused = key == "sliding_window" and part.get("use_sliding_window") is False
            if numbers.get(key, 1) <= 0 and not unused:
                raise _wrong(where, key, part[key], "above 0")
        for key in filter(EPS.search, numbers):
            if numbers[key] > MOST_EPS:
                raise _wrong(where, key, part[key], f"at most {MOST_EPS}, for it only keeps a division from failing")
        if part.keys() & {"rope_type", "type"} and numbers.get("factor", 1) < 1:
            raise _wrong(where, "factor", part["factor"], "at least 1, for it stretches positions")
        depth = numbers.get("depth", numbers.get("num_hidden_layers", math.inf))
        for key in PLACES:
            blocks = part.get(key)
            if isinstance(blocks, list) and any(_number(n) and not 0 <= n < depth for n in blocks):
                raise _wrong(where, key, part[key], f"blocks from 0 to {depth - 1}")
        least = numbers.get("patch_size", 0) * numbers.get("spatial_merge_size", 0)
        if numbers.get("window_size", least) < least:
            raise _wrong(where, "window_size", part["window_size"], f"at least {least}, a merged patch")
        _check_stretches(part, numbers, where)
        _check_turns(part, where)


def _check_turns(part: Mapping[str, Any], where: str) -> None:
    """Rotary settings of an older form beside those of the newer must be the same: which are read is told nowhere."""
    new, old = part.get("rope_parameters"), part.get("rope_scaling")
    if not isinstance(new, dict):
        return
    if isinstance(kinds := new.get("full_attention"), dict):  # Gemma 3, which turns its sliding blocks in another way
        sliding, base = new.get("sliding_attention") or {}, part.get("rope_local_base_freq")
        if base is not None and sliding.get("rope_theta", base) != base:
            raise _two_turns(where, "rope_local_base_freq", base, sliding["rope_theta"])
        new = kinds
    older = {key: value for key, value in (old if isinstance(old, dict) else {}).items() if value != "mrope"}
    older |= {"rope_theta": part["rope_theta"]} if "rope_theta" in part else {}
    older |= {"rope_type": older.pop("type")} if "type" in older else {}
    for key, value in older.items():
        if value is not None and new.get(key, value) != value:
            raise _two_turns(where, key, value, new[key])


def _two_turns(where: str, key: str, one: Any, other: Any) -> UserError:
    return UserError(
        f"The config.json of '{where}' says {key}={str(one)[:40]} of its rotary positions, and {str(other)[:40]} in "
        "rope_parameters; delete the one or the other."
    )


def _check_stretches(part: Mapping[str, Any], numbers: Mapping[str, Any], where: str) -> None:
    """Factors of single frequencies must be as many as a head has frequencies; one alone would stretch all of them."""
    rope, size = part.get("rope_parameters") or part.get("rope_scaling"), numbers.get("head_dim")
    if size is None and numbers.get("num_attention_heads", 0) > 0 and "hidden_size" in numbers:
        size = numbers["hidden_size"] // numbers["num_attention_heads"]
    if not isinstance(rope, dict) or size is None:
        return
    wanted = int(size * (rope.get("partial_rotary_factor") or numbers.get("partial_rotary_factor") or 1)) // 2
    for key in STRETCHES:
        if isinstance(value := rope.get(key), list) and len(value) != wanted:
            raise _wrong(where, key, f"{len(value)} numbers", f"{wanted}, one for each frequency of a head")


def _parts(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield values
    for value in values.values():
        if isinstance(value, dict):
            yield from _parts(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wrong(where: str, key: str, value: Any, must: str) -> UserError:
    return UserError(f"The config.json of '{where}' says {key}={str(value)[:60]}, which must be {must}; {AGAIN}.")


def check_two_processors(folder: Path) -> None:
    """Raise UserError where processor_config.json and preprocessor_config.json set pictures differently: one of them is not
    read, and nobody who changes that one would notice."""
    files = [folder / name for name in ("processor_config.json", "preprocessor_config.json")]
    read, other = (json_object(file) if file.is_file() else {} for file in files)
    images: Any = read.get("image_processor")
    own: Mapping[str, Any] = images if isinstance(images, dict) else {}
    for key, value in own.items():
        if key in other and _differ(value, theirs := other[key]):
            raise UserError(
                f"'{folder}' sets pictures twice, {key}={str(value)[:40]} in {files[0].name} and {str(theirs)[:40]} in "
                f"{files[1].name}; delete the one or the other."
            )


def check_areas(folder: Path) -> None:
    """Raise UserError where min_pixels or max_pixels, the older spelling of the area of Qwen-VL's pictures, which is read where
    both are there, differs from the size beside it."""
    for name, part in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        told: Any = json_object(folder / name) if (folder / name).is_file() else {}
        settings = told if part is None else told.get(part)
        size: Any = settings.get("size") if isinstance(settings, dict) else None
        for older, newer in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
            for key in (newer, older) if isinstance(size, dict) else ():
                if _number(one := settings.get(older)) and _number(other := size.get(key)) and one != other:
                    what = f"'{folder / name}' says {older}={one} of the area of pictures, and {key}={other} in size"
                    raise UserError(f"{what}; delete the one or the other.")


def _differ(one: Any, other: Any) -> bool:
    """Whether two files mean other pictures: a size may be a number or an object, and its keys have changed over the years, as
    names of classes have."""
    if isinstance(one, str) or isinstance(other, str) or None in (one, other):
        return False
    renamed = isinstance(one, dict) and isinstance(other, dict) and not one.keys() & other.keys()
    return _numbers(one) != _numbers(other) if renamed or type(one) is not type(other) else bool(one != other)


def _numbers(value: Any) -> set[float]:
    """Numbers of a setting, whatever they are called; those that stand for nothing are left out."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return {float(one) for one in inner if isinstance(one, (int, float))}


def check_two_templates(folder: Path) -> None:
    """Raise UserError for a template in chat_template.json or processor_config.json beside another chat_template.jinja: a
    processor reads the older one."""
    newer = folder / "chat_template.jinja"
    for older in (folder / "chat_template.json", folder / "processor_config.json") if newer.is_file() else ():
        told = json_object(older).get("chat_template") if older.is_file() else None
        if told is not None and str(told).strip().encode() != newer.read_bytes().strip():
            raise UserError(
                f"'{folder}' holds two chat templates that differ, {older.name} and {newer.name}; delete the one or the other."
            )


def check_vocabulary(folder: Path) -> None:
    """Raise UserError where a tokenizer's files, or two entries of one, give a word two numbers or a number to two words, or
    disagree on what begins and ends a text: one of them is another model's, and which is read is told nowhere. So for a
    setting that makes a mark of an ordinary word. What is no such file at all, loading tells."""
    if (file := folder / "tokenizer.json").is_file():
        with suppress(KeyError, TypeError, AttributeError, ValueError):
            _check_words(file, core := json_object(file))
            _check_named(folder, core)


def _check_named(folder: Path, core: Mapping[str, Any]) -> None:
    """The marks that settings name: special_tokens_map.json goes before tokenizer_config.json where that lists no added tokens,
    as transformers 5 writes it. One that is an ordinary word would be cut out of answers, and texts be cut at it."""
    files = [folder / "tokenizer_config.json", folder / "special_tokens_map.json"]
    read, older = (json_object(file) if file.is_file() else {} for file in files)
    if "added_tokens_decoder" in read:
        older = {}
    for key in ("bos_token", "eos_token", "unk_token"):
        if (one := _word(read.get(key))) and (other := _word(older.get(key))) and one != other:
            raise UserError(
                f"'{folder}' names two words as {key}, '{one}' in {files[0].name} and '{other}' in {files[1].name}; delete the "
                "one or the other."
            )
    vocabulary = (core.get("model") or {}).get("vocab") or ()
    words = set(vocabulary) if isinstance(vocabulary, dict) else {piece[0] for piece in vocabulary}
    known = {word for _, added in _added(folder, core) for _, word in added}
    for file, settings in zip(files, (read, older), strict=True):
        named = [(key, value) for key, value in settings.items() if key.endswith("_token")]
        for key in ("extra_special_tokens", "additional_special_tokens"):
            more = settings.get(key) or ()
            named += [(key, value) for value in (more.values() if isinstance(more, dict) else more)]
        for key, value in named:
            word = _word(value)
            if word in words - known and not MARKS.search(word):
                raise UserError(f"'{file}' names '{word}' as {key}, and it is a word like others of its vocabulary; {AGAIN}.")


def _word(value: Any) -> str:
    """A token as settings write it, "" for none."""
    return str(value.get("content", "") if isinstance(value, dict) else value) if isinstance(value, (str, dict)) else ""


def _check_words(file: Path, core: Mapping[str, Any]) -> None:
    held = (core.get("model") or {}).get("vocab")
    numbers = held if isinstance(held, dict) else {}
    words = {number: word for word, number in numbers.items()}
    if len(words) < len(numbers):
        word = next(word for word, number in numbers.items() if words[number] != word)
        raise _two_words(file, numbers[word], word, words[numbers[word]])
    for place, added in _added(file.parent, core):
        for number, word in added:
            if words.setdefault(number, word) != word:
                raise _two_words(place, number, word, words[number])
            if numbers.setdefault(word, number) != number:
                raise UserError(f"'{place}' gives '{word}' the number {number}, and {file.name} {numbers[word]}; {AGAIN}.")


def _added(folder: Path, core: Mapping[str, Any]) -> Iterator[tuple[Path, list[tuple[int, str]]]]:
    """The words that each file of a tokenizer adds to its vocabulary, with their numbers."""
    yield folder / "tokenizer.json", [(one["id"], one["content"]) for one in core.get("added_tokens") or ()]
    if (file := folder / "added_tokens.json").is_file():
        yield file, [(number, word) for word, number in json_object(file).items()]
    if (file := folder / "tokenizer_config.json").is_file():
        told = json_object(file).get("added_tokens_decoder") or {}
        yield file, [(int(number), str(one["content"])) for number, one in told.items()]


def _two_words(file: Path, number: int, one: str, other: str) -> UserError:
    return UserError(f"'{file}' gives the number {number} to '{one}', and it is that of '{other}', too; {AGAIN}.")
