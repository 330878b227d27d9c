"""Tiny random checkpoints of real architectures with their real processors, and pictures and questions for them.

`load(family, folder)` writes a checkpoint to a folder and loads it through `load_model`, as a user's would be.
Weights are drawn wide enough that the generated tokens depend on the image, the question and the residual stream.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from l2v.errors import UserError
from l2v.steering.engine.rows import Request, Steering
from l2v.steering.models import LoadedModel, ModelSpec, load_model

WIDTH, LAYERS, WORDS = 32, 3, 64

# One template for all: only the string that stands for an image differs.
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %} {{ m['role'] }} :"
    "{% if m['content'] is string %} {{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %} IMAGE{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %} assistant :{% endif %}"
)


# As Idefics2's: BOS is left to the tokenizer, and a turn's content must come in parts, plain text would vanish.
PARTS_TEMPLATE = (
    "{% for m in messages %} {{ m['role'] }} :{% for part in m['content'] %}"
    "{% if part['type'] == 'image' %} IMAGE{% elif part['type'] == 'text' %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} assistant :{% endif %}"
)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """An RGB picture of random blocks, so that resizing keeps its content."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST)


def question(words: int, seed: int = 0) -> str:
    """Random words of the vocabulary."""
    return " ".join(f"w{i}" for i in np.random.default_rng(seed).integers(0, WORDS, words))


def load(family: str, folder: Path) -> LoadedModel:
    """The tiny checkpoint of `family`, saved to `folder` and loaded from there in float32."""
    torch.manual_seed(1)
    model, processor = {**FAMILIES, **CROSS_ATTENDING}[family]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return load_model(ModelSpec(id=f"tests/{family}", path=str(folder), dtype="float32"), "vision")


def tokenizer(image: str, specials: tuple[str, ...] = ("<image>",), template: str = TEMPLATE, **named: str) -> Any:
    """A word-level tokenizer: <pad>, <s>, </s>, <unk>, the family's special tokens, and the words.

    `image`: how the family's chat template writes an image. `named`: attributes by which its processor finds tokens.
    As many real ones, it adds a BOS of its own and pads on the right.
    """
    words = ["<pad>", "<s>", "</s>", "<unk>", *specials, "user", "assistant", ":", *(f"w{i}" for i in range(WORDS))]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>", *specials])
    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=named,
        chat_template=template.replace("IMAGE", image),
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def text_config(tokens: Any, **more: Any) -> dict[str, Any]:
    """Settings of a small decoder."""
    return {
        "vocab_size": len(tokens) + 2,  # room for a token that a processor adds
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "tie_word_embeddings": False,
        **more,
    }


def clip_config(size: int, patch: int) -> dict[str, Any]:
    """Settings of a small CLIP tower."""
    return {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": size,
        "patch_size": patch,
        "projection_dim": 32,
    }


def lively(model: Any, tokens: Any) -> Any:
    """Redraw the matrices with a spread at which the answers vary, and let only words and the end token be generated."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 1.4 / parameter[0].numel() ** 0.5)
        model.get_input_embeddings().weight.normal_(0, 1)
    answers = {tokens.eos_token_id, *tokens.convert_tokens_to_ids([f"w{i}" for i in range(WORDS)])}
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=tokens.pad_token_id,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
        # As a trained model, it never writes an image token.
        suppress_tokens=[i for i in range(model.config.get_text_config().vocab_size) if i not in answers],
    )
    return model


def clip_images(size: int) -> transformers.CLIPImageProcessor:
    """Square pictures of one size."""
    return transformers.CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def llava() -> tuple[Any, Any]:
    """LLaVA-1.5: CLIP tower and Llama; 4 tokens per image."""
    tokens = tokenizer("<image>")
    config = transformers.LlavaConfig(
        vision_config=clip_config(28, 14),
        text_config=text_config(tokens, model_type="llama"),
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


def llava_next() -> tuple[Any, Any]:
    """LLaVA-NeXT: tiles of one picture laid out by its shape; the number of tokens differs by picture."""
    tokens = tokenizer("<image>")
    pinpoints = [[14, 28], [28, 14], [28, 28]]
    config = transformers.LlavaNextConfig(
        vision_config=clip_config(14, 7),
        text_config=text_config(tokens, model_type="llama"),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 14}, crop_size={"height": 14, "width": 14}, image_grid_pinpoints=pinpoints
    )
    processor = transformers.LlavaNextProcessor(
        images,
        tokens,
        patch_size=7,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokens.chat_template,
    )
    return lively(transformers.LlavaNextForConditionalGeneration(config), tokens), processor


QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def qwen_parts(video_processor: Any = transformers.Qwen2VLVideoProcessor) -> tuple[Any, dict[str, Any], Any, Any]:
    """Tokenizer, ids, image and video processor that the Qwen-VL families share."""
    tokens = tokenizer("<|vision_start|><|image_pad|><|vision_end|>", QWEN_TOKENS)
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids = dict(zip(names, tokens.convert_tokens_to_ids(list(QWEN_TOKENS)), strict=True))
    size = {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}
    images = transformers.Qwen2VLImageProcessor(patch_size=4, merge_size=2, temporal_patch_size=2, size=size)
    videos = video_processor(patch_size=4, merge_size=2, temporal_patch_size=2, size=size)
    return tokens, ids, images, videos


ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}


def qwen2_vl() -> tuple[Any, Any]:
    """Qwen2-VL: patches of all pictures end to end, positions in three dimensions."""
    tokens, ids, images, videos = qwen_parts()
    config = transformers.Qwen2VLConfig(
        text_config=text_config(tokens, rope_parameters=ROPE),
        vision_config={
            "depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2,
            "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        tie_word_embeddings=False,
        **ids,
    )  # fmt: skip
    processor = transformers.Qwen2VLProcessor(images, tokens, videos, chat_template=tokens.chat_template)
    return lively(transformers.Qwen2VLForConditionalGeneration(config), tokens), processor


def qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL: as Qwen2-VL, with window attention in the tower."""
    tokens, ids, images, videos = qwen_parts()
    config = transformers.Qwen2_5_VLConfig(
        text_config=text_config(tokens, rope_parameters=ROPE),
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": WIDTH, "num_heads": 2,
            "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=False,
        **ids,
    )  # fmt: skip
    processor = transformers.Qwen2_5_VLProcessor(images, tokens, videos, chat_template=tokens.chat_template)
    return lively(transformers.Qwen2_5_VLForConditionalGeneration(config), tokens), processor


