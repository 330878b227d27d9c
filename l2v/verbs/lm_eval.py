"""l2v lm-eval: lm-eval's own command line, with the steered model and the packaged benchmarks.

    l2v lm-eval --tasks mathvista,mmstar --model_args target=mini,method=l2v,intervention.alpha=0.7 --limit 20

--model_args takes the settings of `l2v run` (config_dir=DIR adds your own configs); every other option is lm-eval's
(`lm-eval run --help`). Without --device it computes on runtime.device: a GPU where there is one.
A path with a comma in it goes in as JSON: --model_args '{"target": "local", "target.path": "/a,b", "method": "direct"}'.
--metadata '{"path": "DIR"}' reads a packaged benchmark's rows from a local folder.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

from l2v.errors import UserError

# A name, and no pattern or path; the words by which lm-eval lists what it has; the model's own arguments.
PLAIN = re.compile(r"[\w-]+")
LISTS = ("list", "list_tasks", "list_groups", "list_subtasks", "list_tags")
OURS = ("batch_size", "max_batch_size", "device", "config_dir")


def main(arguments: list[str]) -> int:
    """`lm-eval run --model l2v …`. Raises UserError for tasks that lm-eval does not find and settings that do not fit."""
    if any(word == "--model" or word.startswith("--model=") for word in arguments):
        raise UserError("`l2v lm-eval` always evaluates the model 'l2v'; name what it is in --model_args target=…,method=….")
    if _value(arguments, "--tasks", "-t", "--config", "-C") is None:
        raise UserError("`l2v lm-eval` needs the names of tasks: --tasks gsm8k,…, or --config FILE.")
    _check(arguments)
    from unittest.mock import patch

    import lm_eval.tasks
    from lm_eval._cli import HarnessCLI
    from lm_eval.utils import setup_logging

    from l2v.benchmarks.lm_data import data_checked
    from l2v.verbs.lm_model import task_manager

    def manager(verbosity: Any = None, include_path: Any = None, metadata: Any = None, **_: Any) -> Any:
        return task_manager(include_path, metadata)

    setup_logging()
    sys.argv = ["lm-eval", "run", "--model", "l2v", *arguments, *_device(arguments)]
    try:
        # The command line offers one --include_path, which stays the user's.
        with patch.object(lm_eval.tasks, "TaskManager", manager), data_checked():
            parser = HarnessCLI()
            with contextlib.redirect_stderr(io.StringIO()) as said:
                chosen = parser.parse_args()
            parser.execute(chosen)
    except SystemExit as ended:
        # argparse prints its usage and an error below it.
        if ended.code:
            raise UserError((said.getvalue().strip().splitlines() or [f"lm-eval ended with {ended.code}"])[-1]) from ended
    except ValueError as error:
        raise UserError(f"lm-eval: {' '.join(str(error).split())}") from error
    return 0


def _check(arguments: list[str]) -> None:
    """Refuse tasks and settings that do not exist before lm-eval reads its thousands of task files and a model loads."""
    from l2v.benchmarks.lm_tasks import check_named
    from l2v.study.resolve import resolve
    from l2v.verbs.compose import compose

    include = _value(arguments, "--include_path")
    for task in filter(PLAIN.fullmatch, (_value(arguments, "--tasks", "-t") or "").split(",")):
        if task not in LISTS:
            check_named(task, include)
    words = (_value(arguments, "--model_args", "-a") or "").split(",")
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if len(given) < len(words):
        return  # a value with commas of its own: lm-eval's parser will tell
    settings = [f"{key}={value}" for key, value in given.items() if key not in OURS]
    with contextlib.redirect_stderr(io.StringIO()):  # what is told of the settings is told when they are used
        resolve(compose(settings, given.get("config_dir")))


def _value(arguments: list[str], *options: str) -> str | None:
    """What follows an option, as the next word or after "="."""
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else next(iter(arguments[place + 1 :]), None)
    return None


def _device(arguments: list[str]) -> list[str]:
    """lm-eval's own default is cuda:0, there or not; what nobody chose is left to runtime.device."""
    words = [word.partition("=")[0] for word in arguments]
    return [] if "--device" in words or _in_file(arguments) else ["--device", "auto"]


def _in_file(arguments: list[str]) -> bool:
    """Whether lm-eval's own --config FILE chooses a device."""
    import yaml

    given = _value(arguments, "--config", "-C")
    try:
        return bool(given) and "device" in (yaml.safe_load(Path(str(given)).read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return False  # lm-eval says what is wrong with it
