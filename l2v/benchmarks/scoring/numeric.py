"""The value that a sentence commits to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from l2v.benchmarks.scoring.cleaning import plain, squeeze
from l2v.benchmarks.scoring.forms import BARE, BOXED, LAST_SENTENCE, SENTENCES, STATEMENT
from l2v.benchmarks.scoring.sameness import near
from l2v.benchmarks.scoring.topics import focus
from l2v.benchmarks.scoring.values import COUNT, PAIR, Value, known_unit, read_value

_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_EQUALS = re.compile(r"[=≈](?!=)")
_VERBS = re.compile(
    r"\b(?:is|are|was|were|be|equals?|has|have|had|gets?|gives|makes?|takes?|costs?|needs?|earns?|earned|spent|contains?|"
    r"shows?|(?:simplifies|reduces|evaluates|works out|boils down|narrows down) to|reads?|holds?|remains?|becomes?|measures?|"
    r"(?:comes?|came|amounts?|sums?|adds?(?: up)?) to|(?<!in )(?<!a )(?<!the )totals?|count|see|find|obtain)\b|\b(?:exceeds?|"
    r"differs?)\b.*?\bby\b|(?<=it)'s\b|(?<=that)'s\b"
)
_CLAUSE = re.compile(
    r"[,;](?![\d-])|(?<!\d)(?<!\d\s):\s|:\s(?=\d+ [a-z])|(?<![\d})])(?<![\d})]\s)\((?!\d)|\((?=[A-Za-z]{3}|(?:19|20)\d\d |"
    r"\d+ [a-z])|"
    r"\s(?:when|if|where|since|because|given|after|before|which|so that|so|for|at|as|than|while|with|during|between|and|on|in|"
    r"from|left|per|older|younger|more|less|among)\s"
)
_NUMBER = r"\W{0,3}\d[\d.,]*"
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
# "more than 42", "half of 42", "Figure 42" and "42 to the power of 2" do not state 42.
BOUND = re.compile(
    r"(?:\b(?:(?:more|less|greater|fewer|larger|smaller|higher|lower|bigger|longer|shorter) than|at (?:least|most)|"
    r"(?<!go )(?<!goes )(?<!rises )(?<!extends )(?<!add )(?<!adds )(?<!sum )(?<!sums )(?<!added )up to|between|before|after|"
    r"until|earlier than|later than|over|under|above|below|beyond|exceeds|not|never|except|nearly|almost|no (?:more|less|fewer|"
    r"longer)(?: than)?|anything but|double|twice|triple|(?:supplementary|complementary|adjacent|proportional|similar|relative|"
    r"compared|added|close|next|parallel) to|(?<!the )number|half|(?:multiple|power|factor|half|twice|double|part|(?:root|"
    r"third|quarter|fourth|fifth|sixth|eighth|tenth)s?) of|fig(?:ure|\.)|labell?ed|numbered|image|picture|photo|question|"
    r"problem|step|table|root|log|ln|sin|cos|tan|page|eq(?:uation|\.)|example|exercise|section|chapter|case|part|line|row|"
    r"column|grade|option)\s+(?:equal to\s+)?(?:the\s+)?|n't\s+|[<>≤≥≠±]\s*)"
    rf"{_NUMBER}(?:(?:\s?[a-z°%]{{1,4}})?\s+and\s+\d[\d.,]*)?|"
    r"\d[\d.,]*\s+(?:(?:more|less|fewer|greater|larger|smaller|higher|lower|older|younger)\s+than|(?:raised )?to the power of|"
    rf"divided by|multiplied by|times|plus|minus)\s+{_NUMBER}|"
    r"\d[\d.,]*\s+to the\s+(?:\d+(?:st|nd|rd|th)|second|third|fourth|fifth|nth)\b|"
    # "1 in 4", "3 over 4"; "3 or more", "3 at most", "3+"
    r"(?:\d[\d.,]*|\bone)\s+(?:in|over|mod)\s+(?:\d{1,3}|two|three|four|five|six|ten)(?![\w.,]*\d)\b|\d[\d.,]*\s+(?:(?:\w+\s+)"
    r"?(?:at (?:most|least)|or (?:more|less|fewer|higher|lower|greater|above|below)))\b|\d[\d.,]*\s?[<>≤≥≠±]|\d\+(?!\s?[\d(])|"
    rf"\b\d{{1,2}} (?:{_MONTHS})\b|\b(?:{_MONTHS}) \d{{1,2}}\b(?!,? \d{{4}})|"
    r"\d!(?=\s?[a-z(])|\d[\d.,]*\s+score(?=\W*$)|\d[\d.,]*\s\(or\b[^)]*\)|\d(?:st|nd|rd|th)\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=8192)
def unbound(text: str) -> str:
    """A text with an ellipsis for each number that only bounds or names something."""
    return BOUND.sub("…", text)


# A box with two quantities, or a number in words that nobody works out: "2 hours 30 minutes", "10% of 50", "1 to 4".
OPEN_BOX = re.compile(
    rf"{BOUND.pattern}|\d.*\b(?:of|and|to|squared|cubed)\b|\b(?:half|dozens?|score)\b|\d\s?[a-z'\"]+,?\s?\d|\|", re.IGNORECASE
)
_TOKEN = re.compile(
    r"(?<![\w.,^/√])(?<!√\{)(?<!ƒ\{)(?<!\}\{)(?<![a-z][+*×-])(?<![A-Z][+*×])[+-]?(?:\d{1,3}(?:,\d{3})+(?!\d)|"
    r"\d+)(?:\.\d+)?(?:\s?/\s?\d+(?![\d/]))?(?:\s?%|\s(?:dozen|thousand|"
    r"million|billion|trillion)\b)?(?![\d:^π∠]|\.\d|/|[a-zA-Z](?![a-zA-Z]))"
)
_COUNTS = (
    "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|"
    "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
)
# "one" is a number only after a verb: elsewhere it is mostly a pronoun.
_WORDS = re.compile(
    r"\b(?:zero|(?<=is )one|(?<=are )one|(?<=was )one|(?<=only )one|(?<=just )one|(?<=exactly )one|"
    rf"(?<=has )one(?! of\b)|(?<=have )one(?! of\b)|(?<='s )one(?! of\b)|{_COUNTS})\b(?! (?:another|or)\b)"
    r"(?<!\bor \w{3})(?<!\bor \w{4})(?<!\bor \w{5})",
    re.IGNORECASE,
)
# "three of the seven people"
_OF_SO_MANY = re.compile(rf"(?<=\w) (?:out )?of (?:the |these |those )(?:\d+|{_COUNTS})(?= [a-z])", re.IGNORECASE)
_LISTED = re.compile(
    rf"[,\s]*(?:and|or)?\s*(?:-?\d(?![\d.,]*\s(?:more|less|fewer|of))|-?\s?[ƒ√π]|one\b|{_COUNTS})", re.IGNORECASE
)
_CONDITION = re.compile(r"\s(?:when|if|where|at|for|since|because|given|(?<!up )(?<!left )with|after)\s")


def committed_value(text: str, how: str, asked: str = "") -> Value | None:
    """The one number that a committing stretch of text states, or None when there is none or more than one could be meant.

    how: the kind of commitment. In a sentence the value stands after the verb, behind "the answer is" at the start; the only
    number of a mere last sentence is not enough, unless it counts what is asked for. asked: the question, whose numbers
    a sentence repeats beside its answer.
    """
    tail, given = how in SENTENCES, given_numbers(asked)
    whole = read_value(text)
    if whole is not None or _FACTORIAL.search(text):
        return whole
    bold = [v for v in map(read_value, _BOLD.findall(text)) if v is not None]
    if bold and all(near(v, bold[0]) for v in bold):
        return bold[0]
    if (total := _IN_TOTAL.search(text)) and (named := read_value(total.group(1))) is not None:
        return named
    reason = _REASON.search(text) if tail else None
    text = text[: reason.start()] if reason and _DIGIT.search(text, 0, reason.start()) else text
    text = plain(text[-300:] if tail else text[:300])
    if not tail and PAIR.fullmatch(text) or _OPEN_SUM.match(text) or _NO_VALUE.search(text):
        return None
    if tail and (both := _BOTH.search(text)):
        # "The quotient is 14 and the remainder 2."
        sought = [both[i + 1] for i in (1, 3) if focus(both[i]) & focus(asked)]
        return read_value(sought[0]) if len(sought) == 1 and not focus(both[1]) & focus(both[3]) else None
    if tail and len(years := {*_YEARS.findall(text)} - {*_YEARS.findall(asked)}) == 1 and _WHICH_YEAR.search(asked):
        return read_value(years.pop()) if _YEARS.search(unbound(text)) else None
    text = IN_TWO.sub("…", _CONVERTED.sub("", text)) if tail else text
    if not tail:
        behind = _BEHIND_COLON.search(text)
        if behind and (named := read_value(behind.group(1))) is not None:
            return named
        text = _FRONTED.sub("", text)
        first = _first_clause(unbound(text))
        if first is not None and "=" not in text:
            return first
    text = _SUM.sub("", _CHECKED.sub("", _BRACKETED.sub("", _OF_SO_MANY.sub("", text))))
    text = _HUNDRED_AND.sub("hundred ", decimal_points(text).rstrip("!"))
    if _PART.search(text):
        return None
    text = _PLAIN_FRACTION.sub(r"\1/\2", _PAIRS.sub("…", unbound(text)))
    if not tail and _several(text):
        return None
    text = without_item(text, asked) if tail else text
    label = _LABELLED.match(text)
    apart = label and label.group(1).strip().lower() == "difference" and _HOW_MUCH_MORE.search(asked)
    if label and not (how in BARE or apart or focus(label.group(1)) & focus(asked)):
        label = None
    named = read_value(label.group(2)) if label else None
    if how in BARE:
        multiple = _MULTIPLE.match(text)
        # "2x = 6" is no answer, unless 2x is asked for.
        unsolved = multiple and squeeze(multiple[1]) not in squeeze(asked)
        return (None if unsolved else _after_equals(text, how == BOXED)) or named
    found = (None if _several(text) else _after_equals(text)) or named or _after_verbs(text, given)
    only = found or _only_number(text, given)
    loose = how == LAST_SENTENCE or how == STATEMENT and not _AT_AN_END.search(text)
    return found or (None if loose and not _counts(text, asked) else only)


# "3!$"; "The answer is 3!" only exclaims.
_FACTORIAL = re.compile(r"[\d)}]!\s*(?:\$|\\\)|\\\]|\})\W*$")


def without_item(text: str, asked: str) -> str:
    """A text without the numbered thing at its end, of which it speaks: "This is the number of buttons on coat 3."."""
    item = _OF_ITEM.search(text)
    which = item and re.search(rf"\b(?:which|what) (?:\w+ )?{item[1]}", asked, re.IGNORECASE)
    return text[: item.start()] if item and not which else text


# All but some numbers; a relation.
_NO_VALUE = re.compile(r"\\setminus|∖|[<>≤≥≠]\s*-?\(?[ƒ√π]")
# "Three metres and five centimetres": one length in two numbers.
IN_TWO = re.compile(
    rf"\b(?:{COUNT}) (?:met(?:re|er)s?|feet|foot|hours?|minutes?|kilo\w+|pounds?|dollars?|euros?|lit(?:re|er)s?|years?|weeks?|"
    rf"days?),? "
    rf"(?:and )?(?:{COUNT}) (?:centimet(?:re|er)s?|inch(?:es)?|minutes?|seconds?|met(?:re|er)s?|grams?|ounces?|cents?|pence|"
    r"millilit\w+|months?|days?|hours?)\b",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"\bthe (\w{3,}) (?:is|was|equals) ([$€£]?-?\d[\d.,/]*%?)(?: \w+)?,? and (?:the |its )?(\w{3,})(?: (?:is|was|equals))? "
    r"([$€£]?-?\d[\d.,/]*%?)(?: \w+)?\W*$"
)
YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_YEARS = re.compile(rf"(?<![\w.,-])(?:{YEAR.pattern})(?!\w|%|°|[.,]\d)")
_WHICH_YEAR = re.compile(r"\b(?:which|what) year\b", re.IGNORECASE)
# "4.5 kΩ (= 4500 Ω)"
_CONVERTED = re.compile(
    r"(?<=[\w%°Ω]) \((?:(?:=|≈|i\.e\.,?) ?-?\d[^()]*|or (?:about )?-?\d[\d.,]* ?[a-zA-Z%°][^()]*)\)(?=\W*$)"
)
# "12 + n, where n is …"
_OPEN_SUM = re.compile(r"\W*\d+ ?[+*×-] ?[a-z]\b(?!.*=)")
_REASON = re.compile(r",? (?:because|since)\b", re.IGNORECASE)
# Points, intervals and sets in a sentence.
_PAIRS = re.compile(
    r"[\[(][^()\[\]]{0,20}∞[^()\[\]]{0,20}[\])]|"
    r"[\[({] ?[^\s,()\[\]{}]{1,12} ?[,;](?!\d{3}\b) ?[^()\[\]{}=]{1,20}[\])}](?! ?[a-z]{3})"
)
_PLAIN_FRACTION = re.compile(r"(?<!\d)ƒ\{(\d+)\}\{(\d+)\}")
# "In 1990, the population was 540."
_FRONTED = re.compile(
    r"^\W*(?:In|At|On|For|After|By|From|During|When)\b[^,=]{1,40}, (?=[^,]*\b(?:is|are|was|were|has|have|had)\b)"
)
# "…, for a total cost of $6.50"
_IN_TOTAL = re.compile(r", (?:for|giving|making|with|which (?:gives|makes)) an? (?:\w+ )?total(?: \w+)? of ([^,]{1,30}?)\W*$")
# A reason, or a number that leads to another one behind it.
_BRACKETED = re.compile(
    r"\s\((?:since|because|as|where|given|with|using)\b[^()]*\)|\s\(\d[\d.]*(?:,? (?:and )?\d[\d.]*)+\)|"
    r"\s\([$€£]?\d[\d.,]*\s?%?\)(?=.*\d)",
    re.IGNORECASE,
)
# "d = 4 (14 + 4 = 18)"
_CHECKED = re.compile(r"(?<=\d)\s\([^()]*[-+*×/÷][^()]*=[^()]*\)(?=\W*$)")
# "9 - 2 = 7 balls are left"
_SUM = re.compile(r"^[\d\s.+*/×()-]+=\s*(?=\d[\d.,]* [a-z]+ (?:is|are|remain|were)\b)")
_HUNDRED_AND = re.compile(r"\bhundred and (?=[a-z])", re.IGNORECASE)
# What is said of a part of a number, or of all but it.
_PART = re.compile(
    r"\d (?:of (?:whom|which|them|these)|are (?:not|without))\b|\b(?:except|complement|opposite event|"
    r"(?:squared|cubed)(?= (?:is|equals)))\b"
)
_BEHIND_COLON = re.compile(r"[a-z]:\s+(\S.{0,40})$")
_OF_ITEM = re.compile(r"\b(?:on|from|for) (?!about|only|just|exactly|around|approximately)(?:the )?([a-z]{3,}) \d+(?=\W*$)")
_HOW_MUCH_MORE = re.compile(r"\bhow (?:many|much) (?:more|less|fewer|\w+er)\b", re.IGNORECASE)
_LABELLED = re.compile(r"^([A-Za-z ]{2,25}):\s*(\S.{0,60})$")


def _several(text: str) -> bool:
    """Whether a text gives several symbols, or one symbol several values ("x = 10 or x = 12")."""
    sides = [part.rsplit("=", 1) for part in re.split(r"[,;]\s|\b(?:or|and)\b", text) if "=" in part]
    return len({side.strip(" .$") for _, side in sides}) > 1


def decimal_points(text: str) -> str:
    """The text with decimal commas ("42,5 cm") as points; commas of lists and pairs stay."""
    return _DECIMAL_COMMA.sub(r"\1.\2", text)


_DECIMAL_COMMA = re.compile(r"(?<![\d.,(\[{=])(\d+),(\d{1,2})(?![\d,)\]}])(?=\s*(?:$|[a-zA-Z°%.]))")


@lru_cache(maxsize=8192)
def given_numbers(asked: str) -> frozenset[float]:
    """The numbers that a question states."""
    return numbers_in(asked)


def _counts(text: str, asked: str) -> bool:
    """Whether what follows a number is what the question asks for, or a unit ("gets $26 in change", "3 helmets")."""
    behind = _COUNTED.search(text)
    return behind is not None and bool(
        focus(behind.group(1)) & focus(asked) or known_unit(behind.group(1).split()[:1]) or behind.group(1)[:1] in ("%", "°")
    )


_COUNTED = re.compile(
    rf"(?:\d|\b(?:{_COUNTS}|(?:[Oo]nly|[Jj]ust|[Ee]xactly) one))(?![-\w])\s?([%°]|[a-zA-Z]\S*(?:\s[a-zA-Z]+){{0,2}})"
)


def numbers_in(text: str) -> frozenset[float]:
    """The numbers that a text mentions in digits."""
    return frozenset(v.number for v in map(read_value, _TOKEN.findall(text[:3000])) if v is not None)


def _after_equals(text: str, solved: bool = False) -> Value | None:
    """The number after the last equals sign, where that ends the statement rather than a condition ("9 when x = 3").

    solved: whether "a+b = 5" is the answer all the same, as in a box.
    """
    equals = list(_EQUALS.finditer(text))
    if not equals:
        return None
    verbs = [v for v in _VERBS.finditer(text) if v.start() < equals[-1].start()]
    between = text[verbs[-1].end() if verbs else 0 : equals[-1].start()]
    if len(equals) == 1 and (_POWER.search(between) if solved else _UNSOLVED.search(between)):
        return None
    if not solved and _SQUARE_OF.search(text[: equals[0].start()]):
        return None
    if _VERBS.search(text, equals[-1].end()) or _CONDITION.search(between):
        return None
    return _first_clause(text[equals[-1].end() :])


# "2x = 6" and "x + 5 = 9" are not solved.
_POWER = re.compile(r"[a-z)]\s?\^.*[a-z]")
_SQUARE_OF = re.compile(r"(?:^|[^\w+*/·×-]\s?)[A-Z]{2}\s?\^\{?[23]\}?\W*$")
_UNSOLVED = re.compile(r"\d\s?[xyz](?![a-z])|(?<![a-z])[xyz](?:°?\s?[\^+*/-])|[+*/-]\s?[xyz](?![a-z])")


def _after_verbs(text: str, given: frozenset[float]) -> Value | None:
    """The number after a verb. Several verbs with several numbers, or another new number before the verb, leave it open."""
    readings = [(v.start(), _first_clause(text[v.end() :])) for v in _VERBS.finditer(text)]
    found = [(at, value) for at, value in readings if value is not None]
    new = [(at, value) for at, value in found if value.number not in given] or found
    if not new or not all(near(value, new[0][1]) for _, value in new):
        return None
    at, value = new[0]
    # Of the clause alone, and without its year: "Born in 1911 and 1919, they are 8 years apart", "In 2020 there were …".
    before = numbers_in(_YEAR.sub("", text[:at].rsplit(", ", 1)[-1])) - given - {value.number}
    return None if before and "=" not in text else value


_YEAR = re.compile(r"\b[Ii]n (?:19|20)\d\d\b")


def _first_clause(rest: str) -> Value | None:
    """The value of what follows, up to the next clause; None when a second number follows in a list ("3 and 4")."""
    cut = _CLAUSE.search(rest)
    if cut is None:
        return read_value(rest)
    if cut.group().strip() in (",", ";", "and", "or") and _LISTED.match(rest[cut.end() :]):
        first, again = read_value(rest[: cut.start()]), read_value(re.sub(r"^\W*(?:or|and|i\.e\.)\s", "", rest[cut.end() :]))
        return first if first and again and near(first, again) else None
    return read_value(rest[: cut.start()])


# Where a sentence states its only number without a verb before it: "10 people did not vote", "It was lowest in 1970".
_AT_AN_END = re.compile(
    rf"(?:^|, )\W*(?:(?:so|thus|hence|therefore),? )?(?:(?:only|just|exactly) )?(?:\d|(?:{_COUNTS})\b)|"
    r"\bthere (?:is|are|was|were) (?!.*\band (?:one|an?)\b)|\d\W*(?:[^\W\d_]+\W*){0,2}$",
    re.IGNORECASE,
)


def _only_number(text: str, given: frozenset[float]) -> Value | None:
    """The number of a sentence that adds only one to the question's; number words count where there are no digits."""
    if _OPERAND.search(text) or _SYMBOLIC.search(text):
        return None
    found = [read_value(t) for t in _TOKEN.findall(text)]
    if not any(c.isdigit() for c in text):
        found = [read_value(t) for t in _WORDS.findall(text)]
    elif _DIGIT.search(_TOKEN.sub("", text)):
        return None
    values = [v for v in found if v is not None]
    new = [v for v in values if v.number not in given]
    return new[0] if new and len(values) == len(found) and all(near(v, new[0]) for v in new) else None


