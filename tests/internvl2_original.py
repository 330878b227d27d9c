"""Tiny random checkpoints in InternVL2's original layout, and what their authors' code computes, in plain torch.

Names, shapes and arithmetic are those of the published layout (modeling_internvl_chat.py, modeling_intern_vit.py,
modeling_internlm2.py); nothing of l2v or of transformers' model classes is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

BACKBONES = {"internlm2": "InternLM2ForCausalLM", "qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
ADDED = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]
WIDTH, LAYERS, HEADS, KEY_VALUE, INNER = 48, 3, 6, 2, 80
SIDE, PATCH, VISION_WIDTH, VISION_LAYERS, VISION_HEADS = 16, 4, 32, 2, 4


def write(folder: Path, backbone: str, big_vision: bool = False, shards: int = 2, seed: int = 0) -> Path:
    """A checkpoint with its tokenizer files. `big_vision`: as InternViT-6B, RMS norms and normalised queries and keys."""
    folder.mkdir(parents=True, exist_ok=True)
    words = TOKENIZERS[backbone](folder)
    config = config_of(backbone, words, big_vision)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = draw(config, seed)
    names = sorted(tensors)
    parts = [names[i::shards] for i in range(shards)]
    index = {}
    for i, part in enumerate(parts, start=1):
        name = f"model-{i:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        save_file({key: tensors[key] for key in part}, folder / name)
        index |= dict.fromkeys(part, name)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def config_of(backbone: str, words: int, big_vision: bool) -> dict[str, Any]:
    """The original config.json."""
    text: dict[str, Any] = {
        "architectures": [BACKBONES[backbone]], "model_type": backbone, "vocab_size": words, "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KEY_VALUE,
        "hidden_act": "silu", "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "torch_dtype": "float32",
    }  # fmt: skip
    if backbone == "internlm2":
        text |= {"bias": False, "rope_scaling": {"type": "dynamic", "factor": 2.0}, "auto_map": {"AutoConfig": "remote.Code"}}
    return {
        "architectures": ["InternVLChatModel"], "model_type": "internvl_chat", "auto_map": {"AutoModel": "remote.Code"},
        "llm_config": text, "downsample_ratio": 0.5, "dynamic_image_size": True, "force_image_size": SIDE,
        "min_dynamic_patch": 1, "max_dynamic_patch": 4, "use_thumbnail": True, "ps_version": "v2", "select_layer": -1,
        "template": "internlm2-chat" if backbone == "internlm2" else "Hermes-2", "torch_dtype": "float32",
        "use_backbone_lora": 0, "use_llm_lora": 0,
        "vision_config": {
            "hidden_size": VISION_WIDTH, "intermediate_size": 64, "num_hidden_layers": VISION_LAYERS,
            "num_attention_heads": VISION_HEADS, "hidden_act": "gelu", "image_size": SIDE, "patch_size": PATCH,
            "layer_norm_eps": 1e-6, "qkv_bias": not big_vision, "qk_normalization": big_vision,
            "norm_type": "rms_norm" if big_vision else "layer_norm",
        },
    }  # fmt: skip


def draw(config: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """Every tensor of the layout, at random."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}

    def put(name: str, *shape: int, around: float = 0.0) -> None:
        spread = 1.2 / shape[-1] ** 0.5 if len(shape) > 1 else 0.3
        tensors[name] = around + spread * torch.randn(shape, generator=generator)

    text, vision = config["llm_config"], config["vision_config"]
    words, head = text["vocab_size"], WIDTH // HEADS
    big = vision["qk_normalization"]
    put("vision_model.embeddings.class_embedding", 1, 1, VISION_WIDTH)
    put("vision_model.embeddings.position_embedding", 1, (SIDE // PATCH) ** 2 + 1, VISION_WIDTH)
    put("vision_model.embeddings.patch_embedding.weight", VISION_WIDTH, 3, PATCH, PATCH)
    put("vision_model.embeddings.patch_embedding.bias", VISION_WIDTH)
    for i in range(VISION_LAYERS):
        block = f"vision_model.encoder.layers.{i}"
        put(f"{block}.attn.qkv.weight", 3 * VISION_WIDTH, VISION_WIDTH)
        put(f"{block}.attn.proj.weight", VISION_WIDTH, VISION_WIDTH)
        put(f"{block}.attn.proj.bias", VISION_WIDTH)
        put(f"{block}.mlp.fc1.weight", 64, VISION_WIDTH)
        put(f"{block}.mlp.fc1.bias", 64)
        put(f"{block}.mlp.fc2.weight", VISION_WIDTH, 64)
        put(f"{block}.mlp.fc2.bias", VISION_WIDTH)
        for name in ("norm1.weight", "norm2.weight", "ls1", "ls2"):
            put(f"{block}.{name}", VISION_WIDTH, around=1.0)
        for name in ("attn.q_norm.weight", "attn.k_norm.weight") if big else ():
            put(f"{block}.{name}", VISION_WIDTH, around=1.0)
        for name in ("norm1.bias", "norm2.bias") if not big else ():
            put(f"{block}.{name}", VISION_WIDTH)
        if not big:
            put(f"{block}.attn.qkv.bias", 3 * VISION_WIDTH)
    put("mlp1.0.weight", 4 * VISION_WIDTH, around=1.0)
    put("mlp1.0.bias", 4 * VISION_WIDTH)
    put("mlp1.1.weight", WIDTH, 4 * VISION_WIDTH)
    put("mlp1.1.bias", WIDTH)
    put("mlp1.3.weight", WIDTH, WIDTH)
    put("mlp1.3.bias", WIDTH)
    internlm = text["model_type"] == "internlm2"
    put(f"language_model.model.{'tok_embeddings' if internlm else 'embed_tokens'}.weight", words, WIDTH)
    put(f"language_model.{'output' if internlm else 'lm_head'}.weight", words, WIDTH)
    put("language_model.model.norm.weight", WIDTH, around=1.0)
    for i in range(LAYERS):
        block = f"language_model.model.layers.{i}"
        if internlm:
            put(f"{block}.attention.wqkv.weight", (HEADS + 2 * KEY_VALUE) * head, WIDTH)
            put(f"{block}.attention.wo.weight", WIDTH, WIDTH)
            put(f"{block}.feed_forward.w1.weight", INNER, WIDTH)
            put(f"{block}.feed_forward.w3.weight", INNER, WIDTH)
            put(f"{block}.feed_forward.w2.weight", WIDTH, INNER)
            put(f"{block}.attention_norm.weight", WIDTH, around=1.0)
            put(f"{block}.ffn_norm.weight", WIDTH, around=1.0)
            continue
        for name, rows in (("q", WIDTH), ("k", KEY_VALUE * head), ("v", KEY_VALUE * head)):
            put(f"{block}.self_attn.{name}_proj.weight", rows, WIDTH)
            if text["model_type"] == "qwen2":
                put(f"{block}.self_attn.{name}_proj.bias", rows)
        put(f"{block}.self_attn.o_proj.weight", WIDTH, WIDTH)
        put(f"{block}.mlp.gate_proj.weight", INNER, WIDTH)
        put(f"{block}.mlp.up_proj.weight", INNER, WIDTH)
        put(f"{block}.mlp.down_proj.weight", WIDTH, INNER)
        put(f"{block}.input_layernorm.weight", WIDTH, around=1.0)
        put(f"{block}.post_attention_layernorm.weight", WIDTH, around=1.0)
    return tensors


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMS norm."""
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def image_features(w: dict[str, Tensor], config: dict[str, Any], tiles: Tensor) -> Tensor:
    """(tiles, tokens, WIDTH): InternViT, pixel shuffle (v2) and mlp1."""
    vision = config["vision_config"]
    big = vision["qk_normalization"]
    p = "vision_model.embeddings"
    patches = F.conv2d(tiles, w[f"{p}.patch_embedding.weight"], w[f"{p}.patch_embedding.bias"], stride=PATCH)
    x = torch.cat([w[f"{p}.class_embedding"].expand(len(tiles), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    x = x + w[f"{p}.position_embedding"]

    def norm(x: Tensor, name: str) -> Tensor:
        if big:
            return rms(x, w[f"{name}.weight"], 1e-6)
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    for i in range(VISION_LAYERS):
        b = f"vision_model.encoder.layers.{i}"
        n, t, c = x.shape
        qkv = F.linear(norm(x, f"{b}.norm1"), w[f"{b}.attn.qkv.weight"], w.get(f"{b}.attn.qkv.bias"))
        q, k, v = qkv.reshape(n, t, 3, VISION_HEADS, c // VISION_HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        if big:
            q, k = (
                rms(one.transpose(1, 2).flatten(-2), w[f"{b}.attn.{name}_norm.weight"], 1e-6)
                .view(n, t, VISION_HEADS, -1)
                .transpose(1, 2)
                for one, name in ((q, "q"), (k, "k"))
            )
        attended = ((q * (c // VISION_HEADS) ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        joined = F.linear(attended.transpose(1, 2).reshape(n, t, c), w[f"{b}.attn.proj.weight"], w[f"{b}.attn.proj.bias"])
        x = x + joined * w[f"{b}.ls1"]
        hidden = F.gelu(F.linear(norm(x, f"{b}.norm2"), w[f"{b}.mlp.fc1.weight"], w[f"{b}.mlp.fc1.bias"]))
        x = x + F.linear(hidden, w[f"{b}.mlp.fc2.weight"], w[f"{b}.mlp.fc2.bias"]) * w[f"{b}.ls2"]
    x = x[:, 1:]
    side = SIDE // PATCH
    x = x.reshape(len(tiles), side, side, VISION_WIDTH)
    # Two neighbours of a row side by side, then two rows.
    x = x.view(len(tiles), side, side // 2, 2 * VISION_WIDTH).permute(0, 2, 1, 3).contiguous()
    x = x.view(len(tiles), side // 2, side // 2, 4 * VISION_WIDTH).permute(0, 2, 1, 3).reshape(len(tiles), -1, 4 * VISION_WIDTH)
    x = F.layer_norm(x, x.shape[-1:], w["mlp1.0.weight"], w["mlp1.0.bias"])
    return F.linear(F.gelu(F.linear(x, w["mlp1.1.weight"], w["mlp1.1.bias"])), w["mlp1.3.weight"], w["mlp1.3.bias"])


def rotate(x: Tensor, theta: float) -> Tensor:
    """Rotary positions 0, 1, …: the halves of each head as pairs. x: (heads, tokens, size)."""
    size = x.shape[-1]
    frequencies = theta ** (-torch.arange(0, size, 2).float() / size)
    angles = torch.outer(torch.arange(x.shape[1]).float(), frequencies).repeat(1, 2)
    half = torch.cat([-x[..., size // 2 :], x[..., : size // 2]], dim=-1)
    return x * angles.cos() + half * angles.sin()


def projections(w: dict[str, Tensor], config: dict[str, Any], i: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (HEADS, tokens, size), keys and values, one per query head, of block i."""
    head, groups = WIDTH // HEADS, HEADS // KEY_VALUE
    block = f"language_model.model.layers.{i}"
    if config["llm_config"]["model_type"] == "internlm2":
        # (tokens, key-value heads, groups + 2, size): the last two of each group are its key and its value.
        mixed = F.linear(x, w[f"{block}.attention.wqkv.weight"]).view(len(x), KEY_VALUE, groups + 2, head)
        q, k, v = mixed[:, :, :groups].reshape(len(x), HEADS, head), mixed[:, :, -2], mixed[:, :, -1]
    else:
        q, k, v = (
            F.linear(x, w[f"{block}.self_attn.{n}_proj.weight"], w.get(f"{block}.self_attn.{n}_proj.bias")).view(
                len(x), -1, head
            )
            for n in "qkv"
        )
    q, k, v = (one.transpose(0, 1) for one in (q, k, v))
    return q, k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0)


def logits(w: dict[str, Tensor], config: dict[str, Any], ids: Sequence[int], tiles: Tensor | None, image_id: int) -> Tensor:
    """(tokens, words): the language model on one sequence, image tokens replaced by features in order."""
    text = config["llm_config"]
    internlm = text["model_type"] == "internlm2"
    tokens = torch.tensor(list(ids))
    x = w[f"language_model.model.{'tok_embeddings' if internlm else 'embed_tokens'}.weight"][tokens].clone()
    if tiles is not None:
        x[tokens == image_id] = image_features(w, config, tiles).reshape(-1, WIDTH)
    eps, theta = text["rms_norm_eps"], text["rope_theta"]
    names = (
        ("attention_norm", "attention.wo", "ffn_norm", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2")
        if internlm
        else (
            "input_layernorm",
            "self_attn.o_proj",
            "post_attention_layernorm",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        )
    )
    mask = torch.full((len(x), len(x)), float("-inf")).triu(1)
    for i in range(LAYERS):
        before, out, after, gate, up, down = (w[f"language_model.model.layers.{i}.{name}.weight"] for name in names)
        q, k, v = projections(w, config, i, rms(x, before, eps))
        q, k = rotate(q, theta), rotate(k, theta)
        attended = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5 + mask).softmax(-1) @ v
        x = x + F.linear(attended.transpose(0, 1).reshape(len(x), WIDTH), out)
        normed = rms(x, after, eps)
        x = x + F.linear(F.silu(F.linear(normed, gate)) * F.linear(normed, up), down)
    return F.linear(
        rms(x, w["language_model.model.norm.weight"], eps), w[f"language_model.{'output' if internlm else 'lm_head'}.weight"]
    )


# --- tokenizers ---------------------------------------------------------------------------------------------------------

WORDS = ["▁the", "▁sum", "▁of", "▁is", "▁a", "the", "he", "th", "▁t", "▁s", "su", "um", "sum", "is", "▁o", "of", "▁th", "▁su"]


def sentencepiece(folder: Path) -> int:
    """InternLM2's: tokenizer.model (BPE, byte fallback, no dummy prefix), two unused pieces renamed, nine tokens added."""
    from transformers.convert_slow_tokenizer import import_protobuf

    proto = import_protobuf().ModelProto()
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789▁.,:\n"]
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), *((f"<0x{i:02X}>", 0.0, 6) for i in range(256))]
    pieces += [(word, -float(i), 1) for i, word in enumerate(sorted(WORDS, key=len))]
    pieces += [(letter, -100.0 - i, 1) for i, letter in enumerate(letters)]
    pieces += [("[UNUSED_TOKEN_145]", 0.0, 4), ("[UNUSED_TOKEN_146]", 0.0, 4)]
    for text, score, kind in pieces:
        proto.pieces.add(piece=text, score=score, type=kind)
    proto.trainer_spec.model_type = 2
    proto.trainer_spec.unk_id = 0
    proto.trainer_spec.byte_fallback = True
    proto.normalizer_spec.add_dummy_prefix = False
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    names = {len(pieces) - 2: "<|im_end|>", len(pieces) - 1: "<|im_start|>", 0: "<unk>", 1: "<s>", 2: "</s>"}
    added = {**names, **{len(pieces) + i: token for i, token in enumerate(ADDED)}}
    settings = {
        "tokenizer_class": "InternLM2Tokenizer", "auto_map": {"AutoTokenizer": ["remote.Code", None]}, "bos_token": "<s>",
        "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>", "model_max_length": 8192,
        "added_tokens_decoder": {str(i): {"content": t, "special": True} for i, t in added.items()},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(pieces) + len(ADDED)


def spelt(text: str, vocabulary: dict[str, int], scores: dict[str, float]) -> list[int]:
    """What SentencePiece makes of plain text: again and again, join the neighbours whose join has the best score."""
    pieces = list(text.replace(" ", "▁"))
    while True:
        joins = [(scores[a + b], -i) for i, (a, b) in enumerate(zip(pieces, pieces[1:], strict=False)) if a + b in scores]
        if not joins:
            break
        i = -max(joins)[1]
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    ids = []
    for piece in pieces:
        ids += [vocabulary[piece]] if piece in vocabulary else [vocabulary[f"<0x{b:02X}>"] for b in piece.encode()]
    return ids


def byte_level(folder: Path) -> int:
    """Qwen2's: vocab.json, merges.txt and added tokens."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, "th", "the", "Ġt", "Ġth"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e\nĠ t\nĠt h\n")
    added = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *ADDED]
    settings = {
        "tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "add_bos_token": False, "model_max_length": 8192,
        "added_tokens_decoder": {
            str(len(words) + i): {"content": t, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
                                  "single_word": False}
            for i, t in enumerate(added)
        },
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(words) + len(added)


def whole_words(folder: Path) -> int:
    """As Hermes-2's Llama: a tokenizer.json that adds a BOS of its own."""
    import families

    tokens = families.tokenizer("<IMG_CONTEXT>", ("<|im_start|>", "<|im_end|>", *ADDED))
    tokens.chat_template = None
    tokens.save_pretrained(folder)
    return len(tokens)


TOKENIZERS = {"internlm2": sentencepiece, "qwen2": byte_level, "llama": whole_words}
