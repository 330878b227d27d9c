"""Models to measure with: the miniature, a checkpoint on disk, or random weights in the shape of a published one.

Random ones have the real architecture, a real image processor and a toy tokenizer; what they answer means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from l2v.steering.engine.engine import Request
from l2v.steering.models import LoadedModel, ModelSpec, decoder_layers, load_model

MINI = Path(__file__).parents[2] / "l2v" / "mini" / "checkpoints" / "vlm"
WORDS = 64

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %} {{ m['role'] }} :{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %} IMAGE{% else %} {{ part['text'] }}{% endif %}{% endfor %}{% endfor %} assistant :"
)


@dataclass(frozen=True)
class Shape:
    """A family in a size: how to make its config and processor, the pixels of its pictures, and its weights' bytes."""

    build: Callable[[], tuple[Any, Any, Any]]
    pixels: int
    dtype: torch.dtype
    gigabytes: float


def tokenizer(image: str, specials: tuple[str, ...] = ("<image>",)) -> Any:
    """Words w0 to w63 and what a chat needs; `image`: how the template writes an image."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *specials, "user", "assistant", ":", *(f"w{i}" for i in range(WORDS))]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>", *specials])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        chat_template=TEMPLATE.replace("IMAGE", image), clean_up_tokenization_spaces=False,
    )  # fmt: skip


def text(
    tokens: Any, width: int, layers: int, heads: int, kv_heads: int, mlp: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    """Settings of a decoder."""
    return {
        "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": 32768,
        "pad_token_id": tokens.pad_token_id, "bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id,
        "tie_word_embeddings": False, **more,
    }  # fmt: skip


def clip(width: int, layers: int, heads: int) -> dict[str, Any]:
    """Settings of a CLIP tower of 336 pixels: 24 x 24 patches."""
    return {
        "model_type": "clip_vision_model", "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "image_size": 336, "patch_size": 14, "projection_dim": width,
    }  # fmt: skip


def llava_middle() -> tuple[Any, Any, Any]:
    """LLaVA-1.5 at a middle size: width 512, 12 blocks, 576 image tokens."""
    tokens = tokenizer("<image>")
    config = transformers.LlavaConfig(
        vision_config=clip(256, 4, 4),
        text_config=text(tokens, 512, 12, 8, 8, 1376, 1024, model_type="llama"),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    processor = transformers.LlavaProcessor(
        images, tokens, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tokens.chat_template,
    )  # fmt: skip
    return transformers.LlavaForConditionalGeneration, config, processor


def llava_next_8b() -> tuple[Any, Any, Any]:
    """llama3-llava-next-8b: Llama-3-8B with CLIP-L, up to 2,880 image tokens."""
    tokens = tokenizer("<image>")
    pinpoints = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    config = transformers.LlavaNextConfig(
        vision_config=clip(1024, 24, 16),
        text_config=text(tokens, 4096, 32, 32, 8, 14336, 128320, model_type="llama"),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
    )
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}, image_grid_pinpoints=pinpoints
    )
    processor = transformers.LlavaNextProcessor(
        images, tokens, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tokens.chat_template,
    )  # fmt: skip
    return transformers.LlavaNextForConditionalGeneration, config, processor


def qwen2_vl_7b() -> tuple[Any, Any, Any]:
    """Qwen2-VL-7B: 28 blocks of width 3584, rotary positions of three dimensions; 576 tokens for 672 x 672 pixels."""
    names = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokens = tokenizer("<|vision_start|><|image_pad|><|vision_end|>", names)
    keys = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]}
    config = transformers.Qwen2VLConfig(
        text_config=text(tokens, 3584, 28, 28, 4, 18944, 152064, rope_parameters=rope),
        vision_config={
            "depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14,
            "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        **dict(zip(keys, tokens.convert_tokens_to_ids(list(names)), strict=True)),
    )  # fmt: skip
    images = transformers.Qwen2VLImageProcessor()
    processor = transformers.Qwen2VLProcessor(
        images, tokens, transformers.Qwen2VLVideoProcessor(), chat_template=tokens.chat_template
    )
    return transformers.Qwen2VLForConditionalGeneration, config, processor


SHAPES = {
    "llava-middle": Shape(llava_middle, 336, torch.float32, 0.2),
    "llava-next-8b": Shape(llava_next_8b, 672, torch.bfloat16, 16.8),
    "qwen2-vl-7b": Shape(qwen2_vl_7b, 672, torch.bfloat16, 16.6),
}


def load(name: str, device: str) -> LoadedModel:
    """The model that `--model` names. Ends the program with one sentence when it is unknown or does not fit."""
    family = name.removeprefix("random:")
    if name == "mini":
        return load_model(ModelSpec("l2v/mini-vlm", path=str(MINI), dtype="float32"), "vision", device)
    if family == name:
        return load_model(ModelSpec(name, path=name), "vision", device)
    if family not in SHAPES:
        raise SystemExit(f"--model {name} is unknown; random:{{{','.join(SHAPES)}}}, mini, or a folder.")
    shape = SHAPES[family]
    _require_memory(name, shape, device)
    return random_model(shape, device)


def _require_memory(name: str, shape: Shape, device: str) -> None:
    if shape.gigabytes > 1 and not device.startswith("cuda"):
        raise SystemExit(f"{name} needs a CUDA device with {1.5 * shape.gigabytes:.0f} GB free; none is in use (--device).")
    if device.startswith("cuda"):
        free = torch.cuda.mem_get_info(device)[0] / 1e9
        if free < 1.5 * shape.gigabytes:
            raise SystemExit(f"{name} needs {1.5 * shape.gigabytes:.0f} GB on {device}, {free:.0f} GB are free.")


def random_model(shape: Shape, device: str) -> LoadedModel:
    """Weights drawn on the device, in the shape's dtype; its end token is never generated, so that lengths are equal."""
    kind, config, processor = shape.build()
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(shape.dtype)
    try:
        with torch.device(device):
            model = kind(config).eval()
    finally:
        torch.set_default_dtype(before)
    if shape.gigabytes < 1:
        # Wide enough for the answers to depend on the picture and on the injection.
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                torch.nn.init.normal_(parameter, std=1.4 / parameter[0].numel() ** 0.5)
    words = set(processor.tokenizer.convert_tokens_to_ids([f"w{i}" for i in range(WORDS)]))
    vocabulary = config.get_text_config().vocab_size
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=processor.tokenizer.pad_token_id, eos_token_id=processor.tokenizer.eos_token_id,
        suppress_tokens=[i for i in range(vocabulary) if i not in words],
    )  # fmt: skip
    processor.tokenizer.padding_side = "left"
    return LoadedModel(ModelSpec("random"), model, processor.tokenizer, processor, decoder_layers(model))


def requests(name: str, count: int) -> list[Request]:
    """Questions about pictures: the miniature's own, or coloured blocks."""
    if name == "mini":
        from l2v.mini import problems

        draws, render = np.random.default_rng(1), np.random.default_rng(2)
        return [
            Request(str(i), f"{problems.IMAGE_QUESTION} what is it ?", (problems.render(problem, render),))
            for i, problem in enumerate(problems.draw_distinct(count, draws))
        ]
    pixels = SHAPES[name.removeprefix("random:")].pixels if name.startswith("random:") else 448
    words = "w1 w2 w3 w4" if name.startswith("random:") else "What is in this picture? Think, then answer."
    return [Request(str(i), f"<image>{words}", (_blocks(pixels, i),)) for i in range(count)]


def _blocks(pixels: int, seed: int) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((pixels, pixels), Image.Resampling.NEAREST)
