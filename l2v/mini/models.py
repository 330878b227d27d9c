"""Building, growing and drifting the miniature's models; all are stock Llama and Llava architectures.

The residual stream is treated as a signal over its hidden index. `grow` and `drift` change its basis without changing
the function: RMSNorm with unit gains commutes with every isometry, so it is enough to rewrite the matrices that read
from the stream (q, k, v, gate, up, lm_head) and those that write to it (embeddings, o, down, the projector).
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from l2v.mini import problems

WIDTH = 96  # hidden size of the base LM and of the VLMs' language models
WIDE = 160  # hidden size of the sources: kin and strangers
LAYERS = 4
HEADS = 4
MLP = 256
KIN_MLP = 352  # keeps kin under 4 MB
SHARED_BINS = 17  # frequency bins 0 to 16, which the drift leaves alone


def build_lm(tokenizer: PreTrainedTokenizerFast, width: int, layers: int = LAYERS) -> LlamaForCausalLM:
    """A Llama with fresh weights drawn from torch's global generator."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=MLP,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=width // HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        **_special(tokenizer),
    )
    model = LlamaForCausalLM(config)
    model.generation_config = _generation_config(tokenizer)
    return model


def build_vlm(base: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """A Llava with a fresh tower and projector around a copy of the base LM."""
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=problems.CELL * problems.GRID,
        patch_size=problems.CELL,
        projection_dim=64,
    )
    text = copy.deepcopy(base.config)
    text._name_or_path = ""  # it would write the folder of this training run into the checkpoint
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(problems.IMAGE_TOKEN),
        image_seq_length=problems.N_CELLS,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        **_special(tokenizer),
    )
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(base.model.state_dict())
    model.lm_head.load_state_dict(base.lm_head.state_dict())
    model.generation_config = _generation_config(tokenizer)
    return model


@torch.no_grad()
def grow(base: LlamaForCausalLM, width: int, mlp: int) -> LlamaForCausalLM:
    """The base LM widened in the frequency domain; its logits stay the same up to rounding.

    A state h of the base becomes irfft(zero-padded rfft(h)) of the larger width, times the factor that keeps its norm:
    every frequency bin keeps its meaning. The new MLP rows start at random and write nothing.

    Args:
        base: the model to grow; left as it is.
        width: new hidden size, larger than the base's.
        mlp: new intermediate size, at least the base's.
    """
    small = base.config.hidden_size
    config = copy.deepcopy(base.config)
    config.update(
        {
            "hidden_size": width,
            "intermediate_size": mlp,
            # The mean square of an equally long vector shrinks with the width, and eps is added to the mean square.
            "rms_norm_eps": base.config.rms_norm_eps * small / width,
        }
    )
    grown = LlamaForCausalLM(config)
    grown.generation_config = copy.deepcopy(base.generation_config)
    lift = resampling(small, width)
    _copy_rewritten(base.model, base.lm_head, grown.model, grown.lm_head, lift, math.sqrt(small / width))
    return grown


@torch.no_grad()
def drift(vlm: LlavaForConditionalGeneration, rotation: torch.Tensor) -> LlavaForConditionalGeneration:
    """The same VLM with its language residual stream rotated; its logits stay the same up to rounding.

    Args:
        vlm: the model to rotate; left as it is.
        rotation: orthogonal, (hidden_size, hidden_size), float64.
    """
    drifted = LlavaForConditionalGeneration(copy.deepcopy(vlm.config))
    drifted.generation_config = copy.deepcopy(vlm.generation_config)
    drifted.load_state_dict(vlm.state_dict())
    _copy_rewritten(vlm.model.language_model, vlm.lm_head, drifted.model.language_model, drifted.lm_head, rotation, 1.0)
    last = drifted.model.multi_modal_projector.linear_2
    last.weight.copy_(rotation @ last.weight.double())
    last.bias.copy_(rotation @ last.bias.double())
    return drifted


