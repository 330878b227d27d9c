"""What a response claims: boxes, answer markers, and what asserts by its place.

A response is cut where it runs on into another question, and read clause by clause (clauses.py). Boxes and answer markers
("the answer is", "Answer:") assert explicitly; a bare response or last line, a conclusion, the last sentence and an opening
("B. …") by their place. A withdrawal ("Wait", "that is wrong") takes back what was claimed before it, a refusal what was not
claimed explicitly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from l2v.benchmarks.scoring.boxes import boxed_claims
from l2v.benchmarks.scoring.clauses import (
    ASSERTING,
    CONCLUDES,
    DENIED_AFTER,
    DENIED_BEFORE,
    JUDGED_WRONG,
    REAFFIRMS,
    Clause,
    Kind,
    asked_for,
    classify,
    in_clauses,
    sentences,
    unreal,
)
from l2v.benchmarks.scoring.tables import Table

BOXED, MARKER, WHOLE, STATEMENT = "boxed", "answer", "whole", "statement"
CONCLUSION, LAST_SENTENCE, LAST_LINE, OPENING = "conclusion", "last_sentence", "last_line", "opening"
# Sentences whose answer stands at their end; STATEMENT is a response of one sentence.
SENTENCES = (STATEMENT, CONCLUSION, LAST_SENTENCE)
# Forms of nothing but an answer.
BARE = (BOXED, WHOLE, LAST_LINE)


@dataclass(frozen=True)
class ResponseClaim:
    """A stretch of the response that states its answer.

    how: one of the names above. line: the text up to the end of its line. at: where in the response it starts.
    unsure: it holds under a condition, or something in it is denied; only what cannot be misread is read from it.
    """

    text: str
    how: str
    line: str = ""
    at: int = 0
    unsure: bool = False


@dataclass(frozen=True)
class Claims:
    """asserted: the strongest first. denied: what the response says the answer is not."""

    asserted: tuple[ResponseClaim, ...] = ()
    denied: tuple[ResponseClaim, ...] = ()


_DENIED_BOX = re.compile(r"(?:\bnot|n't|\bnever|≠|\\neq?)[\s:$*(]*(?:equal to |be |the )?[\s:$*(]*$", re.IGNORECASE)


_DENIED_IN = re.compile(r"\W*(?:text\s*\{\s*)?(?:not\b|≠|\\?neq?\b)", re.IGNORECASE)
_WRONG_BOX = re.compile(rf"^\W{{0,8}}(?:is|was|would be|seems) (?:\w+ly )?(?:{JUDGED_WRONG}|not)\b", re.IGNORECASE)


# Before a colon "answer" must open its line or sentence: "here is how I got the answer: …" commits to nothing.
_IS = (
    r"(?:is|are|was|would be|will be|should be|must be|has to be|might be|could be|may be|cannot be|can't be|can not be|isn't|"
    r"wasn't|is not|(?:appears|seems|turns out|works out|comes out) (?:to be|as)|comes (?:out )?to|equals)(?!\w)"
)
_EMPHASIS = r"[*_\"' ]{0,4}\s{0,3}"
_OF = r"(?:\s+(?:to|for|of|in)\s+(?:(?!depend|would)[^\s.:]{1,25}\s){1,10}?)?"
_MARK = Table(
    rf"(?:\banswers?\b{_OF}{_EMPHASIS}(?:,[^,.]{{1,20}},\s)?{_IS}{_EMPHASIS}(?:(?:therefore|thus|then|hence)\b)?{_EMPHASIS}:?"
    rf"|(?:^|[.!?†])[^\w\n]{{0,8}}(?:(?:so|therefore|thus|hence|the|my|our|final|correct|best|right|short|"
    rf"and),?\s){{0,4}}(?:answers?|choice){_EMPHASIS}(?::|=|\s-\s)"
    rf"|\b(?:final|correct)\s+answer{_EMPHASIS}:"
    rf"|\b(?:correct|right|best|better|appropriate|remaining)\s+(?:option|choice|letter|match|"
    rf"statement)(?:\s+letter)?{_OF}{_EMPHASIS}(?:is|"
    rf":){_EMPHASIS}:?"
    r"|^[#\s*\[]{0,8}(?:(?:the\s+)?final\s+|correct\s+)?answer\]?[*_: \]]{0,6}$"
    r"|答案(?:应该)?(?:是|为|选|:)\s{0,3}:?|故选|所以选|(?:答え|解答)(?:は|:)|(?:정답|답)[은는:]"
    r"|\b(?:antwort|lösung|réponse|respuesta|risposta|resposta|ответ)(?:\s(?:finale?|correcta?|correta|corretta))?"
    r"\s?(?:\s(?:ist|lautet|est|es|è|é)(?!\w)|:|-)"
    r"|\bleav(?:es|ing)\s+(?:us\s+with\s+|only\s+|just\s+)*(?=(?:option|choice)\b|\(?[A-J]\)?\W*$)"
    r"|<ans(?:wer)?>|<conclusion>|^####(?=\s{0,3}[^\s#])|\[answer\][\s:]*|^\W{0,4}ans\b[.:]"
    r"|(?<![/\w])(?:i|we)(?:'d|'ll|'m| am)?\s+(?:would\s+|will\s+|should\s+|must\s+|therefore\s+)?(?:choos(?:e|ing)|"
    r"pick(?:ing)?|select|go(?:ing)? with|"
    r"opt for|meant?|settle on)\s+(?:the\s+)?(?:answer|option|choice)?)",
)
_RIGHT_AFTER = Table(
    r"(?-i:(?:^|[^\w\s]\s{0,2}|\b(?:[Oo]ption|[Cc]hoice|[Aa]nswer|so|[Tt]hus|[Hh]ence|[Tt]herefore|that|and|"
    r"but)\s{1,2})[(*]{0,3}([A-J])[)*]{0,3}\s+"
    r"(?:is|must be|has to be)\s+(?:therefore\s+)?(?:the\s+)?(?:only\s+)?(?:(?:correct|right|best|better)\s+"
    r"(?:answer|option|choice|one)|correct|right|the answer)\b|(?<!not )\bonly\s+(?:option\s+)?\(?([A-J])\)?\s+(?:works|fits|"
    r"matches|remains|is left)\b)",
)
_NOT_YET = re.compile(
    r"^\W{0,6}(?:(?:correct|right)\W*$|true that|clear\b|given (?:by|as)?|based|determined|found|calculated|obtained|computed|"
    r"as follows|"
    r"derived|the (?:one|option|choice) (?:that|which|with)\b|in the form|one of|among)",
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
    r"\b(?:previous|first|second|last|next|other|earlier|another|similar)\s+(?:question|problem|part)", re.IGNORECASE
)
_SKIPPED = ("\\[", "$$", "```", "\\]", "\\(", "**", "$")
# Kinds of clauses in which a marker asserts nothing; denials are told apart by where the marker stands.
_SILENT = (Kind.HYPOTHESIS, Kind.QUESTION, Kind.QUOTATION, Kind.INSTRUCTION, Kind.CONDITION)


# A derivation that says "Let" or "may" still ends in its box; these do not.
_UNBOXED = (Kind.INSTRUCTION, Kind.QUESTION, Kind.QUOTATION, Kind.HYPOTHESIS)


_NEAREST = re.compile(
    r"^\W{0,3}(?:(?:closest|nearest|most similar|equal|equivalent) to|(?:most |very )?(?:probably|likely|certainly|definitely|"
    r"clearly|"
    r"surely|indeed|simply|obviously|of course|therefore|thus|then|exactly|precisely|still|now|just|actually|in (?:short|fact)|"
    r"none other than|(?:with(?:out)? )(?:a |any )?doubt)),?\s+",
    re.IGNORECASE,
)


_FIRST_OPTION = re.compile(r"^(?:(?:options?|choices?)\s?:\s*)?\(?([A-I])[).:]", re.IGNORECASE)


def _content(text: str, clause: Clause, end: int) -> str:
    """What a marker marks: the rest of its clause, or the next line that holds anything."""
    rest = clause.text[end:].split("</", 1)[0].strip(" *_:\"'")
    if rest.strip(".,[]()$\\") or clause.line[end:].strip(" *_:.,[]()$\\\"'"):
        return rest
    lines = [line.strip().strip("*").strip() for line in text[clause.at + len(clause.text) :].split("\n", 7)[:7]]
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line and line not in _SKIPPED and line.strip("]*_:#. "):
            return "" if _lists_options(line, after) else sentences(line.split("</", 1)[0])[0][1]
    return ""


def _lists_options(line: str, after: str) -> bool:
    """Whether a line begins a list of the options: the next one holds the next letter."""
    first, second = _FIRST_OPTION.match(line), _FIRST_OPTION.match(after)
    return first is not None and second is not None and ord(second.group(1)) == ord(first.group(1)) + 1


# Before "answer": what makes it the response's own. "Tom's answer", "a possible answer", "the bonus answer" are not.
_OWN = re.compile(
    r"(?:^|[^\w'’\s]\s*|\b(?:the|my|our|question's|problem's|this|so|is|that|and|but|thus|hence|therefore|only|as|to|yes|no|"
    r"final)\s+)"
    r"(?:(?:final|correct|right|best|true|actual|exact|numerical|numeric|simplified|required|desired|requested|proper|only|"
    r"most|more|"
    r"remaining|likely|probable|suitable|appropriate|plausible|reasonable|accurate|short|overall|approximate|resulting|real|"
    r"closest|nearest|"
    r"logical|complete|definitive|single|valid|obvious|clear|decimal|integer|rounded|written|full|unique|corrected|new|revised|"
    r"updated|expected|least|plausible|and|or)\s+)*$",
    re.IGNORECASE,
)
# "I doubt that the answer is", "there is no reason to say that"; behind it: "is false", "which is wrong".
_GOVERNED = re.compile(r"\b(?:that|whether|if|to (?:say|think|conclude|believe|claim))\b[^,;]{0,30}$", re.IGNORECASE)
_REFUTED = re.compile(
    rf"^(?:(?!\b(?:because|since|as|while|and|but)\b)[^,;]){{1,30}}?,? ?(?:which )?\b(?:is|was|seems|are) (?:\w+ly )?(?:an? )?"
    rf"(?:{JUDGED_WRONG}|not (?:true|right|correct|valid))\b|^[^,;]{{1,30}}, which (?:contradicts|fails|is not|cannot)\b",
    re.IGNORECASE,
)


_ANSWER = re.compile(r"\b(?:answer|choice)s?\s+(?:is|are|was|would|could|might|may|must|should|will)\b", re.IGNORECASE)


def _others(clause: Clause) -> Clause:
    """The clause, as a quotation where it speaks of an answer that is not the response's own."""
    named = [m.start() for m in _ANSWER.finditer(clause.text)]
    if named and clause.kind is Kind.CONDITION and not clause.text.lower().startswith("if "):
        return replace(clause, kind=Kind.HYPOTHESIS)
    other = clause.kind in ASSERTING and named and not any(_OWN.search(clause.text[:at]) for at in named)
    return replace(clause, kind=Kind.QUOTATION) if other else clause


