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
    r"\s\((?!or\b)(?=[^()\\]*[a-z]{2})[^()\\]*\)|, (?:\d+|[a-z]+) (?:years?|months?|days?|hours?) (?:before|after|earlier|"
    r"later)\b.*|"
    r",? (?:because|since)\s.*|, (?:as|where|in which)\s.*|(?<!\bsame)(?<!known)"
    r"(?<!referred to)(?<![a-z]ed) as (?:it|the|they|its|this)\b.*|, which\b(?! (?:is|equals|gives|makes|totals|(?:rounds|"
    r"simplifies|comes|adds? up|sums?) to)(?: (?:it|him|her|them))?(?: about| equal to| the \w+(?: of)?)? [\W\d]*\d)"
    r"(?!.*(?:answer|option|\([A-J]\))).*|, (?:just |right )?(?:with|who|at|next|near|beside|above|below|under|behind|ahead|"
    r"followed|compared|unlike|not|(?:up|down) (?=from)|from (?=\d.* to \d))\b(?!.*(?:answer|option|\([A-J]\))).*| if (?:the|"
    r"my|all) .*| and an? (?!half\b)\w+(?=\W*$)|"
    r"(?::| -) (?!(?:it|s?he|they|there|we|i|so)\b)(?=[a-z]\S*\s\S+\s\S|\d+ [a-z][^=]* (?:and|,) \d+ [a-z]|"
    r"[^,:=]+,(?: [^,=]+,)* ?[^,=]* and |(?:[^,:=]+, ){2,})[^=]*$|°\s?[CF]\b|\bsquare (?=unit|cent|met|inch|f[eo]{2}t|\wm\b)",
    re.DOTALL,
)
# "Blue is the highest, at 78": how far something goes that is no number itself.
HOW_FAR = re.compile(
    r",? (?:at|reaching|with(?: an? \w+ of)?) [$€£]?[0-9][0-9.,]*%?(?: [a-z]+)?(?=\W*$)|"
    r"\s\((?:about |≈ ?)?[$€£]?[0-9][0-9.,]*\s?%?\)"
)
# "The highest amount, as the chart shows, is 70."
_INSERTED = re.compile(
    r", (?:(?:as|according|based|which|who|whose)\b[^,=]*|\W?[A-Za-z]\W?), (?=(?:is|are|was|were|has|have|had|equals|reaches|"
    r"reads|measures)\b)"
)
# A guess is an answer; tags are no words.
EMPTY = re.compile(
    r"\b(?:different|distinct) (?=[a-z]+s\b)|\bby far\b|\bone (?=(?:should|would|can|must|could) )|\bend(?:s|ed)? up (?:with|"
    r"as|at)\b|\bmost (?=likely)|\bbest (?=guess|estimate|count|bet)|\bwould (?=guess|say|estimate|choose)|</?\w{1,6}>|"
    r"\b(?:up|down|over|out) t?here\b|^\W*(?:between|from) \d{4} (?:and|to) \d{4},|^\W*according to (?:the|this) \w+ (?=the\b|"
    r"there\b|it\b)|\ba (?:reading|measurement) of\b|\b(?:made|built|composed|"
    r"constructed) (?:\w+ly )?(?:out )?of\b|\bof the (?:[0-9]+|[a-z]+) (?=numbers|values|terms)|"
    r"^\W*(?:multiply|divid|squar|apply|plugg|substitut)ing\b.*?\b(?=(?:gives|yields|results in|"
    r"we (?:get|obtain|find|have))\b)|\bhits? (?=(?:its|their|the|an?)\b)|\bturns? out (?=to be\b)|\b(?:bright|solid|"
    r"plain|digital|analogue?) (?=[a-z])|^\W*(?:that|it|this) would be\b|\bwould (?=(?:still |"
    r"now )?have\b.*\bleft\b(?!.*\bif\b))|^\W*(?:solving|"
    r"simplifying|(?:adding|counting|summing)\b(?: (?:them|these|those|it all)\b)?(?: (?:up|together))?(?: all)?|"
    r"of (?:all )?(?:the|these|those) (?:\w+ )?\w+,|in general|you (?:need|have) to)\b,?|"
    # The reason in front: "By Pythagoras, …", "Since 3 < 5, …".
    r"\bthe (?:mean|average) of (?:the (?:two )?\w+ \w+, )?[0-9.]+ and [0-9.]+(?=[:=,]|\sis\b)|\b(?:makes?|takes?|made|"
    r"taken) up\b|(?<=est) (?:point|level)\b|\b(?:bowl|cup|glass|slice|piece|plate) of (?=[a-z])|(?<=%) of (?:the )?[A-Z]{3}\b|"
    r"\b(?:standing|sitting|lying|located|placed|positioned|situated) (?=(?:in|on|at|under|next|near|behind|beside)\b)|"
    r"^\W*the (?:sign|thermometer|clock|scale|ruler|label|title|map|legend|needle) (?:is )?(?:show|indicat|display|read)\w*\b|"
    r"\b(?:side|segment) (?=(?-i:[A-Z]{2}\b))|\b(?:this|that|which) means\b|\bwithout (?:more|further|additional) \w+|"
    r"\bwhat(?:'s| is) left is\b|\bby (?:the )?(?-i:[A-Z])\w+(?:'s)?(?: (?:theorem|law|rule|formula)|,)|\b(?:is|"
    r"are) (?:a )?part of\b|^\W*(?:based on|looking at|considering|judging|given|from|since|because|using|applying|by)\b[^,]*,",
    re.IGNORECASE,
)
_OPTION = re.compile(r"^\W*(?:\(?[A-Ja-j][).:]|step \d+\W+)\s+(?=\w)", re.IGNORECASE)
# "… is half of it: 7", "… is half of ∠A, i.e. 35°"
_IN_WORDS = re.compile(
    r"\b(?:is|are|equals|measures) (?=(?:half|twice|double|a third|a quarter)(?: of)? [\d(])[^,:;]{0,80}, which (is|equals|"
    r"gives) (?=[\d-]\S*\W*$)|\b(is|are|equals|measures)\s[^,:;=\d]{0,60}\b(?:half|twice|double|third|quarter|sum|difference|"
    r"product|opposite|\w+plement\w*)\b[^,:;=\d]{0,60}(?::|, (?:i\.e\.|that is|so|or|namely),?|=) (?=[$√π\d-]\S*(?: \S{1,6})"
    r"?\W*$)"
)


