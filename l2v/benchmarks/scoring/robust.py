"""The scorer `robust`: read the answer that a response claims, compare it with the gold, and abstain rather than guess.

claims.py says what a response asserts: the last box or answer marker that is not withdrawn, else a bare answer, a conclusion,
the last sentence, an opening. Options are read by letter, text or value; numbers by value (words, separators, units, per cent,
fractions, roots); other golds as text, element by element, and last by symbolic algebra.

A wrong answer that the response claims is False. None: nothing was claimed (rule no_answer), two answers were, or one that is
denied again (ambiguous), or the comparison could not be decided (undecided). The rules are general; none knows a benchmark or
an item.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, TEXT, Question, Verdict
from l2v.benchmarks.scoring import symbolic
from l2v.benchmarks.scoring.chains import is_step
from l2v.benchmarks.scoring.claims import read_claims
from l2v.benchmarks.scoring.cleaning import clean, plain, squeeze
from l2v.benchmarks.scoring.equality import Comparison, compare
from l2v.benchmarks.scoring.forms import (
    BOXED,
    CONCLUSION,
    LAST_LINE,
    LAST_SENTENCE,
    MARKER,
    OPENING,
    SENTENCES,
    STATEMENT,
    WHOLE,
    Claims,
    ResponseClaim,
)
from l2v.benchmarks.scoring.mathematics import is_mathematics, to_latex
from l2v.benchmarks.scoring.numeric import OPEN_BOX, alike
from l2v.benchmarks.scoring.option_texts import LETTERS, OptionReading, by_its_letter
from l2v.benchmarks.scoring.options import is_answer, read_option, whole_option
from l2v.benchmarks.scoring.placed import PLACED, SHOWN, Pending, answered, in_pieces, shown
from l2v.benchmarks.scoring.readers import in_processes
from l2v.benchmarks.scoring.rivals import contradicted, outweighed, unless_denied, unless_revoked
from l2v.benchmarks.scoring.tables import holds
from l2v.benchmarks.scoring.terms import in_its_terms
from l2v.benchmarks.scoring.values import read_value


def robust(question: Question, response: str | None) -> Verdict:
    """The verdict on one response; never raises, and takes less than two seconds where the machine has a core for it.

    The first one of a process that needs algebra also waits for the comparing process to start, one to two seconds.
    """
    found = _quick(question, response)
    return found if isinstance(found, Verdict) else _settled(found, symbolic.equal(*found.pair))


# So many comparisons are handed over at once. So many responses take as long to read as processes do to start, and some of them
# need a comparison.
AHEAD, MANY = 5, 2500


def robust_many(
    pairs: Sequence[tuple[Question, str | None]], progress: Callable[[int], object] = lambda n: None, workers: int | None = None
) -> list[Verdict]:
    """The verdicts on many responses, the same as one at a time, by `workers` processes (as many as cores; at most 8).

    They do the algebra; from 2,500 different responses on they read too. progress is called with the number of responses just
    judged (as tqdm.update takes it).
    """
    # Greedy runs give the same answer again and again.
    counts = Counter(pairs)
    # One question after the other: what one says is looked up once, in one process.
    places = {question: place for place, (question, _) in enumerate(counts)}
    asked = sorted(counts, key=lambda pair: places[pair[0]])
    many = len(counts) >= MANY and workers != 1
    found: dict[tuple[Question, str | None], Verdict | Pending] = {}
    # Algebra is begun while the others are read.
    ahead, waiting = ThreadPoolExecutor(1), list[tuple[str, str]]()
    if many:
        ahead.submit(symbolic.begin)
    try:
        for pair, outcome in in_processes(_read, asked, workers) if many else ((p, _quick(*p)) for p in asked):
            found[pair] = outcome
            if isinstance(outcome, Verdict):
                progress(counts[pair])
            elif workers != 1:
                waiting.append(outcome.pair)
            if len(waiting) == AHEAD:
                ahead.submit(symbolic.equal_many, waiting, workers=1)
                waiting = []
    finally:
        # Waited for: what forks after this must find nothing half asked.
        ahead.shutdown(cancel_futures=True)
    pending = [outcome for pair in pairs if isinstance(outcome := found[pair], Pending)]
    answers = iter(symbolic.equal_many([p.pair for p in pending], progress, workers))
    return [f if isinstance(f := found[pair], Verdict) else _settled(f, next(answers)) for pair in pairs]


def _read(pair: tuple[Question, str | None]) -> Verdict | Pending:
    return _quick(*pair)


def _quick(question: Question, response: str | None) -> Verdict | Pending:
    """The verdict by the rules that need no algebra, or what algebra has to decide."""
    text = clean(response)
    if not text:
        return Verdict(None, None, "no_answer", "the response is empty")
    text = by_its_letter(in_its_terms(text, question), question.options)
    letters = _gold_letters(question)

    def judge(claim: ResponseClaim) -> Verdict | Pending | None:
        if len(letters) > 1:
            return _judge_letters(question, letters, claim)
        return _judge_choice(question, letters, claim) if letters else _judge_other(question, claim)

    claims = read_claims(text, question.text, question.options)
    whole = letters and not claims.own.endswith("?") and whole_option(claims.own, question.options)
    found = [ResponseClaim(claims.own, WHOLE, claims.own)] * bool(whole) + list(claims.explicit)
    marked = [c for c in found if c.how == MARKER]
    if len(marked) > 2 and len({v.extraction for v in map(judge, marked) if isinstance(v, Verdict)}) > 2:
        return Verdict(None, None, "ambiguous", "claims more than two answers")
    crossed = [c.text for c in claims.denied if c.how == BOXED]
    for claim in _in_turn(found, claims):
        if claim.how in PLACED and any(map(claim.text.__contains__, crossed)):
            continue
        verdict = judge(claim)
        if verdict is None and claim.wavers:
            return Verdict(None, shown(claim.text), "ambiguous", f"says now one, now the other of {shown(claim.text)}")
        if claim.how in PLACED and not (verdict and answered(question, claim, verdict, claims.own)):
            verdict = in_pieces(question, claim, judge, claims.own)
        if isinstance(verdict, Verdict) and claim.how in (LAST_SENTENCE, STATEMENT) and contradicted(question, claim, claims):
            return Verdict(None, verdict.extraction, "ambiguous", "says the same of two answers")
        if isinstance(verdict, Verdict) and (other := outweighed(question, claim, verdict, claims, judge)):
            return Verdict(
                None, verdict.extraction, "ambiguous", f"claims {other.extraction}, then perhaps {verdict.extraction}"
            )
        if verdict is not None and claim.how == BOXED and is_step(claim, question.text, claims.own):
            return Verdict(None, shown(claim.text), "ambiguous", f"works on behind {shown(claim.text)}")
        if verdict is not None:
            behind = claims.asserted if claim.at < claims.last else ()
            later = [judge(c) for c in behind if c.how in (CONCLUSION, LAST_LINE) and c.at > claim.at]
            denied = [judge(c) for c in claims.denied if c.at > claim.at]
            return unless_denied(unless_revoked(verdict, later), denied)
    return Verdict(None, None, "no_answer", "the response claims no answer that could be read")


def _in_turn(first: Sequence[ResponseClaim], claims: Claims) -> Iterator[ResponseClaim]:
    """The claims, the strongest first; what asserts by its place is looked for where none before it could be read."""
    yield from first
    yield from claims.placed


_asks_not = holds(
    re.compile(r"\bNOT\b|\b(?:is|are|does|do|can|could)(?: not|n't) (?!\w+\?)|\b(?:which|what)\b.*\bnot\b|\bexcept\b")
)
_SEVERAL = re.compile(r"^\(?[A-J]\)?(?:[\s,;]+\(?[A-J]\)?)+$")


def _gold_letters(question: Question) -> str:
    """The gold's letter, or letters where several options are right; "" for golds that are no letters."""
    gold = question.gold.strip()
    if question.kind == CHOICE and len(letter := gold.strip("()").upper()) == 1 and letter in LETTERS:
        return letter
    return "".join(c for c in gold if c in LETTERS) if question.kind in (CHOICE, TEXT) and _SEVERAL.match(gold) else ""


