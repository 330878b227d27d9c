"""Where a response is cut into sentences and these into clauses, and what is left out of a clause before it is read."""

from __future__ import annotations

import re

from l2v.benchmarks.scoring.tables import PatternTable

# A full stop ends a sentence when something follows it other than a digit ("3.5") or a lower-case abbreviation; one behind a
# lone letter at the beginning of a line ("B. text") or an abbreviation does not.
STOP = re.compile(
    r"(?<=[.!?])(?<!\bapprox\.)(?<!\bFig\.)(?<!\bfig\.)(?<!\bEq\.)(?<!\bNo\.)(?<!\bvs\.)(?<!\b[Ee]\.g\.)(?<!\b[Aa]ns\.)(?<!\bi\.e\.)(?<!\bca\.)(?<!\bDr\.)"
    r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bby [A-Z]\.)"
    r"(?<!^[A-J]\.)(?<!^\*\*[A-J]\.)(?<!\s[A-J]\.(?=\s[\d$\\]))[\"')\]*$]{0,3}\s+(?=[^\sa-z]|$)|(?<=[。！？])"
    # What begins like this is a sentence of its own, even where no stop stands before it.
    r"|(?<=[^\s,:;(\"'-])[ \t]+(?=(?:If (?:it|the|this|there|we|you|x)|My \w+ (?:says?|thinks?|said|thought)|"
    r"Is (?:the|it|this)|(?:It|That|This) (?:is|was) not|(?:It|That|This) isn.t|Suppose|Imagine) )"
)
BREAK = PatternTable(
    r";\s+",
    r",\s?(?=因此|所以|故|则|那么|从而)",
    r"(?<!anything)(?<!nothing)(?<!all),?\s+but\s+(?:rather\s+)?(?=\S)",
    r",?\s+(?:however|although|though|even though|whereas),?\s+",
    r",\s+(?:and\s+)?not\s+(?=\S)",
    r"\.\.\.\s*(?=no\b|wait\b|actually\b)",
    r"(?<!\btherefore)(?<!\bthus)(?<!\bhence)(?<!\bso),\s+(?=(?:so|therefore|thus|hence|it'?s|it is|"
    r"the (?!answer)\w+(?: \w+)? (?:is|are|was|were)|leaving|giving|making|yielding|resulting in|"
    r"which (?:gives|leaves|makes)(?=(?: us)?(?:\W{1,4}\d| \W?[a-z] ?=| (?-i:[A-Z])))|"
    r"(?:which (?:means|implies|indicates|shows|suggests)|meaning|implying|indicating) that|no,? wait|no,|wait|sorry|"
    r"i mean|actually|"
    r"or rather)[\s,])",
    r"(?:—|–|-)\s+(?=no\b|wait\b)",
    r"\s*\((?=(?:no,|wait,|sorry,|actually\b))",
)
CONCESSION = re.compile(
    r"^\W{0,4}(?:although|though|even though|even if|while|whereas|despite|in spite of|even without|"
    r"regardless of|(?:un)?like|contrary to|rather than|instead of|apart from|besides|aside from|(?:out )?of the|out of|"
    r"not counting|excluding|including|in addition to|among)\b[^,]{1,120},\s*",
    re.IGNORECASE,
)
# What only leads to a statement: a heading, a reason or a way in front of it ("By Pythagoras, the side …", "With no mice, the
# owls …"), or what shows it ("The long shadows suggest that …"). Nothing that supposes, doubts or tries an option.
_WAY = (
    r"(?:based on|judging|by|with|using|applying|following|comparing|counting|adding|subtracting|solving|"
    r"after (?:carefully )?(?:examin|look|analy[sz]|review|observ|inspect|consider|stud)\w*ing|after (?:the|this|that|"
    r"these|both|all)(?: of)?(?: these| the)? \w*(?:ion|al|step|ing)s?|"
    r"as (?:the \w+ (?:shows?|indicates?|illustrates?)|shown|seen|we can|you can|can be))\b"
)
EVIDENCE = re.compile(
    r"^\W{0,4}(?:(?:so|thus|hence|therefore|and|then),? )?(?!(?:[^,]|,(?! (?:it|the)))*\b(?:if|assum\w+|suppos\w+|"
    r"option|choice|"
    r"answers?|guess\w*|unless|whether|whose)\b)"
    r"(?:(?:to (?:sum up|conclude)|in (?:short|sum|other words)|all in all|simply put|upon closer \w+), |"
    r"(?:\w+ )?(?:conclusion|results?|summary|observation|calculation|explanation)\W{0,3}:\W{0,3}|"
    rf"{_WAY}(?:(?!\b(?:is|are|was|were|has|have)\b|=)[^;:]){{1,200}}?, (?=(?:it|they|we|there|this|i)\b)|"
    rf"(?:{_WAY}|since\b|because\b)(?:[^,;:]|,(?=\d)){{0,120}}(?:,[^,;:]{{1,60}}){{0,3}}?,\s+"
    r"(?=(?:the|it|there|they|this|that|these|we|i|he|she|an?|only|no|none|all|both|its|their)\b|(?-i:[A-Z])|[$\\∠]|"
    r"\d\S* (?:\w+ ){0,3}(?:is|are|was|were|have|has|remain)\b|"
    r"\w+ (?:\w+ )?(?:is|are|was|were|has|have|will|would|must)\b)|"
    r"\w+ing\b[^,=;]{1,120}?\b(?:gives|yields|leaves|results in|leads to|produces)(?: us)? (?=\W{0,3}[a-z] ?=|the )|"
    r"(?!which (?:indicat|suggest|show|impl))(?:(?!\b(?:not|no|may|might|could|would|does|do|did|say|claim)\b|"
    r"n't)[^;?]){0,150}?"
    r"(?:\b(?:suggest|indicat|mean|imply|impli|show|reveal|tell)(?:e?s|ing)?|"
    r"\b(?:it is|it's|it becomes) (?:clear|evident|obvious|apparent)(?: from (?:the|this) \w+)?|"
    r"\b(?:we|you|i|one) (?:can )?(?:clearly )?(?:see|observe|notice)|\b(?:can|may) be seen)"
    r"(?: us)? that\s+(?!is\b|of\b|the answer\b))",
    re.IGNORECASE,
)
CONTRASTED = re.compile(
    r",?\s+(?:rather than|instead of|as opposed to)\s+[^,;]{1,60}|, followed by\s[^;=]{1,80}|"
    r"\s*\((?:and )?(?:not|rather than|instead of)\s[^()]{1,60}\)|"
    # A gloss of some words at the end.
    r"\s*\((?!\w+ of (?:them|which|whom|these)\b)(?=[^()]*[a-z]{2,}\s[^()]*[a-z]{2,}\s[^()]*[a-z]{2,})[^()]{8,120}\)(?=\W*$)",
    re.IGNORECASE,
)
# What stands in front of a comma and governs what follows.
FRONT = re.compile(
    r"\W*(?:如果|若|假设|(?:according to|in|on|at|for|during|before|after|until|from|under|behind|near|if|"
    r"suppose|assuming|in case|unless|were|had|when)\b)",
    re.IGNORECASE,
)
NOT_BUT = re.compile(
    r"((?:[^,;]{0,80}?(?:\b(?:is|are|was|were|be)\b|(?=n't)))?)\W{0,3}(?:n't|\bnot)\s+([^,;]{1,60}?),?\s+but\s+(?:rather\s+|"
    r"actually\s+)?(.+)$",
    re.IGNORECASE,
)
