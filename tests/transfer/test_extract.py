"""Extraction on a tiny random Llama against one forward pass per text and NumPy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from l2v.errors import UserError
from l2v.steering.models import decoder_layers
from l2v.transfer.contrast import Chat, Pair
from l2v.transfer.extract import Directions, extract

LAYERS, WIDTH, CONTEXT = 3, 32, 64
WORDS = [f"w{i}" for i in range(40)]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %} {{ m['role'] }} {{ m['content'] }}"
    "{% if m['role'] == 'assistant' %} {{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} assistant{% endif %}"
)


@pytest.fixture(scope="module")
def source() -> tuple[LlamaForCausalLM, Any]:
    """A random Llama with strong weights, and a word-level tokenizer that pads on the left, as many do."""
    words = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", *WORDS]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens(words[:4])
    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])  # as Llama's: a BOS of its own
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", padding_side="left"
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval(), tokenizer


def make_pairs(count: int, seed: int = 0) -> list[Pair]:
    """Pairs of random words, of many lengths, some without a response."""
    rng = np.random.default_rng(seed)

    def words(low: int, high: int) -> str:
        return " ".join(rng.choice(WORDS, size=int(rng.integers(low, high))))

    pairs = []
    for i in range(count):
        question = words(1, 12)
        if i % 4:
            pairs.append(Pair(Chat(question, words(5, 40)), Chat(question, words(1, 4))))
        else:
            pairs.append(Pair(Chat(f"{question} w0"), Chat(f"{question} w1")))
    return pairs


def naive_states(model: LlamaForCausalLM, tokenizer: Any, chat: Chat) -> np.ndarray:
    """(layers, d): `hidden_states[l + 1]` at the last token of one text by itself."""
    text = tokenizer.apply_chat_template(chat.messages(), tokenize=False, add_generation_prompt=chat.assistant is None)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    before_norm: list[torch.Tensor] = []
    handle = model.model.norm.register_forward_pre_hook(lambda _m, args: before_norm.append(args[0]))
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
    handle.remove()
    # transformers applies the final norm to the last entry: the last block's output is what goes into that norm.
    blocks = [*states[1:-1], before_norm[0]]
    return np.stack([s[0, -1].double().numpy() for s in blocks])


def naive_contrasts(source: tuple[LlamaForCausalLM, Any], pairs: list[Pair]) -> np.ndarray:
    """u_i(l), shape (pairs, layers, d), float64 (Eq. 1)."""
    return np.stack([naive_states(*source, p.cot) - naive_states(*source, p.direct) for p in pairs])


def read(source: tuple[LlamaForCausalLM, Any], pairs: list[Pair], batch_tokens: int = 16384, **options: Any) -> Directions:
    """`extract` on the fixture's blocks."""
    model, tokenizer = source
    return extract(model, tokenizer, decoder_layers(model), pairs, batch_tokens=batch_tokens, **options)


@pytest.mark.parametrize("batch_tokens", [1, 60, 200, 16384])
def test_directions_equal_one_text_at_a_time(source: Any, batch_tokens: int) -> None:
    """Mean, covariance trace and mean square of u_i, whatever the batching (Eq. 1, 2; METHOD 5)."""
    pairs = make_pairs(13)
    u = naive_contrasts(source, pairs)
    found = read(source, pairs, batch_tokens)
    assert found.n == 13
    np.testing.assert_allclose(found.mean.numpy(), u.mean(axis=0), atol=1e-4)
    covariance = [np.trace(np.cov(u[:, layer].T, bias=True)) for layer in range(LAYERS)]
    np.testing.assert_allclose(found.trace.numpy(), covariance, rtol=1e-4)
    np.testing.assert_allclose(found.mean_square.numpy(), (u**2).sum(axis=2).mean(axis=0), rtol=1e-4)
    assert np.linalg.norm(u.mean(axis=0), axis=1).min() > 0.1  # the tolerance above is a small part of what is read


def test_order_of_pairs_does_not_matter(source: Any) -> None:
    """Texts are sorted by length inside; the result belongs to the set."""
    pairs = make_pairs(13)
    forward, backward = read(source, pairs, 100), read(source, pairs[::-1], 100)
    for name in ("mean", "trace", "mean_square", "activation_norm"):
        torch.testing.assert_close(getattr(forward, name), getattr(backward, name), rtol=1e-4, atol=1e-4)


def all_norms(source: Any, pairs: list[Pair]) -> np.ndarray:
    """(layers,): the median over every token of every text of its state's norm after each block, one text at a time."""
    model, tokenizer = source
    norms: list[list[np.ndarray]] = [[] for _ in range(LAYERS)]
    for chat in [side for p in pairs for side in (p.cot, p.direct)]:
        text = tokenizer.apply_chat_template(chat.messages(), tokenize=False, add_generation_prompt=chat.assistant is None)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = model(input_ids=ids, output_hidden_states=True).hidden_states
        for layer in range(LAYERS - 1):
            norms[layer].append(np.linalg.norm(states[layer + 1][0].double().numpy(), axis=-1))
    return np.array([np.median(np.concatenate(n)) for n in norms[:-1]])


