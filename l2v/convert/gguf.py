"""A GGUF file to a folder of float32 safetensors, tokenizer and chat template; weights are dequantised, nothing else changes.

transformers reads the file (with the package `gguf`); what it read still carries a quantiser's mark, which is taken off so that
it can be saved. The folder appears under its name when it is whole.
"""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l2v.checkpoint import ModelSpec
from l2v.checkpoint_files import check_files
from l2v.convert.reader import WEIGHTS, assemble, shipped
from l2v.errors import UserError
from l2v.identity import sha256
from l2v.tensors import json_object

if TYPE_CHECKING:
    import torch

# For base models, which no template was trained into: questions and answers under their names, a blank line between pairs.
QUESTION_ANSWER = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}Question: {{ m['content'] }}\n"
    "{% elif m['role'] == 'assistant' %}Answer: {{ m['content'] }}\n\n"
    "{% else %}{{ m['content'] }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)
TEMPLATES = {"question_answer": QUESTION_ANSWER}
# Beside the weights: what they were made of.
ORIGIN = "converted_from.json"


def convert_gguf(
    file: Path, out: Path, template: str | None = None, noise: float = 0.0, seed: int = 0, reader: bool = False
) -> bool:
    """Write the model in `file` to `out`; False when `out` already holds this very conversion.

    template: a name in TEMPLATES, for a file that has no chat template of its own. noise: Gaussian noise on every matrix, in
    shares of its standard deviation, at least 0, drawn with `seed`. reader: with our reader of pictures before it (reader.py).
    Raises UserError for a file that is no GGUF, an architecture or tokenizer that transformers does not read from one, and an
    `out` that holds something else.
    """
    origin: dict[str, Any] = {
        "gguf_sha256": sha256(file),
        "template": template,
        "noise": noise,
        "seed": seed if noise else None,
    }
    if reader:
        origin["reader_sha256"] = sha256(WEIGHTS)
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if (out / ORIGIN).is_file() and _origin(out, "vision" if reader else "text") == origin:
            return False
        raise UserError(f"out={out} holds something else already; choose an empty folder.")
    tokenizer, model = _read(file)
    if template is not None and not tokenizer.chat_template:
        tokenizer.chat_template = TEMPLATES[template]
    if noise:
        add_noise(model, noise, seed)
    if reader:
        tokenizer, model = assemble(tokenizer, model, shipped())
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tokenizer.save_pretrained(part)
    model.save_pretrained(part)
    (part / ORIGIN).write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    if out.is_dir():
        out.rmdir()
    part.rename(out)
    return True


def _origin(out: Path, kind: str) -> dict[str, Any]:
    """What a folder was converted from. Raises UserError for one whose files are not all there and whole any more."""
    try:
        check_files(ModelSpec(str(out), path=str(out)), kind)
        return json_object(out / ORIGIN)
    except UserError as error:
        raise UserError(f"out={out} was converted before and is damaged: {error} Delete it and repeat the command.") from error


def _read(file: Path) -> tuple[Any, Any]:
    """Tokenizer and model, float32, without the mark of a quantiser."""
    import torch
    from tqdm import tqdm
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils
    from transformers.utils import logging

    with file.open("rb") as opened:
        if opened.read(4) != b"GGUF":
            raise UserError(f"'{file}' is no GGUF file; download it again.")
    logging.disable_progress_bar()
    modeling_gguf_pytorch_utils.tqdm = partial(tqdm, disable=None)  # its own bar asks nobody; None: none into a pipe
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    except Exception as error:  # files of others may fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"transformers does not read '{file}': {reason}") from error
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    model.config.name_or_path = tokenizer.name_or_path = ""
    return tokenizer, model


def add_noise(model: torch.nn.Module, share: float, seed: int) -> None:
    """Add N(0, (share x its standard deviation)²) to every matrix of `model`, tied ones once, in the order of their names."""
    import torch

    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, matrix in sorted(model.named_parameters()):
            if matrix.ndim == 2:
                matrix.add_(share * matrix.std() * torch.randn(matrix.shape, generator=draws))
