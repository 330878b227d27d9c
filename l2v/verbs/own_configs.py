"""A user's own configs (--config-dir), looked at before Hydra reads them: readable, plain, and of a sane size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf._utils import get_yaml_loader

from l2v.disk import UNREADABLE
from l2v.errors import UserError
from l2v.verbs.help import groups

# Nodes of one file once its aliases are written out, above which it is no config; the largest of ours has some hundred.
MOST_NODES = 20_000
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge", "timestamp")}


def check_own_configs(arguments: Sequence[str]) -> None:
    """Raise UserError, naming the file, for a YAML file of a --config-dir that Hydra would choke on."""
    for place, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = Path(value if equals else next(iter(arguments[place + 1 :]), ""))
            for file in [*folder.glob("*.yaml"), *(file for name in groups() for file in folder.glob(f"{name}/*.yaml"))]:
                _check_file(file)


def _check_file(file: Path) -> None:
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        size = 0 if root is None else _size(root, {}, file)
        if size <= MOST_NODES:
            yaml.load(text, Loader=get_yaml_loader())  # noqa: S506  OmegaConf's own, which refuses a key that stands twice
    except OSError as error:
        raise UserError(f"The config '{file}' cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, *UNREADABLE) as error:
        raise UserError(f"The config '{file}' is no YAML in UTF-8: {' '.join(str(error).split())[:160]}; mend it.") from error
    if size > MOST_NODES:
        raise UserError(f"The config '{file}' grows to {size:,} values once its aliases are written out; write it without.")


def _size(node: yaml.Node, known: dict[int, int], file: Path) -> int:
    """How many values a node holds when its aliases are written out; known: by node, 0 for one that is being counted."""
    if id(node) in known:
        if not known[id(node)]:
            raise UserError(f"The config '{file}' holds an alias of itself; write it without.")
        return known[id(node)]
    if node.tag not in PLAIN:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise UserError(f"The config '{file}' holds the tag '{tag}'; only plain values are read.")
    known[id(node)] = 0
    inside = [] if isinstance(node, yaml.ScalarNode) else node.value
    parts = [part for pair in inside for part in pair] if isinstance(node, yaml.MappingNode) else inside
    known[id(node)] = 1 + sum(_size(part, known, file) for part in parts)
    return known[id(node)]
