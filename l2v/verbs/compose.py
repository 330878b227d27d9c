"""From words to a typed configuration, through Hydra: its command line, one cell by itself, and all jobs of a grid."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from l2v.config import Config, ImpossibleConfig, register
from l2v.errors import StudyError, UserError
from l2v.paths import PLAIN_PATH, conf_dir, local_path, quoted, world_path
from l2v.ranges import check_ranges
from l2v.study.defaults import PAPER_CONTRAST, miniature, wants_paper_contrast
from l2v.verbs.complaints import complaining, complaint
from l2v.verbs.help import groups, part_names
from l2v.verbs.own_configs import check_own_configs
from l2v.verbs.settings_node import HYDRA_NODE, ROOT, SEARCH_PATH, settings_node

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

    from l2v.verbs.grid import JobGrid

FLAGS = ("--multirun", "-m", "--config-dir", "-cd", "--cfg", "-c", "--info", "-i", "--resolve", "--package", "-p")
WITH_VALUE = ("--config-dir", "-cd", "--cfg", "-c", "--package", "-p")
# Of others Hydra prints its usage.
PRINTED = ("job", "hydra", "all")
INFOS = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
CHOICES = {"--cfg": PRINTED, "-c": PRINTED, "--info": INFOS, "-i": INFOS}
# Python itself gives up on numbers of thousands of digits.
LONG_NUMBER = re.compile(r"\d{300}")


def compose_single(arguments: Sequence[str], parts: Collection[str]) -> Config | None:
    """The configuration of a verb that works on one; None when Hydra only printed (--cfg, --info).

    Raises UserError for --multirun, and for settings outside of the parts that the verb looks at.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("--multirun: this verb works on one configuration; repeat it for others.")
    return command_line(arguments, parts)


def command_line(arguments: Sequence[str], parts: Collection[str]) -> Config | None:
    """The configuration of a single run; None when Hydra's own command line launched a multirun or only printed.

    With the paper's contrast where nobody chose one and the default's does not fit the models.
    """
    _check_arguments(arguments, parts)
    arguments = [word if word.startswith("-") else quoted(word) for word in arguments]
    if (plain := _plain_words(arguments)) is not None:
        return compose(*plain)
    check_own_configs(arguments)
    config = _hydra(arguments)
    if config is None or not wants_paper_contrast(config):
        return config
    _say_contrast(config, set())
    return _hydra([*arguments, PAPER_CONTRAST])


def _plain_words(arguments: Sequence[str]) -> tuple[list[str], str | None] | None:
    """The settings of a single run and its --config-dir; None for what is Hydra's command line's, which composes twice."""
    words, folder, rest = [], None, iter(arguments)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = value if equals else next(rest)
        elif word.startswith(("-", "hydra", "+hydra", "++hydra", "~hydra")):
            return None
        else:
            words.append(word)
    return (words, folder) if folder is None or PLAIN_PATH.fullmatch(folder) else None


def _hydra(arguments: Sequence[str]) -> Config | None:
    from unittest.mock import patch

    from hydra import version
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import _run_hydra, get_args_parser
    from hydra.core.global_hydra import GlobalHydra

    register()
    version.setbase("1.3")
    # Hydra prints and exits by itself unless asked for the exception; ours are sentences with exit code 2.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    GlobalHydra.instance().clear()
    composed: list[DictConfig] = []
    parser = get_args_parser()
    given = parser.parse_intermixed_args(list(arguments))
    # Where --multirun was typed, Hydra need not compose everything once more to see whether hydra.mode says so.
    modes: Any = patch.object(Hydra, "get_mode", lambda *_, **__: None) if given.multirun else contextlib.nullcontext()
    # A single run is only composed here and runs outside of Hydra, so that its errors are its own.
    with modes:
        complaining(
            lambda: _run_hydra(
                args=given,
                args_parser=parser,
                task_function=composed.append,
                config_path=str(conf_dir()),
                config_name=ROOT,
            ),
            arguments,
        )
    return typed(composed[0]) if composed else None


