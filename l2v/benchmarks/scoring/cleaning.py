"""Responses and annotations as plain text: markup and LaTeX wrappers off, one character per meaning."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from unicodedata import normalize

# A commitment stands near the end of a response; what comes before so many characters cannot matter, and costs time.
TAIL = 20_000
_SPACES = dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000\t"), " ")
_GONE = dict.fromkeys([0, 0xAD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)], None)
_SAME = {ord(a): b for a, b in zip("−‐‑‒–—∕⁄：（），．；＝％＄［］？！’‘“”＋／", "------//:(),.;=%$[]?!''\"\"+/", strict=True)}
_WIDE = {0xFF10 + i: str(i) for i in range(10)} | {0xFF21 + i: chr(65 + i) for i in range(26)}
_MEND = {ord("º"): "°", ord("˚"): "°", ord("掳"): "°", ord("\r"): "\n"}
# "ⓑ", "Ⓑ"
_MEND |= {start + i: f"({chr(65 + i)})" for start in (0x24B6, 0x24D0) for i in range(10)}
_MEND |= dict.fromkeys((0x0B, 0x0C, 0x85, 0x2028, 0x2029), "\n")
# "⅜" is 3/8.
_HALVES = {ord(c): " " + normalize("NFKC", c).replace("⁄", "/") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
_TABLE: dict[int, str | None] = {**_SPACES, **_GONE, **_SAME, **_WIDE, **_MEND, **_HALVES}
_THOUGHTS = "think|thinking|thought|reasoning|scratchpad|reflection"
_OPENED, _CLOSED = re.compile(rf"<(?:{_THOUGHTS})>", re.IGNORECASE), re.compile(rf"</(?:{_THOUGHTS})>", re.IGNORECASE)
# Other models' marks of a thought: "◁think▷", "[THINK]", "<seed:think>".
_THOUGHT_TAG = re.compile(r"[◁\[](/?)think[▷\]]|<(/?)seed:think>", re.IGNORECASE)
_TURN = re.compile(
    r"^(?:\s*<start_of_turn>(?:model)?\s|\s*(?:<\|(?!im_end|eot|end)[a-z_]{1,30}\|>|<s>|<bos>)\s*(?:assistant\s*\n)?|"
    r"\s*\[INST\][^\[]{0,3000}\[/INST\])+"
)
_ANOTHER = re.compile(r"^\s*(?:question|problem|exercise|user|human)\s?\d{0,3}\s?:", re.IGNORECASE)
_ENDS = re.compile(r"<\|[a-z_]{1,30}\|>|</s>|<eos>|<end_of_turn>")
# An end token that no model begins with, and no new turn of the model's behind it.
_NOTHING_SAID = re.compile(r"\s*(?:<\|(?:im_end|eot_id|end)\|>|<end_of_turn>)(?!\s*<(?!\|im_start\|>\s*user))")
_GLM_BOX = re.compile(r"<\|begin_of_box\|>([^<]{0,600})<\|end_of_box\|>")
_DISPLAYED = re.compile(r"\\(?:begin|end)\{(?:align|aligned|equation|gather|gathered|split)\*?\}")
_STRUCK = re.compile(r"~~[^~\n]{1,300}~~|<(?:del|strike)>[^<]{0,300}</(?:del|strike)>")
_RAISED = re.compile(r"[⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹ⁿˣ]+")
_LEVEL = str.maketrans("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹ⁿˣ", "-+0123456789nx")
_MARKER_AS_TEXT = re.compile(
    r"\\(?:text|textbf|mathbf|mathrm)\s*\{\s*((?:the |final |correct )*answer\b[^{}]{0,60})\}", re.IGNORECASE
)


def clean(response: str | None) -> str:
    """A response's last TAIL characters with invisible characters gone and look-alikes (full-width, dashes) made one.

    Thoughts (<think>), closed or not, are not read, nor is what follows the end of the model's turn.
    """
    text = _unpacked(_spoken(response or "")[-TAIL:]).replace("\r\n", "\n").translate(_TABLE)
    # A run of 150 signs holds three that stand 50 apart.
    text = _RUN.sub(r"\1\n\2", text) if _THREE.search(text[::50]) else text
    text = text.replace("here's ", "here is ")
    text = _OVER_AND_OVER.sub(r"\1", _ONE_OPTION.sub(r"\1. \2", text)) if len(text) < 400 else text
    text = _EXACTLY.sub("", text) if "xactly " in text or "recisely " in text else text
    text = _IT_IS.sub(r"It is \1", text) if " it is." in text or text.endswith(" it is") else text
    if not text.isascii():
        text = _BESIDE.sub(" ", _levelled(_SURROGATE.sub("", text)))
        text = _MARKED.sub(r"\1\n", _MARKED_AHEAD.sub(_marked_behind, text))
    text = _RESERVED.sub(r", \1", text) if " (" in text or "\n(" in text else text
    if "\\begin{" in text:
        text = re.sub(r"\\\\\s*(?=\n|$)", "", _DISPLAYED.sub("", text), flags=re.MULTILINE).replace("&=", "=")
    text = "\n".join(map(_untabled, text.split("\n"))) if "|" in text else text
    text = _BOXED_PART.sub(r"\1\2}", text) if "frac{\\boxed" in text else text
    text = _CITED.sub("", text) if _NOTE.search(text) else text
    if (" B." in text or " B)" in text) and len(letters := _INLINE.findall(text)) > 2 and "".join(letters)[:3] == "ABC":
        text = _INLINE.sub(lambda m: f"\n{m.group().strip()} ", text)
    text = _HIDDEN.sub("…", text) if "..." in text else text
    text = _IS_IT.sub(_it_is, text) if "Is it " in text else text
    text = _ON_ONE_LINE.sub("\n", text) if text.count("nswer:") > 1 else text
    # A formula goes on in the next line.
    text = _GOES_ON.sub(" =", text) if "\n=" in text or "\n =" in text else text
    text = (_MARKER_AS_TEXT.sub(r"\1", text) if "\\" in text else text).strip()
    # A marker over and over, and nothing behind it.
    return "" if len(text) < 400 and "nswer" in text and {*_ANY_WORD.findall(text.lower())} == {"answer"} else text


_ANY_WORD = re.compile(r"\w+")
# "Choose one: A. red B. blue C. green"
_INLINE = re.compile(
    r"(?: (?<=[\w.:;,!?)] )(?<!\bis )(?<!\bare )(?<!\bbe )(?<!\bto )(?<!\bor )(?<!\band )(?<!answer )(?<!option )(?<!choice )"
    r"(?<!with )|^)\(?([A-J])[.)] (?=[\w$\\-])"
)
# "WEL...ME": what is hidden is not left out.
_HIDDEN = re.compile(r"(?<=\w)\.{3}(?=\w)")
# "324 m tall [2]."
_CITED = re.compile(r"(?<=[a-z])(?<!\bis)(?<!\bare)(?<!\bbe)(?<!\bto)(?<!answer)(?<!equals) ?\[\d\d?\](?=[.;]?(?:\s|$))")
_NOTE = re.compile(r"\[\d\d?\]")
# "Is it B, the ruler? No. Is it A, the balance? Yes!"
_IS_IT = re.compile(r"\bIs it ([^?\n]{1,60})\? (Yes|No)\b(?:[.!]|$)")
_ON_ONE_LINE = re.compile(r"(?<=[\w.])[ ]+(?=(?:Final )?Answer: ?\S|Question: ?\S)")
_GOES_ON = re.compile(r"(?<=\S)\n\s{0,4}=(?=[^=])")


def _it_is(match: re.Match[str]) -> str:
    return f"It is {'' if match[2] == 'Yes' else 'not '}{match[1]}."


# "\\frac{\\boxed{3}}{4}": three quarters.
_BOXED_PART = re.compile(r"(\\[dt]?frac\{)\\boxed\{([^{}]*)\}\}")


_EXACTLY = re.compile(r"\b(?:exactly|precisely) (?=\W{0,3}\d)")
# "no no no"; "Option (B): Helsinki" and nothing else
_OVER_AND_OVER = re.compile(r"^\W*([^\W\d_]{2,})(?:[,.]?\s+\1)+\W*$", re.IGNORECASE)
_ONE_OPTION = re.compile(r"^\W*(?:option|choice) \(?([A-J])\)?\s?:\s?(\S.{0,80})$", re.IGNORECASE)
# "So 45 it is."
_IT_IS = re.compile(
    r"(?:^|(?<=[.!?,] )|(?<=\bso )|(?<=\bthus ))((?:(?!so |then |thus )\w+ )?\w\S{0,19}) it is(?=[.!]\s|[.!]?$)",
    re.IGNORECASE | re.MULTILINE,
)
_ROW = re.compile(
    r"^\s*\|\s*\**\(?([A-J](?=[\s)|*.:])|(?:grand |sub-?)?total|sum|answer|result)\)?\**\s*\|(.*)\|\s*$", re.IGNORECASE
)
# Signs without a word say nothing, however many; but the last may belong to what follows (\boxed, -5, $x$).
_RUN, _THREE = re.compile(r"(\W{50})\W{92,}(\W{8})"), re.compile(r"\W{3}")
# Scripts without spaces: "有3个人" is "有 3 个人".
_HAN = "[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"
_BESIDE = re.compile(rf"(?<={_HAN})(?=[\w$\\(])(?!{_HAN})|(?<=[\w)])(?<!{_HAN})(?={_HAN})")
_SURROGATE = re.compile("[\ud800-\udfff]")
# "6 lamps (unsure which are on)", "red (if the lamp is on)": no gloss, which brackets often hold.
_RESERVED = re.compile(r"\s\(((?:unsure|uncertain|not (?:sure|certain)|if|unless)\b[^()\n]{0,120})\)", re.IGNORECASE)
# Options with their marks in front of them ("✗ A. 3 ✓ B. 4"), and on one line.
_MARKED_AHEAD = re.compile(r"^[\s>*•-]{0,6}[✓✔✅✗✘❌]\s*\(?[A-J][).:].*$", re.MULTILINE)
_MARK_AHEAD = re.compile(r"[ ,;]*([✓✔✅✗✘❌])\s*(?=\(?[A-J][).:])")
_MARKED = re.compile(r"([✓✔✅✗✘❌])[ ,;]+(?=\(?[B-J][).:])")


def _untabled(line: str) -> str:
    """A table's row about an option or a sum as a line ("| B | 45° | Yes |" is "B: 45° - Yes"); others stay."""
    row = _ROW.match(line)
    return f"{row.group(1)}: {' - '.join(cell.strip() for cell in row.group(2).split('|'))}" if row else line


