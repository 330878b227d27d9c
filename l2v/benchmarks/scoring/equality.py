"""Whether a claimed text states the gold answer, for every kind of question but multiple choice."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from l2v.benchmarks.base import FLOAT, INTEGER, LIST, TEXT, Question
from l2v.benchmarks.scoring.cleaning import DOMAIN, plain, squeeze
from l2v.benchmarks.scoring.clock import same_time
from l2v.benchmarks.scoring.forms import BOXED, SENTENCES
from l2v.benchmarks.scoring.mathematics import LONGEST_EXPRESSION, is_mathematics, prose_words, to_latex
from l2v.benchmarks.scoring.members import SYMBOL, elements, same_element, same_members, same_name, split, without_label
from l2v.benchmarks.scoring.numeric import committed_value
from l2v.benchmarks.scoring.option_texts import spaced_words
from l2v.benchmarks.scoring.sameness import same_number
from l2v.benchmarks.scoring.topics import focus
from l2v.benchmarks.scoring.values import SCALES, UNITS, Value, known_unit, read_value, to_base


@dataclass(frozen=True)
class Comparison:
    """The outcome of the quick rules. equal: None when they cannot tell; by: the rule; read: what was compared.

    symbolic: (gold, response) as LaTeX where only symbolic algebra can tell.
    """

    equal: bool | None
    by: str
    read: str
    symbolic: tuple[str, str] | None = None


@lru_cache(maxsize=8192)
def gold_value(gold: str, unit: str | None) -> Value | None:
    """The gold as a number, with the question's unit where it names none itself."""
    value = None if _BY.fullmatch(plain(gold)) else read_value(without_label(plain(gold))[1])
    if value is None or unit is None or value.unit or value.percent:
        return value
    name = known_unit(unit.split()) or UNITS.get(unit.replace(" ", ""))
    return replace(value, unit=name or "", percent="%" in unit or "percent" in unit.lower())


# "2 × 3": the size of something, in this order.
_BY = re.compile(r"\d+ ?(?:×|by|x) ?\d+")
_PERCENT, _SCALED = re.compile(r"percent|per cent|%"), re.compile(r"thousand|million|billion|trillion")


def compare(question: Question, text: str, how: str) -> Comparison | None:
    """The claimed text against the gold; None when the text states no answer of the question's kind.

    how: the kind of claim (claims.py); in a sentence the answer stands at the end.
    """
    if _REFERS.search(text) and not _REFERS.search(question.gold):
        return None
    tail = how in SENTENCES
    text = text if how == BOXED or tail else _SINCE.split(text, maxsplit=1)[0]
    gold = gold_value(question.gold, question.unit)
    if question.kind == LIST:
        found = [_compare_lists(question.gold, part) for part in (text, *_last_parts(plain(text)))]
        return next((c for c in found if c is not None and c.equal), found[-1] if tail else found[0])
    if gold is not None:
        number = _compare_numbers(question, gold, text, how)
        if number is not None or question.kind in (INTEGER, FLOAT) or tail:
            return number
    elif tail:
        return _compare_tail(question, text)
    return _compare_texts(question.gold, text)


# "$5$ plus the area", "twice $1+\\sqrt{3}$": what it comes to is not said.
_REFERS = re.compile(
    r"[\d)}$°%]\s(?:plus|minus|multiplied by|divided by|increased by|decreased by|added to|subtracted from)\s+(?![\d$\\(])|"
    r"^\W*(?:(?:twice|double|triple|thrice|(?:two|three|four|five) times|the (?:square|cube|reciprocal|negative|opposite|"
    r"double) of) (?=\S)|(?:half(?: of)?|an? (?:third|quarter|fifth) of|at (?:most|least)|(?:more|less) than) (?=[\d$\\(\[-]))",
    re.IGNORECASE,
)


