"""Expressions that look alike and are not the same, and the same that look unlike, however they are put."""

import pytest

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, TEXT, Question
from l2v.benchmarks.scoring.robust import robust

FRAMES = ("\\boxed{{{}}}", "The answer is ${}$.", "Therefore, we get ${}$.")


@pytest.mark.parametrize(
    "frame", ["The answer is ${}$.", "**Answer:** {}", "{}", "\\boxed{{{}}}", "So we get {}.", "It is {}."]
)
@pytest.mark.parametrize(
    ("expression", "number"),
    [
        ("2 a b+a(b-a)", "2"),
        ("b^{2}-a^{2}", "2"),
        ("\\frac{7^3}{2^{12} 13^2}", "12"),
        ("2(a+b)", "2"),
        ("2(A+B+C)", "2"),
        ("3 X", "3"),
        ("3 x", "3"),
        ("4 \\pi R", "4"),
        ("2 \\pi d n", "2"),
        ("f(x)=-g(x)+2", "2"),
        ("g(2-x)=-f(x)", "2"),
        ("(90-\\alpha)^{\\circ}", "90"),
        ("\\sqrt[3]{A B C}", "3"),
        ("Q=\\sqrt{S^{2}+s^{2}}", "2"),
        ("X^{2}+Y^{2}=Z", "2"),
        ("b^{2}>4 a c", "2"),
        ("10 \\sqrt{ } 10", "10"),
        ("(10 ; 0)", "10"),
        ("-8 ;-4 ; 0", "0"),
        ("-8 ;-4 ; 0", "-8"),
        ("a=9, b=5, c=3", "3"),
        ("a=9, b=5, c=3", "9"),
        ("(2+\\sqrt{3}): 1", "1"),
        ("P_{1}", "1"),
        ("x_{1}+x_{2}", "2"),
        ("(11 ; 11)", "11"),
        ("6\\sin\\theta\\sec\\theta", "6"),
        ("1 - \\sin \\alpha", "1"),
        ("\\cos 6^{\\circ}\\cos 12^{\\circ} \\sec 18^{\\circ}", "18"),
        ("P( - 1)", "1"),
        ("\\tan \\theta = 2\\theta", "2"),
        ("X=0, Y=1", "1"),
        ("3ab", "3"),
    ],
)
def test_an_expression_is_none_of_its_numbers(frame: str, expression: str, number: str) -> None:
    for kind in (INTEGER, FLOAT, TEXT):
        verdict = robust(Question("What is it?", kind, number), frame.format(expression))
        assert verdict.correct is not True, verdict


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    ("gold", "claim"),
    [
        ("v", "v t"),
        ("\\pi r^2", "\\pi r^2 h"),
        ("k", "k m"),
        ("2", "2\\theta"),
        ("9\\pi", "9\\pi h"),
        ("2m/n", "2"),
        ("f(x)", "f'(x)"),
        ("f'(x)", "f(x)"),
        ("A'B'C'", "ABC"),
        ("A", "A'"),
        ("n!", "n"),
        ("\\frac{n!}{2}", "\\frac{n}{2}"),
        ("3", "3!"),
        ("2^{10}", "1025"),
        ("674^{2}", "674^{2}+1"),
        ("y=2x+1", "\\log y = 2x+1"),
        ("\\frac{1}{2}", "\\frac{1}{2}, 3"),
        ("3", "3, \\frac{1}{2}"),
        ("(2+\\sqrt{3}): 1", "1"),
        ("\\$5.50", "5.5 cents"),
        ("ABC", "\\angle ABD"),
        ("\\angle ABC", "\\triangle ABC"),
    ],
)
def test_what_differs_is_not_accepted(frame: str, gold: str, claim: str) -> None:
    verdict = robust(Question("What is it?", TEXT, gold), frame.format(claim))
    assert verdict.correct is not True, verdict


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize(
    ("gold", "claim"),
    [
        ("4x", "4x \\text{ m}"),
        ("4x", "4x \\mathrm{~m}"),
        ("4x", "4x \\text{ s}"),
        ("\\frac{x}{2}", "\\frac{x}{2} \\text{ h}"),
        ("4x", "4x \\mathrm{~g}"),
        ("10\\sqrt{3} \\mathrm{~m}", "10\\sqrt{3}"),
        ("2a", "2a \\text{ cm}"),
        ("4x+2", "4x+2 \\text{ square units}"),
        ("\\frac{x}{2}", "\\frac{x}{2} \\text{ miles}"),
        ("5t", "5t \\text{ dollars}"),
        ("9\\pi", "9\\pi \\text{ h}"),
        ("2", "2 \\text{ kg/m}^3"),
        ("A'B'C'", "A^{\\prime}B^{\\prime}C^{\\prime}"),
        ("A'", "\\text{point } A'"),
        ("ABC", "\\triangle ABC"),
        ("BC", "\\overline{BC}"),
        ("\\frac{n!}{2}", "\\frac{n!}{2}"),
        ("2^{10}", "1024"),
        ("\\sin x", "\\sin(x)"),
    ],
)
def test_what_is_the_same_is_accepted(frame: str, gold: str, claim: str) -> None:
    verdict = robust(Question("What is it?", TEXT, gold), frame.format(claim))
    assert verdict.correct is True, verdict