def _marked_behind(line: re.Match[str]) -> str:
    """A line of options with each mark behind its option, an option a line."""
    _, *pieces = _MARK_AHEAD.split(line.group())
    return "\n".join(f"{option.strip()} {mark}" for mark, option in zip(pieces[::2], pieces[1::2], strict=True))


def _spoken(text: str) -> str:
    """The response proper: without thoughts, and up to the first end of its turn."""
    text = _STRUCK.sub(" ", text) if "~~" in text or "<" in text else text
    text = _THOUGHT_TAG.sub(lambda m: f"<{m[1] or m[2] or ''}think>", text) if "think" in text.lower() else text
    if "<" not in text:
        return text
    closed = list(_CLOSED.finditer(text))
    text = text[closed[-1].end() :] if closed else text
    opened = _OPENED.search(text)
    text = text[: opened.start()] if opened else text
    if closed and _ANOTHER.match(text):
        # Nothing was said but a thought; what follows was invented.
        return ""
    text = _TURN.sub("", _GLM_BOX.sub(r"\\boxed{\1}", text))
    end = _ENDS.search(text)
    # A turn that held a thought alone is over all the same.
    over = end and (closed or opened or text[: end.start()].strip() or _NOTHING_SAID.match(text))
    return text[: end.start()] if over and end else _ENDS.sub(" ", text)


