"""Which option of a multiple-choice question a stretch of text names: by letter, by text, or by value."""

from __future__ import annotations

import re
from functools import partial

from l2v.benchmarks.scoring.cleaning import plain, squeeze, unquoted
from l2v.benchmarks.scoring.forms import BARE, CONCLUSION, OPENING, SENTENCES, STATEMENT, ResponseClaim
from l2v.benchmarks.scoring.mathematics import is_mathematics
from l2v.benchmarks.scoring.numeric import committed_value, unbound
from l2v.benchmarks.scoring.option_texts import LETTERS, NAMED, OptionReading, Options, inflected, prepare, spaced_words
from l2v.benchmarks.scoring.sameness import near, nearest
from l2v.benchmarks.scoring.tables import holds
from l2v.benchmarks.scoring.values import read_value


def read_option(
    claim: ResponseClaim, options: tuple[str, ...], asked: str = "", asks_not: bool = False
) -> OptionReading | None:
    """The option that a claim names; None when it names none. With no `options` only letters A to J are read.

    asked: the question, whose numbers sentences repeat beside their answer. asks_not: whether it asks what is not so.
    """
    if _untrue(asked) and _STATED_TRUE.search(claim.text):
        return None
    known, how = prepare(options), claim.how
    if how == OPENING:
        return _opening(claim.line, known)
    # "If the sum is larger, it is (A)": a letter would be a guess, while "If the mice die, hawks decrease" answers.
    letters = not claim.unsure
    for text in dict.fromkeys((claim.text, claim.line)):
        reading = (
            _same_text(text, known, to_the_letter=True)
            or _same_text(_IS.split(text)[-1], known, to_the_letter=True)
            or (_letter(text, known, asked) if letters and (text == claim.text or _leads(text, known)) else None)
            or _same_text(text, known)
        )
        if reading is not None:
            return reading
    text = claim.text
    return (
        _same_text(_IS.split(text)[-1], known)
        or _same_text(plain(text).rsplit("=", 1)[-1], known)
        or _value(text, how, known, asked)
        or _pair(text, known)
        or _formula(text, known)
        or _mention(text, how, known, asks_not, asked)
        or ((_last_letter(text, known) or _only_letter(text, how, known)) if letters else None)
    )


# "Statement A is true", where the false one is asked for.
_untrue = holds(re.compile(r"\b(?:false|incorrect|wrong|untrue|not true)\b", re.IGNORECASE))
_STATED_TRUE = re.compile(r"\bstatement \W?[A-J]\W? is (?:true|correct|right)\b", re.IGNORECASE)


def _leads(text: str, known: Options) -> bool:
    """Whether a text begins with an option's letter."""
    leading = _LEADING.match(text)
    return leading is not None and leading.group(1) in known.letters


_IS = re.compile(r"\s(?:is|are|was|were|be|equals|measures|represents)(?: (?:located )?at)?\s|(?<=\bit)'s\s")


def whole_option(text: str, options: tuple[str, ...]) -> OptionReading | None:
    """The option that a response repeats word for word and nothing else, over however many sentences."""
    return _same_text(text, prepare(options)) if len(text) <= 60 + 3 * max(map(len, options), default=0) else None


def _bare_text(text: str) -> str:
    return unquoted(text.strip(), '*$"` ').rstrip(".").strip()


def _same_text(text: str, known: Options, to_the_letter: bool = False) -> OptionReading | None:
    """The whole text is one option. To the letter comes before letters, for options such as "(b)"."""
    if known.bare or len(text) > 400:
        return None
    text = _bare_text(text)
    if to_the_letter and plain(text).strip("()[]") in LETTERS:
        # A capital letter is what prompts ask for, also where an option happens to read "A" or "C".
        return None
    if to_the_letter:
        own = plain(text)
        found = known.where([bool(t) and t == own for t in known.plain])
    else:
        ranged = _RANGED.search(text) is not None
        squeezed = squeeze(_NEITHER.sub("neither", _RANGE.sub(r"\1-\2", text) if ranged else text))
        squeezed = _YES_NO.get(squeezed, squeezed)
        alike = (squeezed, squeeze(_RANGE.sub(r"\1:\2", text) if ranged else text))
        found = known.where([bool(s) and s in alike for s in known.squeezed])
        found = found or known.where([";" in t and squeezed == squeeze(t.partition(";")[2]) for t in known.texts])
        found = found or known.where([len(s) > 3 and s == squeezed.removesuffix("s") for s in known.squeezed])
        if not found and known.named:
            found = known.where([s == squeezed for s in (squeeze(NAMED.sub("", t)) for t in known.texts)])
    return OptionReading(frozenset(found), "option_text") if found else None


