"""Reading directions from long, very uneven texts: pairs padded to each other (before) against texts by length (now).

    python experiments/speed/extract.py                                   # a minute on one core
    python experiments/speed/extract.py --device cuda --dtype bfloat16 --width 5120 --layers 64 --pairs 100 --scale 8

A random decoder reads thoughts of 100-1500 tokens (times --scale) and answers of 10-150, as STILL-2's are spread. Both
ways run in this process, in turn, on the same texts; the best of --repeats counts. Writes extract.csv beside this file and
ends with one JSON line: seconds before over now, tokens that went through the model per token of text, and the largest
difference of the directions relative to their norm.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from l2v.steering.models import decoder_layers
from l2v.transfer.contrast import Chat, Pair
from l2v.transfer.extract import extract, format_chat, token_ids

HERE = Path(__file__).parent
WORDS = 500
TEMPLATE = "<s>{% for m in messages %} {{ m['role'] }} {{ m['content'] }}{% endfor %} </s>"


def settings() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the lengths of the texts")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    return parser.parse_args()


def source(args: argparse.Namespace) -> tuple[LlamaForCausalLM, Any]:
    """A random decoder and a word-level tokenizer."""
    words = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", *(f"w{i}" for i in range(WORDS))]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens(words[:4])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=args.width,
        intermediate_size=args.width * 11 // 4,
        num_hidden_layers=args.layers,
        num_attention_heads=max(args.width // 128, 4),
        num_key_value_heads=max(args.width // 512, 2),
        max_position_embeddings=1 << 17,
    )
    with torch.device(args.device):
        return LlamaForCausalLM._from_config(config, dtype=getattr(torch, args.dtype)).eval(), tokenizer


def texts(pairs: int, scale: float) -> list[Pair]:
    """Thoughts whose lengths differ by a factor of ten, and short answers."""
    rng = np.random.default_rng(0)

    def words(low: int, high: int) -> str:
        length = round(scale * float(np.exp(rng.uniform(np.log(low), np.log(high)))))
        return " ".join(f"w{i}" for i in rng.integers(0, WORDS, max(length, 1)))

    return [Pair(Chat(question, words(100, 1500)), Chat(question, words(10, 150))) for question in (words(10, 60),) * pairs]


def by_pairs(model: LlamaForCausalLM, tokenizer: Any, pairs: Sequence[Pair], batch_tokens: int) -> Tensor:
    """The way before: batches of pairs, both sides as long as the pair's longer text, and every token's norm kept."""
    encoded = [[token_ids(tokenizer, format_chat(tokenizer, chat)) for chat in (p.cot, p.direct)] for p in pairs]
    total = torch.zeros(len(decoder_layers(model)), model.config.hidden_size)
    norms: list[Tensor] = []
    for batch in pair_batches([max(map(len, pair)) for pair in encoded], batch_tokens):
        sides = []
        for side in (0, 1):
            states, of_tokens = masked_pass(model, [encoded[i][side] for i in batch])
            sides.append(states)
            norms.append(of_tokens)
        total += (sides[0] - sides[1]).sum(dim=1)
    return total / len(pairs)


def pair_batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices by falling length, at most `batch_tokens` padded tokens a side."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i], reverse=True):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    yield batch


def masked_pass(model: LlamaForCausalLM, batch: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Final states (layers, texts, d) and the norms of all tokens, moved to the CPU layer by layer."""
    lengths = torch.tensor([len(ids) for ids in batch], device=model.device)
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in batch], device=model.device)
    states: list[Tensor] = []
    norms: list[Tensor] = []

    def keep(_module: Any, _args: Any, hidden: Tensor) -> None:
        states.append(hidden[torch.arange(len(batch), device=hidden.device), lengths - 1].float())
        norms.append(torch.linalg.vector_norm(hidden.float(), dim=-1))

    handles = [layer.register_forward_hook(keep) for layer in decoder_layers(model)]
    with torch.no_grad():
        model.model(
            input_ids=ids, attention_mask=(torch.arange(width, device=ids.device) < lengths[:, None]).long(), use_cache=False
        )
    for handle in handles:
        handle.remove()
    return torch.stack([s.cpu() for s in states]), torch.stack([n.cpu() for n in norms])


def measured(model: LlamaForCausalLM, way: Callable[[], Tensor], repeats: int) -> tuple[float, int, int, float, Tensor]:
    """Best seconds, tokens and batches that went through the model, peak GiB on the accelerator, and the directions."""
    shapes: list[torch.Size] = []
    handle = model.model.register_forward_pre_hook(lambda _m, _a, k: shapes.append(k["input_ids"].shape), with_kwargs=True)
    seconds = []
    for _ in range(repeats):
        shapes.clear()
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        found = way()
        seconds.append(time.perf_counter() - start)
    handle.remove()
    peak = torch.cuda.max_memory_allocated() / 2**30 if model.device.type == "cuda" else 0.0
    return min(seconds), sum(shape.numel() for shape in shapes), len(shapes), peak, found


def main() -> None:
    """Both ways, the table, and the JSON line."""
    args = settings()
    model, tokenizer = source(args)
    pairs = texts(args.pairs, args.scale)
    layers = decoder_layers(model)
    real = sum(len(token_ids(tokenizer, format_chat(tokenizer, chat))) for p in pairs for chat in (p.cot, p.direct))
    ways: dict[str, Callable[[], Tensor]] = {
        "pairs": lambda: by_pairs(model, tokenizer, pairs, args.batch_tokens),
        "texts": lambda: extract(model, tokenizer, layers, pairs, batch_tokens=args.batch_tokens).mean,
    }
    results = {name: measured(model, way, args.repeats) for name, way in ways.items()}
    with (HERE / "extract.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["way", "seconds", "tokens_of_text", "tokens_run", "batches", "peak_gib", "device", "width", "layers"])
        for name, (seconds, run, batches, peak, _) in results.items():
            row = [name, f"{seconds:.3f}", real, run, batches, f"{peak:.2f}", args.device, args.width, args.layers]
            print("  ".join(map(str, row)))
            table.writerow(row)
    before, now = results["pairs"], results["texts"]
    difference = float(((now[4] - before[4]).norm(dim=1) / before[4].norm(dim=1)).max())
    numbers = {
        "speedup": round(before[0] / now[0], 2),
        "tokens_per_token_before": round(before[1] / real, 3),
        "tokens_per_token_now": round(now[1] / real, 3),
        "largest_difference": float(f"{difference:.1e}"),
    }
    print(json.dumps(numbers))


if __name__ == "__main__":
    main()
