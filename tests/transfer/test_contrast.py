"""Contrast data: reading, sampling, the three kinds of pairs, and their chat format."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from l2v.errors import UserError
from l2v.transfer.contrast import Chat, ContrastQuestion, build_pairs, load_questions, oddities, sample_questions
from l2v.transfer.extract import check_chats, format_chat, token_ids
from l2v.transfer.neutral import load_chats

THOUGHT = "<|begin_of_thought|>\nLet me see.\n\nTwo and two make four.\n<|end_of_thought|>"
SOLUTION = "<|begin_of_solution|>\nThe answer is 4.\n<|end_of_solution|>"

# The logic of DeepSeek-R1-Distill's, with its separators: whatever stands before </think> in an assistant turn is dropped,
# and the generation prompt opens a thought.
R1_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% endif %}"
    "{% if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)


def tokenizer(template: str | None, thoughts_are_special: bool = False) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over a handful of words; unknown words become <unk>."""
    words = ["<pad>", "<s>", "</s>", "<unk>", "<｜User｜>", "<｜Assistant｜>", "two", "four"]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.add_special_tokens(words[: 4 if thoughts_are_special else 6])
    if thoughts_are_special:  # R1's own calls neither its roles nor its thoughts so
        core.add_special_tokens(["<think>", "</think>"])
        core.add_tokens(["<｜User｜>", "<｜Assistant｜>", "<table>"])
    core.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])  # as Llama's: a BOS of its own
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    made.chat_template = template
    return made


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    """A .jsonl file of rows; its path as text."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


# -- reading ---------------------------------------------------------------------------------------------------------


def test_combined_text_gives_whole_and_solution(tmp_path: Path) -> None:
    """STILL-2: c is all of `combined_text`, d its solution block, across line breaks."""
    combined = f"{THOUGHT}\n\n{SOLUTION}"
    row = {"question": "2 + 2?", "combined_text": combined, "domain": "math"}
    assert load_questions(write_jsonl(tmp_path / "still2.jsonl", [row])) == [
        ContrastQuestion("2 + 2?", combined, SOLUTION, "math")
    ]


@pytest.mark.parametrize("broken", [THOUGHT, SOLUTION, THOUGHT + "<|begin_of_solution|> cut", "plain", 5])
def test_combined_text_without_both_blocks_makes_no_pair(tmp_path: Path, broken: object) -> None:
    """Such a row has no responses, and response_pairs says so instead of contrasting a text with itself."""
    path = write_jsonl(tmp_path / "still2.jsonl", [{"question": "2 + 2?", "combined_text": broken, "domain": "math"}])
    (question,) = load_questions(path)
    assert (question.cot, question.direct) == (None, None)
    with pytest.raises(UserError, match="1 of 1 contrast rows lack"):
        build_pairs("response_pairs", [question], "", "")


@pytest.mark.parametrize("empty", ["", " \n\t", None])
def test_a_response_of_white_space_is_none(tmp_path: Path, empty: str | None) -> None:
    (question,) = load_questions(write_jsonl(tmp_path / "a.jsonl", [{"question": "2 + 2?", "cot": empty, "direct": "4"}]))
    assert (question.cot, question.direct) == (None, "4")
    with pytest.raises(UserError, match="1 of 1 contrast rows lack"):
        build_pairs("response_pairs", [question], "", "")


def test_json_jsonl_and_parquet_read_the_same(tmp_path: Path) -> None:
    """One table, three formats; other column names are mapped."""
    rows = [{"problem": f"q{i}", "cot": f"c{i}", "direct": f"d{i}", "domain": "math"} for i in range(3)]
    expected = [ContrastQuestion(f"q{i}", f"c{i}", f"d{i}", "math") for i in range(3)]
    columns = {"question": "problem"}
    assert load_questions(write_jsonl(tmp_path / "a.jsonl", rows), columns=columns) == expected
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    assert load_questions(str(tmp_path / "a.json"), columns=columns) == expected
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    assert load_questions(str(tmp_path / "a.parquet"), columns=columns) == expected


def test_bad_contrast_files_are_user_errors(tmp_path: Path) -> None:
    """Missing, empty, without the question column, or no JSON at all: one sentence that names the file."""
    with pytest.raises(UserError, match="does not exist"):
        load_questions(str(tmp_path / "missing.jsonl"))
    with pytest.raises(UserError, match="no rows"):
        load_questions(write_jsonl(tmp_path / "empty.jsonl", []))
    with pytest.raises(UserError, match="no column 'question'"):
        load_questions(write_jsonl(tmp_path / "columns.jsonl", [{"problem": "2 + 2?"}]))


@pytest.mark.parametrize("held", [["w1", "w2"], {"role": "assistant", "content": "w1"}])
@pytest.mark.parametrize("column", ["question", "cot", "direct", "combined_text"])
def test_what_is_no_text_is_refused(column: str, held: object, tmp_path: Path) -> None:
    """Turns of a chat, as many data sets hold them, would be read as Python writes them."""
    rows = [{"question": "a", "cot": "b", "direct": "c"}, {"question": "a", "cot": "b", "direct": "c", column: held}]
    with pytest.raises(
        UserError, match=f"Row 2 of .*turns.jsonl holds an? .* in its column '{column}'.*contrast.columns.{column}"
    ):
        load_questions(write_jsonl(tmp_path / "turns.jsonl", rows))
    with pytest.raises(UserError, match=r"Row 1 of the neutral texts .* in its column 'question'.*neutral\.columns\.question"):
        columns = {"question": "question", "response": "response", "domain": "domain"}
        load_chats(write_jsonl(tmp_path / "neutral.jsonl", [{"question": held}]), None, "train", columns, [], None, 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [("cut.jsonl", '{"question": "a"}\n{"quest'), ("cut.json", "[{"), ("later.jsonl", '{"question": "a"}\n{"b": 1}')],
)
def test_damaged_contrast_files_are_user_errors(tmp_path: Path, name: str, text: str) -> None:
    """A file that was cut off, or a later row without its question, names the file."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=name):
        load_questions(str(tmp_path / name))