@pytest.mark.parametrize(
    "frame", ["({letter}) {text}", "{letter}. {text}", "**{letter}: {text}**", "The correct answer is ({letter}) {text}."]
)
@pytest.mark.parametrize(
    "options",
    [
        ("The first image", "The second image", "nan"),
        ("either A or B", "only C", "only D", "either C or D"),
        ("d", "b", "c", "a"),
        ("C", "E", "A", "none"),
        ("45", "39", "None of the numbers above", "another number"),
        ("70", "71", "It is impossible to have exactly 2012 points."),
        ("same", "Not the same", "Can't judge"),
        ("A'", "B'", "C'"),
        ("I think so. It fits.", "I doubt it! It does not.", "Nobody knows."),
    ],
)
def test_an_option_in_full_behind_its_letter_is_that_option(frame: str, options: tuple[str, ...]) -> None:
    """Whatever its text would say by itself; and no other."""
    for at, text in enumerate(options):
        said = frame.format(letter="ABCD"[at], text=text)
        for gold in "ABCD"[: len(options)]:
            verdict = robust(Question("Which of these holds?", CHOICE, gold, options), said)
            assert verdict.correct is (gold == "ABCD"[at]), (said, verdict)


def test_an_option_whose_text_denies_is_chosen_by_its_text() -> None:
    options = ("same", "Not the same", "Can't judge")
    asked = Question("Are the two shapes the same?", CHOICE, "B", options)
    assert robust(asked, "\\boxed{Not the same}").correct is True
    assert robust(asked, "\\boxed{same}").correct is False
    assert robust(Question("How many?", INTEGER, "3"), "\\boxed{not 3}").correct is not True
    images = ("The first image", "The second image", "neither")
    first = Question("Which image shows more dogs?", CHOICE, "A", images)
    assert robust(first, "The answer is the first image.").correct is True
    assert robust(first, "The answer is the second image.").correct is False
    # Where no option is called so, another question is spoken of.
    assert robust(Question("How many dogs?", INTEGER, "3"), "The answer to the first question is 3.").correct is not True


@pytest.mark.parametrize("text", ["A", "\\text{A}", "$\\text{A}$", "\\mathbf{A}", "(A)"])
def test_a_letter_in_a_box_is_an_option_s_however_it_is_set(text: str) -> None:
    """Also where another option happens to read so."""
    asked = Question("Which letter is the largest?", CHOICE, "A", ("C", "B", "A", "none"))
    assert robust(asked, f"\\boxed{{{text}}}").correct is True


def test_a_list_of_options_is_still_a_list() -> None:
    options = ("red", "blue", "green")
    asked = Question("Which colour is it?", CHOICE, "C", options)
    assert robust(asked, "A. red\nB. blue\nC. green").correct is None
    assert robust(asked, "It may be (A) red, (B) blue or (C) green").correct is None
    assert robust(asked, "It is not (C) green.").correct is not True