_MULTIPLE = re.compile(r"\W*([^=]*\d\s?[a-z](?![a-z])[^=]*)=[^=]*$")
# "x = 180 - y" states no number.
_OPERAND = re.compile(r"\d[°)]?\s[-+*/×÷·]\s(?:∠|[A-Za-zπθ](?![a-z])(?! [a-z]))|(?<![A-Za-z])[A-Za-zπθ]\s[-+*/×÷·]\s\d")
# "2(a+b)", "b^{2}-a^{2}", "4 π R", "P_{1}": an expression with symbols is none of its numbers. Letters that are no units.
_SYMBOLIC = re.compile(
    r"[√ƒ]|[\^_]\s?\{?\s?-?\d|\d\s?π?\s?(?:[b-fi-ko-rt-zα-ωBDEGHIMOPQRSUXYZ]|a(?! [a-z]{2}))(?!\w|['’]|\.\w)|"
    r"\d\s?π\s?[a-zA-Z](?![a-z])|\d\s?\(\s?-?[a-zA-Zα-ω](?![a-z])|\d\s?[-+]\s?[a-zα-ω](?![a-z])|\d!|\d[abcnxyz]{2,3}(?!\w)|"
    r"(?<![A-Za-z])[a-zα-ω]\)?\s?[-+]\s?\d|(?<![A-Za-z])[A-Za-z]\(\s?-?\s?\d+\s?\)|"
    r"^[^=]*\\(?:sin|cos|tan|cot|sec|csc|log|ln)(?![a-z])[^=]*$"
)
_DIGIT = re.compile(r"\d")


def alike(forms: Sequence[str], how: str) -> bool:
    """Whether what may be forms of one value are about as large: not of "it turns 6° a minute, i.e. 25 × 6 = 150 degrees"."""
    values = [v for form in forms if (v := committed_value(form, how)) is not None]
    sizes = [{v.number, v.number * v.scale, v.number / 100 if v.percent else v.number} for v in values]
    return all(any(abs(a - b) <= 0.05 * max(abs(a), abs(b)) for a in sizes[0] for b in other) for other in sizes[1:])