def _compare_numbers(question: Question, gold: Value, text: str, how: str) -> Comparison | None:
    label, side = without_label(plain(text))
    value = read_value(side) if how not in SENTENCES and len(text) <= LONGEST_EXPRESSION else None
    value = value or committed_value(text, how, question.text)
    if value is None and (
        ratio := next(filter(None, (_RATIO.match(part.strip(" .")) for part in (side, *_last_parts(side)))), None)
    ):
        value = Value(float(ratio.group(1)) / float(ratio.group(2)))
    if value is None:
        return None
    if value.unit and not gold.unit:
        gold = replace(gold, unit=_asked_unit(question.text, value))
    same = partial(
        same_number, gold=gold, exact=question.kind == INTEGER, decimals=question.decimals, tolerance=question.tolerance
    )
    asked = question.text.lower()
    if value.scale != 1 and (scale := _IN_SCALE.search(asked)):
        # "$1.2 billion" where it is asked in millions
        value = replace(value, number=value.number * value.scale / SCALES[scale[1]], decimals=None, scale=1.0)
    equal: bool | None = same(value, asks_percent=bool(_PERCENT.search(asked)), asks_scale=bool(_SCALED.search(asked)))
    if not equal and (value.percent or value.scale != 1) and same(replace(value, percent=False, scale=1.0)):
        # "5%" or "5 million" for 5 where nothing says per cent or millions: right in a chart of them, wrong in a count.
        equal = True if value.percent and _COMPARED.search(asked) and not _COUNTED.search(asked) else None
    if equal and (a := to_base(value)) and (b := to_base(gold)) and a[0] != b[0]:
        # "24 cm^2" for 24 cm: the number of something else.
        equal = None
    if equal is False and value.percent and how in SENTENCES and _COUNTED.search(asked) and not _PERCENT.search(asked):
        # "5 of the 20 apples, that is 25%"
        equal = None
    if value.number > 0 and _SLOPE.search(asked) and _FALLS.search(text):
        # "It falls by 2 for each unit."
        equal = None
    if equal and _opposed(text, question.text):
        # "4 fewer" where it is asked how many more.
        equal = None
    if equal and _CENTS.search(text) and _DOLLARS.search(f"{question.gold} {question.unit} {question.text}"):
        equal = None
    if equal and value.unit and not gold.unit and _asks_other_unit(question.text, value):
        # "7.5 cm^2" where a length is asked for in cm.
        equal = None
    if equal is False and _PERCENT.search(asked) and not value.percent and same(replace(value, number=value.number * 100)):
        # 0.4 may be 40 %, or .4 %.
        equal = None
    if equal and question.kind == TEXT and not gold.unit and _FACTOR.search(text):
        # "24h", "9π h": a height, or hours.
        equal = None
    if equal and _other_symbol(without_label(plain(question.gold))[0], label.rpartition(" ")[2].strip("*")):
        equal = None
    return Comparison(equal, "number", _shown(value))


_CENTS, _DOLLARS = re.compile(r"\bcents?\b|¢"), re.compile(r"\$\s?\d|\\textdollar|\bdollars?\b")
_COMPARED, _COUNTED = (
    re.compile(r"\b(?:difference|gap|bars?|chart|graph|plot|highest|lowest|growth|rates?|shares?)\b"),
    re.compile(r"how many|number of"),
)
_FACTOR = re.compile(r"(?:\d|(?:\}|\)|\\pi|π)\s?)[a-zA-Z]\W*$")
_SLOPE = re.compile(r"\b(?:slope|gradient|rate of change)\b")
_FALLS = re.compile(r"\b(?:f[ae]lls?|drops?|decreas\w+|descends?|sinks?|goes down|declin\w+)\b", re.IGNORECASE)
_IN_SCALE = re.compile(r"(?:\bin (?:us )?(?:\$ ?)?|\()(thousand|million|billion)s?\b")
_OPPOSITES = [
    [re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for words in pair]
    for pair in (
        ("more", "fewer|less"), ("longer|taller", "shorter"), ("older", "younger"), ("faster", "slower"),
        ("higher|greater|larger|bigger", "lower|smaller|less"), ("later", "earlier"), ("heavier", "lighter")
    )
]  # fmt: skip


