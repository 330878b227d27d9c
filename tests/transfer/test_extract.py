"""Extraction on a tiny random Llama against one forward pass per text and NumPy."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from l2v.transfer.extract import Directions, extract, format_chat, token_ids

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
    return np.array([np.quantile(np.concatenate(n), 0.5, method="lower") for n in norms[:-1]])


@pytest.mark.parametrize("batch_tokens", [60, 16384])
def test_activation_norm_is_the_median_over_tokens(source: Any, batch_tokens: int) -> None:
    """Every token of every text counts once, padding never (the last block is left to the other tests)."""
    pairs = make_pairs(13)
    np.testing.assert_allclose(
        read(source, pairs, batch_tokens).activation_norm[:-1].numpy(), all_norms(source, pairs), rtol=0.02
    )


def test_activation_norm_of_many_pairs_is_that_of_evenly_spaced_ones(source: Any) -> None:
    """60 pairs are more than the median needs: every second pair counts, the others' norms are never taken."""
    pairs = make_pairs(60, seed=4)
    found = read(source, pairs, 300).activation_norm
    np.testing.assert_allclose(found[:-1].numpy(), all_norms(source, pairs[::2]), rtol=1e-4)
    assert not np.allclose(found[:-1].numpy(), all_norms(source, pairs), rtol=1e-4)


def test_activation_norm_does_not_depend_on_the_batches(source: Any) -> None:
    """With more pairs than the median needs: `scale=relative` must not change with extract.batch_tokens."""
    pairs = make_pairs(60, seed=4)
    torch.testing.assert_close(
        read(source, pairs, 1).activation_norm, read(source, pairs, 1_000_000).activation_norm, rtol=1e-4, atol=0
    )


def test_progress_counts_tokens(source: Any) -> None:
    """Told after every batch, never backwards, and complete at the end."""
    told: list[tuple[int, int]] = []
    read(source, make_pairs(9), 100, progress=lambda done, total: told.append((done, total)))
    done = [d for d, _ in told]
    assert len(told) > 1
    assert done == sorted(set(done))
    assert {total for _, total in told} == {done[-1]} == {sum(map(len, token_lists(source, make_pairs(9))))}


def token_lists(source: Any, pairs: list[Pair]) -> list[list[int]]:
    """The ids of every text, by the tokenizer alone."""
    _, tokenizer = source
    texts = [
        tokenizer.apply_chat_template(chat.messages(), tokenize=False, add_generation_prompt=chat.assistant is None)
        for p in pairs
        for chat in (p.cot, p.direct)
    ]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


