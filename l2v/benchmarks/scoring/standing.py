"""What asserts by where it stands: a bare response or last line, a conclusion, the last sentence, an opening ("B. …")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from l2v.benchmarks.scoring.blanks import filled, titled
from l2v.benchmarks.scoring.chains import sides, worked_out
from l2v.benchmarks.scoring.clauses import ASSERTING, Clause, Kind
from l2v.benchmarks.scoring.cleaning import plain
from l2v.benchmarks.scoring.forms import (
    CONCLUSION,
    LAST_LINE,
    LAST_SENTENCE,
    OPENING,
    STATEMENT,
    WHOLE,
    ResponseClaim,
)
from l2v.benchmarks.scoring.markers import ENDED, told_first
from l2v.benchmarks.scoring.phrases import CONCLUDES, LABELLED
from l2v.benchmarks.scoring.polar import ABLE, restated
from l2v.benchmarks.scoring.topics import focus, options_of, without_options

VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|can|cannot|could|would|will|do|does|must|should|be|equals?|leaves|remains?|measures|"
    r"occurs?|comes|shows?|depends?|not|because|since|needs?|i|we|gets?|takes?|costs?|gives?|makes?)\b|[有是为]",
    re.IGNORECASE,
)
# Two signs of a script without spaces are about a word.
_WORD = re.compile(r"[^\W\d_\u3040-\ud7af]{3,}|[\u3040-\ud7af]{2}")
_CODE = re.compile(r"^\s*(?:print\s?\(|return\b|def\s|import\s|from\s\w+\simport|#|//|```|\|)|[;{]$")
_LAST_IS_RESULT = re.compile(
    r"[=≈][^=≈]*\d\s?(?:°|%|[a-zA-ZΩµ]{1,12}(?:\^[23])?(?:/[a-zA-Z]{1,4}(?:\^[23])?)?(?: [a-z]{3,12})?)\W{0,3}$"
)
_LAST_WORD_IS_VALUE = re.compile(r"\d[^\s\w]{0,3}$|\d\s?(?:°|%|units?|[a-z]{1,2}(?:\^?\d)?)$")
BARE_LINE = re.compile(
    r"^[\s*_$(\[\\]{0,6}(?:[A-J]|(?:altogether|total|sum|result|output|mean|average|difference|count|(?:m ?)?∠ ?\w{1,3}|"
    r"[a-z]{1,3}(?:\(\w{1,4}\))?(?=\s?=)|[\d\s+*/×÷().-]{1,40}(?==))?\s?[:=]?[\s*]{0,3}\$?-?\d[\d,.]*(?:/\d+|√\d+|"
    r"\\sqrt\{\d+\})?\s?(?:[%°¢]|"
    r"\\?[a-zA-Z]{1,12}(?:\^?[23])?)?|[A-J][.):]\s?\S.{0,60}|\(?[A-J]\)\s?\S.{0,60})[\s*_$)\].\\]{0,6}$",
    re.IGNORECASE,
)


def is_bare(text: str) -> bool:
    """Whether a line is an answer and no sentence: short, no verb, not "So …", and few words before a full stop."""
    words = len(_WORD.findall(text))
    most = 3 if text.endswith((".", "。")) else 6
    return len(text) <= 60 and words <= most and not (VERB.search(text) or CONCLUDES.match(text))


def standing(text: str, clauses: Sequence[Clause], explicit: bool, asked: str) -> list[ResponseClaim]:
    """What asserts by its place: the whole response, its last line, conclusion or sentence, its opening."""
    # What stands in the middle of a long response asserts nothing by its place.
    near = clauses if len(clauses) <= 20 else [*clauses[:4], *clauses[-16:]]
    said = [c for c in near if c.kind is not Kind.REMARK]
    if not said:
        return []
    lines = [line.strip() for line in text.split("\n") if line.strip(" -*_=")]
    if not lines:
        return []
    if _contradicts(lines):
        return []
    if len(set(lines)) > 2 and all(re.fullmatch(r"[\s(*]*[A-J][\s).*]*", line) for line in lines):
        # One letter after the other.
        return []
    told = {clause.line for clause in said}
    while len(lines) > 1 and lines[-1] not in told and _CHECK.match(lines[-1]):
        lines.pop()
    one = " ".join(lines[:1] if len(set(lines)) == 1 else lines)
    words = one.split()
    words = words[:-1] if len(words) > 3 and words[0].startswith(words[-1]) else words
    if words and words[0].strip(",.;") == words[-1].strip(",.;") and len({word.strip(",.;") for word in words}) == 1:
        one = words[-1]
    one = said[0].text if len(said) == len(lines) == 1 and len(one) > len(said[0].text) else one
    alone = all(c.kind in ASSERTING for c in said) and len({c.sentence for c in said}) == 1
    alone = alone and not any(c.kind is Kind.CONCLUSION for c in said[1:])
    if len(set(lines)) == 1 and alone and not _is_cut(one) and is_bare(short := _shortly(one) or one):
        if one.count("=") > 1 and worked_out(plain(one), without_options(asked)):
            short = sides(one)[-1]
        return [ResponseClaim(short, WHOLE, short, sentence=one)]
    found = [*_ending(said, lines, asked), *_focal(said, lines, asked, explicit), *filled(said, asked)]
    refused = any(c.kind is Kind.REFUSAL for c in said[-3:])
    found += titled(said, asked) if not found and not refused else []
    first = said[0]
    begun = "=" in first.text and any("=" in clause.text for clause in said[1:])
    # "Texas: 10 %", "Ohio: 20 %": one option after the other.
    begun = (
        begun or len({_bare(line.partition(":")[0]) for line in lines if ":" in line} & {*map(_bare, options_of(asked))}) > 1
    )
    if not explicit and first.kind in ASSERTING and not (_NUMBERED.match(lines[0]) or begun):
        opening = ResponseClaim(first.text, OPENING, lines[0], first.at)
        # A bare option in front ("Condensation. Rain follows.") says more than what a last sentence mentions.
        ahead = is_bare(first.text) and len({c.sentence for c in said}) > 1 and all(c.how == LAST_SENTENCE for c in found)
        found.insert(0 if ahead else len(found), opening)
        if first.kind is Kind.ASSERTION and told_first(text, first):
            found.append(replace(opening, how=STATEMENT, line=first.text))
    return found


def _contradicts(lines: Sequence[str]) -> bool:
    """Whether a response is nothing but options, now this one, now that one, and back ("C. red", "A. blue", "C. red")."""
    letters = [match[1] or match[2] for line in lines if (match := LABELLED.match(line))]
    turns = [b for a, b in zip(["", *letters], letters, strict=False) if a != b]
    return len(letters) == len(lines) and len(set(lines)) == 2 and len(turns) > 2 and len(max(lines, key=len)) < 50


_CHECK = re.compile(r"\W*(?:(?:double|cross)[ -]?check|check|verif\w+|proof)\b", re.IGNORECASE)
_NUMBERED = re.compile(r"\d{1,2}[.)]\s+\S")
# "So I'd say it's …": what follows is the answer, where it is short and no sentence.
_LEAD_IN = re.compile(
    r"^\W{0,4}(?:(?:of course|clearly|obviously|so|therefore|thus|hence|then|well|and|but|yes|no|now|finally|actually|"
    r"consequently|step \d{1,2}|conclusion|leaving|giving|making|yielding)\b[\s,.:]*)*(?:(?:i|we)(?:'d|'ll| would| will| must|"
    r" can| have to)?\s+(?:say|answer|guess|think|believe|conclude|estimate|get|find|obtain|have|see|count|am (?:sure|certain|"
    r"confident)|go with)\s+(?:that\s+)?|i'm (?:sure|certain|confident|going with)\s+(?:that\s+)?|this (?:means|shows|implies|"
    r"tells us)\s+(?:that\s+)?)?(?:(?:it|this|that|there|the (?:(?!\w*(?:est|imum|most|first|second|third|last|other|given|"
    r"initial)\b)\w+ )?(?:result|value|total|sum|number|expression|difference|product))(?:'s|\s(?:is|are|equals|becomes|"
    r"comes to|(?:must|should|has to|will|would|appears to|seems to|"
    r"turns out to) be))\s+(?:therefore\s+)?)?(?:(?:(?!only)\w+ly|indeed|"
    r"of course|just|still)\b[\s,]*)*",
    re.IGNORECASE,
)


_WHY = re.compile(r",? (?:because|since|as)\b")


def _shortly(text: str) -> str | None:
    """The answer of a sentence that is nothing but "So it is …" and an answer."""
    lead = _LEAD_IN.match(text)
    short = _WHY.split(text[lead.end() :], maxsplit=1)[0].strip(" ,:") if lead else text
    bare = (
        lead
        and re.search(r"\w", lead.group())
        and re.search(r"[\d=+√π\\^]|^\W*(?:[A-J]|yes|no|true|false)\W*$", short)
        and not VERB.search(short)
    )
    return short if bare and len(short) <= 60 and len(_WORD.findall(short)) <= 2 else None


# A last word or sign on which no sentence ends.
_LAST_WORD = re.compile(r"(\w+)[\s,:]*$")
_CUT_WORDS = """is are was were the an of to that and or but therefore thus with for by we which than as at from be if because
since not its these would will can must need has have equal equals"""
_CUT = frozenset(_CUT_WORDS.split())
_SIGN = re.compile(r"[\w)}]\s?(?:[×+÷=-]|\\(?:cdot|times|div|frac))\s*\$?\s*$")
_BEGUN = re.compile(r"\W*(?:step 1|first(?:ly)?|let'?s)\b[^.!?]*$", re.IGNORECASE)


def _is_cut(text: str) -> bool:
    """Whether a text ends on a word or a sign that no sentence ends on, or is but the beginning of an explanation."""
    word = _LAST_WORD.search(text[-30:])
    return (
        word is not None and word[1].lower() in _CUT or _SIGN.search(text[-20:]) is not None or _BEGUN.match(text) is not None
    )


def _bare(text: str) -> str:
    return text.strip(" .*").lower()


def _ending(said: Sequence[Clause], lines: Sequence[str], asked: str) -> list[ResponseClaim]:
    """The last line where that is a bare answer; the sentence that concludes, the last one or the one before it."""
    last = said[-1]
    refused = [c for c in said if c.kind is Kind.REFUSAL and c.sentence >= last.sentence - 1]
    if last.text.count("{") > last.text.count("}") or _is_cut(last.text) or _unfinished(last.text):
        return []
    if _CODE.search(last.text) or last.kind not in ASSERTING:
        return _before_last(said) if not refused and last.kind in _BEHIND else []
    if len(said) > 1 and said[-2].kind is Kind.HYPOTHESIS and len(lines) > 1 and lines[-2].endswith(":"):
        # "If there were 12 toys, the calculation would be:"
        return []
    turned = (
        refused
        and refused[-1].at < last.at
        and refused[-1].text.count("(") <= refused[-1].text.count(")")
        and (refused[-1].sentence == last.sentence or _ALL_THE_SAME.match(_SENTENCES.split(lines[-1])[-1]))
    )
    concludes = last.kind is Kind.CONCLUSION or _THEREFORE.search(last.text) or re.fullmatch(r"\W*[A-J]\W*", lines[-1])
    if refused and not turned and not concludes:
        return []
    unsure = last.kind is Kind.CONDITION
    # What follows "Wait, …" corrects, and so claims.
    how = (
        CONCLUSION
        if (_shortly(last.text) or is_bare(last.text)) and any(c.kind is Kind.WITHDRAWAL for c in said[-4:-1])
        else LAST_SENTENCE
    )
    claim = ResponseClaim(_shortly(last.text) or last.text, how, last.line, last.at, unsure, last.text)
    if len(said) == 1:
        return [replace(claim, how=STATEMENT)]
    found: list[ResponseClaim] = []
    ended = ENDED.search(last.text) or last.line != last.text or is_bare(last.text) and len(lines) == 1
    ended = ended or bool(_LAST_IS_RESULT.search(last.text))
    alone = last.text == lines[-1] or (
        last.sentence != said[-2].sentence and said[-2].kind in (Kind.INSTRUCTION, Kind.QUESTION)
    )
    option = _bare(last.text) in map(_bare, options_of(asked))
    alone = alone or re.fullmatch(r"\*\*\(?[A-J]\)?\*\*\W*|\([A-J]\)\W*", last.text) is not None
    if alone and (option or BARE_LINE.match(claim.text)) and not _step(lines) and not _of_all(lines, asked):
        found.append(replace(claim, how=LAST_LINE))
    whole = _whole_sentence(said)
    if last.kind is Kind.CONCLUSION and (ended or _LAST_WORD_IS_VALUE.search(last.text)):
        return [*found, replace(claim, how=CONCLUSION), *whole]
    if last.kind is not Kind.CONCLUSION and ended:
        return [*found, claim, *whole, *_before_last(said)]
    return found


_LEAD_ALONE = re.compile(r"\W*(?:with|since|because|given|where)\b[^,]*=[^,]*$", re.IGNORECASE)
_THEREFORE = re.compile(r"\b(?:therefore|thus|hence)\b", re.IGNORECASE)
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
# What may follow a refusal of something else and answers: "I can't tell who they are. However, there are 4."
_ALL_THE_SAME = re.compile(
    r"\W*(?:(?:however|still|nevertheless|nonetheless|that said|but|as for|(?:a|my) (?:best|reasonable|rough|good|"
    r"fair) (?:guess|estimate)|from what|going by|"
    r"judging|based on|what i can|in the (?:chart|graph|picture|image|figure|photo|table) itself)\b|for (?:this|the) \w+,)",
    re.IGNORECASE,
)


def _unfinished(text: str) -> bool:
    """Whether a text ends within a formula, or before it says anything: "With $d_1 = 10$ and $d_2"."""
    if _LEAD_ALONE.match(text) and not VERB.search(text):
        return True
    return text.count("$") % 2 == 1 and re.search(r"\$[^$\d][^$]*[^$.!?]$", text) is not None


def _whole_sentence(said: Sequence[Clause]) -> list[ResponseClaim]:
    """The last sentence with all its clauses ("The length is 8, so that is how far it goes"), where each asserts something."""
    parts = [c for c in said if c.sentence == said[-1].sentence]
    if len(parts) < 2 or any(c.kind not in ASSERTING for c in parts):
        return []
    how = CONCLUSION if parts[0].kind is Kind.CONCLUSION else LAST_SENTENCE if len(parts) < len(said) else STATEMENT
    return [ResponseClaim(parts[0].line, how, parts[0].line, parts[0].at, any(c.kind is Kind.CONDITION for c in parts))]


def _of_all(lines: Sequence[str], asked: str) -> bool:
    """Whether a last line sums up ("Total: 13") what stands above it row by row, where one row is asked for ("Blue: 6")."""
    if not _TOTAL.match(lines[-1]) or _TOTAL_ASKED.search(question := without_options(asked)):
        return False
    wanted = focus(question)
    return any(label and focus(label[1]) and focus(label[1]) <= wanted for label in map(_ROW.match, lines[:-1]))


_TOTAL = re.compile(r"\W*(?:total|sum|altogether|in all)\b", re.IGNORECASE)
_TOTAL_ASKED = re.compile(r"\b(?:total|sum|altogether|in all|overall|all)\b", re.IGNORECASE)
_ROW = re.compile(r"\W*([A-Za-z][^:=]{1,30}):\s*-?\d")


def _step(lines: Sequence[str]) -> bool:
    """Whether the line before the last is unfinished, so that the last may be a piece of it."""
    return len(lines) > 1 and lines[-2].endswith(("=", "+", "-", "×", "*", "/", ","))


def _focal(said: Sequence[Clause], lines: Sequence[str], asked: str, explicit: bool) -> list[ResponseClaim]:
    """The last clause that asserts something of just what is asked for, where nothing is refused or taken back behind it.

    A repeated yes-no question answers it where no marker says what the answer is (`explicit`).
    """
    last = said[-1]
    if _is_cut(last.text) or not _finished(lines[-1]):
        return []
    found: list[ResponseClaim] = []
    behind = last
    for clause in reversed(said[-6:]):
        said_so = clause.kind in (*ASSERTING, Kind.DENIAL) or clause.kind is Kind.REFUSAL and ABLE.search(asked)
        if (
            not explicit
            and said_so
            and (answer := restated(clause.text, asked) or restated(clause.text.rpartition(" and ")[2], asked))
        ):
            return [ResponseClaim(answer[0], STATEMENT, answer[0], clause.at, sentence=answer[1])]
        if clause.kind in (Kind.REFUSAL, Kind.WITHDRAWAL) or _is_cut(clause.text) or not _finished(clause.line):
            break
        turned = clause is not last and _TURNS.match(behind.text)
        equation = not _WORD.search(clause.text)
        if (
            clause.kind in (Kind.ASSERTION, Kind.CONCLUSION)
            and _STATES.search(clause.text)
            and not (turned or equation and found)
        ):
            found.append(ResponseClaim(clause.text, STATEMENT, clause.text, clause.at))
        others = any(len(o) > 3 and o.lower() in clause.text.lower() for o in options_of(asked))
        denies_it = clause.kind is Kind.DENIAL and _OF_IT.search(clause.text) and not (others or CONCLUDES.match(clause.text))
        if clause.kind is Kind.CONCLUSION or denies_it:
            break
        behind = clause
    return found


def _finished(line: str) -> bool:
    return bool(ENDED.search(line) or _LAST_IS_RESULT.search(line))


_STATES = re.compile(rf"{VERB.pattern}|[a-z] =", re.IGNORECASE)
_TURNS = re.compile(r"\W*(?:however|but|actually)\b", re.IGNORECASE)
_OF_IT = re.compile(r"^(?!\W*which\b).*\b(?:it|that|this)(?:n't| is| was|'s)\b", re.IGNORECASE)
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
        if firsts[c.sentence] == c.at
        and not _is_cut(c.text)
        and sum(other.sentence == c.sentence and other.kind in ASSERTING for other in said) == 1
        and (c.kind is Kind.CONCLUSION or c.kind is Kind.ASSERTION and _shortly(c.text))
    ]
    hows = {Kind.CONCLUSION: CONCLUSION, Kind.ASSERTION: STATEMENT}
    return [ResponseClaim(_shortly(c.text) or c.text, hows[c.kind], c.line, c.at, sentence=c.text) for c in before[-1:]]