def qwen3_vl() -> tuple[Any, Any]:
    """Qwen3-VL: features of the tower's lower blocks are added between the first decoder blocks as well."""
    tokens, ids, images, videos = qwen_parts(transformers.Qwen3VLVideoProcessor)
    config = transformers.Qwen3VLConfig(
        text_config=text_config(tokens, head_dim=8, rope_parameters={**ROPE, "mrope_interleaved": True}),
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 64, "out_hidden_size": WIDTH, "num_heads": 2,
            "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        tie_word_embeddings=False,
        **ids,
    )  # fmt: skip
    processor = transformers.Qwen3VLProcessor(images, tokens, videos, chat_template=tokens.chat_template)
    return lively(transformers.Qwen3VLForConditionalGeneration(config), tokens), processor


def internvl() -> tuple[Any, Any]:
    """InternVL (-hf): one to three crops per picture, 4 tokens each, between start and end tokens."""
    specials = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    tokens = tokenizer(
        "<IMG_CONTEXT>",
        specials,
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = transformers.InternVLConfig(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": [16, 16], "patch_size": [4, 4],
        },
        text_config=text_config(tokens, model_type="qwen2"),
        image_token_id=tokens.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )  # fmt: skip
    images = transformers.GotOcr2ImageProcessor(
        size={"height": 16, "width": 16}, crop_to_patches=True, min_patches=1, max_patches=3
    )
    videos = transformers.InternVLVideoProcessor(size={"height": 16, "width": 16})
    processor = transformers.InternVLProcessor(images, tokens, videos, image_seq_length=4, chat_template=tokens.chat_template)
    return lively(transformers.InternVLForConditionalGeneration(config), tokens), processor


def idefics2() -> tuple[Any, Any]:
    """Idefics2: pictures of their own shape, padded with a pixel mask, resampled to 3 tokens each."""
    tokens = tokenizer("<image>", ("<image>", "<fake_token_around_image>", "<end_of_utterance>"), PARTS_TEMPLATE)
    config = transformers.Idefics2Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 7,
        },
        perceiver_config={
            "hidden_size": WIDTH, "resampler_n_latents": 3, "resampler_depth": 1, "resampler_n_heads": 2,
            "resampler_head_dim": 16, "num_key_value_heads": 1,
        },
        text_config=text_config(tokens, model_type="mistral"),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    images = transformers.Idefics2ImageProcessor(size={"shortest_edge": 14, "longest_edge": 28}, do_image_splitting=False)
    processor = transformers.Idefics2Processor(images, tokens, image_seq_len=3, chat_template=tokens.chat_template)
    return lively(transformers.Idefics2ForConditionalGeneration(config), tokens), processor


IDEFICS3_TOKENS = (
    "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
)  # fmt: skip


