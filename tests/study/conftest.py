"""What the tests of executors share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from chaos import GRID, results


@pytest.fixture(scope="session")
def undisturbed(l2v: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """results.csv of a run in this process that nothing disturbed, without the seconds."""
    outputs = tmp_path_factory.mktemp("undisturbed")
    assert l2v(*GRID, f"runtime.outputs={outputs}").code == 0
    return results(outputs)