def _disowned(clause: Clause, start: int, end: int) -> bool:
    """Whether a marker is governed ("I doubt that") or followed ("which is wrong") by what refutes it."""
    before = clause.text[:start]
    if clause.kind in (Kind.DENIAL, Kind.REFUSAL, Kind.WITHDRAWAL, Kind.QUOTATION) and _GOVERNED.search(before):
        return True
    return bool(_REFUTED.match(clause.text[end:].lstrip(" *_:$\"'")))


def _marked(text: str, clause: Clause, asked: str) -> Iterator[tuple[ResponseClaim, bool]]:
    """(claim, whether it is denied) of every marker in a clause."""
    for match in _MARK.finditer(clause.text, clause.bits)[-4:]:
        content = _content(text, clause, match.end())
        if match.group().lower().rstrip(" *_:\"'").endswith(("n't", "not", "not be", "n't be")):
            content = f"not {content}"
        if not content or "\\boxed" in content or (content not in clause.text and classify(content, asked) in _SILENT):
            continue
        if _disowned(clause, match.start(), match.end()):
            continue
        if clause.kind is Kind.REFUSAL and unreal(clause.text[: match.end()]):
            continue
        content = re.sub(r"(?:です|だ|입니다|이다)\W*$", "", _NEAREST.sub("", content))
        at = clause.at + match.end()
        stands = text.startswith(clause.text, clause.at) and (content in clause.text or content[4:] in clause.text)
        line = text[at:].split("\n", 1)[0].strip(" *_:\"'") if stands else content
        claim = ResponseClaim(first_sentence(content), MARKER, line.split("</", 1)[0].strip(), at)
        if DENIED_AFTER.match(content) and not _UNKNOWN.match(content):
            denied = re.sub(r"^\W{0,6}(?:\w+ly )?(?:not|never|no longer)\s+", "", content, flags=re.IGNORECASE)
            yield replace(claim, text=denied, line=denied), True
        elif not (
            _NOT_YET.match(content) or _UNKNOWN.match(content) or _AS.match(content) or _OTHER_QUESTION.search(clause.text)
        ):
            negative = DENIED_BEFORE.search(clause.text[: match.start()])
            yield claim, negative is not None and not asked_for(negative.group(), asked)
    for match in [] if clause.kind in (Kind.REFUSAL, Kind.LIST) else _RIGHT_AFTER.finditer(clause.text, clause.bits)[-4:]:
        before = clause.text[max(0, match.start() - 30) : max(match.start(1), match.start(2))]
        refuted = bool(re.search(r"\bnot\s+(?:option |choice )?\(?$|n't .{0,12}$", before, re.IGNORECASE))
        letter = match.group(1) or match.group(2)
        yield ResponseClaim(letter, MARKER, letter, clause.at + match.start()), refuted


