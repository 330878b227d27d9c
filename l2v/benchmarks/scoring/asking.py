"""What a question asks for, and what a text names: words, numbers and symbols, one name for all their forms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from l2v.benchmarks.scoring.cleaning import plain
from l2v.benchmarks.scoring.topics import asking as sentences_asking
from l2v.benchmarks.scoring.values import NUMBER_WORDS, Value, known_unit, read_value, to_base
from l2v.benchmarks.scoring.vocabulary import FORMS, GROUPS, NEUTRAL


def stem(word: str) -> str:
    word = f"{word[:-3]}y" if word.endswith("ies") else word
    word = word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
    for end in ("ing", "ed", "al"):
        if word.endswith(end) and len(word) - len(end) > 2 and not word.endswith("eed"):
            word = word[: -len(end)]
            break
    word = word.rstrip("e") if len(word) > 3 else word
    return (word[:-1] if len(word) > 3 and word[-1] == word[-2] else word)[:6]


_GROUP = {stem(word): f"~{line.split()[0]}" for line in GROUPS.split("\n") for word in line.split()}
_GROUP |= {stem(word): stem(line.split()[0]) for line in FORMS.split("\n") for word in line.split()}
_PARTS = "thirds quarters fifths sixths sevenths eighths ninths tenths"
COUNTS = NUMBER_WORDS | {word: n for n, word in enumerate(_PARTS.split(), 3)} | {"fourths": 4}
# Those that hardly order what is said, nor name parts.
_ORDINALS = {
    word: f"{n}th" for n, word in enumerate(["sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"], 6)
}
_TOKEN = re.compile(
    r"[0-9]+(?:st|nd|rd|th)\b|[0-9]+(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|[^\W\d_]+[0-9]?(?:'[^\W\d_]{1,2}\b)?"
)
DIGITS = set("0123456789")
SOME = "|".join(COUNTS)
_SPELT = re.compile(rf"\b(?:{SOME})(?:[ -](?:and )?(?:{SOME}|hundred|thousand|million))+\b", re.IGNORECASE)
_SHORTENED = re.compile(r"'(?:s|re|ve|ll|d)$|n't$")


# What a question in Chinese may ask for; its other words name nothing here.
_CHINESE = {
    "面积": "area",
    "周长": "perimeter",
    "体积": "volume",
    "半径": "radius",
    "直径": "diameter",
    "距离": "distance",
    "长": "length",
}
_HAN_RUN, _HAN_STOP = re.compile("[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]+"), re.compile("[，。．；]")


def _in_english(question: str) -> str:
    """A text with the Chinese words for quantities in English, and no others."""
    for word, english in _CHINESE.items():
        question = question.replace(word, f" {english} ")
    return _HAN_RUN.sub(" ", _HAN_STOP.sub(". ", question)) if _HAN_RUN.search(question) else question


@lru_cache(maxsize=2**15)
def _name(token: str, first: bool) -> str:
    """One name for all forms of a word, number or symbol; "" for words that name nothing."""
    if token[0] in DIGITS:
        return f"{float(token.replace(',', '')):g}" if token[-1] in DIGITS else token
    low = _SHORTENED.sub("", token.lower())
    if low == "not":
        return ""
    if low in COUNTS:
        return str(COUNTS[low])
    if low in _ORDINALS:
        return _ORDINALS[low]
    if token.isupper() and len(token) <= 3 and not (token == "I" or first and token == "A"):
        return token
    if low in NEUTRAL:
        return ""
    if len(token) == 1:
        return "" if low in ("a", "i", "s", "d", "e") else token
    return _GROUP.get(stem(low), stem(low))


# Commands of LaTeX, the names of functions and matrices name nothing.
COMMANDS = re.compile(r"\\begin\{(\w+)\}.*?\\end\{\1\}|\\[a-zA-Z]+|\b(?:d[xyt]|gcd|lcm|det|opp|hyp|adj)\b", re.DOTALL)
# "the red one" at an end
_ONE = re.compile(r"\b(the [a-z]+) one(?=\W*$| (?:is|was|has)\b)", re.IGNORECASE)
_SIDES = re.compile(
    r"(?:(?<=the )|(?<=his )|(?<=her )|(?<=its )|(?<='s )|(?<=pper )|(?<=ower )|(?<=top )|(?<=far ))(left|right)\b(?! of\b)",
    re.IGNORECASE,
)
# One form of what may be said in several, in a question and of it.
_REWORDED = [
    (cues, re.compile(pattern, re.IGNORECASE), form)
    for *cues, pattern, form in (
        ("than ", "nder ", rf"\b(?:(?:less|fewer|lower|smaller) than|under) (?=[$€£]?[0-9]|(?:{SOME})\b)", "below "),
        (
            "than ",
            "ver ",
            "xceed",
            rf"\b(?:(?:more|greater|higher|larger) than|over|exceed(?:s|ed|ing)?) (?=[$€£]?[0-9]|(?:{SOME})\b)",
            "above ",
        ),
        ("below", "above", r"\b(?:fall|lie|go|rise|drop)s? (?=below|above)", ""),
        ("inus ", "egative ", rf"(?<![0-9] )\b(?:minus|negative) (?=(?:{SOME})\b|[0-9])", ""),
        ("far ", r"\b(?:by )?far (?=more|less|fewer|above|below|behind|ahead|better|the\b|\w+er\b)", ""),
        ("ilowatt", r"\bkilowatt[- ]hours?\b", "kWh"),
        ("different ", r"\bdifferent (?=[a-z]+s\b)", ""),
        (
            "most",
            r"\b(?:number|value|score)s? (?:that |which )?(?:appear|occur)(?:s|ring|ing)? (?:the )?most (?:often|frequently)|"
            r"\bmost (?:frequent|common) (?=number|value|score)",
            "mode ",
        ),
        (" up", r"\b(?:go(?:es)?|went|gone) up\b", "rise"),
        (" down", r"\b(?:go(?:es)?|went|gone) down\b", "fall"),
        (
            " the ",
            r"\b(?:receiv\w*|got|gets|ha[sd]|have|with|won) the (?:most|(?:high|larg|great)est number of) (?:votes|students|"
            r"responses|pupils|people)\b",
            "most popular",
        ),
        ("er than ", r"\b(\w{2,})er than (?:all|any|every|each)(?: of)?(?: the)?(?: others?)?\b", r"\1est"),
        (" on", r"\bha(?:s|ve|d) (?:an? )?(\w+) on(?=\W*$| (?:his|her|their) )", r"wear \1"),
        ("left over", r"\bleft over\b", "left"),
        ("in common", r"\bin common\b", ""),
        ("orth", r"\b(north)[- ](east|west)", r"\1\2"),
        ("outh", r"\b(south)[- ](east|west)", r"\1\2"),
        (" points to ", r"(?<=abel [0-9] )points to\b", "is"),
        (" to", r"\badds? up to\b|\bsums? (?:up )?to\b", "total"),
    )
]


@lru_cache(maxsize=2**14)
def named(text: str) -> tuple[str, ...]:
    """What a text names, in order."""
    text = _SIDES.sub(r"\1hand", text) if "left" in text or "right" in text else text
    text = _ONE.sub(r"\1", text.replace("the one ", "")) if " one" in text else text
    for cues, pattern, form in _REWORDED:
        text = pattern.sub(form, text) if any(map(text.__contains__, cues)) else text
    text = text if text.isascii() else _in_english(text)
    text = COMMANDS.sub(" ", plain(text)).replace("i.e.", " ").replace("∠", " angle ")[:600]
    text = _SPELT.sub(lambda m: f"{value.number:g}" if (value := read_value(m.group())) else m.group(), text)
    found = (_name(m.group(), m.start() == 0 and text[1:2] == " ") for m in _TOKEN.finditer(text))
    return tuple(name for name in found if name)


@dataclass(frozen=True)
class Wanted:
    """What a question asks for.

    main: what an answer may not leave out, up to its first "in", "for", …; rest: what stands behind. head: the first word
    of "What is the …"; noun: that of "which …", "how many …". known: all that the question names; near: that its last sentence
    does. pairs: what stands beside "to", "than", …; both: beside "and"; aside: what tells where it is ("behind the truck");
    steps: what is to be taken away before; numbered: the numbers of things ("3 pens"); units and dimensions:
    those that it mentions; places: "f(-1)"; counts: whether it asks how many. text: the
    question itself.
    """

    main: frozenset[str]
    rest: frozenset[str]
    head: str
    noun: frozenset[str]
    known: frozenset[str]
    near: frozenset[str]
    pairs: frozenset[tuple[str, str, str]]
    both: frozenset[tuple[str, str, str]]
    aside: frozenset[str]
    steps: frozenset[str]
    numbered: frozenset[tuple[str, str]]
    dimensions: frozenset[str]
    units: frozenset[str]
    places: frozenset[str]
    counts: bool
    text: str


LIKELY = re.compile(r"\bmost (?=likely)", re.IGNORECASE)
_HINT = re.compile(
    r"\((?:round|unit|in |give|answer)[^()]*\)|(?:^|(?<=[.?]))\s*(?:answer|round|give|choose the (?:nearest|"
    r"closest))\b[^.?]*[.]?$|"
    r",? in (?:\w+ )?(?:terms? of \W*\w\b|form\b).*",
    re.IGNORECASE,
)
PLACE = re.compile(
    r"\b(?:in|from|on|of|according to|based on|using) (?:the|this|these|that) (?:\w+ )?(?:figure|image|picture|photo|"
    r"photograph|diagram|graph|chart|plot|table|food web|map|data|clock|ecosystem|sequence|series|pattern|puzzle|scene|"
    r"list)s?\b|(?:shown|given|figure) (?:above|below)|, \w+ or \w+(?=\W*$)|\b(?:does|do|did) (?:the|this|"
    r"these) (?:\w+ )?\w+ (?=(?:have|contain|show)\b)",
    re.IGNORECASE,
)
_LEAD = re.compile(r"^\s*(?:in|from|on|at|according|based|given|if|when|since|for|as|looking)\b[^,?]*,\s", re.IGNORECASE)
_PART = re.compile(
    r"(?=\b(?:of|in|on|at|for|to|from|during|by|if|when|where|given|assuming|such that|so that|while|between|among|through|"
    r"after|before)\b)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.:])\s|\n")
_OF_HEAD = re.compile(
    r"^\W*(?:(?:so|then|and|now),? )?(?:(?:what|which)(?:'s| is| are| was| were)|find|determine|calculate|compute|give|state|"
    r"write|evaluate|express|work out|solve|simplify)\b",
    re.IGNORECASE,
)
# "…, then the degree of ∠ABC is ()"
_BLANK = re.compile(r"(?:^|, )(?:then |so )?the ([^,]+?)\s(?:is|are|=)\W*$", re.IGNORECASE)
PRONOUN = re.compile(r"\b(?:she|he|they|it|her|his|its|their)\b", re.IGNORECASE)
_AS_A = re.compile(r"\bas an? (?:\w+ )?(fraction|decimal|ratio|percentage|percent)\b", re.IGNORECASE)
# What any answer is one of.
_CATEGORY_WORDS = "color colour shape type kind sort mood emotion gender breed species material animal sport weather genre"
_CATEGORIES = frozenset(map(stem, _CATEGORY_WORDS.split())) | {"~object"}
# "If AB = 8 and OB = 10, what is …"
_ASKS = re.compile(r",\s(?:then\s)?(?=(?:what|which|how|find)\b)", re.IGNORECASE)
HOW_MANY = re.compile(r"\bhow (?:many|much)\s+(?:(?:more|different|distinct)\s+)?(\w+)", re.IGNORECASE)
_ASIDE = re.compile(r"\b(?:behind|under|near|beside|above|below|next to|in front of) (?:the |an? )?(\w+)", re.IGNORECASE)
# "How many cars on the left are blue?"
_SO_MANY = re.compile(r"\b(?:are|were|is|was|have|had|can|could|do|did)\s(.+)$", re.IGNORECASE)
_WH = re.compile(
    r"\b(?:which|what|whose)\s+(?:of (?:the|these|those)(?: (?:following|two|three|four|five|six|labell?ed|listed|given|"
    r"shown))*\s+)?(?!is\b|are\b|was\b|were\b|the\b)"
    r"(\w+)(?: of (?:the )?\w+)?|\bhow (?!many\b|much\b|more\b)(\w+)|\bname of the (\w+)",
    re.IGNORECASE,
)
# "the car parked behind it" is the car behind it.
_PARTICIPLE = re.compile(
    r"(?<!has )(?<!have )(?<!had )(?<!is )(?<!are )(?<!was )(?<!were )\b[a-z]{2,}(?:ed|ing) (?=(?:behind|under|on|in|at|next|"
    r"near|above|below|between|beside|inside|outside)\b)"
)
# "the total number of cars" is the number of cars.
_TOTAL = re.compile(r"\btotal (?=(?:number|amount)\b)", re.IGNORECASE)
_SIDE_OF = re.compile(r"\bthe (left|right) of\b", re.IGNORECASE)
# "Evaluate the expression on the card: 8 + 2 × 3"
_FORMULA_BEHIND = re.compile(r":\s[^A-Za-z:]{3,}$")
# "the clock's minute hand" is the minute hand.
_OWNERS = re.compile(r"\bthe [a-z]+'s (?=[a-z])")
# "the two angles" are the angles.
_ALL_OF = re.compile(
    r"(?<=\bthe )(?:two|three|four|five) (?=(?:[a-z]+ )?(?:[a-z]+s|people|men|women|children)\b)", re.IGNORECASE
)
_BESIDE = re.compile(r"\b(to|into|than|from|before|after)\b", re.IGNORECASE)
_AND = re.compile(r"\b(and)\b", re.IGNORECASE)


def pairs_in(text: str, beside: re.Pattern[str] = _BESIDE) -> frozenset[tuple[str, str, str]]:
    """("red", "to", "blue") of "the ratio of red to blue"."""
    found = []
    for match in beside.finditer(text):
        left, right = named(text[: match.start()])[-1:], named(text[match.end() :])[:1]
        found += [(left[0], match.group().lower(), right[0])] if left and right else []
    return frozenset(found)


def _taken(names: tuple[str, ...]) -> Iterable[str]:
    """What "Subtract all red balls" takes away."""
    return {n for n in names if n not in ("thing", "~object")} if names[:1] == ("~subtract",) else ()


def _numbered(names: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    """(number, what it counts) of "3 notebooks"."""
    return ((a, b) for a, b in zip(names, names[1:], strict=False) if a[0].isdigit() and b.islower())


@lru_cache(maxsize=4096)
def asked_of(question: str) -> Wanted:
    """What a question asks for; of the sentence that asks, or the last one."""
    text, question = question, question if question.isascii() else _in_english(question)
    # What something means is no average.
    question = _MEANS.sub(r"\1 say", question)
    stated = LIKELY.sub(" ", _HINT.sub(" ", question))
    found = sentences_asking(stated) or [part for part in _SENTENCE.split(stated) if part.strip()] or [stated]
    found[-1] = _ASKS.split(found[-1])[-1]
    blank = _BLANK.search(found[-1])
    asking = _LEAD.sub(" ", blank.group(1) if blank else found[-1])
    asking = _OWNERS.sub("the ", _FORMULA_BEHIND.sub("", asking))
    asking = _ALL_OF.sub("", _TOTAL.sub("", _PARTICIPLE.sub("", asking)))
    free = {name for match in _WH.finditer(asking) for name in named(match.group())}
    parts = [[n for n in named(part) if n not in free] for part in _PART.split(_SIDE_OF.sub(r"\1 of", PLACE.sub(" ", asking)))]
    first = next((i for i, part in enumerate(parts) if part), 0)
    main = frozenset(n for part in parts[: first + 1] for n in part)
    rest = frozenset(n for part in parts[first + 1 :] for n in part)
    how_many = HOW_MANY.search(asking)
    if how_many and (so := _SO_MANY.search(asking, how_many.end())):
        main |= {*named(_PART.split(so.group(1))[0])}
    kind = _AS_A.search(asking)
    head = (
        "".join(named(kind.group(1))[:1])
        if kind
        else parts[first][0]
        if parts and parts[first] and (blank or _OF_HEAD.match(asking))
        else ""
    )
    if head in _CATEGORIES and not how_many and any(parts[first + 1 :]):
        # "What is the color of the car?": "The car is blue" says it.
        head, first = "", next(i for i in range(first + 1, len(parts)) if parts[i])
        main, rest = frozenset(parts[first]), frozenset(n for part in parts[first + 1 :] for n in part)
    noun = frozenset(named(how_many.group(1)) if how_many else free | {stem(m[1] or "") for m in _WH.finditer(asking)})
    if _OF_STATEMENTS.search(asking):
        # "Which statement is true?" asks for no quantity of its own.
        main, rest = main - {"tru", "correc", "accura", "valid", "suppor"}, frozenset()
    units = units_in(question)
    return Wanted(
        main,
        rest,
        head,
        noun,
        frozenset(named(question)),
        frozenset(named(question if PRONOUN.search(asking) else found[-1])),
        pairs_in(asking),
        pairs_in(asking, _AND),
        frozenset(name for noun in _ASIDE.findall(asking) for name in named(noun)),
        frozenset(name for part in _SENTENCE.split(question) for name in _taken(named(part))),
        frozenset(_numbered(named(asking))),
        frozenset(d[0] for u in units if (d := to_base(Value(1.0, 0, u)))),
        units,
        frozenset(place.replace(" ", "") for place in _PLACES.findall(plain(question))),
        how_many is not None and "many" in how_many.group(),
        text,
    )


_MEANS = re.compile(r"\b((?:does|do|did)\b[^?.]{1,60}?) mean\b(?! (?:score|value|of))", re.IGNORECASE)
_OF_STATEMENTS = re.compile(
    r"\b(?:statement|sentence|claim|conclusion)s?\b.{0,40}\b(?:true|correct|accurate|valid|supported)\b", re.IGNORECASE
)
_PLACES = re.compile(r"\b[a-zA-Z] ?\(-? ?[0-9./]+\)")


@lru_cache(maxsize=4096)
def units_in(text: str) -> frozenset[str]:
    return frozenset(filter(None, map(_unit, _WORD.findall(text))))


_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=2**14)
def _unit(word: str) -> str | None:
    return known_unit([word]) if word.lower() != "in" else None