def core(text: str) -> str:
    """A sentence without what is added behind its answer."""
    return _ADDED.sub("", _INSERTED.sub(" ", _OPTION.sub("", _IN_WORDS.sub(lambda m: f"{m[1] or m[2]} ", text))))


# Words that change what is said of the rest.
_NARROWS = re.compile(
    r"\b(?:second|third|fourth|fifth|last|next|other|others|another|only|just|except|excluding|besides|nearly|almost|part|some|"
    r"several|many|half|each|every|per|both|neither|either|or|nor|if|when|unless|before|after|until|without|than|not|no|least|"
    r"most|more|less|fewer|(?<!goes )(?<!rises )up to|would|could|might|may|should|must|between|remaining|rest|like|similar|"
    r"opposite|compared|larger|smaller|bigger|longer|shorter|upper|inner|outer|un(?!der|til|it|ion|i)[a-z]{4,}|total|"
    r"altogether|whole|entire|instead|unlike|first|one|double|twice|wants?|tries|used|usually)\b",
    re.IGNORECASE,
)
# And of how many there are.
_SOME = re.compile(
    r"\b(?:left|right|front(?! of)|back|behind|with|top|bottom|upper|lower|background|foreground|outside|inside)\b",
    re.IGNORECASE,
)
# A place or a company behind the answer, with which a sentence ends.
_PLACE = re.compile(
    r"\W*$|\W*(?:[a-z]+ing )?(?:in|on|at|near|beside|with|from|together|around|facing|(?:down|up|off)(?= (?:the|an?)\b)|over|"
    r"through|"
    r"by|along|across|towards|to)\b(?! (?:total|all)\b)[^,;=0-9]*$",
    re.IGNORECASE,
)
_IT = re.compile(r"\W*(?:it|he|she|they)(?:'s|'re)?\b(?<!it's)(?! is (?!\w+ing\b))", re.IGNORECASE)
_LINK = re.compile(
    r"(?:\b(?:is|are|was|were|be|seen|shown|has|have|had|shows?|sees?|equals?|reach(?:es|ed)?|in|on|at|by|of|to|an?|the|with|"
    r"wins?|won|got|\w+ing|\w+ed)|[=:≈])\W*(?:about |around |approximately |roughly |exactly )?$",
    re.IGNORECASE,
)
_IS = re.compile(
    r"(?:\b(?:is|are|was|were|be|equals?|(?:labell?ed|marked|called|named|termed|(?:known|referred to|identified) as|"
    r"dates? (?:from|back to)|(?:comes?|amounts?|works out) to|(?:stands|lies|sits|peaks) at|\w+ (?:up|all the way) to|"
    r"(?:sells|goes) for|priced at|engaged in|busy|reads|lasts|weighs|costs))|[=:≈])\W*(?:(?:about|around|approximately|an?|"
    r"the)\s)?$",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(r"\b(?:an?|his|her|their|its)\s+([a-z]+)\W*$", re.IGNORECASE)
# "Norway has the highest value with 87.3": whose it is.
BEARER = re.compile(
    r"^\W*(?:(?:[A-Z][\w'-]* ){1,3}|[Tt]he (?:\w+ ){1,3})(?:is|was|has|had|shows|reached|recorded) (the [a-z "
    r"]{0,60}(?:est|most|least|maximum|minimum)\b[a-z ]{0,60}),? (?:with|at|of)\b(?: an? (?:\w+ )?\w+ of)?(?=[^a-z]*\d)"
)
# "The highest grade is Obi's, 94.", "The smallest bar is the one for "walnut", with a value of 4."
HELD_BY = re.compile(
    r"^(?!.*\b(?:twice|half|double|triple|times|third|more|less|not|than|next|above|below|part)\b)"
    r"\W*([Tt]he (?:[a-z]+ ){0,2}?(?:\w{2,}est|most|maximum|minimum) (?:[a-z]+ ){0,4}?[a-z]+) (?:is|was|"
    r"belongs to) [^,;:\d]{2,40}?"
    r"(?:,? (?:with|at|of)(?: an? (?:\w+ )?\w+ of)?|,) (?=[$€£]?\d[\d.,]*\s?[%°]?(?: [a-z]+)?\W*$)"
)
_RELATIVE = re.compile(r"\b(?:which|who|whose|that|where|while|but|and)\b", re.IGNORECASE)


def may_add(text: str, question: str, answer: Sequence[str], foreign: Set[str]) -> bool:
    """Whether what a sentence names beside the question and the answer (`foreign`) only adds to it; not for yes and no."""
    asked, text = asked_of(question), EMPTY.sub(" ", text)
    if any(name.isalpha() and not name.islower() for name in foreign):
        # "∠ACB + ∠ABC = 35°"
        return False
    text = _ADVERB.sub("", _doing(text, asked, answer))
    own = {name for part in answer for name in (*named(part), *named(part.lower()))}
    counted = any(name[0] in DIGITS for name in own)
    text = _without_others(text, asked) if counted else _BESIDES.sub("", text)
    unsaid = {name for name in foreign if name[0] == "~"} - {*named(text)}
    foreign = foreign & {*named(text)} - {"~person"}
    if unsaid:
        # "∠3" where ∠2 is asked for, "more pears than apples" where more apples are.
        return False
    if not foreign and not _narrowed(text, question, foreign, counted):
        return True
    if not own or not _IT.match(text) and (asked.main | asked.rest) - asked.noun - own - {*named(text)} - of_units(text):
        return False
    words = list(_WORD.finditer(text))
    at = [i for i, word in enumerate(words) if own & {*named(word.group()), *named(word.group().lower())}]
    if not at or sum(bool(named(word.group())) for word in words[at[0] : at[-1]]) >= len(at):
        return False
    first, last = words[at[0]], words[at[-1]]
    front = text[: first.start()]
    begun = next((name for name in named(front) if name in asked.known | foreign), None)
    if any({*named(whose)} & foreign for whose in _POSSESSED.findall(front)):
        # "Ann's sister is 9" of Ann's age
        return False
    if begun in foreign and not PRONOUN.search(question) or _RELATIVE.search(front):
        return False
    behind = False
    for word in words[at[-1] + 1 :]:
        # "three slices of pizza": what is counted stands behind its number.
        names = {*named(word.group())}
        if names & asked.known:
            last = word
        elif names:
            break
        elif _SMALL_WORD.fullmatch(word.group()):
            behind = True
        elif not behind:
            last = word
    tail, doing = text[last.end() :], first.group().endswith("ing")
    place = doing or _PLACE.match(tail)
    if {*named(tail)} & foreign and not place or _elsewhere(tail, question):
        return False
    if _narrowed(text if counted or not place else text[: last.end()], question, foreign, counted):
        return False
    adjective = None if doing else _ADJECTIVE.search(front)
    front = front[: adjective.start(1)] if adjective and {*named(adjective[1])} & foreign else front
    # What else is done or stands between the two may be of something else, but for "the car in front of the house is".
    return not named(front) or (_IS if {*named(front)} & foreign else _LINK).search(front) is not None


# What a unit tells of what is measured.
_OF_UNITS = (
    (re.compile(r"\d\s?(?:km/h|m/s|kmh|mph|km per hour)"), "~speed"),
    (re.compile(r"\d\s?(?:c|m|k)?m\^?2\b|\bsquare (?:c|cent|met|inch|f|km|m\b)"), "area"),
    (re.compile(r"\d\s?(?:c|m)?m\^?3\b|\bcubic (?:c|met|inch|f)"), "volum"),
    (re.compile(r"\d\s?(?:kg|grams?|kilograms?|tons?|pounds?|lbs)\b"), "~mass"),
    (re.compile(r"\d\s?(?:V|volts?)\b"), "voltag"),
    (re.compile(r"\d\s?(?:A|amperes?|amps?)\b"), "curren"),
    (re.compile(r"\d\s?(?:Ω|ohms?)(?!\w)"), "resist"),
    (re.compile(r"[$€£]\s?\d|\d\s?(?:dollars|euros|cents)\b"), "~price"),
)


def of_units(text: str) -> set[str]:
    """The quantities that the units in a text are of."""
    return {name for pattern, name in _OF_UNITS if pattern.search(text)}


_POSSESSED = re.compile(r"\w's (\w+)")
_SMALL_WORD = re.compile(r"in|on|at|near|beside|with|from|by|to|through|over|around|an?|the|and|of|for", re.IGNORECASE)
# What is done where it is asked what is: "6 chairs surround the table", "Oslo is situated".
_ADVERB = re.compile(
    r"\b(?!only\b|near|hard|bare|rare|part|scarce|seldom|early|daily|weekly|monthly|yearly|family|most)[a-z]{3,}ly ",
    re.IGNORECASE,
)
_DONE = re.compile(
    r"\b([\w'-]+) ((?!(?:lost|los|ga?ve|given|s[oe]ld?|buy|bought|ate|eat|receiv|took|take|add|remov|br[eo]k|spen|pay|paid|"
    r"thr[eo]w|us|won|win|drop|miss|lack|borrow|lend|lent|return|leav|left|join|want|need|expect|plan|hop|tri|exclud|differ|"
    r"follow|preced|exce|avoid|increas|decreas|f[ae]ll|ris|rose|gr[eo]w|than|then|before|after|above|below|under|until|with|"
    r"outside|inside|between|other|as)[a-z]*\b)(?:[a-z]{2,}(?:s|ed)|(?<=s )[a-z]{4,})) (?=(?:the|an?|at|by|of|on|in|to|from|"
    r"with|around|over|under|into|through|as|for|up|about|far\w*|more|most|less|its|their|his|her|[$€£]?[0-9]|[a-z]+ly)\b)",
    re.IGNORECASE,
)
_LINKED = {"is", "are", "was", "were", "be", "been", "it", "they", "which", "that", "who", "we", "you", "can", "to"}


def _doing(text: str, asked: Wanted, answer: Sequence[str]) -> str:
    """A text without a verb that nobody asked for, of which the answer is the subject."""
    own = {name for part in answer for name in named(part)}

    def drop(match: re.Match[str]) -> str:
        subject = match[1].lower() in _LINKED or {*named(match[1])} & (asked.known | own)
        said = own & {*named(text[: match.start(2)])}
        return f"{match[1]} " if said and subject and not {*named(match[2])} & (asked.known | own) else match.group()

    return _DONE.sub(drop, text)


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
    sides = set() if counted else {*named("left"), *named("the left")}
    return any(name[0] == "~" or name.isdigit() for name in foreign & {*named(text)} - sides)


# ", running at 70 km/h", ", 3422 °C"
_BESIDES = re.compile(r", (?:\w+ing\b|\W?[0-9])[^,]*$")
_AT = re.compile(r"\b(in|on|at|around|near|under|behind|beside) (?:the|an?) (\w+)", re.IGNORECASE)
_COUNTED = re.compile(rf"\b(?:[0-9]+|{SOME}) ([a-z]+)\b", re.IGNORECASE)
_AND_OTHERS = re.compile(rf"(?:,| and|, and|,? as well as| plus) (?:[0-9]+|{SOME}|an?|some|no) ([a-z]+)\b", re.IGNORECASE)
_WORD = re.compile(r"[$€£]?[0-9][0-9.,]*[0-9]|[^\W_]+(?:['-][^\W_]+)*")