@contextmanager
def watched(source: Any, before: Callable[[torch.Tensor], None] = lambda ids: None) -> Iterator[list[torch.Size]]:
    """The shapes of the batches that go through the model; `before` may refuse one."""
    shapes: list[torch.Size] = []

    def note(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        before(kwargs["input_ids"])
        shapes.append(kwargs["input_ids"].shape)

    handle = source[0].model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield shapes
    finally:
        handle.remove()


def uneven_pairs(count: int) -> list[Pair]:
    """Chains of thought of very different lengths, and answers of a word or two."""
    rng = np.random.default_rng(5)
    thoughts = [" ".join(rng.choice(WORDS, size=n)) for n in rng.integers(2, CONTEXT - 8, count)]
    return [Pair(Chat("w0", thought), Chat("w0", "w1 w2"[: 2 + 3 * (i % 2)])) for i, thought in enumerate(thoughts)]


def test_texts_are_batched_by_their_own_length(source: Any) -> None:
    """Short answers are not padded to their chain of thought: hardly a token too many, and no batch above the budget."""
    pairs = uneven_pairs(40)
    with watched(source) as shapes:
        read(source, pairs, 200)
    assert max(shape.numel() for shape in shapes) <= 200
    assert sum(shape.numel() for shape in shapes) <= 1.2 * sum(map(len, token_lists(source, pairs)))
    assert len(shapes) < 20


def test_windows_bound_what_waits_and_change_nothing(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more pairs than a window holds, each pair still meets its own other text."""
    pairs = make_pairs(13)
    whole = read(source, pairs, 100)
    monkeypatch.setattr("l2v.transfer.extract.WINDOW", 3)
    assert_close(read(source, pairs, 100), whole)


def assert_close(found: Directions, expected: Directions) -> None:
    for name in ("mean", "trace", "mean_square", "activation_norm"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)


def assert_identical(found: Directions, expected: Directions) -> None:
    for name in ("mean", "trace", "mean_square", "activation_norm"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


# -- memory ----------------------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_halved(source: Any) -> None:
    """Out of memory above 70 tokens: the same directions, and later batches do not run into it again."""
    refused: list[int] = []

    def full(ids: torch.Tensor) -> None:
        if ids.numel() > 70:
            refused.append(ids.numel())
            raise torch.OutOfMemoryError("full")

    pairs = make_pairs(30)
    expected = read(source, pairs, 280)
    with watched(source, full) as shapes:
        assert_close(read(source, pairs, 280), expected)
    assert max(shape.numel() for shape in shapes) <= 70
    assert 1 <= len(refused) <= 3


def test_a_single_text_that_does_not_fit_is_a_user_error(source: Any) -> None:
    """There is nothing left to halve: the sentence says how long it is and what to do."""

    def full(ids: torch.Tensor) -> None:
        if ids.shape[1] > 20:
            raise torch.OutOfMemoryError("full")

    with watched(source, full), pytest.raises(UserError, match=r"text of \d+ tokens does not fit"):
        read(source, make_pairs(8), 100)


# -- resuming --------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """An interruption from outside."""


@pytest.fixture
def unprobed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No forward passes but those of the reading itself (test_batches.py holds the probe to its promise)."""
    monkeypatch.setattr("l2v.transfer.extract._Reader.may_batch", lambda *_: True)


def interrupted(source: Any, pairs: list[Pair], partial: Path, batches: int, batch_tokens: int = 100) -> None:
    """A reading that ends after so many batches."""
    told: list[int] = []

    def stop(done: int, _total: int) -> None:
        told.append(done)
        if len(told) == batches:
            raise Stop

    with pytest.raises(Stop):
        read(source, pairs, batch_tokens, progress=stop, partial=partial)


@pytest.mark.usefixtures("unprobed")
def test_an_interrupted_reading_goes_on_to_the_same_bits(source: Any, tmp_path: Path) -> None:
    """Twice interrupted: no batch runs twice, and the result is that of a reading that was not."""
    pairs = make_pairs(40, seed=2)
    with watched(source) as all_shapes:
        expected = read(source, pairs, 100)
    with watched(source) as shapes:
        interrupted(source, pairs, tmp_path / "p", 4)
        interrupted(source, pairs, tmp_path / "p", 9)
        found = read(source, pairs, 100, partial=tmp_path / "p")
    assert shapes == all_shapes
    assert len(all_shapes) > 10
    assert_identical(found, expected)


@pytest.mark.usefixtures("unprobed")
def test_a_kill_costs_one_batch(source: Any, tmp_path: Path) -> None:
    """SIGKILL right after the fifth batch went through the model: four are kept, the rest is read again."""
    pairs, partial = make_pairs(40, seed=2), tmp_path / "p"
    expected = read(source, pairs, 100)
    child = os.fork()
    if child == 0:
        source[0].model.register_forward_hook(
            lambda *_: len(list(partial.glob("*"))) == 4 and os.kill(os.getpid(), signal.SIGKILL)
        )
        read(source, pairs, 100, partial=partial)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    kept = sorted(partial.glob("*.safetensors"))
    assert len(kept) == 4
    with watched(source) as shapes:
        found = read(source, pairs, 100, partial=partial)
    assert len(list(partial.glob("*.safetensors"))) == len(shapes) + 4
    assert_identical(found, expected)


@pytest.mark.usefixtures("unprobed")
def test_another_budget_uses_what_was_kept(source: Any, tmp_path: Path) -> None:
    """After a crash the user lowers extract's batch: kept texts are not read again."""
    pairs = make_pairs(40, seed=2)
    with watched(source) as first:
        interrupted(source, pairs, tmp_path, 5, batch_tokens=200)
    with watched(source) as second:
        found = read(source, pairs, 60, partial=tmp_path)
    assert_close(found, read(source, pairs, 60))
    assert sum(shape[0] for shape in first + second) == 2 * len(pairs)
    assert len(first) == 5


@pytest.mark.parametrize("damage", ["cut", "empty", "other texts"])
def test_damaged_or_foreign_states_are_read_again(source: Any, tmp_path: Path, damage: str) -> None:
    """A file that was cut off, or belongs to other texts, never goes into a direction."""
    pairs = make_pairs(40, seed=2)
    interrupted(source, make_pairs(40, seed=3) if damage == "other texts" else pairs, tmp_path, 3)
    first = sorted(tmp_path.glob("*.safetensors"))[0]
    if damage != "other texts":
        first.write_bytes(first.read_bytes()[:-50] if damage == "cut" else b"")
    assert_identical(read(source, pairs, 100, partial=tmp_path), read(source, pairs, 100))


# -- image-text models -----------------------------------------------------------------------------------------------


PARTS_ONLY = (
    "{% for m in messages %} {{ m['role'] }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %} {{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} assistant{% endif %}"
)


def test_templates_that_want_parts_keep_the_text(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LLaVA's and Idefics2's: plain text would vanish without a word. BOS, left to the tokenizer, stands once."""
    _, tokenizer = source
    monkeypatch.setattr(tokenizer, "chat_template", PARTS_ONLY)
    assert "w1" not in tokenizer.apply_chat_template(Chat("w1").messages(), tokenize=False)  # the trap is set
    assert format_chat(tokenizer, Chat("w1")) == " user w1 assistant"
    assert format_chat(tokenizer, Chat("w1", "w2 w3")) == " user w1 assistant w2 w3"
    ids = token_ids(tokenizer, format_chat(tokenizer, Chat("w1")), tokenizer_bos=True)
    assert (ids[0], ids.count(tokenizer.bos_token_id), len(ids)) == (tokenizer.bos_token_id, 1, 4)
    assert token_ids(tokenizer, format_chat(tokenizer, Chat("w1"))) == ids[1:]
    monkeypatch.setattr(tokenizer, "chat_template", "{{ bos_token }}" + PARTS_ONLY)
    assert token_ids(tokenizer, format_chat(tokenizer, Chat("w1")), tokenizer_bos=True) == ids


# As Qwen3's: a turn's thoughts are set apart by line breaks, and a turn without any is given empty ones.
THINKING = (
    "{% for m in messages %}{% if m['role'] == 'user' %} user {{ m['content'] }}{% else %} assistant "
    "{% set parts = m['content'].split('</think>') %}"
    "<think>\n{{ parts[0].split('<think>')[-1].strip() if parts|length > 1 else '' }}\n</think>\n\n{{ parts[-1].strip() }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %} assistant{% endif %}"
)
DROPPING = THINKING.replace("{{ parts[0].split('<think>')[-1].strip() if parts|length > 1 else '' }}", "")


@pytest.mark.parametrize(
    ("template", "turn", "written"),
    [
        (THINKING, "<think>w2</think>w3", "<think>\nw2\n</think>\n\nw3"),
        (THINKING, "w3", "<think>\n\n</think>\n\nw3"),
        (DROPPING, "<think>w2</think>w3", "<think>w2</think>w3"),
        (DROPPING, "w3", "<think>\n\n</think>\n\nw3"),
    ],
)
def test_thoughts_stand_once(source: Any, monkeypatch: pytest.MonkeyPatch, template: str, turn: str, written: str) -> None:
    """A turn that the template keeps is left as it writes it; one of which it drops a part is put back without a second one."""
    _, tokenizer = source
    monkeypatch.setattr(tokenizer, "chat_template", template)
    for question in ("w1", f"w1 {turn}"):  # also where the question holds the same words
        assert format_chat(tokenizer, Chat(question, turn)) == f" user {question} assistant {written}"


def test_a_template_that_raises_is_one_sentence(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless content in parts is what it wants."""
    _, tokenizer = source
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('no such role') }}")
    with pytest.raises(UserError, match="chat template of .* fails: no such role"):
        format_chat(tokenizer, Chat("w1"))
    monkeypatch.setattr(tokenizer, "chat_template", "{% for m in messages %}{{ m['content'][0]['text'] + '' }}{% endfor %}")
    assert format_chat(tokenizer, Chat("w1")) == "w1"


def test_templates_without_the_question_are_refused(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as text nor in parts: there is no direction to read from nothing."""
    _, tokenizer = source
    monkeypatch.setattr(tokenizer, "chat_template", "{{ bos_token }} assistant")
    with pytest.raises(UserError, match="leaves out the question"):
        format_chat(tokenizer, Chat("w1"))


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
