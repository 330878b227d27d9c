"""Whatever a model writes: no scorer raises, takes two seconds over an item, or runs anything."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from computing import Computing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, LIST, TEXT, Answer, Question, Verdict
from l2v.benchmarks.scoring import symbolic, symbolic_worker
from l2v.benchmarks.scoring.lenient import lenient
from l2v.benchmarks.scoring.robust import robust

Judge = Callable[[str], Verdict]
SECONDS = 2.0

# One small row per kind of answer, in each benchmark's own fields.
DOCS: dict[str, list[dict[str, Any]]] = {
    "mathvista": [
        {
            "pid": "1",
            "question": "q",
            "choices": choices,
            "unit": None,
            "precision": precision,
            "answer": gold,
            "answer_type": kind,
        }
        | {"question_type": "multi_choice" if choices else "free_form", "metadata": {}}
        for choices, precision, gold, kind in [
            (["8 cm", "9 cm"], None, "9 cm", "text"),
            (None, None, "3", "integer"),
            (None, 1.0, "1.2", "float"),
            (None, None, "[1, 2]", "list"),
        ]
    ],
    "mmstar": [{"index": 0, "question": "Which?\nOptions: A: a cat, B: a dog, C: none, D: both", "answer": "A"}],
    "mathverse": [
        {"sample_index": "1", "problem_index": "1", "problem_version": "Text Only", "question": text, "question_for_eval": text}
        | {"answer": gold, "question_type": kind, "metadata": {}}
        for text, gold, kind in [("q\nChoices:\nA:40°\nB:60°", "B", "multi-choice"), ("q", "$y=2x+1$", "free-form")]
    ],
    "mathvision": [
        {"id": "1", "question": "q <image1>", "options": options, "answer": gold, "level": 1, "subject": "algebra"}
        for options, gold in [([], "60"), (["$\\frac{1}{2}$", "$\\sqrt{3}$"], "A"), ([], "2\\sqrt{3}-2")]
    ],
    "dynamath": [
        {"id": "1", "question": "q", "answer": gold, "answer_type": kind, "subject": "algebra", "level": "high school"}
        for gold, kind in [("2.0944", "float"), ("B", "multiple choice"), ("[1, 6]", "text")]
    ],
}
QUESTIONS = [
    Question("How many of 36 blocks?", CHOICE, "B", ("8 cm", "9 cm", "none")),
    Question("", CHOICE, "A"),
    Question("", CHOICE, "B", ("$\\frac{hd}{2h+d}$", "$\\sqrt{h^2+d^2}-h$")),
    Question("", INTEGER, "5"),
    Question("", FLOAT, "0.25", decimals=2),
    Question("", LIST, "[1, 2]"),
    Question("", TEXT, "y=x^2+2x+1"),
    Question("", TEXT, "(-\\infty,3] \\cup (4,5)"),
    Question("", TEXT, "even"),
    Question("", TEXT, ""),
]


def _judges() -> Iterator[tuple[str, Judge]]:
    for i, question in enumerate(QUESTIONS):
        yield f"robust-{i}", lambda text, q=question: robust(q, text)
        yield f"lenient-{i}", lambda text, q=question: lenient(q, text)
    for benchmark, docs in DOCS.items():
        try:
            module = importlib.import_module(f"l2v.benchmarks.{benchmark}.docs")
        except ModuleNotFoundError:
            continue
        for name, rule in module.OFFICIAL.items():
            for i, doc in enumerate(docs):
                yield f"{benchmark}-{name}-{i}", lambda text, r=rule, d=doc: r(d, Answer(text))
                yield f"{benchmark}-{name}-{i}-extracted", lambda text, r=rule, d=doc: r(d, Answer("", text))


JUDGES = dict(_judges())

_watched: list[str] = []
_seen: list[str] = []


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Notes what a scorer must never do while it is watched; the worker that compares expressions may start."""
    if not _watched:
        return
    if event in ("compile", "exec", "eval"):
        source = args[0]
        name = getattr(source, "co_filename", args[1] if event == "compile" and len(args) > 1 else "")
        if not str(name).endswith(".py") and not str(name).startswith("<frozen"):
            _seen.append(f"{event} {str(source)[:80]}")
    elif event in ("os.system", "os.exec", "os.spawn", "os.posix_spawn", "pty.spawn", "os.remove", "shutil.rmtree"):
        _seen.append(event)
    elif event == "subprocess.Popen" and "symbolic_worker.py" not in str(args[1]):
        _seen.append(f"{event} {args[1]}")
    elif event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") and not isinstance(args[0], int):
        _seen.append(f"{event} {args[0]}")
    elif event in ("pickle.find_class", "marshal.loads") and ".py" not in str(args):
        _seen.append(event)


