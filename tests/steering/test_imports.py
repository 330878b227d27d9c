"""transfer/ and steering/ by themselves: torch, transformers, numpy, pillow and safetensors are all they need."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from l2v.paths import PACKAGE

ALLOWED = {"torch", "transformers", "numpy", "PIL", "safetensors"}
OURS = {
    "checkpoint",
    "checkpoint_files",
    "collector",
    "data_sets",
    "disk",
    "errors",
    "generation",
    "identity",
    "images",
    "outside",
    "transfer",
    "steering",
}
# What one file needs, and only where a function of it asks for it.
LATE = {"datasets": "contrast.py", "scipy": "lat.py"}
# What the rest of the project imports, and what transformers can do without.
FORBIDDEN = (
    "hydra", "omegaconf", "lm_eval", "wandb", "pandas", "datasets", "pyarrow", "scipy", "statsmodels", "psutil", "sklearn",
    "matplotlib", "accelerate", "bitsandbytes", "l2v.config", "l2v.study", "l2v.benchmarks", "l2v.report",
)  # fmt: skip

SCRIPT = """
import importlib, importlib.util, pkgutil, sys
from pathlib import Path

FORBIDDEN = {forbidden}


class Wall:
    \"\"\"Forbidden packages look as if they were not installed.\"\"\"

    def find_spec(self, name, path=None, target=None):
        if any(name == f or name.startswith(f + ".") for f in FORBIDDEN):
            raise ModuleNotFoundError(f"No module named {{name!r}} (walled off)", name=name)
        return None


sys.meta_path.insert(0, Wall())
sys.path[:0] = [{root!r}, {tests!r}]
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split(".")[0] in FORBIDDEN else real(name, package)

import l2v.steering, l2v.transfer

for room in (l2v.transfer, l2v.steering):
    for module in pkgutil.iter_modules(room.__path__, room.__name__ + "."):
        importlib.import_module(module.name)

import tempfile
import torch
import families
from l2v.steering.engine.engine import Decoding, Request, Steering, generate_rows
from l2v.transfer.arms import build_vector
from l2v.transfer.contrast import build_pairs, load_questions, sample_questions
from l2v.transfer.extract import Directions, extract

folder = Path(tempfile.mkdtemp())
target = families.load("llava", folder / "llava")
(folder / "pairs.jsonl").write_text('{{"question": "w1", "cot": "w2 w3 w4", "direct": "w5", "domain": "a"}}\\n' * 3)
pairs = build_pairs("response_pairs", sample_questions(load_questions(str(folder / "pairs.jsonl")), 2), "", "")
found = extract(target.model, target.tokenizer, target.layers, pairs, partial=folder / "partial")
found.save(folder / "directions.safetensors")
vector = build_vector("l2v", Directions.load(folder / "directions.safetensors").mean[1], target.width, 10)
rows = [(Request("a", "<image> w1", (families.picture(28, 28),)), s) for s in (None, Steering(9 * vector, 1, 0.9))]
plain, steered = generate_rows(target, rows, Decoding(6))
assert plain.text != steered.text, plain
loaded = sorted(f for f in FORBIDDEN if f in sys.modules)
assert not loaded, loaded
print("done")
"""


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every module that a file imports, and whether at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [(name, id(node) in top) for name in names]
    return found


@pytest.mark.parametrize("room", ["transfer", "steering"])
def test_rooms_import_what_they_may(room: str) -> None:
    """No file names another package; what is in LATE is reached only when a function of its one file asks for it."""
    files = sorted((PACKAGE / room).glob("*.py"))
    assert len(files) > 3
    for path in files:
        for name, at_top in imports(path):
            first, _, rest = name.partition(".")
            if first == "l2v":
                assert rest.split(".")[0] in OURS, (path.name, name)
            elif first in LATE:
                assert path.name == LATE[first]
                assert not at_top
            else:
                assert first in ALLOWED or first in sys.stdlib_module_names, (path.name, name)


def test_transfer_and_steering_need_nothing_else(tmp_path: Path) -> None:
    """Every module is imported, and a direction read, carried and injected, with the other packages walled off."""
    tests = Path(__file__).parents[1]
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(forbidden=repr(FORBIDDEN), root=str(tests.parent), tests=str(tests)))
    answer = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.strip().endswith("done")
