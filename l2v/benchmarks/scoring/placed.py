"""What asserts by its place alone: a sentence, line or opening counts where it, or one piece, answers just what is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, TEXT, Question, Verdict
from l2v.benchmarks.scoring.additions import BEARER, HELD_BY, core
from l2v.benchmarks.scoring.answering import COUNT, WILL, answers, new_number, touches
from l2v.benchmarks.scoring.asking import DIGITS, asked_of, named, stem
from l2v.benchmarks.scoring.chains import equated, of_another, worked_out
from l2v.benchmarks.scoring.cleaning import plain, squeeze
from l2v.benchmarks.scoring.forms import CONCLUSION, LAST_LINE, LAST_SENTENCE, OPENING, STATEMENT, WHOLE, ResponseClaim
from l2v.benchmarks.scoring.mathematics import is_mathematics, prose_words
from l2v.benchmarks.scoring.numeric import IN_TWO, YEAR
from l2v.benchmarks.scoring.option_texts import LETTERS, beginning, spaced_words
from l2v.benchmarks.scoring.options import whole_option
from l2v.benchmarks.scoring.phrases import LABELS
from l2v.benchmarks.scoring.topics import off_topic
from l2v.benchmarks.scoring.values import read_value
from l2v.benchmarks.scoring.wording import labels

SHOWN = 80


@dataclass(frozen=True)
class Pending:
    """A claim that only symbolic algebra can compare with the gold."""

    question: Question
    claim: ResponseClaim
    pair: tuple[str, str]


# What asserts by its place alone, and must answer just what is asked.
PLACED = (CONCLUSION, WHOLE, LAST_LINE, OPENING, STATEMENT, LAST_SENTENCE)
_PIECE = re.compile(
    r"[,;:](?:\s|(?=[\u4e00-\u9fff]))(?![^(]*\))(?:and |while |so |thus |hence )?|"
    r"\s(?:and|while|whereas|but|so)\s(?=\S+\s\S+\s\S)|⟹|⇒|→|(?<=er) than .*"
)
# "The animal is a spider, and spiders have 8 legs", "A prism has 9 edges": what a kind of thing has, it has.
_KIND = re.compile(
    r"^\W*(?:((?:the|this|it)\b[^,]{0,40}?) (?:is|are) an? (?:\w+ )?(\w+),? (?:which|that|and (?:thus|therefore|so|hence)|"
    r"and (?:an? )?\2\w*) (have|has|belongs|is|are)|an? (?:\w+ ){1,2}has) ",
    re.IGNORECASE,
)
_A_KIND = re.compile(r"\ban? ((?:\w+ )?\w+)(?:, [^,]{1,40},)? has\b", re.IGNORECASE)
# "… is Graph D": the label in the place of an answer, where the options are labels.
_LABEL = re.compile(r"\b(?:is|are) (?:indeed |clearly )?(?:the )?(?:[a-z]+ )?\(?(?-i:[A-J])\)?\W*$", re.IGNORECASE)
# "Everything points to (C).", "36° corresponds to option B.": where the letter is written as an option's.
_NAMES_OPTION = re.compile(
    r"\bonly (?:the )?(?:first|second|third|fourth|fifth|last) (?:option|choice|one) (?:works|fits|matches|remains|is \w+)\b|"
    r"\b(?:(?<!which )is|(?:points?|leads?|leading|pointing|corresponds?) (?:us )?to|match(?:es|ing)?|fits?|gives?|yields?|"
    r"suggests?|indicates?|supports?|favou?rs)\W{1,3}(?:(?:the )?(?:option|choice|answer) \(?(?-i:[A-J])\)?|"
    r"\((?-i:[A-J])\)(?: [\w -]{1,40})?)\W*$|\b(?:i\.e\.|that is|namely),? (?:the )?(?:option|choice|"
    r"answer) \(?(?-i:[A-J])\)?\W*$|\bmak(?:es?|ing) (?:it|this) (?:option )?\(?(?-i:[A-J])\)?\W*$",
    re.IGNORECASE,
)
# What stands in front of a comma and says of what the rest holds: "For the 9th figure, …".
_FRONT = re.compile(r"^\W*(?:for|when|if|in|on|with|without|after|before|while|during|until)\b[^,]*,", re.IGNORECASE)


def answered(question: Question, claim: ResponseClaim, verdict: Verdict | Pending, response: str) -> bool:
    """Whether a claim that only its place makes one answers the question."""
    if claim.how not in PLACED:
        return True
    said = claim.sentence or claim.text
    if claim.how in (WHOLE, LAST_LINE) and whole_option(said, question.options) or claim.how == WHOLE and len(said) < 4:
        return True
    if of_another(said, question.text):
        return False
    label = _LABEL.search(said) if _labels(question.options) else None
    if label and asked_of(question.text).noun & {*map(stem, said[: label.start()].lower().split())}:
        return True
    if _is_formula_of(question, said) and isinstance(verdict, Verdict) and verdict.correct and claim.how != OPENING:
        return True
    sides = [side for side in equated(said) if " is " not in side]
    by_letter = isinstance(verdict, Verdict) and verdict.rule.endswith("+letter")
    if claim.how == CONCLUSION and (
        _DOES.search(said) or _WOULD.search(said) and not WILL.search(question.text) or _counts_others(said, question, response)
    ):
        return False
    if claim.how == CONCLUSION and (by_letter or not sides and not beginning(question.options)):
        # "So m∠1 = 115° and m∠2 = 65°", "so the mice will decrease" may be of something else as well.
        return True
    if by_letter and (_NAMES_OPTION.search(said) or _agrees(said, question.options, response)):
        return True
    if claim.how == WHOLE and (
        # "1 hour and 20 minutes = 80 minutes"
        _WORKED_OUT.fullmatch(plain(said)) and read_value(said.rpartition("=")[2]) or worked_out(plain(said), question.text)
    ):
        return True
    short = prose_words(said) < 2 or prose_words(said) < 3 and (not said[:1].isdigit() or COUNT.fullmatch(said) is not None)
    if claim.how in (WHOLE, LAST_LINE) and short and read_value(said) is not None:
        return True
    read = verdict.extraction or "" if isinstance(verdict, Verdict) else ""
    if read and set(read) <= {*LETTERS, " ", "a", "n", "d"} and question.kind == CHOICE:
        answer = [read] + [o for letter, o in zip(LETTERS, question.options, strict=False) if letter in read]
    elif isinstance(verdict, Verdict) and verdict.correct:
        answer = [question.gold]
    else:
        years = {*filter(YEAR.fullmatch, asked_of(question.text).known)}
        own = (name for name in named(said) if len(name) == 1 or not name.islower())
        answer = ["=" * ("=" in question.gold), " ".join(name for name in own if not (years and YEAR.fullmatch(name)))]
    leads = None if claim.how in (WHOLE, LAST_LINE) else claim.how in (LAST_SENTENCE, CONCLUSION)
    return answers(said, question.text, answer, response, question.options, leads)


def _counts_others(said: str, question: Question, response: str) -> bool:
    """Whether a conclusion counts something else ("so 5 pets altogether") where the response counts what is asked for, too."""
    asked, counted = asked_of(question.text), _SO_MANY.match(said)
    if counted is None or not asked.counts or {*named(counted[2])} & asked.known or not named(counted[2]):
        return False
    others = ((n, noun) for n, noun in _COUNTED.findall(response) if {*named(noun)} & asked.noun)
    return any(n != counted[1] for n, _ in others)


# "so we add up the six products" says what is done, and not what comes out.
_DOES = re.compile(
    r"\bwe (?:must |can |need to |have to |should )?(?:add|sum|multiply|subtract|divide)\b"
    r"(?!.*(?:=|\bis\b|get|giv))"
)
# "so with the tip one would pay $276", where nothing is asked of what would be
_WOULD = re.compile(r"\bwith\b.*\bwould\b|\bwould\b.*\bwith\b")
_SO_MANY = re.compile(
    r"\W*(?:(?:so|thus|hence|therefore)\W+)?(\d+) ((?!(?:is|was|has|as)\b)[a-z]+s|people|children)\b", re.IGNORECASE
)
_COUNTED = re.compile(r"\b(\d+) ([a-z]+)\b")
# Sums and units, without a symbol that stands for something.
_WORKED_OUT = re.compile(r"[-\d(√πƒ](?:[^=A-Za-z]|[A-Za-z]{2,}\b(?<!is))*=[^=]*?(?:=[^=]*)*")


def _is_formula_of(question: Question, said: str) -> bool:
    """Whether a gold is a formula, no mere number or symbol, with which a sentence ends: hardly a step happens to be that."""
    gold = plain(question.gold)
    if question.kind == CHOICE and gold in LETTERS[: len(question.options)]:
        gold = plain(question.options[LETTERS.index(gold)])
    written = (
        question.kind in (TEXT, CHOICE) and is_mathematics(gold) and len(gold) > 2 and not re.fullmatch(r"-?[\d.,]+", gold)
    )
    led = _LED_TO.search(plain(said)) if written else None
    return led is not None and squeeze(led[1].rpartition("=")[2]) == (squeeze(gold).rpartition("=")[2])


_LED_TO = re.compile(
    r".*(?::|\bin \w+ (?:notation|form),|\b(?:obtain|get|gives|yields|leaves|becomes|simplifies to|reduces to|that\'s|that is|"
    r"namely|i\.e\.,?|thus,?|hence,?|therefore,?))\s(?:(?:on|in) the interval )?([^:]{3,80}?)\W?\.?$"
)


def _agrees(said: str, options: tuple[str, ...], response: str) -> bool:
    """Whether a sentence has an option's letter at its end and says its text ("It was taken from below (B)."), or in front.

    Letters in front of several sentences may count them.
    """
    letter = _ENDS_IN.search(said) or (_BEGUN.match(said) if len({a or b for a, b in LABELS.findall(response)}) == 1 else None)
    at = LETTERS.index(letter[1]) if letter else len(options)
    return at < len(options) and len(text := spaced_words(options[at])) > 4 and text in spaced_words(said)


_ENDS_IN, _BEGUN = re.compile(r"\(([A-J])\)\W*$"), re.compile(r"\W{0,4}([A-J])[.)]\W{0,3}\s")


def _labels(options: tuple[str, ...]) -> bool:
    """Whether all options are labels: "A", "Graph B"."""
    return all(re.fullmatch(r"(?:[A-Z][a-z]+ )?\(?[A-J]\)?", option.strip()) for option in options)


def in_pieces(
    question: Question, claim: ResponseClaim, judge: Callable[[ResponseClaim], Verdict | Pending | None], response: str
) -> Verdict | Pending | None:
    """The one piece of a sentence that answers the question ("14 chose tennis and 9 chose judo"), or None."""
    if claim.how in (OPENING, LAST_LINE) or not question.text.strip():
        return None
    said = claim.sentence or claim.text
    if _AND_MORE.search(said) or _ANOTHER.search(said) and "another" not in question.text:
        return None
    found, how = [], WHOLE if claim.how == WHOLE else STATEMENT
    whole = claim.sentence or claim.text
    if len({kind.lower() for kind in _A_KIND.findall(response)}) < 2:
        whole = _KIND.sub(lambda m: f"{m[1] or 'it'} {m[3] or 'has'} ", whole)
    if question.kind in (INTEGER, FLOAT) and "year" not in asked_of(question.text).noun:
        whole = HELD_BY.sub(r"\1 is ", BEARER.sub(r"\1 is", whole))
    whole = _FRONT.sub(lambda m: m.group().replace(",", ""), core(whole))
    whole = IN_TWO.sub("…", whole)
    pieces = (
        _PIECE.split(whole)
        if " and " not in whole or _SAYS.search(whole.partition(" and ")[0]) or _AND_IT.search(whole)
        else [whole]
    )
    if _SUPERLATIVE.search(question.text) and _COMPARES.search(whole):
        # "B is longer than C" where the longest is asked for.
        return None
    if sum("=" in piece for piece in pieces) > 1:
        asked = asked_of(question.text)
        sides = [(p, {*named(p.partition("=")[0])}) for p in pieces if not off_topic(p, f"{question.text}\n\n")]
        fitting = [
            p
            for p, names in sides
            if names <= asked.main | asked.rest | labels(p, asked) - {"x"} and any(n[0] not in DIGITS for n in names)
        ]
        pieces = fitting if len(fitting) == 1 else pieces[-1:] if _HENCE.search(whole) else [whole]
    if any(
        len(piece.split()) < 3 and _BARE_NUMBER.search(piece) or _NUMBERS.fullmatch(piece) or _PRICED.match(piece)
        for piece in pieces[1:]
    ):
        last = pieces[-1:] if _ITS.match(pieces[-1]) else [whole]
        pieces = [piece for piece in pieces[1:] if _APPENDED.match(piece)] or last
    options = [words for option in question.options if len(words := spaced_words(option)) > 3]
    if len(pieces) > 2 and sum(any(map(spaced_words(piece).__contains__, options)) for piece in pieces) > 2:
        # "Point A is at (3, 2), point B at …", "choices = ['red', 'blue', …]": one after the other.
        return None
    for piece in [*pieces, *(f"{made[2]} is {made[1]}" for made in _MAKING.finditer(whole))]:
        if len(piece.split()) < 3 or _NO_PIECE.match(piece):
            continue
        appended = _APPENDED.match(piece) if piece != whole else None
        if appended or piece != whole and not _SAYS.search(piece):
            if not appended and not (question.kind == CHOICE and touches(piece, question.text)):
                continue
            # "…, and lowest on Friday" goes on with the subject before it.
            piece = f"it is {piece[appended.end() :] if appended else piece}"
        elif piece != whole and _IS_SO.match(piece):
            piece = f"it {piece}"
        own = replace(claim, text=piece, line=piece, sentence=piece, how=how)
        verdict = judge(own)
        if not verdict and question.kind == CHOICE and (letter := _LETTER_IS.match(piece)):
            # A letter that the question itself names ("Graph A represents …") is no option's.
            letters = named(question.text) if any(o.strip() not in (*LETTERS, "") for o in question.options) else ()
            verdict = None if letter.group(1) in letters else judge(replace(own, text=letter.group(1), line=letter.group(1)))
        if not verdict and question.kind in (INTEGER, FLOAT) and (number := new_number(piece, question.text)):
            verdict = judge(replace(own, text=number, line=number))
        if verdict is not None and answered(question, own, verdict, response):
            found.append(verdict)
        elif found and _LEADS_ON.search(piece):
            # "The perimeter is 4s√2, divided by s we obtain 4√2": the first is a step.
            return None
    return found[-1] if len({read_of(v) for v in found}) == 1 or found and _HENCE.search(whole) else None


# "The number 7 occurs most often, making it the mode."
_MAKING = re.compile(
    r"^\W*(.{1,40}?) (?:is|has|had|was|\w+(?:s|ed))\b.*, (?:making|which makes) (?:it|this|that|him|her) (the .+?)\W*$"
)
# ", an increase of $3.5 million", ", for a total of 7", ", indicating a downward trend"
_APPENDED = re.compile(
    r"\W*(?:(?:i\.e\.|that is|namely),? (?:about |approximately )?(?=[$€£]?-?\d[\d.,/]*\s?[%°]?"
    r"(?: [a-z]+)?(?: (?:in (?:all|total)|altogether))?\W*$)|(?:which )?(?:indicat|suggest|show|"
    r"reveal|imply|mean)(?:ing|s|es)\s(?:that )?|which is (?:called|known as|termed) |"
    r"which is (?:located )?(?=at \W*\()|(?:which )?mak(?:es|ing) (?:it|them|these) (?=\w+\W*$)|an? (?:\w+ )?\w+ (?:called|"
    r"known as) (?=\S+(?: \S+)?\W*$)|"
    r"(?=[$€£]?\d[\d.,]* \w+ apart\W*$)|which makes (?:it|him|her|them) (?=\d)|which (?:(?:is|equals) (?=the )|gives |makes |"
    r"totals |(?:adds? up|sums?|comes) to )(?=(?:the \w+ (?:of )?)?[$€£]?-?\d[\d.,/]*\s?[%°]?(?: [a-z]+)?\W*$)|(?:for|giving|"
    r"making|with) (?=an? total(?: \w+)? of)|"
    r"(?=\w+ (?:[a-z]+ )?(?:altogether|in (?:all|total))\W*$)|(?:which (?:is|makes|gives|"
    r"means) )?(?=an? (?:\w+ )?\w+ of \W*\d))",
    re.IGNORECASE,
)
_SUPERLATIVE = re.compile(r"\b(?:\w{2,}est|most|least)\b", re.IGNORECASE)
_COMPARES = re.compile(
    r"\b(?:\w{2,}er|more|less|fewer)(?: \w+)? than\b(?! (?:all|any|the (?:other|rest)|every))(?!.{0,200}\b(?:\w{2,}est|most|"
    r"least)\b)",
    re.IGNORECASE,
)
_ITS = re.compile(r"(?:their|its)\s\w+ .*(?:=|\bis\b)", re.IGNORECASE)
_LEADS_ON = re.compile(r"\bwe (?:get|obtain|find|have)\b.*[\d\\]")
_HENCE = re.compile(r"\bi\.e\.|\b(?:so|thus|hence|therefore)\b|⟹|⇒|→")
_BARE_NUMBER = re.compile(r"\d")
# "She spent $9 on silk, $8 on denim"
_PRICED = re.compile(r"\W*[$€£]\d[\d.,]* (?:on|for)\b")
_NUMBERS = re.compile(r"(?:[^\w=]|\d)+(?:(?:and|or)(?:[^\w=]|\d)+)*")
_SAYS = re.compile(
    r"[=≈]|\b(?:is|are|was|were|has|have|had|will|would|equals?|gives?|leaves?|makes?|lies|chose|won|got|paid|spent|sold|"
    r"bought|cost|costs|ate|took|lost|needs?|says|said|reads|\w+ed)\b"
)
# "There are 5 triangles and some hidden ones."
_ANOTHER = re.compile(r", [^,]*\banother (?:function|question|problem|case|formula|quantity|figure|example)\b")
_AND_MORE = re.compile(r"\b(?:and|plus)\s(?:some|several|a few|many|possibly)\b[^,]*\b(?:more|others?|ones)\b", re.IGNORECASE)
_IS_SO = re.compile(r"(?:is|are|was|were|has|have)\b")
_AND_IT = re.compile(r" and (?:its?|they|there|their|he|she|his|her) (?:\w+ ){0,2}(?:is|are|was|were|has|have|equals)\b")
# "B lies on the circle", "Statement C is true", "(D) fits".
_LETTER_IS = re.compile(
    r"(?i:\W*(?:(?:the|only|statement|option|point|graph|figure|picture|shape|line) )*)\(?([A-J])\)? "
    r"(?:is|has|lies|shows|comes|completes|continues|fits|matches|represents|must|belongs)\b"
)
# What is said of something before it, or only tried.
_NO_PIECE = re.compile(
    r"\W*(?:which (?!(?:gives|makes|totals|adds?|sums?|comes|(?:is|equals) the)\b[^=]*\d)|who|whose|where|or|as|with|including|"
    r"not|(?:let'?s |i )?try|(?:and |then )?set|test|suppose|assume|let|an? \w+ (?:lies|stands|sits|hangs))\b",
    re.IGNORECASE,
)


def read_of(verdict: Verdict | Pending) -> str | None:
    """What a verdict has read, or is about to be decided on."""
    return verdict.extraction if isinstance(verdict, Verdict) else shown(verdict.claim.text)


def shown(text: str) -> str:
    """A text on one line, cut to what a reader needs to see."""
    return " ".join(text.split()).strip(" *$")[:SHOWN]
