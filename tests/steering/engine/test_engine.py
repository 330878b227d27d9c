"""The engine against `generate_rows`, which the tests beside this hold to Hugging Face with a hand-written hook."""

from __future__ import annotations

import copy
import dataclasses
import gc
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import families
import psutil
import pytest
import torch
from PIL import Image

from l2v.errors import InterventionError, UserError
from l2v.steering.engine import prefix, probe, stepper, window
from l2v.steering.engine.engine import Decoding, Engine, Request, Response, Row, Steering, generate_rows
from l2v.steering.engine.window import capture
from l2v.steering.models import LoadedModel
from l2v.steering.prompts import chat_prompt

Generated = Callable[..., list[Response]]

STEPS = 10
KINDS = ("all", "text", "prompt", "generated", "decode", "release")


@pytest.fixture(scope="module", params=sorted(families.FAMILIES))
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Each family in turn, saved and loaded."""
    return families.load(request.param, tmp_path_factory.mktemp(request.param))


def mixed_rows(late: bool = True) -> list[Row]:
    """Every request under every kind of positions, several layers and alphas, unsteered, and alpha 0; in disorder."""
    kinds = [kind for kind in KINDS if late or kind != "decode"]
    settings = [None, families.steering(7, 0, 0.0), families.steering(7, 0, 0.5), families.steering(8, 2, 0.4)]
    settings += [families.steering(i, i % 3, 0.8, kind) for i, kind in enumerate(kinds)]
    settings += [families.steering(20 + i, 2 - i % 3, 0.6, kind) for i, kind in enumerate(kinds)]
    rows: list[Row] = [(request, s) for request in families.requests() for s in settings]
    random.Random(0).shuffle(rows)
    return rows


def silent(message: str) -> None:
    """For engines that must not give up."""
    raise AssertionError(message)


def answers(target: LoadedModel, rows: Sequence[Row], decoding: Decoding, **options: Any) -> list[Response]:
    """By the engine, in the order of `rows`; every row must come once."""
    found = list(Engine(target, decoding, **{"tell": silent, **options}).answer(rows))
    assert sorted(index for index, _ in found) == list(range(len(rows)))
    return [response for _, response in sorted(found, key=lambda pair: pair[0])]


@pytest.fixture(scope="module")
def by_generate() -> Generated:
    """What `generate` answers to the mixed rows, once for a model: many tests compare with it."""
    known: WeakKeyDictionary[Any, list[Response]] = WeakKeyDictionary()

    def answered(target: LoadedModel) -> list[Response]:
        if target.model not in known:
            known[target.model] = generate_rows(target, mixed_rows(), Decoding(STEPS))
        return known[target.model]

    return answered


def test_a_target_goes_with_its_last_reference(target: LoadedModel) -> None:
    """What the engine keeps with it makes no cycle: its memory is free at once, without a search for garbage."""
    mine = copy.deepcopy(target)
    answers(mine, mixed_rows()[:6], Decoding(2))
    gone = weakref.ref(mine.model)
    gc.disable()
    try:
        del mine
        assert gone() is None
    finally:
        gc.enable()


# -- the same tokens as generate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_rows", "share_from"), [(64, None), (64, 0), (5, 0)])
def test_mixed_rows_equal_generate(target: LoadedModel, max_rows: int, share_from: int | None, by_generate: Generated) -> None:
    """All positions, mixed layers, alphas, vectors, pictures and lengths; with few places, rows are refilled all the time.

    With prompts that are copied to their rows, and held once for all of them.
    """
    rows, expected = mixed_rows(), by_generate(target)
    assert answers(target, rows, Decoding(STEPS), max_rows=max_rows, share_from=share_from) == expected
    plain = {request.id: response for (request, s), response in zip(rows, expected, strict=True) if s is None}
    moved = {s.positions for (r, s), response in zip(rows, expected, strict=True) if s and response != plain[r.id]}
    assert moved == set(KINDS)


def test_mixed_rows_equal_a_hand_written_hook(target: LoadedModel, oracle: Any) -> None:
    """Without any of this project's code on the other side."""
    settings = [families.steering(0, 0, 0.8), None, families.steering(1, 2, 0.5)]
    rows = [(request, s) for s in settings for request in families.requests()]
    end = target.tokenizer.eos_token_id
    for (request, s), answer in zip(rows, answers(target, rows, Decoding(STEPS), max_rows=3), strict=True):
        ids = oracle(target, request, None if s is None else (s.vector, s.layer, s.alpha), STEPS)
        text = target.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)
        assert (answer.text, answer.tokens) == (text, len(ids)), (request.id, s and s.layer)


