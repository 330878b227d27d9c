"""What kind of model a config.json tells of: with eyes or without, a causal language model or an encoder. No torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

# Words of which a config of a model with eyes has one in a key.
EYES = ("vision", "visual", "image", "img", "vq_config")
# transformers' own tables of the kinds of models that load as text models, and of those that fill gaps in a text.
TEXTS, ENCODERS = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"


def has_eyes(config: Mapping[str, Any]) -> bool:
    """Whether a config tells of pictures."""
    return any(word in key.lower() for key in config for word in EYES)


@lru_cache(maxsize=2)
def types(named: str) -> frozenset[str]:
    """The kinds of models in one of transformers' own tables; read, for importing it brings torch."""
    found = importlib.util.find_spec("transformers")
    table = Path(found.origin).parent / "models" / "auto" / "modeling_auto.py" if found and found.origin else None
    if table is None or not table.is_file():
        return frozenset()
    for node in ast.walk(ast.parse(table.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if [getattr(target, "id", "") for target in targets] == [named]:
                strings = (n.elts[0] for n in ast.walk(node) if isinstance(n, ast.Tuple) and n.elts)
                return frozenset(str(n.value) for n in strings if isinstance(n, ast.Constant))
    return frozenset()
