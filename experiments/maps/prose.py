"""Neutral texts for language models: first paragraphs of the docstrings of Python's library, plain English without a sum.

python experiments/maps/prose.py 1000 > outputs/prose.jsonl       # neutral=local neutral.path=outputs/prose.jsonl
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
WORDS = range(12, 60)
LEFT_OUT = {"site-packages", "test", "tests", "lib2to3"}


def paragraphs() -> Iterator[str]:
    """First paragraphs of a dozen to sixty words, without digits or code."""
    for path in sorted(path for path in LIBRARY.rglob("*.py") if not LEFT_OUT & set(path.parts)):
        for node in ast.walk(ast.parse(path.read_bytes())):
            told = ast.get_docstring(node) if isinstance(node, DOCUMENTED) else None
            words = (told or "").split("\n\n")[0].split()
            text = " ".join(words)
            if len(words) in WORDS and text.isascii() and not any(sign.isdigit() or sign in "`<>=[]{}|\\" for sign in text):
                yield text


def main() -> None:
    """Print so many of them, each once, in an order that follows from their content."""
    found = sorted(set(paragraphs()), key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    for text in found[: int(sys.argv[1])]:
        print(json.dumps({"question": text}))


if __name__ == "__main__":
    main()