def compose(overrides: Sequence[str], config_dir: str | None = None) -> Config:
    """The typed configuration of one cell, composed outside of Hydra's command line. Raises UserError for bad settings."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    GlobalHydra.instance().clear()
    check_own_configs([f"--config-dir={config_dir}"] if config_dir else [])
    words = [*([f"{SEARCH_PATH}=[file://{Path(config_dir).absolute()}]"] if config_dir else []), *map(quoted, overrides)]

    def composed() -> Config:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            loader = GlobalHydra.instance().config_loader()
            config = typed(settings_node(loader, words))
            if not wants_paper_contrast(config):
                return config
            _say_contrast(config, set())
            return typed(settings_node(loader, [*words, PAPER_CONTRAST]))

    return complaining(composed, overrides)


def compose_jobs(
    loader: ConfigLoader, master: DictConfig, jobs: Sequence[Sequence[str]], typed_words: Sequence[str] | None = None
) -> list[Config]:
    """Every job's config. Raises UserError for one that does not fit.

    typed_words: those of the command line, where the others are an experiment's blocks. A block's own word that does not fit
    costs its jobs alone, unless it is a misspelt key: an ImpossibleConfig each.
    """
    from l2v.verbs.grid import JobGrid

    added = dict.fromkeys(word for word in jobs[0] if word.startswith(("+", "~")))
    common = tuple(word for word in added if all(word in job for job in jobs))
    grid = JobGrid(loader, master, common, _checked, _as_object)
    grid.learn(jobs)
    said: set[str] = set()

    def composed(words: Sequence[str]) -> Config | UserError:
        try:
            found = grid.config(words)
            if wants_paper_contrast(found):
                _say_contrast(found, said)
                found = grid.config([*words, PAPER_CONTRAST])
            return _in_world(found)
        except UserError as error:
            own = _own_words(words, typed_words)
            if isinstance(error, StudyError) or not own or _fits(grid, own):
                raise
            return error

    found = [composed(words) for words in jobs]
    whole = next((one for one in found if isinstance(one, Config)), None)
    if whole is None:
        raise UserError(" ".join(dict.fromkeys(map(str, found))))
    told = zip(found, jobs, strict=True)
    return [one if isinstance(one, Config) else _impossible(whole, _own_words(words, typed_words), one) for one, words in told]


def _impossible(whole: Config, words: Sequence[str], error: UserError) -> ImpossibleConfig:
    """What stands for a job that cannot be composed, beside one that can."""
    given = dict(word.partition("=")[::2] for word in words)
    method = replace(whole.method, name=given.get("method", whole.method.name))
    target = replace(whole.target, name=given.get("target.name", given.get("target", whole.target.name)))
    return ImpossibleConfig(**{**vars(whole), "method": method, "target": target}, words=" ".join(words), why=str(error))


def _own_words(words: Sequence[str], typed_words: Sequence[str] | None) -> list[str]:
    """A job's words that stand in its block; none where it has no block."""
    keys = {word.partition("=")[0].lstrip("+~") for word in typed_words or ()}
    return [word for word in words if word.partition("=")[0].lstrip("+~") not in keys] if typed_words is not None else []


def _fits(grid: JobGrid, words: Sequence[str]) -> bool:
    try:
        grid.config(words)
    except UserError:
        return False
    return True


def _say_contrast(config: Config, said: set[str]) -> None:
    """Tell what was taken, once, where the method reads it."""
    from l2v.study.cells import PROMPT_METHODS
    from l2v.transfer.arms import ARMS

    method = config.method.name
    if method in ARMS or method == "mathneuro" or PROMPT_METHODS.get(method) == "shots":
        own = method not in ARMS or ARMS[method].reads == "target" or miniature(config.source)
        reader = config.target if own else config.source
        told = f"{PAPER_CONTRAST} is taken, the paper's: no contrast was chosen for {reader.name}."
        if told not in said:
            print(told, file=sys.stderr)
        said.add(told)


def typed(cfg: DictConfig) -> Config:
    """A composed config as the schema's dataclass. Raises UserError for a value that is missing or does not fit."""
    return _in_world(_as_object(_checked(cfg)))


def _in_world(config: Config) -> Config:
    """The models of `runtime.world` in place of the shipped ones; of a whole config, as one word changes several paths."""
    worlds = Path("outputs", "worlds")
    for role in ("source", "target"):
        model = getattr(config, role)
        if (path := world_path(model.path, config.runtime.world, worlds)) != model.path:
            setattr(config, role, replace(model, path=path))
    return config


def _checked(cfg: DictConfig) -> DictConfig:
    """A composed config under the schema's types, without Hydra's own node. Raises UserError for what does not fit."""
    try:
        # Plain values, so that a key which was forced in with ++ meets the schema too.
        values = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=False))
        values.pop(HYDRA_NODE, None)
        merged = cast(DictConfig, OmegaConf.unsafe_merge(_schema(), values))
    except OmegaConfBaseException as error:
        raise complaint(error) from error
    # "???" asks for a value; a setting with a default would take that without a word.
    asked = _left_open(values)
    if asked and (lost := asked - _left_open(OmegaConf.to_container(merged, resolve=False))):
        raise UserError(_unnamed(sorted(lost)))
    return merged


def _schema() -> DictConfig:
    """A copy of what `register` keeps."""
    from hydra.core.config_store import ConfigStore

    register()
    return cast(DictConfig, ConfigStore.instance().load("l2v_schema.yaml").node)


