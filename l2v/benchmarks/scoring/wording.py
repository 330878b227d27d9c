"""What a sentence names of what is asked, what it adds, and what it says in several forms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from l2v.benchmarks.scoring.additions import EMPTY, HOW_FAR, core
from l2v.benchmarks.scoring.asking import COMMANDS, DIGITS, PLACE, SOME, Wanted, named, pairs_in
from l2v.benchmarks.scoring.cleaning import plain
from l2v.benchmarks.scoring.polar import FORMULA
from l2v.benchmarks.scoring.values import Value, known_unit, to_base

OF_SO_MANY = re.compile(rf"\b([0-9]+|{SOME}) (?:out )?of (?:the |these |those )?(?:[0-9]+|{SOME})(?= [a-z])", re.IGNORECASE)
# "all three objects", "the highest of the four states"
_ALL_SO_MANY = re.compile(rf"\b(all|these|of the)(?: of the)? (?:[0-9]+|{SOME})(?= [a-z]|\W*$)", re.IGNORECASE)
# "18 tiles minus 3 tiles gives 15 tiles", "3 red + 4 blue = 7"
_WORKED = re.compile(
    r"[0-9.]+ (?:\w+ )?(?:(?:minus|plus|take away|times|[-+×]) [0-9.]+ (?:\w+ )?)+(?:gives|leaves|makes|is|equals|"
    r"=) (?:an? \w+ of )?(?=[0-9])"
)
# "The total surface area": the whole of what is asked for.
_TOTAL = re.compile(
    r"\btotal (?=(?:\w+ )?(?:area|volume|length|distance|cost|price|perimeter|time|weight|mass)\b)", re.IGNORECASE
)
_APART = re.compile(r"(\d\s?(?:[ckm]?m|(?:kilo|centi)?meters?|miles?|feet|ft|units?)) apart\b")
_POWER = re.compile(r"(?<=[a-z])\^\{?-?[123]\}?")
_RUN = re.compile(r"[0-9.,]*[0-9](?:[0-9.,/^×·e'{}\\ƒ√ ]|(?<= )x(?= )|and a half)*")
_NTH_OPTION = re.compile(r"\b(?:first|second|third|fourth|fifth|last) (?:option|choice|answer|one)\b", re.IGNORECASE)
IN_ALL = re.compile(r"\b(?:in (?:total|all)|altogether|(?:for )?(?:a |the )?total(?: number| of)?)(?!\w)", re.IGNORECASE)
DEFINITE = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore|consequently|and|then|finally),? )*(?:the (\w+)(?: of \w+)?|(\w+) [A-J]) (?:is|are|was|"
    r"were|equals|measures|(?:should|must|has to) be|simplifies to|(?:comes?|works?|turns?) out (?:as|at|to(?: be)?)|"
    r"amounts to|comes to|stands at)\b",
    re.IGNORECASE,
)
# "3 + 4 = 7", "20/4 = 5.0 ≈ 5": of a sum only its result is said.
_SUM = re.compile(r"(?<![\w(])[\d(√$πƒ][\d\s.,+*/×÷·()^√πƒ$°%{}:-]*[=≈⇒→][\d\s.,+*/×÷·()^√πƒ$°%=≈{}:-]*[\d)}π]")
LABEL = re.compile(r"(?<!/)([A-Za-z]{1,2})(?:_?\{?\w{1,3}\}?|\([^()]{1,12}\))?\s*[=≈∈]")
_FORM = re.compile(
    r",? (?:i\.e\.|that is|or(?: about| roughly)?|which (?:is|rounds to|equals|simplifies to)(?: about)?),?(?= [\W\d]*\d)"
)
# "A = πr^2 = 9π": the sides between are steps.
_CHAIN = re.compile(r"^([^=]{0,60})=(?:(?![^=]*[a-zA-Z]{4})[^=]*=|[^=,;]*[a-zA-Z)] ?[/÷×*+-] ?[a-zA-Z(][^=,;]*=)+([^=]*)$")
# "shaded / total = 6/8 = 3/4"
_RATIO_OF_WORDS = re.compile(
    r"^\W*ƒ\{ ?[a-z]{3,} ?\}\{ ?[a-z]{3,} ?\} ?= ?(?=[^=]*=)|= ?ƒ\{ ?[a-z]{3,} ?\}\{ ?[a-z]{3,} ?\} ?(?==)"
)
# What quantities are called by, beside their first letters.
_LETTERS = {"~slope": "m", "~speed": "v", "~length": "sl", "hypote": "c", "correl": "r", "coeffi": "r"}


def labels(text: str, asked: Wanted) -> set[str]:
    """The symbols in front of "=" that may stand for what is asked for."""
    names = [name.strip("~") for name in asked.main | asked.rest]
    letters = {letter for name in names for letter in (name[0], name[0].upper())}
    letters |= {letter for name in asked.main | asked.rest for letter in _LETTERS.get(name, "")}
    letters |= unknown(asked)
    return {label for label in LABEL.findall(text) if set(label) <= letters}


def unknown(asked: Wanted) -> set[str]:
    """What may stand for a quantity that the question has no symbol for."""
    return set() if any(len(name) == 1 for name in asked.near) else {"x"}


def _stripped(text: str, asked: Wanted) -> tuple[str, bool]:
    """A sentence without what names nothing, of sums only their results; whether it gives one value in several forms."""
    text = PLACE.sub(" ", EMPTY.sub(" ", OF_SO_MANY.sub(r"\1", core(text))))
    if asked.counts or {"~total", "~price"} & (asked.main | asked.noun):
        text = IN_ALL.sub(" total " if "~total" in asked.main else " ", text)
    text = _TOTAL.sub("", text) if "~total" not in asked.known else text
    text = _APART.sub(r"\1 distance", text) if "~length" in asked.main else text
    text = _WORKED.sub("", _POWER.sub("", plain(text)))
    text = _RATIO_OF_WORDS.sub("", text)
    forms = "≈" in text or _FORM.search(text) is not None
    text = _CHAIN.sub(r"\1=\2", COMMANDS.sub(" ", _FORM.sub(" ", text)))
    return _SUM.sub(lambda m: re.split("[=≈⇒→]", m.group())[-1], text), forms


@dataclass(frozen=True)
class Sentence:
    """What a sentence names. own: the claimed answer; fixed: that, units and fitting labels; there: all that it covers."""

    text: str
    said: tuple[str, ...]
    own: frozenset[str]
    fixed: frozenset[str]
    there: frozenset[str]
    labelled: bool
    worked: bool
    alone: bool


def read_sentence(
    text: str, asked: Wanted, answer: Sequence[str], response: str, options: Sequence[str]
) -> tuple[Sentence, set[str]]:
    """A sentence, and what it names that nobody asked for."""
    alone = response.strip() == text.strip()
    angles = _NUMBERED_ANGLE.findall(text)
    if not any(DIGITS & set(one) for one in answer):
        text = _ALL_SO_MANY.sub(r"\1", HOW_FAR.sub("", text))
    text, forms = _stripped(FORMULA.sub(" ", text), asked)
    text = _GLOSS.sub(lambda m: m.group() if _known(m.group(), asked, answer) else "", text)
    own = {name for part in answer for name in (*named(part), *named(part.lower()), *_SIDE_OF.get(part.lower(), ()))}
    if len(runs := _RUN.findall(text)) == 1 and any(n[0] in DIGITS for n in own):
        # One number, however it is written.
        own |= set(named(runs[0]))
    if any(n.isalpha() for n in own):
        # "March 14th"
        own |= {f"{n}{end}" for n in own if n.isdigit() for end in ("st", "nd", "rd", "th")}
    said = tuple(name for name in named(_NTH_OPTION.sub(" ", text)) if name.isascii())
    words = [(word, known_unit([word])) for word in _LETTERS_ONLY.findall(text)]
    units = {name for word, unit in words if unit and (forms or not _clashes(unit, asked)) for name in named(word)}
    symbols = labels(text, asked)
    allowed = (
        asked.known | own | units | symbols | unknown(asked) | ({"f"} if asked.known & _OF_A_FUNCTION else set()) | {"best"}
    )
    allowed |= {"~age", "~difference"} if {"older", "younge"} & asked.main else set()
    allowed |= {"~height", "~length"} if "bar" in asked.known else set()
    if forms or "=" in text and own and own <= set(named(text.rsplit("=", 1)[1])):
        allowed |= {n for n in said if n[0] in DIGITS or n == "half"}
    definite = DEFINITE.match(text)
    worked = bool(definite and definite[1] in _WORKED_OUT) and not alone and not any(n[0] == "~" for n in asked.near)
    allowed |= _RESULT if worked else set()
    strange = {*_HAN.findall(text)} - {*_HAN.findall("".join((asked.text, *answer))), *_HAN_NEUTRAL}
    foreign = strange | {n for n in said if n not in allowed and not any(len(n) > 2 and o.startswith(n) for o in own)}
    foreign |= {
        f"~{a}"
        for a, by, b in pairs_in(text)
        for x, word, y in asked.pairs
        if by == word and x != y and (a == y or b == x or by == "than" and b != y and {b, y} <= {*asked.known} & {*said})
    }
    if own and said and not own & set(said) and not _YES_NO & {part.strip().lower() for part in answer}:
        foreign |= own
    # "∠3 = 130°" where angle 2 is asked for
    foreign |= {f"~{number}" for number in angles if number not in asked.known}
    there = {*said, *own, *(name for option in options for name in named(option))}
    # "The magnitude of v" of a vector's.
    initials = {n[0]: n for n in asked.main | asked.rest if n[0].isalpha() and len(n) > 1 and n.islower()}
    stands = {n for n in foreign if n in initials and n not in asked.known and text.count("=") == 0}
    # "PQ" of the vector from P to Q.
    unnamed = alone and not any(n.isupper() for n in asked.known)
    joined = {n for n in foreign if n.isupper() and 1 < len(n) < 4 and (unnamed or {*n} <= asked.known)}
    foreign, there = foreign - stands - joined, there | {initials[n] for n in stands}
    fixed = frozenset(own | units | symbols)
    return Sentence(text, said, frozenset(own), fixed, frozenset(there), bool(symbols), worked, alone), foreign


_OF_A_FUNCTION = {"functi", "~limit", "curv", "graph"}
_HAN = re.compile("[\u4e00-\u9fff]")
# Chinese signs that name nothing.
_HAN_NEUTRAL = frozenset(
    "的是在了有为从图中可以看出到一共总个只条张本位名块因此所以故则即得由知题意根据如示答案和与也就这那它其们我们被把于等约大度数平方厘米千克公斤小时分钟秒毫升岁年月日元角"
)
# "a pie chart that shows how it is used", "the highest bar (18)": what neither asks nor answers.
_GLOSS = re.compile(
    r"(?<!\bis)(?<!\bwas) (?:that|which|who) (?:\w+s|is|are|have|were)\s"
    r"(?!.*\b(?:would|could|not|is|are|was|were)\b).*|\s\([^()]*\)"
)


def _known(text: str, asked: Wanted, answer: Sequence[str]) -> bool:
    """Whether a text names something of the question or the answer."""
    return bool({*named(text)} & {*asked.main, *asked.rest, *(name for part in answer for name in named(part))})


_NUMBERED_ANGLE = re.compile(r"(?:\bangle|∠)\s?([0-9])(?=\s*(?:=|is\b|measures\b|equals\b))", re.IGNORECASE)
_SIDE_OF = {side: named(f"{side}hand") for side in ("left", "right")}
_LETTERS_ONLY = re.compile(r"[^\W\d_]+")
_YES_NO = {"yes", "no", "true", "false"}
# What a sum that was worked out before is called by.
_WORKED_OUT = ("sum", "total", "difference", "product", "quotient")
_RESULT = frozenset({"~total", "~difference", "produc", "quotie"})


def _clashes(unit: str, asked: Wanted) -> bool:
    base = to_base(Value(1.0, 0, unit))
    return unit not in asked.units and base is not None and base[0] in asked.dimensions


def lacks_change(text: str, question: str) -> bool:
    """Whether it is asked by how much something grew or fell, and a text tells no change: "In 2012 it was 9 %"."""
    return _CHANGE.search(question) is not None and _CHANGED.search(text) is None


_CHANGE = re.compile(
    r"\bhow (?:much|many)\b(?! change\b).*\b(?:grow|increase|decrease|change|rise|drop|fall|decline|differ)(?:s|d|ed)?\b",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"\b(?:gr[eo]w|increas|decreas|chang|r[io]s[ei]|drop|f[ae]ll|declin|differ|gain|lost|loss|gap)|\b(?:it|that|this|by|more|"
    r"less|"
    r"fewer|up|down)\b|\w{3,}er\b|[=−-]|^\W*\S+(?: \S+){0,3}\W*$",
    re.IGNORECASE,
)


def implied(text: str, question: str) -> set[str]:
    """What of a question a text need not name: the reading of what "reads 38", the decimal that 0.5 is, what is solved."""
    found = {"read"} if _INDICATES.search(text) else set()
    found |= {"decim"} if _POINT.search(text) else set()
    return found | ({*named(question)} if _SOLUTION.match(text) and _SOLVE.match(question) else set())


# "What is the reading of the gauge?": "It reads 38.", "It shows 38."
_INDICATES = re.compile(r"\b(?:reads?|shows?|indicates?|displays?)\b", re.IGNORECASE)
_SOLVE = re.compile(r"\W*(?:solve|find the solutions?)\b", re.IGNORECASE)
_SOLUTION = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore),? )?the solutions? (?:set )?(?:of [^,]{1,40} )?(?:is|are)\b", re.IGNORECASE
)
_POINT = re.compile(r"\d\.\d")


def of_all(text: str, question: str) -> bool:
    """Whether a text tells how many there are in all, where some are asked for: "6 lamps in total" of those that are on."""
    some = _ALTERED if _BY_ITSELF.match(text) else _OF_SOME
    return IN_ALL.search(text) is not None and not IN_ALL.search(question) and some.search(question) is not None


_OF_SOME = re.compile(
    r"\bhow many\b.*\b(?:is|are|was|were) (?:on|off|up|down|in|out)\b\W*$|\(_\).*\beach\b|"
    r"\b(?:on|in|at) the (?:top|bottom|middle|left|right|first|second|third|upper|lower|last)\b",
    re.IGNORECASE,
)
# "It is 10 balls in all" where it is asked how many are added.
_BY_ITSELF = re.compile(r"\W*it is \S+ \w+ (?:altogether|in (?:all|total))\W*$")
_ALTERED = re.compile(rf"{_OF_SOME.pattern}|\b(?:added|removed)\b", re.IGNORECASE)