def _judge_letters(question: Question, gold: str, claim: ResponseClaim) -> Verdict | None:
    """A claim against several right options: all of them, and no other."""
    reading = read_option(claim, question.options)
    if reading is None or not reading.letters:
        return None
    named = ", ".join(sorted(reading.letters))
    return Verdict(reading.letters == set(gold), named, f"{claim.how}+letters", f"read {named}, gold {', '.join(gold)}")


def _judge_choice(question: Question, gold: str, claim: ResponseClaim) -> Verdict | Pending | None:
    reading = read_option(claim, question.options, question.text, _asks_not(question.text))
    if reading is None:
        return _unnamed(question, gold, claim)
    extraction, rule = shown(claim.text), f"{claim.how}+{reading.by}"
    alike = {squeeze(question.options[LETTERS.index(letter)]) for letter in reading.letters if reading.by != "letter"}
    if gold in reading.letters and len(alike) == 1:
        # The same text stands twice among the options.
        return Verdict(True, gold, rule, f"read {extraction} as {gold}, gold {gold}")
    named = " and ".join(sorted(reading.letters))
    if len(reading.letters) > 1:
        return Verdict(None, extraction, "ambiguous", f"commits to {named} alike ({rule})")
    if not reading.letters:
        return Verdict(False, extraction, rule, f"read {extraction}, which no option is; gold {gold}")
    return Verdict(named == gold, named, rule, _reason(extraction, reading, named, gold))