# -- sampling --------------------------------------------------------------------------------------------------------


def pool() -> list[ContrastQuestion]:
    """Ten questions of each of two domains and three of a third, interleaved."""
    many = [ContrastQuestion(f"{domain}{i}", domain=domain) for i in range(10) for domain in ("math", "physics")]
    return many + [ContrastQuestion(f"biology{i}", domain="biology") for i in range(3)]


def test_sampling_takes_as_many_from_each_domain() -> None:
    """In the order of the domains asked for, without replacement."""
    drawn = sample_questions(pool(), 4, ("physics", "math"), seed=1)
    assert [q.domain for q in drawn] == ["physics"] * 4 + ["math"] * 4
    assert len(set(drawn)) == 8


def test_sampling_is_seeded() -> None:
    """The same seed draws the same questions, another seed others, and domains do not share their positions."""
    assert sample_questions(pool(), 4, ("math",), seed=1) == sample_questions(pool(), 4, ("math",), seed=1)
    draws = {tuple(q.text for q in sample_questions(pool(), 4, ("math",), seed=seed)) for seed in range(8)}
    assert len(draws) > 1
    both = [q.text for q in sample_questions(pool(), 10, ("math", "physics"), seed=1)]
    assert [t.removeprefix("math") for t in both[:10]] != [t.removeprefix("physics") for t in both[10:]]


def test_sampling_all() -> None:
    """per_domain None takes every question; no domains means all of them."""
    assert sorted(q.text for q in sample_questions(pool(), None)) == sorted(q.text for q in pool())


def test_sampling_errors() -> None:
    """Too few questions names domain and count; an unknown domain names the nearest."""
    with pytest.raises(UserError, match=r"'biology' has \(3\)"):
        sample_questions(pool(), 4)
    with pytest.raises(UserError, match="physics"):
        sample_questions(pool(), 4, ("phisics",))


# -- kinds -----------------------------------------------------------------------------------------------------------


def test_prompts_differ_by_instruction_alone() -> None:
    """RoT's reading: two open prompts, no response."""
    (pair,) = build_pairs("prompts", [ContrastQuestion("2 + 2?")], "Think.", "Answer.")
    assert (pair.cot, pair.direct) == (Chat("2 + 2? Think."), Chat("2 + 2? Answer."))


def test_response_pairs_differ_by_response_alone() -> None:
    """The question stands plain on both sides; the instructions are not in the texts."""
    (pair,) = build_pairs("response_pairs", [ContrastQuestion("2 + 2?", "so it is 4", "4")], "Think.", "Answer.")
    assert (pair.cot, pair.direct) == (Chat("2 + 2?", "so it is 4"), Chat("2 + 2?", "4"))


