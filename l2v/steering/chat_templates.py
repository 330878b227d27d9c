"""A model's own chat template: that it writes the same day every day, and a question once."""

from __future__ import annotations

import datetime
import re
from typing import Any

from l2v.errors import UserError

# Where a chat template writes the day, and the one that it gets: Llama 3's own for want of a clock. A study that went on
# tomorrow would ask something else.
NOW = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")
DAY = datetime.date(2024, 7, 26)
# What a template is tried with.
QUESTION = "l2vquestionplaceholder"


def dated(template: str) -> str:
    """The template with DAY in the place of today."""
    return NOW.sub(lambda found: repr(DAY.strftime(found[2])), template)


def check_template(holder: Any, parts: bool, where: str) -> None:
    """Raise UserError for a chat template that writes a question twice, something else each time, or a file's byte order mark.

    parts: as `chat_prompt`.

    What one fails with, and what it leaves out, is told with the prompts.
    """
    turn = {"role": "user", "content": [{"type": "text", "text": QUESTION}] if parts else QUESTION}
    try:
        shown = [str(holder.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)) for _ in range(2)]
    except Exception:  # a template is a program of the checkpoint's
        return
    told = {
        "another prompt each time": shown[0] != shown[1],
        "a question twice": shown[0].count(QUESTION) > 1,
        "a byte order mark": "\ufeff" in shown[0],
    }
    if did := next((what for what, met in told.items() if met), None):
        raise UserError(f"The chat template of '{where}' writes {did}; mend the template.")