@pytest.mark.parametrize("batch_tokens", [60, 16384])
def test_activation_norm_is_the_median_over_tokens(source: Any, batch_tokens: int) -> None:
    """Every token of every text counts once, padding never (the last block is left to the other tests)."""
    pairs = make_pairs(13)
    np.testing.assert_allclose(
        read(source, pairs, batch_tokens).activation_norm[:-1].numpy(), all_norms(source, pairs), rtol=0.02
    )


def test_activation_norm_does_not_depend_on_the_batches(source: Any) -> None:
    """With more pairs than the median needs: `scale=relative` must not change with extract.batch_tokens."""
    pairs = make_pairs(60, seed=4)
    torch.testing.assert_close(
        read(source, pairs, 1).activation_norm, read(source, pairs, 1_000_000).activation_norm, rtol=1e-4, atol=0
    )


def test_progress_counts_pairs(source: Any) -> None:
    """Each pair is reported once."""
    done: list[int] = []
    read(source, make_pairs(9), 100, progress=done.append)
    assert sum(done) == 9
    assert len(done) > 1


def test_extraction_leaves_no_hook(source: Any) -> None:
    """Also when the model fails inside."""
    model, _ = source
    before = [len(block._forward_hooks) for block in decoder_layers(model)]  # transformers keeps some of its own
    read(source, make_pairs(2))
    handle = decoder_layers(model)[1].register_forward_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            read(source, make_pairs(2))
    finally:
        handle.remove()
    assert [len(block._forward_hooks) for block in decoder_layers(model)] == before


def test_save_and_load_round_trip(source: Any, tmp_path: Path) -> None:
    """Bit for bit, with the provenance, and no half-written file beside it."""
    provenance = {"model": "tiny", "per_domain": 100, "nested": {"kind": "prompts", "seeds": [1, 2]}, "text": "ß∑"}
    found = read(source, make_pairs(5), provenance=provenance)
    path = tmp_path / "folder" / "directions.safetensors"
    found.save(path)
    again = Directions.load(path)
    for field in dataclasses.fields(Directions):
        was, now = getattr(found, field.name), getattr(again, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now, field.name
    assert again.provenance == provenance
    assert [p.name for p in path.parent.iterdir()] == ["directions.safetensors"]


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "cut", "foreign", "header"])
def test_a_corrupt_file_is_a_user_error(source: Any, tmp_path: Path, damage: str) -> None:
    """The sentence names the file and says that it may be deleted."""
    from safetensors.torch import save_file

    path = tmp_path / "directions.safetensors"
    found = read(source, make_pairs(2))
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not a file of directions " * 10)
    elif damage == "cut":
        found.save(path)
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        save_file({"weight": torch.zeros(3)}, str(path))
    elif damage == "header":
        names = ("mean", "trace", "mean_square", "activation_norm")
        save_file({n: getattr(found, n) for n in names}, str(path), metadata={"n": "many", "provenance": "{"})
    with pytest.raises(UserError, match=r"directions\.safetensors"):
        Directions.load(path)


def test_a_text_longer_than_the_context_is_refused(source: Any) -> None:
    """Nothing is cut silently: the message has the length and the limit. The longest text that fits is read."""
    frame = 4  # <s> user … assistant … </s>, one word of question is counted below
    fits = Chat("w0", " ".join(["w1"] * (CONTEXT - frame - 1)))
    over = Chat("w0", " ".join(["w1"] * (CONTEXT - frame)))
    assert read(source, [Pair(fits, Chat("w0", "w2"))]).n == 1
    with pytest.raises(UserError, match=f"{CONTEXT + 1} tokens.*{CONTEXT}"):
        read(source, [Pair(over, Chat("w0", "w2"))])
    with pytest.raises(UserError, match=f"{CONTEXT + 1} tokens.*{CONTEXT}"):
        read(source, [Pair(Chat("w0", "w2"), over)])


def test_contrasts_without_a_difference_are_refused(source: Any) -> None:
    """No pairs, or only pairs of equal texts."""
    with pytest.raises(UserError, match="empty"):
        read(source, [])
    with pytest.raises(UserError, match="equal"):
        read(source, [Pair(Chat("w0"), Chat("w0"))] * 3)


def test_states_that_are_not_finite_are_refused(source: Any) -> None:
    """An overflow in the source names the dtype as the mend."""
    model, _ = source
    handle = decoder_layers(model)[1].register_forward_hook(lambda _m, _a, output: output * float("inf"))
    try:
        with pytest.raises(UserError, match="not finite"):
            read(source, make_pairs(2))
    finally:
        handle.remove()
