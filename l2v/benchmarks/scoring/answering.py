"""Whether a sentence without an answer marker answers what is asked.

It does where it is the question turned into a statement: every word of it is accounted for (by the question, by the answer
itself, or as one that names nothing), and what the question asks for is not left out. A sentence about something else fails the
one (a word or number that nobody asked for), one about a part or a step the other. Both are doubt, and doubt abstains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from l2v.benchmarks.scoring.additions import EMPTY, HOW_FAR, core, may_add
from l2v.benchmarks.scoring.asking import COUNTS, DIGITS, PLACE, SOME, Wanted, asked_of, named, pairs_in, stem
from l2v.benchmarks.scoring.cleaning import plain
from l2v.benchmarks.scoring.numeric import BOUND
from l2v.benchmarks.scoring.values import Value, known_unit, to_base

_OF_SO_MANY = re.compile(rf"\b([0-9]+|{SOME}) (?:out )?of (?:the |these |those )?(?:[0-9]+|{SOME})(?= [a-z])", re.IGNORECASE)
# "31 matchsticks": an answer and no sentence.
_COUNT = re.compile(
    rf"[\s≈=$€£*]*(?:[0-9][0-9.,]*|{'|'.join(COUNTS)})\s?%?(?:\s(?!(?:out|or|to|of|per|is|are|was|were|have|has|had)\b)[a-z]+){{0,2}}\W*",
    re.IGNORECASE,
)
# "18 tiles minus 3 tiles gives 15 tiles", "3 red + 4 blue = 7"
_WORKED = re.compile(
    r"[0-9.]+ (?:\w+ )?(?:(?:minus|plus|take away|times|[-+×]) [0-9.]+ (?:\w+ )?)+(?:gives|leaves|makes|is|equals|=) (?=[0-9])"
)
_POWER = re.compile(r"(?<=[a-z])\^\{?-?[123]\}?")
_RUN = re.compile(r"[0-9.,]*[0-9](?:[0-9.,/^×·e'{}\\ƒ√ ]|(?<= )x(?= )|and a half)*")
_NTH_OPTION = re.compile(r"\b(?:first|second|third|fourth|fifth|last) (?:option|choice|answer|one)\b", re.IGNORECASE)
_IN_ALL = re.compile(r"\b(?:in (?:total|all)|altogether|(?:for )?(?:a |the )?total(?: number| of)?)(?!\w)", re.IGNORECASE)
_STANDS_FOR = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore|and|yes|no|then|finally),? )*(?:(?:it|this|that|he|she|they|we|i|its|here|"
    r"the one|(?:gives|makes|yields|leaves)(?: us)?)\b|\W*[=≈→])",
    re.IGNORECASE,
)
_DEFINITE = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore|and|then|finally),? )*(?:the (\w+)(?: of \w+)?|(\w+) [A-J]) (?:is|are|was|were|equals|"
    r"measures|should be|simplifies to)\b",
    re.IGNORECASE,
)
# "3 + 4 = 7", "20/4 = 5.0 ≈ 5": of a sum only its result is said.
_SUM = re.compile(r"[\d(√$πƒ][\d\s.,+*/×÷·()^√πƒ$°%{}:-]*[=≈⇒→][\d\s.,+*/×÷·()^√πƒ$°%=≈{}:-]*[\d)}π]")
_LABEL = re.compile(r"([A-Za-z]{1,2})(?:_?\{?\w{1,3}\}?|\([^()]{1,12}\))?\s*[=≈∈]")
_TITLE = re.compile(r"\W*[^\W\d][^:]{1,40}:\s*\S[^:]{0,30}(?::\d\d\W*)?")
_FORM = re.compile(
    r",? (?:i\.e\.|that is|or(?: about| roughly)?|which (?:is|rounds to|equals|simplifies to)(?: about)?),?(?= [\W\d]*\d)"
)
# "A = πr^2 = 9π": the sides between are steps.
_CHAIN = re.compile(r"^([^=]{0,60})=(?:(?![^=]*[a-zA-Z]{4})[^=]*=|[^=,;]*[a-zA-Z)] ?[/×*+-] ?[a-zA-Z(][^=,;]*=)+([^=]*)$")
# What quantities are called by, beside their first letters.
_LETTERS = {"~slope": "m", "~speed": "v", "~length": "sl", "hypote": "c"}


def _labels(text: str, asked: Wanted) -> set[str]:
    """The symbols in front of "=" that may stand for what is asked for."""
    names = [name.strip("~") for name in asked.main | asked.rest]
    letters = {letter for name in names for letter in (name[0], name[0].upper())}
    letters |= {letter for name in asked.main | asked.rest for letter in _LETTERS.get(name, "")}
    letters |= _unknown(asked)
    return {label for label in _LABEL.findall(text) if set(label) <= letters}


def _unknown(asked: Wanted) -> set[str]:
    """What may stand for a quantity that the question has no symbol for."""
    return set() if any(len(name) == 1 for name in asked.near) else {"x"}


def _stripped(text: str, asked: Wanted) -> tuple[str, bool]:
    """A sentence without what names nothing, of sums only their results; whether it gives one value in several forms."""
    text = PLACE.sub(" ", EMPTY.sub(" ", _OF_SO_MANY.sub(r"\1", core(text))))
    if asked.counts or {"~total", "~price"} & (asked.main | asked.noun):
        text = _IN_ALL.sub(" total " if "~total" in asked.main else " ", text)
    text = _WORKED.sub("", _POWER.sub("", plain(text)))
    forms = "≈" in text or _FORM.search(text) is not None
    text = _CHAIN.sub(r"\1=\2", _FORM.sub(" ", text))
    return _SUM.sub(lambda m: re.split("[=≈⇒→]", m.group())[-1], text), forms


@dataclass(frozen=True)
class _Sentence:
    """What a sentence names. own: the claimed answer; fixed: that, units and fitting labels; there: all that it covers."""

    text: str
    said: tuple[str, ...]
    own: frozenset[str]
    fixed: frozenset[str]
    there: frozenset[str]
    labelled: bool
    worked: bool
    alone: bool


def _read(text: str, asked: Wanted, answer: Sequence[str], response: str, options: Sequence[str]) -> tuple[_Sentence, set[str]]:
    """A sentence, and what it names that nobody asked for."""
    alone = response.strip() == text.strip()
    angles = _NUMBERED_ANGLE.findall(text)
    text = text if any(DIGITS & set(one) for one in answer) else HOW_FAR.sub("", text)
    text, forms = _stripped(text, asked)
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
    labels = _labels(text, asked)
    allowed = asked.known | own | units | labels | _unknown(asked)
    if forms or "=" in text and own and own <= set(named(text.rsplit("=", 1)[1])):
        allowed |= {n for n in said if n[0] in DIGITS}
    definite = _DEFINITE.match(text)
    worked = bool(definite and definite[1] in _WORKED_OUT) and not alone and not any(n[0] == "~" for n in asked.near)
    allowed |= _RESULT if worked else set()
    foreign = {n for n in said if n not in allowed and not any(len(n) > 2 and o.startswith(n) for o in own)}
    foreign |= {a for a, by, b in pairs_in(text) for x, word, y in asked.pairs if by == word and x != y and (a == y or b == x)}
    if own and said and not own & set(said) and not _YES_NO & {part.strip().lower() for part in answer}:
        foreign |= own
    # "∠3 = 130°" where angle 2 is asked for
    foreign |= {f"~{number}" for number in angles if number not in asked.known}
    there = {*said, *own, *(name for option in options for name in named(option))}
    fixed = frozenset(own | units | labels)
    return _Sentence(text, said, frozenset(own), fixed, frozenset(there), bool(labels), worked, alone), foreign


# "a pie chart that shows how it is used", "the highest bar (18)": what neither asks nor answers.
_GLOSS = re.compile(
    r"(?<!\bis)(?<!\bwas) (?:that|which|who) (?:\w+s|is|are|have|were)\s"
    r"(?!.*\b(?:would|could|not|is|are|was|were)\b).*|\s\([^()]*\)"
)


def _known(text: str, asked: Wanted, answer: Sequence[str]) -> bool:
    """Whether a text names something of the question or the answer."""
    return bool({*named(text)} & {*asked.main, *asked.rest, *(name for part in answer for name in named(part))})


def _missing(sentence: _Sentence, asked: Wanted, response: str) -> set[str]:
    """What a sentence leaves out of what is asked for."""
    said, there, text = set(sentence.said), sentence.there, sentence.text
    wanted = asked.main | asked.rest
    # "notebooks" where "3 notebooks" are asked for
    missing = {n for n, noun in asked.numbered if noun in said and n not in there} if asked.counts else set()
    symbols = {n for n in wanted if n.isalpha() and not n.islower()}
    if any(n.isalpha() and not n.islower() for n in said if n not in sentence.own or n in asked.known):
        missing |= symbols - there
    definite = _DEFINITE.match(text)
    word = (definite[1] or definite[2]) if definite else ""
    if not sentence.own - asked.known and asked.head not in said:
        return missing | wanted - there
    if sentence.worked or _STANDS_FOR.match(text) or _TITLE.fullmatch(text) and asked.main & said:
        short = sentence.alone or ":" in text
        return missing | {n for n in asked.main - there if (n[0] == "~" if short else n not in named(response))}
    if word and not asked.counts and {*named(word), stem(word)} & (asked.noun | wanted - asked.aside | {asked.head}):
        return missing | _OPERATIONS & (wanted - there)
    if sentence.labelled or symbols and symbols <= there:
        return missing
    if asked.head:
        return missing | {asked.head} - there
    return missing | asked.main - there - (asked.noun if asked.main & there else set())


def account(
    text: str, question: str, answer: Sequence[str], response: str = "", options: Sequence[str] = ()
) -> tuple[set[str], set[str]]:
    """(what a sentence names that nobody asked for, what it leaves out of what is asked for)."""
    asked = asked_of(question)
    sentence, foreign = _read(text, asked, answer, response, options)
    said = set(sentence.said)
    if foreign >= sentence.own and sentence.own:
        return foreign, set()
    if said <= sentence.fixed | (frozenset() if asked.counts else asked.noun) or _COUNT.fullmatch(sentence.text):
        return set(), set()
    if not _WORD.search(sentence.text):
        # No words but mathematics: only a symbol in front of "=" may be another one's.
        others = set(_LABEL.findall(sentence.text)) - sentence.fixed - asked.known - _unknown(asked)
        return others, set() if sentence.own - asked.known else set(asked.main - sentence.there)
    if (asked.main | asked.rest) - sentence.there:
        # "Red" where the blue one is asked for, and both were spoken of.
        foreign |= said & asked.known - asked.near - sentence.own
    # Of a share, what is done with it need not be said.
    share = _SHARED if asked.noun & {"percen", "fracti"} and (asked.main | asked.rest) & said else frozenset()
    return foreign, _missing(sentence, asked, response) - share | _half(set(named(text)), asked, sentence.own)


_SHARED = frozenset({"~price", "chosen", "choos", "prefer", "lik", "us", "watch", "own", "vot", "speak", "play"})


def _half(said: set[str], asked: Wanted, own: frozenset[str]) -> set[str]:
    """What is left out of two things of which one is named ("a pen" of "a pen and a cup"), or of the steps before."""
    half = {n for a, _, b in asked.both if {a, b} & said and not {a, b} & own for n in (a, b) if n not in said}
    steps = asked.steps if asked.steps & said else ()
    return half | {n for n in steps if not any(n[:3] == name[:3] for name in said)}


_NUMBERED_ANGLE = re.compile(r"(?:\bangle|∠)\s?([0-9])(?=\s*(?:=|is\b|measures\b|equals\b))", re.IGNORECASE)
_APPLIED = re.compile(r"\b[a-zA-Z] ?\(-? ?[0-9./]+\)(?=\s*[=≈])")
_SIDE_OF = {side: named(f"{side}hand") for side in ("left", "right")}
_LETTERS_ONLY = re.compile(r"[^\W\d_]+")
_WORD = re.compile(r"[^\W\d_]{3,}")
_YES_NO = {"yes", "no", "true", "false"}
_OPERATIONS = {"~average", "~difference", "~total", "~highest", "~lowest", "~left", "~fewer", "fewer"}
# What a sum that was worked out before is called by.
_WORKED_OUT = ("sum", "total", "difference", "product", "quotient")
_RESULT = frozenset({"~total", "~difference", "produc", "quotie"})


def _clashes(unit: str, asked: Wanted) -> bool:
    base = to_base(Value(1.0, 0, unit))
    return unit not in asked.units and base is not None and base[0] in asked.dimensions


def touches(text: str, question: str) -> bool:
    """Whether a text names something that an answer may not leave out."""
    return bool(asked_of(question).main & set(named(text)))


def new_number(text: str, question: str) -> str | None:
    """The one number, with what stands behind it, that a sentence brings in or, where it brings in none, states."""
    asked = asked_of(question)
    text = _COUNTED.sub(lambda m: str(COUNTS[m.group().lower()]), _OF_SO_MANY.sub(r"\1", text))
    text = BOUND.sub(" ", _ORDINAL.sub(" ", plain(core(text))))
    if not asked.known & set(named(text)) or _OPERATION.search(text) or asked.noun & {"percen", "fracti", "probab", "ratio"}:
        return None
    found = [(float(m[1].replace(",", "")), m.group()) for m in _NUMBER.finditer(text)]
    new = [pair for pair in found if f"{pair[0]:g}" not in asked.known] or found
    return new[0][1] if new and len({number for number, _ in new}) == 1 else None


_COUNTED = re.compile(rf"\b(?!one\b)(?:{SOME})\b(?!-)", re.IGNORECASE)
_ORDINAL = re.compile(r"[0-9]+(?:st|nd|rd|th)\b")
_OPERATION = re.compile(r"[0-9]\s?[-+*/×÷·:]\s?[0-9]|[±<>≤≥≠=\\]|\bor\b")
_NUMBER = re.compile(r"(?<![\w.,^/-])-?([0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?)(?![0-9/:^A-Za-z]|\.[0-9])(?:\s?%|\s?°|\s[a-z]+)?")


def answers(
    text: str,
    question: str,
    answer: Sequence[str],
    response: str = "",
    options: Sequence[str] = (),
    concludes: bool | None = False,
) -> bool:
    """Whether a sentence answers a question with `answer` (the texts that it may be written in), and with nothing else.

    response: all that was said, where "it" may stand for what a sentence before names. concludes: whether what stands before it
    leads to it (None: it is no sentence); then only what both names something foreign and leaves something out is doubted.
    """
    if _RATE.search(text) and not _EACH.search(question):
        return False
    places = asked_of(question).places
    if places and {place.replace(" ", "") for place in _APPLIED.findall(plain(text))} - places:
        # "f(1) = 3" where f(-1) is asked for
        return False
    ranked = [bool(rank) for rank in _RANK.findall(text)]
    if ranked and any(ranked) != any(_RANK.findall(question)):
        return False
    if _IN_ALL.search(text) and not _IN_ALL.search(question) and _OF_SOME.search(question):
        # "6 lamps in total" where it is asked how many are on.
        return False
    own = "|".join(re.escape(one.strip()) for one in answer if one.strip())
    beside = [word for word, behind in _NEXT_TO.findall(text) if own and re.match(rf"(?:{own})\b", behind, re.IGNORECASE)]
    if beside and not any(word.lower() in question.lower() for word in beside):
        # "after a triangle", "above the label C": another thing's place.
        return False
    text = _WITH.split(text)[-1] if "(_)" in question else text
    leads = concludes or _CONCLUDING.match(text) is not None
    if not question.strip() or asked_of(question).known <= {"1"} and (leads or response.strip() == text.strip()):
        # Nothing is known of what is asked.
        return True
    given = _IF.match(text)
    if given and text.count(" ", given.end()) > 2 and set(named(given[1])) <= asked_of(question).known:
        text = text[given.end() :]
    unsolved = _OPEN.search(text) and "=" not in "".join(answer)
    if _ONE_OF.search(text) and not any(re.search(r"\bor\b|,|±", one) for one in answer):
        return False
    sides = equated(text) if answer[-1].count("=") < 2 else ()
    if unsolved or _DIFFERENCE.search(text) and "=" not in text or len(sides) > 1:
        return False
    if (referred := _SO_IT.fullmatch(text)) and options:
        # "Grass makes its own food, so it is the producer."
        text = f"{answer[-1]} is {referred[1]}"
    foreign, missing = account(text, question, answer, response, options)
    if " more " in text and " than " not in text:
        # "Ann got 7 more votes": than Bob, who was asked of.
        missing = missing - {y for _, by, y in asked_of(question).pairs if by == "than"}
    if _WILL.search(question):
        foreign = foreign - {"would"}
    if foreign and not missing and may_add(core(text), question, answer, foreign):
        return True
    doubt = foreign and missing or any(n[0] == "~" or n in _UNREAL for n in foreign)
    if len(text.split()) < 4 and concludes is None:
        return not foreign
    return not doubt if leads else not (foreign or missing)


def equated(text: str) -> set[str]:
    """What a text gives values to: "m∠1" and "m∠2" of "m∠1 = 115°, m∠2 = 65°"."""
    return {side.strip() for side in _SIDE.findall(text.rsplit("i.e.", 1)[-1])}


_NEXT_TO = re.compile(
    r"\b(after|before|near|beside|next to|behind|above|below|like|than|against) (?:(?:an?|the) )?(?:(?:label|option|letter) )?"
    r"(?=(\w.{0,60}))",
    re.IGNORECASE,
)
_OF_SOME = re.compile(r"\bhow many\b.*\b(?:is|are|was|were) (?:on|off|up|down|in|out)\b\W*$|\(_\).*\beach\b", re.IGNORECASE)
# "12 dots in 3 groups, with 4 in each": what fills the blank.
_WITH = re.compile(r", (?:with|so) (?=[0-9])")
_SO_IT = re.compile(r".+, (?:(?:and )?(?:so|thus|hence|therefore) it is|making it|which makes it)\b(.+)")
# "adds 4 each time": no total, unless that is asked for.
_EACH = re.compile(r"\b(?:each|every|apiece|per|rate|common|pattern)\b", re.IGNORECASE)
_RATE = re.compile(r"[0-9](?: [a-z]+){0,2} (?:each|every|apiece|per)\b(?!.*[=;,])", re.IGNORECASE)
# "the second highest"
_RANK = re.compile(r"\b((?:second|third|fourth|fifth|2nd|3rd|[4-9]th|next)[ -])?(?:\w{3,}est|most|least)\b", re.IGNORECASE)
# Asked what will be, an answer may say what would.
_WILL = re.compile(r"\b(?:will|if|when|happens?|needed|required)\b", re.IGNORECASE)
_UNREAL = {"would", "could", "might", "if", "try"}
_CONCLUDING = re.compile(r"\W*(?:(?:and|step \d+\W+) ?)?(?:so|thus|hence|therefore)\b", re.IGNORECASE)
_IF = re.compile(r"\W*if\b([^,]*),\s", re.IGNORECASE)
_DIFFERENCE = re.compile(r"[a-z] [$€£]?[0-9.]+ [-+*×÷] [$€£]?[0-9.]+(?![0-9.]*\s?(?:\\|π|√|[a-z](?![a-z])))")
# "d + 30 = 45" is not solved.
_OPEN = re.compile(
    r"(?:(?<![A-Za-z\\])[a-z]\s?[+-]\s?[0-9.]+\)?(?:\^2)?|(?<![0-9.])[0-9.]+\s?[a-z]|[a-z]\^2)\s?=(?=\s*-?[0-9.]+\W*$)"
)
# Of "x = 10 or x = 12" neither is claimed; "red = 3, blue = 4" gives several values.
_ONE_OF = re.compile(r"=[^=]*\bor\b[^=]*=")
_SIDE = re.compile(r"(?:^|,\s|;\s|\band\s|\bor\s)([^,;=≈]{1,40})[=≈]")