def resampling(small: int, large: int) -> torch.Tensor:
    """The isometry (large, small), float64, that zero-pads the spectrum of a signal of even length `small`."""
    spectrum = torch.fft.rfft(torch.eye(small, dtype=torch.float64), dim=0)
    # The Nyquist bin is one real dimension at the small width and one of a conjugate pair at the large one: undivided,
    # it would carry twice its energy.
    spectrum[-1] /= math.sqrt(2.0)
    padded = torch.zeros(large // 2 + 1, small, dtype=torch.complex128)
    padded[: len(spectrum)] = spectrum
    return torch.fft.irfft(padded, n=large, dim=0) * math.sqrt(large / small)


def high_band_rotation(width: int, shared_bins: int, generator: torch.Generator) -> torch.Tensor:
    """Orthogonal (width, width), float64: identity on the first rfft bins, uniformly random on the others."""
    basis = fourier_basis(width)
    shared = 2 * shared_bins - 1  # DC is one dimension, each further bin two
    gaussian = torch.randn(width - shared, width - shared, dtype=torch.float64, generator=generator)
    q, r = torch.linalg.qr(gaussian)
    inner = torch.eye(width, dtype=torch.float64)
    inner[shared:, shared:] = q * r.diagonal().sign()  # without the signs QR is not uniform over the orthogonal group
    return basis @ inner @ basis.T


def fourier_basis(width: int) -> torch.Tensor:
    """The real orthonormal Fourier basis of an even width: columns DC, cos 1, sin 1, …, Nyquist; float64."""
    time = torch.arange(width, dtype=torch.float64)
    columns = [torch.full((width,), 1 / math.sqrt(width), dtype=torch.float64)]
    for frequency in range(1, width // 2):
        angle = 2 * math.pi * frequency * time / width
        columns += [math.sqrt(2 / width) * angle.cos(), math.sqrt(2 / width) * angle.sin()]
    columns.append((1 - 2 * (time % 2)) / math.sqrt(width))
    return torch.stack(columns, dim=1)


def _copy_rewritten(
    source: LlamaModel,
    source_head: nn.Linear,
    target: LlamaModel,
    target_head: nn.Linear,
    lift: torch.Tensor,
    read: float,
) -> None:
    """Write the source decoder into the target with its residual stream mapped by the isometry `lift`.

    `read` undoes the change of the normalised stream's scale when the width grows. Norm gains are folded into the
    matrices that read the stream, and set to one. A wider MLP keeps its own extra rows, with zero down-columns.
    """
    target.embed_tokens.weight.copy_(source.embed_tokens.weight.double() @ lift.T)
    for old, new in zip(source.layers, target.layers, strict=True):
        for name in ("q_proj", "k_proj", "v_proj"):
            weight = getattr(old.self_attn, name).weight
            getattr(new.self_attn, name).weight.copy_(_reading(weight, old.input_layernorm, lift, read))
        new.self_attn.o_proj.weight.copy_(lift @ old.self_attn.o_proj.weight.double())
        rows = old.mlp.gate_proj.out_features
        for name in ("gate_proj", "up_proj"):
            weight = getattr(old.mlp, name).weight
            getattr(new.mlp, name).weight[:rows].copy_(_reading(weight, old.post_attention_layernorm, lift, read))
        new.mlp.down_proj.weight[:, :rows].copy_(lift @ old.mlp.down_proj.weight.double())
        new.mlp.down_proj.weight[:, rows:] = 0.0
        nn.init.ones_(new.input_layernorm.weight)
        nn.init.ones_(new.post_attention_layernorm.weight)
    target_head.weight.copy_(_reading(source_head.weight, source.norm, lift, read))
    nn.init.ones_(target.norm.weight)


def _reading(weight: torch.Tensor, norm: LlamaRMSNorm, lift: torch.Tensor, read: float) -> torch.Tensor:
    return (weight.double() * norm.weight.double()) @ lift.T * read


def _special(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}


def _generation_config(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=32,
        **_special(tokenizer),
    )