@pytest.mark.parametrize(
    "frame",
    [
        "The answer is {text}.",
        'The correct answer is "{text}".',
        "The correct answer is '{text}'.",
        "\\boxed{{{text}}}",
        "\\boxed{{\\text{{{text}}}}}",
        "The answer is {text} (option {letter}).",
        "The answer is {text}, i.e. {letter}",
        "The answer is option {letter}, {text}.",
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        ("Yes", "No", "Cannot be determined", "Not enough information"),
        ("larger than", "equal to", "smaller than"),
        ("More than three", "Three", "less than three"),
        ("Is used as a fertilizer", "Has a boiling point of 337°C", "Can be toxic"),
        ("Cloudy", "Clear", "NA"),
        ("either 0 or 2", "only 0", "none of the above"),
        ("plants decrease", "nothing happens", "No, there's no change"),
    ],
)
def test_an_option_in_full_behind_a_marker_is_that_option(frame: str, options: tuple[str, ...]) -> None:
    for at, text in enumerate(options):
        said = frame.format(letter="ABCD"[at], text=text)
        for gold in "ABCD"[: len(options)]:
            verdict = robust(Question("Which of these is it?", CHOICE, gold, options), said)
            assert verdict.correct is (gold == "ABCD"[at]), (said, verdict)


def test_a_letter_that_is_not_the_option_s_settles_nothing() -> None:
    options = ("6", "8", "10", "12")
    for said in ("AB is 10, which is option D.", "The answer is 10 (D).", "The answer is 10 (option D)."):
        assert robust(Question("How long is AB?", CHOICE, "C", options), said).correct is None
    assert robust(Question("How long is AB?", CHOICE, "B", ("5", "25")), "The answer is 25 (A).").correct is None
    for said in ("The answer is -5 (A).", "The answer is 2.5 (A)."):
        assert robust(Question("What is x?", CHOICE, "A", ("5", "-5", "2.5")), said).correct is not True
    twice = Question("Find the angle.", CHOICE, "C", ("40°", "50°", "60°"))
    assert robust(twice, "Twice the angle is 60°, which is option C.").correct is not True


def test_marks_in_small_letters_are_options_where_these_read_so() -> None:
    options = ("(c)", "(a)", "(e)", "(d)", "(b)")
    for at, text in enumerate(options):
        verdict = robust(
            Question("Which is the mirror image?", CHOICE, "ABCDE"[at], options), f"It must be {text}, as it seems."
        )
        assert verdict.correct is True, (text, verdict)
    assert robust(Question("Which?", CHOICE, "E", options), "Answer: (E) (b)").correct is True
    assert robust(Question("Which?", CHOICE, "E", options), "Answer: (D) (b)").correct is None
    assert robust(Question("Which?", CHOICE, "C", ("red", "blue", "green")), "It must be (c), as it seems.").correct is True


def test_a_thin_space_is_none_and_a_point_in_a_number_ends_nothing() -> None:
    for said in ("The answer is $-\\!4$.", "$-\\!4$, i.e. A"):
        assert robust(Question("What is x?", CHOICE, "E", ("$-\\!4$", "$-2$", "$0$", "$2$", "$4$")), said).correct is not True
    assert robust(Question("How many?", INTEGER, "10404"), "10,\\!404").correct is True
    assert robust(Question("How long?", CHOICE, "E", ("6", "7", "5.7", "8", "5")), "5.7, i.e. C").correct is not True


CLOCK = "What time does the clock show?"
TRIANGLES = "How many triangles are there?"
SHIRT = "How many dollars does the shirt cost?"
LENGTH = "What is the length of AB in cm?"
PERCENT = "What percentage of people chose tea?"
AREA = "What is the area of the rectangle in square centimeters?"


