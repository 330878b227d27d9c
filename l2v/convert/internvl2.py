"""InternVL2 in its authors' layout: what its config and its tensors are called there, and in transformers' own InternVL.

The layout (github.com/OpenGVLab/InternVL): `vision_model` is an InternViT, `language_model` an InternLM2, Qwen2 or Llama,
`mlp1` what joins them. InternLM2 keeps the projections of query, key and value in one matrix: per key-value head the rows of
its queries, then of its key, then of its value. InternViT keeps them one after the other. Otherwise only names differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2v.errors import UserError
from l2v.tensors import json_object

if TYPE_CHECKING:
    from torch import Tensor

MODEL_TYPE = "internvl_chat"
# Language models of the layout -> the type that transformers knows them by; InternLM2 is a Llama but for names and order.
BACKBONES = {"InternLM2ForCausalLM": "llama", "LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}
# Settings of the language model that keep their names.
KEPT = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "rope_theta", "rope_scaling",
    "bos_token_id", "eos_token_id", "pad_token_id", "head_dim", "attention_bias", "mlp_bias",
    "use_sliding_window", "sliding_window", "max_window_layers",
)  # fmt: skip
# What transformers' InternVL computes with whatever its config says.
QK_NORM_EPS = 1e-6

VISION = {
    "embeddings.class_embedding": "embeddings.cls_token",
    "embeddings.position_embedding": "embeddings.position_embeddings",
    "embeddings.patch_embedding": "embeddings.patch_embeddings.projection",
    "attn.proj": "attention.projection_layer",
    "attn.q_norm": "attention.q_norm",
    "attn.k_norm": "attention.k_norm",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
INTERNLM2 = {
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
WHOLE = {
    "language_model.model.tok_embeddings.weight": "model.language_model.embed_tokens.weight",
    "language_model.output.weight": "lm_head.weight",
    "language_model.lm_head.weight": "lm_head.weight",
    "mlp1.0": "model.multi_modal_projector.layer_norm",
    "mlp1.1": "model.multi_modal_projector.linear_1",
    "mlp1.3": "model.multi_modal_projector.linear_2",
}
# Constants that some checkpoints store and no model needs.
DERIVED = re.compile(r"rotary_emb\.inv_freq$")


@dataclass(frozen=True)
class Layout:
    """One checkpoint's config.json: `values` whole, and the parts that the conversion depends on."""

    values: dict[str, Any]
    architecture: str

    @property
    def text(self) -> dict[str, Any]:
        found: dict[str, Any] = self.values["llm_config"]
        return found

    @property
    def vision(self) -> dict[str, Any]:
        found: dict[str, Any] = self.values["vision_config"]
        return found

    @property
    def image_size(self) -> int:
        """Pixels of a tile's side."""
        return int(self.values.get("force_image_size") or self.vision["image_size"])

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens of a tile."""
        side = self.image_size // int(self.vision["patch_size"])
        return int(side**2 * float(self.values.get("downsample_ratio", 0.5)) ** 2)

    @property
    def tied(self) -> bool:
        return bool(self.text.get("tie_word_embeddings", False))

    @property
    def heads(self) -> tuple[int, int]:
        """The language model's key-value heads, and the queries that share one."""
        heads = int(self.text["num_attention_heads"])
        key_value = int(self.text.get("num_key_value_heads") or heads)
        return key_value, heads // key_value


def read_layout(folder: Path) -> Layout:
    """The layout of the checkpoint in `folder`. Raises UserError for what it cannot convert, with the reason."""
    path = folder / "config.json"
    values = json_object(path)
    if values.get("model_type") != MODEL_TYPE:
        raise UserError(
            f"'{folder}' is no InternVL checkpoint in its authors' layout: its model_type is {values.get('model_type')}, not "
            f"{MODEL_TYPE}."
        )
    missing = [key for key in ("llm_config", "vision_config") if not isinstance(values.get(key), dict)]
    if missing:
        raise UserError(f"'{path}' lacks {' and '.join(missing)}; download the checkpoint again.")
    layout = Layout(values, str((values["llm_config"].get("architectures") or ["?"])[0]))
    _check(layout, folder)
    return layout


def _check(layout: Layout, folder: Path) -> None:
    """Raise UserError for a backbone or a setting under which transformers' InternVL would compute something else."""
    if layout.architecture == "Phi3ForCausalLM":
        raise UserError(
            f"'{folder}' (InternVL2-4B's kind) has a Phi-3 language model: InternVL was published in transformers' format with "
            "Qwen2 and Llama models alone, so there is nothing to hold a conversion against (its positions are scaled by "
            "length, its projections fused, its prompt another); choose another size."
        )
    if layout.architecture not in BACKBONES:
        raise UserError(f"'{folder}' has a {layout.architecture} language model; known: {', '.join(sorted(BACKBONES))}.")
    values, vision = layout.values, layout.vision
    wrong = {
        "ps_version": values.get("ps_version", "v2") != "v2",
        "select_layer": values.get("select_layer", -1) != -1,
        "use_backbone_lora": bool(values.get("use_backbone_lora")),
        "use_llm_lora": bool(values.get("use_llm_lora")),
        "use_thumbnail": not values.get("use_thumbnail", True),
        "vision_config.layer_norm_eps": bool(vision.get("qk_normalization"))
        and float(vision.get("layer_norm_eps", QK_NORM_EPS)) != QK_NORM_EPS,
    }
    bad = [name for name, is_wrong in wrong.items() if is_wrong]
    if bad:
        raise UserError(f"'{folder}' sets {', '.join(bad)} in a way that transformers' InternVL cannot follow.")


