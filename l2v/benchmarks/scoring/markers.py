"""Answer markers ("the answer is", "Answer:"): where they stand, and whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from l2v.benchmarks.scoring.breaks import sentences
from l2v.benchmarks.scoring.clauses import ASSERTING, Clause, Kind, asked_for, classify, unreal
from l2v.benchmarks.scoring.forms import MARKER, ResponseClaim
from l2v.benchmarks.scoring.phrases import DENIED_AFTER, DENIED_BEFORE, JUDGED_WRONG, LABELS
from l2v.benchmarks.scoring.tables import PatternTable

DENIED_BOX = re.compile(
    r"(?:\bnot|n't|\bnever|≠|\\neq?|[✗✘❌](?=[^\n]*$))[\s:$*(]*(?:equal to |be |the )?[\s:$*(]*$", re.IGNORECASE
)
DENIED_IN = re.compile(r"\W*(?:text\s*\{\s*)?(?:not\b|≠|\\?neq?\b)", re.IGNORECASE)
WRONG_BOX = re.compile(
    rf"^\W{{0,6}}but (?:it|this|that|\$[^$]{{1,12}}\$) (?:does not|doesn't|is not|isn't|fails|cannot|can't)\b|"
    rf"^\W{{0,6}}which (?:contradicts|cannot|can't|makes no sense|is impossible)\b|^\W{{0,8}}(?:is|was|would be|"
    rf"seems) (?:\w+ly )?(?:{JUDGED_WRONG}|not)\b",
    re.IGNORECASE,
)
# Before a colon "answer" must open its line or sentence: "here is how I got the answer: …" commits to nothing.
_IS = (
    r"(?:is|are|was|would be|will be|should be|must be|has to be|might be|could be|may be|cannot be|can't be|can not be|isn't|"
    r"wasn't|is not|(?:appears|seems|turns out|works out|comes out) (?:to be|as)|comes (?:out )?to|equals)(?!\w)"
)
_EMPHASIS = r"[*_\"' ]{0,4}\s{0,3}"
_OF = r"(?:\s+(?:to|for|of|in|from|among)\s+(?:(?!depend|would)[^\s.:]{1,25}\s){1,10}?)?"
MARK = PatternTable(
    r"\bthe (?:final |correct )?answer,(?=\s[^,]{1,20},\s(?:is|was|can be|follows|comes)\b)",
    rf"\b(?:answers?|final (?:value|result|number))\b{_OF}{_EMPHASIS}(?:,[^,.]{{1,20}},\s|,\s)?{_IS}{_EMPHASIS}(?:(?:therefore|"
    rf"thus|then|hence)\b)?{_EMPHASIS}:?",
    rf"(?:^|[.!?†]|\bso:)[^\w\n]{{0,8}}(?:(?:so|therefore|thus|hence|the|my|our|final|correct(?:ed)?|revised|best|right|short|"
    rf"and),?\s){{0,4}}(?:answers?|choice|select(?:ed|ion)|pick|final(?: (?:value|result|number|count|"
    rf"total))?){_EMPHASIS}(?::|=|\s-\s)|\b(?:final|correct|is my)\s+answer{_EMPHASIS}:",
    rf"\b(?:correct|right|best|better|appropriate|remaining)\s+(?:option|choice|letter|match|statement|one|pick|selection)"
    rf"(?:\s+letter)?{_OF}{_EMPHASIS}(?:is|:){_EMPHASIS}:?",
    r"^[#\s*\[]{0,8}(?:(?:the\s+)?final\s+|correct\s+)?answer\]?[*_: \]]{0,6}$",
    r"(?:答案|正确选项)(?:应该)?(?:是|为|选|:)\s{0,3}:?|^答\s?:|(?:因此|所以|故|应该?)选择?|(?:^|[,.。])选择?(?=\s?\(?[A-J])|"
    r"(?:答え|解答)(?:は|:)|(?:정답|답)[은는:]",
    r"^\W{0,4}(?:\w+ )?(?:letter|option|action input|select one)\s?:(?=\W{1,6}[A-J]\W*$)",
    r"\b(?:antwort|lösung|réponse|respuesta|risposta|resposta|ответ)(?:\s(?:finale?|correcta?|correta|corretta))?\s?"
    r"(?:\s(?:ist|lautet|est|es|è|é)(?!\w)|:|-)",
    r"(?<=\w\w)\)?[ *]{0,3}(?:→|⇒|⟹)(?=\W{0,4}(?:option )?\(?[A-J]\)?\W*$)",
    r"\bleav(?:es|ing)\s+(?:us\s+with\s+|only\s+|just\s+)*(?=(?:option|choice)\b|\(?[A-J]\)?\W*$)",
    r"<(?:final_?)?(?:ans(?:wer)?|solution|result|choice|option|output|response|conclusion)>|^####(?=\s{0,3}[^\s#])|"
    r"\[answer\][\s:]*",
    r"^\W{0,4}ans\b\s?[.:=-]",
    r"^\W{0,4}(?:(?:a|my|random|best|educated|wild|rough) ){0,2}guess\s?:",
    r"(?<![/\w])(?:i|we)(?:'d|'ll|'m| am)?\s+(?:would\s+|will\s+|should\s+|must\s+|therefore\s+)?(?:choos(?:e|ing)|"
    r"pick(?:ing)?|select|go(?:ing)? with|opt for|meant?|settle on|(?:change|revise) (?:it|this|that|my (?:answer|choice|"
    r"mind)) to|switch(?:ing)? to|stick(?:ing)? with|stay(?:ing)? with)\s+(?:the\s+)?(?:answer|option|choice)?",
)
_RIGHT_AFTER = PatternTable(
    r"(?-i:(?:^|[^\w\s]\s{0,2}|\b(?:[Oo]nly|[Oo]ption|[Cc]hoice|[Aa]nswer|[Ss]tatement|so|[Tt]hus|[Hh]ence|[Tt]herefore|that|"
    r"and|but)\s{1,2})[(*]{0,3}([A-J])[)*]{0,3}\s+(?:is|must be|has to be)\s+(?:therefore\s+)?(?:the\s+)?(?:only\s+)"
    r"?(?:(?:correct|right|best|better)\s+(?:answer|option|choice|one)|correct|right|the answer|(?:option|choice|one|"
    r"answer) (?:that|which) (?:fits|holds|is true|matches|works|agrees|remains|makes sense))\b|(?<!not )\bonly\s+(?:option\s+)"
    r"?\(?([A-J])\)?\s+(?:works|fits|matches|satisfies|remains|is left|(?:shows|does|has) (?:this|that|so|it))\b)"
)
# What any of these needs.
MARKS = MARK.any | _RIGHT_AFTER.any
_NOT_YET = re.compile(
    r"^\W{0,6}(?:(?:correct|right)\W*$|true that|either\b(?=.*\bor\b)|clear\b|given (?:by|as)?|based|determined|found|"
    r"calculated|obtained|computed|as follows|derived|the (?:one|option|choice) (?:that|which|with)\b|in the form|one of|"
    r"among|between (?:the |these )?(?:options?|choices?|answers?))",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    r"^\W{0,6}(?:i (?:don't|do not|cannot|can't)|i'?m not|unknown|unclear|undetermined|undefined|n/?a|not (?:known|clear|"
    r"given|provided|listed|shown|available|determinable|possible|among|one of|sure|certain)|"
    r"cannot|can't|impossible|unavailable|missing)(?!\w)",
    re.IGNORECASE,
)
_AS = re.compile(
    r"^\W{0,4}\(?[A-J]\)?[*\"']{0,2}\s+(?:as|to be)\s+(?!(?:\w+ ){0,2}(?:answer|option|choice|correct))", re.IGNORECASE
)
_OTHER_QUESTION = re.compile(
    r"\b(?:previous|first|second|last|next|other|earlier|another|similar)\s+"
    r"(?:question|problem|part|picture|image|figure|exercise|example|diagram|case)",
    re.IGNORECASE,
)
_EMPTY = re.compile(r"(?:the |final |correct )*answer\W*", re.IGNORECASE)
# A line that may hold an answer, no rule and no heading's marks.
_HOLDS = re.compile(r"[^\s\]*_:#.=─━═-]|-\d")
_SKIPPED = ("\\[", "$$", "```", "\\]", "\\(", "**", "$")
# Kinds of clauses in which a marker asserts nothing; denials are told apart by where the marker stands.
SILENT = (Kind.HYPOTHESIS, Kind.QUESTION, Kind.QUOTATION, Kind.INSTRUCTION, Kind.CONDITION)
# A derivation that says "Let" or "may" still ends in its box; these do not.
UNBOXED = (Kind.INSTRUCTION, Kind.QUESTION, Kind.QUOTATION, Kind.HYPOTHESIS)
_NEAREST = re.compile(
    r"^\W{0,3}(?:(?:closest|nearest|most similar|equal|equivalent) to|(?:most |very )?(?:probably|likely|certainly|definitely|"
    r"clearly|surely|indeed|simply|obviously|of course|therefore|thus|then|exactly|precisely|still|now|just|actually|"
    r"in (?:short|fact)|(?:la|le|el|die|der)(?= (?:\w+ )?\(?[A-J]\b)|none other than|(?:with(?:out)? )(?:a |any )?doubt)),?\s+",
    re.IGNORECASE,
)
_FIRST_OPTION = re.compile(r"^(?:(?:options?|choices?)\s?:\s*)?\(?([A-I])[).:]", re.IGNORECASE)


def _content(text: str, clause: Clause, end: int) -> str:
    """What a marker marks: the rest of its clause, or the next line that holds anything."""
    rest = clause.text[end:].split("</", 1)[0]
    # A quotation begun by the marker ends in its content.
    rest = (rest.replace("'", "", 1) if clause.text[:end].endswith("'") else rest).strip(" *_:\"'")
    if rest.strip(".,[]()$\\") or clause.line[end:].strip(" *_:.,[]()$\\\"'"):
        return rest
    lines = [line.strip().strip("*").strip() for line in text[clause.at + len(clause.text) :].split("\n", 7)[:7]]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line not in _SKIPPED and _HOLDS.search(line) and not _EMPTY.fullmatch(line):
            return "" if _lists_options(line, after) else sentences(line.split("</", 1)[0])[0][1]
    return ""


def _lists_options(line: str, after: str) -> bool:
    """Whether a line begins a list of the options: the next one holds the next letter."""
    first, second = _FIRST_OPTION.match(line), _FIRST_OPTION.match(after)
    return first is not None and second is not None and ord(second.group(1)) == ord(first.group(1)) + 1


# Before "answer": what makes it the response's own. "Tom's answer", "a possible answer", "the bonus answer" are not.
_OWN = re.compile(
    r"(?:^|[^\w'’\s]\s*|\b(?:the|my|our|question's|problem's|this|so|is|that|and|but|thus|hence|therefore|only|as|to|yes|no|"
    r"final)\s+)(?:(?:final|correct|right|best|true|actual|exact|numerical|numeric|simplified|required|desired|requested|"
    r"proper|only|most|more|remaining|likely|probable|suitable|appropriate|plausible|reasonable|accurate|short|overall|"
    r"approximate|resulting|real|closest|nearest|logical|complete|definitive|single|valid|obvious|clear|decimal|integer|"
    r"rounded|written|full|unique|corrected|new|revised|updated|expected|least|plausible|and|or)\s+)*$",
    re.IGNORECASE,
)
# "I doubt that the answer is", "there is no reason to say that"; behind it: "is false", "which is wrong".
_GOVERNED = re.compile(r"\b(?:that|whether|if|to (?:say|think|conclude|believe|claim))\b[^,;]{0,30}$", re.IGNORECASE)
_REFUTED = re.compile(
    rf"^(?:(?!\b(?:because|since|as|while|and|but)\b)[^,;]){{1,30}}?,? ?(?:which )?\b(?:is|was|seems|are) (?:\w+ly )?(?:an? )?"
    rf"(?:{JUDGED_WRONG}|not (?:true|right|correct|valid))\b|^[^;]{{1,80}}?, which (?:contradicts|fails|is not|cannot|can't|"
    rf"(?:is|was|seems) (?:\w+ly )?{JUDGED_WRONG})\b|^[^,;]{{1,30}}\s[-(]+\s?(?:wrong|incorrect|not)\W*$",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\b(?:answers?|choice)\s+(?:is|are|was|would|could|might|may|must|should|will)\b", re.IGNORECASE)


def owned(clause: Clause) -> Clause:
    """The clause, as a quotation where it speaks of an answer that is not the response's own."""
    low = clause.text.lower()
    if "answer" not in low and "choice" not in low:
        return clause
    named = [m.start() for m in _ANSWER.finditer(clause.text)]
    if named and clause.kind is Kind.CONDITION and not low.startswith("if "):
        return replace(clause, given=Kind.HYPOTHESIS)
    if clause.kind in ASSERTING and "answer" in clause.text and _of_another_question(clause):
        return replace(clause, given=Kind.QUOTATION)
    other = clause.kind in ASSERTING and named and not any(_OWN.search(clause.text[:at]) for at in named)
    return replace(clause, given=Kind.QUOTATION) if other else clause


