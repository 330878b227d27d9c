"""Numbers as people and models write them: words, separators, units, per cent, fractions, roots and π."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from l2v.benchmarks.scoring.arithmetic import LONGEST, NUMBER, evaluate
from l2v.benchmarks.scoring.cleaning import plain


@dataclass(frozen=True)
class Value:
    """A number that was read. decimals: places as written, None for an expression such as a fraction or a root.

    unit: as in UNITS, "" for none known. percent: written with a per cent sign or word. scale: 1e6 for "5 million".
    """

    number: float
    decimals: int | None = None
    unit: str = ""
    percent: bool = False
    scale: float = 1.0

    @property
    def integer(self) -> bool:
        """Whether it was written as a whole number."""
        return self.decimals == 0


# Factors to the base unit of a dimension; only units of one dimension are converted into each other.
_FACTORS: dict[str, tuple[str, float]] = {}
for _dimension, _units in {
    "length": {
        "mm": 1e-3,
        "cm": 1e-2,
        "dm": 0.1,
        "m": 1.0,
        "km": 1e3,
        "in": 0.0254,
        "ft": 0.3048,
        "yd": 0.9144,
        "mi": 1609.344,
    },
    "mass": {"mg": 1e-6, "g": 1e-3, "kg": 1.0, "lb": 0.45359237, "oz": 0.028349523125},
    "volume": {"ml": 1e-6, "cl": 1e-5, "l": 1e-3},
    "time": {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0},
    "angle": {"°": 1.0, "rad": 180 / math.pi},
    "speed": {"m/s": 1.0, "cm/s": 0.01, "km/s": 1e3, "km/h": 1 / 3.6, "mph": 0.44704, "ft/s": 0.3048},
    "acceleration": {"m/s^2": 1.0},
}.items():
    for _unit, _factor in _units.items():
        _FACTORS[_unit] = (_dimension, _factor)
        if _dimension == "length":
            _FACTORS[_unit + "^2"], _FACTORS[_unit + "^3"] = ("area", _factor**2), ("volume", _factor**3)

_NAMES = {
    "mm": "millimeter millimetre", "cm": "centimeter centimetre", "dm": "decimeter decimetre", "m": "meter metre 米",
    "km": "kilometer kilometre", "in": "inch inche", "ft": "foot feet", "yd": "yard", "mi": "mile", "mg": "milligram",
    "g": "gram gramme", "kg": "kilogram", "lb": "pound", "oz": "ounce", "ml": "milliliter millilitre", "l": "liter litre",
    "s": "sec second", "min": "minute", "h": "hr hour", "day": "", "°": "degree deg", "rad": "radian", "m/s": "mps ms^-1",
    "km/h": "kmh kph km/hr", "cm/s": "", "km/s": "", "mph": "mi/h", "ft/s": "fps", "m/s^2": "ms^-2"
}  # fmt: skip
UNITS = {name: unit for unit, names in _NAMES.items() for name in (unit, *names.split())}
_ONE_LETTER = set("mgslhNJWVAKCFT")
# Words that never count what a number counts.
_NO_UNITS = {
    "or", "and", "to", "than", "was", "were", "has", "have", "had", "do", "did", "but", "not", "is", "are", "if", "times",
    "plus", "minus", "over", "divided", "multiplied", "nor", "out", "either", "x", "y", "be", "at", "score"
}  # fmt: skip
_WORD_FACTORS = {"pair": 2.0, "pairs": 2.0, "hundred": 100.0, "hundreds": 100.0, "tens": 10.0, "dozen": 12.0, "dozens": 12.0}
SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_SUFFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}
_LEAD = re.compile(
    r"^(?:(?:about|approximately|approx\.?|around|roughly|exactly|only|just|nearly|almost|equal to|equals|a total of|therefore|"
    r"in|the year|thus|now|originally|initially|currently|already|simply|still|also|definitely|at|to|be|is|are|was|were|usd|"
    r"rs\.?|us)(?![A-Za-z])[\s:,]*){1,4}",
    re.IGNORECASE,
)
_LITERAL = re.compile(rf"[+-]?\s?(?:{NUMBER})(?:[eE][+-]?\d{{1,3}})?")
_RANGE_OR_DATE = re.compile(r"^\d[\d.,]* ?- ?\d[\d.,]*$|^\d+ ?[/-] ?\d+ ?[/-] ?\d+$")
_EXPRESSION = re.compile(r"^[\d\s+\-*/×·÷^().,{}\[\]√πƒ]+(?:[eE][+-]?\d{1,3}(?![\w.]))?")


@lru_cache(maxsize=2**14)
def read_value(text: str) -> Value | None:
    """The number that the whole text states ("about -130 km/h", "4\\sqrt{3} cm", "twenty-three"); None when it is none."""
    words = without_mixed_words(plain(text))[:LONGEST].strip().rstrip(".;:,?").strip()
    if PAIR.fullmatch(words):
        return None
    words = _unbracketed(_LEAD.sub("", words).strip()).lstrip("€£¥").strip()
    words = _REPEATING.sub(lambda m: f"{float(f'{m[1]}.{m[2]}' + 16 * (m[3] or m[4])):.12f}", _APOSTROPHE.sub("", words))
    words = _DECIMAL_COMMA.sub(r"\1.\2", words) if words.count(",") == 1 else words
    if not words:
        return None
    match = _EXPRESSION.match(words)
    if match is None or not any(c.isdigit() or c == "π" for c in match.group()):
        return _number_words(words)
    head, tail = match.group().strip(), words[match.end() :].strip()
    if tail.startswith("/") or _RANGE_OR_DATE.match(head) or head.endswith(("+", "-", "*", "/", "^", "×")):
        return None
    unit = _unit_of(tail, attached=bool(tail) and not match.group()[-1:].isspace())
    number = evaluate(head)
    first, _, rest = tail.lower().partition(" ")
    if number is None or first in _MEANT:
        return None if number is None or rest else Value(_MEANT[first](number))
    if first in _WORD_FACTORS:
        return _number_words(words) if rest.startswith("and ") else Value(number * _WORD_FACTORS[first], _decimals(head))
    return None if unit is None else Value(number, _decimals(head), *unit)


# A point, an interval or a set is no number.
PAIR = re.compile(r"[\[({][^()\[\]{}]*(?:[|;]|,\s|,(?!\d{3}\b))[^()\[\]{}]*[\])}](?:\W*[\[({].*)?\.?")
# "0.(3)", "0.1\\overline{6}"
_REPEATING = re.compile(r"(?<![\w.])(\d{1,9})\.(\d{0,9})(?:\((\d{1,6})\)|\\overline\{(\d{1,6})\})(?!\d)")
_APOSTROPHE = re.compile(r"(?<=\d)'(?=\d{3}(?!\d))")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,\[(])(\d+),(\d{1,2}|\d{4,}|(?<=(?<!\d)0,)\d{3})(?![\d,.)\]])")


def _unbracketed(text: str) -> str:
    """Without brackets around the whole."""
    while text.startswith("(") and text.endswith(")"):
        depth = [0]
        for c in text:
            depth.append(depth[-1] + (c == "(") - (c == ")"))
        if min(depth[1:-1]) < 1 or "," in text:
            return text
        text = text[1:-1].strip()
    return text.strip(")") if ")" in text and "(" not in text else text.strip("(") if "(" in text and ")" not in text else text


# m/s^2, kg·m^2, km/h
# "2θ"; Ω and μ are units.
_SYMBOL = re.compile("[α-λν-ω]")
_COMPOUND = re.compile(r"^[A-Za-z]{1,4}(?:\^?-?\d)?(?:\s?[/·×*]\s?[A-Za-z]{1,4}(?:\^?-?\d)?|\s[A-Za-z]{1,4}\^-\d){1,3}$")
_PART = re.compile(r"[A-Za-z]+")
# Parts of units that are none by themselves here.
_OTHER_PARTS = """J W N V A K C F T H Pa kPa Hz mol eV cal kcal kJ kN kW kWh rev rad rpm lb gal person bit"""
_PARTS_OF_UNITS = frozenset(_OTHER_PARTS.split())


def _known_part(name: str) -> bool:
    return name in UNITS or name in _PARTS_OF_UNITS or name.removesuffix("s") in UNITS


_PER = re.compile(r"^(met(?:re|er)s?|kilomet(?:re|er)s?|centimet(?:re|er)s?|feet) per (second|hour)$")


def _decimals(head: str) -> int | None:
    """Places after the point of a plain literal; None for an expression."""
    literal = head.replace(" ", "")
    if not _LITERAL.fullmatch(literal) or "e" in literal.lower():
        return None
    return len(literal.partition(".")[2])


def _unit_of(tail: str, attached: bool) -> tuple[str, bool, float] | None:
    """(unit, percent, scale) of what follows a number; None when that is no unit but part of something else."""
    tail = tail.replace("{", "").replace("}", "").strip(" .)(")
    if tail.startswith("∠"):
        return None
    if not tail:
        return "", False, 1.0
    tail = _PER.sub(lambda m: f"{UNITS.get(m.group(1).removesuffix('s'), '')}/{UNITS.get(m.group(2), '')}", tail)
    if _COMPOUND.match(tail):
        # "2m/n" is no number.
        known = all(map(_known_part, _PART.findall(tail)))
        return (UNITS.get(tail.replace(" ", ""), ""), False, 1.0) if known else None
    if attached and tail in _SUFFIXES:
        return "", False, _SUFFIXES[tail]
    if tail.startswith("%"):
        return ("", True, 1.0) if len(tail.split()) <= 4 and not any(c.isdigit() for c in tail) else None
    if tail.startswith("°"):
        rest = tail[1:].strip()
        return ("°", False, 1.0) if len(rest) <= 1 or rest.lower() in ("celsius", "fahrenheit", "degrees") else None
    words = tail.split()
    if _SYMBOL.match(tail) or any(word.lower() in _NO_UNITS for word in words):
        return None
    scale = SCALES.get(words[0].lower().rstrip("s"), 1.0)
    if scale != 1.0:
        words = words[1:]
    if not words:
        return "", False, scale
    if words[0].lower().startswith("percent") or words[:2] == ["per", "cent"]:
        return ("", True, scale) if len(words) <= 4 else None
    name = known_unit(words)
    if name is not None:
        return name, False, scale
    first = re.match(r"[^\W\d_]*", words[0])
    letters = first.group() if first else ""
    if attached and scale == 1.0 and letters.isascii() and letters not in UNITS and not ("/" in words[0] and len(letters) > 1):
        return None
    if len(words) > 5 or any(c.isdigit() for c in tail) or any(c in tail for c in "=+*<>√π"):
        return None
    return ("", False, scale) if len(letters) >= 2 or letters in _ONE_LETTER or not letters.isascii() else None


def known_unit(words: list[str]) -> str | None:
    """The unit that words name ("square metres", "cm^2", "km"), or None."""
    if not words:
        return None
    power = ""
    if words[0].lower() in ("square", "sq", "sq.", "cubic") and len(words) > 1:
        power, words = ("^3" if words[0].lower() == "cubic" else "^2"), words[1:]
    joined = "".join(words[:2]) if len(words) == 2 and words[1][:1] == "^" else words[0] if len(words) <= 3 else ""
    match = re.fullmatch(r"([^\W\d_]+|°)\.?\^?([23]?)", joined)
    if match is None:
        return None
    letters = match.group(1)
    name = letters if letters in UNITS else letters.lower() if len(letters) > 1 or letters in "LMGH" else ""
    unit = UNITS.get(name) or UNITS.get(name.removesuffix("s"))
    if unit is None or (len(words) > 1 and words[1][:1] not in "^(" and words[1].lower() not in _AFTER_UNIT):
        return None
    return unit + (f"^{match.group(2)}" if match.group(2) else power)


_AFTER_UNIT = {"long", "high", "wide", "tall", "deep", "old", "away", "apart", "in", "total", "per", "of"}


def to_base(value: Value) -> tuple[str, float] | None:
    """(dimension, number in its base unit), or None without a known unit."""
    known = _FACTORS.get(value.unit)
    return None if known is None else (known[0], value.number * known[1])


_UNITS_AND_TEENS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS = {w: i for i, w in enumerate(_UNITS_AND_TEENS.split())} | {w: 10 * i for i, w in enumerate(_TENS.split(), 2)}
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
# What a word behind a number makes of it: "2 thirds", "10 squared".
_MEANT: dict[str, Callable[[float], float]] = {"squared": lambda n: n * n, "cubed": lambda n: n * n * n}
_MEANT |= {name + s: partial(lambda part, n: n / part, part) for name, part in _PARTS.items() for s in ("", "s")}
_MEANT |= {"factorial": lambda n: math.gamma(n + 1) if 0 <= n <= 20 and n == int(n) else math.nan}
COUNT = rf"\d{{1,9}}|(?:(?:{_TENS.replace(' ', '|')})-)?(?:{'|'.join(NUMBER_WORDS)})"
_MIXED = re.compile(
    rf"(?<![\w.,/^-])({COUNT})[ -]and[ -](?:(an?|one|two|three|four|five|[1-9])[ -]"
    rf"((?:{'|'.join(_PARTS)})s?)(?![\w-])(?! (?:one|is|was|are|were|of|that|more|less)\b)|([1-9])/([1-9]\d?)(?= [a-z]{{2}}))",
    re.IGNORECASE,
)
# What any of these holds, found sooner.
_AND_A_PART = re.compile(rf"and[ -](?:\w+[ -](?:{'|'.join(_PARTS)})|[1-9]/[1-9])", re.IGNORECASE)


def without_mixed_words(text: str) -> str:
    """Parts in words in digits: "3 and a half" is 3.5, "two and 1/4 cups" 2.25 cups, "three quarters" 3/4."""

    def decimal(match: re.Match[str]) -> str:
        whole, many, part, over, under = match.groups()
        share = int(over) / int(under) if over else _small(many) / _part(part)
        return f"{_small(whole) + share:.10g}"

    low = text.lower()
    if "dozen" in low:
        text = _DOZEN.sub(lambda m: str(12 * (_small(m[1]) if m[1] else 1) // (2 if m[0][:4].lower() == "half" else 1)), text)
    text = _MIXED.sub(decimal, text) if "and" in low and _AND_A_PART.search(text) else text
    if not any(map(low.__contains__, _STEMS)):
        return text
    return _FRACTION.sub(lambda m: f"{_small(m[1])}/{_part(m[2])}", text)


_STEMS = ("hal", "third", "quarter", "fourth", "fifth", "sixth", "eighth", "tenth")
# "a dozen eggs", "half a dozen"
_DOZEN = re.compile(r"\b(?:(an?|one|two|three|four|five)|half an?) dozen\b(?! of)", re.IGNORECASE)


# "three quarters"; of "two thirds of the 9 boxes" no more than that is said.
_FRACTION = re.compile(
    rf"(?<![\w.,/^-])(one|two|three|four|five|[1-9])[ -]((?:{'|'.join(_PARTS)})s?)(?![\w-])(?! (?:of|one|is|was|are|were)\b)",
    re.IGNORECASE,
)


def _part(word: str) -> int:
    return _PARTS.get(word.lower()) or _PARTS[word.lower()[:-1]]


def _small(word: str) -> int:
    word = word.lower()
    return 1 if word in ("a", "an") else int(word) if word.isdigit() else sum(NUMBER_WORDS[part] for part in word.split("-"))


def _number_words(text: str) -> Value | None:
    """ "one hundred and five", "three quarters", "half", "minus two", each with up to three words of what is counted."""
    words = text.lower().replace("-", " ").replace(",", " ").split()
    sign = -1.0 if words[:1] in (["minus"], ["negative"]) else 1.0
    words = words[1:] if sign < 0 else words
    if not words or len(words) > 12:
        return None
    if words[0] in ("half", "a", "an") and len(words) <= 2:
        part, many = _PARTS.get(words[-1]), _WORD_FACTORS.get(words[-1])
        return Value(sign / part) if part else Value(sign * many, 0) if many else None
    total, current, used = 0.0, 0.0, 0
    for word in words:
        if word in NUMBER_WORDS or word.isdigit():
            number = NUMBER_WORDS[word] if word in NUMBER_WORDS else int(word[:6])
            if current % 100 and not (current % 10 == 0 and current % 100 >= 20 and 0 < number < 10):
                return None  # "three fifty" is no 53
            current += number
        elif word == "hundred" and used:
            current = max(current, 1) * 100
        elif word in SCALES and used:
            total, current = total + max(current, 1) * SCALES[word], 0.0
        elif word == "and" and used and current >= 100:
            pass
        else:
            break
        used += 1
    rest = words[used:]
    if not used or len(rest) > 3 or any(w in NUMBER_WORDS or w in ("out", "or", "to", "of", "per") for w in rest):
        return None
    part = _PARTS.get(rest[0].removesuffix("s") if rest[0] not in _PARTS else rest[0]) if rest else None
    if part:
        return Value(sign * (total + current) / part)
    unit = _unit_of(" ".join(rest), attached=False) if rest else ("", False, 1.0)
    return None if unit is None else Value(sign * (total + current), 0, *unit)