sys.addaudithook(_audit)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """The comparing process is up, and modules that rules load late are loaded, before anything is timed or watched."""
    symbolic.equal("2x", "x+x")
    for judge in JUDGES.values():
        judge("\\boxed{\\frac{1}{2}}")


def judged(text: str) -> None:
    """Every scorer on one text: a verdict, in time, and nothing run."""
    for name, judge in JUDGES.items():
        _seen.clear()
        start, computing = time.perf_counter(), Computing()
        _watched.append(name)
        try:
            verdict = judge(text)
        finally:
            _watched.clear()
            seconds, waited = computing.seconds, time.perf_counter() - start
        assert isinstance(verdict, Verdict) and verdict.correct in (True, False, None), name
        # Of computing, the algebra's too; a busy machine may let it wait.
        assert seconds < SECONDS and waited < SECONDS + symbolic.SECONDS, (name, seconds, waited, text[:100])
        assert not _seen, (name, _seen, text[:100])


PIECES = st.sampled_from(
    [
        "\\boxed{",
        "}",
        "{",
        "\\frac{",
        "}{",
        "\\sqrt{",
        "^",
        "^{",
        "_",
        "$",
        "\\(",
        "(A)",
        "B.",
        "Answer:",
        "the answer is ",
        "†Answer: ",
    ]
    + [
        "12",
        "-3.5",
        "1,234",
        "5%",
        "3 ft",
        "x",
        "=",
        "≤",
        ",",
        " or ",
        " and ",
        "[",
        ")",
        "!",
        "\n",
        "**",
        "Therefore, ",
        "twenty-",
        "half ",
    ]
    + [
        "π",
        "√",
        "∞",
        "°",
        "10^",
        "9^9^",
        "e5",
        "/0",
        "0/0",
        "nan",
        "inf",
        "\ud800",
        "\x00",
        "掳",
        "ÿ",
        "\u202e",
        "٣",
        "½",
        "一",
        "\\text{",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=30).map("".join)))
@example("")
@example("__import__('os').system('true')")
@example("\\boxed{__import__('os').system('true')}")
def test_any_text_gets_a_verdict(text: str) -> None:
    judged(text)


