"""The tokenizer, image processor and prompt of an InternVL2 checkpoint, from its files alone."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from l2v.convert.internvl2 import Layout
from l2v.errors import UserError, unknown
from l2v.tensors import json_object

# What stands around and for the tiles of a picture.
IMAGE_TOKENS = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
NAMED = {**IMAGE_TOKENS, "video_token": "<video>"}
# Of the picture's pixels, as InternVL's own preprocessing has them: those of ImageNet.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# The system message and the end of a turn of each prompt that InternVL2's (and 2.5's) configs name (conversation.py).
INTERNVL2 = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
INTERNVL2_5 = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
PROMPTS = {
    "Hermes-2": (INTERNVL2, "<|im_end|>"),
    "internlm2-chat": (INTERNVL2, "<|im_end|>"),
    "internvl2_5": (INTERNVL2_5, "<|im_end|>\n"),
}
END = "<|im_end|>"


def chat_template(name: str) -> str:
    """The Jinja template of a prompt; BOS, where the tokenizer has one, is left to it. Raises UserError for an unknown name."""
    if name not in PROMPTS:
        raise unknown("prompt template of an InternVL checkpoint", name, PROMPTS)
    system, end = (json.dumps(text, ensure_ascii=False) for text in PROMPTS[name])
    return (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n' + " + system + " + " + end + " }}{% endif %}"
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ " + end + " }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def build_processor(folder: Path, layout: Layout) -> Any:
    """The InternVLProcessor of the checkpoint in `folder`. Raises UserError for tokenizer files that cannot be used."""
    from transformers import GotOcr2ImageProcessor, InternVLProcessor, InternVLVideoProcessor

    template = chat_template(str(layout.values.get("template")))
    side = {"height": layout.image_size, "width": layout.image_size}
    scaled = {"size": side, "image_mean": MEAN, "image_std": STD}
    images = GotOcr2ImageProcessor(
        **scaled,
        crop_to_patches=bool(layout.values.get("dynamic_image_size", True)),
        min_patches=int(layout.values.get("min_dynamic_patch", 1)),
        max_patches=int(layout.values.get("max_dynamic_patch", 12)),
    )
    return InternVLProcessor(
        images,
        build_tokenizer(folder, template),
        InternVLVideoProcessor(**scaled),
        image_seq_length=layout.tokens_per_tile,
        chat_template=template,
    )


def build_tokenizer(folder: Path, template: str) -> Any:
    """The fast tokenizer, with the names by which the processor finds its image tokens."""
    settings = _read(folder / "tokenizer_config.json")
    if str(settings.get("tokenizer_class", "")).startswith("InternLM2Tokenizer") and not (folder / "tokenizer.json").exists():
        tokenizer = _sentencepiece(folder, settings)
    else:
        tokenizer = _known(folder, settings)
    for token in (*IMAGE_TOKENS.values(), END):
        if token not in tokenizer.get_vocab():
            raise UserError(
                f"The tokenizer in '{folder}' has no token {token}; download the checkpoint's tokenizer files again."
            )
    tokenizer.chat_template = template
    return tokenizer


def _known(folder: Path, settings: dict[str, Any]) -> Any:
    """A tokenizer of a class that transformers has, from copies of its files without the checkpoint's own code."""
    from transformers import AutoTokenizer

    names = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")
    with tempfile.TemporaryDirectory() as copies:
        for name in names:
            if (folder / name).exists():
                shutil.copyfile(folder / name, Path(copies) / name)
        plain = {
            key: value for key, value in settings.items() if key not in ("auto_map", "chat_template", "extra_special_tokens")
        }
        (Path(copies) / "tokenizer_config.json").write_text(json.dumps(plain), encoding="utf-8")
        try:
            return AutoTokenizer.from_pretrained(copies, extra_special_tokens=NAMED, trust_remote_code=False)
        except (OSError, ValueError, ImportError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"The tokenizer files in '{folder}' could not be read: {reason}") from error


def _sentencepiece(folder: Path, settings: dict[str, Any]) -> Any:
    """InternLM2's tokenizer: a SentencePiece BPE model with bytes for what it does not know; added tokens may take the
    place of pieces that it left unused."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import import_protobuf

    path = folder / "tokenizer.model"
    if not path.exists():
        raise UserError(f"'{folder}' lacks tokenizer.model; download it.")
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(path.read_bytes())
    if proto.trainer_spec.model_type != 2:
        raise UserError(f"'{path}' is no SentencePiece model of the BPE kind, which InternLM2's is.")
    added = _added(folder, settings)
    pieces = [added.get(i, {"content": piece.piece})["content"] for i, piece in enumerate(proto.pieces)]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    merges = _merges(vocabulary, [piece.score for piece in proto.pieces], {i for i in range(len(pieces)) if i not in added})
    unknown_piece = pieces[proto.trainer_spec.unk_id]
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown_piece, fuse_unk=True, byte_fallback=True))
    prefix = [normalizers.Prepend("▁")] if proto.normalizer_spec.add_dummy_prefix else []
    core.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    _add(core, added, folder)
    bos = str(settings.get("bos_token") or "<s>")
    core.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos,
        eos_token=str(settings.get("eos_token") or "</s>"),
        unk_token=unknown_piece,
        pad_token=str(settings.get("pad_token") or settings.get("eos_token") or "</s>"),
        model_max_length=int(settings.get("model_max_length") or 8192),
        extra_special_tokens=NAMED,
        clean_up_tokenization_spaces=False,
    )


def _added(folder: Path, settings: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The added tokens by id, from tokenizer_config.json and added_tokens.json."""
    found = {int(i): dict(token) for i, token in (settings.get("added_tokens_decoder") or {}).items()}
    if (folder / "added_tokens.json").exists():
        for content, i in _read(folder / "added_tokens.json").items():
            found.setdefault(int(i), {"content": content, "special": True})
    return dict(sorted(found.items()))


def _add(core: Any, added: dict[int, dict[str, Any]], folder: Path) -> None:
    """Add the tokens in the order of their ids. Raises UserError where one would get another id."""
    from tokenizers import AddedToken

    for i, token in added.items():
        one = AddedToken(token["content"], normalized=False, special=bool(token.get("special", True)))
        core.add_special_tokens([one]) if one.special else core.add_tokens([one])
        if core.token_to_id(one.content) != i:
            raise UserError(f"The added token '{one.content}' of '{folder}' cannot have the id {i}: ids below it are missing.")


def _merges(vocabulary: dict[str, int], scores: list[float], usable: set[int]) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, by the score of what comes out: the order in which SentencePiece joins."""
    found = []
    for piece, i in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = vocabulary.get(piece[:cut]), vocabulary.get(piece[cut:])
            if i in usable and left in usable and right in usable:
                found.append((-scores[i], i, left, right, piece[:cut], piece[cut:]))
    return [(left, right) for *_, left, right in sorted(found)]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"'{path.parent}' lacks {path.name}; download it.")
    return json_object(path)
