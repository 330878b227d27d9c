"""The miniature's tokenizer, processor and chat template; text, pixels and token ids meet here only.

A conversation is rendered as `<bos> user : … assistant : …<eos>`. The tokenizer's post-processor adds its own `<bos>`
whenever a text is tokenised with `add_special_tokens=True`, as Llama's does: a rendered conversation must therefore be
tokenised with `add_special_tokens=False`, else it starts with two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordLevel, WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

from l2v.mini import problems
from l2v.mini.problems import Exchange

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>", problems.IMAGE_TOKEN)

# A content is a string or a list of text and image parts in any order. The parts are joined by single spaces; an
# assistant turn ends with <eos>; a role that the models never saw is refused.
CHAT_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
  {%- if message['role'] not in ('user', 'assistant') %}
    {{- raise_exception("the miniature knows the roles 'user' and 'assistant', not '" ~ message['role'] ~ "'") }}
  {%- endif %}
  {{- ' ' ~ message['role'] ~ ' :' }}
  {%- if message['content'] is string %}
    {%- if message['content'] | trim %}{{- ' ' ~ message['content'] | trim }}{% endif %}
  {%- else %}
    {%- for part in message['content'] %}
      {%- if part['type'] == 'image' %}{{- ' <image>' }}
      {%- elif part['text'] | trim %}{{- ' ' ~ part['text'] | trim }}{% endif %}
    {%- endfor %}
  {%- endif %}
  {%- if message['role'] == 'assistant' %}{{- eos_token }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- ' assistant :' }}{% endif %}"""


def build_tokenizer(pieces: bool = False) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that splits on white space; unknown words become `<unk>`; pads on the left.

    pieces: the same words cut into pieces, which the strangers of the odd world read: other tokens, at other positions.
    """
    words = (*SPECIAL_TOKENS, *(_all_pieces() if pieces else problems.vocabulary()))
    ids = {word: index for index, word in enumerate(words)}
    core = Tokenizer(WordPiece(ids, unk_token="<unk>") if pieces else WordLevel(ids, unk_token="<unk>"))
    if pieces:
        core.decoder = WordPieceDecoder(cleanup=False)
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens(list(SPECIAL_TOKENS))
    bos = ("<bos>", words.index("<bos>"))
    core.post_processor = TemplateProcessing(single="<bos> $A", pair="<bos> $A $B", special_tokens=[bos])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": problems.IMAGE_TOKEN},
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def _all_pieces() -> list[str]:
    """The pieces that every word of the task is cut into, sorted: three characters at most, a running sum as `=` and digit.

    The words that training looks for, roles and colon, stay whole.
    """
    found = {"user", "assistant"}
    for word in problems.vocabulary():
        size = 1 if word.startswith("=") else 3
        cuts = [word[start : start + size] for start in range(0, len(word), size)]
        found.update([cuts[0], *(f"##{cut}" for cut in cuts[1:])])
    return sorted(found)


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """A Llava processor: pixels are scaled to [-1, 1] and never resized; one image becomes nine `<image>` tokens."""
    side = problems.CELL * problems.GRID
    image_processor = CLIPImageProcessor(
        do_resize=False,
        do_center_crop=False,
        size={"height": side, "width": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=problems.CELL,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the tower's class token, which "default" drops again
        chat_template=CHAT_TEMPLATE,
        image_token=problems.IMAGE_TOKEN,
    )


def prompt_text(tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """A user turn and the opening of the assistant's, as rendered by the chat template."""
    messages = [{"role": "user", "content": question}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def conversation_text(tokenizer: PreTrainedTokenizerFast, exchanges: Sequence[Exchange]) -> str:
    """Whole exchanges, each assistant turn ended, as rendered by the chat template."""
    messages = []
    for exchange in exchanges:
        messages.append({"role": "user", "content": exchange.prompt})
        messages.append({"role": "assistant", "content": exchange.response})
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str], padding_side: str) -> dict[str, torch.Tensor]:
    """Token ids and attention mask, both (n, length), of rendered texts; each `<image>` is widened to nine."""
    widened = [text.replace(problems.IMAGE_TOKEN, problems.IMAGE_TOKEN * problems.N_CELLS) for text in texts]
    batch = tokenizer(widened, add_special_tokens=False, padding=True, padding_side=padding_side, return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def pixels(processor: LlavaProcessor, pictures: list[Image.Image]) -> torch.Tensor:
    """Pixel values (n, 3, 36, 36) in [-1, 1]."""
    values: torch.Tensor = processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    return values