# Other languages' words for the options "Yes" and "No".
_RANGE = re.compile(r"(?:between\s+|from\s+)?(\d[\d.,]*)\s*(?:to|–|(?<=\d )and)\s*(\d)", re.IGNORECASE)
# What any of these holds, found sooner.
_RANGED = re.compile(r"\d[.,]*\s*(?:to|–|and)\s*\d", re.IGNORECASE)
# "neither even nor odd"
_NEITHER = re.compile(r"\bneither\W+\w+ nor \w+", re.IGNORECASE)
_ORDINAL = re.compile(
    r"\b(first|second|third|fourth|fifth|last)\s+(?:option|choice|one|statement)\b(?! and\b)(?!.*\b(?:first|second|third|"
    r"fourth|fifth|last)\b)",
    re.IGNORECASE,
)
_YES_NO = dict.fromkeys(["是", "是的", "对", "對", "ja", "oui", "sí", "はい", "예", "да"], "yes") | dict.fromkeys(
    ["否", "不是", "不", "不对", "nein", "non", "いいえ", "아니요", "нет"], "no"
)
_ALONE = re.compile(r"^\W{0,4}([A-Ja-j])\W{0,4}$")
_IN_BRACKETS = re.compile(r"(?<![\w\\])[(\[]\s?([A-Ja-j])\s?[)\]]")
_LEADING = re.compile(r"^(?:[^\w✗✘❌×✖-]|-\s){0,4}([A-J])(?:\*{0,2}\s?[.:)\]]|\s[-–]\s)")
_NAMED = re.compile(
    r"(?<![A-Za-z])(?:options?|choices?|answers?|letters?|statement|opción|opção|alternativa|antwort|réponse|вариант|"
    r"选项|選項)\s*[*\"'(]{0,3}([A-J])(?![\w'])",
    re.IGNORECASE,
)
_SMALL_LETTER = re.compile(r"(?:option|choice) [a-j]\W*(?:$|is\b)", re.IGNORECASE)
_FIRST = re.compile(r"^\W{0,4}([A-J])\*{0,2}(?=\s*(?:$|[,;(])|\s(?:because|since|as|which|with|for|here|over|instead)\b)")
_BETWEEN = re.compile(r"(?<![A-Za-z])(?:and|or|either|both)(?![A-Za-z])|[\s,;&/()\[\].*-]")
_DENIED = re.compile(
    r"\b(?:incorrect|wrong|not|false|cannot|can't|isn't|aren't|eliminate[ds]?|ruled? out|rather than|instead of|neither|"
    r"except|excluding|other than|never|opposite|unlike|far from|hardly)\b"
)


def _letter(text: str, known: Options, asked: str) -> OptionReading | None:
    """An option letter in one of its usual forms: "B", "(b)", "B.", "C.144", "option B", "B, because"."""
    text = plain(text)
    denied = next((m for m in _DENIED.finditer(text.lower()) if m.group() not in asked.lower()), None)
    singles = _BETWEEN.sub(" ", text).split()
    if len(singles) > 1 and all(len(w) == 1 and w.upper() in known.letters for w in singles):
        return OptionReading(frozenset(w.upper() for w in singles), "letter")
    ordinal = _ORDINAL.search(text)
    if ordinal and known.texts and not denied:
        at = ("first", "second", "third", "fourth", "fifth", "last").index(ordinal.group(1).lower())
        at = at if at < 5 else len(known.texts) - 1
        return OptionReading(frozenset(known.letters[at : at + 1]), "letter")
    for pattern in (_ALONE, _IN_BRACKETS, _LEADING, _NAMED, _FIRST):
        matches = [m for m in pattern.finditer(text) if m.group(1).upper() in known.letters]
        if pattern is _NAMED:
            matches = [m for m in matches if m.group(1).isupper() or _SMALL_LETTER.match(m.group() + text[m.end() :])]
        found = frozenset(known.letter(m.group(1)) for m in matches)
        if not found or (pattern in (_IN_BRACKETS, _NAMED) and denied):
            continue
        if len(found) == 1:
            match = matches[0]
            found |= _contradiction(text[: match.start()] + " " + text[match.end() :], found, known)
        return OptionReading(found, "letter")
    return None


_WHICH_IS = re.compile(r",? (?:which|that|this) (?:is|matches|corresponds to|equals)\b.*")