def test_generated_pairs_hold_the_answers_to_both_instructions() -> None:
    """Each answer ends up beside the question and the side that it was written for."""
    asked: list[list[Chat]] = []

    def generate(chats: list[Chat]) -> list[str]:
        asked.append(chats)
        return [f"answer to {chat.user}" for chat in chats]

    pairs = build_pairs("generated", [ContrastQuestion("a?"), ContrastQuestion("b?")], "Think.", "Answer.", generate)
    assert len(asked) == 1
    assert all(chat.assistant is None for chat in asked[0])
    assert [(p.cot, p.direct) for p in pairs] == [
        (Chat("a?", "answer to a? Think."), Chat("a?", "answer to a? Answer.")),
        (Chat("b?", "answer to b? Think."), Chat("b?", "answer to b? Answer.")),
    ]


def test_kind_errors() -> None:
    """An unknown kind names the nearest; rows without responses are counted."""
    with pytest.raises(UserError, match="response_pairs"):
        build_pairs("response_pair", [], "", "")
    rows = [ContrastQuestion("a?", "c", "d"), ContrastQuestion("b?", "c", None), ContrastQuestion("c?", "", "d")]
    with pytest.raises(UserError, match="2 of 3 contrast rows lack .*'b\\?'"):
        build_pairs("response_pairs", rows, "", "")


# -- chat format -----------------------------------------------------------------------------------------------------


def test_template_that_drops_the_thought_keeps_the_whole_response() -> None:
    """The turn is put back verbatim, in its place, with the template's own frame around it."""
    response = "<think>\nTwo and two\nmake four.\n</think>\n\nFour."
    given = tokenizer(R1_TEMPLATE)
    chat = Chat("2 + 2?", response)
    assert "make four" not in given.apply_chat_template(chat.messages(), tokenize=False)  # the trap is set
    assert format_chat(given, chat) == f"<s><｜User｜>2 + 2?<｜Assistant｜>{response}</s>"


def test_the_whole_thought_reaches_the_model() -> None:
    """Every token of a thought closed by </think> is encoded, in its order, before the answer."""
    given = tokenizer(R1_TEMPLATE)
    ids = token_ids(given, format_chat(given, Chat("two", "four two four two </think> four")))
    decoded = given.convert_ids_to_tokens(ids)
    assert decoded == ["<s>", "<｜User｜>", "two", "<｜Assistant｜>", "four", "two", "four", "two", "<unk>", "four", "</s>"]


def test_ordinary_templates_are_left_alone() -> None:
    """A response that the template keeps, and an open chat, are what apply_chat_template writes."""
    given = tokenizer(R1_TEMPLATE)
    for chat in (Chat("2 + 2?", f"{THOUGHT}\n{SOLUTION}"), Chat("2 + 2?")):
        expected = given.apply_chat_template(chat.messages(), tokenize=False, add_generation_prompt=chat.assistant is None)
        assert format_chat(given, chat) == expected
    assert format_chat(given, Chat("2 + 2?")).endswith("<｜Assistant｜><think>\n")


def test_template_without_assistant_turns_is_refused() -> None:
    """A template that ignores the assistant cannot show a response to the model."""
    with pytest.raises(UserError, match="does not keep an assistant turn"):
        format_chat(tokenizer("{{ messages[0]['content'] }}"), Chat("2 + 2?", "4 it is"))
    with pytest.raises(UserError, match="no chat template"):
        format_chat(tokenizer(None), Chat("2 + 2?", "4"))


def test_template_without_assistant_turns_is_refused_when_the_question_holds_the_answer() -> None:
    """The response is looked for in its own turn, not in the question that happens to quote it."""
    with pytest.raises(UserError, match="does not keep an assistant turn"):
        format_chat(tokenizer("{{ messages[0]['content'] }}"), Chat("Is it 3 or 4 ?", "4"))


@pytest.mark.parametrize("word", ["</s>", "<｜User｜>"])
@pytest.mark.parametrize("place", ["user", "assistant", "history"])
def test_a_mark_of_the_chat_format_in_a_text_is_refused(word: str, place: str) -> None:
    """Special, or merely added and written by the template: it would end or open a turn in the midst of a text."""
    given = tokenizer(R1_TEMPLATE, thoughts_are_special=True)
    said = f"two {word} four"
    assert given.convert_tokens_to_ids(word) in given(said)["input_ids"]  # the trap is set
    chat = Chat("two", "four", (("two", said),)) if place == "history" else replace(Chat("two", "four"), **{place: said})
    with pytest.raises(UserError, match=rf"'{re.escape(word)}' \(…two {re.escape(word)} four…\).* control token"):
        check_chats(given, [Chat("two"), chat])


