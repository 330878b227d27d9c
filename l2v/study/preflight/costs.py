"""Memory and hours on a named card, from sizes alone: an estimate to plan by, no measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from l2v.errors import unknown

if TYPE_CHECKING:
    from l2v.study.preflight.checkpoints import Checkpoint


@dataclass(frozen=True)
class Card:
    """A card by its data sheet: memory in GB, dense bfloat16 in TFLOP/s, memory bandwidth in GB/s."""

    memory: float
    tflops: float
    bandwidth: float


# From the makers' data sheets.
CARDS = {
    "rtx3090": Card(24, 71, 936),
    "rtx4090": Card(24, 165, 1008),
    "a6000": Card(48, 155, 768),
    "l40s": Card(48, 362, 864),
    "a100_40gb": Card(40, 312, 1555),
    "a100": Card(80, 312, 2039),
    "h100": Card(80, 989, 3350),
    "h200": Card(141, 989, 4800),
}
# The share of a data sheet's figures that is taken to be reached, and the share of memory that may be filled.
COMPUTING, READING, FILLED = 0.4, 0.6, 0.9
BYTES = {"4bit": 0.55, "8bit": 1.05, "float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@dataclass(frozen=True)
class Cost:
    """weights: GB. rows: how many rows fit beside them at once, 0 where the weights do not. hours: of the card."""

    weights: float
    rows: int
    hours: float


def card(name: str) -> Card:
    """A card by its name. Raises UserError for one that is not in the table."""
    if name not in CARDS:
        raise unknown("card", name, CARDS)
    return CARDS[name]


def weights_gb(found: Checkpoint) -> float:
    """GB of a checkpoint's weights as its spec loads them."""
    spec = found.spec
    dtype = (
        spec.dtype if spec.dtype != "auto" else str(getattr(found.config, "dtype", None) or "float32").removeprefix("torch.")
    )
    return found.parameters * BYTES.get(spec.quantization or dtype, 2.0) / 1e9


def answering(found: Checkpoint, on: Card, rows: float, prompt: float, answer: float, most: int) -> Cost:
    """Of `rows` answers of `answer` tokens to prompts of `prompt` tokens; at most `most` rows at once."""
    weights = weights_gb(found)
    free = on.memory * FILLED - weights
    at_once = min(most, int(free * 1e9 / (_cached_bytes(found.config) * (prompt + answer)))) if free > 0 else 0
    if at_once < 1:
        return Cost(weights, 0, 0.0)
    per_token = 2 * found.parameters / (on.tflops * 1e12 * COMPUTING)
    step = max(weights / (on.bandwidth * READING), at_once * per_token)
    seconds = rows * prompt * per_token + rows / at_once * answer * step
    return Cost(weights, at_once, seconds / 3600)


def reading(found: Checkpoint, on: Card, tokens: float) -> Cost:
    """Of reading texts of so many tokens."""
    weights = weights_gb(found)
    hours = tokens * 2 * found.parameters / (on.tflops * 1e12 * COMPUTING) / 3600
    return Cost(weights, int(weights < on.memory * FILLED), hours)


def _cached_bytes(config: Any) -> float:
    """Bytes of keys and values per token, in 16 bits."""
    text = config.get_text_config()
    heads = int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads)
    size = int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    return 2.0 * int(text.num_hidden_layers) * heads * size * 2