def first_sentence(line: str) -> str:
    """Up to the first full stop that ends a sentence; a stop after a lone option letter ("B. text") does not."""
    for match in re.finditer(r"[.!?][\"')\]*]{0,3}(?:\s|$)", line):
        if match.start() > 2 or not line[: match.start()].strip("(*[").isalpha():
            return line[: match.start()].strip()
    return line.strip()


_HEADER = re.compile(
    r"^[^\w\n<|]{0,6}(?:(?:next|new|another|follow-up)\s+)?(?:question|problem|exercise|follow-?up|user|human|instruction|"
    r"query|example|"
    r"q)\s?\d{0,3}\W{0,3}(?:[:.)\]]|$)"
    r"|^\s*(?:<image>|hint:\s*please)|\[INST\]|\[(?:question|problem)\]|(?<=[.!?]\s)(?:question|problem)\s?\d{0,2}:",
    re.IGNORECASE | re.MULTILINE,
)
_TURN_OF_ANSWER = re.compile(r"^A:(?=\s+\(?[A-J]\)?\W*$)")
_DIALOGUE = re.compile(r"^\W*Q(?:uestion)?\d?\s?:")
_LEADS_IN = re.compile(
    r"\b(?:restate|re-?read|recall|repeat|the (?:question|problem|following(?!:))|let(?:'?s| me) (?!say|assume|suppose|"
    r"guess)\w+)\b"
    r"[^.!?\n\d]*[.:!]?\W*$|\w \w.*:\W*$",
    re.IGNORECASE,
)