_FENCED = re.compile(r"^\s*```\w*\s*(.*?)\s*```\s*$", re.DOTALL)
_FENCED_LINE = re.compile(r"(?<=\n)```\w*\n([^\n`]{1,60})\n```[^\S\n]*$", re.MULTILINE)
_KEY = re.compile(r"(?:final|correct|predicted)?[\s_-]*(?:answer|option|choice|prediction|result)", re.IGNORECASE)


_COMMAND = re.compile(r"(?<!\\)\\(?=[a-zA-Z]{2})(?!n[A-Z]|u[0-9a-fA-F]{4})")


def _unpacked(text: str) -> str:
    """The answer of a response that is one JSON object: of a key such as "final_answer", or of its only one."""
    text = _FENCED_LINE.sub(r"\1", text) if "```" in text else text
    fenced = _FENCED.match(text)
    inner = fenced.group(1) if fenced else text.strip()
    if not inner.startswith("{") or not inner.endswith("}") or len(inner) > 5000:
        return inner if fenced and "\n" not in inner and len(inner) <= 60 else text
    try:
        # Models seldom escape their LaTeX: "\\frac" is no form feed.
        found = json.loads(_COMMAND.sub(r"\\\\", inner))
    except (ValueError, RecursionError):
        return text
    true = [k for k, value in found.items() if value is True and len(k) == 1]
    if len(true) == 1 and all(isinstance(value, bool) for value in found.values()):
        return f"Answer: {true[0]}"
    keys = [k for k in found if _KEY.fullmatch(k.strip())] if len(found) > 1 else list(found)
    value = found[keys[0]] if len(keys) == 1 else None
    return f"Answer: {value}" if isinstance(value, str | int | float) and not isinstance(value, bool) else text


