"""The verbs that compose a configuration with Hydra, and Hydra's complaints in one sentence."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from l2v.errors import UserError
from l2v.paths import conf_dir
from l2v.study.defaults import PAPER_CONTRAST, wants_paper_contrast

FLAGS = ("--multirun", "-m", "--config-dir", "-cd", "--cfg", "-c", "--info", "-i", "--resolve", "--package", "-p")


def run_verb(arguments: list[str]) -> int:
    """`l2v run`: 0 when all cells are done, 1 when some failed."""
    from l2v.verbs.launch import FAILED, run_configs, typed

    FAILED.clear()
    cfg = _composed(arguments)
    if cfg is None:
        return int(bool(FAILED))
    config = typed(cfg)
    if config.blocks:
        raise UserError("This experiment is a grid of cells; run it with `l2v run --multirun …`.")
    _, failed = run_configs([config])
    return int(any(failed))


def compose_single(arguments: list[str], verb: str) -> Any:
    """The composed config of a verb that works on one configuration. Raises UserError for --multirun."""
    if {"-m", "--multirun"} & set(arguments):
        raise UserError(f"`l2v {verb}` works on one configuration; repeat it for others.")
    cfg = _composed(arguments)
    if cfg is None:
        raise UserError(f"`l2v {verb}` takes settings, no --cfg or --info.")
    return cfg


def extract_verb(arguments: list[str]) -> int:
    """`l2v extract`: read the directions of one composed cell into the cache and print their files."""
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("`l2v extract` reads for one configuration; `l2v run --multirun` reads what its grid needs by itself.")
    cfg = _composed(arguments)
    if cfg is None:
        return 0
    from l2v.study.cells import Job
    from l2v.study.resolve import resolve
    from l2v.study.workers.devices import pick_device
    from l2v.study.workers.directions import ensure_directions
    from l2v.verbs.launch import typed

    config = typed(cfg)
    job = Job(resolve(config), config)
    if not job.cell.steered:
        raise UserError(f"Method '{job.cell.method}' reads no direction; choose method=l2v or another arm.")
    # Only the paths go to standard output, for `$(l2v extract …)`.
    say = partial(print, file=sys.stderr)
    for path in ensure_directions([job], pick_device(config.runtime.device), say):
        print(path)
    return 0


def _composed(arguments: list[str]) -> Any:
    """As `_hydra`, with the paper's contrast where nobody chose one and the default's does not fit the models."""
    from l2v.verbs.launch import say_contrast, typed

    cfg = _hydra(arguments)
    if cfg is None or not wants_paper_contrast(config := typed(cfg)):
        return cfg
    say_contrast(config)
    return _hydra([*arguments, PAPER_CONTRAST])


def _hydra(arguments: list[str]) -> Any:
    """Hydra's own command line: the composed config of a single run; None when it launched a multirun or only printed."""
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from l2v.config import register
    from l2v.verbs.complaints import sentence

    _check_arguments(arguments)
    register()
    version.setbase("1.3")
    # Hydra prints and exits by itself unless asked for the exception; ours are sentences with exit code 2.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    GlobalHydra.instance().clear()
    sys.argv = ["l2v", *arguments]
    composed: list[Any] = []
    parser = get_args_parser()
    try:
        # A single run is only composed here and runs outside of Hydra, so that its errors are its own.
        _run_hydra(
            args=parser.parse_intermixed_args(arguments),
            args_parser=parser,
            task_function=composed.append,
            config_path=str(conf_dir()),
            config_name="config",
        )
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(sentence(error)) from error
    return composed[0] if composed else None


def _check_arguments(arguments: list[str]) -> None:
    """Refuse words that are neither flags nor key=value, before Hydra's parser prints its usage."""
    follows_flag = ""
    for word in arguments:
        if follows_flag:
            if follows_flag in ("--config-dir", "-cd") and not Path(word).is_dir():
                raise UserError(f"--config-dir {word} does not exist.")
            follows_flag = ""
        elif word.startswith("-"):
            if word.split("=")[0] not in FLAGS:
                raise UserError(f"'{word}' is no option of this verb; known: {', '.join(FLAGS)}.")
            if (directory := _value(word, "--config-dir")) and not Path(directory).is_dir():
                raise UserError(f"--config-dir {directory} does not exist.")
            follows_flag = word if word in ("--config-dir", "-cd", "--cfg", "-c", "--package", "-p") else ""
        elif "=" not in word and not word.startswith("~"):
            raise UserError(f"'{word}' is not of the form key=value.")
    if follows_flag:
        raise UserError(f"'{follows_flag}' needs a value after it.")


def _value(word: str, key: str) -> str | None:
    return word.split("=", 1)[1] if word.startswith(f"{key}=") else None