def test_marks_of_thoughts_and_what_the_template_does_not_write_are_text() -> None:
    """Thoughts are what the method reads, in vocabularies that call their marks special too."""
    given = tokenizer(R1_TEMPLATE, thoughts_are_special=True)
    special = {token.content: token.special for token in given.added_tokens_decoder.values()}
    assert special["<think>"] and not special["<table>"]
    check_chats(given, [Chat("two <table> < /s>", f"<think> two </think> {THOUGHT}{SOLUTION}")])


def test_bos_is_written_once() -> None:
    """The template writes BOS and the tokenizer adds no other; a template that writes two is refused."""
    given = tokenizer(R1_TEMPLATE)
    ids = token_ids(given, format_chat(given, Chat("two", "four")))
    assert ids.count(given.bos_token_id) == 1
    assert ids[0] == given.bos_token_id
    doubled = tokenizer("{{ bos_token }} " + R1_TEMPLATE)
    with pytest.raises(UserError, match="two BOS"):
        token_ids(doubled, format_chat(doubled, Chat("two", "four")))


def test_empty_text_is_refused() -> None:
    """No token, no final state."""
    with pytest.raises(UserError, match="empty"):
        token_ids(tokenizer(R1_TEMPLATE), "")


# -- demonstrations --------------------------------------------------------------------------------------------------


def test_demonstrations_are_the_same_others_worked_and_direct() -> None:
    """Each question after four others as turns of the chat, never after itself, and open for an answer."""
    rows = [ContrastQuestion(f"two {i}", f"four {i}", f"{i}") for i in range(9)]
    pairs = build_pairs("demonstrations", rows, "", "", shots=4)
    for row, pair in zip(rows, pairs, strict=True):
        shown = [q for q, _ in pair.cot.history]
        assert shown == [q for q, _ in pair.direct.history] and len(set(shown)) == 4 and row.text not in shown
        assert all(a == f"four {q.split()[1]}" for q, a in pair.cot.history)
        assert all(a == q.split()[1] for q, a in pair.direct.history)
        assert pair.cot.user == pair.direct.user == row.text and pair.cot.assistant is pair.direct.assistant is None
    text = format_chat(tokenizer(R1_TEMPLATE), pairs[0].cot)
    turns = "".join(f"<｜User｜>{q}<｜Assistant｜>{a}</s>" for q, a in pairs[0].cot.history)
    assert text == f"<s>{turns}<｜User｜>two 0<｜Assistant｜><think>\n"
    for shots in (0, 9):
        with pytest.raises(UserError, match="contrast.shots"):
            build_pairs("demonstrations", rows, "", "", shots=shots)
    with pytest.raises(UserError, match="lack"):
        build_pairs("demonstrations", [*rows, ContrastQuestion("two", "four", None)], "", "")


SOUND = [ContrastQuestion(f"w{i}?", f"step, so {i}", str(i)) for i in range(4)]
ODD = {
    "repeat another one: they count again": [*SOUND, SOUND[0]],
    "hold one response twice: its mean is shorter": [*SOUND, ContrastQuestion("x", "y", "y")],
    "ask the same: contrast.columns.question": [replace(one, text="math") for one in SOUND],
    "answer with their question: contrast.columns": [*SOUND, ContrastQuestion("x y z", "x y z", "y")],
    "work in the shorter response: the direction points": [replace(one, cot=one.direct, direct=one.cot) for one in SOUND],
}


@pytest.mark.parametrize("told", ODD)
def test_what_is_odd_of_rows_and_gives_a_direction_is_told(told: str) -> None:
    """A column that was named wrongly, most of all."""
    found = [f"{what[:-1]}: {so}" for what, so in oddities(ODD[told], "response_pairs", "mine")]
    assert len(found) == 1 and found[0].startswith(f"{4 if len(ODD[told]) == 4 else 1} of ") and told in found[0], found
    assert not oddities(SOUND, "response_pairs", "mine")
    assert len(oddities(ODD[told], "prompts", "mine")) == (told.split()[0] in ("repeat", "ask")), "responses are not read there"


def test_equal_pairs_alone_are_refused_elsewhere() -> None:
    assert not oddities([replace(one, direct=one.cot) for one in SOUND], "response_pairs", "mine")
