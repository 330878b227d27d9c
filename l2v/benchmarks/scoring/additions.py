"""What a sentence may add beside its answer without being doubted: where somebody stands, what lies around, what he reads.

Only where it leaves out nothing that the question asks for, begins with that or with the answer, brings in no other number or
quantity, and nothing that narrows or turns round what it says ("only", "second", "on the left").
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from l2v.benchmarks.scoring.asking import DIGITS, PLACE, PRONOUN, SOME, Wanted, asked_of, named

# "… because it is hot", ", with 5 sales", ", followed by Rome", "(about 5)": what is added behind an answer.
_ADDED = re.compile(
    r"\s\((?!or\b)(?=[^()]*[a-z]{2})[^()]*\)|,? (?:because|since)\s.*|, as\s.*|(?<!\bsame) as (?:it|the|they|its|this)\b.*|"
    r", which\b(?! (?:is|rounds to|equals|simplifies to)(?: about| equal to)? [\W\d]*\d)(?!.*(?:answer|option|\([A-J]\))).*|"
    r", (?:with|who|at|next|near|beside|ahead|followed|compared|unlike|not)\b(?!.*(?:answer|option|\([A-J]\))).*|"
    r" if (?:the|my|all) .*| and an? (?!half\b)\w+(?=\W*$)|"
    r": (?=[a-z]\S*\s\S+\s\S)[^=]*$|°\s?[CF]\b|\bsquare (?=unit|cent|met|inch|f[eo]{2}t|\wm\b)",
    re.DOTALL,
)
# "Blue is the highest, at 78": how far something goes that is no number itself.
HOW_FAR = re.compile(
    r",? (?:at|reaching|with(?: an? \w+ of)?) [$€£]?[0-9][0-9.,]*%?(?: [a-z]+)?(?=\W*$)|"
    r"\s\((?:about |≈ ?)?[$€£]?[0-9][0-9.,]*\s?%?\)"
)
# "The highest amount, as the chart shows, is 70."
_INSERTED = re.compile(
    r", (?:as|according|based|which|who|whose)\b[^,=]*, (?=(?:is|are|was|were|has|have|had|equals|reaches|reads|measures)\b)"
)
# A guess is an answer; tags are no words.
EMPTY = re.compile(
    r"\bmost (?=likely)|\bbest (?=guess|estimate|count|bet)|\bwould (?=guess|say|estimate|choose)|</?\w{1,6}>|"
    r"^\W*(?:solving|simplifying|"
    r"(?:adding|counting|summing)\b(?: (?:them|these|those|it all)\b)?(?: (?:up|together))?(?: all)?|"
    r"of (?:all )?(?:the|these|those) (?:\w+ )?\w+,|in general|you (?:need|have) to)\b,?|"
    # The reason in front: "By Pythagoras, …", "Since 3 < 5, …".
    r"\bthe (?:mean|average) of (?:the (?:two )?\w+ \w+, )?[0-9.]+ and [0-9.]+(?=[:=,]|\sis\b)|"
    r"\b(?:makes?|takes?|made|taken) up\b|(?<=est) (?:point|level)\b|"
    r"\b(?:bowl|cup|glass|slice|piece|plate) of (?=[a-z])|\bhits? (?=its)|(?<=%) of (?:the )?[A-Z]{3}\b|"
    r"\b(?:standing|sitting|lying|located|placed|positioned|situated) (?=(?:in|on|at|under|next|near|behind|beside)\b)|"
    r"^\W*the (?:sign|thermometer|clock|scale|ruler|label|title|map|legend|needle) (?:is )?(?:show|indicat|display|read)\w*\b|"
    r"\b(?:side|segment) (?=(?-i:[A-Z]{2}\b))|\b(?:this|that|which) means\b|"
    r"\bwithout (?:more|further|additional) \w+|\bwhat(?:'s| is) left is\b|"
    r"\b[Bb]y (?:the )?(?-i:[A-Z])\w+(?: theorem)?,?|"
    r"^\W*(?:based on|looking at|considering|judging|given|from|since|because|using|applying|by)\b[^,]*,",
    re.IGNORECASE,
)
_OPTION = re.compile(r"^\W*(?:\(?[A-Ja-j][).:]|step \d+\W)\s+(?=\w)", re.IGNORECASE)


def core(text: str) -> str:
    """A sentence without what is added behind its answer."""
    return _ADDED.sub("", _INSERTED.sub(" ", _OPTION.sub("", text)))


# Words that change what is said of the rest.
_NARROWS = re.compile(
    r"\b(?:second|third|fourth|fifth|last|next|other|others|another|only|just|except|excluding|besides|nearly|almost|part|"
    r"some|several|many|half|each|every|per|both|neither|either|or|nor|if|when|unless|before|after|until|without|than|not|no|"
    r"least|most|more|less|fewer|up to|would|could|might|may|should|must|between|remaining|rest|like|similar|opposite|compared|"
    r"total|altogether|whole|entire|instead|unlike|first|one|double|twice|wants?|tries|used|usually)\b",
    re.IGNORECASE,
)
# And of how many there are.
_SOME = re.compile(
    r"\b(?:left|right|front|back|behind|with|top|bottom|upper|lower|background|foreground|outside|inside)\b", re.IGNORECASE
)
# A place or a company behind the answer, with which a sentence ends.
_PLACE = re.compile(
    r"\W*$|\W*(?:[a-z]+ing )?(?:in|on|at|near|beside|with|from|together|around|over|through|by|"
    r"to)\b(?! (?:total|all)\b)[^,;=0-9]*$",
    re.IGNORECASE,
)
_IT = re.compile(r"\W*(?:it|he|she|they)(?:'s|'re)?\b(?<!it's)(?! is (?!\w+ing\b))", re.IGNORECASE)
# "reading a newspaper"
_READ = re.compile(r"^ (?:(?:an?|the|some|his|her|their) )?[a-z]+(?: [a-z]+)?(?=\W*$| (?:in|on|at|near|with)\b)")
_LINK = re.compile(
    r"(?:\b(?:is|are|was|were|has|have|had|shows?|sees?|equals?|reach(?:es|ed)?|in|on|at|by|of|to|an?|the|with|wins?|won|got|"
    r"\w+ing|\w+ed)|[=:≈])\W*(?:about |around |approximately |roughly |exactly )?$",
    re.IGNORECASE,
)
_IS = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?)(?: (?:labell?ed|marked|called|named))?|[=:≈])\W*"
    r"(?:(?:about|around|approximately|an?|the)\s)?$",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(r"\b(?:an?|his|her|their|its)\s+([a-z]+)\W*$", re.IGNORECASE)
_RELATIVE = re.compile(r"\b(?:which|who|whose|that|where|while|but|and)\b", re.IGNORECASE)


def may_add(text: str, question: str, answer: Sequence[str], foreign: Set[str]) -> bool:
    """Whether what a sentence names beside the question and the answer (`foreign`) only adds to it; not for yes and no."""
    asked, text = asked_of(question), EMPTY.sub(" ", text)
    own = {name for part in answer for name in (*named(part), *named(part.lower()))}
    counted = any(name[0] in DIGITS for name in own)
    text = _without_others(text, asked) if counted else _BESIDES.sub("", text)
    foreign = foreign & {*named(text)} - {"~person"}
    if not own or not _IT.match(text) and (asked.main | asked.rest) - asked.noun - own - {*named(text)}:
        return False
    words = list(_WORD.finditer(text))
    at = [i for i, word in enumerate(words) if own & {*named(word.group()), *named(word.group().lower())}]
    if not at or at[-1] - at[0] >= len(at):
        return False
    first, last = words[at[0]], words[at[-1]]
    front = text[: first.start()]
    begun = next((name for name in named(front) if name in asked.known | foreign), None)
    if begun in foreign and not PRONOUN.search(question) or _RELATIVE.search(front):
        return False
    for word in words[at[-1] + 1 :]:
        # "three slices of pizza": what is counted stands behind its number.
        if not {*named(word.group())} & asked.known and (word.group() != "of" or last is words[at[-1]]):
            break
        last = word
    tail, doing = text[last.end() :], first.group().endswith("ing")
    place = _PLACE.match(_READ.sub("", tail) if doing else tail)
    if {*named(tail)} & foreign and not place or _elsewhere(tail, question):
        return False
    if _narrowed(text if counted or not place else text[: last.end()], question, foreign, counted):
        return False
    adjective = None if doing else _ADJECTIVE.search(front)
    front = front[: adjective.start(1)] if adjective and {*named(adjective[1])} & foreign else front
    # What else is done or stands between the two may be of something else, but for "the car in front of the house is".
    return not named(front) or (_IS if {*named(front)} & foreign else _LINK).search(front) is not None


def _without_others(text: str, asked: Wanted) -> str:
    """A text without what else was counted ("two dogs and one cat" where dogs are asked for)."""
    so_many = _COUNTED.search(text) if asked.counts else None
    if so_many is None or not {*named(so_many[1])} & asked.noun:
        return text
    rest = _AND_OTHERS.sub(lambda m: m.group() if {*named(m[1])} & asked.known else "", text[so_many.end() :])
    return text[: so_many.end()] + rest


def _elsewhere(tail: str, question: str) -> bool:
    """Whether a text speaks of "around the wall" where it is asked for "around the table"."""
    asked = {prep.lower(): noun for prep, noun in _AT.findall(PLACE.sub(" ", question))}
    return any(asked.get(prep.lower(), noun) != noun for prep, noun in _AT.findall(tail))


def _narrowed(text: str, question: str, foreign: Set[str], counted: bool) -> bool:
    """Whether a text narrows or turns round what it says, or names another number, quantity or, counting, side."""
    for pattern in (_NARROWS, _SOME)[: 1 + counted]:
        if {word.lower() for word in pattern.findall(text)} - {word.lower() for word in pattern.findall(question)}:
            return True
    sides = set() if counted else {*named("left")}
    return any(name[0] == "~" or name.isdigit() for name in foreign & {*named(text)} - sides)


# ", running at 70 km/h", ", 3422 °C"
_BESIDES = re.compile(r", (?:\w+ing\b|\W?[0-9])[^,]*$")
_AT = re.compile(r"\b(in|on|at|around|near|under|behind|beside) (?:the|an?) (\w+)", re.IGNORECASE)
_COUNTED = re.compile(rf"\b(?:[0-9]+|{SOME}) ([a-z]+)\b", re.IGNORECASE)
_AND_OTHERS = re.compile(rf"(?:,| and|, and|,? as well as| plus) (?:[0-9]+|{SOME}|an?|some|no) ([a-z]+)\b", re.IGNORECASE)
_WORD = re.compile(r"[$€£]?[0-9][0-9.,]*[0-9]|[^\W_]+(?:['-][^\W_]+)*")
