"""Settings as key=value words, for the verbs that compose nothing: each declares a dataclass and knows its fields alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from l2v.errors import UserError, nearest
from l2v.ranges import check_ranges, leaves

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class StudySettings:
    """What every verb on a stored study looks at."""

    study: str = "default"  # folder under outputs
    outputs: str = "outputs"  # folder of all studies


def parse(arguments: Sequence[str], kind: type[Settings]) -> Settings:
    """The settings from key=value words; `--key value`, `--key=value` and, for what is off, `--key` say the same.

    Raises UserError for a word of another form, a setting that `kind` lacks, and a value that does not fit.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = OmegaConf.create(OmegaConf.structured(kind), flags={"readonly": False})
    known = list(leaves(kind()))
    for key, value in _pairs(arguments, kind):
        if key not in known:
            close = nearest(key, known) if len(known) > 5 else []
            hint = f" (did you mean {', '.join(close)}?)" if close else ""
            raise UserError(f"Unknown setting '{key}'{hint}; this verb knows {', '.join(known)}.")
        try:
            OmegaConf.update(schema, key, None if value == "null" else _unquoted(value))
        except OmegaConfBaseException as error:
            raise UserError(f"{key}={value} does not fit: {str(error).splitlines()[0]}.") from error
    try:
        settings = cast(Settings, OmegaConf.to_object(schema))
    except OmegaConfBaseException as error:
        raise UserError(f"The settings could not be read: {str(error).splitlines()[0]}.") from error
    check_ranges(settings)
    return settings


def check_unused(settings: object, names: Sequence[str], where: str) -> None:
    """Raise UserError where one of these settings was given, which a verb never looks at `where` it is used so."""
    usual = type(settings)()
    if given := [name for name in names if getattr(settings, name) != getattr(usual, name)]:
        several = len(given) > 1
        words = f"{'=…, '.join(given)}=… {'are' if several else 'is'} never looked at {where}"
        raise UserError(f"{words}; leave {'them' if several else 'it'} out.")


def _pairs(arguments: Sequence[str], kind: type) -> list[tuple[str, str]]:
    """(setting, value) of every word; `tracker=NAME` names the tracker, as in a config group."""
    defaults = vars(kind())
    found = []
    words = iter(arguments)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            if not word.startswith("--"):
                raise UserError(f"'{word}' is not of the form key=value.")
            following = "true" if defaults.get(word[2:]) is False else next(words, None)
            if following is None:
                raise UserError(f"'{word}' needs a value after it.")
            value = following
        key = key.removeprefix("--")
        found.append((f"{key}.name" if hasattr(defaults.get(key), "name") else key, value))
    return found


def _unquoted(value: str) -> str:
    """As Hydra's grammar has it: quotes around a value are no part of it."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
