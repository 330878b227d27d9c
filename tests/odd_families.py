"""Tiny random checkpoints of decoders that the engine has to look at twice: sliding windows, two rotary bases, positions that
depend on the longest row, sparse attention, blocks that are left out, and processors that want a picture.

Most are a LLaVA with another text model: there only the decoder matters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from families import clip_config, clip_images, lively, text_config, tokenizer

from l2v.steering.models import LoadedModel, ModelSpec, load_model

# Between the shortest and the longest prompts of the tests, and below what they grow to.
WINDOW = 12


def load(name: str, folder: Path) -> LoadedModel:
    """The tiny checkpoint of that name, saved to `folder` and loaded from there in float32."""
    torch.manual_seed(1)
    model, processor = ODD[name]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return load_model(ModelSpec(id=f"tests/{name}", path=str(folder), dtype="float32"), "vision")


def llava_of(**text: Any) -> tuple[Any, Any]:
    """LLaVA-1.5 with a text model of these settings."""
    tokens = tokenizer("<image>")
    config = transformers.LlavaConfig(
        vision_config=clip_config(28, 14),
        text_config=text_config(tokens, **text),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    processor = transformers.LlavaProcessor(
        clip_images(28),
        tokens,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokens.chat_template,
    )
    return lively(transformers.LlavaForConditionalGeneration(config), tokens), processor


_SLIDING = {"sliding_window": WINDOW, "head_dim": 8}
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
_SHARES = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
_EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1,
            "n_shared_experts": 1, "n_group": 1, "topk_group": 1}  # fmt: skip


def phi3_longrope() -> tuple[Any, Any]:
    """Rotary frequencies that switch once the longest row passes 20 tokens."""
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [3.0] * 4,
            "original_max_position_embeddings": 20}  # fmt: skip
    return llava_of(model_type="phi3", rope_parameters=rope, original_max_position_embeddings=20, sliding_window=None)


def gemma3_vision() -> tuple[Any, Any]:
    """Gemma 3 with its tower: a picture's tokens see each other both ways, and its processor names the mark before them."""
    marks = {"image_token": "<image_soft>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    tokens = tokenizer("<boi>", tuple(marks.values()), **marks)
    ids = {"image_token_index": "<image_soft>", "boi_token_index": "<boi>", "eoi_token_index": "<eoi>"}
    config = transformers.Gemma3Config(
        text_config=text_config(tokens, layer_types=_MIXED, query_pre_attn_scalar=8, **_SLIDING),
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 16, "patch_size": 4, "vision_use_head": False},
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        **{name: tokens.convert_tokens_to_ids(mark) for name, mark in ids.items()},
    )  # fmt: skip
    images = transformers.Gemma3ImageProcessor(size={"height": 16, "width": 16})
    processor = transformers.Gemma3Processor(images, tokens, chat_template=tokens.chat_template, image_seq_length=4)
    return lively(transformers.Gemma3ForConditionalGeneration(config), tokens), processor


ODD: dict[str, Callable[[], tuple[Any, Any]]] = {
    "mistral": partial(llava_of, model_type="mistral", sliding_window=WINDOW),
    "gemma2": partial(llava_of, model_type="gemma2", layer_types=_MIXED, query_pre_attn_scalar=8, **_SLIDING),
    "gemma3": partial(llava_of, model_type="gemma3_text", layer_types=_MIXED, query_pre_attn_scalar=8, **_SLIDING),
    "gemma3_vision": gemma3_vision,
    "phi3_longrope": phi3_longrope,
    "deepseek_v2": partial(llava_of, model_type="deepseek_v2", num_key_value_heads=4, topk_method="greedy",
                           **_SHARES, **{**_EXPERTS, "n_group": 1, "topk_group": 1}),
    "glm_moe_dsa": partial(llava_of, model_type="glm_moe_dsa", num_key_value_heads=4, index_topk=6, index_head_dim=8,
                           index_n_heads=2, **_SHARES, **_EXPERTS),
}  # fmt: skip