def test_sampled_rows_equal_generate(target: LoadedModel, by_generate: Generated) -> None:
    """With temperature, top_k and top_p; and another seed is another answer."""
    rows, drawn = mixed_rows(), Decoding(STEPS, temperature=1.2, top_p=0.9, top_k=20, seed=3)
    expected = generate_rows(target, rows, drawn)
    assert answers(target, rows, drawn, max_rows=7) == expected
    greedy = by_generate(target)
    other = answers(target, rows, dataclasses.replace(drawn, seed=4))
    assert sum(a != b for a, b in zip(expected, greedy, strict=True)) > len(rows) // 2
    assert sum(a != b for a, b in zip(expected, other, strict=True)) > len(rows) // 2


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def attending(llava: LoadedModel, request: pytest.FixtureRequest) -> LoadedModel:
    """The model with each kind of attention."""
    model = copy.deepcopy(llava.model)
    model.set_attn_implementation(request.param)
    return dataclasses.replace(llava, model=model, layers=model.get_decoder().layers)


@pytest.mark.parametrize("max_rows", [1, 2, 17, 512])
def test_any_batch_size_and_attention(attending: LoadedModel, max_rows: int, by_generate: Generated) -> None:
    """The tokens do not depend on how many rows run together, nor on the budget of prompt tokens."""
    target = copy.deepcopy(attending)  # which the engine does not know yet
    expected = by_generate(attending)
    assert answers(target, mixed_rows(), Decoding(STEPS), max_rows=max_rows, prompt_tokens=40 * max_rows) == expected


def test_one_token(llava: LoadedModel) -> None:
    """The first token comes from the prompt alone."""
    rows = mixed_rows(late=False)
    assert answers(llava, rows, Decoding(1), max_rows=9) == generate_rows(llava, rows, Decoding(1))


def test_stop_strings_and_end_tokens(llava: LoadedModel, by_generate: Generated) -> None:
    """Rows end in the middle, each for its own reason, and their places are taken by others."""
    rows = mixed_rows()
    words = [word for response in by_generate(llava) for word in response.text.split()]
    common = sorted(set(words), key=lambda word: -words.count(word))
    decoding = Decoding(STEPS, (common[0], f"{common[1]} {common[2]}"))
    model = copy.copy(llava.model)
    model.generation_config = copy.deepcopy(llava.model.generation_config)
    ends = [llava.tokenizer.eos_token_id, *llava.tokenizer.convert_tokens_to_ids(common[3:5])]
    model.generation_config.eos_token_id = ends
    target = dataclasses.replace(llava, model=model)
    expected = generate_rows(target, rows, decoding)
    assert answers(target, rows, decoding, max_rows=6) == expected
    assert len({response.tokens for response in expected}) > 5
    assert 0 < sum(response.truncated for response in expected) < len(rows)


def test_a_templated_request_is_taken_as_it_is(llava: LoadedModel) -> None:
    """Its text is the prompt; without the mark it would be wrapped once more, and the control words within are refused."""
    request = families.requests()[0]
    whole = dataclasses.replace(request, text=chat_prompt(llava, request.text, 1), templated=True)
    plain, same = answers(llava, [(r, None) for r in (request, whole)], Decoding(STEPS))
    assert plain == same
    with pytest.raises(UserError, match="'<s>'.* as a control token"):
        answers(llava, [(dataclasses.replace(whole, templated=False), None)], Decoding(STEPS))


def test_no_end_before_the_least_number_of_tokens(llava: LoadedModel, by_generate: Generated) -> None:
    """With rows of several ages in the batch."""
    rows, plain = mixed_rows(), by_generate(llava)
    end = llava.tokenizer.convert_tokens_to_ids(plain[0].text.split()[1])
    ending, longer = configured(llava, eos_token_id=end), Decoding(STEPS, min_new_tokens=5)
    expected = generate_rows(ending, rows, longer)
    assert answers(ending, rows, longer, max_rows=5) == expected
    assert min(r.tokens for r in answers(ending, rows, Decoding(STEPS))) < 5 <= min(r.tokens for r in expected) < STEPS


def test_requests_with_another_history_are_others(llava: LoadedModel) -> None:
    """Turns before the question are part of what makes two requests equal."""
    asked = [
        dataclasses.replace(families.requests()[0], history=turns) for turns in ((), (("w1 w2", "w3"),), (("w9", "w8 w7"),))
    ]
    expected = [generate_rows(llava, [(request, None)], Decoding(STEPS))[0] for request in asked]
    assert answers(llava, [(request, None) for request in asked], Decoding(STEPS)) == expected
    assert len({response.text for response in expected}) == 3