def _opposed(text: str, question: str) -> bool:
    """Whether a number is called the opposite of what a question asks how much there is of; "… than …" may turn it round."""
    if "than" in text:
        return False
    sides = [(one, other) for pair in _OPPOSITES for one, other in (pair, pair[::-1])]
    return any(o.search(text) and a.search(question) and not (a.search(text) or o.search(question)) for a, o in sides)


_IN_UNIT = re.compile(
    r"\b(?:in|how many) ((?:square |cubic )?[a-z]{1,12}(?:/[a-z]{1,3})?(?:\^?[23])?)(?![\w/^])", re.IGNORECASE
)


def _asked_unit(question: str, value: Value) -> str:
    """The unit of a value's kind in which a question asks for it ("How long is it in meters?"), "" where it names none."""
    kind = to_base(value)
    units = {known_unit(named.split()) or "" for named in _IN_UNIT.findall(question)}
    fitting = [unit for unit in units if kind and (base := to_base(Value(1.0, 0, unit))) and base[0] == kind[0]]
    return fitting[0] if len(fitting) == 1 else ""


def _asks_other_unit(question: str, value: Value) -> bool:
    """Whether a question asks for units, and none of them is of the value's kind."""
    units = [unit for named in _IN_UNIT.findall(question) if (unit := known_unit(named.split()))]
    kinds = {base[0] for unit in units if (base := to_base(Value(1.0, 0, unit)))}
    kind = to_base(value)
    return bool(kinds) and kind is not None and kind[0] not in kinds


def _other_symbol(gold: str, label: str) -> bool:
    """Whether two sides stand for different symbols: "y = 0" may be another line than "x = 0", or only another name."""
    return bool(SYMBOL.match(gold) and (SYMBOL.match(label) or _OF_SYMBOL.match(label))) and gold != label


# "log y = 2x", "-y = 2x"
_OF_SYMBOL = re.compile(r"[-±]|(?:\\?(?:log|ln|exp|sin|cos|tan)|√)\W*[A-Za-z]")


def _shown(value: Value) -> str:
    sign = "%" if value.percent else f" {value.unit}" if value.unit else ""
    return f"{value.number * (value.scale if value.scale != 1 else 1):.10g}{sign}"


# "1:2" for a gold of 0.5; where the gold is a ratio or a time itself, texts are compared.
_RATIO = re.compile(r"^(\d{1,9}(?:\.\d{1,9})?) ?(?::|out of) ?([1-9]\d{0,8}(?:\.\d{1,9})?)$")


def _compare_texts(gold: str, text: str) -> Comparison | None:
    text = _REASON.split(text, maxsplit=1)[0]
    if not text.strip() or len(text) > 2 * LONGEST_EXPRESSION:
        return None
    gold_plain, text_plain = plain(gold), plain(text).rstrip(".")
    if squeeze(gold) == squeeze(text) or same_members(gold, text):
        return Comparison(True, "text", text_plain)
    (gold_label, gold_side), (text_label, text_side) = without_label(gold_plain), without_label(text_plain)
    equals = text_plain.count("=")
    chain = equals == 1 or equals and not re.search(r",|;|\b(?:or|and)\b", _GROUPED.sub("", text_plain))
    result = [text_plain.rpartition("=")[2]] if chain and "=" not in gold and not _UNSOLVED.match(text_plain) else []
    for side in dict.fromkeys((text_side, *_last_parts(text_plain), *_glossed(text_side), *result)):
        found = _compare_sides(gold_side, side)
        if found is not None and (found.equal or side == text_side):
            if found.equal and _other_symbol(gold_label, text_label):
                return Comparison(None, found.by, text_plain)
            if found.equal or found.by == "number":
                return found
    if "=" not in gold and _UNSOLVED.match(text_plain):
        return Comparison(None, "symbolic", text_plain)
    if is_mathematics(gold_plain) and not _ORDERED.fullmatch(gold_plain):
        for side in (text_plain, text_side, *_last_parts(text_plain)):
            if is_mathematics(side):
                return Comparison(None, "symbolic", text_plain, (to_latex(gold_plain), to_latex(side)))
    if (formula := _FORMULA.search(text)) and squeeze(formula[1].rpartition("=")[2]) == squeeze(gold):
        return Comparison(True, "text", formula[1])
    if _ORDERED.fullmatch(gold_plain) and sorted(gold_plain) == sorted(text_plain):
        # The segment CB is BC, the numeral IX is not XI.
        return Comparison(None, "text", text_plain)
    prose = prose_words(gold_plain) >= 3 or is_mathematics(gold_plain) and prose_words(text_plain) >= 3 and "(" in text_plain
    return Comparison(None if prose else False, "text", text_plain)


