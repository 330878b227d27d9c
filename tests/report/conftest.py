"""A tab for the tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from packages import program

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
ARGUMENTS += ["--no-first-run"]


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A tab of headless Chromium. Opening a page in it again takes half the time of a new tab and leaves nothing behind."""
    path = program("chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install l2v[dev])")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium.new_context(reduced_motion="reduce").new_page()
        chromium.close()