def _reason(extraction: str, reading: OptionReading, named: str, gold: str) -> str:
    read = named if extraction.strip("(). ") == named else f"{extraction} as {named}"
    return f"read {read}, gold {gold}"


def _unnamed(question: Question, gold: str, claim: ResponseClaim) -> Verdict | Pending | None:
    """A claim that names no option as written: an expression may still equal the gold option's."""
    options, at = question.options, LETTERS.index(gold)
    if not (is_answer(claim) or claim.how == MARKER) or at >= len(options) or not options[at].strip():
        return None
    text, option = plain(claim.text).rstrip("."), plain(options[at])
    number = read_value(text) is not None and read_value(option) is not None
    if is_mathematics(text) and is_mathematics(option) and len(option) > 1 and not number:
        return Pending(question, claim, (to_latex(option), to_latex(text)))
    if claim.how == BOXED:
        return Verdict(
            False, shown(claim.text), f"{BOXED}+no_option", f"read {shown(claim.text)}, which no option is; gold {gold}"
        )
    return None


def _judge_other(question: Question, claim: ResponseClaim) -> Verdict | Pending | None:
    if claim.how == BOXED and _FACTORIAL.search(claim.text) and "!" not in question.gold:
        return _unread(question, claim)
    if claim.how == OPENING and read_value(claim.line) is None and not _NUMBER_FIRST.fullmatch(claim.text):
        # An expression in front: read where it agrees; what it does else is open.
        first = compare(question, claim.line, BOXED) if is_mathematics(plain(claim.line)) else None
        return _verdict(question, claim, first) if first and first.equal and first.by != "number" else None
    found = compare(question, claim.text, claim.how)
    if claim.line != claim.text and (found is None or not found.equal):
        # A sentence may seem to end at an abbreviation: the line counts where it is the gold as a whole, as a box would be.
        whole = compare(question, claim.line, BOXED)
        found = whole if whole is not None and whole.equal and squeeze(claim.line) == squeeze(question.gold) else found
    if (found is None or not found.equal) and len(forms := _FORMS.split(claim.text)) in (2, 3) and alike(forms, claim.how):
        # "1/6 ≈ 16.7 %", "0.35, i.e. 35 %": one answer in two forms.
        either = (compare(question, form, claim.how) for form in forms)
        found = next((other for other in either if other is not None and other.equal), found)
    if found is None:
        return _unread(question, claim)
    if found.symbolic is not None:
        return Pending(question, claim, found.symbolic)
    return _verdict(question, claim, found)


_FACTORIAL = re.compile(r"[\w)}]!")
# "2007. In that year …"
_NUMBER_FIRST = re.compile(r"\W{0,3}\d{3,}[.!]?")
_FORMS = re.compile(r"≈|\\approx|, (?:i\.e\.|that is|or (?:about|roughly|approximately|equivalently|(?=\d)))")


def _unread(question: Question, claim: ResponseClaim) -> Verdict | None:
    """A box is a claim even where it holds no answer of the right kind; anything else is not."""
    if claim.how != BOXED:
        return None
    text = shown(claim.text)
    if (
        text.count("=") > 1
        or "!" in text
        and is_mathematics(plain(claim.text))
        or question.kind in (INTEGER, FLOAT)
        and OPEN_BOX.search(text)
    ):
        return Verdict(None, text, "undecided", f"{text} and {question.gold} could not be compared")
    return Verdict(False, text, f"{BOXED}+other_kind", f"read {text}, which is no {question.kind} answer; gold {question.gold}")


def _verdict(question: Question, claim: ResponseClaim, found: Comparison) -> Verdict:
    extraction, gold = shown(claim.text), shown(question.gold)
    if found.equal is None:
        return Verdict(None, extraction, "undecided", f"{extraction} and {gold} are worded differently")
    read = extraction if extraction == found.read else f"{extraction} as {found.read[:SHOWN]}"
    return Verdict(found.equal, extraction, f"{claim.how}+{found.by}", f"read {read}, gold {gold}")


def _settled(pending: Pending, equal: symbolic.Equality) -> Verdict:
    """The verdict once algebra has spoken; where it could not, unlike texts are left undecided."""
    extraction, gold = shown(pending.claim.text), shown(pending.question.gold)
    if isinstance(equal, str):
        return Verdict(None, extraction, "undecided", f"{extraction} and {gold} were not compared: the machine was too busy")
    if not equal and (pending.claim.how in SENTENCES or pending.question.kind == CHOICE and pending.claim.how == MARKER):
        # Not an option as written, and no box: it may be a name of something; a sentence may say more than its last words.
        equal = None
    if equal is None:
        return Verdict(None, extraction, "undecided", f"{extraction} and {gold} could not be compared")
    return Verdict(equal, extraction, f"{pending.claim.how}+symbolic", f"read {extraction}, gold {gold}")