def _left_open(values: Any, prefix: str = "") -> set[str]:
    """The full keys of settings that stand at "???"."""
    if not isinstance(values, dict):
        return {prefix.removesuffix(".")} if values == "???" else set()
    return set().union(*(_left_open(value, f"{prefix}{name}.") for name, value in values.items()))


def _as_object(cfg: DictConfig) -> Config:
    try:
        cfg = _with_names(cfg)
        config = cast(Config, OmegaConf.to_object(cfg))
    except MissingMandatoryValue as error:
        raise UserError(_unnamed(sorted(OmegaConf.missing_keys(cfg)))) from error
    except OmegaConfBaseException as error:
        raise complaint(error) from error
    check_ranges(config)
    config.scorer = _names("scorer", config.scorer)
    for part in (config.source, config.target, config.contrast, config.neutral, config.benchmark):
        part.path = local_path(part.path)
    weights = config.method.weights
    weights.base, weights.checkpoint = local_path(weights.base), local_path(weights.checkpoint)
    return config


def _names(key: str, given: Any) -> list[str]:
    """One name, or a list of names, as a list. Raises UserError for anything else."""
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{key}={given} is neither a name nor a list of names, such as {key}=[official,robust].")
    return names


def _unnamed(keys: Sequence[str]) -> str:
    """The sentence for settings without a value, with what names a model."""
    told = f"Settings without a value: {', '.join(keys)}"
    roles = [role for role in ("source", "target") if f"{role}.id" in keys or f"{role}.name" in keys]
    ways = " and ".join(f"{role}.path=FOLDER, or {role}.name and {role}.id of the hub" for role in roles)
    return f"{told}; give {ways}." if ways else f"{told}."


def _with_names(cfg: DictConfig) -> DictConfig:
    """A model in a folder needs no name and no id: it is called as its folder is, and known by its content."""
    given: dict[str, dict[str, str]] = {}
    for role in ("source", "target"):
        if OmegaConf.is_missing(cfg, role) or OmegaConf.is_missing(cfg[role], "path") or cfg[role].path is None:
            continue
        folder = Path(cfg[role].path).name or "local"
        name = folder if OmegaConf.is_missing(cfg[role], "name") else cfg[role].name
        missing = {key: value for key, value in (("name", folder), ("id", name)) if OmegaConf.is_missing(cfg[role], key)}
        if missing:
            given[role] = missing
    return cast(DictConfig, OmegaConf.merge(cfg, given)) if given else cfg


def _check_arguments(arguments: Sequence[str], parts: Collection[str]) -> None:
    """Refuse words that are neither flags nor key=value, before Hydra's parser prints its usage, and unused settings."""
    follows_flag = ""
    for word in arguments:
        if follows_flag:
            _check_value(follows_flag, word)
            follows_flag = ""
        elif word.startswith("-"):
            flag, equals, value = word.partition("=")
            if flag not in FLAGS:
                raise UserError(f"'{word}' is no option of this verb (--help lists its settings); known: {', '.join(FLAGS)}.")
            if equals:
                _check_value(flag, value)
            follows_flag = word if word in WITH_VALUE else ""
        elif "=" not in word and not word.startswith("~"):
            raise UserError(f"'{word}' is not of the form key=value.")
        else:
            _check_part(word, parts)
    if follows_flag:
        raise UserError(f"'{follows_flag}' needs a value after it.")


def _check_value(flag: str, value: str) -> None:
    if flag in ("--config-dir", "-cd") and not os.path.isdir(value):
        raise UserError(f"--config-dir {value} does not exist.")
    if value not in (known := CHOICES.get(flag, (value,))):
        raise UserError(f"{flag} {value} is no choice; known: {', '.join(known)}.")


def _check_part(word: str, parts: Collection[str]) -> None:
    """Refuse a setting that exists and that the verb never looks at; one that does not exist is Hydra's to complain of."""
    key, _, value = word.lstrip("+~").partition("=")
    if key in groups() and ".." in value.split("/"):
        raise UserError(f"'{word}' leaves the folder of choices; {key}=… takes a name.")
    if key in set(groups()) - {"experiment"} and value.startswith("["):
        raise UserError(f"'{word}' is a list, whose last choice would hide the others; {key}=… takes one name.")
    if key in groups() and value == "null":
        raise UserError(f"{key}=null chooses nothing; {key}=… takes a name, or leave it out.")
    if "???" in value.split(","):
        raise UserError(f"{key}=??? gives no value; give one, or leave it out.")
    if LONG_NUMBER.search(value):
        raise UserError(f"{key} holds a number of more than 300 digits; give a smaller one.")
    part = key.partition("@")[0].partition(".")[0].partition("/")[0]
    if part in (*part_names(), *groups()) and part not in parts:
        raise UserError(f"This verb never looks at '{key}'; it knows {', '.join(parts)}.")
