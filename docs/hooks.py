"""Pages that the code writes: verbs from their docstrings, settings from the schema, choices from conf/, and the notebooks.

The experiments and the changelog lie where they belong and are read from there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from l2v.config import Config
from l2v.verbs import VERBS
from l2v.verbs.help import described, group_options, groups, verb_module

ROOT = Path(__file__).parents[1]
# Where a page of docs/ points to the README, sections of it stand in the built page: from one heading to another.
POINTERS = {
    "The way of a key to the table, and what is added where: [README](../README.md).": ("## From a key", "## Where to go on"),
    "One card, from the look before to the page; a model of your own; offline: [README](../README.md).":
        ("## A real study", "## From a key"),
}  # fmt: skip
COLUMNS = ("setting", "default", "what it is")
SHOWN = {".md", ".png", ".csv", ".py", ".yaml", ".in"}  # of experiments/: what is read, and what is linked to


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    pages: dict[str, str | bytes] = {"verbs.md": _verbs(), "settings.md": _settings(), "choices.md": _choices()}
    pages["CHANGELOG.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        pages |= _notebook(path)
    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.suffix in SHOWN and "__pycache__" not in path.parts:
            name = path.relative_to(ROOT).as_posix()
            pages[name] = _linked(path) if path.suffix == ".md" else path.read_bytes()
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """docs/ links to what lies beside it in the repository; here it lies within."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    for pointer, (first, after) in POINTERS.items():
        markdown = markdown.replace(pointer, readme[readme.index(f"\n{first}") : readme.index(f"\n{after}")])
    return (
        markdown.replace("](../experiments/", "](experiments/")
        .replace("](../examples/", "](examples/")
        .replace(".ipynb)", ".md)")
    )


def _linked(path: Path) -> str:
    """A page of experiments/, with links to folders made links to their pages; what it says of code has no page here."""

    def page(found: re.Match[str]) -> str:
        target = (path.parent / found[2]).resolve()
        if ROOT / "l2v" in target.parents:
            return f"`{target.relative_to(ROOT)}`"
        return f"[{found[1]}]({found[2]}/README.md)" if (target / "README.md").is_file() else found[0]

    return re.sub(r"\[([^\[\]]+)\]\(([\w./-]+)\)", page, path.read_text(encoding="utf-8"))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in line) + " |" for line in lines)


def _verbs() -> str:
    parts = ["# Verbs\n\n`l2v VERB --help` prints the same."]
    for verb in VERBS:
        module = verb_module(verb)
        first, _, rest = cleandoc(str(module.__doc__)).partition("\n")
        told = rest.strip("\n")  # the commands keep their indentation
        parts.append(f"## {verb}\n\n{first.partition(': ')[2]}\n\n```text\n{told}\n```")
        if hasattr(module, "PARTS"):
            named = ", ".join(f"`{part}`" for part in module.PARTS)
            parts.append(f"Looks at these parts of the [settings](settings.md): {named}.")
        elif hasattr(module, "SETTINGS"):
            parts.append(_table(COLUMNS, _rows(module.SETTINGS(), "")))
    return "\n\n".join(parts) + "\n"


def _rows(settings: Any, prefix: str) -> list[tuple[str, str, str]]:
    rows = described(settings, prefix)
    return [(f"`{name}`", "of the choice" if default == "???" else f"`{default}`", told) for name, default, told in rows]


def _settings() -> str:
    usual = Config()
    parts = [
        "# Settings\n\nEvery setting of `l2v run` and of the verbs that compose a configuration: key, default, meaning. Those "
        "marked (science) make another cell; the others say where and how to compute. The file behind it: `l2v/config.py`."
    ]
    single = [field.name for field in fields(usual) if not is_dataclass(getattr(usual, field.name))]
    rows = dict(zip([r[0] for r in described(usual, "")], _rows(usual, ""), strict=True))
    parts.append("## At the root\n\n" + _table(COLUMNS, [rows[name] for name in single]))
    for field in fields(usual):
        part = getattr(usual, field.name)
        if is_dataclass(part):
            told = cleandoc(type(part).__doc__ or "")
            parts.append(f"## {field.name}\n\n{told}\n\n" + _table(COLUMNS, _rows(part, f"{field.name}.")))
    return "\n\n".join(parts) + "\n"


def _choices() -> str:
    parts = [
        "# Choices\n\n`GROUP=NAME` takes a file of `conf/`; `--config-dir` adds a folder of your own. What each says of itself:"
    ]
    for group in groups():
        rows = []
        for name in group_options(group):
            lines = (ROOT / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
            notes = [line[2:] for line in lines if line.startswith("# ") and "@package" not in line]
            rows.append((f"`{name}`", notes[0] if notes else ""))
        parts.append(f"## {group}\n\n" + _table(("name", "what it says of itself"), rows))
    return "\n\n".join(parts) + "\n"


def _notebook(path: Path) -> dict[str, str | bytes]:
    """A notebook's text, code and stored outputs as a page, its pictures beside it."""
    lines, files = [f"*This page is the notebook `examples/{path.name}`.*"], {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        lines.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(files)}.png"
                files[f"examples/{name}"] = base64.b64decode("".join(data["image/png"]))
                lines.append(f"![The figure of this cell]({name})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))):
                lines.append(f"```text\n{text.rstrip()}\n```")
    head, *rest = lines[1:]
    return {f"examples/{path.stem}.md": "\n\n".join([head, lines[0], *rest]) + "\n", **files}
