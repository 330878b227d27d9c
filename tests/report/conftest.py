"""A tab for the tests of pages, and a page that several of them look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packages import program
from page_helpers import write_lat

from l2v.report.page.page import write_page
from l2v.report.study import read_study

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


@pytest.fixture(scope="session")
def seen(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A sweep of l2v and a null beside the baseline, a second study with some of its cells, and pictures of states."""
    common = ("benchmark.limit=30", "intervention.scale=relative", "method=direct,l2v,random")
    for name, *settings in (
        ("seen", "intervention.layer=2,3", "intervention.alpha=0.3,0.7"),
        ("seen_too", "intervention.layer=3", "intervention.alpha=0.7", "decoding.max_new_tokens=6"),
    ):
        answer = tiny("--multirun", f"study={name}", *common, *settings)
        assert answer.code == 0, answer.err
    write_lat(outputs / "seen", [{"id": "a", "title": "Dispersion", "note": "n = 8", "png": "a.png", "csv": "numbers.csv"}])
    return outputs / "seen"


@pytest.fixture(scope="session")
def seen_page(seen: Path) -> Path:
    """The page of both studies."""
    return write_page(read_study(str(seen.parent), seen.name), compare="seen_too")