class Opened(Sequence[Image.Image]):
    """A picture that is made anew whenever it is asked for, as one that is read from disk."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return families.picture(40, 40, self.seed) if index == 0 else [][index]


def test_pictures_that_are_opened_when_read(llava: LoadedModel) -> None:
    """Requests of equal text are told apart by their pictures, however these are held."""
    lazy, held = ([Request("same", "<image> w1 w2", images) for images in kind] for kind in (
        [Opened(seed) for seed in range(12)], [(families.picture(40, 40, seed),) for seed in range(12)]))  # fmt: skip
    expected = [generate_rows(llava, [(request, None)], Decoding(STEPS))[0] for request in held]
    assert answers(llava, [(request, None) for request in lazy], Decoding(STEPS)) == expected
    assert len({response.text for response in expected}) > 3


# -- what the generation config asks for -----------------------------------------------------------------------------


def configured(llava: LoadedModel, **settings: Any) -> LoadedModel:
    """The same model with other settings in its generation config."""
    model = copy.copy(llava.model)
    model.generation_config = copy.deepcopy(llava.model.generation_config)
    model.generation_config.update(**settings)
    return dataclasses.replace(llava, model=model)


@pytest.mark.parametrize("kind", ["penalty", "words", "both"])
def test_score_processors_of_the_checkpoint(llava: LoadedModel, oracle: Any, kind: str) -> None:
    """Qwen2-VL's generation config has a repetition penalty, Idefics2's forbidden words. Prompts count, padding does not."""
    rows = [(request, s) for request in families.requests() for s in (None, families.steering(1, 1, 0.8))]
    plain = answers(llava, rows, Decoding(STEPS))
    words = [llava.tokenizer.convert_tokens_to_ids(response.text.split()) for response in plain]
    # Of one answer a word, of the others what two and three words lead to.
    forbidden = {"bad_words_ids": [words[0][2:3], words[1][2:4], words[2][:2], words[4][1:4]]}
    target = configured(
        llava, **({} if kind == "words" else {"repetition_penalty": 1.4}), **({} if kind == "penalty" else forbidden)
    )
    end = target.tokenizer.eos_token_id
    found = answers(target, rows, Decoding(STEPS), max_rows=3)
    for (request, s), answer in zip(rows, found, strict=True):
        ids = oracle(target, request, None if s is None else (s.vector, s.layer, s.alpha), STEPS)
        assert answer.text == target.tokenizer.decode(ids[: ids.index(end)] if end in ids else ids)
    assert sum(a != b for a, b in zip(found, plain, strict=True)) >= 3


@pytest.mark.parametrize("share_from", [None, 0])
def test_what_prompts_begin_with_runs_once(
    target: LoadedModel, monkeypatch: pytest.MonkeyPatch, share_from: int | None
) -> None:
    """Demonstrations before every question, which are of three lengths; pictures after them, and beside them, to begin with."""
    monkeypatch.setattr(prefix, "PREFIX_TOKENS", 4)
    begun: list[tuple[int, int]] = []

    def noted(*args: Any, **more: Any) -> Any:
        window = capture(*args, **more)
        begun.append((window.begun, min(window.lengths)))
        return window

    monkeypatch.setattr(probe, "capture", noted)
    history = ((families.question(5, 8), families.question(4, 9)),)
    asked = [Request(f"w{n}", families.question(n, 30 + n), history=history) for n in (2, 7, 4)]
    late = [None, *(families.steering(40 + i, i % 3, 0.8, ("generated", "decode")[i % 2]) for i in range(6))]
    pictures = [replace(request, history=history) for request in families.requests()[1:3]]
    for some in (asked, pictures, [*asked, families.requests()[0]]):
        rows: list[Row] = [(request, steering) for request in some for steering in late]
        expected = generate_rows(target, rows, Decoding(STEPS))
        assert answers(target, rows, Decoding(STEPS), share_from=share_from) == expected
    whole: list[Row] = [(request, families.steering(60, 1, 0.8, "all")) for request in asked]
    assert answers(target, whole, Decoding(STEPS)) == generate_rows(target, whole, Decoding(STEPS))
    assert all(9 <= found < least for found, least in begun if found)
    assert any(found for found, _ in begun) == any(vars(target)["_known"].once.values())
    assert not any(found for found, _ in begun[-1:])


def test_a_beginning_that_gives_other_states_is_run_with_every_prompt(
    llava: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first window that could is compared with whole prompts, and its model is not asked again."""
    mine = copy.deepcopy(llava)
    monkeypatch.setattr(prefix, "PREFIX_TOKENS", 4)

    def spoiled(*args: Any) -> Any:
        cache = prefix.prefix_cache(*args)
        cache.layers[-1].values[:, :, 1] += 1
        return cache

    monkeypatch.setattr(window, "prefix_cache", spoiled)
    history = ((families.question(5, 8), families.question(4, 9)),)
    asked = [Request(f"w{n}", families.question(n, 30 + n), history=history) for n in (2, 7)]
    rows: list[Row] = [(request, None) for request in asked]
    assert answers(mine, rows, Decoding(STEPS)) == generate_rows(mine, rows, Decoding(STEPS))
    assert vars(mine)["_known"].once == {False: False}


