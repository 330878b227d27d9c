"""Whether a sentence speaks of what a question asks for, or of another quantity, side or part, or only repeats the question."""

from __future__ import annotations

import re
from functools import lru_cache

from l2v.benchmarks.scoring.cleaning import squeeze

# What may be measured or pointed at, one group of words with one meaning a line.
_GROUPS = """mean average
median
mode
range
perimeter
circumference
area
volume
radius
diameter
length distance long far
width wide
height tall high
speed velocity fast
slope gradient
intercept
mass weight weighs heavy
price cost costs
probability
odds
highest largest greatest maximum biggest most tallest longest max top peak
lowest smallest least minimum shortest fewest min bottom
on-the-left left-hand leftmost
on-the-right right-hand rightmost"""
_GROUP = {word: i for i, line in enumerate(_GROUPS.split("\n")) for word in line.split()}
_LETTERS = re.compile(r"(?<!\d )\b[a-z]+(?:-hand|(?<=on)-the-(?:left|right))?")


def _measured(text: str) -> frozenset[int]:
    text = text.lower().replace("on the ", "on-the-")
    text = _MODE.sub("mode", text) if "most " in text else text
    text = _FAR.sub("", text) if "far " in text else text
    return frozenset(_GROUP[word] for word in _LETTERS.findall(text) if word in _GROUP)


_FAR = re.compile(r"\bfar (?=more|less|fewer|above|below|behind|ahead|better|the\b|\w+er\b)")
_MODE = re.compile(r"\bmost (?:often|frequent)")
_WORDS = re.compile("[^\\W_]+")


@lru_cache(maxsize=4096)
def _words(question: str) -> set[str]:
    return {*_WORDS.findall(question), "is", "are", "equals", "and"}


@lru_cache(maxsize=4096)
def _squeezed(question: str) -> str:
    question = _EQUAL.sub(" = ", question)
    return "\n".join(squeeze(sentence) for line in question.split("\n") for sentence in re.split(r"(?<=[.?!,])\s", line))


_asked_for = lru_cache(maxsize=4096)(_measured)
# What says nothing of what is asked for.
_EMPTY_WORDS = """what which where when who how many much the and are was were for this that these those with from into given
find does did has have had can will would there their then than following shown show shows figure image
picture graph chart table value number question answer option options choose correct calculate determine
please about your each"""
_EMPTY = set(_EMPTY_WORDS.split())


@lru_cache(maxsize=2**14)
def focus(text: str) -> frozenset[str]:
    """The words of a text that tell what it speaks of, cut to five letters, so that most forms of a word are one."""
    words = (word for word in _WORDS.findall(text.lower()) if len(word) > 2 and word.isalpha())
    return frozenset(word[:5] for word in words if word not in _EMPTY)


# Words of every sentence: they name nothing that a question would have to name.
_GLUE = focus(
    """therefore thus hence approximately about around roughly exactly equal equals total altogether units degrees text frac
dfrac sqrt its they all here also only see seen count counted come comes get gets got give gives main likely fairly sure
because since whereas while among listed result correct just not but one two three four five six seven eight nine ten
eleven twelve thirteen fourteen fifteen sixteen twenty thirty forty fifty sixty seventy eighty ninety hundred dozen take
takes reach reaches represents depicts indicates displays occurs occurred happens highlighted depicted back them she her
his grams kilograms metres meters appear appears seem seems reads tell tells clearly other others cubic centimetres
inches hours minutes seconds years dollars cents percent measures measure picked"""
)
# "0.5 %" and "Fig. 2" end no sentence.
_END = re.compile(r"[?!\n]|(?<!\bFig)(?<!\bfig)\.(?!\d)")


def asking(text: str) -> list[str]:
    """The sentences of a text that end in a question mark."""
    ends = [match.end() for match in _END.finditer(text)]
    return [text[start:end] for start, end in zip((0, *ends), ends, strict=False) if text[end - 1] == "?"]


@lru_cache(maxsize=4096)
def _named(asked: str) -> tuple[frozenset[str], frozenset[str]]:
    """The words of the sentence that asks, and these with the options' words."""
    question, _, options = asked.rpartition("\n\n") if "\n\n" in asked else (asked, "", "")
    words = focus((asking(question) or [question])[-1])
    return frozenset(word for word in words - _GLUE if word.isascii()), words | focus(
        " ".join((options, *_NAMES.findall(question)))
    ) | _GLUE


_NAMES = re.compile(r"\b[A-Z][a-z]{2,}")


@lru_cache(maxsize=4096)
def _head(asked: str) -> str:
    """The first word of what a question asks for: "edges" of "How many edges does it have?"."""
    wanted = _named(asked)[0]
    return next((word[:5] for word in _WORDS.findall(without_options(asked).lower()) if word[:5] in wanted), "")


def entitled(label: str, asked: str, last: bool) -> bool:
    """Whether a label ("Number of edges:") names just what a question asks for: its first word, half of the rest, no other.

    The last line's label may be the first word alone.
    """
    wanted, known = _named(asked)
    said = focus(label) - _GLUE
    enough = last or 2 * len(said & wanted) >= len(wanted)
    return _head(asked) in said <= known and enough and not _COMPARES.search(asked)


_COMPARES = re.compile(r"\b(?:more|less|fewer|than|left|remain\w*)\b", re.IGNORECASE)


def without_options(asked: str) -> str:
    return asked.rpartition("\n\n")[0] if "\n\n" in asked else asked


@lru_cache(maxsize=4096)
def options_of(asked: str) -> tuple[str, ...]:
    """The options that stand behind a question, a line each."""
    return tuple(asked.rpartition("\n\n")[2].split("\n"))


def off_topic(text: str, asked: str) -> bool:
    """Whether a text speaks of another quantity or side than all that the question names ("The median is 3" of the mean)."""
    return (
        bool((known := _asked_for(asked)) and (found := _measured(text)) and not known & found)
        or _turned_round(text, asked)
        or _restates(text, asked)
    )


def _turned_round(text: str, asked: str) -> bool:
    """Whether a text speaks of "girls to boys" where the question asks for "boys to girls"."""
    pairs = _RATIO.findall(asked.lower()) if " to " in text else []
    return any(f"{b} to {a}" in text.lower() and f"{a} to {b}" not in text.lower() for a, b in pairs)


_RATIO = re.compile(r"\b(\w+) to (?:the )?(\w+)")


def _restates(text: str, asked: str) -> bool:
    """Whether a sentence only repeats what the question says ("AC = 8"), and is no option of it."""
    question, _, options = asked.rpartition("\n\n")
    first, words = _WORDS.search(text), _words(question)
    if first and first.group() not in words or not set(_WORDS.findall(text)) <= words or not _SENTENCE.search(text):
        return False
    known = _squeezed(question)
    return all(squeeze(part) in known for part in _AND.split(_EQUAL.sub(" = ", text))) and squeeze(text) not in map(
        squeeze, options.split("\n")
    )


_AND, _EQUAL = re.compile(r"\sand\s|,\s"), re.compile(r"\s(?:is|are|equals)\s")
_SENTENCE = re.compile(r"\w\s?=\s?\w|\w\s(?:is|are|has|have|had|was|were|gives?)\s\w")