_DENIES = re.compile(r"\b(?:not|no|never|cannot|can't|couldn't|impossible|unclear)\b", re.IGNORECASE)


def own_part(text: str) -> str:
    """The response without what it invents behind its answer: another question, another turn of a dialogue."""
    text = _TURN_OF_ANSWER.sub("Answer:", text)
    if _DIALOGUE.match(text):
        text = re.sub(r"^A\d?:", "Answer:", text, count=1, flags=re.MULTILINE)
    for match in _HEADER.finditer(text):
        head = text[: match.start()].strip()
        leads_in = len(head.split()) <= 12 and _LEADS_IN.search(head) and not (_MARK.search(head) or _DENIES.search(head))
        if re.search(r"\w", head) and not leads_in:
            return head
    return text


_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|can|cannot|could|would|will|do|does|shows?|depends?|not|because|since|needs?|i|we|gets?|"
    r"takes?|"
    r"costs?|gives?|makes?)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{3,}")
_CODE = re.compile(r"^\s*(?:print\s?\(|return\b|def\s|import\s|from\s\w+\simport|#|//|```|\|)|[;{]$")
_ENDED = re.compile(r"[.!?)\]}*$`|]$")
_LAST_WORD_IS_VALUE = re.compile(r"\d[^\s\w]{0,3}$|\d\s?(?:°|%|[a-z]{1,2}\d?)$")
_BARE_LINE = re.compile(
    r"^[\s*_$(\[\\]{0,6}(?:[A-J]|(?:total|sum|result|x|y|n|"
    r"[\d\s+*/×÷().-]{1,40}(?==))?\s?[:=]?\s?\$?-?\d[\d,.]*(?:/\d+)?\s?(?:%|°|"
    r"\\?[a-zA-Z]{1,12}(?:\^?[23])?)?|[A-J][.):]\s?\S.{0,60}|\(?[A-J]\)\s?\S.{0,60})[\s*_$)\].\\]{0,6}$",
    re.IGNORECASE,
)


