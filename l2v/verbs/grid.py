"""All jobs of a grid as configurations. What each word of a job changes is found once, not anew for every job.

Composing a job by Hydra takes tens of milliseconds, and a table has thousands that choose among a few dozen words. So a word
is composed alone, and what it changed is laid over the configuration without any. Jobs with words that cannot be told apart
so (additions, deletions, whole nodes, interpolations, two files that set the same thing) are composed as they stand.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from l2v.config import Config
from l2v.errors import UserError
from l2v.ranges import check_ranges, leaves
from l2v.verbs.complaints import complaining
from l2v.verbs.settings_node import SEARCH_PATH, settings_node

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

Effect = dict[str, Any]  # full key of a setting -> its value
# Nodes without paths and names, in which a value depends on nothing beside it.
ALONE = ("intervention", "decoding")


class JobGrid:
    """Composes jobs over one master config."""

    def __init__(
        self,
        loader: ConfigLoader,
        master: DictConfig,
        common: tuple[str, ...],
        checked: Callable[[Any], DictConfig],
        typed: Callable[[DictConfig], Config],
    ) -> None:
        """common: files that every job chooses (+experiment=…); checked: puts a composed config under the schema; typed: makes
        it the schema's dataclass."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        self.loader, self.checked, self.typed = cast(Any, loader), checked, typed
        self.search_path = [word for word in master.hydra.overrides.hydra if word.lstrip("+").startswith(SEARCH_PATH)]
        self.common = common
        self.parser = OverridesParser.create(config_loader=loader)
        self.is_group = lru_cache(maxsize=None)(lambda key: bool(loader.get_group_options(key)))
        self.read: dict[str, Any] = {}
        self.by_files: dict[tuple[str, ...], DictConfig] = {}
        self.effects: dict[str, Effect | None] = {}
        try:
            self.base: Config | None = typed(self._composed(common))
        except UserError:
            self.base = None  # it lacks a value that every job gives
        self.plain: Effect = leaves(self.base) if self.base else {}
        # The base under chosen files; None where they cannot be told apart.
        self.laid: dict[tuple[str, ...], Config | None] = {}

    def config(self, words: Sequence[str]) -> Config:
        """The configuration of one job. Raises UserError for a word that does not fit."""
        files = tuple(word for word in words if self._is_file(word))
        values = [word for word in words if word not in files]
        laid = self._laid_over([word for word in files if word not in self.common], values)
        return self._whole(files, values) if laid is None else laid

    def learn(self, jobs: Sequence[Sequence[str]]) -> None:
        """Find the effects of all files that the jobs choose: one composition holds a choice of every group."""
        groups: dict[str, list[str]] = {}
        for word in dict.fromkeys(word for job in jobs for word in job):
            if self.base is not None and word not in self.common and self._is_file(word) and not word.startswith(("+", "~")):
                groups.setdefault(word.split("=")[0], []).append(word)
        for words in itertools.zip_longest(*groups.values()):
            together = tuple(word for word in words if word is not None)
            try:
                changed = self._changed(together)
            except UserError:
                continue  # each is looked at alone, when it is met
            names = [word.split("=")[0] for word in together]
            # A file that sets something outside of its group's node is looked at alone, when it is met.
            if all(key.split(".")[0] in names for key in changed):
                for name, word in zip(names, together, strict=True):
                    self.effects[word] = {key: value for key, value in changed.items() if key.startswith(f"{name}.")}

    def _laid_over(self, files: Sequence[str], values: Sequence[str]) -> Config | None:
        """The base with every word's effect; None where the words cannot be told apart."""
        if self.base is None:
            return None
        chosen = {word.split("=")[0]: word for word in files}  # the last choice of a group counts
        if (laid := self._under(tuple(chosen.values()))) is None:
            return None  # and the words of values are looked at with the whole job
        effects = [self._effect(word, self._value_effect) for word in values]
        return None if None in effects else _changed_by(laid, cast(list[Effect], effects))

    def _under(self, files: tuple[str, ...]) -> Config | None:
        """The base with the effects of chosen files."""
        if files not in self.laid:
            effects = [self._effect(word, self._file_effect) for word in files]
            touched = [key for effect in effects if effect is not None for key in effect]
            apart = None not in effects and len(touched) == len(set(touched))
            assert self.base is not None
            self.laid[files] = _changed_by(self.base, cast(list[Effect], effects)) if apart else None
        return self.laid[files]

    def _effect(self, word: str, find: Callable[[str], Effect | None]) -> Effect | None:
        if word not in self.effects:
            self.effects[word] = find(word)
        return self.effects[word]

    def _file_effect(self, word: str) -> Effect | None:
        if word.startswith(("+", "~")):
            return None
        try:
            return self._changed((word,))
        except UserError:
            return None  # it lacks a value that its jobs give

    def _changed(self, files: tuple[str, ...]) -> Effect:
        """What files change. Raises UserError for a model that takes its name from a folder, which other words may change."""
        composed = self._composed((*self.common, *files))
        if any(OmegaConf.is_missing(composed[role], key) for role in ("source", "target") for key in ("name", "id")):
            raise UserError("A model without a name.")
        found = leaves(self.typed(composed))
        return {key: value for key, value in found.items() if value != self.plain[key]}

    def _value_effect(self, word: str) -> Effect | None:
        key, _, value = word.partition("=")
        if key not in self.plain or "${" in value:
            return None
        if key.partition(".")[0] not in ALONE:
            return {key: leaves(self._whole(self.common, [word]))[key]}
        return {key: complaining(lambda: self._converted(key, word), [word])}

    def _converted(self, key: str, word: str) -> Any:
        """A word's value under the schema, by its own node alone: copying the whole takes fifty times as long, and a grid may
        have thousands of values."""
        part = key.partition(".")[0]
        node = OmegaConf.masked_copy(self._composed(self.common), [part])
        self.loader._apply_overrides_to_config(self.parser.parse_overrides([word]), node)
        value: Any = OmegaConf.to_object(node)
        for name in key.split("."):
            value = value[name] if isinstance(value, dict) else getattr(value, name)
        whole = duplicate(self.base)
        put(whole, key, value)
        check_ranges(whole)
        return value

    def _is_file(self, word: str) -> bool:
        return word.startswith(("+", "~")) or self.is_group(word.split("=")[0].split("@")[0])

    def _composed(self, files: tuple[str, ...]) -> DictConfig:
        if files not in self.by_files:
            self.by_files[files] = complaining(
                lambda: self.checked(settings_node(self.loader, [*self.search_path, *files], self.read)), files
            )
        return self.by_files[files]

    def _whole(self, files: tuple[str, ...], values: Sequence[str]) -> Config:
        """A job composed by Hydra."""
        cfg = self._composed(files)
        if values:
            cfg = copy.deepcopy(cfg)
            complaining(lambda: self.loader._apply_overrides_to_config(self.parser.parse_overrides(list(values)), cfg), values)
        return self.typed(cfg)


def _changed_by(config: Config, effects: Sequence[Effect]) -> Config:
    """A copy with these effects."""
    found: Config = duplicate(config)
    for effect in effects:
        for key, value in effect.items():
            put(found, key, copy.copy(value))
    return found


def put(config: Config, key: str, value: Any) -> None:
    *path, leaf = key.split(".")
    node: Any = config
    for name in path:
        node = getattr(node, name)
    setattr(node, leaf, value)


_PLAIN = frozenset((str, int, float, bool, type(None)))


def duplicate(value: Any) -> Any:
    """A copy that shares no node and no list; `deepcopy` takes many times as long, and a grid has thousands."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [duplicate(one) for one in value]
    if kind is dict:
        return {key: duplicate(one) for key, one in value.items()}
    if not is_dataclass(value):
        return copy.deepcopy(value)
    found = object.__new__(kind)
    vars(found).update((name, one if type(one) in _PLAIN else duplicate(one)) for name, one in vars(value).items())
    return found
