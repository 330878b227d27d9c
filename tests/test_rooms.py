"""The house: imports run one way, without circles, and no two classes share a name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

import pytest

from l2v.paths import PACKAGE

# The modules at the package's root, which every room may know, and which know no room.
ROOT = {path.stem for path in PACKAGE.glob("*.py")} - {"cli", "api"}
# Each room and what it may know besides.
ROOMS = {
    "transfer": {"steering"},
    "steering": set(),
    "mini": {"steering", "transfer"},
    "benchmarks": {"mini"},
    "finetune": {"steering", "transfer"},
    "convert": {"mini", "steering"},
    "study": {"benchmarks", "finetune", "steering", "transfer"},
    "report": {"benchmarks", "study", "transfer"},
    "track": {"benchmarks", "report", "study", "transfer"},
    "verbs": {"benchmarks", "convert", "finetune", "mini", "report", "steering", "study", "track", "transfer"},
    "cli": {"verbs"},
    "api": {"report", "study", "track", "verbs"},
    # The schema holds a room's own settings instead of repeating them.
    "config": {"benchmarks", "finetune"},
}
MODULES = {
    ".".join(("l2v", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import, those in functions too; what is imported for types alone never runs."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        else:
            yield from imported([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])
            for handler in getattr(node, "handlers", []):
                yield from imported(handler.body)


def knows(name: str) -> set[str]:
    """The modules of the package that one imports, wherever in it."""
    found = set()
    for node in imported(ast.parse(MODULES[name].read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    # A module's own packages are imported before it.
    return {other for other in found if other in MODULES and not f"{name}.".startswith(f"{other}.")}


GRAPH = {name: knows(name) for name in MODULES}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_the_graph_sees_imports() -> None:
    assert "l2v.study.store" in GRAPH["l2v.verbs.score"], "imports in functions count"
    assert sum(map(len, GRAPH.values())) > 400


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name: str) -> None:
    where = room(name)
    if not where:
        return
    allowed = {where} | ROOMS.get(where, set()) | ROOT
    assert {other for other in GRAPH[name] if room(other) and room(other) not in allowed} == set()


def test_there_are_no_circles() -> None:
    """Peel off what imports nothing that is left; what remains goes round."""
    left = {name: set(others) for name, others in GRAPH.items()}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert {name: sorted(others & left.keys()) for name, others in left.items()} == {}


def test_every_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_line_of_the_page_is_longer_than_128() -> None:
    """A formatter leaves long strings as they are."""
    files = [path for suffix in ("js", "css") for path in PACKAGE.rglob(f"*.{suffix}")]
    lines = {f"{path.name}:{n}": len(line) for path in files for n, line in enumerate(path.read_text().splitlines(), start=1)}
    assert len(files) > 15 and [place for place, length in lines.items() if length > 128] == []