# "IX" is no product, nor is "2 × 3" as the size of something.
_ORDERED = re.compile(rf"[A-Z]{{2,}}|{_BY.pattern}")
# "x^2 = 9" and "2x = 6" are not solved.
_UNSOLVED = re.compile(
    r"^(?=[^=]*(?:\d\s?[a-z](?![a-z])|(?<![a-z])[a-z]°?\s?[+*/^-]|[+*/-]\s?[a-z](?![a-z])))[^=]+=[^=a-zπ√]+$"
)


def _glossed(text: str) -> list[str]:
    """A text without its gloss ("Hydrogen (H2)", "Tokyo 東京")."""
    gloss, latin = _GLOSS.match(text), _FOREIGN.sub("", text).strip()
    product = gloss and all(map(is_mathematics, gloss.groups()))
    return [
        *(gloss.groups() if gloss and not product else ()),
        *([latin] if latin and latin != text and latin.isascii() else []),
    ]


_GROUPED = re.compile(r"[(\[{][^()\[\]{}]*[)\]}]")
_GLOSS, _FOREIGN = re.compile(r"([^()=]{2,60})\s\(([^()=+*/^]{2,60})\)$"), re.compile("[\u3040-\ud7af]+")


def _last_parts(text: str) -> list[str]:
    """What stands after the last "is", "are" or colon: the answer proper of "The function is even"."""
    parts = re.split(
        r"\s(?:(?:is|are) (?:(?:located )?at|equal to|given by)|is|are|was|were|be|equals|say|get|obtain|have|find|belongs to|"
        r"gives|yields|becomes|says|reads|shows|displays|i\.e\.,?|namely|(?:occurs|occurred|happens|happened|lies|"
        r"peaked) (?:in|on|at)|colou?red|named|called|(?:simplifies|reduces|evaluates|comes|amounts|factors) (?:down )?(?:to|"
        r"as))\s|\b(?:it|that)'s\s|,\sor\s(?:in \w+ (?:notation|form),? )?|(?<![\d)}])(?<![\d)}]\s):\s|→|⇒|⟹|⇔|⟺|"
        r"\\(?:iff|implies|Rightarrow|Leftrightarrow)(?![a-z])|∈|\\in(?![a-z])",
        text,
    )
    # "the red one", "the point (2, 3)"
    return [_NAMING.sub(r"\1", part) for part in parts[-1:]] if len(parts) > 1 else []


_NAMING = re.compile(r"^(the \w+) one$|^\W*(?:the )?(?:point|coordinates?)\W{1,4}(?=\()")


def _compare_sides(gold: str, text: str) -> Comparison | None:
    # "M(1, 3)": a point and its name.
    text = _POINT.sub("", text) if gold[:1] == "(" else text
    if squeeze(gold) and squeeze(gold) == squeeze(text) or same_name(gold, text) or same_time(gold, text):
        return Comparison(True, "text", text)
    a, b = read_value(gold), read_value(text)
    if a is not None and b is not None:
        return Comparison(same_number(b, a), "number", _shown(b))
    return _compare_elements(gold, text)