def is_bare(text: str) -> bool:
    """Whether a line is an answer and no sentence: short, no verb, not "So …", and few words before a full stop."""
    words = len(_WORD.findall(text))
    return len(text) <= 60 and words <= (3 if text.endswith(".") else 6) and not (_VERB.search(text) or CONCLUDES.match(text))


def read_claims(response: str, asked: str = "", options: Sequence[str] = ()) -> Claims:
    """What a cleaned response asserts, the strongest first, and what it denies.

    Boxes and markers are equally strong and the later wins; then an answer that is the whole response or its last line, the
    concluding or last sentence, and an opening ("B. Because …"). A last sentence that was cut off is left out.
    """
    text = own_part(response)
    asked = f"{asked}\n{' '.join(options)}"
    clauses = [_others(clause) for clause in in_clauses(text, asked, options)]
    explicit, denied = _explicit(text, clauses, asked)
    withdrawn = _withdrawn_until(clauses)
    found = [c for c in explicit if c.at >= withdrawn]
    placed = [c for c in _placed(text, clauses, bool(explicit)) if c.at >= withdrawn or c.how == WHOLE]
    return Claims(tuple(sorted(found, key=lambda c: -c.at)) + tuple(placed), tuple(denied))


_SUBJECT = re.compile(
    r"^\W{0,4}(?:(?:so|but|and|option|choice|answer|that) )*(\S.{0,60}?)\s+(?:(?:is|are|was)(?:n't|"
    r" not) (?:\w+ ){0,2}(?:correct|right|answer|"
    rf"solution|true|possible|valid)|(?:is|are|was) (?:\w+ly |also )?{JUDGED_WRONG}|(?:cannot|can't|can not) be)\b",
    re.IGNORECASE,
)


_IS_ANSWER = re.compile(
    r"^\W{0,4}(?:(?:so|thus|hence|therefore|then|and|but|clearly|obviously)\b[\s,]*)?(?:(?:i|we) (?:think|believe|"
    r"conclude) (?:that )?)?"
    r"((?-i:\(?[A-J]\)?)|[^,;:]{0,38}[\d=+√\\^)}][^,;:\s]{0,20})\s+(?:is|must be)\s+"
    r"(?:therefore |thus |indeed |clearly )?(?:(?:the |our |my )(?:\w+ )?(?:answer|result|solution|correct one)\b|(?:correct|"
    r"right)\W*$)",
    re.IGNORECASE,
)


def _explicit(text: str, clauses: Sequence[Clause], asked: str) -> tuple[list[ResponseClaim], list[ResponseClaim]]:
    """Boxes and markers: (asserted, denied)."""
    asserted, denied = [], []
    for clause in clauses:
        for claim, is_denied in _marked(text, clause, asked):
            if is_denied:
                denied.append(claim)
            elif clause.kind not in _SILENT:
                asserted.append(claim)
        if clause.kind is Kind.DENIAL and (subject := _SUBJECT.match(clause.text)):
            denied.append(ResponseClaim(subject.group(1), MARKER, subject.group(1), clause.at))
        if clause.kind in ASSERTING and (named := _IS_ANSWER.match(clause.text)) and not _VERB.search(named.group(1)):
            asserted.append(ResponseClaim(named.group(1), MARKER, named.group(1), clause.at))
    for before, clause in zip(clauses, clauses[1:], strict=False):
        if (
            before.kind is Kind.WITHDRAWAL
            and before.sentence == clause.sentence
            and clause.kind in ASSERTING
            and _BARE_LINE.match(clause.text)
        ):
            asserted.append(ResponseClaim(clause.text, MARKER, clause.text, clause.at))
    asserted.sort(key=lambda claim: claim.at)
    for at, content in boxed_claims(text):
        around = next((c for c in reversed(clauses) if c.at <= at), None)
        claim = ResponseClaim(content, BOXED, content, at)
        if (
            _DENIED_IN.match(content)
            or _DENIED_BOX.search(text[max(0, at - 30) : at])
            or _WRONG_BOX.match(text[at : at + len(content) + 80].partition(content)[2])
        ):
            denied.append(claim)
        elif around is None or around.kind not in _UNBOXED or len(around.text) > 300:
            asserted.append(claim)
    return _unrepeated(text, asserted), denied


