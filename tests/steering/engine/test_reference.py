"""Rows through `generate` with an Intervention against Hugging Face alone, one request at a time, with a hook of its own."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import families
import pytest
import torch

from l2v.errors import InterventionError, UserError
from l2v.steering.engine.engine import (
    Decoding,
    Engine,
    Request,
    Response,
    Steering,
    batched,
    check_effect,
    combined,
    generate_rows,
    require_effect,
)
from l2v.steering.models import LoadedModel

STEPS = 8


def requests() -> list[Request]:
    """Prompts of different lengths: one image, one image inside, two images, none."""
    words, picture = families.question, families.picture
    return [
        Request("one", f"<image>{words(4)}", (picture(28, 28, 0),)),
        Request("inside", f"{words(9, 1)} <image> {words(3, 2)}", (picture(40, 28, 1),)),
        Request("two", f"<image> w1 <image> {words(2, 3)}", (picture(28, 56, 2), picture(28, 28, 3))),
        Request("none", words(6, 4)),
    ]


def decoded(loaded: LoadedModel, ids: list[int]) -> str:
    """The words of an answer, up to its end token."""
    end = loaded.tokenizer.eos_token_id
    return str(loaded.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids))


def test_mixed_rows_equal_a_hand_written_hook(llava: LoadedModel, oracle: Any) -> None:
    """Every request under four steerings in one batch: text and length are those of one request under a plain hook."""
    settings = [None, families.steering(0, 0, 0.8), families.steering(1, 1, 0.4), families.steering(2, 2, 1.5)]
    rows = [(request, s) for request in requests() for s in settings]
    answers = generate_rows(llava, rows, Decoding(STEPS))
    texts = []
    for (request, s), answer in zip(rows, answers, strict=True):
        ids = oracle(llava, request, None if s is None else (s.vector, s.layer, s.alpha), STEPS)
        assert (answer.text, answer.tokens) == (decoded(llava, ids), len(ids)), (request.id, s and s.layer)
        texts.append(answer.text)
    steered = [text != texts[4 * (i // 4)] for i, text in enumerate(texts)]
    assert sum(steered) >= 8


def test_alpha_zero_equals_no_steering(llava: LoadedModel) -> None:
    """As None, alone and beside a steered row."""
    request = requests()[0]
    still = families.steering(0, 1, 0.0)
    (plain,) = generate_rows(llava, [(request, None)], Decoding(STEPS))
    assert generate_rows(llava, [(request, still)], Decoding(STEPS)) == [plain]
    beside = generate_rows(llava, [(request, still), (request, families.steering(0, 1, 0.9)), (request, None)], Decoding(STEPS))
    assert beside[0] == beside[2] == plain != beside[1]


@pytest.mark.parametrize("order", ["iinn", "nnii", "ttnn", "nntt", "tton", "otto", "ntot"])
def test_repeated_requests_keep_their_images(llava: LoadedModel, order: str) -> None:
    """Batches that repeat one request object, with none, one and two images: each row sees its own pictures."""
    by_letter = dict(zip("oitn", requests(), strict=True))
    alone = {letter: generate_rows(llava, [(r, None)], Decoding(STEPS))[0] for letter, r in by_letter.items()}
    together = generate_rows(llava, [(by_letter[letter], None) for letter in order], Decoding(STEPS))
    assert together == [alone[letter] for letter in order]
    assert len({r.text for r in alone.values()}) == 4


def test_a_prefix_begins_the_answer(llava: LoadedModel) -> None:
    """It stands after the generation prompt, moves the answer, and is not repeated in it."""
    request = requests()[0]
    begun = dataclasses.replace(request, prefix=" w7 w8")
    plain, answer = generate_rows(llava, [(request, None), (begun, None)], Decoding(STEPS))
    assert answer != plain
    inputs = llava.processor(  # type: ignore[misc]
        text=f"<s> user : <image> {families.question(4)} assistant : w7 w8",
        images=list(request.images),
        add_special_tokens=False,
        return_tensors="pt",
    )
    ids = llava.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert answer.text == decoded(llava, ids.tolist())


def test_images_without_a_placeholder_come_first(llava: LoadedModel) -> None:
    """A question that does not say where its image belongs is answered as one with the image before the text."""
    one = requests()[0]
    bare, last = (dataclasses.replace(one, text=text) for text in (families.question(4), f"{families.question(4)}<image>"))
    answers = generate_rows(llava, [(request, None) for request in (one, bare, last)], Decoding(STEPS))
    assert answers[0] == answers[1] != answers[2]


# -- where answers end -----------------------------------------------------------------------------------------------


def ended_by(loaded: LoadedModel, token: str | None) -> LoadedModel:
    """The same model with another end token (None: the one that it has)."""
    model = copy.copy(loaded.model)
    model.generation_config = copy.deepcopy(loaded.model.generation_config)
    if token is not None:
        model.generation_config.eos_token_id = loaded.tokenizer.convert_tokens_to_ids(token)
    return dataclasses.replace(loaded, model=model)


def test_length_and_truncation(llava: LoadedModel) -> None:
    """An answer cut by the limit is truncated; one that ends by itself counts its end token, whatever its neighbours."""
    one, inside = requests()[:2]
    (long,) = generate_rows(llava, [(one, None)], Decoding(STEPS))
    assert (long.tokens, long.truncated, len(long.text.split())) == (STEPS, True, STEPS)
    # Make the fourth word of this answer the end token: the same model now ends there.
    words = long.text.split()
    end = next(i for i, word in enumerate(words) if i >= 2 and word not in words[:i])
    short = ended_by(llava, words[end])
    neighbour, answer = generate_rows(short, [(inside, None), (one, None)], Decoding(STEPS))
    assert (answer.tokens, answer.truncated) == (end + 1, False)
    assert answer.text.split()[:end] == words[:end]
    assert generate_rows(short, [(one, None)], Decoding(STEPS)) == [answer]
    assert neighbour.tokens > answer.tokens
    # Ending exactly at the limit is no truncation; one token less is.
    assert not generate_rows(short, [(one, None)], Decoding(end + 1))[0].truncated
    assert generate_rows(short, [(one, None)], Decoding(end))[0] == Response(" ".join(words[:end]), end, True)


def test_a_list_of_end_tokens(llava: LoadedModel) -> None:
    """Any of them ends an answer (Qwen's generation config names two)."""
    one = requests()[0]
    words = generate_rows(llava, [(one, None)], Decoding(STEPS))[0].text.split()
    several = ended_by(llava, None)
    several.model.generation_config.eos_token_id = [
        llava.tokenizer.eos_token_id,
        llava.tokenizer.convert_tokens_to_ids(words[2]),
    ]
    (answer,) = generate_rows(several, [(one, None)], Decoding(STEPS))
    assert answer.tokens == words.index(words[2]) + 1
    assert not answer.truncated


@pytest.mark.parametrize("pad", ["<pad>", "</s>"])
def test_stop_strings(llava: LoadedModel, pad: str) -> None:
    """The text ends before the first stop string; its length does not depend on the neighbours, nor on the pad token."""
    one, inside = requests()[:2]
    padded = dataclasses.replace(llava, tokenizer=copy.deepcopy(llava.tokenizer), processor=copy.deepcopy(llava.processor))
    assert padded.processor is not None
    padded.processor.tokenizer = padded.tokenizer
    padded.tokenizer.pad_token = pad
    words = generate_rows(padded, [(one, None)], Decoding(STEPS))[0].text.split()
    neighbour_words = generate_rows(padded, [(inside, None)], Decoding(STEPS))[0].text.split()
    at = next(i for i, word in enumerate(words) if i >= 2 and word not in [*words[:i], *neighbour_words] and len(word) == 3)
    stop = Decoding(STEPS, (words[at], "never"))
    (alone,) = generate_rows(padded, [(one, None)], stop)
    assert alone == Response(" ".join(words[:at]) + " ", at + 1, False)
    together = generate_rows(padded, [(one, None), (inside, None)], stop)
    assert together == [alone, Response(" ".join(neighbour_words), STEPS, True)]


def test_a_stop_string_that_is_a_special_token(llava: LoadedModel) -> None:
    """It ends the answer without being part of its text; the filling behind it is neither length nor truncation."""
    one, inside = requests()[:2]
    words = generate_rows(llava, [(one, None)], Decoding(STEPS))[0].text.split()
    neighbour_words = generate_rows(llava, [(inside, None)], Decoding(STEPS))[0].text.split()
    at = next(i for i, word in enumerate(words) if i >= 2 and word not in [*words[:i], *neighbour_words] and len(word) == 3)
    target = dataclasses.replace(llava, tokenizer=copy.deepcopy(llava.tokenizer), processor=copy.deepcopy(llava.processor))
    assert target.processor is not None
    target.processor.tokenizer = target.tokenizer
    target.tokenizer.add_special_tokens({"additional_special_tokens": [words[at]]})
    stop = Decoding(STEPS, (words[at],))
    (alone,) = generate_rows(target, [(one, None)], stop)
    assert alone == Response(" ".join(words[:at]), at + 1, False)
    assert generate_rows(target, [(one, None), (inside, None)], stop)[0] == alone


# -- memory ----------------------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_is_halved(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers and their order are those of the whole batch; a single row that does not fit is an error."""
    rows = [(r, s) for r in requests()[:3] for s in (None, families.steering(0, 1, 0.9))][:5]
    expected = generate_rows(llava, rows, Decoding(STEPS))
    original, sizes = llava.model.generate, []
    limit = 2

    def small_memory(**inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("not enough")
        return original(**inputs)

    monkeypatch.setattr(llava.model, "generate", small_memory)
    assert generate_rows(llava, rows, Decoding(STEPS)) == expected
    assert max(sizes) == 5
    limit = 0
    with pytest.raises(torch.OutOfMemoryError):
        generate_rows(llava, rows, Decoding(STEPS))


def test_batches_hold_every_row_once() -> None:
    """In order, at most `size` at a time."""
    rows = [(Request(str(i), "w1"), None) for i in range(7)]
    parts = list(batched(rows, 3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [row for part in parts for row in part] == rows


# -- lost writes -----------------------------------------------------------------------------------------------------


@contextmanager
def deaf_after(loaded: LoadedModel, layer: int) -> Iterator[None]:
    """The model with one block whose steered output nothing reads: the next block gets what the block itself gave."""
    own: list[torch.Tensor] = []
    handles = [
        loaded.layers[layer].register_forward_hook(lambda _module, _args, output: own.append(output.clone())),
        loaded.layers[layer + 1].register_forward_pre_hook(lambda _module, args: (own[-1], *args[1:])),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_check_effect_finds_lost_writes(llava: LoadedModel) -> None:
    """By their index in the list, whether or not unsteered settings stand between them."""
    request = requests()[1]
    kinds = ("all", "text", "prompt", "generated", "decode", "release")
    live = [families.steering(i, i % 3, 0.8, kind) for i, kind in enumerate(kinds)]
    assert check_effect(llava, request, live) == []
    require_effect(llava, request, live)
    settings = [
        families.steering(0, 1, 0.0),
        families.steering(1, 0, 0.8),
        families.steering(2, 1, 0.8),
        families.steering(3, 2, 0.8),
        families.steering(4, 1, 0.3, "decode"),
    ]
    with deaf_after(llava, 1):
        assert check_effect(llava, request, settings) == [2, 4]
        with pytest.raises(InterventionError, match=r"layer 1 with alpha=0\.8 \(all\)"):
            require_effect(llava, request, settings)
    assert check_effect(llava, request, settings) == []


def test_check_effect_without_anything_to_check(llava: LoadedModel) -> None:
    """No steering, or none with alpha > 0: nothing is lost, and nothing is run."""
    assert check_effect(llava, requests()[0], []) == []
    assert check_effect(llava, requests()[0], [families.steering(0, 1, 0.0)]) == []


def test_a_vector_of_zeros_is_an_error(llava: LoadedModel) -> None:
    """In the check before a run, and in a run."""
    nothing = Steering(torch.zeros(families.WIDTH), 1, 0.8)
    with pytest.raises(InterventionError, match="changed nothing"):
        require_effect(llava, requests()[0], [families.steering(0, 1, 0.8), nothing])
    with pytest.raises(InterventionError, match="1 of 2 rows"):
        generate_rows(llava, [(requests()[0], families.steering(0, 1, 0.8)), (requests()[1], nothing)], Decoding(STEPS))


def test_steerings_of_another_width_or_layer_are_user_errors(llava: LoadedModel) -> None:
    """Before anything is generated."""
    wide = Steering(torch.ones(families.WIDTH + 1), 1, 0.8)
    with pytest.raises(UserError, match="width"):
        generate_rows(llava, [(requests()[0], wide)], Decoding(STEPS))
    with pytest.raises(UserError, match="Layer 3"):
        generate_rows(llava, [(requests()[0], families.steering(0, 3, 0.8))], Decoding(STEPS))
    assert combined([None, families.steering(0, 1, 0.0)], families.WIDTH) is None


def test_requests_that_do_not_fit_their_images_are_user_errors(llava: LoadedModel) -> None:
    """A placeholder without an image, an image without its placeholder, a prompt longer than the context."""
    picture = families.picture(28, 28)
    for text, images in (("<image> w1", ()), ("<image> w1 <image>", (picture,)), ("<image> w1", (picture, picture))):
        with pytest.raises(UserError, match="images"):
            generate_rows(llava, [(Request("bad", text, images), None)], Decoding(STEPS))
    with pytest.raises(UserError, match="exceeds the context"):
        generate_rows(llava, [(Request("long", families.question(1100)), None)], Decoding(STEPS))


def test_decode_positions_need_a_second_token(llava: LoadedModel) -> None:
    """With a limit of one token nothing is ever fed back: an error, not answers of the unsteered model."""
    with pytest.raises(InterventionError, match="changed nothing"):
        generate_rows(llava, [(requests()[0], families.steering(0, 1, 0.8, "decode"))], Decoding(1))


def test_an_answer_that_ends_at_once_does_not_end_the_run(llava: LoadedModel) -> None:
    """Positions `decode` have nothing to write in an empty answer; alone or in a batch, the answer is the empty text."""
    one, inside = requests()[:2]
    first = generate_rows(llava, [(one, None)], Decoding(1))[0].text
    target = ended_by(llava, first)
    late = families.steering(0, 1, 0.8, "decode")
    together = generate_rows(target, [(one, late), (inside, late)], Decoding(STEPS))
    assert (together[0].tokens, together[0].truncated) == (1, False)
    assert generate_rows(target, [(one, late)], Decoding(STEPS)) == together[:1]


@pytest.mark.parametrize("decoding", [Decoding(STEPS), Decoding(STEPS, temperature=0.7)])
@pytest.mark.parametrize("way", ["engine", "generate"])
def test_scores_that_are_no_numbers_answer_nothing(llava: LoadedModel, decoding: Decoding, way: str) -> None:
    """A head whose weights are finite and whose logits overflow, as float16 does: argmax would take the first of them."""
    target = dataclasses.replace(llava, model=copy.deepcopy(llava.model))
    target.model.get_output_embeddings().weight.data.fill_(3e38)
    rows = [(families.requests()[0], None)]
    with pytest.raises(UserError, match="no finite numbers in question"):
        list(Engine(target, decoding).answer(rows)) if way == "engine" else generate_rows(target, rows, decoding)