def _levelled(text: str) -> str:
    """Superscripts as powers: ² is ^2, ⁻¹ is ^{-1}."""

    def level(match: re.Match[str]) -> str:
        power = match.group().translate(_LEVEL)
        return f"^{power}" if len(power) == 1 else f"^{{{power}}}"

    return _RAISED.sub(level, text)


# Where an expression holds: ", \\quad x \\neq 3", "(x ≠ 3)", "for x ≠ 3".
DOMAIN = re.compile(
    r"(=[^=≠]*?[\w)}])\s*(?:,|\\q?quad|\(|\$|for|where|with|if|provided(?: that)?|\s)+[a-z]\s*(?:≠|"
    r"\\neq?(?![a-z]))\s*-?[\d/.]+[\s$\\).]*$"
)
GREEK = dict(
    zip(
        ["alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "phi", "sigma", "omega", "Delta"],
        "αβγδθλμφσωΔ",
        strict=True,
    )
)
_WORDS = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|operatorname|underline|mbox|boldsymbol|vec|overrightarrow|bf|"
    r"rm)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
# "4x \\text{ m}": no symbol.
_SPELT = {"m": "meters", "s": "seconds", "h": "hours", "g": "grams", "l": "liters"}
_IN_LETTERS = re.compile(r"([\w)}\]])\s*\\(?:text|mathrm)\s*\{[\s~\\]*([mshgl])\s*\}(?=(?:\s?\^\s?\{?[23]\}?)?\W*$)")
_LATEX = [
    (re.compile(r"\\[dtc]?frac(?![a-zA-Z])|\\[dt]frac(?=\d)|\\frac"), "ƒ"),
    (re.compile(r"\\sqrt|(?<![A-Za-z])sqrt(?![A-Za-z])|(?<=\d )(?:square )?root (?:of )?(?=\d)"), "√"),
    (re.compile(r"\^\s*\{?\s*\\?(?:circ|degree)\s*\}?|\\degree|\\circ"), "°"),
    (re.compile(r"\^\s*\{?\s*(?:\\prime\s*)+\}?"), "'"),
    (re.compile(r"\\pi(?![a-zA-Z])|(?<![A-Za-z\\])pi(?![A-Za-z])"), "π"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "×"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\infty|(?<![A-Za-z])inf(?:inity)?(?![A-Za-z])"), "∞"),
    (re.compile(r"\\cup(?![a-zA-Z])"), "∪"),
    (re.compile(r"\\(?:leq|le|leqslant)(?![a-zA-Z])|<="), "≤"),
    (re.compile(r"\\(?:geq|ge|geqslant)(?![a-zA-Z])|>="), "≥"),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\(?:neq|ne)(?![a-zA-Z])|!="), "≠"),
    (re.compile(r"\\(?:approx|simeq|sim|thickapprox)(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\pm(?![a-zA-Z])"), "±"),
    (re.compile(r"\\(?:angle|measuredangle)(?![a-zA-Z])"), "∠"),
    (re.compile(r"\\(?:Longr|R)ightarrow(?![a-zA-Z])|\\implies(?![a-zA-Z])"), "⇒"),
    (re.compile(r"\\(?:long)?rightarrow(?![a-zA-Z])|\\to(?![a-zA-Z])"), "→"),
    (re.compile(r"\\therefore(?![a-zA-Z])"), "∴"),
    *((re.compile(rf"\\{name}(?![a-zA-Z])"), letter) for name, letter in GREEK.items()),
    (re.compile(r"\\lim(?:_\{[^{}]*\})?(?![a-zA-Z])"), "limit "),
    (re.compile(r"\\!"), ""),
    (re.compile(r"\\mapsto(?![a-zA-Z])"), "→"),
    (re.compile(r"\((-?[\d./]+)\s?(?:\\mid|\|)\s?(-?[\d./]+)\)"), r"(\1, \2)"),
    (re.compile(r"\\langle(?![a-zA-Z])"), "("),
    (re.compile(r"\\rangle(?![a-zA-Z])"), ")"),
    (
        re.compile(r"\\(?:left|right|big|Big|bigg|displaystyle|limits)(?![a-zA-Z])|\\[,;: ]|\\(?:quad|qquad)(?![a-zA-Z])|~"),
        " ",
    ),
    # A unit in a fraction, and whole numbers that a family of solutions is counted by.
    (re.compile(r"(?<=\d ) *ƒ\s*\{\s*(k?m|cm|mi|ft)\s*\}\s*\{\s*(h|s|min)\s*\}"), r" \1/\2"),
    (
        re.compile(r",?\s*\(?(?:where |for |with )?\b[kn]\s*\\in(?![a-z])\s*(?:\\mathbb\s*)?\{?\s*[ZℤN]\s*\}?\)?(?=\W*$)"),
        "",
    ),
    # *emphasis*
    (re.compile(r"(?<![\w*)])\*([A-Za-z][^*\n]{0,60})\*(?![\w*(])"), r"\1"),
    (re.compile(r"(?<=\{)[bp]matrix(?=\})"), "matrix"),
    (re.compile(r"(?<=\d)\s?[xX]\s?(?=10\s?\^)|(?<=\d)\s[xX]\s(?=\d)"), "×"),
    (re.compile(r"\\(?=[%$#&_{}])|\\[()\[\]]|\$|`|\*\*|__"), ""),
]
# What is one sign needs no braces: "\\frac{360}7", "\\frac34".
_UNBRACED = [
    (re.compile(r"ƒ\s*([\dπ])(?=\s*(?:\{|[\dπ](?!\.?\d)))"), r"ƒ{\1}"),
    (re.compile(r"(ƒ\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})\s*([\dπ])(?!\.?\d)"), r"\1{\2}"),
]
# Those that need no backslash.
_UNSLASHED = [(pattern, put) for pattern, put in _LATEX if not re.fullmatch(r"(?:\\\\[^|]*\|?)+", pattern.pattern)]
# Without one of these there is nothing to unwrap.
_WRAPPED = re.compile(r"[\\^$`*_~{<>!]|sqrt|root|pi|inf|\d\s?[xX]\s?\d")


@lru_cache(maxsize=2**15)
def plain(text: str) -> str:
    """One line of text without LaTeX and markdown wrappers.

    Fractions become ƒ{a}{b}, roots √{a}, degrees °, \\text{cm} cm; other LaTeX stays. 300 characters at most.
    """
    text = text[:300].translate(_TABLE)
    text = text if text.isascii() else _levelled(text)
    if _WRAPPED.search(text):
        text = text.replace("{,}", ",")
        text = _IN_LETTERS.sub(lambda m: f"{m[1]} {_SPELT[m[2]]}", text) if "\\" in text else text
        for _ in range(2 if "\\" in text else 0):
            text = _WORDS.sub(r" \1", text)
        for pattern, put in _LATEX if "\\" in text else _UNSLASHED:
            text = pattern.sub(put, text)
        for pattern, put in _UNBRACED if "ƒ" in text else ():
            text = pattern.sub(put, text)
    text = _GERMAN_POINT.sub(r"(\1, \2)", text) if "|" in text else text
    return unquoted(" ".join(text.split()), ' *_"✓✔✅')


def unquoted(text: str, signs: str) -> str:
    """A text without signs around it, nor quotation marks; the prime of "A'" is none."""
    text = text.strip(signs)
    return text if _PRIMED.search(text) and text[:1] != "'" else text.strip(signs + "'")


_PRIMED = re.compile(r"(?:^|[^A-Za-z])[A-Za-z]'$|'.*[A-Z]'$")


# "A'", "f'(x)"; not "cats'", "A's" or "'A'".
PRIME = re.compile(r"(?<!^'[A-Za-z])(?<![^A-Za-z]'[A-Za-z])(?<![A-Za-z][a-z])(?<=[A-Za-z])'(?![a-z])")

_GERMAN_POINT = re.compile(r"\(\s*([\w./√-]{1,12})\s*\|\s*([\w./√-]{1,12})\s*\)")


_MONTHS = "january february march april may june july august september october november december"
_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
_SHORT = {name: name[:3] for name in (_MONTHS + " " + _DAYS).split()}
_LONGER = {"sept": "sep", "tues": "tue", "thur": "thu", "thurs": "thu", "degrees": "", "degree": "", "deg": ""}
_ARTICLES = {"a", "an", "the"}
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[^\w\s]", re.UNICODE)
_NTH = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_OPERATOR = re.compile(r"[=+*/^<>√πƒ]")
_DROPPED = set(".,;:!?\"'°{}\\ ")


# "n!", "(n - 1)!": nothing is exclaimed.
_FACTORIAL = re.compile(r"((?<![A-Za-z])[a-z]|[\d)\]}])!")


@lru_cache(maxsize=2**14)
def squeeze(text: str) -> str:
    """The text for comparing: lower case, no articles, no spaces, no closing punctuation, months and weekdays short.

    Signs that carry meaning in mathematics (brackets, operators, commas between numbers) are kept.
    """
    tokens = _TOKEN.findall(_NTH.sub("", _FACTORIAL.sub(r"\1¡", PRIME.sub("′", plain(text))).lower()))
    prose = not _OPERATOR.search(text) and any(len(t) > 1 and t.isalpha() and t not in _ARTICLES for t in tokens)
    words = [t for t in tokens if t not in _ARTICLES] if prose else tokens
    words = [_LONGER.get(w, _SHORT.get(w, w)) for w in words]
    kept = []
    for i, word in enumerate(words):
        between = 0 < i < len(words) - 1 and words[i - 1][-1:].isdigit() and words[i + 1][:1].isdigit()
        minutes = word == "'" and i and words[i - 1][-1:].isdigit()
        if word not in _DROPPED or (word in ",:" and between) or minutes:
            kept.append(word)
    return "".join(kept)