# -- what runs how often ---------------------------------------------------------------------------------------------


@pytest.fixture
def traffic(llava: LoadedModel) -> Iterator[dict[str, list[tuple[int, int]]]]:
    """The (rows, tokens) of every call of the first and the last decoder block, and of the vision tower."""
    calls: dict[str, list[tuple[int, int]]] = {"first": [], "last": [], "tower": []}
    tower = next(m for name, m in llava.model.named_modules() if name.endswith("vision_tower"))

    def note(name: str) -> Any:
        return lambda _m, args, kwargs: calls[name].append(tuple((args or list(kwargs.values()))[0].shape[:2]))

    parts = {"first": llava.layers[0], "last": llava.layers[-1], "tower": tower}
    # The first answer also takes the model apart.
    answers(llava, [(request, None) for request in (families.requests()[0], families.requests()[3])], Decoding(1))
    handles = [part.register_forward_pre_hook(note(name), with_kwargs=True) for name, part in parts.items()]
    yield calls
    for handle in handles:
        handle.remove()


def test_prompts_run_once_for_all_cells(llava: LoadedModel, traffic: dict[str, list[tuple[int, int]]]) -> None:
    """Below the injection a prompt runs once, above it once per cell; the tower sees each picture once."""
    asked = families.requests()[:2]
    rows = [(request, families.steering(i, 1, 0.5)) for i in range(6) for request in asked]
    answers(llava, rows, Decoding(1))
    assert [count for count, _ in traffic["first"]] == [2]
    assert sum(count for count, _ in traffic["last"]) == 2 + 12
    assert sum(count for count, _ in traffic["tower"]) == 2


