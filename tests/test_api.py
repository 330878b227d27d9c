"""l2v from Python: the same studies and numbers as the command line, and the notebooks that show it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from nbclient import NotebookClient

import l2v
from l2v.api import words
from l2v.errors import UserError

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = ["benchmark.limit=8", "runtime.progress=false", "runtime.page=false", "runtime.device=cpu"]
LIGHT = """
import sys, l2v
for name in l2v.__all__:
    getattr(l2v, name)
print(*[name for name in ("torch", "transformers", "hydra", "omegaconf", "pandas", "numpy", "scipy") if name in sys.modules])
"""


def test_importing_l2v_loads_none_of_its_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("settings", "key", "values"),
    [
        ({"method": ["direct", "l2v"]}, "method", ["direct", "l2v"]),
        ({"intervention": {"alpha": 0.1, "layer": range(1, 3)}}, "intervention.layer", [1, 2]),
        ({"intervention.alpha": np.linspace(0.1, 0.2, 2)}, "intervention.alpha", [0.1, 0.2]),
        ({"scorer": ["official", "robust"]}, "scorer", [["official", "robust"]]),
        ({"protocol.choose": [["layer"], ["layer", "alpha"]]}, "protocol.choose", [["layer"], ["layer", "alpha"]]),
        ({"source.path": "a folder/it's \\"}, "source.path", ["a folder/it's \\"]),
        ({"method.prefix": "x,y=[1]"}, "method.prefix", ["x,y=[1]"]),
        ({"source.revision": "null"}, "source.revision", ["null"]),
        ({"benchmark.limit": None, "runtime.page": False}, "benchmark.limit", [None]),
        ({"source.revision": "0123"}, "source.revision", ["0123"]),
    ],
)
def test_a_mapping_says_in_hydras_grammar_what_it_holds(settings: dict[str, Any], key: str, values: list[Any]) -> None:
    found = {one.key_or_group: one for one in OverridesParser.create().parse_overrides(words([settings]))}
    read = list(found[key].sweep_iterator()) if found[key].is_sweep_override() else [found[key].value()]
    plain = [str(one) if isinstance(value, str) else one for one, value in zip(read, values, strict=True)]
    assert [getattr(one, "text", one) for one in plain] == values


def test_run_is_the_command_line_and_compare_pairs_two_studies(pair: Path, outputs: Path) -> None:
    grid = [{"method": "direct"}, {"method": "l2v"}]
    table = l2v.run(grid, TINY, study="from_python", outputs=str(outputs))
    by_words = l2v.results(pair.name, str(outputs))
    assert table.drop(columns=["study", "seconds"]).equals(by_words.drop(columns=["study", "seconds"]))
    written = pd.read_csv(outputs / "from_python" / "results.csv")
    assert list(written.columns) == list(table.columns) and written["value"].tolist() == table["value"].tolist()
    # A part of a study comes back as that part.
    assert l2v.run({"method": "direct"}, TINY, study="from_python", outputs=str(outputs))["method"].tolist() == ["direct"]

    l2v.run(grid, TINY, {"decoding.max_new_tokens": 3}, study="cut", outputs=str(outputs))
    pairs = l2v.compare("from_python", "cut", outputs=str(outputs)).set_index("first")
    assert set(pairs.index) == set(table["cell"])
    cut = l2v.results("cut", str(outputs)).set_index("cell")
    for first, pair in pairs.iterrows():
        assert pair["value_first"] == table.set_index("cell").loc[first, "value"]
        assert pair["value_second"] == cut.loc[pair["second"], "value"]
        assert pair["diff"] == pytest.approx(pair["value_second"] - pair["value_first"])
        assert "max new tokens" in pair["differs"]


def test_what_fails_is_raised_with_what_is_done(outputs: Path) -> None:
    with pytest.raises(l2v.FailedCellsError, match="layer=99") as raised:
        l2v.run({"intervention.layer": [2, 99]}, TINY, study="one_fails", outputs=str(outputs))
    assert raised.value.results["layer"].tolist() == [2] and len(raised.value.failed) == 1
    with pytest.raises(UserError, match="decoding.max_new_tokens"):
        l2v.run("decoding.max_new_token=3")
    with pytest.raises(UserError, match="no setting"):
        l2v.run("--multirun")
    with pytest.raises(UserError, match="nowhere"):
        l2v.results("nowhere", str(outputs))


def test_a_dry_run_tells_the_cells(outputs: Path) -> None:
    cells = l2v.run({"method": ["direct", "l2v"]}, TINY, "dry_run=true", study="dry", outputs=str(outputs))
    assert cells["method"].tolist() == ["direct", "l2v"] and cells["cell"].is_unique
    assert not (outputs / "dry").exists()


@pytest.mark.parametrize("name", ["first_study", "steer_a_model"])
def test_the_notebooks_run(name: str, tmp_path: Path) -> None:
    """Their last cells hold what they say against what they computed."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    told = [out.get("data", {}).get("text/html") for cell in notebook.cells for out in cell.get("outputs", [])]
    for table in (pd.read_html(io.StringIO(one))[0] for one in told if one):
        assert "p_holm" not in table or not (table["p_holm"] == 0).any(), "no p is 0.0"
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert "assert " in sources[-1]


def test_pairs_of_one_arm_are_told_apart_by_the_sources_layer(outputs: Path) -> None:
    grid = {"method": "l2v", "intervention.layer": 3, "intervention.source_layer": [1, 2, 3]}
    for study, tokens in (("layers", 4), ("layers_cut", 3)):
        l2v.run(grid, TINY, {"decoding.max_new_tokens": tokens}, study=study, outputs=str(outputs))
    pairs = l2v.compare("layers", "layers_cut", outputs=str(outputs))
    assert sorted(pairs["settings"].str.contains("source layer")) == [False, True, True]
    assert pairs["settings"].nunique() == len(pairs) == 3


def test_cells_that_differ_in_what_the_studies_differ_in_are_pairs(outputs: Path) -> None:
    """Each seed of decoding with its like, though every answer of the second study is shorter; a seed alone has no pair."""
    grid = {"method": "direct", "decoding.temperature": 0.7}
    for study, tokens, seeds in (("seeds", 4, [0, 1, 2]), ("seeds_cut", 3, [1, 2])):
        own = {"decoding.max_new_tokens": tokens, "decoding.seed": seeds}
        l2v.run(grid, TINY, own, study=study, outputs=str(outputs))
    pairs = l2v.compare("seeds", "seeds_cut", outputs=str(outputs))
    seed = {
        row["cell"]: row["decoding_seed"]
        for name in ("seeds", "seeds_cut")
        for row in l2v.results(name, str(outputs)).to_dict("records")
    }
    assert sorted((seed[one], seed[other]) for one, other in zip(pairs["first"], pairs["second"], strict=True)) == [
        (1, 1),
        (2, 2),
    ]
