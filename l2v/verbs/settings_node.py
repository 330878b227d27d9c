"""The settings as Hydra composes them, without Hydra's own node beside them (launcher, sweeper, logging): half of the work."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader

ROOT = "config"
# Hydra's own node, which is no part of a cell's configuration.
HYDRA_NODE = "hydra"
SEARCH_PATH = f"{HYDRA_NODE}.searchpath"
# What an experiment's jobs were made of, long lists which would be copied into each of them.
EXPANDED = ("blocks", "where")


def settings_node(loader: ConfigLoader, words: Sequence[str], files: dict[str, Any] | None = None) -> DictConfig:
    """What words make of conf/config.yaml. Raises Hydra's and OmegaConf's errors.

    Of Hydra's own settings the search path alone counts; where there are others, its node comes with the result. files: of a
    grid's jobs, the files that were read for others of them; what the grid is made of is left out.
    """
    from hydra._internal.defaults_list import create_defaults_list
    from hydra.types import RunMode

    maker: Any = loader
    parsed, repo = maker._parse_overrides_and_create_caching_repo(ROOT, list(words))
    own = [word for word in parsed if not word.is_hydra_override()]
    if any(word.get_key_element() != SEARCH_PATH for word in parsed if word not in own):
        return loader.load_configuration(ROOT, list(words), RunMode.RUN, from_shell=False)
    maker.validate_sweep_overrides_legal(overrides=own, run_mode=RunMode.RUN, from_shell=False)
    load, read = repo.load_config, repo.delegate.load_config
    if files is not None:
        repo.delegate.load_config = lambda config_path: _once(read, config_path, files)
    repo.load_config = lambda config_path: _less(load(config_path), config_path == ROOT, () if files is None else EXPANDED)
    chosen = create_defaults_list(repo, ROOT, own, prepend_hydra=False, skip_missing=False)
    found = cast(DictConfig, maker._compose_config_from_defaults_list(defaults=chosen.defaults, repo=repo))
    OmegaConf.set_struct(found, True)
    maker._apply_overrides_to_config(chosen.config_overrides, found)
    return found


def _once(read: Callable[..., Any], path: str, files: dict[str, Any]) -> Any:
    """A config file, read once; composing changes what it is given."""
    if path not in files:
        files[path] = read(config_path=path)
    return copy.deepcopy(files[path])


def _less(loaded: Any, root: bool, keys: Sequence[str]) -> Any:
    """A config file as it was loaded, less what it says of Hydra's node; nothing else may extend the search path. keys: what
    else an experiment's file need not say."""
    if loaded is None or not isinstance(loaded.config, DictConfig):
        return loaded
    prefixes = (f"/{HYDRA_NODE}/", f"{HYDRA_NODE}/") if root else (f"/{HYDRA_NODE}/",)
    loaded.defaults_list = [
        one for one in loaded.defaults_list or [] if not str(getattr(one, "group", None) or "").startswith(prefixes)
    ]
    whole = root or loaded.header["package"] == "_global_"
    if whole and HYDRA_NODE in loaded.config and (root or OmegaConf.select(loaded.config, SEARCH_PATH) is None):
        loaded.config.pop(HYDRA_NODE)
    for key in keys if whole and not root else ():
        loaded.config.pop(key, None)
    return loaded
