"""The grammar of what a response says: sentences, their clauses, and what each clause does.

`classify` is the one place where it is decided that a clause asserts, denies, supposes, asks, quotes, instructs, lists, refuses
or withdraws; what reads answers (claims.py, options.py, numeric.py) only ever sees what asserts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property, lru_cache

from l2v.benchmarks.scoring.breaks import AFFIRMS, asks_yes_no, framed, pieces, sentences
from l2v.benchmarks.scoring.cleaning import DOMAIN
from l2v.benchmarks.scoring.option_texts import spaced_words
from l2v.benchmarks.scoring.phrases import (
    ADJECTIVES,
    APPROVED,
    CLAIMING,
    CONCLUDES,
    COUNTED,
    DENIES,
    DISAPPROVED,
    IF,
    INSTRUCTION,
    JUDGING,
    LABELLED,
    LABELS,
    LETTERS_LISTED,
    LIST_HEAD,
    OPTIONS_ARE,
    OWN_VERB,
    QUOTES,
    REAFFIRMS,
    REFUSES,
    REMARKS,
    SUBJECT,
    SUPPOSES,
    WITHDRAWS,
)
from l2v.benchmarks.scoring.tables import possible
from l2v.benchmarks.scoring.topics import off_topic, without_options


class Kind(Enum):
    """What a clause does."""

    ASSERTION = auto()
    CONCLUSION = auto()
    CONDITION = auto()  # "If the mice die, hawks decrease": asserts something, but not of the case at hand
    DENIAL = auto()
    HYPOTHESIS = auto()
    QUESTION = auto()
    QUOTATION = auto()
    INSTRUCTION = auto()
    LIST = auto()
    REFUSAL = auto()
    WITHDRAWAL = auto()
    REMARK = auto()


ASSERTING = (Kind.ASSERTION, Kind.CONCLUSION, Kind.CONDITION)


# Not frozen, which would cost time: a long response has hundreds. Nobody changes one.
@dataclass(eq=False)
class Clause:
    """A clause with its place: at, its start in the response; line, the rest of its line; sentence, a number.

    bits: the patterns that may match in it (tables.py). asked: the question. given: its kind, where its place decides that.
    """

    text: str
    at: int
    line: str
    sentence: int
    bits: int
    asked: str = ""
    given: Kind | None = None

    @cached_property
    def kind(self) -> Kind:
        """What it does; worked out when somebody asks, as of most clauses of a long response nobody does."""
        return self.given or classify(self.text, self.asked, self.bits)


def _claimed(text: str) -> bool:
    """Whether what is said of a letter or number that is a sentence's subject claims it; True where none is one."""
    found = SUBJECT.match(text)
    if found is None or found["verb"].lower() in ("has", "must", "will", "should", "can"):
        return not (found and re.match(r"\W*be(?:en)? (?:\w+ )?(?:ed|crossed|given|dismissed)\b", found["rest"]))
    return found["verb"].lower() in ("is", "was", "had", "seems", "appears", "looks", "makes", "would") and bool(
        CLAIMING.match(found["rest"])
    )


def asked_for(denial: str, asked: str) -> bool:
    """Whether a question asks for just what would deny ("Which is least likely?")."""
    if "least likely" in denial.lower() and "likely" not in asked.lower():
        return False
    return any(word in asked.lower() for word in map(str.lower, ADJECTIVES.findall(denial)))


def _sought(text: str, denial: str, asked: str) -> bool:
    """Whether what denies is asked for; that something is not the answer never is, unless an option reads so."""
    outright = _NOT_IT.search(text) and text.strip(" .").lower() not in asked.lower()
    return not outright and asked_for(denial, asked)


_NOT_IT = re.compile(
    r"^\W*not (?:option |choice |the answer )?\(?(?-i:[A-J])\)?\W*$|^\W*(?:it|this|that|the answer) (?:is|was)(?: not|n't)\b|"
    r"\b(?:is|was)(?: not|n't) the (?:correct |right |final )?(?:answer|option|choice)\b",
    re.IGNORECASE,
)


def unreal(text: str) -> bool:
    """Whether a text leads to what is not asserted: "If it were …, the answer would be", "My friend says the answer is"."""
    return bool(SUPPOSES.search(text) or QUOTES.search(f"{text} "))


