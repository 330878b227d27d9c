"""What a checkpoint's generation config asks of answers that no study can give. No torch."""

from __future__ import annotations

from collections.abc import Mapping
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


def check_generation(values: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a generation config under which the model's own answers would be others than the study's."""
    for key, harmless in UNHEEDED.items():
        value = values.get(key)
        if value is not None and value is not False and value not in harmless:
            mend = "decoding.stop=…" if key == "stop_strings" else "decoding.…"
            raise UserError(
                f"The generation_config.json of '{where}' asks for {key}={str(value)[:40]}, and no answer is made so: take it "
                f"out of a copy of the checkpoint, and say by {mend} how answers are made."
            )


def followed(values: Mapping[str, Any], where: str) -> str:
    """A sentence on what a generation config changes of every answer, "" where it changes nothing."""
    asked = {key: values.get(key) for key, harmless in FOLLOWED.items() if values.get(key) not in (None, *harmless)}
    told = ", ".join(f"{key}={_short(value)}" for key, value in asked.items())
    return told and f"The generation_config.json of '{where}' changes which tokens are chosen: {told}."


def _short(value: Any) -> str:
    return f"{len(value)} entries" if isinstance(value, (list, tuple, dict)) and len(value) > 3 else str(value)[:60]