def test_the_beginning_of_all_prompts_runs_in_one_row(
    llava: LoadedModel, traffic: dict[str, list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the prompts goes on from it, at every block."""
    monkeypatch.setattr(prefix, "PREFIX_TOKENS", 4)
    history = ((families.question(5, 8), families.question(4, 9)),)
    asked = [Request(f"w{n}", f"w{n} {families.question(n)}", history=history) for n in (2, 7, 4)]
    rows: list[Row] = [(request, families.steering(9, 1, 0.5, "generated")) for request in asked]
    assert answers(llava, rows, Decoding(1)) == generate_rows(llava, rows, Decoding(1))
    traffic["first"].clear()
    answers(llava, rows, Decoding(1))
    (one, beginning), (three, rest) = traffic["first"]
    # BOS, and two turns of the demonstration with two words before each, and two of the question.
    assert (one, beginning, three) == (1, 1 + 2 * 2 + 5 + 4 + 2, 3)
    # The longest question, and two words before the answer.
    assert rest == 1 + 7 + 2


@pytest.mark.parametrize(("kind", "tokens"), [("generated", 12), ("decode", 0)])
def test_prompts_that_are_left_alone_are_shared(
    llava: LoadedModel, traffic: dict[str, list[tuple[int, int]]], kind: str, tokens: int
) -> None:
    """Of a prompt written at its last token only that token runs per cell; of an untouched one, none."""
    asked = families.requests()[:2]
    rows = [(request, families.steering(i, 1, 0.5, kind)) for i in range(6) for request in asked]
    answers(llava, rows, Decoding(2))
    prompts = [(count, length) for count, length in traffic["last"] if length > 1]
    assert [count for count, _ in prompts] == [2]
    assert sum(count for count, length in traffic["last"] if length == 1) == tokens + 12


def test_equal_rows_run_once(llava: LoadedModel, traffic: dict[str, list[tuple[int, int]]]) -> None:
    """alpha 0 and no steering are equal, and so are steerings of equal content; requests with another text are not."""
    request, other = families.requests()[0], dataclasses.replace(families.requests()[0], text="<image> w1")
    same = [families.steering(1, 1, 0.5, "decode") for _ in range(4)]
    rows: list[Row] = [(request, None), (request, families.steering(3, 2, 0.0)), *((request, s) for s in same)]
    rows += [(request, families.steering(1, 1, 0.5, "generated")), (other, None)]
    answers(llava, rows, Decoding(2))
    assert max(count for count, length in traffic["last"] if length == 1) == 4


def test_the_batch_is_never_larger_than_asked(llava: LoadedModel, traffic: dict[str, list[tuple[int, int]]]) -> None:
    """Memory grows with the batch, not with cells x requests: rows that wait hold nothing."""
    answers(llava, mixed_rows(), Decoding(STEPS), max_rows=4)
    assert max(count for count, length in traffic["last"] if length == 1) == 4


def test_rows_that_are_alike_run_the_lower_blocks_once(llava: LoadedModel, traffic: dict[str, list[tuple[int, int]]]) -> None:
    """Below their injections rows of one question run once per beginning of an answer, above them once each."""
    asked = families.requests()[:2]
    rows = [(request, families.steering(i, 1, (0.001, 0.8)[i % 2], "decode")) for i in range(6) for request in asked]
    found = answers(llava, rows, Decoding(STEPS))
    begun: list[set[tuple[str, ...]]] = []
    for step in range(1, STEPS):
        fed = [(row, answer) for (row, _), answer in zip(rows, found, strict=True) if answer.tokens > step]
        begun.append({(row.id, *answer.text.split()[:step]) for row, answer in fed})
    assert [count for count, length in traffic["first"] if length == 1] == [len(distinct) for distinct in begun if distinct]
    assert len(begun[0]) == 2 < len(begun[-1])
    assert max(count for count, length in traffic["last"] if length == 1) == 12


# -- when memory runs out --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["step", "enter", "opened"])
@pytest.mark.parametrize("limit", [1, 3])
def test_rows_survive_a_lack_of_memory(
    llava: LoadedModel, monkeypatch: pytest.MonkeyPatch, place: str, limit: int, by_generate: Generated
) -> None:
    """Steps, entering rows and opening prompts that do not fit are done in smaller parts; no row is lost or changed."""
    expected = by_generate(llava)
    failures = small_memory(monkeypatch, place, limit)
    assert answers(llava, mixed_rows(), Decoding(STEPS), max_rows=64) == expected
    assert failures


def test_on_a_cpu_no_more_rows_run_than_free_memory_holds(
    llava: LoadedModel, traffic: dict[str, list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing says that memory ran out, the batch is made for what the machine has free; rows and answers stay."""
    sizes: list[int] = []
    measured = stepper.Stepper.row_bytes
    monkeypatch.setattr(stepper.Stepper, "row_bytes", lambda *of: sizes.append(measured(*of)) or sizes[-1])
    expected = answers(llava, mixed_rows(), Decoding(STEPS))
    roomy = max(count for count, length in traffic["last"] if length == 1)
    traffic["last"].clear()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=max(sizes)))
    assert answers(llava, mixed_rows(), Decoding(STEPS)) == expected
    assert max(count for count, length in traffic["last"] if length == 1) <= 4 < roomy


