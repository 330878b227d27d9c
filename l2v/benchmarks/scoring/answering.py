"""Whether a sentence without an answer marker answers what is asked.

It does where it is the question turned into a statement: every word of it is accounted for (by the question, by the answer
itself, or as one that names nothing), and what the question asks for is not left out. A sentence about something else fails the
one (a word or number that nobody asked for), one about a part or a step the other. Both are doubt, and doubt abstains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from l2v.benchmarks.scoring.additions import core, may_add, of_units
from l2v.benchmarks.scoring.asking import COUNTS, SOME, Wanted, asked_of, named, stem, units_in
from l2v.benchmarks.scoring.chains import PAIRED, equated, still_squared
from l2v.benchmarks.scoring.cleaning import plain
from l2v.benchmarks.scoring.numeric import BOUND, YEAR, without_item
from l2v.benchmarks.scoring.wording import (
    DEFINITE,
    LABEL,
    OF_SO_MANY,
    Sentence,
    implied,
    lacks_change,
    of_all,
    read_sentence,
    unknown,
)

# "31 matchsticks": an answer and no sentence.
COUNT = re.compile(
    rf"[\s≈=$€£*]*(?:[0-9][0-9.,]*|{'|'.join(COUNTS)})\s?%?(?:\s(?!(?:out|or|to|of|per|is|are|was|were|have|has|"
    rf"had)\b)[a-z]+){{0,2}}\W*",
    re.IGNORECASE,
)
_STANDS_FOR = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore|consequently|and|yes|no|then|finally),? )*(?:(?:it|this|that|he|she|they|we|i|its|their|"
    r"here|the (?:graph|curve|line) (?:reaches|peaks|hits)|the one|(?:gives|makes|yields|leaves)(?: us)?)\b|\W*[=≈→])",
    re.IGNORECASE,
)
_TITLE = re.compile(r"\W*[^\W\d][^:]{1,40}:\s*\S[^:]{0,30}(?::\d\d\W*)?")


def _missing(sentence: Sentence, asked: Wanted, response: str) -> set[str]:
    """What a sentence leaves out of what is asked for."""
    said, there, text = set(sentence.said), sentence.there, sentence.text
    wanted = asked.main | asked.rest
    # "notebooks" where "3 notebooks" are asked for
    missing = {n for n, noun in asked.numbered if noun in said and n not in there} if asked.counts else set()
    symbols = {n for n in wanted if n.isalpha() and not n.islower()}
    if any(n.isalpha() and not n.islower() for n in said if n not in sentence.own or n in asked.known):
        missing |= symbols - there
    definite = DEFINITE.match(text)
    word = (definite[1] or definite[2]) if definite else ""
    if not sentence.own and symbols and symbols <= there:
        return missing
    if not sentence.own - asked.known and asked.head not in said:
        return missing | wanted - there
    if sentence.worked or _STANDS_FOR.match(text) or _TITLE.fullmatch(text) and asked.main & said:
        short = sentence.alone or ":" in text or bool(asked.main & said - sentence.own)
        return missing | {
            n for n in asked.main - there if (n[0] == "~" and n != "~person" if short else n not in named(response))
        }
    does = _DOES.search(asked.text)
    doer = does is not None and does[1].lower() == word.lower()
    if (
        word
        and not asked.counts
        and not doer
        and {*named(word), stem(word)} & (asked.noun | wanted - asked.aside | {asked.head})
    ):
        return missing | _OPERATIONS & (wanted - there)
    if sentence.labelled or symbols and symbols <= there and not asked.counts:
        return missing
    if asked.head:
        # "The mean of all bars" where that of the two lowest is asked for.
        return missing | ({asked.head} | (_OPERATIONS & asked.rest if asked.rest & said else set())) - there
    return missing | asked.main - there - (asked.noun if asked.main & there else set())


def account(
    text: str, question: str, answer: Sequence[str], response: str = "", options: Sequence[str] = ()
) -> tuple[set[str], set[str]]:
    """(what a sentence names that nobody asked for, what it leaves out of what is asked for)."""
    asked = asked_of(question)
    sentence, foreign = read_sentence(text, asked, answer, response, options)
    said = set(sentence.said)
    if asked.counts:
        # "5 apples on a wooden table": what a place is like, where things in it are counted.
        places = (asked.main | asked.rest) - asked.noun
        foreign -= {
            name
            for a, b in _A_KIND_OF.findall(text)
            if places & {*named(b)} or len(b) > 3 and not named(b)
            for name in named(a)
        }
    if foreign >= sentence.own and sentence.own:
        return foreign, set()
    if said <= sentence.fixed | (frozenset() if asked.counts else asked.noun) or COUNT.fullmatch(sentence.text):
        return set(), set()
    if not _WORD.search(sentence.text):
        # No words but mathematics: only a symbol in front of "=" may be another one's.
        others = (
            {*LABEL.findall(sentence.text), *_FUNCTION.findall(sentence.text)} - sentence.fixed - asked.known - unknown(asked)
        )
        return others, set() if sentence.own - asked.known else set(asked.main - sentence.there)
    if (asked.main | asked.rest) - sentence.there:
        # "Red" where the blue one is asked for, and both were spoken of.
        foreign |= said & asked.known - asked.near - sentence.own
    # Of a share, what is done with it need not be said.
    share = _SHARED if asked.noun & {"percen", "fracti"} and (asked.main | asked.rest) & said else frozenset()
    share |= {"fracti"} if re.search(r"ƒ|\d/\d", sentence.text) else frozenset()
    share |= of_units(text) | ({"~left"} if _LEFT.search(text) else set())
    if asked.counts and asked.units & units_in(text):
        # "Total distance = 34 km + 27 km = 61 km", where it is asked how many kilometres it is.
        share |= asked.noun
        foreign -= {f"~{dimension}" for dimension in asked.dimensions}
    if _ELLIPTIC.search(sentence.text) or asked.counts and _SO_MANY.match(sentence.text):
        # "Four are smiling", "Beef has the most": of what was named before.
        share |= {*named(response)}
    if {"~difference", "more"} & said and (pairs := [{x, y} for x, by, y in asked.pairs if by == "than"]) and pairs[0] <= said:
        # "The difference between tea and coffee": what is done with them need not be said.
        share |= asked.main - pairs[0]
    share |= implied(text, question)
    share |= {"~age"} if _YEARS.search(sentence.text) else set()
    return foreign, _missing(sentence, asked, response) - share | _half(set(named(text)), asked, sentence.own)


_A_KIND_OF = re.compile(r"\b(?:an?|the) ([a-z]+)(?= ([a-z]+))")
_ELLIPTIC = re.compile(r"\bthe (?:most|least|highest|largest|lowest|smallest|best|fewest)\W*$", re.IGNORECASE)
_SO_MANY = re.compile(
    rf"\W*(?:so |thus |only )?(?:[0-9]+|{SOME}) (?:of (?:them|these|those) )?(?:is|are|was|were|has|have|had)\b", re.IGNORECASE
)
# "He still has 3", "This leaves him with 3"
_LEFT = re.compile(r"\b(?:(?:still|now) ha(?:s|ve|d)|ends? up with|leav(?:es|ing))\b", re.IGNORECASE)
_YEARS = re.compile(r"\d years?\b")
_SHARED = frozenset({"~price", "chosen", "choos", "prefer", "lik", "us", "watch", "own", "vot", "speak", "play"})


def _half(said: set[str], asked: Wanted, own: frozenset[str]) -> set[str]:
    """What is left out of two things of which one is named ("a pen" of "a pen and a cup"), or of the steps before."""
    half = {n for a, _, b in asked.both if {a, b} & said and not {a, b} & own for n in (a, b) if n not in said}
    steps = asked.steps if asked.steps & said else ()
    return half | {n for n in steps if not any(n[:3] == name[:3] for name in said)}


_APPLIED = re.compile(r"\b[a-zA-Z] ?\(-? ?[0-9./]+\)(?=\s*[=≈])")
_FUNCTION = re.compile(r"(?<![A-Za-z])(?:sin|cos|tan|log|ln)(?![a-z])")
_WORD = re.compile(r"(?!(?:sin|cos|tan|log|limit)\b)[^\W\d_]{3,}")
_RESULTS = {"~average", "~difference", "~total"}
_OPERATIONS = _RESULTS | {"~highest", "~lowest", "~left", "~fewer", "fewer"}


def touches(text: str, question: str) -> bool:
    """Whether a text names something that an answer may not leave out."""
    return bool(asked_of(question).main & set(named(text)))


def new_number(text: str, question: str) -> str | None:
    """The one number, with what stands behind it, that a sentence brings in or, where it brings in none, states."""
    asked = asked_of(question)
    text = _COUNTED.sub(lambda m: str(COUNTS[m.group().lower()]), OF_SO_MANY.sub(r"\1", text))
    text = BOUND.sub(" ", _ORDINAL.sub(" ", plain(without_item(core(text), question))))
    if not asked.known & set(named(text)) or _OPERATION.search(text) or asked.noun & {"percen", "fracti", "probab", "ratio"}:
        return None
    found = [(float(m[1].replace(",", "")), m.group()) for m in _NUMBER.finditer(text)]
    new = [pair for pair in found if f"{pair[0]:g}" not in asked.known] or found
    return new[0][1] if new and len({number for number, _ in new}) == 1 else None


_COUNTED = re.compile(rf"\b(?!one\b)(?:{SOME})\b(?!-| (?:hundred|thousand|million|dozen)\b)", re.IGNORECASE)
_ORDINAL = re.compile(r"[0-9]+(?:st|nd|rd|th)\b")
_OPERATION = re.compile(r"[0-9]\s?[-+*/×÷·:]\s?[0-9]|[±<>≤≥≠=\\]|\bor\b")
_NUMBER = re.compile(
    r"(?<![\w.,^/√{-])-?([0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?)(?![0-9/:^A-Za-zπ]|\.[0-9])(?:\s?%|\s?°|\s[a-z]+(?:\^[23])?)?"
)


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
    if of_all(text, question):
        return False
    own = "|".join(re.escape(one.strip()) for one in answer if one.strip())
    beside = [word for word, behind in _NEXT_TO.findall(text) if own and re.match(rf"(?:{own})\b", behind, re.IGNORECASE)]
    if beside and not any(word.lower() in question.lower() for word in beside):
        # "after a triangle", "above the label C": another thing's place.
        return False
    behind = response.partition(text)[2] if text in response else response[-200:]
    if asked_of(question).counts and _OF_THEM.search(f"{text} {behind[:200]}") and not _OF_THEM.search(question):
        return False
    orders = [{*map(str.lower, _ORDINAL_WORD.findall(one))} for one in (_BEFORE_IT.sub("", text), question)]
    if all(orders) and not orders[0] & orders[1]:
        return False
    act = _ACT.search(question[-60:])
    if act and act[1] != "doing" and act[1] not in text and _ACTS.search(text):
        # "is looking for a book" where it is asked what is held
        return False
    if any({*named(behind)} & asked_of(question).noun for word, behind in _NEARBY.findall(text) if word not in question):
        return False
    if _FUTURE.search(text) and not WILL.search(question) and not any(map(_FUTURE.search, options)):
        return False
    if _OTHER.search(text) and not _OTHER.search(question):
        return False
    other = _BESIDE.search(text)
    if other and not any(word.lower() in question.lower() for word in other.groups() if word):
        return False
    text = _WITH.split(text)[-1] if "(_)" in question else text
    leads = concludes or _CONCLUDING.match(text) is not None
    if not question.strip() or asked_of(question).known <= {"1"} and (leads or response.strip() == text.strip()):
        # Nothing is known of what is asked.
        return True
    given = _IF.match(text)
    if given and text.count(" ", given.end()) > 2 and set(named(given[1])) <= asked_of(question).known:
        text = text[given.end() :]
    if lacks_change(text, question) or still_squared(text, question):
        return False
    if given := _SYMBOL_IS.match(plain(text)):
        # "x = 5" where 2x + 1 is asked for; "k = 36" of "let the angles be 2k and 3k"
        sought = _EXPRESSION.search(plain(question))
        if sought and given[1] in sought[1] or re.search(rf"\b(?:be|are) \$?\d{given[1]}\b", response):
            return False
    functions = [{*_FUNCTION.findall(plain(one))} for one in (text, question)]
    if all(functions) and not functions[0] & functions[1]:
        return False
    unsolved = _TIMES.search(text) or _RECIPROCAL.search(text) or _OPEN.search(text) and "=" not in "".join(answer)
    if _ONE_OF.search(text) and not any(re.search(r"\bor\b|,|±", PAIRED.sub("", one)) for one in answer):
        return False
    sides = equated(text) if answer[-1].count("=") < 2 else ()
    if unsolved or _DIFFERENCE.search(text) and "=" not in text or len(sides) > 1:
        return False
    if (referred := _SO_IT.fullmatch(text)) and options:
        # "Grass makes its own food, so it is the producer."
        text = f"{answer[-1]} is {referred[1]}"
    foreign, missing = account(text, question, answer, response, options)
    if _MORE.search(text) and " than " not in text:
        # "Ann got 7 more votes": than Bob, who was asked of.
        missing = missing - {y for _, by, y in asked_of(question).pairs if by == "than"}
    # A unit is no other thing, nor is "the point (2, 3)".
    foreign = (
        foreign - {word for word in foreign if len(word) > 1 and units_in(word)} - ({"point"} if "(" in answer[-1] else set())
    )
    if _NEEDED.search(question):
        foreign = foreign - {"need", "requir"}
    if _EACH.search(question):
        foreign = foreign - {"per"}
    if WILL.search(question):
        foreign = foreign - {"would", "expect"}
    if any(map(YEAR.fullmatch, foreign)) and any(map(YEAR.fullmatch, asked_of(question).known - {*named(text)})):
        # 2014 where 2012 is asked for
        return False
    if foreign and not missing and may_add(core(text), question, answer, foreign):
        return True
    doubt = (
        foreign
        and missing
        or not _CONCLUDING.match(text)
        and _RESULTS & missing
        or any(n[0] == "~" or n in _UNREAL for n in foreign)
    )
    if len(text.split()) < 4 and concludes is None:
        return not foreign | _OPERATIONS & missing
    return not doubt if leads else not (foreign or missing)


_NEXT_TO = re.compile(
    r"\b(after|before|near|beside|next to|behind|above|below|(?<!looks )like|than|against|(?:of|from|without|"
    r"\w+ed)(?= \w+ing\b)) (?:(?:an?|the) )?(?:(?:label|option|letter) )?(?=(\w.{0,60}))",
    re.IGNORECASE,
)
# "It will soon be winter", "a second ladder"
_OTHER = re.compile(
    r"\b(?:also (?:goes|passes|has|contains|shows)|soon|yesterday|tomorrow|formerly|an?other|a (?:second|third)|"
    r"used to)\b(?! than| words?\b)",
    re.IGNORECASE,
)
# ", 12 years before its second shop"
_BEFORE_IT = re.compile(r", (?:\d+|[a-z]+) (?:years?|months?|days?|hours?) (?:before|after)\b.*")
_ORDINAL_WORD = re.compile(
    r"\b(?:first|second|third|fourth|fifth|last|next)(?= (?!option|choice|answer|step)[a-z])", re.IGNORECASE
)
# "What does the arrow point to?": "The arrow is …" tells something else.
_DOES = re.compile(r"\bd(?:oes|id|o) (?:the |an? )?(\w+)", re.IGNORECASE)
# "The man next to him is …", "After the third comes …"
_BESIDE = re.compile(
    r"^\W*(?:so |thus |therefore )?the \w+ (next to|beside|behind|near|in front of|under|above|below|after|before|"
    r"following|preceding) (?!all\b)\w|"
    r"^\W*(after|before|behind|beside|near|above|below|under|next to|close to|(?:north|south|east|west) of)\b(?!.*, )",
    re.IGNORECASE,
)
# "There are 6 people, some of them with hats": how many with hats is not said.
_OF_THEM = re.compile(
    r"\b(?:some|most|(?<!how )many|few|part|half) of (?:them|whom|which|these|those)\b|\bnot all\b", re.IGNORECASE
)
# "12 dots in 3 groups, with 4 in each": what fills the blank.
_WITH = re.compile(r", (?:with|so) (?=[0-9])")
_SO_IT = re.compile(r".+, (?:(?:and )?(?:so|thus|hence|therefore) (?:it|that|this) is|making it|which makes it)\b(.+)")
_EXPRESSION = re.compile(r"\bvalue of ((?=[^?]*(?:[-+*/^√]|\d[a-z]))(?:(?![A-Za-z]{2})[^?]){2,40})\?")
_SYMBOL_IS = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore|then|we (?:get|have|find))\b,? )*([a-z]) = -?[\d./]+\W*$", re.IGNORECASE
)
# "adds 4 each time": no total, unless that is asked for.
_EACH = re.compile(r"\b(?:each|every|apiece|per|rate|common|pattern)\b", re.IGNORECASE)
_RATE = re.compile(r"[0-9](?: [a-z]+){0,2} (?:each|every|apiece|per)\b(?!.*[=;,])", re.IGNORECASE)
# "the second highest"
_RANK = re.compile(r"\b((?:second|third|fourth|fifth|2nd|3rd|[4-9]th|next)[ -])?(?:\w{3,}est|most|least)\b", re.IGNORECASE)
_ACT, _ACTS = re.compile(r"\b(\w+ing)\W*$"), re.compile(r"\b(?:is|are|was|were) (?:\w+ly )?\w+ing (?:for|at)\b")
# "Maine is north of the highlighted state."
_NEARBY = re.compile(
    r"\b((?<!est )(?:north|south|east|west|left|right) of|next to|beside|behind|above|below|near|borders) ((?:\w+ ){0,3}\w+)"
)
_FUTURE = re.compile(r"\b(?:will (?!have\b|need\b)|going to (?!be\b))", re.IGNORECASE)
# Asked what will be, an answer may say what would.
WILL = re.compile(r"\b(?:will|would|next|costs?|price|if|when|happens?|needed|required)\b", re.IGNORECASE)
_NEEDED = re.compile(r"\b(?:needed|required|necessary)\b", re.IGNORECASE)
_UNREAL = {"would", "could", "might", "if", "try"}
_CONCLUDING = re.compile(r"\W*(?:(?:and|step \d+\W+) ?)?(?:so|thus|hence|therefore|consequently)\b", re.IGNORECASE)
_IF = re.compile(r"\W*if\b([^,]*),\s", re.IGNORECASE)
_MORE = re.compile(r"\b(?:more|\w{2,}er)\b")
# "3 times the sum of …"
_TIMES = re.compile(rf"\b(?:[0-9.]+|{SOME}) times (?:the|as|that|its|more)\b(?!.*=)", re.IGNORECASE)
_DIFFERENCE = re.compile(r"[a-z] [$€£]?[0-9.]+ (?!× 10\^)[-+*×÷] [$€£]?[0-9.]+(?![0-9.]*\s?(?:\\|π|√|[a-z](?![a-z])))")
# "d + 30 = 45" is not solved.
_OPEN = re.compile(
    r"(?:(?<![A-Za-z\\])[a-z?]\s?[+-]\s?[0-9.]+\)?(?:\^2)?|(?<![0-9.])[0-9.]+\s?[a-z]|[a-z]\^2)\s?=(?=\s*-?[0-9.]+\W*$)"
)
_RECIPROCAL = re.compile(r"\b1\s?/\s?[A-Za-z](?:_\w)?\s?=")
# Of "x = 10 or x = 12" neither is claimed; "red = 3, blue = 4" gives several values.
_ONE_OF = re.compile(r"=[^=]*\bor\b[^=]*=")
