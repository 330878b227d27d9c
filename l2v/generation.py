"""What a checkpoint's generation config asks of answers that no study can give. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from l2v.errors import UserError

# Keys by which an answer would be searched for, ended or written otherwise than decoding.* says, with the values (beside null
# and false) that ask for nothing. Sampling and lengths are decoding.*'s own; penalties, suppressed and forbidden words are
# followed; what only makes an answer faster is left out (reference.py).
UNHEEDED: Mapping[str, tuple[object, ...]] = {
    "num_beams": (1,), "num_return_sequences": (1,), "penalty_alpha": (0,), "guidance_scale": (1,), "max_time": (),
    "stop_strings": ([], ""), "forced_eos_token_id": (), "watermarking_config": ({},), "dola_layers": ([],),
    "token_healing": (), "constraints": ([],), "force_words_ids": ([],),
    "cache_implementation": ("dynamic", "static", "hybrid", "sliding_window", "offloaded", "offloaded_static", "paged"),
}  # fmt: skip
# Keys that change which token is chosen and are followed, with the values that ask for nothing. forced_bos_token_id begins
# what has no prompt.
FOLLOWED: Mapping[str, tuple[object, ...]] = {
    "repetition_penalty": (1,), "encoder_repetition_penalty": (1,), "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,), "bad_words_ids": ([],), "min_length": (0,), "min_new_tokens": (0,),
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "sequence_bias": ([], {}),
    "exponential_decay_length_penalty": ([],),
}  # fmt: skip


def _number(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds or (int, float)) and not isinstance(value, bool)


def _ids(value: Any) -> bool:
    return isinstance(value, list) and all(_number(one, int) for one in value)


_ABOVE = ("a number above 0", lambda value: _number(value) and value > 0)
_WHOLE = ("a whole number of at least 0", lambda value: _number(value, int) and value >= 0)
_TOKENS = ("a list of tokens", _ids)
# What the values of FOLLOWED must be, for transformers finds it out question by question.
FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "repetition_penalty": _ABOVE, "encoder_repetition_penalty": _ABOVE,
    "no_repeat_ngram_size": _WHOLE, "encoder_no_repeat_ngram_size": _WHOLE, "min_length": _WHOLE, "min_new_tokens": _WHOLE,
    "suppress_tokens": _TOKENS, "begin_suppress_tokens": _TOKENS,
    "bad_words_ids": ("a list of lists of tokens", lambda value: isinstance(value, list) and all(map(_ids, value))),
    "sequence_bias": (
        "a list of pairs, tokens and a number",
        lambda value: isinstance(value, list) and all(len(one) == 2 and _ids(one[0]) and _number(one[1]) for one in value),
    ),
    "exponential_decay_length_penalty": (
        "a start and a factor", lambda value: isinstance(value, list) and len(value) == 2 and all(map(_number, value))
    ),
}  # fmt: skip


def check_generation(values: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a generation config under which the model's own answers would be others than the study's."""
    for key, (form, right) in FORMS.items():
        if (value := values.get(key)) not in (None, *FOLLOWED[key]) and not right(_plain(value)):
            raise UserError(
                f"The generation_config.json of '{where}' says {key}={_short(value)}, which must be {form}; get the checkpoint "
                "again."
            )
    for key, harmless in UNHEEDED.items():
        value = values.get(key)
        if value is not None and value is not False and value not in harmless:
            mend = "decoding.stop=…" if key == "stop_strings" else "decoding.…"
            raise UserError(
                f"The generation_config.json of '{where}' asks for {key}={str(value)[:40]}, and no answer is made so: take it "
                f"out of a copy of the checkpoint, and say by {mend} how answers are made."
            )


def check_choice(values: Mapping[str, Any], rows: int, where: str) -> None:
    """Raise UserError for a generation config that forbids every token of a model's, or all that end an answer.

    rows: how many tokens the model knows.
    """
    words = [one for one in values.get("bad_words_ids") or () if isinstance(one, (list, tuple)) and len(one) == 1]
    forbidden = {key: values.get(key) or () for key in ("suppress_tokens", "begin_suppress_tokens")}
    end = values.get("eos_token_id")
    ends = set(end if isinstance(end, list) else [] if end is None else [end])
    for key, never in {**forbidden, "bad_words_ids": [one[0] for one in words]}.items():
        if len(set(never) & set(range(rows))) == rows:
            did = "leaves no token to choose"
        elif ends and ends <= set(never) and key != "begin_suppress_tokens":
            did = f"forbids what ends an answer (eos_token_id={end})"
        else:
            continue
        raise UserError(f"The generation_config.json of '{where}' {did}, by {key}; take it out of a copy of the checkpoint.")


def check_room(values: Mapping[str, Any], most: int, where: str) -> None:
    """Raise UserError for a generation config whose least length is above the most tokens of an answer: none could end."""
    if (least := values.get("min_new_tokens") or 0) > most:
        raise UserError(
            f"The generation_config.json of '{where}' says min_new_tokens={least}, and an answer has at most {most}: none "
            "would ever end; set decoding.max_new_tokens higher, or take it out of a copy of the checkpoint."
        )


def followed(values: Mapping[str, Any], where: str) -> str:
    """A sentence on what a generation config changes of every answer, "" where it changes nothing."""
    asked = {key: values.get(key) for key, harmless in FOLLOWED.items() if values.get(key) not in (None, *harmless)}
    told = ", ".join(f"{key}={_short(value)}" for key, value in asked.items())
    return told and f"The generation_config.json of '{where}' changes which tokens are chosen: {told}."


def _plain(value: Any) -> Any:
    """Tuples and what transformers makes of them as JSON holds them."""
    if isinstance(value, dict):
        return [[list(words), bias] if isinstance(words, tuple) else words for words, bias in value.items()]
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    return f"{len(value)} entries" if isinstance(value, (list, tuple, dict)) and len(value) > 3 else str(value)[:60]