def _unrepeated(text: str, claims: list[ResponseClaim]) -> list[ResponseClaim]:
    """Without a last marker that was cut off while it said the same again ("The answer is 42. The answer is 4")."""
    if len(claims) > 1 and not _ENDED.search(text):
        last, before = claims[-1], claims[-2]
        if last.at + len(last.text) >= len(text) - 2 and last.how == before.how == MARKER and before.text != last.text:
            return claims[:-1] if before.text.startswith(last.text) else claims
    texts = [claim.text for claim in claims[-4:]]
    if len(texts) == 4 and texts[:2] == texts[2:] and texts[0] != texts[1]:
        # To and fro without a word in between.
        both = ", ".join(text.rstrip(".") for text in texts[:2])
        return [replace(claims[-1], text=both, line=both)]
    if len(claims) > 2 and claims[-2].text == claims[-3].text and claims[-2].how == claims[-1].how == MARKER:
        # The same, where it runs on into something else.
        value = re.match(r"\S+", claims[-1].text)
        stopped = text[claims[-1].at :].lstrip(" *_:$")[len(value.group()) if value else 0 :][:1] in (".", "!")
        if value and not stopped and claims[-2].text.startswith(value.group()) and claims[-2].text != value.group():
            return claims[:-1]
    return claims


_NO_ANSWER = re.compile(
    r"\b(?:answer|solution|result)s?\b (?:is|are|was|cannot|can't|can not|could not|couldn't)\b", re.IGNORECASE
)


def _withdrawn_until(clauses: Sequence[Clause]) -> int:
    """Where the last withdrawal starts that nothing behind it takes back; 0 for none. A refusal behind a marker is one."""
    at = 0
    for clause in clauses:
        if clause.kind is Kind.WITHDRAWAL or clause.kind is Kind.REFUSAL and _NO_ANSWER.search(clause.text):
            at = clause.at
        elif at and REAFFIRMS.search(clause.text) and clause.kind in ASSERTING:
            at = 0
    return at


def _placed(text: str, clauses: Sequence[Clause], explicit: bool) -> list[ResponseClaim]:
    """What asserts by its place: the whole response, its last line, conclusion or sentence, its opening."""
    said = [c for c in clauses if c.kind is not Kind.REMARK]
    if not said:
        return []
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    one = " ".join(lines[:1] if len(set(lines)) == 1 else lines)
    words = one.split()
    if len(set(words)) == 1:
        one = words[0]
    one = said[0].text if len(said) == 1 < len(clauses) and len(lines) == 1 else one
    alone = all(c.kind in ASSERTING for c in said) and len({c.sentence for c in said}) == 1
    alone = alone and not any(c.kind is Kind.CONCLUSION for c in said[1:])
    if len(set(lines)) == 1 and alone and is_bare(one := _shortly(one) or one):
        return [ResponseClaim(one, WHOLE, one)]
    found = _ending(said, lines)
    first = said[0]
    if not explicit and first.kind in ASSERTING:
        found.append(ResponseClaim(first.text, OPENING, lines[0], first.at))
    return found


# "So I'd say it's …": what follows is the answer, where it is short and no sentence.
_LEAD_IN = re.compile(
    r"^\W{0,4}(?:(?:of course|clearly|obviously|so|therefore|thus|hence|then|well|and|but|yes|no|now|finally|actually|"
    r"consequently|step \d{1,2}|conclusion|"
    r"leaving|giving|making|yielding)\b[\s,.:]*)*"
    r"(?:(?:i|we)(?:'d|'ll| would| will| must| can| have to)?\s+(?:say|answer|guess|think|believe|conclude|estimate|get|find|"
    r"obtain|"
    r"have|see|count|am (?:sure|certain|confident)|go with)\s+(?:that\s+)?|i'm (?:sure|certain|confident|"
    r"going with)\s+(?:that\s+)?|"
    r"this (?:means|shows|implies|tells us)\s+(?:that\s+)?)?"
    r"(?:(?:it|this|that|there|the (?:\w+ )?(?:result|value|total|sum|number|expression|difference|product))(?:'s|\s(?:is|"
    r"are|equals|"
    r"becomes|comes to|(?:must|should|has to|will|would|appears to|seems to|turns out to) be))\s+(?:therefore\s+)?)?"
    r"(?:(?:\w+ly|indeed|of course|just|still)\b[\s,]*)*",
    re.IGNORECASE,
)


