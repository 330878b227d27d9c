"""Control words: what a tokenizer reads as a mark of its own wherever it stands, so that no text of a user's may hold it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from l2v.errors import UserError

# Marks that answers are written with: what stands in a text is what is meant, whether a vocabulary calls them special or not.
THOUGHTS = re.compile("think|thought|reason|reflect|scratchpad|solution|answer", re.IGNORECASE)
# Shorter ones are letters and signs that somebody pads with.
SHORTEST = 3
# By first character, since most texts hold none of the few that there are.
_KNOWN: WeakKeyDictionary[Any, dict[str, list[str]]] = WeakKeyDictionary()


def _words(tokenizer: Any) -> dict[str, list[str]]:
    """The special tokens, and of the other added ones those that the chat template writes (R1's `<｜User｜>`)."""
    if tokenizer not in _KNOWN:
        template = str(tokenizer.chat_template or "")
        words = {t.content for t in tokenizer.added_tokens_decoder.values() if t.special or t.content in template}
        found = _KNOWN[tokenizer] = {}
        for word in sorted(words):
            if len(word.strip()) >= SHORTEST and not word.isalnum() and not THOUGHTS.search(word):
                found.setdefault(word[0], []).append(word)
    return _KNOWN[tokenizer]


def control_word(tokenizer: Any, text: str, told: Collection[str] = ()) -> str | None:
    """A control word in a text, if there is one; told: those that another check speaks of."""
    held = (word for first, words in _words(tokenizer).items() if first in text for word in words if word in text)
    return next((word for word in held if word not in told), None)


def check_control_words(tokenizer: Any, texts: Iterable[str], where: str, told: Collection[str] = ()) -> None:
    """Raise UserError for a text that holds one."""
    for text in texts:
        if held := control_word(tokenizer, text, told):
            place = text.index(held)
            near = " ".join(text[max(0, place - 30) : place + len(held) + 30].split())
            raise UserError(
                f"A text holds '{held}' (…{near}…), which '{where}' reads as a control token and not as these characters; take "
                "it out, or choose other texts."
            )