def _asked_too(refusal: str, found: str, asked: str) -> bool:
    """Whether a question holds the very words of a refusal: "Which cannot be seen?", "Which tool is not shown?"."""
    words = re.match(r"\S+ \S+(?: \S+)?", refusal)
    said = found if found.count(" ") == 1 else words.group() if words else ""
    return said != "" and said.lower().rstrip(".,") in without_options(asked).lower().replace("can't", "cannot")


YES_NO = re.compile(r"\W*(?:(?:so|therefore|thus|hence)[\s,]+)?(yes|no|true|false)\W*", re.IGNORECASE)
# A question that supposes something itself; asked what would happen, an answer says what would.
_SUPPOSED = re.compile(r"\b(?:if|would|when|suppose|happens?|assum\w+)\b", re.IGNORECASE)
# A guess is an answer; a domain may be all but one number.
_GUESSES = re.compile(
    r"\bi(?:'d| would| will|'ll| must| have to) (?:still )?(?:guess|say|estimate|go with|choose|pick)\b(?! to\b)", re.IGNORECASE
)
# What a reason denies is not the answer.
_BECAUSE = re.compile(r"\s(?:because|since)\s|, as (?:the|it|he|she|they|there|we|all|both|its|his|her|their)\s", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"]{1,60}"')
_SHORT = re.compile(r"\b(it|that|this|there|he|she|which|who|what)'s\b", re.IGNORECASE)
# "Multiplying the width by the height gives 48": what leads to a quantity is not what is spoken of.
_WAY = re.compile(r"^\W*\w+ing\b.*?\b(?=(?:gives|yields|results in)\b)", re.IGNORECASE)
# "❌ The answer is 42."
_CROSSED = re.compile(r"^[^\w✗✘❌]{0,6}[✗✘❌]\s*\w|\s[-(]+\s?(?:wrong|incorrect)\W*$")
_UNEQUAL = re.compile(r"[\s$\\(]*[a-z]\s*(?:≠|\\neq?(?![a-z]))\s*-?[\d/.]+[\s$\\).]*")


def classify(text: str, asked: str = "", bits: int | None = None) -> Kind:
    """What one clause does. asked: the question; what it asks for ("Which is wrong?") is no denial."""
    text, shortened = _SHORT.subn(r"\1 is", text) if "'s" in text else (text, 0)
    bits = possible(text) if bits is None or shortened else bits
    low = text.lower()
    reasons = "because" in low or "since" in low or ", as " in low
    stated = _BECAUSE.split(text, maxsplit=1)[0] if reasons else text
    said = _QUOTED.sub('""', stated) if '"' in stated else stated
    if ("rong" in low or "ncorrect" in low or not text.isascii()) and _CROSSED.search(text):
        return Kind.DENIAL
    if REMARKS.match(text, bits):
        return Kind.HYPOTHESIS if IF.search(text, bits) and SUPPOSES.search(text, bits) else Kind.REMARK
    if text.rstrip("\"'*) _").endswith("?"):
        return Kind.QUESTION
    if INSTRUCTION.search(text, bits):
        return Kind.INSTRUCTION
    if len(text) < 20 and YES_NO.fullmatch(text) and asks_yes_no(asked):
        return Kind.ASSERTION
    if WITHDRAWS.search(text, bits) and not REAFFIRMS.search(text):
        return Kind.WITHDRAWAL
    refused = REFUSES.search(text, bits)
    if refused and not _GUESSES.search(text) and not _asked_too(text[refused.start() :], refused.group(), asked):
        return Kind.REFUSAL
    if QUOTES.search(text, bits):
        return Kind.QUOTATION
    if SUPPOSES.search(stated, bits):
        return Kind.CONDITION if _SUPPOSED.search(asked) and IF.search(text, bits) else Kind.HYPOTHESIS
    said_of = DOMAIN.sub(r"\1", said) if "≠" in said or "\\ne" in said else said
    found = None if _UNEQUAL.fullmatch(text) else DENIES.search(said_of, bits)
    if found and not (COUNTED.search(text) and _asks_negatively(asked)) and not _sought(text, found.group(), asked):
        return Kind.DENIAL
    if not _claimed(text) and not asked_for(text, asked):
        return Kind.DENIAL
    if OWN_VERB.match(text, bits) or framed(text):
        return Kind.QUOTATION
    if off_topic(_WAY.sub("", said) if "ing" in low else said, asked):
        return Kind.REMARK
    if len(set(_labels(text))) > 1 or LETTERS_LISTED.search(text, bits):
        return Kind.LIST
    if IF.search(text, bits):
        return Kind.CONDITION if not asked.strip() or _SUPPOSED.search(asked) else Kind.HYPOTHESIS
    return Kind.CONCLUSION if CONCLUDES.match(text) else Kind.ASSERTION


def _labels(text: str) -> list[str]:
    return [a or b for a, b in LABELS.findall(text)]


def in_clauses(text: str, asked: str, options: Sequence[str]) -> list[Clause]:
    found = []
    for number, (at, sentence, line) in enumerate(sentences(text)):
        bits = possible(sentence)
        for offset, piece, contrast in pieces(sentence, asked, bits):
            rest = line[offset:].strip() if offset else line
            found.append(Clause(piece, at + offset, rest, number, bits, asked, Kind.REMARK if contrast else None))
    governed = False
    for i, (before, clause) in enumerate(zip(found, found[1:], strict=False), 1):
        if clause.sentence != before.sentence:
            governed = bool(_THEN.match(clause.text) and _SUPPOSING.match(before.text))
        elif _RESERVED.match(clause.text):
            found[i - 1] = replace(before, given=Kind.HYPOTHESIS)
        else:
            between = text[before.at + len(before.text) : clause.at]
            turned = _TURNED.search(between) and not (before.kind is Kind.HYPOTHESIS and _HAS_TO.match(clause.text))
            governed = (governed or _governs(before.text)) and not turned
            if turned and _SEEMS.search(before.text):
                found[i - 1] = replace(before, given=Kind.HYPOTHESIS)
        if governed:
            found[i] = replace(clause, given=Kind.HYPOTHESIS)
    found = _lists(found, asked, options)
    refusing = [o for o in options if _refuses(o)]
    if len(refusing) != 1:
        return found
    # "There is not enough information", where that is an option.
    words = spaced_words(_NO.sub("", refusing[0]))
    return [replace(c, text=refusing[0], given=Kind.CONCLUSION) if _says_so(c, words) else c for c in found]


def _says_so(clause: Clause, words: str) -> bool:
    """Whether a clause refuses in these words, and nobody else does in it nor is it denied."""
    own = clause.kind is Kind.REFUSAL and words in spaced_words(clause.text)
    return own and not (unreal(clause.text) or framed(clause.text))


@lru_cache(maxsize=8192)
def _refuses(option: str) -> bool:
    return classify(option) is Kind.REFUSAL


_NO = re.compile(r"^(?:no|yes),? ", re.IGNORECASE)


def _governs(text: str) -> bool:
    """Whether what a clause says of itself holds of the rest of its sentence too: "It is false that x = 2, so y = 3"."""
    return bool(_SUPPOSING.match(text) or _TRIED.match(text) or framed(text) or QUOTES.search(text) and not AFFIRMS.match(text))


_TURNED = re.compile(r";|\b(?:but|however|although|though|whereas)\b", re.IGNORECASE)
# "Suppose it is 10. Then the sum is 23, but it has to be 21.": what a trial is held against.
_HAS_TO = re.compile(r"\W*(?:it|this|that) (?:has to|must|should|ought to|needs to) be\b", re.IGNORECASE)
# "It looks like B, but the sides differ."
_SEEMS = re.compile(r"\b(?:looks?|seems?|appears?|might|may|could)\b", re.IGNORECASE)
# "Suppose it is a square. Then y = 8."
_THEN = re.compile(r"\W*(?:then|in that case|that would)\b", re.IGNORECASE)
_SUPPOSING = re.compile(
    r"\W*(?:suppose|assum\w+|imagine|say|let'?s (?:say|assume|suppose|pretend|try)|provided|unless|had|were|far from)\b",
    re.IGNORECASE,
)
# "Yes, but only if the bars are equally wide."
_RESERVED = re.compile(r"\W*(?:only (?:if|when|where)|provided|unless)\b", re.IGNORECASE)
# "Looking at option B, it is 40°."
_TRIED = re.compile(
    rf"\W*(?:(?:looking at|considering|testing|checking|trying) (?:option|choice)\b|{OPTIONS_ARE})", re.IGNORECASE
)


@lru_cache(maxsize=4096)
def _asks_negatively(asked: str) -> bool:
    """Whether a question may ask for how many did not: it says so, or nothing is known of it."""
    return len(asked) < 30 or re.search(r"\bnot\b|n't|\bno\b|without|absent|miss|fail", asked, re.IGNORECASE) is not None


def _label(clause: Clause) -> str | None:
    match = LABELLED.match(LIST_HEAD.sub("", clause.text) if ":" in clause.text else clause.text)
    return (match.group(1) or match.group(2)) if match and len(set(_labels(clause.text))) < 2 else None


def _lists(clauses: list[Clause], asked: str, options: Sequence[str]) -> list[Clause]:
    """Lines that go through the options ("A. …" over "B. …", or their texts) are a list; so is one that judges its option."""
    labels = [_label(c) for c in clauses]
    texts = {_same(o) for o in options if o.strip()}
    named = {_same(c.text) for c in clauses if _same(c.text) in texts}
    keyed = {i: key for i, c in enumerate(clauses) if ":" in c.line and (key := _same(c.line.partition(":")[0])) in texts}
    if len(set(keyed.values())) > 1:
        # "Texas: 10 %", "Ohio: 20 %"
        clauses = [
            replace(c, given=Kind.LIST) if i in keyed and not APPROVED.search(c.line) else c for i, c in enumerate(clauses)
        ]
    if len(named) < 2 and not any(labels):
        return list(clauses)
    found = list(clauses)
    lines = [(label, c.line) for c, label in zip(clauses, labels, strict=True) if label]
    judged = any(DISAPPROVED.search(line) or JUDGING.match(line) for _, line in lines)
    # Which one is false is what is asked for.
    sought = DISAPPROVED if _ASKS_FALSE.search(asked.rpartition("\n\n")[0]) else APPROVED
    approved = {label for label, line in lines if sought.search(line)}
    for i, (clause, label) in enumerate(zip(clauses, labels, strict=True)):
        before, after = (labels[i - 1] if i else None), (labels[i + 1] if i + 1 < len(labels) else None)
        in_order = (
            label and ((before and before < label) or (after and after > label)) and not (i == 0 and _opens(label, labels))
        )
        if (
            in_order
            or (label and (DISAPPROVED.search(clause.text) or JUDGING.match(clause.line)))
            or (len(named) > 1 and _same(clause.text) in named)
        ):
            # Where the options are judged one by one, the one that is approved is chosen; of several none is.
            chosen = judged and approved == {label}
            text, kind = (f"Option {label}", Kind.CONCLUSION) if chosen else (clause.text, Kind.LIST)
            found[i] = replace(clause, text=text, given=kind)
        if label and not in_order and len(set(_labels(clause.line))) == 1 and _is_option(label, clause.line, asked, options):
            found[i] = replace(clause, given=Kind.ASSERTION)
    return found


_ASKS_FALSE = re.compile(r"\b(?:false|incorrect|wrong|not (?:true|correct))\b", re.IGNORECASE)


def _is_option(label: str, line: str, asked: str, options: Sequence[str]) -> bool:
    """Whether a line is an option with its own text ("B: neither; both are equal") and nothing that takes it back."""
    at, rest = ord(label) - ord("A"), _same(LABELLED.sub("", line, count=1))
    text = _same(options[at]) if at < len(options) else ""
    behind = rest[len(text) :]
    return (
        bool(text) and rest.startswith(text) and not behind[:1].isalnum() and classify(f"{label}{behind}", asked) in ASSERTING
    )


def _same(text: str) -> str:
    return text.strip(" .,;*-•").lower()


def _opens(label: str, labels: Sequence[str | None]) -> bool:
    """A first line "C. …" before a list that starts at A is an answer."""
    return label != "A" and "A" in labels[1:]