_POINT = re.compile(r"^\s*[A-Z]'?\s?(?=\()")
_SINCE = re.compile(r"[,;]?\s+(?:because|since)\b", re.IGNORECASE)
# Where a claim ends and its reason begins ("x+1, since the lines are parallel").
_REASON = re.compile(
    r"[,;]?\s+(?:because|since|as (?:the|we|it|shown|you|can)|which(?! (?:simplifies|reduces) to)|so that)\b|\s\((?:see|as|"
    r"because|from)\b|,\s(?:written|created|published|directed|located) |\sin \w+ (?:notation|form)(?=\W*$)|"
    r"\s[-–—]\s(?=because|since|as)|,?\s(?:of course|no doubt|and nothing else|i (?:think|believe|guess))\b|\s[✓✔✅]|(?:です|"
    r"입니다|이다)?[。.]*$",
    re.IGNORECASE,
)


def _compare_elements(gold: str, text: str) -> Comparison | None:
    a, b = elements(gold), elements(text)
    if a is None or b is None or a[0] != b[0] or len(a[1]) != len(b[1]):
        return None
    pairs = zip(a[1], b[1], strict=True) if a[0] != "{}" else zip(sorted(a[1]), sorted(b[1]), strict=True)
    equal = all(same_element(x, y) for x, y in pairs)
    return Comparison(True, "list", text) if equal else None


def _compare_lists(gold: str, text: str) -> Comparison | None:
    """Element by element and in order, whatever the brackets."""
    a, b = (split(plain(t).rstrip(".")) for t in (gold, text))
    if len(b) < 2 and len(a) > 1:
        return None
    return Comparison(len(a) == len(b) and all(map(same_element, a, b)), "list", ", ".join(b))


def _compare_tail(question: Question, text: str) -> Comparison | None:
    """A concluding sentence against a gold that is no number: only agreement can be read with certainty."""
    gold = question.gold
    if squeeze(text) == squeeze(gold):
        return Comparison(True, "text", text)
    said = DOMAIN.sub(r"\1", _REASON.split(text[-300:], maxsplit=1)[0])
    bold = _BOLD.findall(said)
    formula = _FORMULA.search(said)
    parts = (said, *_last_parts(plain(said).rstrip(".")), *(bold if len(bold) == 1 else ()), *([formula[1]] if formula else ()))
    for part in parts:
        side = part if "=" in gold else part.rsplit("=", 1)[-1]
        same = squeeze(gold) in (squeeze(part), squeeze(side)) or without_label(part)[1] == without_label(plain(gold))[1]
        if same or same_members(gold, part) or same_time(gold, part):
            return Comparison(True, "text", part)
    if not re.search(r"[\d\\]", gold) and prose_words(gold) > 1 and spaced_words(gold) in spaced_words(said):
        return Comparison(True, "text", gold)
    # "Tokyo has the highest population", where just that is asked for.
    subject = _SUBJECT.match(said)
    told = subject and squeeze(subject.group(1)) == squeeze(gold) and focus(subject.group(2)) & focus(question.text)
    if subject and told:
        return Comparison(True, "text", subject.group(1))
    mathematics = (
        [part for part in parts[1:] if is_mathematics(part)]
        if is_mathematics(plain(gold)) and not _ORDERED.fullmatch(plain(gold))
        else []
    )
    if mathematics:
        return Comparison(None, "symbolic", mathematics[0], (to_latex(plain(gold)), to_latex(mathematics[0])))
    return None


_BOLD = re.compile(r"\*\*([^*\n]{1,60})\*\*")
# The formula with which a sentence ends.
_FORMULA = re.compile(r"(?:\$|\\\()([^$]{1,120}?)(?:\$|\\\))\W*$")
_SUBJECT = re.compile(r"^(.{1,60}?)\s(?:has|had|have|is|are|was|were|shows?|showed)\s(.+)$")
