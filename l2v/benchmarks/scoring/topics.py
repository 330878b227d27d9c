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
_LETTERS = re.compile("[a-z]+(?:-hand|(?<=on)-the-(?:left|right))?")


def _measured(text: str) -> frozenset[int]:
    text = text.lower().replace("on the ", "on-the-")
    return frozenset(_GROUP[word] for word in _LETTERS.findall(text) if word in _GROUP)


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


def tokens(text: str) -> set[str]:
    """The words, numbers and letters of a text that may name something."""
    return {word for word in _WORDS.findall(text.lower()) if len(word) > 3 or word.isdigit()} - _EMPTY


_PIECE = re.compile(
    r"[,;:](?![^(\[]*[)\]])\s|\s(?:(?<!hundred )and(?!\s\S*[\d=+])|but|while|whereas|followed|ahead|compared|after|before|"
    r"because|since|when|so|though|unlike|not)\s"
)


def _without_options(asked: str) -> str:
    return asked.rpartition("\n\n")[0] if "\n\n" in asked else asked


def focal(text: str, asked: str) -> str | None:
    """The one piece of a sentence that says most of what is asked for ("Friday was lowest, then Monday"), or None."""
    pieces = [piece.strip(" .") for piece in _PIECE.split(text)]
    about = focus(_without_options(asked))
    told = [(len(focus(piece) & about), piece) for piece in pieces if piece and not off_topic(piece, asked)]
    most = max((count for count, _ in told), default=0)
    best = [piece for count, piece in told if count == most]
    return best[0] if most and len(best) == 1 else None


def restated(text: str, asked: str) -> str | None:
    """yes or no, where a sentence repeats a yes-no question word by word and in order, or denies it."""
    found = _POLAR.search(_without_options(asked))
    if found is None:
        return None
    wanted = [word for word in _WORDS.findall(found.group(1).lower()) if word not in _SMALL]
    words = iter(_WORDS.findall(text.lower()))
    if len(wanted) < 3 or not all(word in words for word in wanted):
        return None
    return "no" if _NOT.search(text) else "yes"


_SMALL = {"the", "a", "an", "of", "in", "any", "there"}
_NOT = re.compile(r"\bnot\b|n't\b|\bno\b|\bnever\b", re.IGNORECASE)
_POLAR = re.compile(r"(?:^|[.?!:,]\s|\n)(?:is|are|was|were|does|do|did|can|has|have)\s+([^?.]{5,200})\?(?!.*\?)", re.IGNORECASE)


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
    if not set(_WORDS.findall(text)) <= _words(question) or not _SENTENCE.search(text):
        return False
    known = _squeezed(question)
    return all(squeeze(part) in known for part in _AND.split(_EQUAL.sub(" = ", text))) and squeeze(text) not in map(
        squeeze, options.split("\n")
    )


_AND, _EQUAL = re.compile(r"\sand\s|,\s"), re.compile(r"\s(?:is|are|equals)\s")
_SENTENCE = re.compile(r"\w\s?=\s?\w|\w\s(?:is|are|has|have|had|was|were|gives?)\s\w")


def of_the_rest(text: str, asked: str) -> bool:
    """Whether a text speaks of what is not asked for ("The unshaded part is 1/2", asked for the shaded one)."""
    return any(word[-1] in asked.lower() and word[0] not in asked.lower() for word in _REST.findall(text.lower()))


_REST = re.compile(r"\b((?:(?:un|non|in)-?|(?:second|third|next)[ -](?=\w+est))(\w{4,}))")