def idefics3_parts() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Tokenizer, model settings and image settings that Idefics3 and SmolVLM share: 4 tokens per crop, and row markers."""
    tokens = tokenizer("<image>", IDEFICS3_TOKENS)
    settings = {
        "vision_config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 16, "patch_size": 4,
        },
        "text_config": text_config(tokens, model_type="llama"),
        "image_token_id": tokens.convert_tokens_to_ids("<image>"),
        "scale_factor": 2,
        "tie_word_embeddings": False,
    }  # fmt: skip
    return tokens, settings, {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}


def idefics3() -> tuple[Any, Any]:
    """Idefics3: each picture cut into crops, each with its row and column, and the whole picture after them."""
    tokens, settings, sizes = idefics3_parts()
    images = transformers.Idefics3ImageProcessor(**sizes)
    processor = transformers.Idefics3Processor(images, tokens, image_seq_len=4, chat_template=tokens.chat_template)
    return lively(transformers.Idefics3ForConditionalGeneration(transformers.Idefics3Config(**settings)), tokens), processor


def smolvlm() -> tuple[Any, Any]:
    """SmolVLM: as Idefics3, with a processor for videos."""
    module = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
    # A package that spells out numbers, for videos alone; without it the processor refuses to be made.
    module.num2words = module.num2words or str
    tokens, settings, sizes = idefics3_parts()
    processor = transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(**sizes),
        tokens,
        transformers.SmolVLMVideoProcessor(),
        image_seq_len=4,
        chat_template=tokens.chat_template,
    )
    return lively(transformers.SmolVLMForConditionalGeneration(transformers.SmolVLMConfig(**settings)), tokens), processor


def mllama() -> tuple[Any, Any]:
    """Llama 3.2 Vision (Mulberry's largest): pictures reach the decoder through blocks that attend to them, one token each."""
    tokens = tokenizer("<|image|>", ("<|image|>",))
    config = transformers.MllamaConfig(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1, "attention_heads": 2,
            "image_size": 28, "patch_size": 14, "max_num_tiles": 4, "intermediate_layers_indices": [0], "vision_output_dim": 64,
            "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
        },
        text_config=text_config(
            tokens, cross_attention_layers=[1], rope_parameters={"rope_type": "default", "rope_theta": 10000.0}
        ),
        image_token_index=tokens.convert_tokens_to_ids("<|image|>"),
    )  # fmt: skip
    images = transformers.MllamaImageProcessor(size={"height": 28, "width": 28}, max_image_tiles=4)
    processor = transformers.MllamaProcessor(images, tokens, chat_template=tokens.chat_template)
    model = lively(transformers.MllamaForConditionalGeneration(config), tokens)
    with torch.no_grad():
        for name, gate in model.named_parameters():
            if name.endswith("_gate"):
                gate.fill_(1.0)  # new ones are closed: no picture would be seen
    return model, processor


# Of families that the engine does not take apart: answered through `generate`.
CROSS_ATTENDING: dict[str, Callable[[], tuple[Any, Any]]] = {"mllama": mllama}

FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": llava,
    "llava_next": llava_next,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "idefics2": idefics2,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
}


def refused(folder: Path, words: str) -> None:
    """Loading the checkpoint ends in a sentence with these words."""
    with pytest.raises(UserError) as told:
        load_model(ModelSpec("tests/damaged", path=str(folder), dtype="float32"), "vision")
    assert words in str(told.value), (words, str(told.value))


def check_every_damage(folder: Path, every: int = 1) -> None:
    """A checkpoint never answers with a tensor missing, of another shape or of whole numbers, nor a shard missing or cut off.

    every: so many tensors of a file are left alone between two that are damaged.
    """
    load_model(ModelSpec("tests/whole", path=str(folder), dtype="float32"), "vision")
    for file in sorted(folder.glob("*.safetensors")):
        whole = file.read_bytes()
        tensors = load_file(file)
        for name in sorted(tensors)[::every]:
            last = name.rpartition("model.")[2]
            for harmed in (None, torch.cat([tensors[name]] * 2), tensors[name].to(torch.int8)):
                left = {key: value for key, value in tensors.items() if key != name}
                save_file(left if harmed is None else left | {name: harmed}, file, metadata={"format": "pt"})
                refused(folder, last)
        file.write_bytes(whole[: len(whole) // 2])
        refused(folder, file.name)
        file.unlink()
        refused(folder, file.name if len(list(folder.glob("*.safetensors"))) else str(folder))
        file.write_bytes(whole)
    load_model(ModelSpec("tests/whole", path=str(folder), dtype="float32"), "vision")


def steering(seed: int, layer: int, alpha: float, positions: str = "all") -> Steering:
    """A vector about as long as the tiny models' states."""
    vector = 3 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
    return Steering(vector, layer, alpha, positions)


def requests() -> list[Request]:
    """Pictures of three shapes, two in one question, and none: prompts of different lengths."""
    return [
        Request("wide", f"<image>{question(4)}", (picture(56, 28, 0),)),
        Request("tall", f"{question(9, 1)} <image> {question(3, 2)}", (picture(20, 44, 1),)),
        Request("two", f"<image> w1 <image> {question(2, 3)}", (picture(28, 28, 2), picture(60, 30, 3))),
        Request("none", question(6, 4)),
    ]
