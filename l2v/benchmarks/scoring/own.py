"""What of a response is its own: not the prompt repeated in front, nor what is invented behind the answer.

A question that is not the one asked, another turn of a dialogue, an appendix: what stands there claims nothing.
"""

from __future__ import annotations

import re

from l2v.benchmarks.scoring.breaks import sentences
from l2v.benchmarks.scoring.clauses import Kind, classify
from l2v.benchmarks.scoring.cleaning import clean, squeeze
from l2v.benchmarks.scoring.markers import MARK
from l2v.benchmarks.scoring.topics import without_options

_HEADER = re.compile(
    r"^[^\w\n<|]{0,6}(?:(?:next|new|another|follow-up|similar|related|extra)\s+)?(?:question|problem|exercise|follow-?up|user|"
    r"human|instruction|"
    r"query|example|variation|bonus|practice|challenge|task|(?:please )?answer the (?:following|next) question|"
    r"q(?!\d\W{1,3}-?\d))\s?\d{0,3}\W{0,3}(?:[:.)\]]|$)|^\s*(?:<image>|"
    r"hint:\s*please)|"
    r"\[INST\]|\[(?:question|problem)\]|\[next (?:question|problem)\b|(?<=[.!?]\s)(?:question|problem|human|user)\s?\d{0,2}:",
    re.IGNORECASE | re.MULTILINE,
)
# What any of these holds, found sooner.
_HEAD_WORDS = """question problem exercise follow user human instruction query example variation bonus practice challenge task
<image> hint [inst] [next"""
_HEADS = _HEAD_WORDS.split()
_NAMES, _SIGN = re.compile(r"[^\W_]+"), re.compile(r"\w")
_Q = re.compile(r"q(?![a-z])")
_NEXT_ONE = re.compile(
    r"\b(?:here(?:'s| is)|(?:now,? )?(?:try|consider|let'?s (?:do|try|look at))|next(?:,| is))\s+(?:\w+ )?(?:another|"
    r"an? (?:new|similar|related|second|harder)|the next)\s(?:\w+ ){0,2}(?:question|problem|exercise|example|puzzle)\b",
    re.IGNORECASE,
)
_TURN_OF_ANSWER = re.compile(r"^A:(?=\s+\(?[A-J]\)?\W*$)")
# "P: 60", "Q: 60": the next of several things.
_P = re.compile(r"\W{0,6}[Pp]\b")
_DIALOGUE = re.compile(r"^\W*Q(?:uestion)?\d?\s?:")
_LEADS_IN = re.compile(
    r"\b(?:restate|re-?read|recall|repeat|the (?:question|problem|following(?!:))|let(?:'?s| me) (?!say|assume|suppose|"
    r"guess)\w+)\b[^.!?\n\d]*[.:!]?\W*$|\w \w.*:\W*$",
    re.IGNORECASE,
)
_DENIES = re.compile(r"\b(?:not|no|never|cannot|can't|couldn't|impossible|unclear)\b", re.IGNORECASE)
_QUESTION = re.compile(r"[^\n?]{1,600}\?")
# Words that every question may have.
_COMMON = {
    "what", "which", "where", "when", "many", "much", "does", "that", "this", "there", "have", "with", "following", "question"
}  # fmt: skip
# A list of words that only names what was counted: "There are 4 people:" over "1. The man", "2. The boy".
_GLOSS = re.compile(r":[ *]*\n+(?:\s*(?:\d{1,2}[.)]|[-*•])\s+[^=\d\n:]{2,120}(?:\n+|$)){2,}$")
# "Therefore, it is 5.", and then "Here is a table of the values:".
_APPENDIX = re.compile(
    r"\n\s*\n\W{0,4}here(?:'s| is| are) (?:a |an |the )?(?:\w+ )?(?:table|list|breakdown|summary|graph|chart|diagram|visual\w*|"
    r"code|calculations?|details?)\b[^\n]*\n.*",
    re.IGNORECASE | re.DOTALL,
)
_RESULT = re.compile(r"\b(?:therefore|thus|hence|so|answers?|total)\b|\\boxed", re.IGNORECASE)
# "7. How many does Ann have? 5."
_BARE_FIRST = re.compile(r"\W{0,4}\d{1,9}[.!]\s+((?:how|what|which|who|where|when|why)\b[^?\n]{1,300}\?)", re.IGNORECASE)


def own_part(text: str, asked: str) -> str:
    """The response without what it invents behind its answer, or in its place: another question, another turn of a dialogue."""
    return _first_sum(_of_one_turn(text, asked), asked)


def _of_one_turn(text: str, asked: str) -> str:
    text = _TURN_OF_ANSWER.sub("Answer:", _GLOSS.sub(".", text))
    low = text.lower()
    appendix = _APPENDIX.search(text) if "here" in low else None
    if appendix and not _RESULT.search(appendix.group()) and _RESULT.search(text[: appendix.start()].rpartition("\n")[2]):
        text = text[: appendix.start()]
    if (first := _BARE_FIRST.match(text)) and not _tokens(first.group(1)) <= _tokens(asked):
        # Whether the number in front is an answer or counts a line, nobody can tell.
        return ""
    if _DIALOGUE.match(text):
        text = re.sub(r"[ \t]+(?=answer\s?:)", "\n", text, flags=re.IGNORECASE)
        text = re.sub(r"(?:^|(?<=\?\s))A\d?:", "Answer:", text, count=1, flags=re.MULTILINE)
    text = _ACTUAL.sub("", text)
    if _SHOWN.match(text):
        return ""
    reply = _REPLY.match(text)
    if reply and ("?" not in reply.group() or asked.strip() and not _is_another(reply.group().partition(":")[2], asked)):
        text = text[reply.end() :]
    text = _without_echo(text, asked)
    for match in _ASKED_NEXT.finditer(text) if "?" in text else ():
        head = text[: match.start()].strip()
        # Where the paragraph goes on, it is another exercise only below an answer, and with numbers of its own.
        goes_on = match[2] is not None
        if goes_on and not ({*_DIGITS.findall(match[1])} - {*_DIGITS.findall(asked)} and asked.strip()):
            continue
        answered = _marks(head) or not goes_on and len(sentences(head)) == 1 and not _marks(text[match.end() :])
        if answered and _is_another(match[1], asked) and not _TURNS_BACK.search(match[1]):
            text = head
            break
    heads = [*_HEADER.finditer(text)] if any(map(low.__contains__, _HEADS)) or _Q.search(low) else []
    if "another" in text or "similar" in text or "next" in text or "Next" in text:
        heads = sorted([*heads, *_NEXT_ONE.finditer(text)], key=re.Match.start)
    for match in heads:
        head = text[: match.start()].strip()
        if match.group().strip(" -*•:.").lower() == "q" and _P.match(head.rpartition("\n")[2]):
            continue
        leads_in = len(head.split()) <= 12 and _LEADS_IN.search(head) and not (MARK.search(head) or _DENIES.search(head))
        found = _QUESTION.match(text, match.end())
        own = found is not None and squeeze(found.group()) in squeeze(asked)
        leads_in = leads_in or own and all(classify(one) is Kind.INSTRUCTION for _, one, _ in sentences(head))
        if _SIGN.search(head) and not leads_in or found and _is_another(found.group(), asked):
            return head
    return text


# "Example: Q: … A: … Now the actual question. …"
_ACTUAL = re.compile(
    r"^\W*(?:an? |for )?(?:example|sample)\b.*?\bnow,? (?:to |for |on to )?(?:the|your) (?:actual|real|given|"
    r"original) (?:question|"
    r"problem|task)\b\s*[.:!]?\s*",
    re.IGNORECASE | re.DOTALL,
)
_A_SUM = re.compile(r"\W{0,3}(\d[\d\s.+*/×÷()-]*?)\s*=\s*-?[\d.,/]+\W{0,3}")


def _first_sum(text: str, asked: str) -> str:
    """Of sums one under the other ("17 + 26 = 43", "18 + 26 = 44") the first, where that alone is asked for."""
    lines = text.split("\n")
    sums = [_A_SUM.fullmatch(line) for line in lines]
    if len(lines) < 2 or not all(sums):
        return text
    known = squeeze(asked)
    wanted = [squeeze(one[1]) in known for one in sums if one]
    return lines[0] if wanted[0] and not any(wanted[1:]) else text


# Examples of a prompt, before anything is answered.
_SHOWN = re.compile(r"\W*example\s?1\s?:", re.IGNORECASE)
# A dialogue repeated from its beginning, up to the reply.
_REPLY = re.compile(
    r"\W*instruction\s?:.*?\bresponse\s?:\s*|\W*(?:system\s*\n.*?)?\b(?:user|human)\s?(?::|\n).*?\b(?:assistant|gpt|bot|"
    r"ai)\s?(?::|\n)\s*",
    re.IGNORECASE | re.DOTALL,
)
_DIGITS = re.compile(r"\d+")
_TURNS_BACK = re.compile(r"^(?:however|hmm|hold|wait|but|actually|so|now)\b|\banswer\b", re.IGNORECASE)
# A paragraph that asks something.
_ASKED_NEXT = re.compile(
    r"\n\s*\n((?:[^\n?]{3,300}[.!] )?(?:wh\w+|how|is|are|does|do|can|if|in|find)\b[^\n?]{4,200}\?)(?:\s*(?=\n|$)|(?=(\s)))",
    re.IGNORECASE,
)


def _without_echo(text: str, asked: str) -> str:
    """A response without the question repeated behind it."""
    question = without_options(asked).strip()
    at = text.find(f"\n{question}", 1) if len(question) > 20 else -1
    if at <= 0 or not _SIGN.search(text[:at]) or _LEADS_IN.search(text[:at]) or _marks(text[at:]) and not _marks(text[:at]):
        return text
    return text[:at].strip()


def _marks(text: str) -> bool:
    """Whether a text holds an answer marker or a box."""
    return "\\boxed" in text or any(map(MARK.search, text.split("\n")))


def _tokens(text: str) -> set[str]:
    return set(_NAMES.findall(clean(text).lower()))


def _is_another(question: str, asked: str) -> bool:
    """Whether a question is not the one that was asked, nor a shorter form of it; never where nothing is known of that."""
    known, words = _tokens(asked), _tokens(question)
    telling = {word for word in words if len(word) > 3} - _COMMON
    if any(word.isdigit() and word not in known for word in words):
        return bool(known)
    return bool(known) and not words <= known and not (telling and telling <= known)