def _of_another_question(clause: Clause) -> bool:
    """Whether a clause speaks of another question or picture than is asked of ("The first image" may be an option)."""
    found = _OTHER_QUESTION.search(clause.text)
    return found is not None and found.group().lower() not in clause.asked.lower()


def _in_quotes(before: str) -> bool:
    """Whether what stands in front opens a quotation and does not begin with it: "Translate: 'The answer is 6.'"."""
    head, quote, tail = before.rpartition('"') if before.count('"') % 2 else before.rpartition(" '")
    return bool(quote) and "'" not in tail and any(map(str.isalnum, head))


def _disowned(clause: Clause, start: int, end: int) -> bool:
    """Whether a marker is governed ("I doubt that") or followed ("which is wrong") by what refutes it."""
    before = clause.text[:start]
    if clause.kind in (Kind.DENIAL, Kind.REFUSAL, Kind.WITHDRAWAL, Kind.QUOTATION) and _GOVERNED.search(before):
        return True
    return clause.text[:1] in "✗✘❌" or bool(_REFUTED.match(clause.text[end:].lstrip(" *_:$\"'")))


def marked_claims(text: str, clause: Clause, asked: str) -> Iterator[tuple[ResponseClaim, bool]]:
    """(claim, whether it is denied) of every marker in a clause."""
    for match in MARK.finditer(clause.text, clause.bits)[-4:]:
        content = _content(text, clause, match.end())
        if match.group().lower().rstrip(" *_:\"'").endswith(("n't", "not", "not be", "n't be")):
            content = f"not {content}"
        if not content or "\\boxed" in content or (content not in clause.text and classify(content, asked) in SILENT):
            continue
        if _in_quotes(clause.text[: match.start()]) or _disowned(clause, match.start(), match.end()):
            continue
        if clause.kind is Kind.REFUSAL and unreal(clause.text[: match.end()]):
            continue
        if "answers" in match.group().lower() and len(listed := {a or b for a, b in LABELS.findall(f"{clause.line} ")}) > 1:
            content = ", ".join(sorted(listed))
        content = re.sub(r"(?:です|だ|입니다|이다)\W*$", "", _NEAREST.sub("", content))
        at = clause.at + match.end()
        stands = text.startswith(clause.text, clause.at) and (content in clause.text or content[4:] in clause.text)
        line = text[at:].split("\n", 1)[0].strip(" *_:\"'") if stands else content
        claim = ResponseClaim(first_sentence(content), MARKER, line.split("</", 1)[0].strip(), at)
        option = len(content) > 3 and content.strip(" .").lower() in asked.lower()
        if DENIED_AFTER.match(content) and not option and not _UNKNOWN.match(content):
            denied = re.sub(r"^\W{0,6}(?:\w+ly )?(?:not|never|no longer)\s+", "", content, flags=re.IGNORECASE)
            yield replace(claim, text=denied, line=denied), True
        elif not (_NOT_YET.match(content) or _UNKNOWN.match(content) or _AS.match(content) or _of_another_question(clause)):
            negative = DENIED_BEFORE.search(clause.text[: match.start()])
            yield claim, negative is not None and not asked_for(negative.group(), asked)
    right = _RIGHT_AFTER.finditer(clause.text, clause.bits)[-4:]
    for match in right if right and clause.kind not in (Kind.REFUSAL, Kind.LIST) else []:
        before = clause.text[max(0, match.start() - 30) : match.start(match.lastindex or 0)]
        refuted = bool(re.search(r"\bnot\s+(?:option |choice )?\(?$|n't .{0,12}$", before, re.IGNORECASE))
        letter = match.group(match.lastindex or 0)
        yield ResponseClaim(letter, MARKER, letter, clause.at + match.start()), refuted


