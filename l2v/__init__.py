"""L2V-CoT: carry a chain-of-thought direction from a text LLM into a vision-language model (arXiv 2511.17910).

From Python: `l2v.run`, `l2v.results`, `l2v.compare` (l2v/api.py), loaded when they are asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2v.api import FailedCellsError, compare, results, run

__version__ = "0.1.0"
__all__ = ["FailedCellsError", "compare", "results", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'l2v' has no attribute '{name}'")
    from l2v import api

    return getattr(api, name)
