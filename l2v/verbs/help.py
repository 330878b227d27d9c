"""What `l2v --help` and `l2v VERB --help` print: the verbs' docstrings, the schema and the config groups; no heavy import."""

from __future__ import annotations

import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from l2v.errors import nearest
from l2v.paths import conf_dir


def verb_module(verb: str) -> ModuleType:
    return import_module(f"l2v.verbs.{verb.replace('-', '_')}")


def table_of_contents(verbs: Iterable[str]) -> str:
    """A line per verb: the first of its docstring."""
    summaries = {verb: str(verb_module(verb).__doc__).splitlines()[0].partition(": ")[2] for verb in verbs}
    return "\n".join(f"  l2v {verb:11} {summary.rstrip('.')}" for verb, summary in summaries.items())


def verb_help(verb: str) -> str:
    """The text for one verb: its docstring, and every setting that it takes."""
    module = verb_module(verb)
    text = inspect.cleandoc(str(module.__doc__))
    if hasattr(module, "PARTS"):
        text += f"\n\nChoices (GROUP=NAME):\n{_choices(module.PARTS)}"
        text += "\n\nSettings (KEY=VALUE, default; '(science)' makes another cell):\n" + _lines(_of_parts(module.PARTS))
    elif hasattr(module, "SETTINGS"):
        text += "\n\nSettings:\n" + _lines(described(module.SETTINGS(), ""))
    return text


def folded(text: str, width: int) -> str:
    """Text within a terminal's width: paragraphs, columns that go on below what they tell, and commands as a shell has them."""

    def wrap(line: str, most: int, first: str, hang: str) -> list[str]:
        return textwrap.wrap(
            line, most, initial_indent=first, subsequent_indent=hang, break_on_hyphens=False, break_long_words=False
        )

    def fold(line: str) -> str:
        start = len(line) - len(line.lstrip())
        told = [found.end() for found in re.finditer(r"\s{2,}(?=\S)", line) if found.end() < 0.6 * width]
        if max(told, default=0) <= start and line.startswith("l2v ", start):
            command, *remark = re.split(r"(?<=\S)\s{2,}", line, maxsplit=1)
            below = " " * (start + 4)
            lines = wrap(command, width - 2, "", below)
            return " \\\n".join(lines) + "".join(f"\n{more}" for told in remark for more in wrap(told, width, below, below))
        return "\n".join(wrap(line, width, "", " " * (told[-1] if told else 4)))

    found: list[str] = []
    for prose, lines in itertools.groupby(text.split("\n"), lambda line: bool(re.match(r"(?!l2v [\w-]+ )\S(?!.*  )", line))):
        if prose:
            found += wrap(" ".join(lines), width, "", "")
        else:
            long = re.compile(r" {0,2}\S.*  | {8}| *l2v ")
            found += [fold(line) if long.match(line) and len(line) > width else line for line in lines]
    return "\n".join(found)


def group_options(group: str) -> list[str]:
    return sorted(p.stem for p in (conf_dir() / group).glob("*.yaml"))


def groups() -> list[str]:
    return sorted(p.name for p in conf_dir().iterdir() if p.is_dir())


def part_names() -> list[str]:
    """The parts of a configuration: its sections, and what stands at its root."""
    from l2v.config import Config

    return [field.name for field in fields(Config)]


def words_of(verb: str) -> list[str]:
    """The keys and choices that a verb takes, for a shell that completes them."""
    module = verb_module(verb)
    if hasattr(module, "PARTS"):
        usual = [f"{group}={name}" for group in groups() if group in module.PARTS for name in group_options(group)]
        return [*usual, *(f"{name}=" for name, *_ in _of_parts(module.PARTS))]
    return [f"{name}=" for name, *_ in described(module.SETTINGS(), "")] if hasattr(module, "SETTINGS") else []


def _choices(parts: Iterable[str]) -> str:
    # A group that no default names is added with a plus.
    usual = re.findall(r"^  - (\w+):", (conf_dir() / "config.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    shown = [group for group in groups() if group in parts]
    return "\n".join(f"  {('' if g in usual else '+') + g:12} {', '.join(group_options(g))}" for g in shown)


def _of_parts(parts: Iterable[str]) -> list[tuple[str, str, str]]:
    from l2v.config import Config

    return [one for one in described(Config(), "") if one[0].partition(".")[0] in parts]


def nearest_settings(key: str) -> list[str]:
    """The settings spelt most like `key`, by their full name or, for a key without a dot, by their last part or as a choice."""
    full = [name for name, *_ in _of_parts(part_names())]
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(full)} | {name: name for name in (*part_names(), *groups())}
    return nearest(key, full) if "." in key else [by_leaf[leaf] for leaf in nearest(key, by_leaf)]


def described(settings: Any, prefix: str) -> list[tuple[str, str, str]]:
    """Every setting of a dataclass of defaults: its full key, its default, and the comment where it is declared."""
    comments: dict[str, str] = {}
    for kind in reversed(type(settings).__mro__[:-1]):
        comments |= dict(re.findall(r"^    (\w+): [^#\n]*?(?:#\s*(.*))?$", inspect.getsource(kind), re.MULTILINE))
    found = []
    for field in fields(settings):
        name, default = prefix + field.name, getattr(settings, field.name)
        if is_dataclass(default):
            found += described(default, f"{name}.")
        else:
            found.append((name, str(default), comments.get(field.name, "")))
    return found


def _lines(settings: Iterable[tuple[str, str, str]]) -> str:
    return "\n".join(f"  {name:32} {default:10} {told}".rstrip() for name, default, told in settings)