def _contradiction(rest: str, letter: frozenset[str], known: Options) -> frozenset[str]:
    """The letters of another option whose text is all that stands beside the letter ("(B) 130°" where B is 140°)."""
    rest = rest.strip(" .,:;*()")
    if known.bare or not rest or len(rest) > 300:
        return frozenset()
    if _WHICH_IS.search(rest):
        # "AB is 10, which is option D"
        rest = _IS.split(_WHICH_IS.split(rest)[0])[-1].rsplit("=", 1)[-1]
    squeezed, value = squeeze(rest), read_value(rest)
    same = [
        s == squeezed or (value is not None and v is not None and near(value, v))
        for s, v in zip(known.squeezed, known.values, strict=True)
    ]
    found = frozenset(known.where(same))
    return frozenset() if found & letter else found


def _value(text: str, how: str, known: Options, asked: str) -> OptionReading | None:
    """The option with the committed value."""
    if known.bare or sum(v is not None for v in known.values) < 2:
        return None
    value = committed_value(text, how, asked)
    if value is None:
        return None
    found = frozenset(known.where(nearest(value, known.values)))
    if not found and how in SENTENCES:
        return None
    all_values = all(v is not None for v in known.values)
    alike = len({known.squeezed[LETTERS.index(letter)] for letter in found}) == 1
    return OptionReading(found, "option_value") if alike or (how in BARE if found else all_values) else None


# Mentioned in passing too often to be read as a choice.
_SMALL_WORDS = {
    "yes", "no", "true", "false", "none", "nan", "na", "nothing", "both", "neither", "all", "other", "left", "right"
}  # fmt: skip
# Chinese words stand without spaces.
_HAN = re.compile("[\u4e00-\u9fff]")


def _pair(text: str, known: Options) -> OptionReading | None:
    """The only pair of a sentence ("the point (2, 5) lies on it"), where the options are pairs."""
    pairs = {squeeze(pair) for pair in _PAIR.findall(plain(text))}
    found = known.where([s in pairs for s in known.squeezed])
    return OptionReading(frozenset(found), "option_text") if len(pairs) == len(found) == 1 else None


def _formula(text: str, known: Options) -> OptionReading | None:
    """The only formula of a sentence ("This is the graph of $y=x^2$"), where it is an option's."""
    equation = _EQUATION.search(plain(text))
    if equation and all("=" in t for t in known.texts):
        found = known.where([s == squeeze(equation[1]) for s in known.squeezed])
        return OptionReading(frozenset(found), "option_text") if found else None
    sides = not any("=" in t for t in known.texts)
    formulas = {
        squeeze((match[1] or match[2]).rpartition("=")[2] if sides else match[1] or match[2])
        for match in _FORMULA.finditer(text)
    }
    found = known.where([len(s) > 2 and s in formulas for s in known.squeezed])
    return OptionReading(frozenset(found), "option_text") if len(formulas) == len(found) == 1 else None


_EQUATION = re.compile(r" ([a-z] ?= ?\S+?)\W?$")
_FORMULA = re.compile(r"\$([^$]{3,80})\$|\\\((.{3,80}?)\\\)")
_PAIR = re.compile(r"\(-?[\w./]+, ?-?[\w./]+(?:, ?-?[\w./]+)?\)")


def _mention(text: str, how: str, known: Options, asks_not: bool, asked: str) -> OptionReading | None:
    """The only option whose text is mentioned; longer texts hide the shorter ones inside them."""
    if known.bare:
        return None
    text = plain(text[-300:] if how in SENTENCES else text)
    # "Step 3" is a bound of no answer where it is an option.
    spaced = spaced_words(text if known.bounds else unbound(text))
    asks_not = asks_not and not _LEAVES.search(text)
    denied = any(asks_not or m.group() not in asked.lower() for m in _DENIED.finditer(spaced))
    if denied != (asks_not and how in SENTENCES):
        return None
    if is_mathematics(text):
        return None
    # Where both sides are options, either is a direction.
    small = _SMALL_WORDS - ({"left", "right"} if {" left ", " right "} <= {*known.spaced} else set())
    readable = [bool(o.strip()) and o.strip() not in small and not _is_short(o) for o in known.spaced]
    if not all(readable[i] or o.strip() in small or not o.strip() for i, o in enumerate(known.spaced)):
        return None
    for option in known.spaced:
        # "a cup of coffee" is a coffee cup.
        one, _, other = option.strip().partition(" ")
        spaced = spaced.replace(f" {other} of {one} ", option) if other.isalpha() else spaced
    left, hits = spaced, [False] * len(readable)
    for i in sorted(range(len(readable)), key=lambda i: -len(known.spaced[i])):
        # Longer texts first: "red or dark red" names both, "dark red" one.
        hits[i] = readable[i] and (known.spaced[i].strip() if _HAN.search(known.spaced[i]) else known.spaced[i]) in left
        left = left.replace(known.spaced[i], " … ") if hits[i] else left
    if not any(hits) and all(readable):
        hits = [any(map(partial(inflected, option.strip()), spaced.split())) for option in known.spaced]
    found = frozenset(known.where(hits))
    return OptionReading(found, "option_text") if len(found) == 1 else None


