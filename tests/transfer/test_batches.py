"""Models whose states of a text change when a longer one stands beside it: they are read one text at a time, and it is said."""

from __future__ import annotations

from typing import Any

import families
import numpy as np
import pytest
import torch
import transformers

from l2v.steering.mathneuro import input_norms
from l2v.steering.models import LoadedModel, ModelSpec, decoder_layers
from l2v.transfer.contrast import Chat, Pair
from l2v.transfer.extract import Directions, extract

SHARED = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}


def paligemma(tokens: Any) -> Any:
    """Its prompt attends to itself in both directions, and so to padding."""
    text = {**SHARED, "vocab_size": len(tokens), "num_key_value_heads": 2, "head_dim": 8, "model_type": "gemma"}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 14,
        "patch_size": 7,
    }
    config = transformers.PaliGemmaConfig(text_config=text, vision_config=vision, image_token_index=4, projection_dim=32)
    return transformers.PaliGemmaForConditionalGeneration(config)


def phi3(tokens: Any) -> Any:
    """Its positions are scaled by other factors as soon as the longest text of a batch exceeds 32 tokens."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [9.0] * 4, "rope_type": "longrope", "rope_theta": 10000.0}
    config = transformers.Phi3Config(
        **SHARED, vocab_size=len(tokens), num_key_value_heads=2, pad_token_id=0, max_position_embeddings=128,
        original_max_position_embeddings=32, rope_parameters=factors,
    )  # fmt: skip
    return transformers.Phi3ForCausalLM(config)


def llama(tokens: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHARED, vocab_size=len(tokens), num_key_value_heads=2))


def read(model: Any, tokens: Any, batch_tokens: int) -> tuple[Directions, list[str]]:
    """Short answers beside chains of thought of up to 60 words."""
    rng, told = np.random.default_rng(0), []
    thoughts = [" ".join(f"w{i}" for i in rng.integers(0, 60, n)) for n in rng.integers(3, 60, 12)]
    pairs = [Pair(Chat(f"w{i}", thought), Chat(f"w{i}", "w1 w2")) for i, thought in enumerate(thoughts)]
    return extract(model, tokens, decoder_layers(model), pairs, batch_tokens=batch_tokens, tell=told.append), told


@pytest.mark.parametrize(("make", "alone"), [(paligemma, True), (phi3, True), (llama, False)])
def test_batches_change_nothing(make: Any, alone: bool) -> None:
    """States and norms are those of one text at a time; only where batches would change them are they given up."""
    tokens = families.tokenizer("<image>")
    torch.manual_seed(0)
    model = make(tokens).eval()
    (expected, _), (found, told) = read(model, tokens, 1), read(model, tokens, 16384)
    assert [("one at a time" in text) for text in told] == [True] * alone
    for name in ("mean", "trace", "mean_square", "activation_norm"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)
    # The trap is set: in batches the two models give something else.
    if alone:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("l2v.transfer.extract._Reader.may_batch", lambda *_: True)
            wrong, _ = read(model, tokens, 16384)
        assert min(torch.nn.functional.cosine_similarity(wrong.mean, expected.mean)) < 0.999


def test_calibration_norms_do_not_depend_on_the_batches() -> None:
    """MathNeuro's, by the same trap."""
    tokens = families.tokenizer("<image>")
    torch.manual_seed(0)
    model = phi3(tokens).eval()
    loaded = LoadedModel(ModelSpec("tests/phi3"), model, tokens, None, decoder_layers(model))
    tokens.padding_side = "left"
    texts = [" ".join(f"w{i % 60}" for i in range(n)) for n in (3, 9, 20, 50)]
    together, alone = input_norms(loaded, texts), [input_norms(loaded, [text]) for text in texts]
    for name, norms in together.items():
        torch.testing.assert_close(norms, sum(one[name] for one in alone), rtol=1e-4, atol=1e-4)