HOSTILE = {
    "braces": "{" * 100_000,
    "closing braces": "}" * 100_000,
    "pairs of braces": "{}" * 50_000,
    "boxed braces": "\\boxed{" + "{" * 100_000,
    "boxes": "\\boxed{" * 14_000,
    "closed boxes": "\\boxed{1} " * 10_000,
    "boxes in boxes": "\\boxed{" * 7_000 + "}" * 7_000,
    "digits": "1" * 100_000,
    "answer in digits": "Answer: " + "1" * 100_000,
    "thousands": "1,111" * 20_000,
    "fractions": "\\frac{" * 17_000,
    "nested fractions": "\\boxed{" + "\\frac{1}{" * 2_000 + "1" + "}" * 2_001,
    "short nested fractions": "\\boxed{" + "\\frac{1}{" * 15 + "x" + "}" * 16,
    "roots": "\\boxed{" + "\\sqrt{" * 3_000 + "x" + "}" * 3_001,
    "power tower": "\\boxed{9^{9^{9^{9}}}}",
    "bare power tower": "9^9^9^9^9^9",
    "power of ten": "The answer is 10^{10^{10}}.",
    "python power": "Answer: 9**9**9**9",
    "python product": "Answer: [0] * 10 ** 10",
    "factorial": "\\boxed{100000!}",
    "factorial of x": "Answer: 99999!x",
    "sum": "\\boxed{\\sum_{i=1}^{10^9} i x}",
    "integral": "\\boxed{\\int_0^{\\infty} e^{-x^2} \\sin(x)/x dx}",
    "matrix": "\\boxed{\\begin{pmatrix}1&x\\\\3&4\\end{pmatrix}^{99}}",
    "polynomials": "\\boxed{(x+1)^{19}(x-1)^{19}(y+z)^{19}}",
    "equation": "\\boxed{x^{17}+x^{16}-x=\\sqrt{x^{13}+1}}",
    "functions": "\\boxed{\\sin(\\cos(\\tan(\\sin(\\cos(x)))))^{19}}",
    "binomial": "\\boxed{\\binom{999999}{500000}x}",
    "round brackets": "(" * 100_000,
    "square brackets": "[" * 100_000 + "1" + "]" * 100_000,
    "minus signs": "Answer: " + "-" * 100_000 + "1",
    "a and an exclamation mark": "a" * 100_000 + "!",
    "markers": "answer is " * 10_000,
    "markers to": "the answer to " * 7_000,
    "markers for words": "answer for a a a a a a a a " * 4_000,
    "options": "(A) (B) option C " * 6_000,
    "letters": "A, B, " * 17_000,
    "stars": "**" * 50_000,
    "dots": ". " * 50_000,
    "spaces": "." + " " * 100_000 + "a",
    "lines": "\n" * 100_000,
    "conclusion": "Therefore it " + "is " * 33_000 + "5.",
    "equals": "x" + "=1" * 50_000,
    "number words": "Answer: " + "one hundred million " * 5_000,
    "nulls": "\x00" * 1_000 + "Answer: 5",
    "surrogates": "\ud800\udfff Answer: \ud800 5",
    "right to left": "\u202eהתשובה היא 5\u202c Answer: ٥",
    "mojibake": "ä¸€ç­”æ¡ˆ Answer: 35掳",
    "import": "__import__('os').system('touch {file}')",
    "boxed import": "\\boxed{{__import__('os').system('touch {file}')}}",
    "answer import": "Answer: __import__('pathlib').Path('{file}').touch()",
    "dollar import": "The answer is $__import__('os').system('touch {file}')$",
    "eval": "\\boxed{{eval(compile('open(\"{file}\",\"w\")','','exec'))}}",
    "lambda": "Answer: (lambda: open('{file}', 'w'))()",
    "sympy": "\\boxed{{sympify(\"open('{file}','w')\")+x}}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_gets_a_verdict(name: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    text = (
        HOSTILE[name].replace("{{", "{").replace("}}", "}").replace("{file}", str(sentinel))
        if "{file}" in HOSTILE[name]
        else HOSTILE[name]
    )
    judged(text)
    assert not sentinel.exists()


@pytest.mark.parametrize("judge", [robust, lenient])
def test_no_response_gets_a_verdict(judge: Callable[[Question, str | None], Verdict]) -> None:
    assert all(judge(question, None).correct is not True for question in QUESTIONS)


def test_the_watch_sees_what_it_should_see(tmp_path: Path) -> None:
    _seen.clear()
    _watched.append("itself")
    try:
        compile("1 + 1", "response", "eval")
        (tmp_path / "file").write_text("x")
    finally:
        _watched.clear()
    assert len(_seen) >= 2


@pytest.mark.parametrize(
    "text", ["__import__('os')", "().__class__.__bases__", "x.__class__", "lambda: 1", "exec(1)", "S(1)", "N(2)"]
)
def test_the_algebra_runs_nothing_either(text: str) -> None:
    """In the worker's own code, but here, where the watch can see it."""
    symbolic_worker.equal("2x", "x+x")
    _seen.clear()
    _watched.append(text)
    try:
        symbolic_worker.equal("x+1", text)
    except Exception:
        pass
    finally:
        _watched.clear()
    assert not [seen for seen in _seen if text[:10] in seen], _seen
