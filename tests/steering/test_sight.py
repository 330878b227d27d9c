"""A target whose answers do not depend on the picture: damaged weights, or a picture that never reaches it."""

from __future__ import annotations

from pathlib import Path

import families
import pytest
import torch
from safetensors.torch import load_file, save_file

from l2v.checkpoint import ModelSpec
from l2v.errors import UserError
from l2v.steering.engine.engine import Decoding, Engine, Row
from l2v.steering.models import LoadedModel, load_model

# Ends of the names of what is set to zero: patch embeddings, and the gates by which Mllama lets pictures in.
EMBEDDINGS = ("patch_embedding.weight", "patch_embeddings.projection.weight", "patch_embed.proj.weight")
BLINDED = dict.fromkeys((*families.FAMILIES, "mllama"), EMBEDDINGS) | {"mllama_gates": ("_gate",)}


def answered(target: LoadedModel, words: int) -> int:
    """How many of three questions of one picture each are answered."""
    rows: list[Row] = [(request, None) for request in families.requests() if len(request.images) == 1]
    return len(dict(Engine(target, Decoding(words)).answer(rows)))


@pytest.mark.parametrize("name", BLINDED)
def test_a_target_that_sees_nothing_is_refused(name: str, tmp_path: Path) -> None:
    """Each answered without a word: what the picture shows changed no logit."""
    target = families.load(name.removesuffix("_gates"), tmp_path)
    assert answered(target, 2) == 2
    file = tmp_path / "model.safetensors"
    held = load_file(file)
    lost = [key for key in held if key.endswith(BLINDED[name])]
    assert lost, sorted(held)
    save_file(held | {key: torch.zeros_like(held[key]) for key in lost}, file, metadata={"format": "pt"})
    blind = load_model(ModelSpec("tests/blind", path=str(tmp_path), dtype="float32"), "vision")
    with pytest.raises(UserError, match=f"'{tmp_path}' .* picture"):
        answered(blind, 2)