@pytest.mark.parametrize("frame", ["\\boxed{{{}}}", "The answer is {}.", "**Answer:** {}", "Therefore, the answer is {}."])
@pytest.mark.parametrize(
    ("question", "kind", "gold", "claim", "correct"),
    [
        (CLOCK, TEXT, "3:45", "3:45 PM", True),
        (CLOCK, TEXT, "3:45", "quarter to four", True),
        (CLOCK, TEXT, "3:45", "3:54", False),
        (CLOCK, TEXT, "3:45", "quarter past three", False),
        (CLOCK, TEXT, "3:45 PM", "15:45", True),
        (CLOCK, TEXT, "3:45 PM", "3:45 a.m.", None),
        (CLOCK, TEXT, "3:00", "three o'clock", True),
        (CLOCK, TEXT, "10:30", "half past ten", True),
        (TRIANGLES, INTEGER, "0", "none", True),
        (TRIANGLES, INTEGER, "3", "none", False),
        (TRIANGLES, INTEGER, "1", "a single triangle", True),
        (SHIRT, INTEGER, "1250", "US$1,250", True),
        (SHIRT, INTEGER, "1250", "1250 cents", None),
        (LENGTH, FLOAT, "7.5", "7.5 cm", True),
        (LENGTH, FLOAT, "7.5", "75 mm", True),
        (LENGTH, FLOAT, "7.5", "7.5 cm^2", None),
        (PERCENT, INTEGER, "40", "40%", True),
        (PERCENT, INTEGER, "40", "0.4", None),
        (PERCENT, INTEGER, "40", "4", False),
        (AREA, INTEGER, "48", "48 cm²", True),
        (AREA, INTEGER, "48", "48 cm", None),
        ("What is the population?", INTEGER, "1200000", "1.2M", True),
    ],
)
def test_numbers_times_and_units(frame: str, question: str, kind: str, gold: str, claim: str, correct: bool | None) -> None:
    verdict = robust(Question(question, kind, gold), frame.format(claim))
    assert verdict.correct is correct, verdict


def test_a_square_stays_with_its_unit_in_a_sentence() -> None:
    assert robust(Question(AREA, INTEGER, "48"), "So the rectangle has an area of 48 cm².").correct is True
    tea = "The pie chart indicates that two fifths, or 40%, of the people chose tea."
    assert robust(Question(PERCENT, INTEGER, "40"), tea).correct is True
    assert robust(Question("How many boxes are there?", INTEGER, "0"), "None").correct is None


@pytest.mark.parametrize("frame", ["\\boxed{{{}}}", "The answer is {}.", "**{}**"])
@pytest.mark.parametrize(
    ("options", "claim", "letter"),
    [
        (("1 cm", "1.2 cm", "1.25 cm", "1.5 cm"), "1.2", "B"),
        (("1 cm", "1.2 cm", "1.25 cm", "1.5 cm"), "1.25", "C"),
        (("$1+\\sqrt{2}$", "$\\sqrt{5}$", "$\\sqrt{2}$", "$\\frac{5}{2}$", "$\\frac{4}{5} \\pi$"), "2.5", "D"),
        (("$\\frac{7}{2}$", "$\\frac{5\\sqrt{2}}{2}$", "$\\sqrt{11}$"), "3.5", "A"),
        (("$\\frac{9}{25}$", "$\\frac{11}{25}$", "$\\frac{7}{16}$"), "0.44", "B"),
        (("$16\\pi/5$", "$288\\pi/5$", "$576\\pi$"), "181", "B"),
        (("2016", "2018", "$\\sqrt{2018^{2}+2}$"), "2018.00", "B"),
    ],
)
def test_a_value_is_the_option_that_it_equals(frame: str, options: tuple[str, ...], claim: str, letter: str) -> None:
    """Though another one would round to it."""
    for gold in "ABCDE"[: len(options)]:
        verdict = robust(Question("How long is it?", CHOICE, gold, options), frame.format(claim))
        assert verdict.correct is (gold == letter), verdict


def test_a_value_between_two_options_is_neither() -> None:
    options = ("5", "5.7", "$\\sqrt{32}$", "6")
    verdict = robust(Question("How long is it?", CHOICE, "C", options), "\\boxed{5.66}")
    assert verdict.correct is not True
    assert robust(Question("How long is it?", CHOICE, "A", options), "\\boxed{5.2}").correct is False


