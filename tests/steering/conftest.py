"""Tiny models for the steering tests, and an answer under steering that shares no code with what it checks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import families

from l2v.steering.engine.engine import Request
from l2v.steering.models import LoadedModel

Oracle = Callable[..., list[int]]


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A tiny LLaVA: the only model of most tests."""
    return families.load("llava", tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def oracle() -> Oracle:
    """The tokens of one request by Hugging Face alone, steered at every token by a hook written out here (Eq. 8, 9)."""

    def answer(
        loaded: LoadedModel, request: Request, write: tuple[torch.Tensor, int, float] | None = None, tokens: int = 8
    ) -> list[int]:
        content: list[dict[str, Any]] = []
        images = iter(request.images)
        for index, piece in enumerate(request.text.split("<image>")):
            content += [{"type": "image", "image": next(images)}] if index else []
            content += [{"type": "text", "text": piece}] if piece else []
        turns = [{"role": "user", "content": content}]
        processor = loaded.processor
        inputs = processor.apply_chat_template(
            turns, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
        )
        handles = []
        if write is not None:
            vector, layer, alpha = write

            def hook(_module: Any, _args: Any, output: Any) -> Any:
                h = output[0] if isinstance(output, tuple) else output
                h2 = h + alpha * vector
                h2 = h2 * h.norm(dim=-1, keepdim=True) / h2.norm(dim=-1, keepdim=True)
                return (h2, *output[1:]) if isinstance(output, tuple) else h2

            text_model = next(m for n, m in loaded.model.named_modules() if n.endswith(("language_model", "text_model")))
            handles.append(text_model.layers[layer].register_forward_hook(hook))
        try:
            with torch.no_grad():
                output = loaded.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        finally:
            for handle in handles:
                handle.remove()
        return output[0, inputs["input_ids"].shape[1] :].tolist()

    return answer
