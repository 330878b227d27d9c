"""Where a response is cut into sentences and these into clauses, and what is left out of a clause before it is read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from l2v.benchmarks.scoring.phrases import LABELLED, TAKEN_BACK
from l2v.benchmarks.scoring.tables import PatternTable, holds

# A full stop ends a sentence when something follows it other than a digit ("3.5") or a lower-case abbreviation; one behind a
# lone letter at the beginning of a line ("B. text") or an abbreviation does not.
STOP = re.compile(
    r"(?<=[.!?])(?<!^\?)(?<!\bapprox\.)(?<!\bFig\.)(?<!\bfig\.)(?<!\bEq\.)(?<!\bNo\.)(?<!\bvs\.)(?<!\b[Ee]\.g\.)(?<!\b[Aa]ns\.)"
    r"(?<!\bi\.e\.)(?<!\bca\.)(?<!\bDr\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bby [A-Z]\.)(?<!^[A-J]\.)(?<!^\*\*[A-J]\.)"
    r"(?<![\w)]!(?=\s[-=+*/×]))(?<!\s[A-J]\.(?=\s[\d$\\]))[\"')\]*$]{0,3}\s+(?=[^\sa-z]|$)|(?<=[。！？])"
    # What begins like this is a sentence of its own, even where no stop stands before it.
    r"|(?<=[^\s,:;(\"'-])[ \t]+(?=(?:If (?:it|the|this|there|we|you|x)|My \w+ (?:says?|thinks?|said|thought)|"
    r"Is (?:the|it|this)|(?:It|That|This) (?:is|was) not|(?:It|That|This) isn.t|Suppose|Imagine) )"
)
BREAK = PatternTable(
    r";\s+(?!-?\d[\d.]*\W*(?:;|$))",
    r",\s?(?=因此|所以|故|则|那么|从而)",
    r"(?<!anything)(?<!nothing)(?<!all),?\s+but\s+(?:rather\s+)?(?=\S)",
    r",?\s+(?:however|although|though|even though|whereas),?\s+",
    r",\s+yet\s+(?=\S)",
    r",\s+(?:and\s+)?not\s+(?=\S)",
    r"\.\.\.\s*(?=no\b|wait\b|actually\b)",
    r",(?<!\btherefore,)(?<!\bthus,)(?<!\bhence,)(?<!\bso,)\s+(?=(?:so|therefore|thus|hence|it'?s|it is|"
    r"the (?!answer)\w+(?: \w+)? "
    r"(?:is|are|was|were)|leaving|giving|making|yielding|resulting in|which (?:gives|leaves|makes)(?=(?: us)?(?:\W{1,4}\d|"
    r" \W?[a-z] ?=| (?-i:[A-Z])))|(?:which (?:means|implies|indicates|shows|suggests)|meaning|implying|indicating) that|"
    r"no,? wait|no,|wait|sorry|i mean|actually|or rather)[\s,])",
    r"(?:—|–|-)\s+(?=(?:no|wait|correction|sorry|oops|actually|scratch that)\b)",
    r"\s*\((?=(?:no,|wait,|sorry,|actually\b))",
)
CONCESSION = PatternTable(
    r"^\W{0,4}(?:although|though|even though|even if|while|whereas|despite|in spite of|even without|"
    r"regardless of|(?:un)?like|contrary to|rather than|instead of|apart from|besides|aside from|(?:out )?of the|out of|"
    r"not counting|excluding|including|in addition to|among)\b[^,]{1,120},\s*",
)
# What only leads to a statement: a heading, a reason or a way in front of it ("By Pythagoras, the side …", "With no mice, the
# owls …"), or what shows it ("The long shadows suggest that …"). Nothing that supposes, doubts or tries an option.
_WAY = (
    r"(?:based on|judging|going by|looking (?:at|closely)|putting|upon|by|with|using|applying|following|comparing|counting|"
    r"adding|"
    r"subtracting|solving|after (?:\w+ly )?(?:examin|look|analy[sz]|review|observ|inspect|consider|stud|count|check|read|"
    r"measur|compar)\w*ing|after (?:the|this|that|these|both|all)(?: of)?(?: these| the)? \w*(?:ion|al|step|ing)s?|"
    r"as (?:the \w+ (?:shows?|indicates?|illustrates?)|shown|seen|we can|you can|can be))\b"
)
_ADVERB = r"(?:(?:\w+ly|also|now|then|thus|hence|therefore|quite|very|fairly|indeed|only) )*"
# The main clause of "It is clear that …", "We can conclude that …", which affirms what it governs.
_AFFIRMS = (
    rf"(?:\b(?:i'd|i'll|i would|i|we|you|one) (?:can |could |may |must |do |have to )?{_ADVERB}(?:see|conclude|confirm|observe|"
    rf"notice|note|"
    r"find|say|deduce|infer|determine|verify|know|tell|get|believe|think|estimate|state|have)|"
    rf"\b(?:i'm|(?:i|we) (?:am|are|feel)|we're) {_ADVERB}(?:confident|certain|sure|convinced|positive)|\b(?:it(?: is|'s|"
    rf" becomes| was)|this is) {_ADVERB}(?:clear|evident|obvious|apparent|plain|true|certain|visible|"
    r"correct|easy to (?:see|tell|show|verify|check)|safe to say|fair to say)(?: from (?:the|this) \w+)?|"
    rf"\bit {_ADVERB}(?:follows|turns out|means|seems|appears|looks like)|\bit (?:can|may) (?:\w+ly )?be (?:seen|observed|"
    rf"concluded|shown|inferred|said)|\b(?:my|our|the) (?:final |own |only )?(?:conclusion|result|finding|observation|upshot|"
    rf"impression|best guess|"
    r"estimate) is)(?: you)?(?:,? (?:though|however),?)?(?: from (?:the|this) \w+)? that\s"
)
_LED = r"^\W{0,4}(?:(?:so|thus|hence|therefore|and|then|well|ok(?:ay)?|now)\b,? )*"
AFFIRMS = re.compile(_LED + r"(?:from (?:the|this|these|that) [^,]{1,40}?,? )?" + _AFFIRMS, re.IGNORECASE)
# Any other "It is … that", "Nobody can say that", "Some claim that": what it governs is not asserted.
FRAME = re.compile(
    r"^\W{0,4}(?:(?:so|thus|and|but|then|now|also|still|however|yet),? )*(?:it(?=(?:'s)? (?:(?!\bthat\b)[^,.]){0,40}?\b(?:not|"
    r"never|hardly|seems|remains|would|could|might|may|wrong|untrue|false|incorrect|case|doubt|mistake|error|\w*likely|"
    r"\w+(?:able|ible|ful|ing|ed|own|en))\b)(?:'s)?|there(?:'s| is| are| was)(?= (?:no|little|hardly)\b)|i|we|you|one|nobody|"
    r"no one|nothing|some|many|most|few|others|people|they|he|she|who|let's|let us|rumou?r|my \w+|the (?:claim|idea|notion|"
    r"belief|rumou?r|assumption|hypothesis)|(?-i:(?!(?:This|That|These|Those|It|Which|"
    r"Everything)\b)[A-Z][a-z]+)(?= (?:\w+ly )?(?:say|sa[iy]d|claim|think|thought|insist|argue|"
    r"believe|guess|suggest)))\b(?=(?:(?!\b(?:the|an|a|one|two|three|four|five|six|seven|eight|nine|ten|only|his|her|its|their|"
    r"all|any)\b)[a-z' ]){0,60}\b(?:that|whether)\s|[a-z' ]{0,60}\b(?:say|think|believe|claim|assume|conclude|suppose|argue|"
    r"suggest|evidence|reason|case|way|mistake|doubt|impression|opinion|chance|error) (?:that|whether)\s)",
    re.IGNORECASE,
)
_SO = r"^\W{0,4}(?:(?:so|thus|hence|therefore|and|then|well|sure|ok(?:ay)?),? )?"


def _untried(begins: str) -> str:
    """What begins so, and neither supposes anything nor speaks of options; how it begins is looked at first, as it is cheap."""
    tries = r"(?:[^,]|,(?! (?:it|the)))*\b(?:if|assum\w+|suppos\w+|option|choice|answers?|guess\w*|unless|whether|whose)\b"
    return rf"{_SO}(?={begins})(?!{tries})(?:{begins})"


EVIDENCE = PatternTable(
    _SO + r"if (?:i|we) (?:have|had|must|were|am|was) (?:forced )?(?:to )?(?:choose|pick|guess|answer|decide|say|estimate|give|"
    r"name)\b[^,;]{0,60}, ",
    _SO + r"as far as [^,;]{1,60}, ",
    _SO + r"(?:there is )?no doubt(?: about it)?\W{1,3}",
    _SO + r"[^,;?]{1,120} leaves? no doubt that ",
    _SO + r"(?:to (?:sum up|conclude|answer (?:your|the) question)|in (?:short|sum|other words|summary|conclusion)|all in all|"
    r"simply put|upon (?:closer )?\w+|(?!possib|suppos|presum|hope|alleged|unfortun|actual|theoret|potential|initial|original|"
    r"tentativ|purported|ostensib|typical|usual|general|apparent|common)\w{2,}ly), ",
    _untried(r"(?:\w+ )?(?:conclusion|results?|summary|observation|calculation|explanation)\W{0,3}:\W{0,3}"),
    _untried(_WAY) + r"(?:(?!\b(?:is|are|was|were|has|have)\b|=)[^;:]){1,200}?, (?=(?:it|they|we|there|this|i|s?he)\b)",
    _untried(rf"{_WAY}|since\b|because\b") + r"(?:[^,;:]|,(?=\d)){0,120}(?:,[^,;:]{1,60}){0,3}?,\s+"
    r"(?=(?:the|it|there|they|this|that|these|we|i|he|she|an?|only|no|none|all|both|its|their|nothing|nobody|everything)\b|"
    r"(?-i:[A-Z])|[$\\∠]|"
    r"\d\S* (?:\w+ ){0,3}(?:is|are|was|were|have|has|remain)\b|\w+ (?:\w+ )?(?:is|are|was|were|has|have|will|would|must)\b)",
    _untried(r"\w+ing\b")
    + r"[^,=;]{1,120}?\b(?:gives|yields|leaves|results in|leads to|produces)(?: us)? (?=\W{0,3}[a-z] ?=|the )",
    _untried("(?=.* that)")
    + r"(?!which (?:indicat|suggest|show|impl))(?:(?!\b(?:not|no|may|might|could|would|does|do|did|say|claim)\b|"
    r"n't)[^;?]){0,150}?\b(?:suggest|indicat|mean|imply|impli|show|reveal|tell)(?:e?s|ing)?(?: us)? that\s+(?!is\b|of\b|"
    r"the answer\b)",
    _untried("(?=.* that)")
    + rf"(?:from (?:the|this|these|that) [^,]{{1,40}}?,? |as [^,]{{1,40}}, )?{_AFFIRMS}\s*(?!is\b|of\b|the answer\b)",
    _untried("(?:these|those|the|all) ")
    + r"(?:\w+ )?\w+s (?:suggest|indicate|show|imply|mean|reveal) (?=the \w+ (?:\w+ )?(?:is|are)\b)",
)
CONTRASTED = re.compile(
    r",?\s+(?:rather than|instead of|as opposed to)\s+[^,;]{1,60}|, followed by\s[^;=]{1,80}|"
    r"\s*\((?:and )?(?:not|rather than|instead of)\s[^()]{1,60}\)|"
    # A gloss of some words at the end.
    r"\s*(?<!\\)\((?!\w+ of (?:them|which|whom|"
    r"these)\b)(?=[^()]*[a-z]{2,}\s[^()]*[a-z]{2,}\s[^()]*[a-z]{2,})[^()]{8,120}\)(?=\W*$)",
    re.IGNORECASE,
)
# What stands in front of a comma and governs what follows.
FRONT = re.compile(
    r"\W*(?:如果|若|假设|(?:according to|in|on|at|for|during|before|after|until|from|under|behind|near|if|"
    r"suppose|assuming|in case|unless|were|had|when)\b)",
    re.IGNORECASE,
)
NOT_BUT = re.compile(
    r"((?:[^,;]{0,80}?\b(?:is|are|was|were|be)(?=\b|n't))?)\W{0,3}(?:n't|\bnot)\s+([^,;]{1,60}?),?\s+but\s+(?:rather\s+|"
    r"actually\s+)?(.+)$",
    re.IGNORECASE,
)


def framed(text: str) -> bool:
    """Whether a text is governed by a main clause that does not affirm it: "Nobody can say that …"."""
    that = " that " in text or " whether " in text
    return that and FRAME.match(text) is not None and AFFIRMS.match(text) is None


# "No, I can't assess that": a refusal, and no answer to a yes-no question.
_NO_HELP = PatternTable(r"\W*no,? i (?:can't|cannot|can not|am not able|won't)\b")
_INSTEAD = PatternTable("rather than", "instead of", "as opposed to", ", followed by")


def pieces(sentence: str, asked: str, bits: int) -> Iterator[tuple[int, str, bool]]:
    """(offset, clause, whether it is only the other half of "this, not that"); a concession or reason in front is left out."""
    if len(sentence) > 1500 or sentence.rstrip("\"'*) _").endswith("?"):
        yield 0, sentence, False
        return
    if not bits & _CUTS and "(" not in sentence and not asks_yes_no(asked):
        # Most sentences.
        yield 0, sentence, False
        return
    concession = CONCESSION.match(sentence, bits)
    start = concession.end() if concession else 0
    if " but " in sentence and (instead := NOT_BUT.match(sentence, start)):
        yield start, sentence[start : instead.end(2)], False
        whole = re.search(r"\b(?:is|are|was|were|must|i)\b", instead.group(3), re.IGNORECASE)
        yield instead.start(3), instead.group(3) if whole else f"{instead.group(1)} {instead.group(3)}".strip(), False
        return
    contrast = False
    breaks = [m for m in BREAK.finditer(sentence, bits) if m.start() >= start]
    breaks = [] if breaks and LABELLED.match(sentence) else breaks
    if breaks and FRONT.match(sentence, start):
        breaks = [
            b
            for b in breaks
            if b.group().strip() != ","
            or not re.match(r"(?:it|there|this|that|the)\b|则|那么", sentence[b.end() :], re.IGNORECASE)
        ]
    breaks = [b for b in breaks if not _WITHIN.search(sentence, start, b.start())]
    for match in [*breaks, None]:
        end = match.start() if match else len(sentence)
        clause = sentence[start:end]
        clause = CONTRASTED.sub("", clause) if "(" in clause or _INSTEAD.search(clause, bits) else clause
        while (led := None if framed(clause) else EVIDENCE.match(clause, bits)) and clause.count(" ", led.end()) > 1:
            if led.group().endswith("that ") and _UNSURE.search(led.group()):
                break
            start, clause = start + led.end(), clause[led.end() :]
        for offset, piece in _prefixed(clause, asked, bits):
            yield start + offset, piece, contrast
        if match:
            start = match.end()
            word = match.group().strip(" ,;").lower()
            contrast = word.endswith("not") or word in ("although", "though", "even though", "whereas")


# Without any of these a sentence is one clause.
_CUTS = BREAK.any | CONCESSION.any | EVIDENCE.any | _INSTEAD.any | _NO_HELP.any | TAKEN_BACK.any
# "It is not true that for the circle, the radius is …": the comma ends nothing.
_WITHIN = re.compile(
    r"\b(?:that|whether) (?:for|in|on|at|of|with|from|by)\b[^,]*$|^\W*(?:perhaps|maybe|possibly)\b[^,]*$", re.IGNORECASE
)
_UNSURE = re.compile(
    r"\b(?:doubt|perhaps|maybe|possibly|had|were|wrong|mistake|guess|believe|thought|suppose|people|hard|if|whether)\b",
    re.IGNORECASE,
)


# Whether a question or its options speak of yes and no.
asks_yes_no = holds(re.compile(r"\b(?:yes|no|true|false)\b", re.IGNORECASE))


_YES_NO_FIRST = re.compile(
    r"\W{0,4}(?:(?:so|therefore|thus|hence)[\s,]+)?(?:yes|no)\b(?:[\s*]*[,.:;*!—–-][\s*]*|\s(?=(?:the|there|it|this|"
    r"that|they|we|i)\b))(?=\w)(?!i (?:can|will|would) (?:\w+ )?help|i'd|let me|"
    r"happy to|of course|problem|(?:that|this)(?:'s| is) an? (?:\w+ )?(?:question|problem|puzzle)\b)",
    re.IGNORECASE,
)


def _prefixed(piece: str, asked: str, bits: int) -> Iterator[tuple[int, str]]:
    """A clause, apart from a "No, " or "Correction: " in front of it."""
    if _NO_HELP.match(piece, bits):
        yield len(piece) - len(piece.lstrip()), piece.strip()
        return
    yes_no = _YES_NO_FIRST.match(piece) if asks_yes_no(asked) else None
    match = yes_no or TAKEN_BACK.match(piece, bits)
    cut = match.end() if match and match.start() == 0 and piece[match.end() :].strip(" .!") else 0
    for start, part in ((0, piece[:cut]), (cut, piece[cut:])):
        if part.strip():
            yield start + len(part) - len(part.lstrip()), part.strip()


_MOST = 400
# What a place where a sentence stops, or another begins, cannot be without.
_MAY_STOP = re.compile(r"[.!?][\"')\]*$]{0,3}\s|[。！？]")
_MAY_BEGIN = re.compile(r"[ \t](?:If|My|I[st]|Th[ai][st]|Suppose|Imagine) ")


def sentences(text: str) -> list[tuple[int, str, str]]:
    """(start, sentence, rest of its line) of the sentences and lines of a text, in order; the last _MOST."""
    found: list[tuple[int, str, str]] = []
    at, before = 0, ""
    for line in text.split("\n"):
        # A line said over and over is said once.
        bare = line.strip()
        if bare and bare != before:
            start = 0
            stops = STOP.finditer(line) if _MAY_STOP.search(line) or _MAY_BEGIN.search(line) else ()
            for stop in [*(m.span() for m in stops), (len(line), len(line))]:
                piece = line[start : stop[0]]
                own = piece.strip()
                if own and not (found and found[-1][1].startswith(own) and _said_again(own, found[-1][1])):
                    lead = len(piece) - len(piece.lstrip())
                    found.append((at + start + lead, own, line[start:].strip() if start else bare))
                start = stop[1]
        before = bare or before
        at += len(line) + 1
    last = found[-1][1] if len(found) > 2 else ""
    if last[-1:] not in ".!?" and any(
        one.startswith(last) and one != last and one[-1:] != "?" and _said_again(last, one) for _, one, _ in found[:-1]
    ):
        del found[-1]
    return found[-_MOST:]


def _said_again(piece: str, before: str) -> bool:
    """Whether a sentence is the one before it again, or was cut off while it was said again."""
    if piece == before:
        return True
    if piece[-1:] in ".!?:" or not before.startswith(piece) or " " not in piece or TAKEN_BACK.match(piece):
        return False
    return before.startswith(f"{piece} ") or len(piece.split()) > 3
