"""l2v lm-eval: lm-eval's own command line, with the steered model and the packaged benchmarks.

    l2v lm-eval --tasks mathvista,mmstar --model_args target=mini,method=l2v,intervention.alpha=0.7 --limit 20

--model_args takes the settings of `l2v run` (config_dir=DIR adds your own configs); every other option is lm-eval's
(`lm-eval run --help`). --metadata '{"path": "DIR"}' reads a packaged benchmark's rows from a local folder.
"""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

from l2v.errors import UserError


def main(arguments: list[str]) -> int:
    """`lm-eval run --model l2v …`. Raises UserError for tasks that lm-eval does not find and settings that do not fit."""
    import lm_eval.tasks
    from lm_eval._cli import HarnessCLI
    from lm_eval.utils import setup_logging

    from l2v.verbs.lm_model import task_manager

    if any(word == "--model" or word.startswith("--model=") for word in arguments):
        raise UserError("`l2v lm-eval` always evaluates the model 'l2v'; name what it is in --model_args target=…,method=….")

    def manager(verbosity: Any = None, include_path: Any = None, metadata: Any = None, **_: Any) -> Any:
        return task_manager(include_path, metadata)

    setup_logging()
    sys.argv = ["lm-eval", "run", "--model", "l2v", *arguments]
    try:
        # The command line offers one --include_path, which stays the user's.
        with patch.object(lm_eval.tasks, "TaskManager", manager):
            parser = HarnessCLI()
            parser.execute(parser.parse_args())
    except ValueError as error:
        raise UserError(f"lm-eval: {' '.join(str(error).split())}") from error
    return 0