@pytest.mark.parametrize("place", ["step", "enter", "opened"])
def test_a_single_row_that_does_not_fit_is_an_error(llava: LoadedModel, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """After all smaller parts were tried."""
    small_memory(monkeypatch, place, 0)
    with pytest.raises(torch.OutOfMemoryError):
        answers(llava, mixed_rows(), Decoding(STEPS))


def small_memory(monkeypatch: pytest.MonkeyPatch, place: str, limit: int) -> list[int]:
    """Memory for `limit` rows, or prompts, at once; the sizes that were refused."""
    from l2v.steering.engine import scheduler

    failures: list[int] = []

    def check(size: int) -> None:
        if size > limit:
            failures.append(size)
            raise torch.OutOfMemoryError("not enough")

    if place == "opened":
        real = scheduler.opened

        def small_window(known: Any, batch: Any, *more: Any) -> Any:
            check(len(batch))
            return real(known, batch, *more)

        monkeypatch.setattr(scheduler, "opened", small_window)
        return failures
    original: Any = getattr(stepper.Stepper, place)

    def small(self: Any, *args: Any) -> Any:
        check(len(self.entries) if place == "step" else len(args[1]))
        return original(self, *args)

    monkeypatch.setattr(stepper.Stepper, place, small)
    return failures


# -- errors, refusals, interruption ----------------------------------------------------------------------------------


def test_a_write_that_changes_nothing_is_an_error(llava: LoadedModel) -> None:
    """It names the request; rows that had finished by then have been handed out."""
    nothing = Steering(torch.zeros(families.WIDTH), 1, 0.8)
    # The longer prompt is the first to be answered.
    rows: list[Row] = [(families.requests()[1], families.steering(0, 1, 0.8)), (families.requests()[0], nothing)]
    found = []
    with pytest.raises(InterventionError, match="request 'wide' at layer 1"):
        for index, _ in Engine(llava, Decoding(STEPS), max_rows=1).answer(rows):
            found.append(index)
    assert found == [0]


def test_positions_decode_need_a_second_token(llava: LoadedModel) -> None:
    """A limit of one token is an error, an answer that ends at once is not."""
    late = (families.requests()[0], families.steering(0, 1, 0.8, "decode"))
    with pytest.raises(InterventionError, match="changed nothing"):
        answers(llava, [late], Decoding(1))
    with pytest.raises(InterventionError, match="changed nothing"):
        answers(llava, [(families.requests()[0], Steering(torch.zeros(families.WIDTH), 1, 0.8, "decode"))], Decoding(STEPS))
    (plain,) = generate_rows(llava, [(families.requests()[0], None)], Decoding(1))
    ending = configured(llava, eos_token_id=llava.tokenizer.convert_tokens_to_ids(plain.text))
    assert [response.tokens for response in answers(ending, [late], Decoding(STEPS))] == [1]


def test_bad_settings_are_user_errors(llava: LoadedModel) -> None:
    """Before anything is generated."""
    request = families.requests()[0]
    for wrong, message in (
        (Steering(torch.ones(families.WIDTH + 1), 1, 0.8), "width"),
        (families.steering(0, 3, 0.8), "Layer 3"),
        (families.steering(0, 1, -0.1), "alpha"),
        (families.steering(0, 1, 0.5, "everywhere"), "positions"),
    ):
        with pytest.raises(UserError, match=message):
            answers(llava, [(request, None), (request, wrong)], Decoding(STEPS))
    for settings in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"stop": ("",)}):
        with pytest.raises(UserError):
            Decoding(**settings)  # type: ignore[arg-type]


def test_closing_it_early_leaves_no_hooks(llava: LoadedModel) -> None:
    """Wherever the iteration is left, by closing it or by an error inside."""

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llava.model.modules())

    before = hooks()
    for taken in range(4):
        running = Engine(llava, Decoding(STEPS), max_rows=3).answer(mixed_rows())
        for _ in range(taken):
            next(running)
        running.close()  # type: ignore[attr-defined]
        assert (hooks(), "generate" in vars(llava.model), torch.is_grad_enabled()) == (before, False, True)
    with pytest.raises(UserError):
        answers(llava, [(Request("long", families.question(1100)), None)], Decoding(STEPS))
    assert hooks() == before


def scaled(llava: LoadedModel) -> LoadedModel:
    """A model that multiplies its embeddings on the way into the decoder, as some families do, out of the blocks' sight."""
    model = copy.deepcopy(llava.model)
    decoder = model.get_decoder()
    forward = decoder.forward
    decoder.forward = lambda *args, inputs_embeds, **kwargs: forward(*args, inputs_embeds=3 * inputs_embeds, **kwargs)
    return dataclasses.replace(llava, model=model, layers=decoder.layers)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (scaled, "its logits differ"),
        (lambda llava: configured(llava, no_repeat_ngram_size=2), "NoRepeatNGramLogitsProcessor"),
    ],
)
def test_models_it_cannot_take_apart_are_answered_by_generate(llava: LoadedModel, change: Any, reason: str) -> None:
    """Told once, and answered all the same."""
    target, told = change(llava), list[str]()
    rows = mixed_rows()
    found = answers(target, rows, Decoding(STEPS), max_rows=20, tell=told.append)
    answers(target, rows[:3], Decoding(STEPS), tell=told.append)
    assert found == [response for start in range(0, len(rows), 20) for response in plainly(target, rows[start : start + 20])]
    assert len(told) == 1
    assert reason in told[0]


def plainly(target: LoadedModel, rows: Sequence[Row]) -> list[Response]:
    """By `generate`."""
    return generate_rows(target, rows, Decoding(STEPS))
