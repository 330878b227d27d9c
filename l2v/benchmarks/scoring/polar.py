"""Yes-no questions: a sentence that repeats one, or denies it, answers it."""

from __future__ import annotations

import re

from l2v.benchmarks.scoring.asking import PLACE, stem
from l2v.benchmarks.scoring.topics import without_options


def restated(text: str, asked: str) -> tuple[str, str] | None:
    """(yes or no, what is still to be held against the question), where a sentence repeats a yes-no question or denies it.

    Word by word and in order, and with no other word where the question has but two; "X (4) is greater than Y (1)" and "X is
    equal to Y" deny "is X less than Y?", with no other words at all. Of "is it …?" and "does he …?" the sentence may name the
    subject, and "it" stands for the subject of any other. Reasons behind it ("…, as it falls") are not held against it.
    """
    found = _POLAR.search(without_options(asked))
    if found is None or _ONCE.search(text):
        return None
    text = _OF_ITS.sub(r"\2 of \1", text).replace("'s.", "")
    text = _WHERE.sub(r"\1", FORMULA.sub(" ", _REASON.split(text)[0]))
    said_so = _TRUTH.match(text) or _FALSE.match(text)
    text = next(filter(None, said_so.groups())) if said_so else text
    subject = _PRONOUN.match(found.group(1))
    predicate = _PREDICATE.search(text) if subject and not _HE.match(text) else None
    own = f"it {text[predicate.start() :]}" if predicate else text
    rest = found.group(1)[subject.end() if subject else 0 :]
    wanted = _names(PLACE.sub(" ", rest))
    wanted = wanted if len(wanted) > 1 else _names(rest)
    said = [stem(word) for word in _WORDS.findall(_EQUAL.sub("equal than", own.lower().replace("n't", " not")))]
    compared, orders = ([word for word in words if word in _ORDER] for words in (wanted, said))
    if len(orders) > len(compared):
        # "greater than or equal to"
        return None
    turned = len(compared) == len(orders) == 1 and _ORDER[compared[0]] != _ORDER[orders[0]]
    if turned:
        said = [compared[0] if word in _ORDER else word for word in said if not word.isdigit()]
    spoken = [word for word in said if word not in _UNNAMED]
    of_it = bool(spoken and not subject and _HE.match(text) and spoken == wanted[-len(spoken) :])
    wanted = wanted[-len(spoken) :] if of_it else wanted
    if "than" in wanted and spoken == wanted[: wanted.index("than")] and compared == orders:
        # "Therefore the first was colder": than the one that was asked of.
        of_it, wanted = True, spoken
    words, denied = iter(said), _NOT.search(own) is not None
    alone = turned or len(wanted) < 3 or said_so or of_it
    untrue = said_so is not None and said_so.re is _FALSE
    if (
        len(wanted) < (1 if predicate or of_it else 2)
        or turned
        and (denied or untrue)
        or not all(word in words for word in wanted)
    ):
        return None
    if alone and set(said) - {*wanted, *_UNNAMED}:
        return None
    return "no" if turned or denied != untrue else "yes", "yes" if alone else own


def _names(text: str) -> list[str]:
    return [stem(word) for word in _WORDS.findall(text.lower()) if word not in _SMALL and word not in ("is", "then")]


_WORDS = re.compile("[^\\W_]+")
_REASON = re.compile(
    r",? (?:as (?:it|the|they|its)|because|since)\b|, "
    r"(?:according to|which(?! is (?:false|wrong|incorrect|not))|based on|so)\b",
    re.IGNORECASE,
)
# "The food on the plate is", but no "function on the left".
_WHERE = re.compile(
    r"^(\W*the \w+) (?:on|in|at|of) the (?!left|right|top|bottom|first|second|third|other|upper|lower|middle)\w+"
    r"(?= (?:is|are|was|were|has|have|does)\b)",
    re.IGNORECASE,
)
# "The function y = x^2 is even."
FORMULA = re.compile(
    r"(?:(?<=function)|(?<=equation)|(?<=parabola)|(?<=line)|(?<=curve)|(?<=graph)) \$?(?:y|"
    r"[a-z]\(x\)) ?= ?[^,]{1,40}?(?= (?:is|are|has|does)\b)"
)
_EQUAL = re.compile(r"\b(?:equal to|the same as)(?= )")
_ORDERS = "less fewer smaller lower shorter", "greater more larger bigger higher longer taller", "equal"
_ORDER = {stem(word): i for i, words in enumerate(_ORDERS) for word in words.split()}
_SMALL_WORDS = "the a an of in any there this that these those are have has had shown given"
_LINKS = "not is indeed does do did was were than so since it can will they he she yes no therefore thus hence and"
_SMALL, _UNNAMED = {*_SMALL_WORDS.split()}, {stem(word) for word in f"{_SMALL_WORDS} {_LINKS}".split()}
_NOT = re.compile(r"\bnot\b|n't\b|\bno\b|\bnever\b", re.IGNORECASE)
# "It is true that …", "The statement that … is false."
_TRUTH = re.compile(r"\W*(?:yes, )?it is (?:true|correct) that (.+)$", re.IGNORECASE)
_FALSE = re.compile(
    r"\W*(?:(?:so |thus |therefore |hence )?the (?:statement|claim)(?: that)? (.+?)\W* is (?:false|not true|incorrect|wrong)|"
    r"it is (?:false|not true|incorrect|wrong) that (.+))\W*$",
    re.IGNORECASE,
)
# "Ann's age" is the age of Ann.
_OF_ITS = re.compile(r"\b([A-Z]\w+(?: [A-Z]\w+)?)'s ([a-z]+)")
_ONCE = re.compile(r"\b(?:used to|about to|\w+ed(?= \w+ing\b))\b")
# What may stand for anything that the picture shows.
_PRONOUN = re.compile(r"(?:it|he|she|they)\b|(?:this|that|these|those)(?= (?:an?|the|for|in|on|from)\b)", re.IGNORECASE)
_HE = re.compile(r"\W*(?:so |no,? |yes,? )?(?:it|this|that|he|she|they|these|those) ", re.IGNORECASE)
_PREDICATE = re.compile(r"\b(?:is|are|was|were|has|have|had|does|do|did|can)(?:n't| not)?\s", re.IGNORECASE)
# Asked whether something can be, "it is not possible" is an answer and no refusal.
ABLE = re.compile(r"\b(?:possible|enough|able to|can|could)\b", re.IGNORECASE)
_POLAR = re.compile(r"(?:^|[.?!:,]\s|\n)(?:is|are|was|were|does|do|did|can|has|have)\s+([^?.]{5,200})\?(?!.*\?)", re.IGNORECASE)