def _shortly(text: str) -> str | None:
    """The answer of a sentence that is nothing but "So it is …" and an answer."""
    lead = _LEAD_IN.match(text)
    short = re.split(r",? (?:because|since|as)\b", text[lead.end() :])[0].strip(" ,:") if lead else text
    bare = (
        lead
        and re.search(r"\w", lead.group())
        and re.search(r"[\d=+√π\\^]|^\W*(?:[A-J]|yes|no|true|false)\W*$", short)
        and not _VERB.search(short)
    )
    return short if bare and len(short) <= 60 and len(_WORD.findall(short)) <= 2 else None


# A last word on which no sentence ends.
_CUT = re.compile(
    r"\b(?:is|are|was|were|the|an|of|to|that|and|or|but|therefore|thus|with|for|by|we|which|than|as|at|from|be|if|because|"
    r"since|not|"
    r"its|these|would|will|can|must|need|has|have|equals?)[\s,:]*$",
    re.IGNORECASE,
)


def _ending(said: Sequence[Clause], lines: Sequence[str]) -> list[ResponseClaim]:
    """The last line where that is a bare answer; the sentence that concludes, the last one or the one before it."""
    last = said[-1]
    refused = [c for c in said if c.kind is Kind.REFUSAL and c.sentence >= last.sentence - 1]
    if last.text.count("{") > last.text.count("}") or _CUT.search(last.text):
        return []
    if _CODE.search(last.text) or last.kind not in ASSERTING:
        return _before_last(said) if not refused and last.kind in _BEHIND else []
    if (
        refused
        and not (refused[-1].sentence == last.sentence and refused[-1].at < last.at)
        and last.kind is not Kind.CONCLUSION
    ):
        return []
    claim = ResponseClaim(_shortly(last.text) or last.text, LAST_SENTENCE, last.line, last.at, last.kind is Kind.CONDITION)
    if len(said) == 1:
        return [replace(claim, how=STATEMENT)]
    found = []
    alone = last.text == lines[-1] or (last.sentence != said[-2].sentence and said[-2].kind is Kind.INSTRUCTION)
    if alone and _BARE_LINE.match(claim.text) and not _step(lines):
        found.append(replace(claim, how=LAST_LINE))
    whole = _whole_sentence(said)
    if last.kind is Kind.CONCLUSION and (_ENDED.search(last.text) or _LAST_WORD_IS_VALUE.search(last.text)):
        return [*found, replace(claim, how=CONCLUSION), *whole]
    if last.kind is not Kind.CONCLUSION and _ENDED.search(last.text):
        return [*found, claim, *whole, *_before_last(said)]
    return found


def _whole_sentence(said: Sequence[Clause]) -> list[ResponseClaim]:
    """The last sentence with all its clauses ("The length is 8, so that is how far it goes"), where each asserts something."""
    parts = [c for c in said if c.sentence == said[-1].sentence]
    if len(parts) < 2 or any(c.kind not in ASSERTING for c in parts):
        return []
    how = CONCLUSION if parts[0].kind is Kind.CONCLUSION else LAST_SENTENCE if len(parts) < len(said) else STATEMENT
    return [ResponseClaim(parts[0].line, how, parts[0].line, parts[0].at, any(c.kind is Kind.CONDITION for c in parts))]


def _step(lines: Sequence[str]) -> bool:
    """Whether the line before the last is unfinished, so that the last may be a piece of it."""
    return len(lines) > 1 and lines[-2].endswith(("=", "+", "-", "×", "*", "/", ","))


# What may stand behind a conclusion and takes nothing of it back.
_BEHIND = (Kind.DENIAL, Kind.LIST, Kind.HYPOTHESIS, Kind.QUOTATION, Kind.QUESTION)


def _before_last(said: Sequence[Clause]) -> list[ResponseClaim]:
    firsts = {c.sentence: c.at for c in reversed(said)}
    last = len(said) - 1
    while last > 0 and said[last - 1].kind in _BEHIND[1:]:
        last -= 1
    before = [
        c
        for c in said[max(0, last - 2) : last]
        if firsts[c.sentence] == c.at and (c.kind is Kind.CONCLUSION or c.kind is Kind.ASSERTION and _shortly(c.text))
    ]
    return [ResponseClaim(_shortly(c.text) or c.text, CONCLUSION, c.line, c.at) for c in before[-1:]]
