"""The documentation: it builds without a warning, knows every verb, setting and choice, and fetches nothing when it is read."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from l2v.config import Config
from l2v.verbs import VERBS
from l2v.verbs.grid import leaves
from l2v.verbs.help import group_options, groups

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")
FETCHED = re.compile(r"<(?:script|img|iframe|link)[^>]*(?:src|href)=\"(?:https?:)?//[^\"]+\"|@import|url\(\"?https?:")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_what_is_generated_is_whole(site: Path) -> None:
    verbs, settings, choices = (html.unescape((site / f"{name}.html").read_text()) for name in ("verbs", "settings", "choices"))
    assert [verb for verb in VERBS if f'id="{verb}"' not in verbs] == []
    assert [key for key in leaves(Config()) if f"<code>{key}</code>" not in settings] == []
    assert [name for group in groups() for name in group_options(group) if f"<code>{name}</code>" not in choices] == []
    api = (site / "python.html").read_text()
    assert [name for name in ("run", "results", "compare") if f'id="l2v.api.{name}"' not in api] == []
    assert list(site.glob("examples/*.png"))


def test_nothing_is_fetched_at_reading(site: Path) -> None:
    found = {path.name: FETCHED.findall(path.read_text()) for path in [*site.rglob("*.html"), *site.rglob("*.css")]}
    assert {name: links for name, links in found.items() if links} == {}


def test_links_of_readme_and_docs_lead_somewhere() -> None:
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        told = [link for link in LINK.findall(path.read_text()) if "://" not in link]
        generated = {"verbs.md", "settings.md", "choices.md"} if path.parent.name == "docs" else set()
        assert [link for link in told if link not in generated and not (path.parent / link).exists()] == [], path