def native_config(layout: Layout, image_token_id: int) -> Any:
    from transformers import InternVLConfig

    text = {key: layout.text[key] for key in KEPT if layout.text.get(key) is not None}
    if (text.get("rope_scaling") or {}).get("type") == "dynamic":
        # It sets in above max_position_embeddings, where no prompt is taken; below, positions are the plain ones.
        del text["rope_scaling"]
    if layout.architecture == "InternLM2ForCausalLM":
        text["attention_bias"] = bool(layout.text.get("bias", False))
    text |= {"model_type": BACKBONES[layout.architecture], "use_cache": True, "tie_word_embeddings": layout.tied}
    vision = layout.vision
    return InternVLConfig(
        architectures=["InternVLForConditionalGeneration"],
        text_config=text,
        vision_config={
            "hidden_size": vision["hidden_size"],
            "intermediate_size": vision["intermediate_size"],
            "num_hidden_layers": vision["num_hidden_layers"],
            "num_attention_heads": vision["num_attention_heads"],
            "num_channels": vision.get("num_channels", 3),
            "attention_bias": bool(vision.get("qkv_bias", False)),
            "use_qk_norm": bool(vision.get("qk_normalization", False)),
            "hidden_act": vision.get("hidden_act", "gelu"),
            "norm_type": vision.get("norm_type", "rms_norm"),
            "layer_norm_eps": float(vision.get("layer_norm_eps", 1e-6)),
            "image_size": [layout.image_size, layout.image_size],
            "patch_size": [int(vision["patch_size"])] * 2,
        },
        image_token_id=image_token_id,
        image_seq_length=layout.tokens_per_tile,
        downsample_ratio=float(layout.values.get("downsample_ratio", 0.5)),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=layout.tied,
        dtype=layout.values.get("torch_dtype") or layout.values.get("dtype") or "bfloat16",
    )


def new_names(name: str, layout: Layout) -> tuple[tuple[str, str], ...]:
    """What becomes of one tensor: its new names, each with the part of it that goes there (all, q, k or v).

    Empty for a tensor that the converted model does not need. Raises UserError for a name outside of the layout.
    """
    if DERIVED.search(name):
        return ()
    stem, _, kind = name.rpartition(".")
    if name in WHOLE or stem in WHOLE:
        return ((WHOLE.get(name) or f"{WHOLE[stem]}.{kind}", "all"),)
    if found := re.fullmatch(r"vision_model\.encoder\.layers\.(\d+)\.(.+)", name):
        return _vision_block(f"model.vision_tower.encoder.layer.{found[1]}", found[2], name)
    if name.startswith("vision_model."):
        return ((f"model.vision_tower.{_renamed(name.removeprefix('vision_model.'), VISION, name)}", "all"),)
    if found := re.fullmatch(r"language_model\.model\.layers\.(\d+)\.(.+)", name):
        return _text_block(f"model.language_model.layers.{found[1]}", found[2], name, layout)
    if name.startswith("language_model.model."):
        return ((f"model.language_model.{name.removeprefix('language_model.model.')}", "all"),)
    raise _unknown(name)


def _vision_block(block: str, leaf: str, name: str) -> tuple[tuple[str, str], ...]:
    if leaf.startswith("attn.qkv."):
        kind = leaf.rpartition(".")[2]
        return tuple((f"{block}.attention.{part}_proj.{kind}", f"vision_{part}") for part in "qkv")
    return ((f"{block}.{_renamed(leaf, VISION, name)}", "all"),)


def _text_block(block: str, leaf: str, name: str, layout: Layout) -> tuple[tuple[str, str], ...]:
    if layout.architecture != "InternLM2ForCausalLM":
        return ((f"{block}.{leaf}", "all"),)
    if leaf.startswith("attention.wqkv."):
        kind = leaf.rpartition(".")[2]
        return tuple((f"{block}.self_attn.{part}_proj.{kind}", f"text_{part}") for part in "qkv")
    return ((f"{block}.{_renamed(leaf, INTERNLM2, name)}", "all"),)


def _renamed(leaf: str, table: dict[str, str], name: str) -> str:
    stem, _, kind = leaf.rpartition(".")
    if leaf in table:
        return table[leaf]
    if stem in table and kind in ("weight", "bias"):
        return f"{table[stem]}.{kind}"
    raise _unknown(name)


def _unknown(name: str) -> UserError:
    return UserError(f"The checkpoint holds a tensor '{name}' that InternVL2's layout does not know; nothing was guessed.")


def part_of(tensor: Tensor, part: str, layout: Layout) -> Tensor:
    """The part of a tensor that one new name stands for; rows are taken, whatever follows them stays.

    vision_q, _k, _v: a third each, in this order. text_q, _k, _v: (key-value heads, queries + 2, head size) rows, of which
    a head's last but one is the key and its last the value.
    """
    if part == "all":
        return tensor
    kind, _, which = part.partition("_")
    if kind == "vision":
        return tensor.chunk(3, dim=0)["qkv".index(which)]
    heads, queries = layout.heads
    size, rest = divmod(tensor.shape[0], heads * (queries + 2))
    if rest:
        raise UserError(
            f"{tensor.shape[0]} rows of queries, keys and values are none of {heads} heads of {queries + 2}; config.json and "
            "weights do not belong together."
        )
    grouped = tensor.reshape(heads, queries + 2, size, *tensor.shape[1:])
    chosen = {"q": slice(0, queries), "k": slice(queries, queries + 1), "v": slice(queries + 1, None)}[which]
    return grouped[:, chosen].reshape(-1, *tensor.shape[1:])
