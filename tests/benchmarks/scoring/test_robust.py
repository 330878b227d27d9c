"""The scorer `robust`: what counts as a commitment, what counts as equal, and when it abstains."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, LIST, TEXT, Question
from l2v.benchmarks.scoring import robust as robust_module
from l2v.benchmarks.scoring import symbolic
from l2v.benchmarks.scoring.robust import robust, robust_many

ANGLES = ("30°", "40°", "50°", "60°")
CLOCK = ("half", "quarter", "o'clock", "quarter to", "quarter past")
YES_NO = ("Yes", "No")
LETTERS = ("A", "B", "C", "D", "E")
PETS = ("a dog", "a cat", "two dogs and a cat", "none of these")


def choice(gold: str, options: tuple[str, ...], text: str = "Which one is it?") -> Question:
    return Question(text, CHOICE, gold, options)


def number(gold: str, text: str = "How many are there?", unit: str | None = None) -> Question:
    return Question(text, INTEGER, gold, unit=unit)


CHOSEN = [
    # (options, response, the letter that it commits to)
    (ANGLES, "B", "B"),
    (ANGLES, "(b)", "B"),
    (ANGLES, "B.", "B"),
    (ANGLES, "**B**", "B"),
    (ANGLES, "B: 40°", "B"),
    (ANGLES, "B. 40°\n\nBecause the angles of a triangle add up, C would be too large.", "B"),
    (ANGLES, "Some steps first.\n\\boxed{B}", "B"),
    (ANGLES, r"\boxed{\text{(B)}\quad 40^\circ}", "B"),
    (ANGLES, r"\boxed{ \mathrm{B} }", "B"),
    (ANGLES, r"so $\boxed{40^{\circ}}$.", "B"),
    (ANGLES, r"\boxed{A}, no: \boxed{B}", "B"),
    (ANGLES, "\\fbox{B}", "B"),
    (ANGLES, "†Answer: B", "B"),
    (ANGLES, "†Answer:B", "B"),
    (ANGLES, "†Answer: 40°", "B"),
    (ANGLES, "**Answer**: B", "B"),
    (ANGLES, "**Answer:** (B) 40°", "B"),
    (ANGLES, "### Final Answer\n\nB", "B"),
    (ANGLES, "The final answer is $\\boxed{\\text{B}}$. I hope it is correct.", "B"),
    (ANGLES, "The correct answer is **(B) 40°**.\n\nThe angle at the centre is twice that.", "B"),
    (ANGLES, "The correct option letter is (B).", "B"),
    (ANGLES, "The answer to the question is option B, because the sum is 180.", "B"),
    (ANGLES, "Therefore, option (B) is the correct answer.", "B"),
    (ANGLES, "Therefore, ∠C = 180° - 140° = 40°.", "B"),
    (ANGLES, "So the angle measures 40 degrees.", "B"),
    (ANGLES, "So, m∠AED is **40°**.\n\nI hope this helps! Let me know if you have any other questions.", "B"),
    (ANGLES, "<think>It could be A. The answer is A?</think>B", "B"),
    (ANGLES, "<answer>B</answer>", "B"),
    (ANGLES, "所以，答案是 (B) 40°。", "B"),
    (ANGLES, "The answer is A. Wait, that is wrong. The answer is B.", "B"),
    (CLOCK, "The time shown is quarter to eight.", "D"),
    (CLOCK, "The answer is quarter.", "B"),
    (YES_NO, "Yes, the line crosses the axis twice.", "A"),
    (YES_NO, "The answer is no.", "B"),
    (LETTERS, "Therefore, the kite with the longest string is kite A.", "A"),
    (LETTERS, "C is the correct answer.", "C"),
    (PETS, "The answer is a dog.", "A"),
    (("Mike won. He had 3 points.", "Jake won. He had 4 points."), "Jake won. He had 4 points.", "B"),
    (("$a$ and $b$", "$b$ and $d$", "$a$ and $d$"), "The answer is $a$ and $d$.", "C"),
    (PETS, "The picture shows two dogs and a cat.", "C"),
    (("8 cm", "9 cm", "12 cm"), "The answer is 8.", "A"),
    (("8", "9", "12"), "†Answer: 8 cm", "A"),
    (("$\\frac{4}{5}$", "$\\frac{3}{5}$", "1"), "The answer is 0.8", "A"),
    (("$13$", "$\\frac{55}{4} \\mathrm{~cm}^{2}$", "$15$"), "\\boxed{55/4}", "B"),
    (("$3+\\sqrt{3}$", "$4+\\sqrt{3}$"), "\\boxed{\\sqrt{3}+4}", "B"),
    (("5.4", "6", "6.6", "7.5"), "RT is sqrt(56) = 7.48, so the answer is about 7.48", "D"),
    (("120", "130", "144"), "Answer: C.144", "C"),
    (("120", "130", "144"), "C.144", "C"),
    (("(c)", "(a)", "(b)"), "The colour with the smallest coefficient is (b).", "C"),
    ((), "The answer is D.", "D"),
]


@pytest.mark.parametrize(("options", "response", "letter"), CHOSEN)
def test_the_option_that_a_response_commits_to(options: tuple[str, ...], response: str, letter: str) -> None:
    other = "A" if letter != "A" else "B"
    assert robust(choice(letter, options), response).correct is True
    wrong = robust(choice(other, options), response)
    assert wrong.correct is False and wrong.extraction == letter, wrong


ABSTAINED = [
    (ANGLES, ""),
    (ANGLES, None),
    (ANGLES, "I cannot tell from this picture."),
    (ANGLES, "A dog is lying on the mat."),
    (ANGLES, "Based on the picture, two lines cross each other."),
    (ANGLES, "Although the lines look equal, I see no way to be sure."),
    (ANGLES, "The answer is (A) or (B)."),
    (ANGLES, "The answer cannot be determined."),
    (ANGLES, "If the triangle were right-angled, the answer would be (A)."),
    (ANGLES, "Choice (B) is incorrect because the lines are not parallel."),
    (ANGLES, "The answer is (B), which gives a contradiction. Therefore, the angle is 60°."),
    (ANGLES, "The answer is (B) 60°."),
    (
        ANGLES,
        "Step 1: consider the angle at B.\nStep 2: an inscribed angle is an angle whose vertex is on the circle and whose",
    ),
    (YES_NO, "There is no friction in this experiment."),
    (("increase", "decrease"), "The hawks would decrease because the mice increase."),
    (LETTERS, "Find the top view. A B C D E"),
    (ANGLES, 'if x:\n    print("(A) Yes")\nelse:\n    print("(B) No")'),
]


@pytest.mark.parametrize(("options", "response"), ABSTAINED)
def test_it_abstains_rather_than_guesses_an_option(options: tuple[str, ...], response: str | None) -> None:
    verdicts = [robust(choice(gold, options), response) for gold in "AB"]
    assert [v.correct for v in verdicts] == [None, None], verdicts
    assert {v.rule for v in verdicts} <= {"no_answer", "ambiguous"}


RIGHT_NUMBERS = [
    ("3", "3"),
    ("3", "3.0"),
    ("3", "3 ft"),
    ("3", "three"),
    ("3", "†Answer: three"),
    ("23", "twenty-three"),
    ("105", "one hundred and five"),
    ("0", "Answer: zero"),
    ("7873", "The total is 7,873 people."),
    ("1234", "Answer: 1 234"),
    ("-130", "†Answer: -130 km/h"),
    ("-130", "†Answer: −130 km/h"),
    ("5", "$5"),
    ("5", "Answer: 5 cm^2"),
    ("5", "\\boxed{5\\ \\mathrm{cm}^{2}}"),
    ("40", "m∠A = 40°"),
    ("40", "So m∠A = 40 degrees."),
    ("3", "x = 3"),
    ("3", "\\boxed{x=3}"),
    ("8", "10 - 2 = **8 miles**"),
    ("8", "The perimeter of the rectangle is 2*3 + 1*2 = 8 cm."),
    ("6", "\\boxed{\\sqrt{36}}"),
    ("1", "So the value of y at x=-2.5 is 1."),
    ("12", "The final answer is 12 objects."),
    ("12", "####  12"),
    ("1", "The ratio is 1:1."),
    ("1", "Answer: 1 : 1"),
    ("2019", "The share was highest in 2019."),
    ("3", "Steps.\n\nTherefore, there are 3 objects left after subtracting them."),
]


@pytest.mark.parametrize(("gold", "response"), RIGHT_NUMBERS)
def test_a_number_is_read_however_it_is_written(gold: str, response: str) -> None:
    right, wrong = robust(number(gold), response), robust(number(str(int(gold) + 1)), response)
    assert right.correct is True, right
    assert wrong.correct is False, wrong


@pytest.mark.parametrize(
    ("gold", "response"),
    [
        ("12", "12.4"),
        ("3", "\\boxed{x = 4}"),
        ("9567", "Answer: 9566"),
        ("3", "\\boxed{24\\sqrt{3}}"),
        ("5", "\\boxed{\\text{None of the above}}"),
        ("60", "\\boxed{60x}"),
    ],
)
def test_a_wrong_commitment_is_wrong(gold: str, response: str) -> None:
    assert robust(number(gold), response).correct is False


@pytest.mark.parametrize(
    "response",
    [
        "Monkey",
        "Answer: 10-12",
        "Answer: [10, 11]",
        "\\boxed{10} or \\boxed{11}",
        "Answer: There is no clear pattern. The provided answer of 10 is incorrect.",
        "There are 10 red and 11 blue ones.",
        "For example, if there were 5 more, there would be 10.",
        "Step 1: the angle is 180°.\nStep 2: ∠MBA = 10",
        "The answer is clear.",
        "The model has 10 dots. It was made before the war by one of the people in it.",
    ],
)
def test_it_abstains_rather_than_guesses_a_number(response: str) -> None:
    verdict = robust(number("10"), response)
    assert verdict.correct is not True, verdict
    assert verdict.correct is None or "boxed" in verdict.rule, verdict


def test_the_questions_own_numbers_are_not_taken_for_the_answer() -> None:
    question = number("2", "How many blocks have exactly 36 houses?")
    assert robust(question, "Therefore, there are 2 blocks that have exactly 36 houses.").correct is True
    assert robust(question, "So exactly 36 houses stand there.").correct is not True


@pytest.mark.parametrize(
    ("question", "response", "correct"),
    [
        (number("5", "What percentage of people agree?"), "5%", True),
        (number("5", "How high is it?", unit="%"), "5 percent", True),
        (number("5", "How many people agree?"), "5%", None),
        (number("5", "How many people agree?"), "7%", False),
        (Question("", TEXT, "5%"), "0.05", True),
        (Question("", TEXT, "5%"), "5", True),
        (Question("", FLOAT, "0.05", decimals=2), "5%", True),
        (Question("", FLOAT, "0.05", decimals=2), "50%", False),
        (number("1000", "What is the mass?", unit="g"), "1 kg", True),
        (number("1000", "What is the mass?", unit="g"), "2 kg", False),
        (Question("", TEXT, "675 m"), "0.675 km", True),
        (Question("", TEXT, "675 m"), "675 cm", False),
        (number("5", "How many million tonnes?"), "5 million", True),
        # A count is not its millionfold, but a chart may count in millions and leave the word to its axis: neither is certain.
        (number("5"), "5 million", None),
        (number("5"), "6 million", False),
        (number("5000000"), "5 million", True),
    ],
)
def test_percent_and_units(question: Question, response: str, correct: bool | None) -> None:
    assert robust(question, response).correct is correct


@pytest.mark.parametrize(
    ("gold", "decimals", "tolerance", "response", "correct"),
    [
        ("1.2", 1, None, "1.23", True),
        ("1.2", 1, None, "1.26", False),
        ("1.2", 1, None, "6/5", True),
        ("0.5", 1, None, "half", True),
        ("0.8", 1, None, "4/5", True),
        ("0.75", 2, None, "three quarters", True),
        ("2.0944", None, 1e-3, "2\\pi/3", True),
        ("2.0944", None, 1e-3, "2.09", False),
        ("2.0944", None, 1e-3, "2.095", True),
        ("3000000.0", None, None, "3 \\times 10^{6}", True),
        ("0.003", 3, None, "3e-3", True),
        ("8.246", None, None, "2\\sqrt{17}", True),
        ("8.246", None, None, "8.3", False),
        ("6.25", 2, None, "6\\frac{1}{4}", True),
        ("2.5", 1, None, "2 1/2", True),
    ],
)
def test_floats(gold: str, decimals: int | None, tolerance: float | None, response: str, correct: bool) -> None:
    question = Question("", FLOAT, gold, decimals=decimals, tolerance=tolerance)
    assert robust(question, f"The answer is {response}.").correct is correct


@pytest.mark.parametrize(
    ("gold", "response", "correct"),
    [
        ("$\\frac{4}{5}$", "0.8", True),
        ("$\\frac{20}{29}$", "\\dfrac{20}{29}", True),
        ("$\\frac{360}7$", "51.43", True),
        ("$\\frac{360}7$", "51.34", False),
        ("\\frac{3\\sqrt{33}}5", "3.447", True),
        ("\\frac3{4}", "0.75", True),
        ("\\frac{\\pi }3", "\\frac\\pi3", True),
        ("1.047", "\\boxed{\\frac\\pi3}", True),
        ("\\frac{1}23", "1.5", True),
        ("4\\sqrt{3}", "4√3", True),
        ("4\\sqrt{3}", "4 sqrt(3)", True),
        ("4\\sqrt{3}", "6.93", True),
        ("36\\pi \\mathrm{cm}^3", "36\\pi", True),
        ("36\\pi \\mathrm{cm}^3", "36", False),
        ("Area $=9.4 \\mathrm{~cm}^{2}$", "9.4 cm²", True),
        ("$13 \\%$", "13%", True),
        ("118掳T", "118°T", True),
        ("N 34° W", "N 34° W", True),
        ("[1,2)", "[1, 2)", True),
        ("[1,2)", "(1, 2]", False),
        ("(-\\infty, 4]", "(-∞, 4]", True),
        ("$(4,0)$", "(4.0, 0)", True),
        ("(3, -5)", "(3.000, -5.000)", True),
        ("(3, -5)", "(-5, 3)", False),
        ("x>3", "x > 3", True),
        ("x>3", "3 < x", True),
        ("x>3", "x < 3", False),
        ("y=2x+1", "y = 1 + 2x", True),
        ("y=2x+1", "2x+1=y", True),
        ("y=2x+1", "y = 2x - 1", False),
        ("$-\\frac{3}{2}x+3$", "\\boxed{3 - 1.5x}", True),
        ("(x+3)^2+(y+3)^2=9", "\\boxed{(y+3)^2 + (x+3)^2 = 9}", True),
        ("x^{3}+12 x^{2}+48 x+64", "(x+4)^3", True),
        ("x^{3}+12 x^{2}+48 x+64", "(x+3)^3", False),
        ("1:64", "1 : 64", True),
        ("1:64", "1:16", False),
        ("13:18", "13:18", True),
        ("13:18", "13:19", False),
        ("12/12/2011", "12/12/2011", True),
        ("May", "may", True),
        ("Apr", "April", True),
        ("Thursday", "Answer: Thursday", True),
        ("Product B", "product b.", True),
        ("Product B", "Product A", False),
        ("even", "The answer is: the function is even.", True),
        ("even", "Answer: odd", False),
        ("white", "The white", True),
        ("x = 0", "0", True),
        ("x = 0", "y = 0", None),
        ("x = 0", "y = 1", False),
        ("Increasing at (2, \\infty) and decreasing at (-\\infty, 2)", "Answer: it grows to the right of 2", None),
        ("60^\\circ", "60°", True),
        ("60^\\circ", "\\boxed{60}", True),
    ],
)
def test_expressions_and_texts(gold: str, response: str, correct: bool | None) -> None:
    verdict = robust(Question("", TEXT, gold), response)
    assert verdict.correct is correct, verdict


@pytest.mark.parametrize(
    ("response", "correct"),
    [
        ("[2014, 2016]", True),
        ("†Answer: 2014 and 2016", True),
        ("Answer: 2014, 2016", True),
        ("[2015, 2016]", False),
        ("[2014]", None),
    ],
)
def test_lists(response: str, correct: bool | None) -> None:
    assert robust(Question("", LIST, "[2014, 2016]"), response).correct is correct


@pytest.mark.parametrize("gold", ["A", "B"])
def test_a_box_that_holds_no_option_is_wrong(gold: str) -> None:
    assert robust(choice(gold, LETTERS), "\\boxed{All except B}").correct is False
    assert robust(choice(gold, ANGLES), "\\boxed{77^\\circ}").correct is False


@pytest.mark.parametrize(
    ("response", "correct"),
    [("\\boxed{A, C}", True), ("The answer is (C) and (A).", True), ("A and D", False), ("A", False), ("I cannot tell.", None)],
)
def test_several_right_options(response: str, correct: bool | None) -> None:
    assert robust(Question("", TEXT, "A\nC", ANGLES), response).correct is correct


def test_the_same_option_text_twice_is_no_reason_to_abstain() -> None:
    assert robust(choice("D", ("9", "12", "18", "18")), "\\boxed{18}").correct is True


def test_a_verdict_says_what_was_read_and_by_which_rules() -> None:
    verdict = robust(number("3"), "†Answer: 3 ft")
    assert (verdict.extraction, verdict.rule) == ("3 ft", "answer+number")
    assert verdict.reason == "read 3 ft, gold 3"
    assert robust(number("3"), "Answer: three").reason == "read three as 3, gold 3"
    assert robust(number("3"), "\\boxed{4}").rule == "boxed+number"
    assert robust(choice("A", ANGLES), "(B)").rule == "whole+letter"


def test_a_word_that_begins_with_a_letter_and_glosses_mislead_nobody() -> None:
    capitals = choice("B", ("Vienna", "Budapest", "Prague", "Bratislava"))
    assert robust(capitals, "Das Land ist Ungarn, seine Hauptstadt ist Budapest.").correct is not False
    assert robust(Question("", TEXT, "hydrogen"), "Hydrogen (H2)").correct is True
    assert robust(Question("", TEXT, "Tokyo"), "Tokyo 東京").correct is True
    assert robust(Question("", TEXT, "March 14"), "March 14th").correct is True


def test_many_at_once_are_judged_as_one_by_one_and_counted() -> None:
    questions = [
        (Question("", TEXT, "y=2x+1"), "y = 1+2x"),
        (number("3"), "Answer: 3"),
        (Question("", TEXT, "x^2-1"), "\\boxed{(x-1)(x+1)}"),
        (number("3"), ""),
        (Question("", TEXT, "x^2-1"), "\\boxed{(x-1)(x+1)}"),
    ] * 3
    questions += [(Question("", TEXT, f"x^2+{i}x"), f"\\boxed{{x(x+{i})}}") for i in range(1, 50)]
    counted: list[int] = []
    many = robust_many(questions, counted.append, workers=2)
    assert many == [robust(*pair) for pair in questions]
    assert sum(counted) == len(questions)
    assert all(v.correct for v in many[-49:])


def test_algebra_is_begun_while_the_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [(Question("", TEXT, f"x^2-{i}y"), f"\\boxed{{-{i}y+x^2}}") for i in range(70, 80)]
    last = (number("3"), "Answer: 3")
    read = robust_module._quick

    def slowly(question: Question, response: str | None) -> Any:
        end = time.monotonic() + 60
        while (question, response) == last and len(symbolic._answers) < known + 10 and time.monotonic() < end:
            time.sleep(0.01)
        return read(question, response)

    known = len(symbolic._answers)
    monkeypatch.setattr(robust_module, "_quick", slowly)
    many = robust_many([*asked, last], workers=2)
    assert len(symbolic._answers) == known + 10 and [v.correct for v in many] == [True] * 11
    # Who asks for one process has one.
    more = [(Question("", TEXT, f"x^2-{i}y"), f"\\boxed{{-{i}y+x^2}}") for i in range(80, 90)]
    monkeypatch.setattr(robust_module, "_quick", read)
    monkeypatch.setattr(robust_module, "ThreadPoolExecutor", NobodyAhead)
    assert all(v.correct for v in robust_many(more, workers=1))


@pytest.mark.parametrize(("many", "workers", "begun"), [(3, None, 1), (4, None, 0), (3, 1, 0)])
def test_the_comparing_process_is_started_beforehand_for_many(
    monkeypatch: pytest.MonkeyPatch, many: int, workers: int | None, begun: int
) -> None:
    """One by one nothing is begun that nobody may need."""
    started: list[None] = []
    monkeypatch.setattr(robust_module, "MANY", many)
    monkeypatch.setattr(symbolic, "begin", lambda: started.append(None))
    asked = [(number(str(n)), f"Answer: {n}") for n in range(3)]
    assert all(verdict.correct for verdict in robust_many(asked, workers=workers))
    assert len(started) == begun


def test_nothing_is_asked_any_more_when_many_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is forked then would wait for ever for what is asked in another thread."""
    ask, running = symbolic.equal_many, []

    def slowly(*args: Any, **named: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            return ask(*args, **named)
        running.append(args)
        time.sleep(2)
        answers = ask(*args, **named)
        running.pop()
        return answers

    monkeypatch.setattr(symbolic, "equal_many", slowly)
    asked = [(Question("", TEXT, f"x^2-{i}y"), f"\\boxed{{-{i}y+x^2}}") for i in range(90, 95)]
    assert all(v.correct for v in robust_many([*asked, (number("3"), "Answer: 3")], workers=2))
    assert not running


class NobodyAhead:
    def __init__(self, workers: int) -> None:
        pass

    def submit(self, *args: Any, **named: Any) -> None:
        raise AssertionError("a comparison was handed over")

    def shutdown(self, **named: Any) -> None:
        pass


WINDOWS = "How many windows does the red house have?"
OF_ANOTHER = [
    # (question, response): a sentence with a number that is about something else
    (WINDOWS, "The barn behind it has 6 doors."),
    (WINDOWS, "Most houses of that period came with 6 windows."),
    ("What is the slope of the line through P and Q?", "The slope of a parallel road is 6."),
    ("How much time passes between the bells?", "The second bell rings at minute 6."),
]


@pytest.mark.parametrize(("text", "response"), OF_ANOTHER)
def test_a_mere_sentence_about_something_else_is_no_answer(text: str, response: str) -> None:
    assert robust(number("6", text), response).correct is None


ABOUT_IT = [
    (WINDOWS, "The red house has 6 windows and a chimney."),
    (WINDOWS, "I count 6 windows in this drawing."),
    ("How many windows does the house have?", "Windows: 6\nDoors: 1\nChimneys: 2"),
    (WINDOWS, "Three on each floor:\n3 + 3 = 6 windows"),
    ("How many of the cats are black?", "In the picture six of the nine cats are black."),
]


@pytest.mark.parametrize(("text", "response"), ABOUT_IT)
def test_a_sentence_label_or_result_about_what_is_asked_answers(text: str, response: str) -> None:
    assert robust(number("6", text), response).correct is True
    assert robust(number("9", text), response).correct is False


@pytest.mark.parametrize(
    ("text", "response", "correct"),
    [
        ("What is the area of the triangle?", "A = \\frac12 \\cdot 4 \\cdot 3 = 6", True),
        ("What is the value of the sum?", "$\\sum_{k=1}^{3}k = 1 + 2 + 3 = 6$", True),
        ("What is the perimeter of the triangle?", "A = \\frac12 \\cdot 4 \\cdot 3 = 6", None),
        ("What is the radius of the circle?", "d = 2 · 3 = 6", None),
        ("What is the value of x?", "2x = 11 - 5 = 6", None),
        ("What is the length of the side x?", "$x^2 = 10 - 4 = 6$", None),
    ],
)
def test_a_response_that_is_one_chain_of_equations_says_what_stands_before_it(
    text: str, response: str, correct: bool | None
) -> None:
    assert robust(number("6", text), response).correct is correct


@pytest.mark.parametrize("options", [("salt", "sugar", "flour"), ("salt", "sugar", "flour", "oil")])
def test_the_options_in_a_program_are_no_answer(options: tuple[str, ...]) -> None:
    """Released programs end so; the first of the list had counted."""
    response = (
        "def least_needed(choices):\n    grams = {'salt': 2, 'sugar': 40}\n\n    for choice in choices:\n"
        '        if choice == min(grams, key=grams.get):\n            return choice\n    return ""\n\n'
        f"choices = {list(options)}\nprint(least_needed(choices))"
    )
    for gold in "ABC":
        asked = Question("Which ingredient does the recipe need least of?", CHOICE, gold, options)
        assert robust(asked, response).correct is None


def test_one_value_in_two_forms_is_either() -> None:
    asked = Question("What is the probability of a red ball?", TEXT, "1/6")
    assert robust(asked, "The probability of a red ball is 1/6 ≈ 16.7%.").correct is True
    assert robust(Question(asked.text, TEXT, "1/7"), "The probability of a red ball is 1/6 ≈ 16.7%.").correct is False


@pytest.mark.parametrize("signs", [". " * 100, "\n" * 200, "- " * 80 + "\n\n"])
def test_a_long_run_of_signs_leaves_the_answers_own(signs: str) -> None:
    """A drawing of dots before a box had taken the box's backslash with it."""
    response = f"Connect the dots as shown. {signs}\\boxed{{D}}"
    assert robust(Question("Which shape?", CHOICE, "D", ("1", "2", "3", "4")), response).correct is True
    assert robust(Question("How much?", INTEGER, "-5"), f"It goes on{signs}\\boxed{{-5}}").correct is True