def first_sentence(line: str) -> str:
    """Up to the first full stop that ends a sentence; a stop after a lone option letter ("B. text") does not."""
    for match in re.finditer(r"(?:[.?]|!(?!\s*[-=+*/×)]))[\"')\]*]{0,3}(?:\s|$)", line):
        if match.start() > 2 or not line[: match.start()].strip("(*[").isalpha():
            return line[: match.start()].strip()
    return line.strip()


ENDED = re.compile(r"[.!?。！)\]}*$`|]$")


def unrepeated(text: str, claims: list[ResponseClaim]) -> list[ResponseClaim]:
    """Without a last marker that was cut off while it said the same again ("The answer is 42. The answer is 4")."""
    if len(claims) > 1 and not ENDED.search(text):
        last, before = claims[-1], claims[-2]
        if last.at + len(last.text) >= len(text) - 2 and last.how == before.how == MARKER and before.text != last.text:
            return claims[:-1] if before.text.startswith(last.text) else claims
    if len(claims) > 1 and text.endswith(f"{claims[-1].text}.") and claims[-2].text.startswith(f"{claims[-1].text}."):
        # "Answer: 4.2" over and over, cut off as "Answer: 4."
        said = f"{text[: claims[-1].at].rpartition(chr(10))[2]}{claims[-2].text}"
        return claims[:-1] if "".join(text.split()).count("".join(said.split())) > 1 else claims
    texts = [claim.text for claim in claims[-4:]]
    if len(texts) > 1 and texts[-1].lower().startswith("also "):
        both = f"{texts[-2].rstrip('.')}, {texts[-1][5:]}"
        return [replace(claims[-1], text=both, line=both, wavers=True)]
    if len(texts) == 4 and texts[:2] == texts[2:] and texts[0] != texts[1]:
        # To and fro without a word in between.
        both = ", ".join(text.rstrip(".") for text in texts[:2])
        return [replace(claims[-1], text=both, line=both, wavers=True)]
    if len(claims) > 2 and claims[-2].text == claims[-3].text and claims[-2].how == claims[-1].how == MARKER:
        # The same, where it runs on into something else.
        value = re.match(r"\S+", claims[-1].text)
        stopped = text[claims[-1].at :].lstrip(" *_:$")[len(value.group()) if value else 0 :][:1] in (".", "!")
        if value and not stopped and claims[-2].text.startswith(value.group()) and claims[-2].text != value.group():
            return claims[:-1]
    return claims


# An answer in bold, or a paragraph of its own, and behind it only what explains it.
_FIRST = re.compile(r"[^\n]*?\*\*[^*\n]{1,60}\*\*\W{0,3}(?:\s|$)|[^\n]{1,200}\n\s*\n")
_GOES_ON = re.compile(
    r"\b(?:but|however|also|actually|additional\w*|instead|another|more|remaining|if|wait|first|next|answer)\b|"
    r"[^.!)|`*\s\w]\s*$|(?m:^)(?!\s*[*•-]\s)[^\n]*[\w,]$",
    re.IGNORECASE,
)


def told_first(text: str, first: Clause) -> bool:
    """Whether a response may say all in its first sentence: what stands behind it ends, and neither adds nor turns."""
    return bool(_FIRST.match(text, first.at)) and not _GOES_ON.search(text, first.at + len(first.text))
