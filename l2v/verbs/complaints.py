"""What Hydra and OmegaConf complain of, in one sentence with the nearest names."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from l2v.errors import StudyError, UserError, nearest
from l2v.verbs.help import group_options, nearest_settings

MISSPELT = "Unknown setting"


def complaint(error: Exception) -> UserError:
    """The error of one sentence for one of composing; a misspelt key ends the whole command, wherever it stands."""
    said = sentence(error)
    return StudyError(said) if said.startswith(MISSPELT) else UserError(said)


def complaining(work: Callable[[], Any], words: Sequence[str]) -> Any:
    """What `work` makes of the words, with Hydra's and OmegaConf's complaints as one sentence."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return work()
    except (HydraException, OmegaConfBaseException) as error:
        raise complaint(error) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # Such as ++scorer.x=1, a key below a list: not all that cannot be composed is foreseen there.
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        if not {"hydra", "omegaconf"} & set(Path(place).parts):
            raise
        told = ", ".join(word for word in words if word.startswith(("+", "~"))) or ", ".join(words)
        raise UserError(f"A setting could not be put together ({error}); it is one of: {told[:200]}.") from error


def sentence(error: Exception) -> str:
    """One sentence for an error of composing: unknown choice, unknown setting, wrong type; else the message itself."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    choice = re.search(r"Could not find '([\w/]+)/([^']+)'", text)
    if choice:
        folder, name = choice.groups()
        options = group_options(folder)
        close = nearest(name, options)
        hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(options)}."
        return f"Unknown {folder} '{name}'; {hint}"
    patterns = (r"full_key: ([\w.]+)", r"Could not override '\+*([\w.@/]+)'", r"Key '(\w+)'")
    name = next((found.group(1) for pattern in patterns if (found := re.search(pattern, text))), "")
    wrong = re.search(r"Value '.*?' (?:of type '\w+' )?could not be converted to \w+|[\w ]*field .* is not Optional", text)
    if wrong and name:
        return f"{name}: {wrong.group()}."
    if name and re.search(r"not in '|not in struct|Could not override", text):
        close = nearest_settings(name)
        hint = f"did you mean {', '.join(close)}?" if close else "`l2v run --help` lists them all."
        return f"{MISSPELT} '{name}'; {hint}"
    text = re.sub(
        r" expecting \{.*?\}| See https:\S+[\w ]*", "", text.replace("LexerNoViableAltException:", "Unusual signs in")
    )
    if (word := str(getattr(error, "override", None) or "")) and word.partition("=")[0] not in text:
        text = f"{word[:200]}: {text}"
    return f"""{text[:400]}; quote such text, for the shell too: "key='…'".""" if "Unusual signs" in text else text[:400]