@pytest.mark.parametrize("frame", FRAMES)
def test_an_equation_is_none_of_its_sides(frame: str) -> None:
    hyperbola = Question("Write the equation.", TEXT, "\\frac{y^2}{9}-\\frac{(x+1)^2}{9}=1")
    assert robust(hyperbola, frame.format("1")).correct is False
    assert robust(Question("What is it?", TEXT, "3x+2y=6"), frame.format("6")).correct is False
    assert robust(Question("What is x?", INTEGER, "6"), frame.format("2x=6")).correct is not True
    assert robust(Question("What is the value of 2x?", INTEGER, "6"), "\\boxed{2x=6}").correct is True
    for gold, claim in (("y=2x+1", "2x+1"), ("f(x)=x^2", "x^2"), ("AB=5", "5"), ("x^2+y^2=25", "y^2+x^2-25=0")):
        assert robust(Question("What is it?", TEXT, gold), frame.format(claim)).correct is True, (gold, claim)


def test_intervals_in_a_sentence_are_no_numbers() -> None:
    said = "The answer is $Increasing at (2, \\infty) and decreasing at (-\\infty, 2)$."
    assert robust(Question("What is it?", INTEGER, "2"), said).correct is not True


def test_latex_in_json_need_not_be_escaped() -> None:
    for said in ('{"reasoning": "by counting", "answer": "\\frac{144}{49}"}', '{"answer": "\\\\frac{144}{49}", "n": 1}'):
        assert robust(Question("What is it?", TEXT, "\\frac{144}{49}"), said).correct is True
    assert robust(Question("What is it?", INTEGER, "5"), '{"reasoning": "a\\nThus b", "answer": 5}').correct is True


def test_the_best_of_the_given_choices() -> None:
    asked = Question("Is it red?", CHOICE, "B", ("Yes", "No"))
    for said in ("The best answer from the given choices is B) No.", "The correct answer among the options is (B)."):
        assert robust(asked, said).correct is True
    assert robust(asked, "Tom's answer from the book is B.").correct is not True


@pytest.mark.parametrize(
    "frame",
    [
        "The answer is ${}$ plus the area of the circle.",
        "The answer is ${}$ minus what was cut off.",
        "The answer is twice ${}$.",
        "The answer is half of ${}$.",
        "At most ${}$.",
        "The least likely answer is ${}$.",
        "\\boxed{{\\text{{not }} {}}}",
    ],
)
@pytest.mark.parametrize("gold", ["12", "1+\\sqrt{3}", "270 \\mathrm{cm}^3", "(-\\infty, 4]", "\\frac{1}{3}"])
def test_what_an_answer_is_compared_with_is_no_answer(frame: str, gold: str) -> None:
    question = Question("What is the least number of turns that are not needed?", TEXT, gold)
    assert robust(question, frame.format(gold)).correct is not True


@pytest.mark.parametrize(
    "frame", ["{text} is not the answer.", "Not ({letter}).", "It is not {text}.", "The least likely answer is {letter}."]
)
@pytest.mark.parametrize(
    "question",
    [
        "What is the area inside the frame that is not covered?",
        "Which street is not shown? Answer with a word, not a number.",
        "What is the least number of coins?",
    ],
)
def test_a_not_in_the_question_asks_for_no_denial(frame: str, question: str) -> None:
    options = ("$\\frac{3}{2}$", "4 cm", "Carol Street", "not enough information")
    for at, text in enumerate(options[:3]):
        asked = Question(question, CHOICE, "ABC"[at], options)
        assert robust(asked, frame.format(letter="ABC"[at], text=text)).correct is not True


def test_what_is_not_so_is_an_answer_where_that_is_asked_for() -> None:
    options = ("whale", "shark", "dog")
    asked = Question("Which of these is not a mammal?", CHOICE, "B", options)
    assert robust(asked, "The shark is not a mammal.").correct is True
    assert robust(Question("Which is least likely?", CHOICE, "B", options), "The least likely answer is B.").correct is True
    assert robust(Question("What holds?", CHOICE, "B", ("It is red", "It is not red")), "It is not red.").correct is True
