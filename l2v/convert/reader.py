"""A reader of boxes (l2v/boxes.py) before a frozen language model: LLaVA architecture; tower and projector alone are trained.

For every box the projector gives the model's own input embedding of the token that stands there, so that a picture of a line is
to it what the line's tokens are. The trained part (reader.safetensors, train.py's work) fits one embedding table: SmolLM2's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2v.boxes import BOXES, SIDE
from l2v.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).with_name("reader.safetensors")
WIDTH, LAYERS, HEADS, MLP = 128, 2, 4, 256
# A token that SmolLM2 reserves and its texts never hold becomes the place of a box: no row is added to its embeddings.
SPARE, IMAGE = "<empty_output>", "<image>"
PARTS = ("model.vision_tower.", "model.multi_modal_projector.")
# SmolLM2's own template, which takes texts alone, with pictures among them.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def shipped() -> dict[str, Tensor]:
    """The trained part, by the names of its tensors."""
    from safetensors.torch import load_file

    return load_file(WEIGHTS)


def assemble(tokenizer: Any, language: Any, trained: Mapping[str, Tensor] | None = None) -> tuple[Any, Any]:
    """(LlavaProcessor, LlavaForConditionalGeneration) around a Llama, which is shared with it and not copied.

    trained: tower and projector; None: fresh ones, drawn from torch's global generator. Raises UserError for those of another
    language model, and for a tokenizer without SPARE.
    """
    import copy

    from transformers import LlavaConfig, LlavaForConditionalGeneration, ViTConfig

    processor = build_processor(tokenizer)
    vision = ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=MLP,
        image_size=[SIDE, SIDE * BOXES], patch_size=SIDE,
    )  # fmt: skip
    text = copy.deepcopy(language.config)
    text._name_or_path = ""
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=processor.image_token_id, image_seq_length=BOXES,
        vision_feature_layer=-1, vision_feature_select_strategy="default", tie_word_embeddings=text.tie_word_embeddings,
        bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id,
    )  # fmt: skip
    hollow = copy.deepcopy(config)  # a language model of no size, to be replaced
    hollow.text_config.update({"num_hidden_layers": 1, "vocab_size": 64, "intermediate_size": 8})
    model = LlavaForConditionalGeneration(hollow)
    model.config, model.generation_config = config, language.generation_config
    model.model.config, model.model.language_model, model.lm_head = config, language.model, language.lm_head
    if trained is not None:
        own = {name: value for name, value in model.state_dict().items() if name.startswith(PARTS)}
        if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in trained.items()}:
            raise UserError(f"The reader was trained for SmolLM2 (width 576), not for a model of width {text.hidden_size}.")
        model.load_state_dict({name: value.to(own[name].dtype) for name, value in trained.items()}, strict=False)
    return processor, model.eval()


def build_processor(tokenizer: Any) -> Any:
    """The LlavaProcessor: a picture of any size is scaled to the row of boxes, gray levels to [-1, 1]."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    size = {"height": SIDE, "width": SIDE * BOXES}
    images = CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False, image_mean=[0.87] * 3, image_std=[0.25] * 3)
    named = _with_image(tokenizer)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=named,
        patch_size=SIDE,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the tower's class token, which "default" drops again
        chat_template=TEMPLATE,
        image_token=IMAGE,
    )


def _with_image(tokenizer: Any) -> Any:
    """The same tokenizer with SPARE called IMAGE."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    if SPARE not in tokenizer.get_vocab():
        raise UserError(f"The language model's tokenizer has no token {SPARE} to stand for a box; the reader is SmolLM2's.")
    spelled = tokenizer.backend_tokenizer.to_str().replace(json.dumps(SPARE), json.dumps(IMAGE))
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(spelled),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        unk_token=tokenizer.unk_token,
        pad_token=tokenizer.pad_token,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )
