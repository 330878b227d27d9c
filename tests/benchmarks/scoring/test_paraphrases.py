"""One claim said in many ways has one verdict; denied, doubted, supposed or asked it is never right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from l2v.benchmarks.base import CHOICE, FLOAT, INTEGER, Question
from l2v.benchmarks.scoring.robust import robust_many

# What is asked, the claim as a sentence without its stop, and another gold.
COUNTS = [
    ("How many {things} are {there}?", things, there)
    for things, there in (
        ("chairs", "around the table"),
        ("bicycles", "in front of the shop"),
        ("birds", "on the wire"),
        ("triangles", "in the figure"),
        ("red cars", "in the picture"),
    )
]
COUNTED = [
    "There are {n} {things} {there}",
    "There are a total of {n} {things} {there}",
    "There are exactly {n} {things} {there}",
    "{n} {things} are {there}",
    "A total of {n} {things} can be seen {there}",
    "I can see {n} {things} {there}",
    "We can count {n} {things} {there}",
    "The number of {things} {there} is {n}",
    "The total number of {things} {there} is {n}",
    "{n} is the number of {things} {there}",
    "You can find {n} {things} {there}",
    "One can count {n} {things} {there}",
    "It can be seen that {n} {things} are {there}",
    "Altogether there are {n} {things} {there}",
    "There happen to be {n} {things} {there}",
]
MEASURED = [
    ("What is the {what} of the {whose}?", what, whose, value)
    for what, whose, value in (
        ("area", "shaded region", "24.5 cm²"),
        ("perimeter", "rectangle", "30.5 cm"),
        ("radius", "circle", "7.5 cm"),
        ("height", "tower", "45.5 m"),
        ("average weight", "dogs", "12.5 kg"),
    )
]
TOLD = [
    "The {what} of the {whose} is {value}",
    "The {what} of the {whose} equals {value}",
    "The {what} of the {whose} is equal to {value}",
    "The {what} of the {whose} comes out to be {value}",
    "The {whose} has {a} {what} of {value}",
    "{value} is the {what} of the {whose}",
    "We get {value} as the {what} of the {whose}",
    "We find that the {what} of the {whose} is {value}",
    "The {what} is {value}",
    "The {whose}'s {what} is {value}",
    "For the {whose}, the {what} is {value}",
    "The {what} of the {whose} must be {value}",
    "The {what} of the {whose} turns out to be {value}",
]
NAMED = [
    ("Which {kind} {does}?", kind, does, ("Brazil", "Mexico", "Peru", "Chile"))
    for kind, does in (("country", "has the largest population"), ("country", "is the farthest south"))
]
NAMED += [
    ("Which {kind} {does}?", kind, does, ("copper", "wood", "glass", "rubber"))
    for kind, does in (("material", "conducts electricity best"), ("material", "is used for the handle"))
]
SAID = [
    "{name} {does}",
    "The {kind} that {does} is {name}",
    "{name} is the {kind} that {does}",
    "Of the options given, {name} {does}",
    "It is {name} that {does}",
    "The {kind} which {does} is {name}",
    "Among the options, {name} is the one that {does}",
    "Only {name} {does}",
    "It must be {name} that {does}",
]
# What may stand around a claim and changes nothing of it.
AROUND = [
    "{claim}.",
    "So, {claim}.",
    "Therefore, {claim}.",
    "Looking at the picture, {claim}.",
    "From the picture, it is clear that {claim}.",
    "Based on the information given, {claim}.",
    "This means that {claim}.",
    "We can see that {claim}.",
    "As the picture shows, {claim}.",
    "Let me look at the picture.\n\n{claim}.",
    "{claim}.\n\nI hope this helps!",
    "Conclusion: {claim}.",
    "To sum up, {claim}.",
    "In short, {claim}.",
    "Consequently, {claim}.",
    "Upon closer inspection, {claim}.",
    "Step 1: Look at the picture.\nStep 2: {claim}.",
    "{claim}, as can be seen from the picture.",
    "It turns out that {claim}.",
    "I can confirm that {claim}.",
    "My conclusion is that {claim}.",
    "To answer your question, {claim}.",
    "Looking closely, we find that {claim}.",
    "From the picture it follows that {claim}.",
    "{claim}. This can be seen in the picture.",
]
# What may, and makes it no claim.
UNSAID = [
    "It is not true that {claim}.",
    "It is wrong to say that {claim}.",
    "I doubt that {claim}.",
    "Is it true that {claim}?",
    "If we count wrongly, {claim}.",
    "Suppose that {claim}.",
    "Some people say that {claim}.",
    "I cannot say whether {claim}.",
    "It would be a mistake to think that {claim}.",
    "{claim}. No, that is wrong.",
    "{claim}? I cannot tell.",
    "Perhaps {claim}.",
    "At first glance, {claim}, but that is not so.",
    "My first guess was that {claim}.",
    "Had it been drawn to scale, {claim}.",
    "{claim} only if the picture is drawn to scale.",
    "To check whether {claim}, we need",
    "Nobody can say that {claim}.",
    "My neighbour insists that {claim}.",
    "It remains to be shown that {claim}.",
    "It is tempting to say that {claim}.",
    "Let's pretend that {claim}.",
    "I am not convinced that {claim}.",
    "It is false that {claim}, so nothing else is known.",
    "{claim}, or so it seems at first.",
    "{claim}, said no one ever.",
    "{claim}. On reflection, no.",
    "{claim}. Actually, I have no idea.",
]


def claims() -> Iterator[tuple[Question, Question, str]]:
    """(question, the same with another gold, a sentence that claims the first one's gold)."""
    for asked, things, there in COUNTS:
        text = asked.format(things=things, there=there)
        for frame in COUNTED:
            for n in ("6", "six"):
                claim = frame.format(n=n, things=things, there=there)
                yield Question(text, INTEGER, "6"), Question(text, INTEGER, "7"), claim
    for asked, what, whose, value in MEASURED:
        text, gold = asked.format(what=what, whose=whose), value.split()[0]
        for frame in TOLD:
            claim = frame.format(what=what, whose=whose, value=value, a="an" if what[0] == "a" else "a")
            yield Question(text, FLOAT, gold, decimals=1), Question(text, FLOAT, "3.5", decimals=1), claim
    for asked, kind, does, options in NAMED:
        text = asked.format(kind=kind, does=does)
        for letter, name in zip("ABCD", options, strict=True):
            other = "ABCD"[("ABCD".index(letter) + 1) % 4]
            for frame in SAID:
                claim = frame.format(kind=kind, does=does, name=name)
                yield Question(text, CHOICE, letter, options), Question(text, CHOICE, other, options), claim


def _in(frame: str, claim: str) -> str:
    lower = (
        not frame.startswith("{claim}")
        and "\n{claim}" not in frame
        and not claim.startswith(("I ", "Brazil", "Mexico", "Peru", "Chile"))
    )
    return frame.format(claim=claim[0].lower() + claim[1:] if lower else claim[0].upper() + claim[1:])


CLAIMS = list(claims())


def test_there_is_something_to_say() -> None:
    assert len(CLAIMS) > 200 and len({claim for _, _, claim in CLAIMS}) > 180


@pytest.mark.parametrize("frame", AROUND)
def test_a_claim_has_one_verdict_however_it_is_said(frame: str) -> None:
    said = [(asked, other, _in(frame, claim)) for asked, other, claim in CLAIMS]
    right = robust_many([(asked, text) for asked, _, text in said], workers=1)
    wrong = robust_many([(other, text) for _, other, text in said], workers=1)
    refused = [text for (_, _, text), verdict in zip(said, right, strict=True) if verdict.correct is not True]
    accepted = [text for (_, _, text), verdict in zip(said, wrong, strict=True) if verdict.correct is True]
    assert not accepted and not refused


@pytest.mark.parametrize("frame", UNSAID)
def test_what_is_not_claimed_is_never_right(frame: str) -> None:
    said = [(asked, _in(frame, claim)) for asked, _, claim in CLAIMS]
    accepted = [text for (_, text), verdict in zip(said, robust_many(said, workers=1), strict=True) if verdict.correct is True]
    assert not accepted