# What is left of others is chosen, whatever is asked.
_LEAVES = re.compile(r"\bleav(?:es|ing)\b|\bleft with\b|\bodd one out\b", re.IGNORECASE)


def _is_short(spaced: str) -> bool:
    """A letter or a number: read by its own rules."""
    token = spaced.strip()
    if _HAN.search(token):
        return False
    if is_mathematics(token) and re.search(r"[+=<>]|\d [a-z]\b|\b[a-z] \d", token):
        return True
    return len(token) == 1 or token.replace(".", "").replace(",", "").replace("°", "").replace(" ", "").isdigit()


_TRAILING = re.compile(
    r"((?:(?:points?|leads?|pointing|leading|corresponds?|makes?|making) )?[A-Za-z:=]+)\s+[*\"'(]{0,3}([A-J])[*\"').\]]{0,4}$"
)
_SAYING = {
    "is", "s", "be", "so", "therefore", "thus", "hence", "as", "with", "say", "select", "choose", "pick", "leaves", "option",
    "choice", "letter", "matches"
}  # fmt: skip
_POINTS = {
    "angle", "point", "line", "segment", "side", "triangle", "vertex", "of", "and", "to", "from", "than", "or", "figure",
    "grade", "step", "part"
}  # fmt: skip


def _only_letter(text: str, how: str, known: Options) -> OptionReading | None:
    """The only letter in a conclusion, where options are only letters: "point D is the highest"."""
    found = frozenset(_ANY_LETTER.findall(re.sub(r"^\W*A\s", "", text)))
    said = (
        known.bare and bool(known.texts) and how in (STATEMENT, CONCLUSION) and len(found) == 1 and found <= set(known.letters)
    )
    return OptionReading(found, "letter") if said and _CHOSEN.search(text) else None


_CHOSEN = re.compile(r"(?:\w\s|^)[A-J]\s(?:is|has|shows|must|can|completes|continues|fits|matches|comes|lies|follows)\s")
_ANY_LETTER = re.compile(r"(?<![\w'’])[A-J](?![\w'’])")


def _last_letter(text: str, known: Options) -> OptionReading | None:
    """A letter at the very end of a concluding sentence: "… is D.", and "… is kite A." where options are only letters."""
    match = _TRAILING.search(plain(text[-120:]).rstrip())
    if match is None or match.group(2) not in known.letters or _DENIED.search(text.lower()):
        return None
    word = match.group(1).lower()
    said = word in _SAYING or word.endswith((" to", " this", " it")) or (word.endswith(":") and word[:-1] not in _POINTS)
    if said or (known.bare and bool(known.texts) and len(word) > 1 and word not in _POINTS):
        return OptionReading(frozenset(match.group(2)), "letter")
    return None


_OPENING = re.compile(r"^[\s*]{0,4}(?:\(([A-J])\)|([A-J])\*{0,2}[.:)])(?=[\s*]|$)")
_CLAUSE = re.compile(r"[;:\n]|[.,](?!\d)|\s-\s(?![\d$(])|\*\*")


def _opening(line: str, known: Options) -> OptionReading | None:
    """A response that begins with its choice: "B. …", "(B) …", "Yes, …"."""
    match = _OPENING.match(line)
    if match:
        letter = match.group(1) or match.group(2)
        rest = line[match.end() :].strip("* ")
        if match.group().endswith(":") and rest and not known.bare and not _same_text(_CLAUSE.split(rest)[0], known):
            # A turn of a dialogue, or a point of a list.
            return None
        if letter not in known.letters:
            return None
        named = frozenset(letter)
        begun = frozenset(
            known.where([len(t) > 1 and rest.startswith(t) and not rest[len(t) :][:1].isalnum() for t in known.texts])
        )
        return OptionReading(named if letter in begun else named | begun, "letter")
    alone = _ALONE.match(line)
    if alone and alone.group(1) in known.letters:
        return OptionReading(frozenset(alone.group(1)), "letter")
    clause = _CLAUSE.split(line.lstrip("* "), maxsplit=1)[0]
    if line.lstrip("* ")[len(clause) : len(clause) + 1] == "," and any(
        o in spaced_words(line[len(clause) :]) for o in known.spaced if o.strip()
    ):
        # "A whale, a bat and a mouse are …"
        return None
    return _same_text(clause, known) if clause and clause != line else _same_text(line, known)


def is_answer(claim: ResponseClaim) -> bool:
    """Whether a claim is so explicit that naming no option makes it wrong rather than unread."""
    return claim.how in BARE and len(claim.text) <= 60
